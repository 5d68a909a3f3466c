//! Downloads: verified groups are written where they belong, and what is here survives.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{
    LibraryPath, Store, StoreError, WriteError,
    blob::is_groups,
    errors::at,
    files::{Temp, sync_folder},
    paths::Folder,
    tree::Tree,
};
use crate::{
    content::ContentId,
    limits::{GROUP_BYTES, store::CHECKPOINT_BYTES},
};

/// A download under way. One at a time for each blob. Dropping it keeps what was written.
pub struct Download {
    store: Store,
    id: ContentId,
    tree: Tree,
    partial: Arc<Partial>,
    data: File,
    outboard: Option<File>,
    /// Offsets of the pairs that the last write saved: neighbouring ranges share most of their path to the root.
    saved_pairs: Vec<u64>,
    unsynced_bytes: u64,
}

/// What is known of a download, running or not.
pub(super) struct Partial {
    groups: Mutex<Groups>,
    running: AtomicBool,
}

/// Which groups of a blob are here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Groups {
    size: u64,
    bits: Vec<u8>,
    count: u64,
}

impl Groups {
    fn none(size: u64) -> Self {
        Self { size, bits: vec![0; size.div_ceil(GROUP_BYTES).div_ceil(8) as usize], count: 0 }
    }

    fn len(&self) -> u64 {
        self.size.div_ceil(GROUP_BYTES)
    }

    fn has(&self, group: u64) -> bool {
        self.bits[(group / 8) as usize] & 1 << (group % 8) != 0
    }

    fn add(&mut self, group: u64) {
        if !self.has(group) {
            self.bits[(group / 8) as usize] |= 1 << (group % 8);
            self.count += 1;
        }
    }

    fn range(&self, group: u64) -> Range<u64> {
        group * GROUP_BYTES..((group + 1) * GROUP_BYTES).min(self.size)
    }

    /// The byte ranges of the groups that are here, or that are not.
    fn ranges(&self, here: bool) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for group in (0..self.len()).filter(|group| self.has(*group) == here) {
            let range = self.range(group);
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }

    fn verified_bytes(&self) -> u64 {
        match self.len().checked_sub(1) {
            Some(last) if self.has(last) => (self.count - 1) * GROUP_BYTES + (self.size - last * GROUP_BYTES),
            _ => self.count * GROUP_BYTES,
        }
    }

    /// Size, bits, and a checksum over id and both.
    fn to_bytes(&self, id: &ContentId) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.bits);
        let sum = checksum(id, &bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn from_bytes(id: &ContentId, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        let (size, bits) = body.split_first_chunk::<8>()?;
        let mut groups = Self::none(0);
        groups.size = u64::from_le_bytes(*size);
        let fits = bits.len() as u64 == groups.len().div_ceil(8) && *sum == checksum(id, body);
        groups.bits = bits.to_vec();
        groups.count = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        fits.then_some(groups)
    }
}

fn checksum(id: &ContentId, bytes: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(&id.0).update(bytes).finalize().as_bytes()
}

impl Partial {
    fn new(groups: Groups) -> Arc<Self> {
        Arc::new(Self { groups: Mutex::new(groups), running: AtomicBool::new(false) })
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        // Each change is complete in itself.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn size(&self) -> u64 {
        self.groups().size
    }

    pub(super) fn verified_bytes(&self) -> u64 {
        self.groups().verified_bytes()
    }

    pub(super) fn verified_ranges(&self) -> Vec<Range<u64>> {
        self.groups().ranges(true)
    }
}

impl Store {
    pub(super) fn part_path(&self, id: &ContentId) -> PathBuf {
        self.0.incoming.join(format!("{id}.part"))
    }

    fn bits_path(&self, id: &ContentId) -> PathBuf {
        self.0.incoming.join(format!("{id}.bits"))
    }

    /// Finds the downloads that earlier runs began.
    pub(super) fn load_partials(&self) -> Result<(), StoreError> {
        let folder = &self.0.incoming;
        for entry in std::fs::read_dir(folder).map_err(at(folder))? {
            let path = entry.map_err(at(folder))?.path();
            if path.extension().is_none_or(|extension| extension != "bits") {
                continue;
            }
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            let groups = std::fs::read(&path).ok().zip(id).and_then(|(bytes, id)| Groups::from_bytes(&id, &bytes));
            match id.zip(groups) {
                Some((id, groups)) if self.part_path(&id).is_file() => {
                    self.partials().insert(id, Partial::new(groups));
                }
                // Bits without the bytes that they speak of are worth nothing.
                _ => std::fs::remove_file(&path).map_err(at(&path))?,
            }
        }
        Ok(())
    }

