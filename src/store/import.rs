//! Taking files in: in place, or as copies.

use std::{
    fs::{File, Metadata},
    io::{self, Read, Write},
    ops::ControlFlow,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise};

use super::{
    Fault, ImportError, LibraryPath, Store, StoreError,
    errors::at,
    files::Temp,
    hash::hash,
    paths::{Folder, open_regular},
    record::{LIBRARY, Location, Record, mtime_ns},
    unfinished::{Doing, Noted},
};
use crate::{content::ContentId, limits::NO_OUTBOARD_BYTES};

/// Hears how many bytes were read so far, and says whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// A file that was hashed and is not yet in the index: see [`Store::commit`]. Dropping it undoes the import.
pub struct Imported {
    id: ContentId,
    size: u64,
    location: Location,
    outboard: Option<Temp>,
    copy: Option<Temp>,
}

impl Imported {
    /// The id of its bytes.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Store {
    /// Hashes a file, following a symbolic link, and builds its outboard. `progress` is called with the bytes hashed so
    /// far; if it says so, the import ends with [`StoreError::Stopped`]. Nothing is in the index before [`Store::commit`].
    pub fn import_in_place(&self, path: &Path, progress: Progress<'_>) -> Result<Imported, ImportError> {
        let path = absolute(path)?;
        let hashed = self.hash_file(&path, None, progress)?;
        let (root, relative) = self.root_of(&path)?;
        Ok(Imported {
            id: hashed.id,
            size: hashed.metadata.len(),
            location: Location::new(root, relative, &hashed.metadata),
            outboard: hashed.outboard,
            copy: None,
        })
    }

    /// The same with a copy, which [`Store::commit`] moves to `library/<to>`.
    pub fn import_copy(&self, path: &Path, to: &LibraryPath, progress: Progress<'_>) -> Result<Imported, ImportError> {
        let path = absolute(path)?;
        let expected = std::fs::metadata(&path).map_err(|error| ImportError::unreadable(&path, error))?;
        self.check_room(expected.len())?;
        let copy = Temp::create(self.0.incoming.join(self.temp_name()))?;
        let hashed = self.hash_file(&path, Some(&copy), progress)?;
        let metadata = copy.file.metadata().map_err(at(&copy.path))?;
        Ok(Imported {
            id: hashed.id,
            size: metadata.len(),
            location: Location::new(LIBRARY, to.as_str().into(), &metadata),
            outboard: hashed.outboard,
            copy: Some(copy),
        })
    }

    /// Puts imports into the index; durable when it returns.
    pub fn commit(&self, imported: Vec<Imported>) -> Result<(), StoreError> {
        let copies = imported.iter().filter(|import| import.copy.is_some());
        let named: Vec<_> = copies.map(|import| Noted::named(import.id, &import.location.path)).collect();
        // Until they are in the index: a power cut must not leave files that nobody knows.
        self.note(Doing::Naming, &named, true)?;
        let (mut located, mut outboards) = (Vec::with_capacity(imported.len()), Vec::new());
        let mut folders: Vec<PathBuf> = Vec::new();
        // All are synced before the first is named: a sync after a new name would wait for a journal commit of its own.
        for copy in imported.iter().filter_map(|import| import.copy.as_ref()) {
            copy.file.sync_all().map_err(at(&copy.path))?;
        }
        let recording = self.recording();
        for mut import in imported {
            if let Some(copy) = import.copy.take() {
                let path = std::mem::take(&mut import.location.path);
                import.location = self.name_file(copy, &path, &import.id, &mut folders)?;
            }
            outboards.extend(import.outboard.take().map(|outboard| (import.id, outboard)));
            located.push((import.id, import.size, import.location));
        }
        self.sync_folders(folders)?;
        self.record(located)?;
        self.note(Doing::Naming, &named, false)?;
        drop(recording);
        // Last: one without a record would stay for ever, and one that is missing is built again.
        let mut folders = Vec::new();
        for (id, outboard) in outboards {
            if let Err(error) = self.keep_outboard(&id, &outboard, &mut folders) {
                log::warn!("an outboard is built when it is needed: {error}");
            }
        }
        self.sync_folders(folders)
    }

    /// Whether the index knows this file as one that holds the blob, and size, time of change and inode are as they were.
    pub fn is_unchanged(&self, id: &ContentId, path: &Path) -> Result<bool, StoreError> {
        self.is_known(id, path, None)
    }

    /// Whether the disk damaged this file: it is known to hold other bytes than those of the blob, and nobody wrote to it.
    pub fn has_rotted(&self, id: &ContentId, path: &Path) -> Result<bool, StoreError> {
        self.is_known(id, path, Some(Fault::Damaged))
    }

