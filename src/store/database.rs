//! sled, and what has to be known of it: it panics on some damage, waits for ever for some writes that failed, panics when
//! it can't be closed, and takes for damage what it did not finish to write.

use std::{
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use rustix::io::Errno;

use super::errors::{StoreError, at};
use crate::{clock, limits::store::FLUSH_STALL_MS};

/// sled's page cache. Its memory follows the records touched anyway.
const CACHE_BYTES: u64 = 1024 * 1024;

/// What sled says of a database that is open: its threads may still close the one of an opening that failed. No other
/// process has it, as the store has a lock of its own.
const LOCKED: &str = "could not acquire lock";
/// How often it is tried again, and how long after.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Called with a key and its value; false ends the scan.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError> + 'a;

/// An open database: some as long as it is not being closed.
pub(super) struct Database(Option<sled::Db>);

impl Database {
    /// Opens or makes the one in this folder.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        drop_unfinished_snapshots(folder)?;
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            // Whoever writes flushes, and a node at rest should not wake up.
            .flush_every_ms(None);
        for _ in 0..LOCK_TRIES {
            match guarded(|| config.open()) {
                Err(StoreError::Index(reason)) if reason.contains(LOCKED) => std::thread::sleep(LOCK_PAUSE),
                opened => return opened.map(|db| Self(Some(db))),
            }
        }
        Err(StoreError::io(folder, ErrorKind::WouldBlock.into()))
    }

    fn db(&self) -> &sled::Db {
        self.0.as_ref().expect("only drop takes it")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.db().is_empty()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        guarded(|| self.db().get(key))
    }

    /// Calls `f` with each key that starts with `prefix`, and its value, until it returns false.
    pub(super) fn scan(&self, prefix: &[u8], f: &mut Visit<'_>) -> Result<(), StoreError> {
        scan(self.db().scan_prefix(prefix), f)
    }

    /// The same of the keys from `start` on and below `end`.
    pub(super) fn scan_range(&self, start: &[u8], end: &[u8], f: &mut Visit<'_>) -> Result<(), StoreError> {
        scan(self.db().range(start..end), f)
    }

    /// Writes a batch; it is with the kernel when this returns, and not yet on the disk.
    pub(super) fn write(&self, batch: sled::Batch) -> Result<(), StoreError> {
        guarded(|| self.db().apply_batch(batch))?;
        let flush = guarded(|| Ok(self.db().flush_async()))?;
        match smol::future::block_on(clock::within(Duration::from_millis(FLUSH_STALL_MS), flush)) {
            Some(done) => guarded(|| done),
            // It may wait for ever for a write that failed. A second call finds the error, and wakes the first; if the disk
            // is only slow, it waits too.
            None => guarded(|| self.db().flush()),
        }?;
        Ok(())
    }
}

fn scan(mut entries: sled::Iter, f: &mut Visit<'_>) -> Result<(), StoreError> {
    while let Some((key, value)) = guarded(|| entries.next().transpose())? {
        if !f(&key, &value)? {
            break;
        }
    }
    Ok(())
}

impl Drop for Database {
    fn drop(&mut self) {
        let close = || {
            drop(self.0.take());
            Ok(())
        };
        if guarded(close).is_err() {
            log::warn!("the index could not be closed as it should; nothing is lost by that");
        }
    }
}

/// Deletes a snapshot that was being written when the process ended; the one before still stands.
fn drop_unfinished_snapshots(folder: &Path) -> Result<(), StoreError> {
    let Ok(files) = std::fs::read_dir(folder) else { return Ok(()) };
    for file in files {
        let path = file.map_err(at(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// A call that may panic.
fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) if !is_damage(&source) => Err(StoreError::io(Path::new("index"), source)),
        Ok(Err(error)) => Err(StoreError::Index(error.to_string())),
        Err(_) => Err(super::damage::damaged()),
    }
}

/// Whether it is about what is on the disk: sled reports some damage as I/O errors. The others are the system's.
fn is_damage(error: &io::Error) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, Other, UnexpectedEof};
    let unreadable = error.raw_os_error() == Some(Errno::IO.raw_os_error());
    let kinds = [InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, Other, UnexpectedEof];
    unreadable || kinds.contains(&error.kind())
}