    /// Starts or resumes a download. What an earlier run wrote after its last checkpoint is verified again, from disk.
    ///
    /// `Busy` if it is under way already, `AlreadyHere` if the blob is complete, `WrongSize` if another size was proven,
    /// `NoSpace` if the disk does not have room for it above the reserve.
    pub fn download(&self, id: ContentId, size: u64) -> Result<Download, StoreError> {
        if self.0.index.record(&id)?.is_some_and(|record| record.is_available()) {
            return Err(StoreError::AlreadyHere(id));
        }
        let (partial, is_new) = self.claim(id, size)?;
        // From here on, dropping it lets go of the claim.
        let claim = Claim(&partial);
        let tree = Tree::new(&id, size);
        let part = self.part_path(&id);
        let open = |path: &Path| {
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(at(path))
        };
        let data = open(&part)?;
        let outboard = match tree.outboard_bytes() {
            0 => None,
            _ => {
                self.make_outboard_folder(&id)?;
                Some(open(&self.outboard_path(&id))?)
            }
        };
        self.preallocate(&data, size)?;
        std::mem::forget(claim);
        let mut download = Download {
            store: self.clone(),
            id,
            tree,
            partial,
            data,
            outboard,
            saved_pairs: Vec::new(),
            unsynced_bytes: 0,
        };
        if is_new {
            download.write_bits()?;
        }
        download.find_written();
        Ok(download)
    }

    /// Takes the right to be the one download of this blob. Also says whether it starts from nothing.
    fn claim(&self, id: ContentId, size: u64) -> Result<(Arc<Partial>, bool), StoreError> {
        let mut partials = self.partials();
        let mut is_new = !partials.contains_key(&id);
        let partial = partials.entry(id).or_insert_with(|| Partial::new(Groups::none(size)));
        if partial.running.swap(true, Ordering::AcqRel) {
            return Err(StoreError::Busy(id));
        }
        let mut groups = partial.groups();
        if groups.size != size {
            // The size is proven by the last group alone.
            if groups.len().checked_sub(1).is_some_and(|last| groups.has(last)) {
                partial.running.store(false, Ordering::Release);
                return Err(StoreError::WrongSize { id, claimed: size });
            }
            *groups = Groups::none(size);
            is_new = true;
        }
        drop(groups);
        Ok((partial.clone(), is_new))
    }

    /// Takes the room for the file, where the file system can.
    fn preallocate(&self, file: &File, size: u64) -> Result<(), StoreError> {
        let path = &self.0.incoming;
        let metadata = file.metadata().map_err(at(path))?;
        if metadata.len() > size {
            file.set_len(size).map_err(at(path))?;
        }
        let has = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        self.check_room(size.saturating_sub(has))?;
        if size == 0 {
            return Ok(());
        }
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) | Ok(()) => Ok(()),
            Err(error) => Err(StoreError::io(path, error.into())),
        }
    }

    /// Gives up a download that is not running, and deletes what came of it. Nothing happens if there is none.
    pub fn discard(&self, id: &ContentId) -> Result<(), StoreError> {
        let mut partials = self.partials();
        match partials.get(id) {
            None => return Ok(()),
            Some(partial) if partial.running.load(Ordering::Acquire) => return Err(StoreError::Busy(*id)),
            Some(_) => partials.remove(id),
        };
        // The bits go first: they must not speak of bytes that are gone.
        for path in [self.bits_path(id), self.part_path(id)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(StoreError::io(&path, error)),
                _ => {}
            }
        }
        drop(partials);
        if self.0.index.record(id)?.is_none() { self.drop_outboard(id) } else { Ok(()) }
    }
}

/// Lets go of a claim when opening the files fails.
struct Claim<'a>(&'a Partial);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

impl Download {
    /// Which blob it is.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Bytes of the whole blob, as claimed. Proven once its last group is here.
    pub fn size(&self) -> u64 {
        self.partial.size()
    }

