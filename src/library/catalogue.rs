//! What the catalogue tells to the page, the command line and the status.

use super::item::Item;
use crate::content::CollectionKey;

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
    /// How many of `items` are complete here.
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
