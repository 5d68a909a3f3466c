//! Many small blobs at once: one round of syncs for many files.

use std::{
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    LibraryPath, Store, StoreError,
    errors::at,
    files::Temp,
    hash::hash,
    paths::Folder,
    place::Incoming,
    record::Location,
    together::{Slowness, Together},
    unfinished::Noted,
};
use crate::{
    content::ContentId,
    limits::store::{SMALL_FILE_BYTES, SMALL_FILES_PER_SYNC},
};

/// A blob in memory, and where it is to stand. For blobs of at most [`SMALL_FILE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallBlob {
    /// What the bytes hash to, if they are right.
    pub id: ContentId,
    /// All of them.
    pub bytes: Vec<u8>,
    /// Its path below the library folder.
    pub to: LibraryPath,
}

/// What became of a [`SmallBlob`].
#[derive(Debug)]
pub enum PutOutcome {
    /// It stands under its name, durably.
    Stored,
    /// The bytes are too many, or not those of the id; nothing was written.
    Corrupt,
    /// This one could not be written.
    Failed(StoreError),
}

/// What the store knows of small blobs that are being put.
#[derive(Default)]
pub(super) struct UnderWay {
    /// Bytes of files that have no names yet.
    pub(super) unplaced_bytes: AtomicU64,
    /// Of the library's disk.
    slowness: Slowness,
}

/// Small blobs whose bytes were verified and are durable, and that have no names yet. Dropping it gives them up.
pub struct SmallFiles {
    store: Store,
    files: Vec<SmallFile>,
    /// Until they are in the index: a power cut must not leave files that nobody knows.
    note: Option<Temp>,
    /// Of all of them: no file of the library yet, but room that is taken.
    bytes: u64,
}

struct SmallFile {
    id: ContentId,
    size: u64,
    to: LibraryPath,
    /// None if the bytes are wrong.
    temp: Option<Temp>,
    /// None if there is none to be kept. It is not synced: one that a power cut damages is built again, of a file as small.
    outboard: Option<Temp>,
}

impl Store {
    /// Verifies and places small blobs; the outcomes are in the order of the blobs. Durable when it returns. An error is
    /// about all of them: none may be relied upon, and those that stand are found again when they are put again.
    pub fn put_small(&self, mut blobs: Vec<SmallBlob>) -> Result<Vec<PutOutcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(blobs.len());
        while !blobs.is_empty() {
            let rest = blobs.split_off(blobs.len().min(SMALL_FILES_PER_SYNC));
            outcomes.extend(self.write_small(blobs)?.place()?);
            blobs = rest;
        }
        Ok(outcomes)
    }

    /// The first half of [`Store::put_small`], for up to [`SMALL_FILES_PER_SYNC`]. While one round is placed, the next can be
    /// written.
    pub fn write_small(&self, blobs: Vec<SmallBlob>) -> Result<SmallFiles, StoreError> {
        let bytes = blobs.iter().map(|blob| blob.bytes.len() as u64).sum();
        self.check_room(bytes)?;
        self.0.small.unplaced_bytes.fetch_add(bytes, Relaxed);
        let mut written = SmallFiles { store: self.clone(), files: Vec::with_capacity(blobs.len()), note: None, bytes };
        let together = Together::begin(&self.0.incoming, &self.0.small.slowness)?;
        for SmallBlob { id, bytes, to } in blobs {
            let (temp, outboard) = self.write_one(&id, &bytes)?.unzip();
            written.files.push(SmallFile { id, size: bytes.len() as u64, to, temp, outboard: outboard.flatten() });
        }
        let whole = written.files.iter().filter(|file| file.temp.is_some());
        let noted: Vec<_> = whole.map(|file| Noted::named(file.id, file.to.as_str().as_bytes())).collect();
        written.note = Some(self.note_beside(&noted)?);
        let temps = written.files.iter().filter_map(|file| file.temp.as_ref()).chain(&written.note);
        together.sync(&temps.collect::<Vec<_>>())?;
        Ok(written)
    }

    /// The file and its outboard; none if the bytes are wrong.
    fn write_one(&self, id: &ContentId, bytes: &[u8]) -> Result<Option<(Temp, Option<Temp>)>, StoreError> {
        let size = bytes.len() as u64;
        if size > SMALL_FILE_BYTES {
            return Ok(None);
        }
        let outboard = self.begin_outboard(size)?;
        let found = match &outboard {
            None => ContentId::of(bytes),
            Some(outboard) => hash(bytes, size, Some(&outboard.file), 1).map_err(at(&outboard.path))?,
        };
        if found != *id {
            return Ok(None);
        }
        self.note_use();
        let temp = Temp::create(self.0.incoming.join(self.temp_name()))?;
        temp.file.write_all_at(bytes, 0).map_err(at(&temp.path))?;
        Ok(Some((temp, outboard)))
    }
}

impl SmallFiles {
    /// Gives the files their names and puts them into the index: the second half of [`Store::put_small`].
    pub fn place(mut self) -> Result<Vec<PutOutcome>, StoreError> {
        let placed = self.try_place();
        if placed.is_err() {
            // Some may have their names.
            self.note.take().into_iter().for_each(Temp::leave);
        }
        placed
    }

    fn try_place(&mut self) -> Result<Vec<PutOutcome>, StoreError> {
        let Self { store, files, .. } = self;
        let _recording = store.recording();
        let (mut outcomes, mut folders) = (Vec::with_capacity(files.len()), Vec::new());
        let mut located: Vec<(ContentId, u64, Location)> = Vec::with_capacity(files.len());
        let locations = store.name_small(files)?;
        for (file, location) in files.iter().zip(locations) {
            outcomes.push(match location {
                None => PutOutcome::Corrupt,
                Some(Err(error)) => PutOutcome::Failed(error),
                Some(Ok(location)) => {
                    let path = store.roots().path(&location);
                    folders.extend(path.parent().map(Path::to_owned));
                    located.push((file.id, file.size, location));
                    PutOutcome::Stored
                }
            });
        }
        store.sync_folders(folders)?;
        store.record(located)?;
        // One without a record would stay for ever.
        let stored = files.iter().zip(&outcomes).filter(|(_, outcome)| matches!(outcome, PutOutcome::Stored));
        for (id, outboard) in stored.filter_map(|(file, _)| Some((file.id, file.outboard.as_ref()?))) {
            if let Err(error) = store.name_outboard(&id, outboard) {
                log::warn!("an outboard is built when it is needed: {error}");
            }
        }
        Ok(outcomes)
    }
}

impl Store {
    /// None for those without a file.
    fn name_small(&self, files: &mut [SmallFile]) -> Result<Vec<Option<Result<Location, StoreError>>>, StoreError> {
        let incoming = Folder::open(&self.0.incoming)?;
        let library = self.library();
        let _naming = self.naming();
        // Most go to the folder of the one before.
        let mut last = None;
        let name = |file: &mut SmallFile| {
            let temp = file.temp.take()?;
            let relative = Path::new(file.to.as_str());
            Some(Folder::above_from(last.take(), &library, relative, true).and_then(|(folder, name)| {
                let from = Incoming { folder: &incoming, name: temp.name(), file: &temp.file };
                let location = self.name_in(&folder, name, &from, &file.id, relative);
                last = Some(folder);
                location.inspect(|_| temp.leave())
            }))
        };
        Ok(files.iter_mut().map(name).collect())
    }
}

impl Drop for SmallFiles {
    fn drop(&mut self) {
        self.store.0.small.unplaced_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
