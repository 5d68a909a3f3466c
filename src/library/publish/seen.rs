//! What an add has seen of the places that files come from, and what becomes of listed items whose files it has not.
//!
//! A disk that is unplugged looks like a folder that is gone, that is empty, or that holds something else. So an item is
//! taken away only if something else that was listed is still in its source. A disk that is mounted somewhere below a shared
//! folder is a source of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use super::{sources::Source, walk::item_path};
use crate::{
    content::{CollectionKey, ContentId},
    library::{Library, LibraryError, item::Item, manifest::Items},
};

/// What was seen by now.
#[derive(Default)]
pub(super) struct Seen {
    /// What the collection comes from, by place.
    known: BTreeMap<String, PathBuf>,
    /// Disks that are mounted somewhere below.
    mounts: Vec<(String, PathBuf)>,
    /// Places that this is about: what is listed elsewhere stays.
    asked: BTreeSet<String>,
    /// Folders among them that were walked.
    walked: BTreeSet<String>,
    /// Those of them where a file was seen that had been listed.
    alive: BTreeSet<String>,
    /// Hashes of the paths of all items that were seen, and of ids that are new to their paths: sets of these would be large.
    items: HashSet<u64>,
    arrived: HashSet<u64>,
    hasher: RandomState,
    /// Folders that could not be read: what is below them stays.
    unread: BTreeSet<String>,
    /// Items that stay although their files were not seen, by place.
    away: BTreeMap<String, u64>,
}

impl Seen {
    /// Nothing yet of these sources of a collection that comes from the `known` ones.
    pub fn new(known: BTreeMap<String, PathBuf>, sources: &[Source]) -> Self {
        let is_asked =
            |at: &str, path: &Path| sources.iter().any(|source| is_below(at, path, &source.at, &source.path));
        let asked = known.iter().filter(|(at, path)| is_asked(at, path)).map(|(at, _)| at.clone()).collect();
        Self { known, asked, ..Self::default() }
    }

    /// A folder is walked.
    pub fn walk(&mut self, at: &str) {
        self.walked.insert(at.to_owned());
    }

    /// A disk is mounted below a folder that is walked.
    pub fn mount(&mut self, at: String, path: PathBuf) {
        self.walk(&at);
        self.asked.insert(at.clone());
        self.known.insert(at.clone(), path.clone());
        self.mounts.push((at, path));
    }

    /// The disks that are mounted below folders that were walked.
    pub fn mounts(&self) -> &[(String, PathBuf)] {
        &self.mounts
    }

    /// The file of this item is there.
    pub fn item(&mut self, path: &str, is_listed: bool) {
        self.items.insert(self.hasher.hash_one(path));
        if is_listed
            && let Some(at) = owner(&self.known, path)
            && !self.alive.contains(at)
        {
            self.alive.insert(at.to_owned());
        }
    }

    /// An item has this content now, and had not before.
    pub fn content(&mut self, id: &ContentId) {
        self.arrived.insert(self.hasher.hash_one(id));
    }

    /// What is below this place could not be seen.
    pub fn unread(&mut self, at: String) {
        self.unread.insert(at);
    }

    /// Whether the item stays listed.
    pub fn stays(&mut self, item: &Item) -> bool {
        let Some(at) = owner(&self.known, &item.path).filter(|at| self.asked.contains(*at)) else { return true };
        if self.items.contains(&self.hasher.hash_one(&*item.path))
            || ancestors(&item.path).any(|at| self.unread.contains(at))
        {
            return true;
        }
        let is_renamed = || self.arrived.contains(&self.hasher.hash_one(item.id));
        let stays = !self.walked.contains(at) || !self.alive.contains(at) && !is_renamed();
        if stays {
            *self.away.entry(at.to_owned()).or_default() += 1;
        }
        stays
    }

    /// The sources of which nothing is there, and how many items stay listed without their files.
    pub fn away(&self) -> impl Iterator<Item = (&PathBuf, u64)> {
        self.away.iter().filter_map(|(at, items)| Some((self.known.get(at)?, *items)))
    }

    /// What the collection comes from, by place.
    pub fn known(&self) -> &BTreeMap<String, PathBuf> {
        &self.known
    }
}

/// The place of the source that an item comes from.
fn owner<'a>(known: &BTreeMap<String, PathBuf>, item: &'a str) -> Option<&'a str> {
    ancestors(item).find(|at| known.contains_key(*at))
}

/// The items of a collection that come from one of its sources.
pub(in crate::library) struct Owned<'a> {
    items: Items,
    sources: &'a BTreeMap<String, PathBuf>,
    at: &'a str,
}

impl<'a> Owned<'a> {
    pub fn by(
        library: &Library,
        key: &CollectionKey,
        sources: &'a BTreeMap<String, PathBuf>,
        at: &'a str,
    ) -> Result<Self, LibraryError> {
        let items = match library.manifest(key)? {
            Some(manifest) => manifest.items_at(at)?,
            None => Items::of(None),
        };
        Ok(Self { items, sources, at })
    }
}

impl Iterator for Owned<'_> {
    type Item = Result<Item, LibraryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.items.next()? {
                Err(error) => return Some(Err(error.into())),
                Ok(item) if !item.path.starts_with(self.at) => return None,
                Ok(item) if owner(self.sources, &item.path) == Some(self.at) => return Some(Ok(item)),
                Ok(_) => {}
            }
        }
    }
}

/// Whether a source is another one, or is where that one's walk comes to it.
pub(super) fn is_below(at: &str, path: &Path, above_at: &str, above: &Path) -> bool {
    path.strip_prefix(above).is_ok_and(|below| item_path(above_at, below) == at)
}

/// The path itself, then each folder above it, "" last.
pub(in crate::library) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |at| match at.rfind('/') {
        Some(end) => Some(&at[..end]),
        None => (!at.is_empty()).then_some(""),
    })
}
