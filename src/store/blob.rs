//! Reading blobs. Every byte is verified in the buffer that is handed out.

use std::{
    fs::File,
    io,
    ops::{ControlFlow, Range},
    sync::Arc,
};

use rustix::fs::{OFlags, fcntl_setfl};

use super::{
    Download, Fault, ReadError, Store, StoreError, Verified,
    errors::{at, is_for_want},
    partial::Partial,
    record::{LIBRARY, Location, Record},
    room::mark_used,
    tree::{ProofError, Tree},
};
use crate::{
    content::ContentId,
    limits::{GROUP_BYTES, store::USED_S, wire::DATA_BYTES},
};

/// A blob that is open for reading. It stays readable when its file is deleted or renamed meanwhile.
pub struct Blob {
    store: Store,
    id: ContentId,
    size: u64,
    tree: Tree,
    outboard: Option<File>,
    source: Source,
    /// A wrong outboard is built again once.
    healed: bool,
}

enum Source {
    /// A file that holds all of it; which, to write down that it does not.
    File(File, Location),
    /// A download.
    Partial(File, Arc<Partial>),
}

impl Store {
    /// Opens a blob for verified reading; of one that is being downloaded, what is here by now.
    pub fn blob(&self, id: &ContentId) -> Result<Blob, ReadError> {
        match self.try_blob(id) {
            // Its download has ended and is just getting its name: when it has, it is in the index.
            Err(ReadError::Store(StoreError::Io { source, .. })) if source.kind() == io::ErrorKind::NotFound => {
                drop(self.recorded());
                self.try_blob(id)
            }
            // It may have been both between the two looks.
            Err(ReadError::NotFound(_)) => self.try_blob(id),
            opened => opened,
        }
    }

    fn try_blob(&self, id: &ContentId) -> Result<Blob, ReadError> {
        let record = self.0.index.record(id)?;
        let opened = record.as_ref().map(|record| self.open_good(record)).transpose()?;
        let (size, source) = match opened {
            Some(Ok(source)) => (record.map_or(0, |record| record.size), source),
            failed => {
                let fault = failed.and_then(Result::err);
                let Some(partial) = self.partials().get(id).cloned() else {
                    return Err(
                        fault.map_or(ReadError::NotFound(*id), |fault| ReadError::Unavailable { id: *id, fault })
                    );
                };
                let path = self.part_path(id);
                let file = File::open(&path).map_err(at(&path))?;
                (partial.size(), Source::Partial(file, partial))
            }
        };
        let tree = Tree::new(id, size);
        let outboard = self.open_outboard(id, &tree);
        Ok(Blob { store: self.clone(), id: *id, size, tree, outboard, source, healed: false })
    }

    /// None if the blob has none, or if it is gone: it is built again when it is needed.
    pub(super) fn open_outboard(&self, id: &ContentId, tree: &Tree) -> Option<File> {
        let outboard = (tree.outboard_bytes() > 0).then(|| File::open(self.outboard_path(id)).ok()).flatten()?;
        // When it was read is of no use, and would be written to the disk.
        let _ = fcntl_setfl(&outboard, OFlags::NOATIME);
        Some(outboard)
    }

    /// The first of its files that opens with the right size; those that do not are written down as missing or changed.
    fn open_good(&self, record: &Record) -> Result<Result<Source, Fault>, StoreError> {
        let mut worst = Fault::Missing;
        for location in &record.locations {
            if let Some(fault @ (Fault::Changed | Fault::Damaged)) = location.fault {
                worst = fault;
                continue;
            }
            if self.is_away(location) {
                continue;
            }
            let fault = match self.open_location(location) {
                Ok(file) if file.metadata().is_ok_and(|metadata| metadata.len() == record.size) => {
                    // A medium that was away is back.
                    self.set_fault(&record.id, location, None)?;
                    if location.root == LIBRARY {
                        mark_used(&file, if self.is_cached(location) { 0 } else { USED_S });
                    }
                    return Ok(Ok(Source::File(file, location.clone())));
                }
                Ok(_) => Fault::Changed,
                Err(error) if is_for_want(&error) => return Err(StoreError::io(&self.roots().path(location), error)),
                Err(_) if self.is_gone(location) => continue,
                Err(_) => Fault::Missing,
            };
            self.set_fault(&record.id, location, Some(fault))?;
            worst = fault;
        }
        Ok(Err(worst))
    }

    /// What is wrong with a file that did not give the bytes it should.
    pub(super) fn fault_of(&self, size: u64, location: &Location) -> Result<Fault, StoreError> {
        match self.open_location(location).and_then(|file| file.metadata()) {
            Err(error) if is_for_want(&error) => Err(StoreError::io(&self.roots().path(location), error)),
            Err(_) => Ok(Fault::Missing),
            Ok(metadata) if location.is_same(size, &metadata) => Ok(Fault::Damaged),
            Ok(_) => Ok(Fault::Changed),
        }
    }

    pub(super) fn set_fault(
        &self,
        id: &ContentId,
        location: &Location,
        fault: Option<Fault>,
    ) -> Result<(), StoreError> {
        if location.fault == fault {
            return Ok(());
        }
        if let Some(fault) = fault {
            log::warn!("{} is {fault}", self.roots().path(location).display());
        }
        let changed = self.0.index.change(&[*id], &mut |_, record| {
            let mut record = record?;
            for known in &mut record.locations {
                if known.is_still(location) {
                    known.fault = fault;
                }
            }
            Some(record)
        });
        self.tell_fault();
        changed
    }
}

