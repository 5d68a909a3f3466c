//! The index: blob records in sled.
//!
//! | key | value |
//! |---|---|
//! | `S` | schema version, u32 LE |
//! | `F` | stands as long as the index took the place of a lost one and was not filled again |
//! | `R`, number u32 BE | an absolute folder that in-place files are below |
//! | `C` | postcard [`Count`], written with every change of the pages: one that does not fit them shows that some were lost |
//! | `B`, first 12 bits of the id as u16 BE, slot | a page of records, see [`page`] |
//! | `G` | number of the batch that wrote it, u64 LE |
//! | `D`, `N`, key | a file that is being removed, or named: see `remove` |
//! | `T`, key | in schema 1 alone: a value of another part, see `legacy` |
//!
//! Many records share a page, for sled's memory follows the number of its own records, not their bytes.
//!
//! # Durability
//! `flush()` of sled 0.34 does not survive a power cut on Linux. What does: one writer, batches of at most
//! [`BATCH_RECORDS`] and [`BATCH_BYTES`], values of at most [`VALUE_BYTES`], `flush()`, then `sync_data()` on a descriptor
//! of our own of sled's file `db`. Only then is a write acknowledged.

pub(super) mod page;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{
    ballast,
    count::Count,
    damage::{aside_name, damaged, decode, read_generation, write_generation},
    database::{Database, Visit},
    errors::{StoreError, at},
    record::{FIRST, Record, encode},
    unfinished::Doing,
};
use crate::{
    content::ContentId,
    limits::store::{BATCH_BYTES, BATCH_RECORDS, INDEX_AHEAD_BYTES, VALUE_BYTES},
};

/// Counts up when an older program could not read what this one writes, or would not know what to do with it.
pub(super) const SCHEMA: u32 = 2;
/// Held what the library now keeps in files: see [`super::legacy`].
const SCHEMA_1: u32 = 1;

/// Encoded pages that are to be written together.
type Pending = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) struct Index {
    db: Database,
    path: PathBuf,
    /// Whether nothing was found to be wrong.
    is_open: bool,
    /// The one writer: our own descriptor of sled's file, and what it counted.
    writer: Mutex<Writer>,
}

struct Writer {
    db_file: File,
    generation: u64,
    count: Count,
    /// Whether a write failed half-way: what of it is on the disk, and stays there, is not known until it is opened again.
    failed: bool,
    /// Bytes of the file that have their room on the disk, and how long it was when this was made sure of.
    room: (u64, u64),
}

