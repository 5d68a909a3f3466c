//! Names in the library: giving them, and checking what stands under them.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    ops::ControlFlow,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard},
};

use rustix::io::Errno;

use super::{
    Fault, ImportError, LibraryPath, Progress, Store, StoreError, Verified,
    errors::{at, is_for_want},
    files::{Temp, sync_folder},
    hash::hash,
    paths::Folder,
    record::{LIBRARY, Location, Record},
    unfinished::{Doing, Noted},
};
use crate::content::ContentId;

/// A whole file in `incoming/`, which it leaves for a name in the library.
pub(super) struct Incoming<'a> {
    pub(super) folder: &'a Folder,
    pub(super) name: &'a OsStr,
    pub(super) file: &'a File,
}

impl Store {
    /// Gives a blob that is complete another name, `library/<to>`: a hard link, or a copy where the file system has none.
    pub fn place(&self, id: &ContentId, to: &LibraryPath) -> Result<(), StoreError> {
        let _recording = self.recording();
        self.place_recording(id, to)
    }

    /// The same for who holds [`Store::recording`].
    pub(super) fn place_recording(&self, id: &ContentId, to: &LibraryPath) -> Result<(), StoreError> {
        let record = self.0.index.record(id)?.ok_or(StoreError::NotFound(*id))?;
        let stands = |it: &&Location| it.fault.is_none() && self.stands(it, record.size);
        let is_there = |it: &&Location| it.is_at(LIBRARY, to.as_str().as_bytes());
        let mut folders = Vec::new();
        if record.locations.iter().filter(is_there).any(|it| stands(&it)) {
            return Ok(());
        }
        let noted = [Noted::named(*id, to.as_str().as_bytes())];
        for from in record.locations.iter().filter(|it| !is_there(it)).filter(stands) {
            // Until it is in the record: what is cut short must not leave a file that nobody knows.
            self.note(Doing::Naming, &noted, true)?;
            let placed = match self.link_file(from, to, id, &mut folders) {
                Err(StoreError::Io { source, .. }) if needs_copy(&source) => {
                    self.copy_file(from, record.size, to, id, &mut folders)?
                }
                other => Some(other?),
            };
            if let Some(placed) = placed {
                self.sync_folders(folders)?;
                self.locate(vec![(*id, record.size, placed)])?;
                return self.note(Doing::Naming, &noted, false);
            }
        }
        Err(StoreError::NotFound(*id))
    }

