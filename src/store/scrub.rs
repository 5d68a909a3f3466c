//! The scrub: reading what is kept, a little at a time, to find what rots before somebody needs it.
//!
//! It reads the disk and not the cache, and leaves the cache to readers. What cannot be opened is left as it is: a disk that
//! is away has not rotted.

use std::{
    fs::File,
    io::Write,
    num::NonZeroU64,
    ops::{ControlFlow, Range},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::atomic::Ordering,
};

use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use super::{
    Fault, Store, StoreError, Verified,
    errors::at,
    record::{FIRST, Location, Record, encode},
    tree::{ProofError, Tree},
};
use crate::{
    content::ContentId,
    limits::{
        GROUP_BYTES,
        scrub::{FILE_BYTES, STEP_BYTES},
        wire::DATA_BYTES,
    },
};

/// How far the scrub is. It is kept in `scrub.position`, behind the BLAKE3 hash of what stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The blob that comes next is the first that is not below; none: the first of all.
    next: Option<ContentId>,
    /// Bytes of it that were read.
    offset: u64,
    /// Bytes of blobs that were read in this pass.
    pub checked_bytes: u64,
    /// Passes that came to their end.
    pub passes: u64,
    /// Files found damaged, in all passes.
    pub damaged: u64,
    /// Seconds of rest until the next pass.
    pub rest_s: u64,
}

impl Position {
    /// A pass is over; one over nothing does not count.
    fn begin_again(&mut self) {
        let passes = self.passes + u64::from(self.checked_bytes > 0);
        *self = Self { passes, damaged: self.damaged, ..Self::default() };
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that it read, at least [`FILE_BYTES`] for each file: opening one costs too.
    pub bytes: u64,
    /// Whether the pass is over.
    pub is_end: bool,
}

impl Store {
    /// A number that changes with everything that is read or written for others: not by [`Store::scrub`].
    pub fn uses(&self) -> u64 {
        self.0.uses.load(Ordering::Relaxed)
    }

    pub(super) fn note_use(&self) {
        self.0.uses.fetch_add(1, Ordering::Relaxed);
    }

    /// The position as it was last kept; the beginning if there is none, or a damaged one.
    pub fn scrub_position(&self) -> Position {
        let bytes = std::fs::read(self.position_path()).unwrap_or_default();
        let body = bytes.split_first_chunk::<32>().filter(|(hash, body)| blake3::hash(body) == **hash);
        body.and_then(|(_, body)| postcard::from_bytes(body).ok()).unwrap_or_default()
    }

    /// Keeps the position.
    pub fn keep_scrub_position(&self, position: &Position) -> Result<(), StoreError> {
        let (path, body) = (self.position_path(), encode(position));
        let draft = path.with_extension("position.draft");
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(blake3::hash(&body).as_bytes())?;
            file.write_all(&body)?;
            file.sync_data()?;
            std::fs::rename(&draft, &path)
        };
        write().map_err(at(&path))
    }

    fn position_path(&self) -> PathBuf {
        self.0.data.join("scrub.position")
    }

    /// Reads on from the position: [`STEP_BYTES`], or less if somebody uses the store meanwhile. A file that is found bad is
    /// written down as such; a damaged outboard is built again, which reads the whole file.
    pub fn scrub(&self, position: &mut Position) -> Result<Scrubbed, StoreError> {
        let (uses, mut bytes) = (self.uses(), 0);
        while bytes < STEP_BYTES && self.uses() == uses {
            let from = position.next.unwrap_or(FIRST);
            let Some(record) = self.next_record(&from)? else {
                position.begin_again();
                return Ok(Scrubbed { bytes, is_end: true });
            };
            if record.id != from {
                position.offset = 0;
            }
            let end = record.size.min(position.offset + DATA_BYTES);
            let range = position.offset..end;
            position.checked_bytes += end.saturating_sub(range.start);
            bytes += self.scrub_range(&record, range, &mut position.damaged)?;
            (position.next, position.offset) = (Some(record.id), end);
            if end >= record.size {
                (position.next, position.offset) = (successor(&record.id), 0);
                if position.next.is_none() {
                    position.begin_again();
                    return Ok(Scrubbed { bytes, is_end: true });
                }
            }
        }
        Ok(Scrubbed { bytes, is_end: false })
    }

