//! What is under way with files while the index and their names differ, and what becomes of it after a power cut.
//!
//! A removal that took a file out of its record is completed. A file that got its name and no record gets its record: it is
//! whole, and whether anybody lists it is not for the store to say. It is not deleted, for an index that rots can go back to
//! such a note.

use std::path::PathBuf;

use super::{
    LibraryPath, Store, StoreError,
    record::{LIBRARY, Location},
};
use crate::content::ContentId;

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
    /// Writes down that something is being done with files, or that it is done; durable when it returns.
    pub(super) fn note(&self, what: Doing, files: &[Noted], stands: bool) -> Result<(), StoreError> {
        self.0.index.note(what, files.iter().map(Noted::to_key), stands)
    }

    /// Completes what a power cut interrupted. Returns the files that have a record again. A file that can't be read or
    /// deleted stays as it is, with a warning.
    pub(super) fn finish_unfinished(&self) -> Result<Vec<PathBuf>, StoreError> {
        for file in self.unfinished(Doing::Removal)? {
            if let Err(error) = self.delete(&[file], &[None]) {
                log::warn!("a file that was being removed stays: {error}");
            }
        }
        let (mut imported, mut paths) = (Vec::new(), Vec::new());
        for file in self.unfinished(Doing::Naming)? {
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
        Ok(paths)
    }

    /// The files with which this was begun, and that are in no record.
    fn unfinished(&self, what: Doing) -> Result<Vec<Noted>, StoreError> {
        let mut files = Vec::new();
        for file in self.0.index.noted(what)?.iter().filter_map(|key| Noted::from_key(key)) {
            let record = self.0.index.record(&file.id)?;
            // A name that was given again to what had rotted is in the record as it was before.
            let counts = |it: &Location| what == Doing::Removal || it.fault.is_none();
            let known = |it: &Location| it.is_at(file.root, &file.path) && counts(it);
            if record.is_none_or(|record| !record.locations.iter().any(known)) {
                files.push(file);
            }
        }
        Ok(files)
    }
}
