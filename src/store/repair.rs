//! Repair: what is right in a file that rotted is not fetched again, and its names come back with the blob.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io,
    ops::Range,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::PoisonError,
};

use super::{
    Fault, LibraryPath, Store, StoreError,
    errors::at,
    files::{remove_file, sync_folder},
    partial::Partial,
    paths::Folder,
    record::{FIRST, LIBRARY, Location, Record},
    tree::{ProofError, Tree},
};
use crate::{
    content::ContentId,
    groups::Groups,
    limits::{
        GROUP_BYTES, NO_OUTBOARD_BYTES,
        store::{DAMAGED_RANGES, DAMAGES},
    },
};

/// A file that the disk damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The blob that it should hold.
    pub id: ContentId,
    /// Where it is.
    pub path: PathBuf,
    /// Groups that were found wrong, ascending; there may be more. None if nobody knows.
    pub ranges: Vec<Range<u64>>,
}

/// A name of a file in the library.
struct Name<'a> {
    location: &'a Location,
    folder: Folder,
    name: &'a OsStr,
    file: Metadata,
}

impl Store {
    /// Makes a rotten file of the library the download that replaces it: only what is wrong in it is fetched, and no room
    /// is needed. Until it is finished it has no name, so that nobody writes to it. Nothing happens if a download was begun,
    /// or if others have the file under names of theirs.
    pub(super) fn salvage(&self, record: &Record) -> Result<(), StoreError> {
        let _naming = self.naming();
        let (id, incoming) = (record.id, &self.0.incoming);
        if self.partials().contains_key(&id) {
            return Ok(());
        }
        let names = self.rotten_names(record);
        let Some(first) = names.first() else { return Ok(()) };
        // Durably: bits of an earlier download must not speak of these bytes.
        remove_file(&self.bits_path(&id))?;
        sync_folder(incoming)?;
        let part = self.part_path(&id);
        let parts = Folder::open(incoming)?;
        match parts.take(&first.folder, first.name, part.file_name().unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            taken => taken.map_err(at(&part))?,
        }
        self.partials().insert(id, Partial::new(Groups::none(record.size)));
        parts.sync()?;
        for other in &names[1..] {
            other.folder.unlink(other.name).map_err(at(other.folder.path()))?;
        }
        names.iter().try_for_each(|name| name.folder.sync())?;
        // So that its room is not counted twice.
        self.0.index.change(&[id], &mut |_, record| {
            let mut record = record?;
            let gone = |it: &&mut Location| names.iter().any(|name| name.location.is_still(it));
            record.locations.iter_mut().filter(gone).for_each(|it| it.fault = Some(Fault::Missing));
            Some(record)
        })
    }

