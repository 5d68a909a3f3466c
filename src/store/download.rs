//! Downloads: verified groups are written where they belong, and what is here survives.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use rustix::{
    fs::{Advice, FallocateFlags, fadvise, fallocate},
    io::Errno,
};

use super::{
    LibraryPath, Store, StoreError, WriteError, bits,
    blob::is_groups,
    errors::at,
    files::{Temp, remove_file, sync_folder},
    partial::{Claim, Partial},
    paths::Folder,
    record::Location,
    tree::Tree,
    unfinished::{Doing, Noted},
};
use crate::{
    content::ContentId,
    groups::Groups,
    limits::{GROUP_BYTES, store::CHECKPOINT_BYTES},
};

/// A download under way. One at a time for each blob. Dropping it keeps what was written.
pub struct Download {
    store: Store,
    id: ContentId,
    tree: Tree,
    partial: Claim,
    data: File,
    outboard: Option<File>,
    /// Offsets of the pairs that the last write saved: neighbouring ranges share most of their path to the root.
    saved_pairs: Vec<u64>,
    unsynced_bytes: u64,
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
        let is_new = data.metadata().map_err(at(&part))?.len() == 0;
        self.preallocate(&data, size)?;
        let mut download = Download {
            store: self.clone(),
            id,
            tree,
            partial: claim,
            data,
            outboard,
            saved_pairs: Vec::new(),
            unsynced_bytes: 0,
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
            download.unsynced_bytes = download.verified_bytes();
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
        remove_file(&self.part_path(id))
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

    /// What is still to be fetched: ascending, whole groups.
    pub fn missing(&self) -> Vec<Range<u64>> {
        self.partial.0.groups().ranges(false)
    }

    /// Bytes that are here.
    pub fn verified_bytes(&self) -> u64 {
        self.partial.0.verified_bytes()
    }

    /// Verifies one encoded range of whole groups, and writes it. Wrong bytes are `WriteError::Corrupt` and change nothing.
    pub fn write(&mut self, range: Range<u64>, encoded: &[u8]) -> Result<(), WriteError> {
        if !is_groups(&range, self.size()) {
            return Err(WriteError::Range { start: range.start, end: range.end });
        }
        self.store.note_use();
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
        let mut groups = self.partial.0.groups();
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
        if let Some(folder) = self.outboard.as_ref().and(self.store.outboard_path(&self.id).parent()) {
            // Its bytes are synced, its name may be new.
            sync_folder(folder)?;
        }
        let bytes = bits::to_bytes(&self.partial.0.groups(), &self.id);
        let temp = Temp::create(self.store.0.incoming.join(self.store.temp_name()))?;
        temp.file.write_all_at(&bytes, 0).and_then(|()| temp.file.sync_data()).map_err(at(&temp.path))?;
        let path = self.store.bits_path(&self.id);
        std::fs::rename(&temp.path, &path).map_err(at(&path))?;
        sync_folder(&self.store.0.incoming)
    }

    /// Looks on disk for groups that were written after the last checkpoint; or in another file of the blob, to copy them.
    fn find_written(&mut self, other: Option<&File>) -> Result<(), StoreError> {
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
                self.unsynced_bytes += group.end - group.start;
            }
        }
        Ok(())
    }

    /// Moves the complete file to `library/<to>`, and puts it into the index. The same blob under that name is kept; what
    /// else is in the way is set aside, never overwritten. Durable when it returns. For many, see [`Store::finish`].
    pub fn finish(self, to: &LibraryPath) -> Result<(), WriteError> {
        let store = self.store.clone();
        store.finish(vec![(self, to.clone())])?.pop().unwrap_or(Ok(()))
    }

    fn check_complete(&self) -> Result<(), WriteError> {
        let missing_bytes = self.size() - self.verified_bytes();
        if missing_bytes > 0 {
            return Err(WriteError::Incomplete { missing_bytes });
        }
        // Of an empty blob nothing was verified yet.
        if self.size() == 0 && self.id != ContentId::of(b"") {
            return Err(WriteError::Corrupt(self.id));
        }
        Ok(())
    }

    /// Moves the synced file to its name.
    fn name(&self, to: &LibraryPath, folders: &mut Vec<PathBuf>) -> Result<Location, StoreError> {
        if self.outboard.is_some() {
            folders.extend(self.store.outboard_path(&self.id).parent().map(Path::to_owned));
        }
        let part = self.store.part_path(&self.id);
        let incoming = Folder::open(&self.store.0.incoming)?;
        let name = part.file_name().unwrap_or_default();
        self.store.name_incoming(&incoming, name, to.as_str().as_bytes(), &self.id, folders)
    }

    fn forget(self) {
        self.store.partials().remove(&self.id);
        for path in [self.store.bits_path(&self.id), self.store.part_path(&self.id)] {
            // Harmless if one stays: bits without bytes are dropped at the next start, and the bytes are not needed.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Store {
    /// [`Download::finish`] for many, with one round of syncs: the outcomes are in the order of the downloads. An error is
    /// about all of them; they can be resumed.
    pub fn finish(&self, downloads: Vec<(Download, LibraryPath)>) -> Result<Vec<Result<(), WriteError>>, StoreError> {
        for (download, _) in &downloads {
            // The kernel starts to write all of them now, so that the syncs that follow wait for one journal commit.
            let _ = fadvise(&download.data, 0, None, Advice::DontNeed);
        }
        let synced: Vec<_> = downloads
            .into_iter()
            .map(|(mut download, to)| {
                download.check_complete()?;
                download.sync()?;
                Ok((download, to))
            })
            .collect();
        let whole = synced.iter().flatten();
        let noted: Vec<_> = whole.map(|(it, to)| Noted::named(it.id, to.as_str().as_bytes())).collect();
        self.note(Doing::Naming, &noted, true)?;
        let (mut folders, mut named) = (Vec::new(), Vec::new());
        let mut outcomes: Vec<Result<(), WriteError>> = Vec::new();
        for synced in synced {
            outcomes.push(synced.and_then(|(download, to)| {
                let location = download.name(&to, &mut folders)?;
                named.push((download, location));
                Ok(())
            }));
        }
        self.sync_folders(folders)?;
        self.record(named.iter().map(|(it, location)| (it.id, it.size(), location.clone())).collect())?;
        self.note(Doing::Naming, &noted, false)?;
        named.into_iter().for_each(|(download, _)| download.forget());
        Ok(outcomes)
    }
}
