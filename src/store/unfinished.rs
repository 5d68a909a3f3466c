//! What is under way with files while the index and their names differ, and what becomes of it after a power cut.
//!
//! A removal that took a file out of its record is completed. A file that got its name and no record gets its record: it is
//! whole, and whether anybody lists it is not for the store to say. It is not deleted, for an index that rots can go back to
//! such a note.
//!
//! Notes are in the index. Those of many small files are in a file beside them, which becomes durable with them: the index
//! would take longer for them than for their records.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::PathBuf,
    sync::PoisonError,
};

use super::{
    LibraryPath, Store, StoreError,
    damage::decode,
    errors::at,
    files::{TEMPORARY, Temp, remove_file},
    record::{LIBRARY, Location, encode},
};
use crate::{
    content::ContentId,
    limits::store::{RELATIVE_PATH_BYTES, SMALL_FILES_PER_SYNC},
};

/// How the names of files begin that note others.
const NOTES: &str = "naming-";
/// Bytes of such a file.
const NOTES_BYTES: u64 = (SMALL_FILES_PER_SYNC * (RELATIVE_PATH_BYTES + 64)) as u64;

/// What is being done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Doing {
    Removal = b'D',
    Naming = b'N',
}

/// A file of a blob, as it is noted.
pub(super) struct Noted {
    pub(super) id: ContentId,
    pub(super) root: u32,
    /// Below the root.
    pub(super) path: Vec<u8>,
}

impl Noted {
    /// A file of the library.
    pub(super) fn named(id: ContentId, path: &[u8]) -> Self {
        Self { id, root: LIBRARY, path: path.to_vec() }
    }

    fn to_key(&self) -> Vec<u8> {
        [&self.id.0[..], &self.root.to_be_bytes(), &self.path].concat()
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let (id, rest) = key.split_first_chunk()?;
        let (root, path) = rest.split_first_chunk()?;
        Some(Self { id: ContentId(*id), root: u32::from_be_bytes(*root), path: path.to_vec() })
    }
}

impl Store {
    /// Files of the library that a power cut left with a name and without a record, and that have one since the store was
    /// opened: perhaps nobody lists them. They are told once.
    pub fn found(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.0.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes down that something is being done with files, or that it is done; durable when it returns.
    pub(super) fn note(&self, what: Doing, files: &[Noted], stands: bool) -> Result<(), StoreError> {
        self.0.index.note(what, files.iter().map(Noted::to_key), stands)
    }

    /// Writes down in a file, which the caller syncs, that these files get names. It is to stay until they have records; if it
    /// is dropped, it is gone.
    pub(super) fn note_beside(&self, files: &[Noted]) -> Result<Temp, StoreError> {
        let name = self.temp_name().replacen(TEMPORARY, NOTES, 1);
        let temp = Temp::create(self.0.incoming.join(name))?;
        let keys: Vec<_> = files.iter().map(Noted::to_key).collect();
        temp.file.write_all_at(&encode(&keys), 0).map_err(at(&temp.path))?;
        Ok(temp)
    }

    /// Files that note others, and what they note: nothing, if they were not written to their ends, and nothing had a name then.
    fn noted_beside(&self) -> Result<Vec<(PathBuf, Vec<Noted>)>, StoreError> {
        let folder = &self.0.incoming;
        let mut all = Vec::new();
        for entry in fs::read_dir(folder).map_err(at(folder))? {
            let entry = entry.map_err(at(folder))?;
            if !entry.file_name().as_bytes().starts_with(NOTES.as_bytes()) {
                continue;
            }
            let (path, mut bytes) = (entry.path(), Vec::new());
            let file = File::open(&path).map_err(at(&path))?;
            file.take(NOTES_BYTES).read_to_end(&mut bytes).map_err(at(&path))?;
            let keys = decode::<Vec<Vec<u8>>>(&bytes).unwrap_or_default();
            all.push((path, keys.iter().filter_map(|key| Noted::from_key(key)).collect()));
        }
        Ok(all)
    }

    /// Completes what a power cut interrupted. Returns the files that have a record again. A file that can't be read or
    /// deleted stays as it is, with a warning.
    pub(super) fn finish_unfinished(&self) -> Result<Vec<PathBuf>, StoreError> {
        for file in self.unfinished(Doing::Removal, self.noted(Doing::Removal)?)? {
            if let Err(error) = self.delete(&[file], &[None]) {
                log::warn!("a file that was being removed stays: {error}");
            }
        }
        let (mut imported, mut paths) = (Vec::new(), Vec::new());
        let (mut named, mut notes) = (self.noted(Doing::Naming)?, Vec::new());
        for (path, files) in self.noted_beside()? {
            named.extend(files);
            notes.push(path);
        }
        for file in self.unfinished(Doing::Naming, named)? {
            let Some(to) = std::str::from_utf8(&file.path).ok().and_then(LibraryPath::new) else { continue };
            // Most have not got their names yet.
            let Ok(found) = self.import_library(&to) else { continue };
            if found.id() == file.id {
                imported.push(found);
                paths.push(self.library().join(to.as_str()));
            }
        }
        self.commit(imported)?;
        for what in [Doing::Removal, Doing::Naming] {
            self.0.index.note(what, self.0.index.noted(what)?.into_iter(), false)?;
        }
        notes.iter().try_for_each(|path| remove_file(path))?;
        Ok(paths)
    }

    /// The files with which the index says that this was begun.
    fn noted(&self, what: Doing) -> Result<Vec<Noted>, StoreError> {
        Ok(self.0.index.noted(what)?.iter().filter_map(|key| Noted::from_key(key)).collect())
    }

    /// Those of the files with which this was begun that are in no record.
    fn unfinished(&self, what: Doing, mut files: Vec<Noted>) -> Result<Vec<Noted>, StoreError> {
        let mut failed = Ok(());
        files.retain(|file| {
            let record = self.0.index.record(&file.id).unwrap_or_else(|error| {
                failed = Err(error);
                None
            });
            // A name that was given again to what had rotted is in the record as it was before.
            let counts = |it: &Location| what == Doing::Removal || it.fault.is_none();
            let known = |it: &Location| it.is_at(file.root, &file.path) && counts(it);
            record.is_none_or(|record| !record.locations.iter().any(known))
        });
        failed.map(|()| files)
    }
}
