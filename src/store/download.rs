//! Downloads: verified groups are written where they belong, and what is here survives.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{
    Blob, Store, StoreError, WriteError, bits,
    blob::is_groups,
    errors::at,
    files::{Temp, remove_file, sync_folder},
    numbers::Numbers,
    partial::{Claim, Partial},
    tree::{PAIR, Tree},
};
use crate::{
    content::ContentId,
    groups::Groups,
    limits::{GROUP_BYTES, store::CHECKPOINT_BYTES},
};

/// A download under way. One at a time for each blob, which any number of threads may write to. Dropping it keeps what was
/// written.
pub struct Download {
    pub(super) store: Store,
    pub(super) id: ContentId,
    tree: Tree,
    pub(super) partial: Claim,
    pub(super) data: File,
    pub(super) outboard: Option<File>,
    /// Which pairs of the outboard were saved: neighbouring ranges share most of their path to the root.
    saved_pairs: Mutex<Numbers>,
    pub(super) unsynced_bytes: AtomicU64,
    /// Read by those that write.
    pub(super) writing: RwLock<()>,
    /// Held while what was written is made durable.
    pub(super) syncing: Mutex<()>,
}

impl Store {
    /// Starts or resumes a download. What an earlier run wrote after its last checkpoint is verified again, from disk.
    ///
    /// `Busy` if it is under way already, `AlreadyHere` if the blob is complete, `WrongSize` if another size was proven,
    /// `NoSpace` if the disk does not have room for it above the reserve, `OverQuota` if it may not be kept.
    pub fn download(&self, id: ContentId, size: u64) -> Result<Download, StoreError> {
        let mut remains = Vec::new();
        if let Some(record) = self.0.index.record(&id)? {
            if self.as_seen(&record).is_available() {
                return Err(StoreError::AlreadyHere(id));
            }
            self.check_library()?;
            // It was here once: its size is proven.
            if record.size != size {
                return Err(StoreError::WrongSize { id, claimed: size });
            }
            self.salvage(&record)?;
            remains = self.remains(&record);
        }
        let partial = self.claim(id, size)?;
        let is_new = !self.part_path(&id).exists();
        match self.open_download(id, size, partial, &remains) {
            Err(error) if error.is_about_room() => {
                // What was taken of the room is given back, unless something of the blob is in it.
                if is_new {
                    self.discard(&id)?;
                }
                Err(error)
            }
            other => other,
        }
    }

    fn open_download(&self, id: ContentId, size: u64, claim: Claim, remains: &[File]) -> Result<Download, StoreError> {
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
        let pairs = tree.outboard_bytes() / PAIR as u64;
        let is_new = data.metadata().map_err(at(&part))?.len() == 0;
        self.preallocate(&data, size)?;
        let download = Download {
            store: self.clone(),
            id,
            tree,
            partial: claim,
            data,
            outboard,
            saved_pairs: Mutex::new(Numbers::none(pairs)),
            unsynced_bytes: AtomicU64::new(0),
            writing: RwLock::new(()),
            syncing: Mutex::new(()),
        };
        if is_new {
            // Nothing is in it, whatever was: the file may have got its name when the rest of finishing failed.
            *download.partial.0.groups() = Groups::none(size);
            download.partial.0.searched.store(false, Ordering::Release);
        }
        if !download.partial.0.searched.load(Ordering::Acquire) {
            // In a large file that is new there is much to look through, and nothing to be found.
            if !is_new {
                download.find_written(None)?;
            }
            remains.iter().try_for_each(|file| download.find_written(Some(file)))?;
            download.partial.0.searched.store(true, Ordering::Release);
        } else {
            // An earlier download of this process may have written them, and not made them durable.
            download.unsynced_bytes.store(download.verified_bytes(), Ordering::Relaxed);
        }
        Ok(download)
    }

