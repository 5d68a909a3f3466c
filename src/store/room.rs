//! Room: what is taken, what may be, and when a file was last used.

use std::{
    fs::File,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use super::{Store, StoreError, errors::at, files::free_bytes, partial::Partials};
use crate::clock;

/// Counts that cost nothing to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Blobs in the index, each counted once.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the files of the library and downloads take: what the quota is for.
    pub library_bytes: u64,
    /// Free bytes of the disk that downloads go to.
    pub free_bytes: u64,
}

impl Store {
    /// Counts of the whole store.
    pub fn totals(&self) -> Totals {
        let count = self.0.index.count();
        Totals {
            blobs: count.blobs,
            bytes: count.bytes,
            library_bytes: self.library_bytes(&self.partials()),
            free_bytes: free_bytes(&self.0.incoming).unwrap_or(0),
        }
    }

    /// Goes by another reserve and quota from now on, those of [`Options`](super::Options). What is here stays.
    pub fn set_bounds(&self, reserve_bytes: u64, quota_bytes: u64) {
        self.0.reserve_bytes.store(reserve_bytes, Relaxed);
        self.0.quota_bytes.store(quota_bytes, Relaxed);
    }

    /// What the files take, and the downloads that were begun, or will, and small files that have no names yet.
    fn library_bytes(&self, partials: &Partials) -> u64 {
        // One that is just being finished is counted as a file.
        let is_here =
            |id| self.0.index.record(id).is_ok_and(|record| record.is_some_and(|it| self.as_seen(&it).is_available()));
        let begun: u64 = partials.iter().filter(|(id, _)| !is_here(id)).map(|(_, partial)| partial.size()).sum();
        let unplaced = self.0.small.unplaced_bytes.load(Relaxed);
        self.0.index.count().library_bytes.saturating_add(begun).saturating_add(unplaced)
    }

    /// Fails if so many more bytes have no room: [`StoreError::OverQuota`] if they may not be kept, [`StoreError::NoSpace`] if
    /// the disk does not have them above the reserve, [`StoreError::LibraryAway`] if it is not there.
    pub fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        self.check_room_beside(&self.partials(), bytes)
    }

    /// The same for who holds the lock of the downloads.
    pub(super) fn check_room_beside(&self, partials: &Partials, bytes: u64) -> Result<(), StoreError> {
        let quota_bytes = self.0.quota_bytes.load(Relaxed);
        match self.library_bytes(partials).saturating_add(bytes).checked_sub(quota_bytes) {
            None | Some(0) => self.check_free(bytes),
            Some(missing_bytes) => Err(StoreError::OverQuota { quota_bytes, missing_bytes }),
        }
    }

    /// The same of the disk alone, for what is no content or is counted already.
    pub fn check_free(&self, bytes: u64) -> Result<(), StoreError> {
        self.check_library()?;
        let folder = &self.0.incoming;
        let free = free_bytes(folder).map_err(at(folder))?;
        match self.0.reserve_bytes.load(Relaxed).saturating_add(bytes).checked_sub(free) {
            None | Some(0) => Ok(()),
            Some(missing_bytes) => Err(StoreError::NoSpace { folder: folder.clone(), missing_bytes }),
        }
    }
}

/// Notes that a file of the library is used now, in its time of access: whatever the disk is mounted with, and at most once
/// in so many seconds: [`USED_S`](crate::limits::store::USED_S), if it is not of the cache.
pub(super) fn mark_used(file: &File, once_in_s: u64) {
    let last = file.metadata().and_then(|metadata| metadata.accessed()).unwrap_or(SystemTime::UNIX_EPOCH);
    let is_recent = |ago: Duration| ago.as_secs() < once_in_s;
    if clock::wall().duration_since(last).is_ok_and(is_recent) {
        return;
    }
    let at = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: at(UTIME_NOW), last_modification: at(UTIME_OMIT) };
    if let Err(error) = futimens(file, &times) {
        log::debug!("the time of access is not noted: {error}");
    }
}
