//! One process per data folder.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::errors::{StoreError, at};

/// Held while the store is open. The kernel lets go of it when the process ends, however it ends.
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    pub(super) fn take(data: &Path) -> Result<Self, StoreError> {
        let path = data.join("lock");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(StoreError::io(&path, error.into()));
            }
            let mut pid = String::new();
            let _unknown = file.take(16).read_to_string(&mut pid);
            return Err(StoreError::Locked { data: data.to_owned(), pid: pid.trim().parse().unwrap_or(0) });
        }
        // For people alone: a full disk takes no number, and may be served all the same.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}
