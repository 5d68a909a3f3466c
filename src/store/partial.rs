//! What is known of downloads that were begun, in memory and on disk.

use std::{
    collections::HashMap,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Store, StoreError, bits, errors::at, files::remove_file};
use crate::{content::ContentId, groups::Groups};

/// The downloads that were begun and not finished.
pub(super) type Partials = HashMap<ContentId, Arc<Partial>>;

/// What is known of a download, running or not.
pub(super) struct Partial {
    groups: Mutex<Groups>,
    pub(super) running: AtomicBool,
    /// Whether all that is here of the blob is known: false after a start, and of what rotted.
    pub(super) searched: AtomicBool,
}

impl Partial {
    pub(super) fn new(groups: Groups) -> Arc<Self> {
        Arc::new(Self { groups: Mutex::new(groups), running: AtomicBool::new(false), searched: AtomicBool::new(false) })
    }

    pub(super) fn groups(&self) -> MutexGuard<'_, Groups> {
        // Each change is complete in itself.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn size(&self) -> u64 {
        self.groups().size()
    }

    pub(super) fn verified_bytes(&self) -> u64 {
        self.groups().verified_bytes()
    }

    pub(super) fn verified_ranges(&self) -> Vec<Range<u64>> {
        self.groups().ranges(true)
    }
}

/// The right to be the one download of a blob.
pub(super) struct Claim(pub(super) Arc<Partial>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

impl Store {
    pub(super) fn partials(&self) -> MutexGuard<'_, Partials> {
        // Nothing panics between two changes of the map.
        self.0.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The blobs whose download was begun.
    pub fn begun(&self) -> Vec<ContentId> {
        self.partials().keys().copied().collect()
    }

    pub(super) fn part_path(&self, id: &ContentId) -> PathBuf {
        self.0.incoming.join(format!("{id}.part"))
    }

    pub(super) fn bits_path(&self, id: &ContentId) -> PathBuf {
        self.0.incoming.join(format!("{id}.bits"))
    }

    /// Finds the downloads that earlier runs began. One without bits had no checkpoint yet, or lost them: what is in it is
    /// found when it is resumed.
    pub(super) fn load_partials(&self) -> Result<(), StoreError> {
        let folder = &self.0.incoming;
        for entry in std::fs::read_dir(folder).map_err(at(folder))? {
            let path = entry.map_err(at(folder))?.path();
            let Some(id) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()) else { continue };
            let (part, bits) = (self.part_path(&id), self.bits_path(&id));
            match part.metadata() {
                Ok(metadata) if path == part => {
                    let saved = std::fs::read(&bits).ok().and_then(|bytes| bits::from_bytes(&id, &bytes));
                    let groups = saved.unwrap_or_else(|| Groups::none(metadata.len()));
                    self.partials().insert(id, Partial::new(groups));
                }
                Ok(_) => {}
                // Bits without the bytes that they speak of are worth nothing.
                Err(_) => remove_file(&path)?,
            }
        }
        Ok(())
    }
}
