//! The library: collections, what they list, publishing them and following those of other nodes.
//!
//! It may use `transfer`, `store`, `wire`, `status` and the ground, and must never know libp2p, HTTP or sled.
//!
//! A collection is known by its manifest (`manifest`), a file of signed root (`root`) and pages (`page`) that is replaced
//! as a whole; no more than a summary of it stays in memory. What is written is durable in this order: bytes (the store),
//! manifest, record.

mod apply;
mod away;
mod cache;
mod catalogue;
mod changes;
mod edit;
mod editions;
mod error;
mod evict;
pub mod follow;
#[cfg(fuzzing)]
pub mod fuzz;
mod item;
mod legacy;
mod manifest;
mod metadata;
mod names;
mod page;
mod publish;
mod remove;
mod restore;
mod root;
mod search;
mod serve;
mod state;
mod sweep;
mod wait;
mod words;

pub use away::AwayFolder;
pub use catalogue::{Entry, Hit, SearchPage, Summary};
pub use changes::Changes;
pub use edit::Words;
pub use error::LibraryError;
pub use item::Item;
pub use manifest::ManifestError;
pub use page::PageError;
pub use publish::{AddEvent, AddReport, AddRequest, Events};
pub use remove::{Remove, Removed};
pub use root::{Root, RootError};
pub use serve::{ServeError, serve};

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, atomic::AtomicU64},
};

use ed25519_dalek::SigningKey;

use self::{
    changes::Listeners,
    manifest::Manifest,
    state::{Notes, Record},
};
use crate::{
    content::{CollectionKey, NodeId},
    store::Store,
    wire::{Text, catalogue::Head},
};

/// The collections of one data folder, for all threads of the process. All calls block: callers stay off the executor
/// with `smol::unblock`.
pub struct Library {
    store: Arc<Store>,
    /// The folder of everything, secret key and all.
    data: PathBuf,
    /// Where the manifests are.
    folder: PathBuf,
    key: SigningKey,
    state: Mutex<State>,
    /// Held while a new version of any collection is made: one at a time.
    writing: Mutex<()>,
    /// Held while what is remembered of any collection changes.
    noting: Mutex<()>,
    /// Held while room is made.
    evicting: Mutex<()>,
    /// What was found of shared folders the last time.
    looks: Mutex<away::Looks>,
    listeners: Listeners,
    /// See [`Library::set_mirrored`].
    is_mirrored: RwLock<IsMirrored>,
    /// See [`Library::rescans`].
    rescans: AtomicU64,
}

type IsMirrored = Box<dyn Fn(&CollectionKey, &str) -> bool + Send + Sync>;

/// What is kept in memory: a few hundred bytes a collection.
#[derive(Default)]
struct State {
    /// Those that have a manifest here.
    listed: BTreeMap<CollectionKey, Listed>,
    /// Those that anything is remembered of.
    records: BTreeMap<CollectionKey, Record>,
    /// How many are at work on a collection, and may leave something behind.
    at_work: BTreeMap<CollectionKey, usize>,
}

/// What the manifest of a collection says of it.
#[derive(Debug, Clone)]
struct Listed {
    folder: String,
    name: String,
    version: u64,
    items: u64,
    bytes: u64,
}

impl Library {
    /// Loads the collections of a data folder. A manifest that is damaged anywhere is left out with a warning, until it is
    /// published or fetched again; a damaged list of withdrawn items is dropped, and their files stay.
    pub fn open(store: Arc<Store>, data: &Path, key: SigningKey) -> Result<Self, LibraryError> {
        let folder = data.join("collections");
        fs::create_dir_all(&folder).map_err(|error| LibraryError::io(&folder, error))?;
        File::open(data).and_then(|data| data.sync_all()).map_err(|error| LibraryError::io(data, error))?;
        let data = fs::canonicalize(data).map_err(|error| LibraryError::io(data, error))?;
        let library = Self {
            store,
            data,
            folder,
            key,
            state: Mutex::default(),
            writing: Mutex::default(),
            noting: Mutex::default(),
            evicting: Mutex::default(),
            looks: Mutex::default(),
            listeners: Listeners::default(),
            is_mirrored: RwLock::new(Box::new(|_, _| true)),
            rescans: AtomicU64::new(0),
        };
        library.load()?;
        library.take_over_legacy()?;
        Ok(library)
    }