impl Writer {
    /// Has the disk find the room first: sled, once it met a full disk, takes nothing more until it is opened again.
    fn secure_room(&mut self) -> io::Result<()> {
        let len = self.db_file.metadata()?.len();
        let (secured, len_then) = self.room;
        // sled cuts its file too, and what was behind its end.
        if len >= len_then && len + INDEX_AHEAD_BYTES / 2 <= secured {
            return Ok(());
        }
        let end = len + INDEX_AHEAD_BYTES;
        match fallocate(&self.db_file, FallocateFlags::KEEP_SIZE, 0, end) {
            // Some file systems can't.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.room = (end, len),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl Index {
    /// Opens `<data>/index`. A damaged one is moved aside as `index.damaged-N`, and an empty one takes its place.
    /// `was_used`: an empty one is not the first of this data folder.
    pub(super) fn open(data: &Path, was_used: bool) -> Result<Self, StoreError> {
        let path = data.join("index");
        let opened = Self::try_open(&path, was_used);
        // A second look: an error of the moment is no damage.
        let opened = if matches!(opened, Err(StoreError::Index(_))) { Self::try_open(&path, was_used) } else { opened };
        match opened {
            Err(StoreError::Index(reason)) => {
                let aside = aside_name(data)?;
                std::fs::rename(&path, &aside).map_err(at(&path))?;
                log::warn!(
                    "the index was damaged ({reason}) and is now {}; a new one is built from the files, no content is lost",
                    aside.display()
                );
                Self::try_open(&path, true)
            }
            other => other,
        }
    }

    fn try_open(path: &Path, was_used: bool) -> Result<Self, StoreError> {
        let is_new = !path.join("db").exists();
        // sled leaves a torn snapshot on a full disk.
        ballast::probe(path.parent().unwrap_or(path), INDEX_AHEAD_BYTES)?;
        let db = Database::open(path)?;
        let db_path = path.join("db");
        let db_file = File::options().write(true).open(&db_path).map_err(at(&db_path))?;
        let mut index = Self {
            db,
            is_open: false,
            path: path.to_owned(),
            writer: Mutex::new(Writer { db_file, generation: 0, count: Count::default(), failed: false, room: (0, 0) }),
        };
        match index.db.get(b"S")? {
            Some(version) => match version.as_ref().try_into().map(u32::from_le_bytes) {
                Ok(SCHEMA_1 | SCHEMA) => {}
                Ok(found) if found > SCHEMA => return Err(StoreError::NewerSchema { found, known: SCHEMA }),
                _ => return Err(StoreError::Index("unreadable schema version".to_owned())),
            },
            None if is_new || !was_used && index.db.is_empty() => {
                let mut first = vec![(b"S".to_vec(), Some(SCHEMA.to_le_bytes().to_vec()))];
                first.extend(was_used.then(|| (b"F".to_vec(), Some(Vec::new()))));
                index.write(&mut index.lock(), first)?;
                // sled never syncs `conf`, and takes one that is torn for damage.
                for new in [&*path.join("conf"), path, path.parent().unwrap_or(path)] {
                    File::open(new).and_then(|new| new.sync_all()).map_err(at(new))?;
                }
            }
            None => return Err(StoreError::Index("no schema version".to_owned())),
        }
        let generation = index.db.get(b"G")?;
        let generation = generation.and_then(|value| Some(u64::from_le_bytes(value.as_ref().try_into().ok()?)));
        index.lock().generation = generation.unwrap_or(0);
        if !is_new && index.lock().generation < read_generation(path) {
            return Err(StoreError::Index("it went back to an older state".to_owned()));
        }
        // Reads every page once: what is damaged shows now, and not in the middle of the work.
        let mut count = Count::default();
        index.for_each_record(FIRST, &mut |record| {
            count.add(&record);
            true
        })?;
        let stored: Option<Count> = index.db.get(b"C")?.map(|value| decode(&value)).transpose()?;
        // The first programs did not store it.
        let is_first = index.is_schema_1()? && stored.is_none();
        if !is_first && !count.is(&stored.unwrap_or_default()) {
            return Err(StoreError::Index("records are missing".to_owned()));
        }
        index.lock().count = count;
        index.is_open = true;
        write_generation(path, index.lock().generation);
        Ok(index)
    }

    /// Whether this index took the place of a lost one, and nobody called [`Index::set_filled`] since.
    pub(super) fn is_fresh(&self) -> Result<bool, StoreError> {
        Ok(self.db.get(b"F")?.is_some())
    }

    pub(super) fn set_filled(&self) -> Result<(), StoreError> {
        self.put(vec![(b"F".to_vec(), None)])
    }

    pub(super) fn count(&self) -> Count {
        self.lock().count
    }

    pub(super) fn record(&self, id: &ContentId) -> Result<Option<Record>, StoreError> {
        match self.find(id)? {
            // It may have moved to another slot behind our back: nothing moves while we hold the lock.
            (None, slots) if slots > 1 => {
                let _writer = self.lock();
                Ok(self.find(id)?.0)
            }
            (record, _) => Ok(record),
        }
    }

    /// The record, and how many slots were searched.
    fn find(&self, id: &ContentId) -> Result<(Option<Record>, usize), StoreError> {
        // Looked up one by one: to go through a range, sled copies all that is next to it.
        for slot in 0..=u8::MAX {
            let Some(page) = self.db.get(&slot_key(id, slot))? else { return Ok((None, slot.into())) };
            if let Some(record) = page::record(&page, &page::find(&page, id)?)? {
                return Ok((Some(record), usize::from(slot) + 1));
            }
        }
        Ok((None, usize::from(u8::MAX) + 1))
    }

    /// Calls `f` with every record whose first 12 bits are not below those of `from`, by ascending prefix of their ids, until
    /// it returns false.
    pub(super) fn for_each_record(&self, from: ContentId, f: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError> {
        let mut visit = |page: &[u8]| Ok(decode::<Vec<Record>>(page)?.into_iter().all(&mut *f));
        self.db.scan_range(&bucket(&from), b"C", &mut |_, page| visit(page))
    }

    /// Changes the records of these ids: `f` gets what is there, and returns what shall be there. Durable when it returns.
    /// A power cut may leave the first ones changed and the others not, but none in between.
    pub(super) fn change(
        &self,
        ids: &[ContentId],
        f: &mut dyn FnMut(&ContentId, Option<Record>) -> Option<Record>,
    ) -> Result<(), StoreError> {
        let mut writer = self.lock();
        let mut pending = Pending::new();
        let mut count = writer.count;
        for id in ids {
            // One change touches at most two pages, and the count and the generation go with them.
            let bytes: usize = pending.values().map(Vec::len).sum();
            if pending.len() + 4 > BATCH_RECORDS || bytes + 3 * VALUE_BYTES > BATCH_BYTES {
                self.write_pages(&mut writer, std::mem::take(&mut pending), count)?;
            }
            self.change_one(&mut pending, &mut count, id, f)?;
        }
        self.write_pages(&mut writer, pending, count)
    }

    fn change_one(
        &self,
        pending: &mut Pending,
        count: &mut Count,
        id: &ContentId,
        f: &mut dyn FnMut(&ContentId, Option<Record>) -> Option<Record>,
    ) -> Result<(), StoreError> {
        let (mut pages, mut place, mut old) = (Vec::new(), None, None);
        for slot in 0..=u8::MAX {
            let key = slot_key(id, slot);
            let page = match pending.get(&key) {
                Some(page) => page.clone(),
                None => match self.db.get(&key)? {
                    Some(page) => page.to_vec(),
                    None => break,
                },
            };
            let at = page::find(&page, id)?;
            if let Some(record) = page::record(&page, &at)? {
                (place, old) = (Some((usize::from(slot), at)), Some(record));
            }
            pages.push(page);
        }
        let new = f(id, old.clone());
        if new == old {
            return Ok(());
        }
        old.iter().for_each(|old| count.take(old));
        let slot_then = place.as_ref().map(|(slot, _)| *slot);
        if let Some((slot, at)) = place {
            pages[slot] = page::replace(&pages[slot], at, &[])?;
            pending.insert(slot_key(id, slot as u8), pages[slot].clone());
        }
        let Some(new) = new else { return Ok(()) };
        count.add(&new);
        let bytes = encode(&new);
        // Back where it was if it still fits, else where there is room, else in a slot of its own.
        let mut slots = slot_then.into_iter().chain(0..pages.len());
        let slot = slots.find(|&slot| pages[slot].len() + bytes.len() < VALUE_BYTES).unwrap_or(pages.len());
        let slot_byte = u8::try_from(slot).map_err(|_| StoreError::TooLarge { bytes: slot, max: u8::MAX.into() })?;
        let page = pages.get(slot).map_or(page::EMPTY, Vec::as_slice);
        pending.insert(slot_key(id, slot_byte), page::replace(page, page::find(page, id)?, &bytes)?);
        Ok(())
    }

    fn write_pages(&self, writer: &mut Writer, pages: Pending, count: Count) -> Result<(), StoreError> {
        if pages.is_empty() {
            return Ok(());
        }
        // An empty page stays: the slots of a bucket are without gaps.
        let mut changes: Vec<_> = pages.into_iter().map(|(key, page)| (key, Some(page))).collect();
        changes.push((b"C".to_vec(), Some(encode(&count))));
        self.write(writer, changes)?;
        writer.count = count;
        Ok(())
    }

    /// The folders that in-place files are below, by number; the library's own is not among them.
    pub(super) fn roots(&self) -> Result<BTreeMap<u32, Vec<u8>>, StoreError> {
        let mut roots = BTreeMap::new();
        self.scan(b"R", &mut |key, value| {
            let number = key.try_into().map(u32::from_be_bytes).map_err(|_| damaged())?;
            roots.insert(number, value.to_vec());
            Ok(true)
        })?;
        Ok(roots)
    }

    pub(super) fn put_root(&self, number: u32, folder: &[u8]) -> Result<(), StoreError> {
        let key = [b"R", number.to_be_bytes().as_slice()].concat();
        self.put(vec![(key, Some(folder.to_vec()))])
    }

    /// The keys of the files that something is being done with.
    pub(super) fn noted(&self, what: Doing) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        self.scan(&[what as u8], &mut |key, _| {
            keys.push(key.to_vec());
            Ok(true)
        })?;
        Ok(keys)
    }

    /// Notes that something is being done with files, or no longer; durable when it returns.
    pub(super) fn note(
        &self,
        what: Doing,
        keys: impl Iterator<Item = Vec<u8>>,
        stands: bool,
    ) -> Result<(), StoreError> {
        self.put(keys.map(|key| ([&[what as u8], &*key].concat(), stands.then(Vec::new))).collect())
    }

    pub(super) fn is_schema_1(&self) -> Result<bool, StoreError> {
        Ok(self.db.get(b"S")?.is_some_and(|schema| *schema == SCHEMA_1.to_le_bytes()))
    }

    /// Calls `f` with the rest of each key that starts with `prefix`, and its value.
    pub(super) fn scan(&self, prefix: &[u8], f: &mut Visit<'_>) -> Result<(), StoreError> {
        self.db.scan(prefix, &mut |key, value| f(&key[prefix.len()..], value))
    }

    /// Makes these changes; durable when it returns.
    pub(super) fn put(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        self.write(&mut self.lock(), changes)
    }

    /// The only way into sled: in batches that survive a power cut, durable when it returns.
    fn write(&self, writer: &mut Writer, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        let bytes_of = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        if let Some(bytes) = changes.iter().map(bytes_of).find(|bytes| *bytes > VALUE_BYTES) {
            return Err(StoreError::TooLarge { bytes, max: VALUE_BYTES });
        }
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let (mut batch, mut records, mut bytes) = (sled::Batch::default(), 0, 0);
            while let Some((key, value)) =
                changes.next_if(|change| records < BATCH_RECORDS - 1 && bytes + bytes_of(change) <= BATCH_BYTES)
            {
                records += 1;
                bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            writer.secure_room().map_err(|error| StoreError::io(Path::new("index/db"), error))?;
            // A sync that failed is not made good by the next: the kernel has forgotten what it could not write.
            if std::mem::replace(&mut writer.failed, true) {
                return Err(StoreError::Index("an earlier write did not reach the disk".to_owned()));
            }
            writer.generation += 1;
            batch.insert(b"G", &writer.generation.to_le_bytes());
            self.db.write(batch)?;
            writer.db_file.sync_data().map_err(|error| StoreError::io(Path::new("index/db"), error))?;
            writer.failed = false;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Writer> {
        // A panic between changes leaves the counters as they were: still right.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        let writer = self.lock();
        if self.is_open && !writer.failed {
            write_generation(&self.path, writer.generation);
        }
    }
}

fn bucket(id: &ContentId) -> [u8; 3] {
    let prefix = u16::from_be_bytes([id.0[0], id.0[1]]) >> 4;
    [b'B', prefix.to_be_bytes()[0], prefix.to_be_bytes()[1]]
}

fn slot_key(id: &ContentId, slot: u8) -> Vec<u8> {
    [bucket(id).as_slice(), &[slot]].concat()
}
