//! Many small blobs at once: one round of syncs for many files.

use std::{os::unix::fs::FileExt, path::PathBuf};

use rustix::fs::{Advice, fadvise};

use super::{
    LibraryPath, Store, StoreError,
    errors::at,
    files::Temp,
    record::Location,
    unfinished::{Doing, Noted},
};
use crate::{content::ContentId, limits::store::SMALL_FILES_PER_SYNC};

/// A blob in memory, and where it is to stand. For blobs of at most
/// [`NO_OUTBOARD_BYTES`](crate::limits::NO_OUTBOARD_BYTES), which have no outboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallBlob {
    /// What the bytes hash to, if they are right.
    pub id: ContentId,
    /// All of them.
    pub bytes: Vec<u8>,
    /// Its path below the library folder.
    pub to: LibraryPath,
}

/// What became of a [`SmallBlob`].
#[derive(Debug)]
pub enum PutOutcome {
    /// It stands under its name, durably.
    Stored,
    /// The bytes are too many, or not those of the id; nothing was written.
    Corrupt,
    /// This one could not be written.
    Failed(StoreError),
}

impl Store {
    /// Verifies and places small blobs; the outcomes are in the order of the blobs. Durable when it returns. An error is
    /// about all of them: none may be relied upon, and those that stand are found again when they are put again.
    pub fn put_small(&self, blobs: Vec<SmallBlob>) -> Result<Vec<PutOutcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(blobs.len());
        for round in blobs.chunks(SMALL_FILES_PER_SYNC) {
            self.check_room(round.iter().map(|blob| blob.bytes.len() as u64).sum())?;
            self.put_round(round, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    fn put_round(&self, round: &[SmallBlob], outcomes: &mut Vec<PutOutcome>) -> Result<(), StoreError> {
        let mut temps = Vec::with_capacity(round.len());
        for blob in round {
            temps.push(self.write_small(blob)?);
        }
        let mut folders: Vec<PathBuf> = Vec::new();
        let mut located: Vec<(ContentId, u64, Location)> = Vec::with_capacity(round.len());
        for temp in temps.iter().flatten() {
            temp.file.sync_all().map_err(at(&temp.path))?;
        }
        let named = round.iter().zip(&temps).filter(|(_, temp)| temp.is_some());
        let named: Vec<_> = named.map(|(blob, _)| Noted::named(blob.id, blob.to.as_str().as_bytes())).collect();
        self.note(Doing::Naming, &named, true)?;
        for (blob, temp) in round.iter().zip(&temps) {
            let Some(temp) = temp else {
                outcomes.push(PutOutcome::Corrupt);
                continue;
            };
            match self.name_file(temp, blob.to.as_str().as_bytes(), &blob.id, &mut folders) {
                Ok(location) => {
                    located.push((blob.id, blob.bytes.len() as u64, location));
                    outcomes.push(PutOutcome::Stored);
                }
                Err(error) => outcomes.push(PutOutcome::Failed(error)),
            }
        }
        self.sync_folders(folders)?;
        self.record(located)?;
        self.note(Doing::Naming, &named, false)
    }

    /// None if the bytes are wrong.
    fn write_small(&self, blob: &SmallBlob) -> Result<Option<Temp>, StoreError> {
        if blob.bytes.len() as u64 > crate::limits::NO_OUTBOARD_BYTES || ContentId::of(&blob.bytes) != blob.id {
            return Ok(None);
        }
        self.note_use();
        let temp = Temp::create(self.0.incoming.join(self.temp_name()))?;
        temp.file.write_all_at(&blob.bytes, 0).map_err(at(&temp.path))?;
        // The kernel starts to write now, so that the syncs that follow wait for one journal commit and not for many.
        let _ = fadvise(&temp.file, 0, None, Advice::DontNeed);
        Ok(Some(temp))
    }
}
