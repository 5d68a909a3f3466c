//! Syncing many files: one call for all of them where the file system can, else one for each.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Advice, fadvise, fstatfs, syncfs},
    system::uname,
};

use super::{StoreError, errors::at, files::Temp};
use crate::{
    clock,
    limits::store::{SYNC_ALL_BYTES, SYNC_ALL_MS, SYNC_EACH_MS},
};

/// File systems whose `syncfs` is known to do for every file what `fsync` does: ext2 to ext4, XFS, Btrfs, F2FS. FUSE does not
/// pass it on.
const SYNCED_AT_ONCE: [u32; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];
/// Linux tells what could not be written only since then.
const SYNCFS_TELLS: (u32, u32) = (5, 8);

/// What was found out about the disk: until when files are synced one by one.
#[derive(Default)]
pub(super) struct Slowness(Mutex<Option<Instant>>);

/// Temporary files in one folder that are made durable together.
pub(super) struct Together<'a> {
    folder: File,
    path: PathBuf,
    slowness: &'a Slowness,
}

impl<'a> Together<'a> {
    /// To be called before the first file is written: what can't be written from then on is told by [`Together::sync`].
    pub(super) fn begin(path: &Path, slowness: &'a Slowness) -> Result<Self, StoreError> {
        let folder = File::open(path).map_err(at(path))?;
        Ok(Self { folder, path: path.to_owned(), slowness })
    }

    /// Makes these files durable with their names, to which nobody writes any more.
    pub(super) fn sync(&self, files: &[&Temp]) -> Result<(), StoreError> {
        if files.len() > 1 && self.can_sync_all() {
            let begun = clock::now();
            syncfs(&self.folder).map_err(at(&self.path))?;
            self.slowness.learn(begun, clock::now());
        } else {
            for temp in files {
                // The kernel starts to write now, so that the syncs that follow wait for one journal commit and not for many.
                let _ = fadvise(&temp.file, 0, None, Advice::DontNeed);
            }
            files.iter().try_for_each(|temp| temp.file.sync_all().map_err(at(&temp.path)))?;
        }
        // Older kernels do not tell all that went wrong with `syncfs`, and ext4 without a journal has not flushed the disk.
        self.folder.sync_all().map_err(at(&self.path))
    }

    /// Whether all of the file system can be synced, and this does not take longer, as it waits for what others have written.
    fn can_sync_all(&self) -> bool {
        let is_known = fstatfs(&self.folder).is_ok_and(|disk| SYNCED_AT_ONCE.contains(&(disk.f_type as u32)));
        let release = uname().release().to_string_lossy().into_owned();
        is_known
            && version(&release) >= SYNCFS_TELLS
            && !self.slowness.lasts(clock::now())
            && waiting_bytes().is_some_and(|bytes| bytes <= SYNC_ALL_BYTES)
    }
}

impl Slowness {
    /// Notes how long it took to sync everything.
    fn learn(&self, begun: Instant, now: Instant) {
        if now.saturating_duration_since(begun) > Duration::from_millis(SYNC_ALL_MS) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + Duration::from_millis(SYNC_EACH_MS));
        }
    }

    fn lasts(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Bytes that all programs have written and that are not on any disk yet; none if the system does not tell.
fn waiting_bytes() -> Option<u64> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    kib("Dirty:")?.checked_add(kib("Writeback:")?)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_kernels_are_compared_by_their_numbers() {
        let known = ["5.7.19", "5.8", "5.10.0-32-amd64", "6.12.25+rpt-rpi-v8"];
        assert_eq!(known.map(version), [(5, 7), (5, 8), (5, 10), (6, 12)]);
        assert_eq!(known.map(|release| version(release) >= SYNCFS_TELLS), [false, true, true, true]);
        assert!(["", "unknown", "99999999999.1"].iter().all(|release| version(release) < SYNCFS_TELLS));
        assert!(waiting_bytes().is_some(), "Linux tells it");
    }

    #[test]
    fn a_sync_of_everything_that_takes_long_is_not_tried_again_soon() {
        let (slowness, start) = (Slowness::default(), clock::now());
        let after = |ms| start + Duration::from_millis(ms);
        slowness.learn(start, after(SYNC_ALL_MS));
        assert!(!slowness.lasts(after(SYNC_ALL_MS)));
        slowness.learn(start, after(SYNC_ALL_MS + 1));
        assert!(slowness.lasts(after(SYNC_ALL_MS + SYNC_EACH_MS)));
        assert!(!slowness.lasts(after(SYNC_ALL_MS + 1 + SYNC_EACH_MS)));
    }
}