    /// The first record whose id is not below this one.
    pub(super) fn next_record(&self, from: &ContentId) -> Result<Option<Record>, StoreError> {
        // What the records come in the order of.
        let prefix = |id: &ContentId| (id.0[0], id.0[1] >> 4);
        let mut first: Option<Record> = None;
        self.0.index.for_each_record(*from, &mut |record| {
            match &first {
                Some(first) if prefix(&first.id) < prefix(&record.id) => return false,
                Some(first) if first.id <= record.id => {}
                _ if record.id < *from => {}
                _ => first = Some(record),
            }
            true
        })?;
        Ok(first)
    }

    /// Checks some groups in every file of a blob; how many bytes were read.
    fn scrub_range(&self, record: &Record, range: Range<u64>, damaged: &mut u64) -> Result<u64, StoreError> {
        let tree = Tree::new(&record.id, record.size);
        let outboard = self.open_outboard(&record.id, &tree);
        let (mut bytes, mut seen, mut is_bad) = (0, Vec::new(), false);
        for location in &record.locations {
            if matches!(location.fault, Some(Fault::Changed | Fault::Damaged)) || self.is_away(location) {
                continue;
            }
            let Some((file, inode)) = self.open_location(location).ok().and_then(|file| {
                let metadata = file.metadata().ok()?;
                let is_it = location.fault.is_none() || location.is_same(record.size, &metadata);
                is_it.then(|| (file, (metadata.dev(), metadata.ino())))
            }) else {
                continue;
            };
            let known = seen.iter().find(|(known, _)| *known == inode).map(|(_, bad)| *bad);
            let bad = match known {
                Some(bad) => bad,
                None => {
                    bytes += range.end - range.start;
                    match read_from_disk(&tree, &file, outboard.as_ref(), &range) {
                        Ok(()) => None,
                        Err(ProofError::Data { offset }) => Some(offset),
                        Err(ProofError::Io { offset, error }) => {
                            log::warn!("cannot read {}: {error}", self.roots().path(location).display());
                            Some(offset)
                        }
                        Err(ProofError::Outboard { .. }) => {
                            log::warn!("the outboard of {} is missing or damaged; it is built again", record.id);
                            let verified = self.verify(&record.id, &mut |_| ControlFlow::Continue(()))?;
                            *damaged += u64::from(matches!(verified, Verified::Bad { fault: Fault::Damaged, .. }));
                            return Ok(bytes + record.size * record.locations.len() as u64);
                        }
                    }
                }
            };
            seen.push((inode, bad));
            match bad {
                None => self.set_fault(&record.id, location, None)?,
                Some(offset) => {
                    is_bad = true;
                    let fault = self.found_bad(&record.id, record.size, location, offset)?;
                    *damaged += u64::from(known.is_none() && fault == Fault::Damaged);
                }
            }
        }
        if is_bad && let Some(record) = self.0.index.record(&record.id)?.filter(Record::is_available) {
            let _recording = self.recording();
            self.name_again(record.lost_names().collect());
        }
        Ok(bytes.max(FILE_BYTES))
    }

    /// Writes down that a file is bad, and where.
    pub(super) fn found_bad(
        &self,
        id: &ContentId,
        size: u64,
        location: &Location,
        offset: u64,
    ) -> Result<Fault, StoreError> {
        let fault = self.fault_of(size, location)?;
        // What is away is not lost.
        if fault != Fault::Missing || !self.is_gone(location) {
            self.set_fault(id, location, Some(fault))?;
        }
        if fault == Fault::Damaged {
            // Last: who is told before the index says so takes it for mended.
            self.note_damage(id, location, std::iter::once(offset..size.min(offset + GROUP_BYTES)).collect());
        }
        Ok(fault)
    }
}

/// Proves a range of a file in what the disk gives, not the cache, and leaves nothing of it in the cache.
fn read_from_disk(tree: &Tree, file: &File, outboard: Option<&File>, range: &Range<u64>) -> Result<(), ProofError> {
    // No read-ahead: it would be read twice.
    let _ = fadvise(file, 0, None, Advice::Random);
    let length = NonZeroU64::new(range.end - range.start);
    let forget = || length.map(|length| fadvise(file, range.start, Some(length), Advice::DontNeed));
    forget();
    let proven = tree.prove(file, outboard, range, false);
    forget();
    proven.map(drop)
}

/// The id that follows; none after the last.
fn successor(id: &ContentId) -> Option<ContentId> {
    let mut bytes = id.0;
    for byte in bytes.iter_mut().rev() {
        let (next, carries) = byte.overflowing_add(1);
        *byte = next;
        if !carries {
            return Some(ContentId(bytes));
        }
    }
    None
}
