//! The store: verified blobs in plain files, and a small index of them.
//!
//! The only part that names sled. It may use the ground, and must never know peers, collections or the network. All calls
//! block: callers stay off the executor with `smol::unblock`.
//!
//! # Layout of a data folder
//!
//! | path | what |
//! |---|---|
//! | `index/`, `index.generation` | sled: blobs by id, can be rebuilt; how far it was |
//! | `outboard/ab/<id>.obao` | the hash tree of a blob larger than one group |
//! | `incoming/<id>.part`, `.bits`, `.read` | a download: verified groups, which they are, that it is for readers alone |
//! | `incoming/naming-N` | small files that get names, until they have records |
//! | `library/` | finished files with their names |
//! | `library/.cache/<id>` | those that are here because somebody read them |
//! | `library.id` | which disk the library is on, if it has one of its own |
//! | `scrub.position` | how far the scrub is |
//! | `lock` | held by the process that has the store open |
//! | `ballast` | nothing: its room is for the day on which the disk is full |
//!
//! If the library folder is elsewhere, `incoming/` is `.allibrary/` in there: finished files are renamed, never copied.
//!
//! # Invariants
//! 1. **A bit set in `.bits` means**: that group and its path in the outboard were verified, then synced, before it was set.
//! 2. **A record in the index means**: all bytes of the library file were verified, then synced, then renamed to their name,
//!    and the folders synced, before the record was written. Of files that are shared in place the store vouches for
//!    nothing until it reads them.
//! 3. **What is handed out was verified in the very buffer that is handed out**, whatever happened to the file meanwhile.
//! 4. **A call that returned `Ok` survives a power cut**; one that was cut short has no effect, or all of it.
//!    [`Download::write`] alone is durable only after [`Download::checkpoint`]. ARCHITECTURE.md has the order of syncs.
//! 5. **No file with a name is ever overwritten**, but one of the library that rotted, by its own blob; what else is in the
//!    way is set aside.

mod away;
mod ballast;
mod bits;
mod blob;
mod cache;
mod count;
mod damage;
mod database;
mod download;
mod errors;
mod files;
mod finish;
#[cfg(fuzzing)]
pub mod fuzz;
mod hash;
mod holding;
mod import;
mod index;
mod legacy;
mod lock;
mod numbers;
mod partial;
mod paths;
mod place;
mod record;
mod remove;
mod repair;
mod room;
mod scrub;
mod small;
mod together;
mod tree;
mod unfinished;

use std::{
    collections::BTreeSet,
    fmt,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use event_listener::Event;
use serde::{Deserialize, Serialize};
use smol::channel::{Receiver, Sender};

pub use blob::Blob;
pub use cache::Cached;
pub use download::Download;
pub use errors::{ImportError, ReadError, StoreError, WriteError};
pub use holding::Holding;
pub use import::{Imported, Progress};
pub use paths::LibraryPath;
pub use repair::Damage;
pub use room::Totals;
pub use scrub::{Position, Scrubbed};
pub use small::{PutOutcome, SmallBlob, SmallFiles};
pub use tree::append_content;

use crate::{
    content::ContentId,
    limits::store::{HASH_THREADS, INDEX_AHEAD_BYTES},
};
use away::Away;
use errors::at;
use files::Roots;
use index::Index;
use lock::Lock;
use partial::Partials;
use record::{FIRST, Record};

/// The store of one data folder, for all threads of the process. Clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    data: PathBuf,
    incoming: PathBuf,
    reserve_bytes: AtomicU64,
    quota_bytes: AtomicU64,
    hash_threads: usize,
    away: Away,
    index: Index,
    roots: RwLock<Roots>,
    /// Downloads that were begun and not finished.
    partials: Mutex<Partials>,
    /// Whenever more of a blob is here.
    news: Event,
    /// See [`Store::found`].
    found: Mutex<Vec<PathBuf>>,
    /// Held while names in the library change.
    naming: Mutex<()>,
    /// Held by all who give files names, until those are in the index, and by one alone who takes files away.
    recording: RwLock<()>,
    next_temp: AtomicU64,
    small: small::UnderWay,
    /// See [`Store::uses`].
    uses: AtomicU64,
    /// See [`Store::damages`].
    damages: Mutex<Vec<Damage>>,
    /// Full while a fault was found that nobody has been told of.
    faults: (Sender<()>, Receiver<()>),
    _lock: Lock,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where finished files stand; none = `<data>/library`.
    pub library: Option<PathBuf>,
    /// Bytes of the disk that the store leaves free.
    pub reserve_bytes: u64,
    /// Bytes that the files of the library and downloads may take.
    pub quota_bytes: u64,
    /// Threads that hash one file, at most [`HASH_THREADS`]; 0 for as many as there are cores.
    pub hash_threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { library: None, reserve_bytes: 0, quota_bytes: u64::MAX, hash_threads: 1 }
    }
}

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Bytes of the blob; only claimed, while the state is [`BlobState::Partial`].
    pub size: u64,
    /// What of it is here.
    pub state: BlobState,
    /// The files that hold it, good ones first.
    pub paths: Vec<PathBuf>,
}