    /// What is still to be fetched: ascending, whole groups.
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.partial.groups().ranges(false)
    }

    /// Bytes that are here.
    pub fn verified_bytes(&self) -> u64 {
        self.partial.verified_bytes()
    }

    /// Verifies one encoded range of whole groups, and writes it. Wrong bytes are `WriteError::Corrupt` and change nothing.
    pub fn write(&mut self, range: Range<u64>, encoded: &[u8]) -> Result<(), WriteError> {
        if !is_groups(&range, self.size()) {
            return Err(WriteError::Range { start: range.start, end: range.end });
        }
        let checked = self.tree.check(&range, encoded).ok_or(WriteError::Corrupt(self.id))?;
        self.store.check_room(0)?;
        let path = self.store.part_path(&self.id);
        if let Some(outboard) = &self.outboard {
            for (offset, pair) in &checked.pairs {
                if !self.saved_pairs.contains(offset) {
                    outboard.write_all_at(pair, *offset).map_err(at(&self.store.outboard_path(&self.id)))?;
                }
            }
        }
        self.saved_pairs = checked.pairs.iter().map(|(offset, _)| *offset).collect();
        for (offset, group) in &checked.groups {
            self.data.write_all_at(group, *offset).map_err(at(&path))?;
        }
        let mut groups = self.partial.groups();
        checked.groups.iter().for_each(|(offset, _)| groups.add(offset / GROUP_BYTES));
        self.unsynced_bytes += range.end - range.start;
        Ok(())
    }

    /// Whether so much was written that [`Download::checkpoint`] is due. Callers also call it every 30 s.
    pub fn needs_checkpoint(&self) -> bool {
        self.unsynced_bytes >= CHECKPOINT_BYTES
    }

    /// Makes what was written durable.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        if self.unsynced_bytes > 0 {
            self.sync()?;
            self.write_bits()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.data.sync_data().map_err(at(&self.store.part_path(&self.id)))?;
        if let Some(outboard) = &self.outboard {
            outboard.sync_data().map_err(at(&self.store.outboard_path(&self.id)))?;
        }
        self.unsynced_bytes = 0;
        Ok(())
    }

    /// Replaces the bits on disk by those in memory, whose groups are synced.
    fn write_bits(&self) -> Result<(), StoreError> {
        let bytes = self.partial.groups().to_bytes(&self.id);
        let temp = Temp::create(self.store.0.incoming.join(self.store.temp_name()))?;
        temp.file.write_all_at(&bytes, 0).and_then(|()| temp.file.sync_data()).map_err(at(&temp.path))?;
        let path = self.store.bits_path(&self.id);
        std::fs::rename(&temp.path, &path).map_err(at(&path))
    }

    /// Looks on disk for groups that were written after the last checkpoint.
    fn find_written(&mut self) {
        let missing = self.missing();
        for range in missing {
            for start in range.clone().step_by(GROUP_BYTES as usize) {
                let group = start..(start + GROUP_BYTES).min(range.end);
                if self.tree.prove(&self.data, self.outboard.as_ref(), &group, false).is_ok() {
                    self.partial.groups().add(start / GROUP_BYTES);
                    self.unsynced_bytes += group.end - group.start;
                }
            }
        }
    }

    /// Moves the complete file to `library/<to>`, and puts it into the index. The same blob under that name is kept; what
    /// else is in the way is set aside, never overwritten. Durable when it returns.
    pub fn finish(mut self, to: &LibraryPath) -> Result<(), WriteError> {
        let size = self.size();
        let missing_bytes = size - self.verified_bytes();
        if missing_bytes > 0 {
            return Err(WriteError::Incomplete { missing_bytes });
        }
        if size == 0 && self.id != ContentId::of(b"") {
            return Err(WriteError::Corrupt(self.id));
        }
        self.sync()?;
        let store = &self.store;
        if let Some(folder) = store.outboard_path(&self.id).parent().filter(|_| self.outboard.is_some()) {
            sync_folder(folder)?;
        }
        let part = store.part_path(&self.id);
        let incoming = Folder::open(&store.0.incoming)?;
        let mut folders = Vec::new();
        let name = part.file_name().unwrap_or_default();
        let location = store.name_incoming(&incoming, name, to.as_str().as_bytes(), &self.id, &mut folders)?;
        store.sync_folders(folders)?;
        store.record(vec![(self.id, size, location)])?;
        store.partials().remove(&self.id);
        for path in [store.bits_path(&self.id), part] {
            // Harmless if it stays: bits without bytes are dropped at the next start, and bytes that are here are proven.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.partial.running.store(false, Ordering::Release);
    }
}