    fn load(&self) -> Result<(), LibraryError> {
        let folder = &self.folder;
        let mut state = self.lock();
        for file in fs::read_dir(folder).map_err(|error| LibraryError::io(folder, error))? {
            let path = file.map_err(|error| LibraryError::io(folder, error))?.path();
            if path.extension().is_some_and(|extension| extension == "manifest") {
                match load(&path) {
                    Ok((key, listed)) => drop(state.listed.insert(key, listed)),
                    Err(error) => log::warn!("{}: {error}", path.display()),
                }
            } else if path.extension().is_some_and(|extension| extension == "notes") {
                state.records.extend(Notes::read(&path)?.map(|(key, notes)| (key, notes.record().clone())));
            } else if path.extension().is_some_and(|extension| extension == "kept") {
                if let Err(error @ ManifestError::Damaged(_)) = check(&path) {
                    log::warn!("{}: {error}: what its publisher has withdrawn is not listed any more", path.display());
                    fs::remove_file(&path).map_err(|error| LibraryError::io(&path, error))?;
                }
            } else if path.extension().is_some_and(|extension| extension == "draft") {
                // Left by a process that was killed; nothing refers to it.
                fs::remove_file(&path).map_err(|error| LibraryError::io(&path, error))?;
            }
        }
        Ok(())
    }

    /// This node, as a publisher.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    /// Where the bytes are.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Tells of every change to any collection from now on.
    pub fn subscribe(&self) -> Changes {
        self.listeners.subscribe()
    }

    /// Says which collections are mirrored, by key and name: for [`Library::heads`].
    fn set_mirrored(&self, is_mirrored: impl Fn(&CollectionKey, &str) -> bool + Send + Sync + 'static) {
        *self.is_mirrored.write().unwrap_or_else(PoisonError::into_inner) = Box::new(is_mirrored);
        self.listeners.tell();
    }

    /// What other nodes are told first: every collection and its version, but for those that are only known here.
    pub fn heads(&self) -> Vec<Head> {
        let (me, is_mirrored) = (self.node_id(), self.is_mirrored.read().unwrap_or_else(PoisonError::into_inner));
        let state = self.lock();
        let has_some = |key: &CollectionKey| state.records.get(key).is_some_and(|record| record.held_items > 0);
        let heads = state
            .listed
            .iter()
            .filter(|(key, listed)| key.publisher == me || has_some(key) || is_mirrored(key, &listed.name));
        let heads = heads.map(|(key, listed)| Head {
            collection: *key,
            version: listed.version,
            name: Text::cut(&listed.name),
            items: listed.items,
            bytes: listed.bytes,
        });
        heads.collect()
    }

    /// The signed root of a collection, in the bytes it came in.
    pub fn root_bytes(&self, key: &CollectionKey) -> Result<Option<Vec<u8>>, LibraryError> {
        Ok(self.manifest(key)?.map(|manifest| manifest.root()).transpose()?)
    }

    /// The verified bytes of pages by their hashes; none for those that the newest version does not have.
    pub fn page_bytes(&self, key: &CollectionKey, hashes: &[[u8; 32]]) -> Result<Vec<Option<Vec<u8>>>, LibraryError> {
        let Some(manifest) = self.manifest(key)? else { return Ok(vec![None; hashes.len()]) };
        let mut pages = Vec::with_capacity(hashes.len());
        for place in manifest.find(hashes)? {
            pages.push(match place.map(|index| manifest.page(index)).transpose() {
                // As good as not there: others have it.
                Err(error @ ManifestError::Damaged(_)) => {
                    log::warn!("collection {}: {error}", key.id);
                    None
                }
                page => page?,
            });
        }
        Ok(pages)
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn manifest_path(&self, key: &CollectionKey, extension: &str) -> PathBuf {
        // A publisher's first 16 digits: nobody can choose a key that shares them with another's.
        let publisher = crate::content::ContentId(key.publisher.0);
        self.folder.join(format!("{publisher:.16}-{}.{extension}", key.id))
    }

    fn manifest(&self, key: &CollectionKey) -> Result<Option<Manifest>, LibraryError> {
        if !self.lock().listed.contains_key(key) {
            return Ok(None);
        }
        Ok(Manifest::open(&self.manifest_path(key, "manifest"))?)
    }

    /// Items that the publisher has withdrawn and that are still here.
    fn kept(&self, key: &CollectionKey) -> Result<Option<Manifest>, LibraryError> {
        Ok(Manifest::open(&self.manifest_path(key, "kept"))?)
    }
}

fn load(path: &Path) -> Result<(CollectionKey, Listed), LibraryError> {
    let manifest = check(path)?;
    let root = Root::verify(&manifest.root()?).map_err(ManifestError::from)?;
    if !manifest.has_pages(&root.pages)? {
        return Err(ManifestError::Damaged("not the pages of its root").into());
    }
    let name = root.name.into_string();
    let listed =
        Listed { folder: manifest.folder()?, name, version: root.version, items: root.items, bytes: root.bytes };
    Ok((root.collection, listed))
}

/// A manifest of which every page is right: damage shows at the start, and not in the middle of the work.
fn check(path: &Path) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::open(path)?.ok_or(ManifestError::Damaged("gone"))?;
    manifest.check().map(|()| manifest)
}

#[cfg(test)]
mod tests;
