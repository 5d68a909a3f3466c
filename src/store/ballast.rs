//! Room that is kept for a full disk: a file that only takes room, and goes when the store can't be opened or emptied
//! without any. The index needs some when it is opened, and a removal writes before it deletes.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{Store, StoreError, errors::at, files::free_bytes};
use crate::limits::store::BALLAST_BYTES;

const NAME: &str = "ballast";

/// Gives the room to whoever needs it now; false if there was none to give.
pub(super) fn release(data: &Path) -> bool {
    let path = data.join(NAME);
    let released = std::fs::remove_file(&path).is_ok();
    if released {
        log::warn!(
            "no space left in {}: the file {NAME}, which was kept for this, is deleted; remove something with `allibrary rm`",
            data.display()
        );
    }
    released
}

/// Keeps as much room as there is above the reserve, or what it has.
pub(super) fn keep(data: &Path, reserve_bytes: u64) {
    let path = data.join(NAME);
    let has = path.metadata().map_or(0, |file| file.len());
    let free = free_bytes(data).unwrap_or(0);
    let bytes = free.saturating_add(has).saturating_sub(reserve_bytes).min(BALLAST_BYTES);
    if bytes <= has {
        return;
    }
    if let Err(error) = File::create(&path).and_then(|file| fill(&file, bytes)) {
        log::warn!("no room is kept for a full disk: {}: {error}", path.display());
        // Half of it would be taken for what was to be had.
        let _ = std::fs::remove_file(&path);
    }
}

/// Fails on a full disk: takes so much for a moment.
pub(super) fn probe(data: &Path, bytes: u64) -> Result<(), StoreError> {
    let path = data.join("room");
    let file = File::create(&path).map_err(at(&path))?;
    // Without a name it is gone when it is closed, however this ends.
    std::fs::remove_file(&path).map_err(at(&path))?;
    fill(&file, bytes).map_err(at(&path))
}

/// Takes the room for real.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // exFAT can't.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
            file.sync_all()
        }
        other => Ok(other?),
    }
}

impl Store {
    /// To be called before something is removed: on a full disk this makes the room that a removal takes.
    pub fn make_room(&self) {
        let data = &self.0.data;
        if free_bytes(data).is_ok_and(|free| free < BALLAST_BYTES) {
            release(data);
        }
    }
}