    /// Holds back who takes files away, for who gives them names, until they are in the index. Not to be taken twice.
    pub(super) fn recording(&self) -> RwLockReadGuard<'_, ()> {
        self.0.recording.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for all who give files names, and holds others back.
    pub(super) fn recorded(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.recording.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn stands(&self, location: &Location, size: u64) -> bool {
        self.open_location(location)
            .and_then(|file| file.metadata())
            .is_ok_and(|metadata| location.is_same(size, &metadata))
    }

    fn link_file(
        &self,
        from: &Location,
        to: &LibraryPath,
        id: &ContentId,
        folders: &mut Vec<PathBuf>,
    ) -> Result<Location, StoreError> {
        let mut path = self.roots().path(from);
        if from.root != LIBRARY {
            // A file shared through a symbolic link: the link itself is worth nothing here.
            path = path.canonicalize().map_err(at(&path))?;
        }
        let source = Folder::open(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().unwrap_or_default();
        let file = source.file(name).map_err(at(&path))?;
        let incoming = Folder::open(&self.0.incoming)?;
        let temp = Temp { file, path: self.0.incoming.join(self.temp_name()) };
        incoming.link(&source, name, temp.name()).map_err(at(&temp.path))?;
        self.name_file(temp, to.as_str().as_bytes(), id, folders)
    }

    /// None if the file turns out not to hold the blob.
    fn copy_file(
        &self,
        from: &Location,
        size: u64,
        to: &LibraryPath,
        id: &ContentId,
        folders: &mut Vec<PathBuf>,
    ) -> Result<Option<Location>, StoreError> {
        self.check_room(size)?;
        let temp = Temp::create(self.0.incoming.join(self.temp_name()))?;
        let path = self.roots().path(from);
        let file = self.open_location(from).map_err(at(&path))?;
        match self.hash_open_file(file, &path, Some(&temp), &mut |_| ControlFlow::Continue(())) {
            Ok(hashed) if hashed.id == *id => {}
            Ok(_) | Err(ImportError::Changed { .. } | ImportError::NotAFile { .. }) => return Ok(None),
            Err(ImportError::Unreadable { source, .. }) => return Err(StoreError::io(&path, source)),
            Err(ImportError::Store(error)) => return Err(error),
        }
        temp.file.sync_all().map_err(at(&temp.path))?;
        self.name_file(temp, to.as_str().as_bytes(), id, folders).map(Some)
    }

    pub(super) fn sync_folders(&self, mut folders: Vec<PathBuf>) -> Result<(), StoreError> {
        folders.sort_unstable();
        folders.dedup();
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// Moves a synced file to its name in the library, without overwriting: the same blob is kept as it is, anything else
    /// is set aside. The folder is added to `folders`, which are yet to be synced.
    pub(super) fn name_file(
        &self,
        temp: Temp,
        to: &[u8],
        id: &ContentId,
        folders: &mut Vec<PathBuf>,
    ) -> Result<Location, StoreError> {
        let incoming = Folder::open(&self.0.incoming)?;
        let location =
            self.name_incoming(&Incoming { folder: &incoming, name: temp.name(), file: &temp.file }, to, id, folders)?;
        temp.leave();
        Ok(location)
    }

    /// The same for a file that is not deleted if this fails.
    pub(super) fn name_incoming(
        &self,
        from: &Incoming<'_>,
        to: &[u8],
        id: &ContentId,
        folders: &mut Vec<PathBuf>,
    ) -> Result<Location, StoreError> {
        let _naming = self.naming();
        let relative = Path::new(OsStr::from_bytes(to));
        let library = self.library();
        let (folder, name) = Folder::above(&library, relative, true)?;
        let location = self.name_in(&folder, name, from, id, relative)?;
        folders.push(folder.path().to_owned());
        Ok(location)
    }

    /// The same in a folder that is open, which the caller makes durable, for who holds the lock of the names. `relative` is the
    /// path to the name from the library.
    pub(super) fn name_in(
        &self,
        folder: &Folder,
        name: &OsStr,
        from: &Incoming<'_>,
        id: &ContentId,
        relative: &Path,
    ) -> Result<Location, StoreError> {
        self.check_library()?;
        let to = relative.as_os_str().as_bytes();
        let path = folder.path().join(name);
        let open = || folder.file(name).and_then(|file| Ok((file.metadata()?, file)));
        loop {
            match folder.take(from.folder, from.name, name) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io(&path, error)),
            }
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
                return Err(StoreError::io(&path, io::ErrorKind::IsADirectory.into()));
            }
            if let Ok((metadata, file)) = open()
                && holds(&file, id)
            {
                // Nobody knows who wrote it, and when.
                file.sync_all().map_err(at(&path))?;
                let _ = from.folder.unlink(from.name);
                return Ok(Location::new(LIBRARY, to.to_vec(), &metadata));
            }
            if !folder.lists(name).map_err(at(&path))? {
                return Err(StoreError::NameTaken { path });
            }
            if let Ok((metadata, _)) = open()
                && self.is_rotten(id, to, &metadata)?
            {
                folder.replace(from.folder, from.name, name).map_err(at(&path))?;
                break;
            }
            let aside = folder.set_aside(name)?;
            log::warn!("{} was not the file that belongs there; it is now {}", path.display(), aside.display());
        }
        Ok(Location::new(LIBRARY, to.to_vec(), &from.file.metadata().map_err(at(&path))?))
    }

    /// Whether `library/<to>` is a file of this blob, also where the index does not say so: of one blob it has but so many names.
    pub fn has_name(&self, id: &ContentId, to: &LibraryPath) -> Result<bool, StoreError> {
        let Some(record) = self.0.index.record(id)? else { return Ok(false) };
        let path = to.as_str().as_bytes();
        if record.locations.iter().any(|it| it.is_at(LIBRARY, path)) {
            return Ok(true);
        }
        let library = self.library();
        let Ok((folder, name)) = Folder::above(&library, Path::new(to.as_str()), false) else { return Ok(false) };
        let Ok(file) = folder.file(name) else { return Ok(false) };
        let metadata = file.metadata().map_err(at(&library.join(to.as_str())))?;
        if metadata.len() != record.size || record.has_room(&Location::new(LIBRARY, path.to_vec(), &metadata)) {
            return Ok(false);
        }
        // Where a file can have several names, it is read for none of them.
        let is_same = |it: &Location| it.root == LIBRARY && it.is_same(record.size, &metadata);
        Ok(record.locations.iter().any(is_same) || holds(&file, id))
    }