    /// Takes the right to be the one download of this blob.
    fn claim(&self, id: ContentId, size: u64) -> Result<Claim, StoreError> {
        let mut partials = self.partials();
        let partial = match partials.get(&id) {
            Some(partial) => partial.clone(),
            None => {
                // Also keeps the bits of an absurd size from being allocated.
                self.check_room_beside(&partials, size)?;
                Partial::new(Groups::none(size))
            }
        };
        if partial.running.swap(true, Ordering::AcqRel) {
            return Err(StoreError::Busy(id));
        }
        let claim = Claim(partial);
        let old_size = claim.0.size();
        if old_size != size {
            // The size is proven by the last group alone.
            if claim.0.groups().has_last() {
                return Err(StoreError::WrongSize { id, claimed: size });
            }
            self.check_room_beside(&partials, size.saturating_sub(old_size))?;
            // Durably: these bits must not come back to speak of the new file.
            remove_file(&self.bits_path(&id))?;
            sync_folder(&self.0.incoming)?;
            *claim.0.groups() = Groups::none(size);
            claim.0.searched.store(false, Ordering::Release);
        }
        partials.insert(id, claim.0.clone());
        self.0.news.notify(usize::MAX);
        Ok(claim)
    }

    /// Takes the room for the file, where the file system can.
    fn preallocate(&self, file: &File, size: u64) -> Result<(), StoreError> {
        let path = &self.0.incoming;
        let metadata = file.metadata().map_err(at(path))?;
        if metadata.len() > size {
            file.set_len(size).map_err(at(path))?;
        }
        let has = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        self.check_free(size.saturating_sub(has))?;
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
        // The bits go first: they must not speak of bytes that are gone. The bytes go last: without them the next start
        // would not know what else is left.
        remove_file(&self.bits_path(id))?;
        if self.0.index.record(id)?.is_none() {
            remove_file(&self.outboard_path(id))?;
        }
        remove_file(&self.part_path(id))?;
        self.unmark_read(id)
    }
}

impl Download {
    /// Which blob it is.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// Bytes of the whole blob, as claimed. Proven once its last group is here.
    pub fn size(&self) -> u64 {
        self.partial.0.size()
    }

    /// The same for reading, of what is here by now. It stays readable when the file gets its name.
    pub fn blob(&self) -> Result<Blob, StoreError> {
        Blob::of_download(self)
    }

