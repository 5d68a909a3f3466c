//! What the index says of a blob, and of the files that hold it.

use std::{fs::Metadata, os::unix::fs::MetadataExt};

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::{
    content::ContentId,
    limits::store::{LOCATIONS, VALUE_BYTES},
};

/// The number of the library folder among the roots.
pub(super) const LIBRARY: u32 = 0;

/// The first of all ids.
pub(super) const FIRST: ContentId = ContentId([0; 32]);

/// What is stored of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: ContentId,
    pub(super) size: u64,
    /// Never empty; how many fit is [`Record::has_room`]'s to say.
    pub(super) locations: Vec<Location>,
}

/// A file that holds a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Location {
    /// Number of the folder that `path` is relative to; 0 is the library.
    pub(super) root: u32,
    /// Any bytes that a file name may have.
    pub(super) path: Vec<u8>,
    pub(super) mtime_ns: i64,
    pub(super) inode: u64,
    /// None as long as nobody found the file gone or wrong.
    pub(super) fault: Option<Fault>,
}

impl Record {
    /// Whether the record with one more location still fits in a page of its own.
    pub(super) fn has_room(&self, location: &Location) -> bool {
        self.locations.len() < LOCATIONS && encode(self).len() + location.path.len() + 32 <= VALUE_BYTES - 8
    }

    pub(super) fn is_available(&self) -> bool {
        self.locations.iter().any(|location| location.fault.is_none())
    }

    /// What is wrong with a blob that is not available: rot is told first, for that can be mended.
    pub(super) fn fault(&self) -> Fault {
        let mut faults = [Fault::Damaged, Fault::Changed].into_iter();
        faults.find(|fault| self.locations.iter().any(|it| it.fault == Some(*fault))).unwrap_or(Fault::Missing)
    }

    /// Library files that rotted or went missing, and may have their names again when the blob is here.
    pub(super) fn lost_names(&self) -> impl Iterator<Item = (ContentId, Location)> {
        let lost = |it: &&Location| it.is_rotten_copy() || it.root == LIBRARY && it.fault == Some(Fault::Missing);
        self.locations.iter().filter(lost).map(|location| (self.id, location.clone()))
    }
}

impl Location {
    /// Of a file that was just found to hold its blob.
    pub(super) fn new(root: u32, path: Vec<u8>, metadata: &Metadata) -> Self {
        Self { root, path, mtime_ns: mtime_ns(metadata), inode: metadata.ino(), fault: None }
    }

    pub(super) fn is_at(&self, root: u32, path: &[u8]) -> bool {
        self.root == root && self.path == path
    }

    /// Whether this is a file of the library that rotted.
    pub(super) fn is_rotten_copy(&self) -> bool {
        self.root == LIBRARY && self.fault == Some(Fault::Damaged)
    }

    /// Whether this is what was known of the file then: not if it was imported or fetched again meanwhile.
    pub(super) fn is_still(&self, then: &Self) -> bool {
        self.is_at(then.root, &then.path) && (self.mtime_ns, self.inode) == (then.mtime_ns, then.inode)
    }

    /// Whether size, time of change and inode are still those of when the file was verified.
    pub(super) fn is_same(&self, size: u64, metadata: &Metadata) -> bool {
        metadata.len() == size && mtime_ns(metadata) == self.mtime_ns && metadata.ino() == self.inode
    }
}

/// Nanoseconds since 1970 of the last change of a file's bytes.
pub(super) fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("records hold only what postcard encodes, and a Vec grows")
}