    fn is_known(&self, id: &ContentId, path: &Path, fault: Option<Fault>) -> Result<bool, StoreError> {
        let path = std::path::absolute(path).map_err(at(path))?;
        let Some((record, (root, relative))) = self.0.index.record(id)?.zip(self.known_root_of(&path)) else {
            return Ok(false);
        };
        let known = record.locations.iter().find(|it| it.is_at(root, &relative) && it.fault == fault);
        let Some((location, metadata)) = known.zip(std::fs::metadata(&path).ok()) else { return Ok(false) };
        Ok(location.is_same(record.size, &metadata))
    }

    /// The import of a file that the index knows to hold the blob, by size, time of change and inode, but that was somewhere
    /// else or was missing: on a disk that is mounted at another place. It is not read; none if it has to be.
    pub fn import_moved(&self, id: &ContentId, path: &Path) -> Result<Option<Imported>, StoreError> {
        let path = std::path::absolute(path).map_err(at(path))?;
        let Some((record, metadata)) = self.0.index.record(id)?.zip(std::fs::metadata(&path).ok()) else {
            return Ok(None);
        };
        let is_this = |it: &&Location| {
            let was = self.roots().path(it);
            matches!(it.fault, None | Some(Fault::Missing))
                && it.root != LIBRARY
                && it.is_same(record.size, &metadata)
                && (was == path || was.symlink_metadata().is_err())
        };
        if !record.locations.iter().any(|it| is_this(&it)) {
            return Ok(None);
        }
        let (root, relative) = self.root_of(&path)?;
        let location = Location::new(root, relative, &metadata);
        Ok(Some(Imported { id: *id, size: record.size, location, outboard: None, copy: None }))
    }

    /// The same for the file that stands at `library/<to>`, following no link: for one that the index lost.
    pub fn import_library(&self, to: &LibraryPath) -> Result<Imported, ImportError> {
        let library = self.library();
        let path = library.join(to.as_str());
        let (folder, name) = Folder::above(&library, Path::new(to.as_str()), false)?;
        let file = folder.file(name).map_err(|error| ImportError::unreadable(&path, error))?;
        // The bytes are as durable as any other that the store vouches for.
        file.sync_all().map_err(at(&path))?;
        let hashed = self.hash_open_file(file, &path, None, &mut |_| ControlFlow::Continue(()))?;
        let location = Location::new(LIBRARY, to.as_str().into(), &hashed.metadata);
        let (id, size) = (hashed.id, hashed.metadata.len());
        Ok(Imported { id, size, location, outboard: hashed.outboard, copy: None })
    }

    /// Makes a verified outboard durable and moves it to its place. The folder is yet to be synced.
    pub(super) fn keep_outboard(
        &self,
        id: &ContentId,
        outboard: &Temp,
        folders: &mut Vec<PathBuf>,
    ) -> Result<(), StoreError> {
        outboard.file.sync_data().map_err(at(&outboard.path))?;
        folders.extend(self.name_outboard(id, outboard)?.parent().map(Path::to_owned));
        Ok(())
    }

    /// Moves a verified outboard to its place, which it returns.
    pub(super) fn name_outboard(&self, id: &ContentId, outboard: &Temp) -> Result<PathBuf, StoreError> {
        self.make_outboard_folder(id)?;
        let path = self.outboard_path(id);
        // An outboard that is there has the same bytes, or wrong ones.
        std::fs::rename(&outboard.path, &path).map_err(at(&path))?;
        Ok(path)
    }

    /// Writes down where blobs are; files and folders are synced before. Names that they lost they get again.
    pub(super) fn record(&self, located: Vec<(ContentId, u64, Location)>) -> Result<(), StoreError> {
        let lost = self.locate(located)?;
        self.name_again(lost);
        Ok(())
    }

    /// The same without the names that the blobs lost, which it returns.
    pub(super) fn locate(
        &self,
        located: Vec<(ContentId, u64, Location)>,
    ) -> Result<Vec<(ContentId, Location)>, StoreError> {
        let ids: Vec<_> = located.iter().map(|(id, ..)| *id).collect();
        let (mut located, mut lost) = (located.into_iter(), Vec::new());
        self.0.index.change(&ids, &mut |id, old| {
            let (_, size, location) = located.next().expect("change calls once for each id");
            let mut record = old.unwrap_or(Record { id: *id, size, locations: Vec::new() });
            record.locations.retain(|it| it.root != location.root || it.path != location.path);
            if !record.has_room(&location) {
                // A file that is good is worth more than one that is not; beyond that, names are not written down.
                let is_bad = |it: &Location| it.fault.is_some();
                let Some(at) = self.as_seen(&record).locations.iter().position(is_bad) else { return Some(record) };
                record.locations.remove(at);
            }
            lost.extend(record.lost_names());
            record.locations.push(location);
            Some(record)
        })?;
        Ok(lost)
    }