    /// What is still to be fetched: ascending, whole groups.
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.partial.0.groups().ranges(false)
    }

    /// Bytes that are here.
    pub fn verified_bytes(&self) -> u64 {
        self.partial.0.verified_bytes()
    }

    /// Verifies one encoded range of whole groups, and writes what of it is missing: how many bytes that was. Wrong bytes are
    /// `WriteError::Corrupt` and change nothing.
    pub fn write(&self, range: Range<u64>, encoded: &[u8]) -> Result<u64, WriteError> {
        if !is_groups(&range, self.size()) {
            return Err(WriteError::Range { start: range.start, end: range.end });
        }
        self.store.note_use();
        let checked = self.tree.check(&range, encoded).ok_or(WriteError::Corrupt(self.id))?;
        let _writing = self.writing.read().unwrap_or_else(PoisonError::into_inner);
        let missing = {
            let groups = self.partial.0.groups();
            let is_missing = |(offset, _): &&(u64, _)| !groups.contains(offset / GROUP_BYTES);
            checked.groups.iter().filter(is_missing).collect::<Vec<_>>()
        };
        if missing.is_empty() {
            // Another source was quicker. Perhaps the file has its name by now, and is not to be touched.
            return Ok(0);
        }
        self.store.check_room(0)?;
        self.save_pairs(&checked.pairs)?;
        for (offset, group) in &missing {
            self.data.write_all_at(group, *offset).map_err(at(&self.store.part_path(&self.id)))?;
        }
        let mut groups = self.partial.0.groups();
        let new = missing.iter().filter(|(offset, _)| !groups.contains(offset / GROUP_BYTES));
        let new_bytes = new.map(|(_, group)| group.len() as u64).sum();
        missing.iter().for_each(|(offset, _)| groups.add(offset / GROUP_BYTES));
        drop(groups);
        self.unsynced_bytes.fetch_add(new_bytes, Ordering::Relaxed);
        self.store.0.news.notify(usize::MAX);
        Ok(new_bytes)
    }

    fn save_pairs(&self, pairs: &[(u64, &[u8])]) -> Result<(), StoreError> {
        let Some(outboard) = &self.outboard else { return Ok(()) };
        let new = {
            let saved = lock(&self.saved_pairs);
            pairs.iter().filter(|(offset, _)| !saved.has(offset / PAIR as u64)).collect::<Vec<_>>()
        };
        for (offset, pair) in &new {
            outboard.write_all_at(pair, *offset).map_err(at(&self.store.outboard_path(&self.id)))?;
        }
        // Not before: whoever relies on them must find them in the file.
        let mut saved = lock(&self.saved_pairs);
        new.iter().for_each(|(offset, _)| saved.add(offset / PAIR as u64));
        Ok(())
    }

    /// Whether so much was written that [`Download::checkpoint`] is due. Callers also call it every 30 s.
    pub fn needs_checkpoint(&self) -> bool {
        self.unsynced_bytes.load(Ordering::Relaxed) >= CHECKPOINT_BYTES
    }

    /// Makes what was written durable. What others write meanwhile waits for the next time.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        let _syncing = lock(&self.syncing);
        let unsynced_bytes = self.unsynced_bytes.swap(0, Ordering::Relaxed);
        if unsynced_bytes == 0 {
            return Ok(());
        }
        // The groups of before the sync: those that come during it may not be on the disk.
        let bits = bits::to_bytes(&self.partial.0.groups(), &self.id);
        let durable = self.sync().and_then(|()| self.write_bits(&bits));
        if durable.is_err() {
            self.unsynced_bytes.fetch_add(unsynced_bytes, Ordering::Relaxed);
        }
        durable
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.data.sync_data().map_err(at(&self.store.part_path(&self.id)))?;
        if let Some(outboard) = &self.outboard {
            outboard.sync_data().map_err(at(&self.store.outboard_path(&self.id)))?;
        }
        Ok(())
    }

    /// Replaces the bits on disk by those in memory, whose groups are synced.
    fn write_bits(&self, bits: &[u8]) -> Result<(), StoreError> {
        if let Some(folder) = self.outboard.as_ref().and(self.store.outboard_path(&self.id).parent()) {
            // Its bytes are synced, its name may be new.
            sync_folder(folder)?;
        }
        let temp = Temp::create(self.store.0.incoming.join(self.store.temp_name()))?;
        temp.file.write_all_at(bits, 0).and_then(|()| temp.file.sync_data()).map_err(at(&temp.path))?;
        let path = self.store.bits_path(&self.id);
        std::fs::rename(&temp.path, &path).map_err(at(&path))?;
        sync_folder(&self.store.0.incoming)
    }

    /// Looks on disk for groups that were written after the last checkpoint; or in another file of the blob, to copy them.
    fn find_written(&self, other: Option<&File>) -> Result<(), StoreError> {
        for range in self.missing() {
            for start in range.clone().step_by(GROUP_BYTES as usize) {
                let group = start..(start + GROUP_BYTES).min(range.end);
                let from = other.unwrap_or(&self.data);
                // What the disk does not give is as good as wrong.
                let Ok(bytes) = self.tree.prove(from, self.outboard.as_ref(), &group, false) else { continue };
                if other.is_some() {
                    self.data.write_all_at(&bytes, start).map_err(at(&self.store.part_path(&self.id)))?;
                }
                self.partial.0.groups().add(start / GROUP_BYTES);
                self.unsynced_bytes.fetch_add(group.end - group.start, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is right after each of its changes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
