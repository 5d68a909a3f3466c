//! Syncing many files: one call for all of them where the file system can, else one for each.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Advice, fadvise, fstatfs, syncfs},
    system::uname,
};

use super::{StoreError, errors::at, files::Temp};
use crate::limits::store::SYNC_ALL_BYTES;

/// File systems whose `syncfs` is known to do for every file what `fsync` does: ext2 to ext4, XFS, Btrfs, F2FS. FUSE does not
/// pass it on.
const SYNCED_AT_ONCE: [u32; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];
/// Linux tells what could not be written only since then.
const SYNCFS_TELLS: (u32, u32) = (5, 8);

/// Temporary files in one folder that are made durable together.
pub(super) struct Together {
    folder: File,
    path: PathBuf,
}

impl Together {
    /// To be called before the first file is written: what can't be written from then on is told by [`Together::sync`].
    pub(super) fn begin(path: &Path) -> Result<Self, StoreError> {
        let folder = File::open(path).map_err(at(path))?;
        Ok(Self { folder, path: path.to_owned() })
    }

    /// Makes these files durable with their names, to which nobody writes any more.
    pub(super) fn sync(&self, files: &[&Temp]) -> Result<(), StoreError> {
        if files.len() > 1 && self.can_sync_all() {
            syncfs(&self.folder).map_err(at(&self.path))?;
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

    /// Whether all of the file system can be synced, and others have not written so much that waiting for it takes longer.
    fn can_sync_all(&self) -> bool {
        let is_known = fstatfs(&self.folder).is_ok_and(|disk| SYNCED_AT_ONCE.contains(&(disk.f_type as u32)));
        let release = uname().release().to_string_lossy().into_owned();
        is_known && version(&release) >= SYNCFS_TELLS && waiting_bytes().is_some_and(|bytes| bytes <= SYNC_ALL_BYTES)
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
}