    /// A file for the outboard of a blob of so many bytes, if it has one.
    pub(super) fn begin_outboard(&self, size: u64) -> Result<Option<Temp>, StoreError> {
        (size > NO_OUTBOARD_BYTES)
            .then(|| Temp::create(self.0.data.join("outboard").join(self.temp_name())))
            .transpose()
    }

    fn hash_file(&self, path: &Path, copy: Option<&Temp>, progress: Progress<'_>) -> Result<Hashed, ImportError> {
        // Looked at before it is opened: opening a device can do things.
        let before = std::fs::metadata(path).map_err(|error| ImportError::unreadable(path, error))?;
        if !before.is_file() {
            return Err(ImportError::NotAFile { path: path.to_owned() });
        }
        let file = open_regular(path).map_err(|error| ImportError::unreadable(path, error))?;
        self.hash_open_file(file, path, copy, progress)
    }

    pub(super) fn hash_open_file(
        &self,
        file: File,
        path: &Path,
        copy: Option<&Temp>,
        progress: Progress<'_>,
    ) -> Result<Hashed, ImportError> {
        let unreadable = |error| ImportError::unreadable(path, error);
        let before = file.metadata().map_err(unreadable)?;
        let outboard = self.begin_outboard(before.len())?;
        // Read-ahead is larger then. A file system that does not know the advice does well enough without.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        let mut source =
            Source { store: self, file: &file, copy: copy.map(|copy| &copy.file), done: 0, progress, failed: None };
        let id = match hash(&mut source, before.len(), outboard.as_ref().map(|temp| &temp.file), self.0.hash_threads) {
            Ok(id) => id,
            Err(error) => return Err(source.failure(error, path, copy, outboard.as_ref())),
        };
        let after = std::fs::metadata(path).map_err(unreadable)?;
        let end = file.metadata().map_err(unreadable)?;
        if !is_untouched(&before, &end) || !is_untouched(&before, &after) {
            return Err(ImportError::Changed { path: path.to_owned() });
        }
        Ok(Hashed { id, metadata: before, outboard })
    }
}

/// A file whose id is known.
pub(super) struct Hashed {
    pub(super) id: ContentId,
    pub(super) metadata: Metadata,
    pub(super) outboard: Option<Temp>,
}

/// The file that is read; each piece goes to the copy as it passes.
struct Source<'a> {
    store: &'a Store,
    file: &'a File,
    copy: Option<&'a File>,
    done: u64,
    progress: Progress<'a>,
    failed: Option<Failed>,
}

enum Failed {
    Reading,
    Copying,
    Stopped,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer).inspect_err(|_| self.failed = Some(Failed::Reading))?;
        if let Some(mut copy) = self.copy {
            copy.write_all(&buffer[..read]).inspect_err(|_| self.failed = Some(Failed::Copying))?;
        }
        self.done += read as u64;
        self.store.note_use();
        if (self.progress)(self.done).is_break() {
            self.failed = Some(Failed::Stopped);
            return Err(io::Error::other("stopped"));
        }
        Ok(read)
    }
}

impl Source<'_> {
    /// Whose error it was.
    fn failure(&self, error: io::Error, path: &Path, copy: Option<&Temp>, outboard: Option<&Temp>) -> ImportError {
        match (&self.failed, copy, outboard) {
            (Some(Failed::Stopped), ..) => StoreError::Stopped.into(),
            // It ended early.
            (None, ..) if error.kind() == io::ErrorKind::UnexpectedEof => {
                ImportError::Changed { path: path.to_owned() }
            }
            (Some(Failed::Copying), Some(temp), _) | (None, _, Some(temp)) => StoreError::io(&temp.path, error).into(),
            _ => ImportError::unreadable(path, error),
        }
    }
}

fn is_untouched(before: &Metadata, after: &Metadata) -> bool {
    (before.dev(), before.ino(), before.len(), mtime_ns(before))
        == (after.dev(), after.ino(), after.len(), mtime_ns(after))
}

fn absolute(path: &Path) -> Result<PathBuf, ImportError> {
    Ok(std::path::absolute(path).map_err(at(path))?)
}
