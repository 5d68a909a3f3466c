//! What a node remembers of collections beside their manifests: small records in the store's tables.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::LibraryError;
use crate::{
    content::CollectionKey,
    store::{Batch, Store, Table},
    wire::{decode, encode},
};

/// What is remembered of one collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its folder below the library.
    pub folder: String,
    /// Its name when last seen.
    pub name: String,
    /// The highest version seen, here or elsewhere: the next one published is above it.
    pub floor: u64,
    /// Whether the owner of this node removed it as a whole: it is not fetched again.
    pub unwanted: bool,
    /// Items complete here, as last counted.
    pub held_items: u64,
    /// Their bytes.
    pub held_bytes: u64,
}

/// The records of all collections ever seen and kept, or not wanted.
pub(super) fn records(store: &Store) -> Result<BTreeMap<CollectionKey, Record>, LibraryError> {
    let mut records = BTreeMap::new();
    store.table(Table::Collections).for_each(&[], &mut |key, value| {
        match (key.try_into().map(CollectionKey::from_bytes), decode(value)) {
            (Ok(key), Ok(record)) => drop(records.insert(key, record)),
            _ => log::warn!("the index holds a record of a collection that does not parse; it is ignored"),
        }
        ControlFlow::Continue(())
    })?;
    Ok(records)
}

pub(super) fn put_record(store: &Store, key: CollectionKey, record: &Record) -> Result<(), LibraryError> {
    Ok(store.table(Table::Collections).apply(put(key.to_bytes().to_vec(), encode(record)))?)
}

/// Remembers that an item is not wanted here, by its path: a new edition is not wanted either.
pub(super) fn put_unwanted(store: &Store, key: CollectionKey, paths: &[String]) -> Result<(), LibraryError> {
    let put = paths.iter().map(|path| (item_key(key, path), Vec::new())).collect();
    Ok(store.table(Table::Unwanted).apply(Batch { put, ..Batch::default() })?)
}

pub(super) fn is_unwanted(store: &Store, key: CollectionKey, path: &str) -> Result<bool, LibraryError> {
    Ok(store.table(Table::Unwanted).value(&item_key(key, path))?.is_some())
}

fn put(key: Vec<u8>, value: Vec<u8>) -> Batch {
    Batch { put: vec![(key, value)], ..Batch::default() }
}

fn item_key(key: CollectionKey, path: &str) -> Vec<u8> {
    [&key.to_bytes()[..], &blake3::hash(path.as_bytes()).as_bytes()[..16]].concat()
}

/// Which folder or file of this machine an own collection has at which of its paths; "" is the top.
pub(super) fn sources(store: &Store, key: CollectionKey) -> Result<BTreeMap<String, PathBuf>, LibraryError> {
    let mut sources = BTreeMap::new();
    let prefix = key.to_bytes();
    store.table(Table::Sources).for_each(&prefix, &mut |_, value| {
        match decode::<(String, Vec<u8>)>(value) {
            Ok((at, path)) => drop(sources.insert(at, std::ffi::OsString::from_vec(path).into())),
            Err(_) => log::warn!("the index holds a source that does not parse; it is ignored"),
        }
        ControlFlow::Continue(())
    })?;
    Ok(sources)
}

/// Remembers a source.
pub(super) fn put_source(store: &Store, key: CollectionKey, at: &str, path: &Path) -> Result<(), LibraryError> {
    Ok(store.table(Table::Sources).apply(put(item_key(key, at), encode(&(at, path.as_os_str().as_bytes()))))?)
}

/// Forgets the source of this place.
pub(super) fn forget_source(store: &Store, key: CollectionKey, at: &str) -> Result<(), LibraryError> {
    Ok(store.table(Table::Sources).apply(Batch { delete: vec![item_key(key, at)], ..Batch::default() })?)
}