    /// All names of a rotten file of the library; none if there is no such file, or if it has names that the index does not
    /// know: it is not the store's alone then.
    fn rotten_names<'a>(&self, record: &'a Record) -> Vec<Name<'a>> {
        let library = self.library();
        let open = |location: &'a Location| {
            let (folder, name) = Folder::above(&library, Path::new(OsStr::from_bytes(&location.path)), false).ok()?;
            let file = folder.file(name).and_then(|file| file.metadata()).ok()?;
            location.is_same(record.size, &file).then_some(Name { location, folder, name, file })
        };
        let mut names: Vec<_> = record.locations.iter().filter(|it| it.is_rotten_copy()).filter_map(open).collect();
        let Some((inode, links)) = names.first().map(|name| (name.file.ino(), name.file.nlink())) else { return names };
        names.retain(|name| name.file.ino() == inode);
        if names.len() as u64 == links { names } else { Vec::new() }
    }

    /// Opens what other files there are of a blob that is not available: some of their groups may be right.
    pub(super) fn remains(&self, record: &Record) -> Vec<File> {
        record.locations.iter().filter_map(|location| self.open_location(location).ok()).collect()
    }

    /// Whether `library/<to>` is known to be this file, which rotted: nobody misses it once the blob is there.
    pub(super) fn is_rotten(&self, id: &ContentId, to: &[u8], file: &Metadata) -> Result<bool, StoreError> {
        let Some(record) = self.0.index.record(id)? else { return Ok(false) };
        let mut rotten = record.locations.iter().filter(|it| it.is_rotten_copy() && it.is_at(LIBRARY, to));
        Ok(rotten.any(|location| location.is_same(record.size, file)))
    }

    /// Gives files of the library that rotted or went missing their names again, with the bytes of their blobs, which are
    /// here again. What others have put there stays. For who holds [`Store::recording`].
    pub(super) fn name_again(&self, lost: Vec<(ContentId, Location)>) {
        for (id, location) in lost {
            let path = self.roots().path(&location);
            let is_free = match path.symlink_metadata() {
                Ok(file) => self.is_rotten(&id, &location.path, &file).unwrap_or(false),
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            let to = std::str::from_utf8(&location.path).ok().and_then(LibraryPath::new).filter(|_| is_free);
            if let Some(Err(error)) = to.map(|to| self.place_recording(&id, &to)) {
                log::warn!("{} stays as it is: {error}", path.display());
            }
        }
    }

    /// The groups that are wrong in a file, as far as the outboard can tell.
    pub(super) fn locate_damage(&self, record: &Record, location: &Location) -> Vec<Range<u64>> {
        let (tree, mut ranges) = (Tree::new(&record.id, record.size), Vec::<Range<u64>>::new());
        let outboard = self.open_outboard(&record.id, &tree);
        let Ok(file) = self.open_location(location) else { return ranges };
        for start in (0..record.size).step_by(GROUP_BYTES as usize) {
            let group = start..record.size.min(start + GROUP_BYTES);
            if ranges.len() == DAMAGED_RANGES {
                break;
            }
            if let Ok(_) | Err(ProofError::Outboard { .. }) = tree.prove(&file, outboard.as_ref(), &group, false) {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == group.start => last.end = group.end,
                _ => ranges.push(group),
            }
        }
        ranges
    }

    /// Remembers that a file is damaged, to tell it to people.
    pub(super) fn note_damage(&self, id: &ContentId, location: &Location, ranges: Vec<Range<u64>>) {
        let damage = Damage { id: *id, path: self.roots().path(location), ranges };
        let mut damages = self.0.damages.lock().unwrap_or_else(PoisonError::into_inner);
        damages.retain(|it| it.path != damage.path);
        if damages.len() < DAMAGES {
            damages.push(damage);
        }
    }

    /// Files that were found damaged and are not good again, some of them if there are many.
    pub fn damages(&self) -> Result<Vec<Damage>, StoreError> {
        let mut damages = self.0.damages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut good = Vec::new();
        for Damage { id, path, .. } in &damages {
            let known = self.0.index.record(id)?.zip(self.known_root_of(path));
            let is_begun = self.partials().contains_key(id);
            let is_bad =
                |it: &Location| it.fault == Some(Fault::Damaged) || is_begun && it.fault == Some(Fault::Missing);
            let is_bad = known.is_some_and(|(record, (root, path))| {
                record.locations.iter().any(|it| it.is_at(root, &path) && is_bad(it))
            });
            good.extend((!is_bad).then(|| path.clone()));
        }
        if !good.is_empty() {
            damages.retain(|it| !good.contains(&it.path));
            let mut known = self.0.damages.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|it| !good.contains(&it.path));
        }
        Ok(damages)
    }

    /// Fills [`Store::damages`] with what the index knows, after a start.
    pub fn recall_damages(&self) -> Result<(), StoreError> {
        let mut found = Vec::new();
        self.0.index.for_each_record(FIRST, &mut |record| {
            let damaged = record.locations.into_iter().filter(|it| it.fault == Some(Fault::Damaged));
            found.extend(damaged.map(|location| (record.id, location)));
            found.len() < DAMAGES
        })?;
        found.iter().for_each(|(id, location)| self.note_damage(id, location, Vec::new()));
        Ok(())
    }

    /// The room that is to be found for a blob: what was begun has its own, and what can be mended too.
    pub fn room_for(&self, id: &ContentId, size: u64) -> Result<u64, StoreError> {
        let has_room = self.partials().contains_key(id)
            || size > NO_OUTBOARD_BYTES
                && self.0.index.record(id)?.is_some_and(|record| !self.rotten_names(&record).is_empty());
        Ok(if has_room { 0 } else { size })
    }
}
