//! Taking files away from blobs.
//!
//! In this order, each step durable before the next: a note of what is to go, the records without it, the files' names, and
//! the end of the note. So a record never promises a file that was deleted, and no file stays that no record knows.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::{
    Store, StoreError, ballast,
    errors::at,
    files::remove_file,
    paths::Folder,
    place::holds,
    record::{LIBRARY, Record},
    unfinished::{Doing, Noted},
};
use crate::{
    content::ContentId,
    limits::store::{INDEX_AHEAD_BYTES, SMALL_FILES_PER_SYNC},
};

impl Store {
    /// Takes files away from blobs; with the last of its files goes a blob. A file in the library is deleted unless somebody
    /// changed it, a file that is shared in place stays. It is no error if one was not there. Durable when it returns; a
    /// power cut may leave the first ones removed and the others not, but none in between.
    pub fn remove(&self, files: &[(ContentId, PathBuf)]) -> Result<(), StoreError> {
        for round in files.chunks(SMALL_FILES_PER_SYNC) {
            let mut doomed = Vec::with_capacity(round.len());
            for (id, path) in round {
                let path = std::path::absolute(path).map_err(at(path))?;
                let known = self.known_root_of(&path);
                doomed.extend(known.map(|(root, path)| Noted { id: *id, root, path }));
            }
            if doomed.iter().any(|file| file.root == LIBRARY) {
                self.check_library()?;
            }
            // A file that gets its name just now would get its record when it is gone again.
            let _recorded = self.recorded();
            self.note(Doing::Removal, &doomed, true)?;
            let records = self.take_locations(&doomed)?;
            self.delete(&doomed, &records)?;
            self.note(Doing::Removal, &doomed, false)?;
        }
        // Of the room that this made, what was given for it comes first.
        ballast::keep(&self.0.data, INDEX_AHEAD_BYTES);
        Ok(())
    }

    /// Takes the files out of their records; what the records were before.
    pub(super) fn take_locations(&self, doomed: &[Noted]) -> Result<Vec<Option<Record>>, StoreError> {
        let ids: Vec<_> = doomed.iter().map(|file| file.id).collect();
        let (mut records, mut next) = (Vec::with_capacity(ids.len()), doomed.iter());
        self.0.index.change(&ids, &mut |_, old| {
            let file = next.next().expect("change calls once for each id");
            records.push(old.clone());
            let mut record = old?;
            record.locations.retain(|it| !it.is_at(file.root, &file.path));
            (!record.locations.is_empty()).then_some(record)
        })?;
        Ok(records)
    }

    /// Deletes the library files among these that hold their blob, and the outboards of blobs that are gone.
    pub(super) fn delete(&self, doomed: &[Noted], records: &[Option<Record>]) -> Result<(), StoreError> {
        let mut folders = Vec::new();
        for (file, record) in doomed.iter().zip(records) {
            if file.root == LIBRARY {
                folders.extend(self.delete_library_file(&file.id, record.as_ref(), &file.path)?);
            }
        }
        for (file, record) in doomed.iter().zip(records) {
            if record.is_some() && self.0.index.record(&file.id)?.is_none() {
                // It may have been under repair.
                match self.discard(&file.id) {
                    Err(StoreError::Busy(_)) => {}
                    other => other?,
                }
            }
            let outboard = self.outboard_path(&file.id);
            if outboard.exists() && self.0.index.record(&file.id)?.is_none() {
                self.drop_outboard(&file.id)?;
                folders.extend(outboard.parent().map(Path::to_owned));
            }
        }
        self.sync_folders(folders)
    }

    /// The folder of which a name was taken away.
    fn delete_library_file(
        &self,
        id: &ContentId,
        record: Option<&Record>,
        relative: &[u8],
    ) -> Result<Option<PathBuf>, StoreError> {
        let _naming = self.naming();
        let library = self.library();
        let relative = Path::new(OsStr::from_bytes(relative));
        // Its folder may be gone, and a file may have the name of that by now.
        let is_none = |error: io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        if library.join(relative).symlink_metadata().is_err_and(is_none) {
            return Ok(None);
        }
        let (folder, name) = Folder::above(&library, relative, false)?;
        let path = folder.path().join(name);
        let file = match folder.file(name) {
            Err(error) if is_no_file(&error) => return Ok(None),
            // It may be there: the note stands, and the next start looks again.
            opened => opened.map_err(at(&path))?,
        };
        let metadata = file.metadata().map_err(at(&path))?;
        let known = record.is_some_and(|record| record.locations.iter().any(|it| it.is_same(record.size, &metadata)));
        if !known && !holds(&file, id) {
            return Ok(None);
        }
        folder.unlink(name).map_err(at(&path))?;
        Ok(Some(folder.path().to_owned()))
    }

    /// Deletes the outboard of a blob that is not here, unless a download needs it.
    pub(super) fn drop_outboard(&self, id: &ContentId) -> Result<(), StoreError> {
        if self.partials().contains_key(id) {
            return Ok(());
        }
        remove_file(&self.outboard_path(id))
    }
}

/// Whether nothing is there, or something that is no file of ours.
fn is_no_file(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, None | Some(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV))
}
