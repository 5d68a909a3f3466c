//! What the catalogue tells to the page, the command line and the status.

use super::{Library, LibraryError, Listed, State, item::Item, manifest::Items};
use crate::{
    content::{CollectionKey, NodeId},
    store::{BlobState, Fault},
};

/// A collection in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which collection.
    pub key: CollectionKey,
    /// Its folder below the library: unique on this node, one path component, the same for ever.
    pub folder: String,
    /// What its publisher calls it; not unique.
    pub name: String,
    /// The newest version known here.
    pub version: u64,
    /// Items that the publisher offers.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether this node publishes it.
    pub mine: bool,
    /// How many of `items` are complete here, as last counted.
    pub held_items: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// Whether it is a mirror of another node's collection.
    pub followed: bool,
}

/// An item and what is known of it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As its publisher signed it.
    pub item: Item,
    /// Whether all its bytes are here.
    pub held: bool,
    /// What is wrong with its file, if it was here.
    pub fault: Option<Fault>,
    /// Whether the publisher still lists it; if not, it is only kept here.
    pub offered: bool,
}

/// Some of the items that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// From the offset asked for, in the order of collections and paths.
    pub hits: Vec<Hit>,
    /// How many there are in all.
    pub total: u64,
}

/// One item that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The collection that lists it.
    pub collection: CollectionKey,
    /// That collection's folder.
    pub folder: String,
    /// The item.
    pub entry: Entry,
}

impl Library {
    /// All collections that list anything, by name.
    pub fn collections(&self) -> Vec<Summary> {
        let (state, me) = (self.lock(), self.node_id());
        let mut all: Vec<Summary> =
            state.listed.iter().map(|(key, listed)| summary(&state, me, *key, listed)).collect();
        all.retain(|summary| summary.items > 0 || !summary.mine);
        all.sort_by(|a, b| (&a.name, &a.folder).cmp(&(&b.name, &b.folder)));
        all
    }

    /// The collection of this folder.
    pub fn collection(&self, folder: &str) -> Option<Summary> {
        let state = self.lock();
        let (key, listed) = state.listed.iter().find(|(_, listed)| listed.folder == folder)?;
        Some(summary(&state, self.node_id(), *key, listed))
    }

    /// At most `limit` items from number `offset` on: those offered, by path, then those only kept here.
    pub fn items(&self, key: &CollectionKey, offset: u64, limit: usize) -> Result<Vec<Entry>, LibraryError> {
        let manifest = self.manifest(key)?.ok_or(LibraryError::NoCollection)?;
        let offered = manifest.items()?;
        let mut entries = Vec::new();
        for item in manifest.items_from(offset)?.take(limit) {
            entries.push(self.entry(item?, true)?);
        }
        if entries.len() < limit
            && let Some(kept) = self.kept(key)?
        {
            for item in kept.items_from(offset.saturating_sub(offered))?.take(limit - entries.len()) {
                entries.push(self.entry(item?, false)?);
            }
        }
        Ok(entries)
    }

    /// The item of this path.
    pub fn item(&self, key: &CollectionKey, path: &str) -> Result<Option<Entry>, LibraryError> {
        let mut manifest = self.manifest(key)?.ok_or(LibraryError::NoCollection)?;
        if let Some(item) = manifest.item(path)? {
            return self.entry(item, true).map(Some);
        }
        let item = match self.kept(key)? {
            Some(mut kept) => kept.item(path)?,
            None => None,
        };
        item.map(|item| self.entry(item, false)).transpose()
    }

    /// Offered items whose ids begin with these hexadecimal digits, and the collections that list them: `limit` at most.
    pub fn find(&self, prefix: &str, limit: usize) -> Result<Vec<(CollectionKey, Item)>, LibraryError> {
        let (prefix, mut found) = (prefix.to_ascii_lowercase(), Vec::new());
        for summary in self.collections() {
            for item in Items::of(self.manifest(&summary.key)?) {
                let item = item?;
                if found.len() == limit {
                    return Ok(found);
                }
                if item.id.to_string().starts_with(&prefix) {
                    found.push((summary.key, item));
                }
            }
        }
        Ok(found)
    }

    /// All items of a collection in the order of [`Library::items`], and whether they are offered; one page in memory.
    pub(super) fn all_items(
        &self,
        key: &CollectionKey,
    ) -> Result<impl Iterator<Item = Result<(Item, bool), LibraryError>>, LibraryError> {
        let offered = Items::of(self.manifest(key)?).map(|item| Ok((item?, true)));
        let kept = Items::of(self.kept(key)?).map(|item| Ok((item?, false)));
        Ok(offered.chain(kept))
    }

    /// The summary of a collection that is listed.
    pub fn summary(&self, key: &CollectionKey) -> Option<Summary> {
        let state = self.lock();
        let listed = state.listed.get(key)?;
        Some(summary(&state, self.node_id(), *key, listed))
    }

    pub(super) fn entry(&self, item: Item, offered: bool) -> Result<Entry, LibraryError> {
        let state = self.store.info(&item.id)?.map(|info| info.state);
        let fault = match state {
            Some(BlobState::Unavailable(fault)) => Some(fault),
            _ => None,
        };
        Ok(Entry { item, held: state == Some(BlobState::Complete), fault, offered })
    }
}

fn summary(state: &State, me: NodeId, key: CollectionKey, listed: &Listed) -> Summary {
    let mine = key.publisher == me;
    let held = state.records.get(&key).map_or((0, 0), |record| (record.held_items, record.held_bytes));
    Summary {
        key,
        folder: listed.folder.clone(),
        name: listed.name.clone(),
        version: listed.version,
        items: listed.items,
        bytes: listed.bytes,
        mine,
        held_items: held.0,
        held_bytes: held.1,
        followed: !mine,
    }
}