/// What of a blob is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobState {
    /// All bytes are here, and were verified when they came.
    Complete,
    /// A download was begun.
    Partial {
        /// Bytes of the groups that are here.
        verified_bytes: u64,
    },
    /// The bytes were here, but no file holds them any more.
    Unavailable(Fault),
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It is not where it was, or can't be opened.
    Missing,
    /// Somebody changed it.
    Changed,
    /// Its bytes changed although nobody wrote to it: the disk fails.
    Damaged,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Damaged => "damaged",
        })
    }
}

/// What [`Store::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// At least one file holds all the bytes.
    Good,
    /// None does; the blob is now [`BlobState::Unavailable`].
    Bad {
        /// What is wrong.
        fault: Fault,
        /// The groups that are wrong in a damaged file, as far as its outboard tells: ascending, the first
        /// [`DAMAGED_RANGES`](crate::limits::store::DAMAGED_RANGES).
        damaged: Vec<Range<u64>>,
    },
}

impl Store {
    /// Opens or creates the store, on a full disk too if it was opened before. `StoreError::Locked` if another process has
    /// it open.
    pub fn open(data: &Path, options: Options) -> Result<Self, StoreError> {
        let data = &std::path::absolute(data).map_err(at(data))?;
        let (store, reserve_bytes) = match Self::try_open(data, &options) {
            // What is left of it is kept for a removal.
            Err(StoreError::NoSpace { .. }) if ballast::release(data) => {
                (Self::try_open(data, &options)?, INDEX_AHEAD_BYTES)
            }
            other => (other?, options.reserve_bytes),
        };
        ballast::keep(data, reserve_bytes);
        Ok(store)
    }

