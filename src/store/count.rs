//! What the index counts, so that nobody has to read it for that.

use serde::{Deserialize, Serialize};

use super::{
    Fault,
    record::{LIBRARY, Record},
};

/// Of all records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) blobs: u64,
    /// Each blob once.
    pub(super) bytes: u64,
    /// What their files in the library take. Not stored: counted whenever the index is opened.
    #[serde(skip)]
    pub(super) library_bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, record: &Record) {
        self.blobs += 1;
        self.bytes += record.size;
        self.library_bytes += library_bytes(record);
    }

    pub(super) fn take(&mut self, record: &Record) {
        self.blobs -= 1;
        self.bytes -= record.size;
        self.library_bytes -= library_bytes(record);
    }

    /// Whether this count of all records is the one that was stored.
    pub(super) fn is(&self, stored: &Self) -> bool {
        (self.blobs, self.bytes) == (stored.blobs, stored.bytes)
    }
}

/// Names of one file are counted once.
fn library_bytes(record: &Record) -> u64 {
    let here = record.locations.iter().filter(|it| it.root == LIBRARY && it.fault != Some(Fault::Missing));
    let mut inodes: Vec<u64> = here.map(|it| it.inode).collect();
    inodes.sort_unstable();
    inodes.dedup();
    record.size * inodes.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::ContentId, store::record::Location};

    #[test]
    fn what_is_counted_is_what_takes_room() {
        let at = |root, inode, fault| Location { root, path: b"x".into(), mtime_ns: 0, inode, fault };
        let record = |locations| Record { id: ContentId([0; 32]), size: 10, locations };
        for (bytes, locations) in [
            (0, vec![at(7, 1, None)]),
            (10, vec![at(7, 1, None), at(LIBRARY, 2, None)]),
            (10, vec![at(LIBRARY, 2, None), at(LIBRARY, 2, None)]),
            (20, vec![at(LIBRARY, 2, Some(Fault::Damaged)), at(LIBRARY, 3, None)]),
            (0, vec![at(LIBRARY, 2, Some(Fault::Missing))]),
        ] {
            let record = record(locations);
            let mut count = Count::default();
            count.add(&record);
            assert_eq!(count, Count { blobs: 1, bytes: 10, library_bytes: bytes }, "{record:?}");
            count.take(&record);
            assert_eq!(count, Count::default());
        }
    }
}