impl Blob {
    pub(super) fn of_download(download: &Download) -> Result<Self, StoreError> {
        let (store, id) = (download.store.clone(), download.id);
        let clone = |file: &File| file.try_clone().map_err(at(&store.part_path(&id)));
        let source = Source::Partial(clone(&download.data)?, download.partial.0.clone());
        let outboard = download.outboard.as_ref().map(clone).transpose()?;
        let size = download.size();
        Ok(Self {
            store: download.store.clone(),
            id,
            size,
            tree: Tree::new(&id, size),
            outboard,
            source,
            healed: false,
        })
    }

    /// Which blob it is.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Bytes of the whole blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Which ranges can be read: all of it, or what of a download is here by now. Ascending, whole groups.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        match &self.source {
            Source::File(..) => Vec::from_iter((self.size > 0).then_some(0..self.size)),
            Source::Partial(_, partial) => partial.verified_ranges(),
        }
    }

    /// Whether this range can be read.
    pub fn has(&self, range: &Range<u64>) -> bool {
        let groups = range.start / GROUP_BYTES..range.end.div_ceil(GROUP_BYTES);
        match &self.source {
            Source::File(..) => range.end <= self.size,
            Source::Partial(_, partial) => {
                let here = partial.groups();
                range.end <= here.size() && groups.into_iter().all(|group| here.contains(group))
            }
        }
    }

    /// Verified bytes of any range of at most [`DATA_BYTES`].
    pub fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
        if range.start > range.end || range.end > self.size || range.end - range.start > DATA_BYTES {
            return Err(ReadError::Range { start: range.start, end: range.end });
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let start = range.start / GROUP_BYTES * GROUP_BYTES;
        let groups = start..range.end.next_multiple_of(GROUP_BYTES).min(self.size);
        let mut bytes = self.prove(&groups, false)?;
        bytes.truncate((range.end - start) as usize);
        bytes.drain(..(range.start - start) as usize);
        Ok(bytes)
    }

    /// The same groups in bao's response encoding, what `wire::blob::Data::encoded` holds. The range is of whole groups, at
    /// most [`DATA_BYTES`], or ends at the blob's end.
    pub fn encode(&mut self, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
        if !is_groups(&range, self.size) {
            return Err(ReadError::Range { start: range.start, end: range.end });
        }
        self.prove(&range, true)
    }

    fn prove(&mut self, range: &Range<u64>, with_hashes: bool) -> Result<Vec<u8>, ReadError> {
        self.store.note_use();
        loop {
            let file = match &self.source {
                Source::File(file, _) => file,
                Source::Partial(..) if !self.has(range) => {
                    return Err(ReadError::Range { start: range.start, end: range.end });
                }
                Source::Partial(file, _) => file,
            };
            match self.tree.prove(file, self.outboard.as_ref(), range, with_hashes) {
                Ok(bytes) => return Ok(bytes),
                Err(ProofError::Data { offset }) => self.next_source(offset)?,
                Err(ProofError::Outboard { offset }) => self.heal(offset)?,
                Err(ProofError::Io { offset, error }) => {
                    log::warn!("cannot read {}: {error}", self.id);
                    self.next_source(offset)?;
                }
            }
        }
    }

    /// Builds a wrong outboard again, by hashing the file.
    fn heal(&mut self, offset: u64) -> Result<(), ReadError> {
        if self.healed || matches!(self.source, Source::Partial(..)) {
            return Err(ReadError::Damaged { id: self.id, fault: Fault::Damaged, offset });
        }
        self.healed = true;
        log::warn!("the outboard of {} is missing or damaged; it is built again", self.id);
        match self.store.verify(&self.id, &mut |_| ControlFlow::Continue(()))? {
            Verified::Good => {
                self.outboard = self.store.open_outboard(&self.id, &self.tree);
                Ok(())
            }
            Verified::Bad { fault, .. } => Err(ReadError::Damaged { id: self.id, fault, offset }),
        }
    }

    /// Writes down that the file is bad, and goes on with another that holds the same blob, if there is one.
    fn next_source(&mut self, offset: u64) -> Result<(), ReadError> {
        let Source::File(_, location) = &self.source else {
            return Err(ReadError::Damaged { id: self.id, fault: Fault::Damaged, offset });
        };
        let fault = self.store.found_bad(&self.id, self.size, location, offset)?;
        let record = self.store.0.index.record(&self.id)?;
        match record.map(|record| self.store.open_good(&record)).transpose()? {
            Some(Ok(source)) => {
                self.source = source;
                Ok(())
            }
            _ => Err(ReadError::Damaged { id: self.id, fault, offset }),
        }
    }
}

/// Whether a range is of whole groups of a blob of this size, and not too long for one message.
pub(super) fn is_groups(range: &Range<u64>, size: u64) -> bool {
    range.start < range.end
        && range.end <= size
        && range.end - range.start <= DATA_BYTES
        && range.start.is_multiple_of(GROUP_BYTES)
        && (range.end.is_multiple_of(GROUP_BYTES) || range.end == size)
}