    fn try_open(data: &PathBuf, options: &Options) -> Result<Self, StoreError> {
        files::create_private(data)?;
        let lock = Lock::take(data)?;
        let library = match &options.library {
            Some(folder) => std::path::absolute(folder).map_err(at(folder))?,
            None => data.join("library"),
        };
        let outboard = data.join("outboard");
        let was_used = outboard.exists();
        let index = Index::open(data, was_used)?;
        let (away, incoming) = Away::open(data, &library)?;
        std::fs::create_dir_all(&outboard).map_err(at(&outboard))?;
        if !was_used {
            for new in [data, &library, &incoming] {
                files::sync_folder(new.parent().unwrap_or(new))?;
            }
        }
        let roots = Roots::new(library, index.roots()?);
        let store = Self(Arc::new(Shared {
            data: data.clone(),
            incoming,
            reserve_bytes: options.reserve_bytes.into(),
            quota_bytes: options.quota_bytes.into(),
            hash_threads: match options.hash_threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from).min(HASH_THREADS),
                threads => threads.min(HASH_THREADS),
            },
            away,
            index,
            roots: RwLock::new(roots),
            partials: Mutex::default(),
            news: Event::new(),
            found: Mutex::default(),
            naming: Mutex::default(),
            recording: RwLock::default(),
            next_temp: AtomicU64::new(0),
            small: small::UnderWay::default(),
            uses: AtomicU64::new(0),
            damages: Mutex::default(),
            faults: smol::channel::bounded(1),
            _lock: lock,
        }));
        files::clean_temporary_files(&outboard)?;
        if !store.is_library_away() {
            store.settle()?;
        }
        Ok(store)
    }

    /// Puts in order what an earlier run left in the library.
    fn settle(&self) -> Result<(), StoreError> {
        files::clean_temporary_files(&self.0.incoming)?;
        self.load_partials()?;
        let found = self.finish_unfinished()?;
        self.clear_cache()?;
        *self.0.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Whether the index was lost and an empty one took its place: what is known of the files elsewhere (manifests, shared
    /// folders) is to be imported again. True, in later runs too, until [`Store::set_rebuilt`].
    pub fn needs_rebuild(&self) -> Result<bool, StoreError> {
        self.0.index.is_fresh()
    }

    /// Writes down that the index was filled again.
    pub fn set_rebuilt(&self) -> Result<(), StoreError> {
        self.0.index.set_filled()
    }

    /// Becomes ready whenever a file was found missing, changed, damaged or good again since it was last asked: while it was
    /// read for a reader or a peer, or by [`Store::verify`] or [`Store::scrub`].
    pub fn faults(&self) -> Receiver<()> {
        self.0.faults.1.clone()
    }

    fn tell_fault(&self) {
        // One that nobody has taken yet tells of this one too.
        let _ = self.0.faults.0.try_send(());
    }

    /// The folder of finished files.
    pub fn library(&self) -> PathBuf {
        self.roots().library().to_owned()
    }

    /// What is known of a blob; none if nothing is.
    pub fn info(&self, id: &ContentId) -> Result<Option<BlobInfo>, StoreError> {
        let record = self.0.index.record(id)?;
        Ok(self.describe(id, record.as_ref()))
    }

    fn describe(&self, id: &ContentId, record: Option<&Record>) -> Option<BlobInfo> {
        let partial = self.partials().get(id).cloned();
        let Some(record) = record else {
            let partial = partial?;
            let state = BlobState::Partial { verified_bytes: partial.verified_bytes() };
            return Some(BlobInfo { size: partial.size(), state, paths: Vec::new() });
        };
        let record = self.as_seen(record);
        let state = match (record.is_available(), partial) {
            (true, _) => BlobState::Complete,
            (false, Some(partial)) => BlobState::Partial { verified_bytes: partial.verified_bytes() },
            (false, None) => BlobState::Unavailable(record.fault()),
        };
        let roots = self.roots();
        let mut locations: Vec<_> = record.locations.iter().collect();
        locations.sort_by_key(|location| location.fault.is_some());
        let paths = locations.into_iter().map(|location| roots.path(location)).collect();
        Some(BlobInfo { size: record.size, state, paths })
    }

    /// The first `limit` ids that start with these hexadecimal digits, ascending.
    pub fn resolve(&self, prefix: &str, limit: usize) -> Result<Vec<ContentId>, StoreError> {
        let prefix = prefix.to_ascii_lowercase();
        let mut found = BTreeSet::new();
        self.for_each(&mut |id, _| {
            if id.to_string().starts_with(&prefix) {
                found.insert(id);
                if found.len() > limit {
                    found.pop_last();
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(found.into_iter().collect())
    }

    /// Calls `f` with every blob of the index and every download that was begun, in no order.
    pub fn for_each(&self, f: &mut dyn FnMut(ContentId, &BlobInfo) -> ControlFlow<()>) -> Result<(), StoreError> {
        let mut begun = self.begun();
        let mut stopped = false;
        self.0.index.for_each_record(FIRST, &mut |record| {
            begun.retain(|id| *id != record.id);
            stopped = self.describe(&record.id, Some(&record)).is_some_and(|info| f(record.id, &info).is_break());
            !stopped
        })?;
        if stopped {
            return Ok(());
        }
        for id in begun {
            if self.describe(&id, None).is_some_and(|info| f(id, &info).is_break()) {
                break;
            }
        }
        Ok(())
    }

    fn roots(&self) -> std::sync::RwLockReadGuard<'_, Roots> {
        self.0.roots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn naming(&self) -> MutexGuard<'_, ()> {
        self.0.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn temp_name(&self) -> String {
        format!("{}{}", files::TEMPORARY, self.0.next_temp.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