    /// Whether no file can have the name `library/<to>`: a folder has it, or there is a file where its folder would be, or the
    /// name of the file that is there differs in case. Case is ignored there then, and the file is another's.
    pub fn is_taken(&self, to: &LibraryPath) -> bool {
        let library = self.library();
        match library.join(to.as_str()).symlink_metadata() {
            // Mostly there is nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return true,
            Ok(metadata) if metadata.is_dir() => return true,
            _ => {}
        }
        let Ok((folder, name)) = Folder::above(&library, Path::new(to.as_str()), false) else { return false };
        folder.file(name).is_ok() && folder.lists(name).is_ok_and(|lists| !lists)
    }

    /// Reads and hashes every file of a blob, and writes down which are good. A damaged outboard is built again.
    /// `progress` is called with the bytes hashed so far; if it says so, nothing is written down, and the end is
    /// [`StoreError::Stopped`].
    pub fn verify(&self, id: &ContentId, progress: Progress<'_>) -> Result<Verified, StoreError> {
        let record = self.0.index.record(id)?.ok_or(StoreError::NotFound(*id))?;
        let (mut found, mut done, mut damaged, mut told) = (Vec::new(), 0, Vec::new(), Vec::new());
        for old in &record.locations {
            let base = done;
            let new = self.look_at(&record, old, &mut |bytes| {
                done = base + bytes;
                progress(done)
            })?;
            if new.fault == Some(Fault::Damaged) {
                damaged = self.locate_damage(&record, old);
                told.push((old, damaged.clone()));
            }
            found.push((old.clone(), new));
        }
        // What is away is not lost.
        let noted: Vec<_> =
            found.iter().filter(|(old, new)| new.fault != Some(Fault::Missing) || !self.is_gone(old)).collect();
        let mut lost = Vec::new();
        self.0.index.change(&[*id], &mut |_, current| {
            let mut record = current?;
            for location in &mut record.locations {
                if let Some((_, new)) = noted.iter().find(|(old, _)| location.is_still(old)) {
                    *location = new.clone();
                }
            }
            lost = record.lost_names().collect();
            Some(record)
        })?;
        // After the index says so, or it would be taken for mended.
        told.into_iter().for_each(|(old, ranges)| self.note_damage(id, old, ranges));
        if found.iter().all(|(_, new)| new.fault.is_some()) {
            self.tell_fault();
            let locations = found.into_iter().map(|(_, new)| new).collect();
            return Ok(Verified::Bad { fault: Record { locations, ..record }.fault(), damaged });
        }
        let _recording = self.recording();
        self.name_again(lost);
        Ok(Verified::Good)
    }

    /// Reads and hashes one file of a blob; what is known of it then.
    fn look_at(&self, record: &Record, old: &Location, progress: Progress<'_>) -> Result<Location, StoreError> {
        let hashed = match self.open_location(old) {
            Ok(file) => self.hash_open_file(file, &self.roots().path(old), None, progress).map(Some),
            Err(error) if is_for_want(&error) => return Err(StoreError::io(&self.roots().path(old), error)),
            Err(_) => Ok(None),
        };
        let fault = match hashed {
            Ok(Some(hashed)) if hashed.id == record.id => {
                if let Some(outboard) = &hashed.outboard {
                    let mut folders = Vec::new();
                    self.keep_outboard(&record.id, outboard, &mut folders)?;
                    self.sync_folders(folders)?;
                }
                return Ok(Location::new(old.root, old.path.clone(), &hashed.metadata));
            }
            Err(ImportError::Store(error)) => return Err(error),
            Err(ImportError::Changed { .. }) => Fault::Changed,
            // Its bytes are others, or the disk does not give them.
            _ => self.fault_of(record.size, old)?,
        };
        Ok(Location { fault: Some(fault), ..old.clone() })
    }
}

/// Whether the file holds the blob, by reading all of it.
pub(super) fn holds(file: &File, id: &ContentId) -> bool {
    file.metadata().is_ok_and(|metadata| hash(file, metadata.len(), None, 1).is_ok_and(|found| found == *id))
}

/// Whether a hard link can't be, but a copy can.
fn needs_copy(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP | Errno::XDEV | Errno::NOSYS))
}
