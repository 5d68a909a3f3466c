//! What a node remembers of a collection beside its manifest, in a file of its own: what its owner said of it, which can be
//! had from nowhere else, and what was counted.
//!
//! The file is the postcard of [`Notes`] behind its BLAKE3 hash. It is replaced as a whole, and durable when a call returns.
//! Parts are only ever appended: of an older file those that it lacks are empty, and an older program skips what it does not
//! know.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io::{Read, Write},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Library, LibraryError, edit::Words};
use crate::{
    content::CollectionKey,
    limits::library::NOTES_BYTES,
    wire::{decode, encode},
};

/// What is remembered of one collection in memory too.
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
    /// Whether an add or a removal is under way, or was cut short.
    pub unfinished: bool,
}

/// All that is remembered of one collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notes {
    first: First,
    /// What the owner said of items, by their paths.
    words: BTreeMap<String, Words>,
}

/// What notes have had from the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct First {
    key: CollectionKey,
    record: Record,
    /// The paths of items that are not wanted here, by their hashes: a new edition is not wanted either.
    unwanted: BTreeSet<[u8; 16]>,
    /// Which folder or file of this machine an own collection has at which of its paths; "" is the top.
    sources: BTreeMap<String, Vec<u8>>,
}

impl Notes {
    fn new(key: CollectionKey) -> Self {
        let first = First { key, record: Record::default(), unwanted: BTreeSet::new(), sources: BTreeMap::new() };
        Self { first, words: BTreeMap::new() }
    }

    /// The notes in this file; none if there is no such file, or if it is damaged.
    pub fn read(path: &Path) -> Result<Option<(CollectionKey, Self)>, LibraryError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| LibraryError::io(path, error))?,
        };
        let mut bytes = Vec::new();
        file.take(NOTES_BYTES).read_to_end(&mut bytes).map_err(|error| LibraryError::io(path, error))?;
        let notes: Option<Self> = bytes
            .split_first_chunk::<32>()
            .filter(|(hash, body)| blake3::hash(body) == **hash)
            .and_then(|(_, body)| Self::from_bytes(body));
        if notes.is_none() {
            log::warn!("{} is damaged: what is not wanted of its collection may come back", path.display());
        }
        Ok(notes.map(|notes| (notes.first.key, notes)))
    }

    pub(super) fn from_bytes(body: &[u8]) -> Option<Self> {
        let (first, rest) = postcard::take_from_bytes(body).ok()?;
        let words = if rest.is_empty() { BTreeMap::new() } else { decode(rest).ok()? };
        Some(Self { first, words })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [encode(&self.first), encode(&self.words)].concat()
    }

    fn write(&self, path: &Path) -> Result<(), LibraryError> {
        let body = self.to_bytes();
        if body.len() as u64 + 32 > NOTES_BYTES {
            return Err(LibraryError::NotesFull);
        }
        let draft = path.with_extension("notes.draft");
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(blake3::hash(&body).as_bytes())?;
            file.write_all(&body)?;
            file.sync_all()?;
            fs::rename(&draft, path)?;
            File::open(path.parent().unwrap_or(path))?.sync_all()
        };
        write().map_err(|error| LibraryError::io(path, error))
    }

    /// See [`Record`].
    pub fn record(&self) -> &Record {
        &self.first.record
    }

    /// The same, to be changed.
    pub fn record_mut(&mut self) -> &mut Record {
        &mut self.first.record
    }

    /// What the owner said of items, by their paths.
    pub fn words(&self) -> &BTreeMap<String, Words> {
        &self.words
    }

    /// The same, to be changed.
    pub fn words_mut(&mut self) -> &mut BTreeMap<String, Words> {
        &mut self.words
    }

    /// Whether the item of this path is not wanted here.
    pub fn is_unwanted(&self, path: &str) -> bool {
        self.first.unwanted.contains(&item_key(path))
    }

    /// Remembers that the items of these paths are not wanted here.
    pub fn refuse<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        self.first.unwanted.extend(paths.map(item_key));
    }

    /// Remembers that an item is not wanted here, by the hash of its path.
    pub fn refuse_hashed(&mut self, path: [u8; 16]) {
        self.first.unwanted.insert(path);
    }

    /// See the field.
    pub fn sources(&self) -> BTreeMap<String, PathBuf> {
        self.first.sources.iter().map(|(at, path)| (at.clone(), OsString::from_vec(path.clone()).into())).collect()
    }

    /// Remembers these sources, beside those that are known.
    pub fn add_sources(&mut self, sources: impl Iterator<Item = (String, PathBuf)>) {
        self.first.sources.extend(sources.map(|(at, path)| (at, path.into_os_string().into_vec())));
    }

    /// Forgets the sources of places that `keep` refuses.
    pub fn retain_sources(&mut self, keep: impl Fn(&str) -> bool) {
        self.first.sources.retain(|at, _| keep(at));
    }
}

fn item_key(path: &str) -> [u8; 16] {
    let hash = blake3::hash(path.as_bytes());
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}

impl Library {
    /// What is remembered of a collection.
    pub(super) fn notes(&self, key: &CollectionKey) -> Result<Notes, LibraryError> {
        let found = Notes::read(&self.manifest_path(key, "notes"))?;
        Ok(found.map_or_else(|| Notes::new(*key), |(_, notes)| notes))
    }

    /// Changes what is remembered of a collection; durable when it returns.
    pub(super) fn note(&self, key: &CollectionKey, change: impl FnOnce(&mut Notes)) -> Result<(), LibraryError> {
        let _noting = self.noting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = self.notes(key)?;
        let mut new = old.clone();
        // What was counted since is in memory alone.
        new.first.record = self.record(key).unwrap_or_default();
        change(&mut new);
        if new != old {
            new.write(&self.manifest_path(key, "notes"))?;
        }
        self.lock().records.insert(*key, new.first.record);
        Ok(())
    }

    /// The same of its record alone.
    pub(super) fn put_record(&self, key: &CollectionKey, change: impl FnOnce(&mut Record)) -> Result<(), LibraryError> {
        self.note(key, |notes| change(notes.record_mut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{CollectionId, NodeId};

    fn notes() -> Notes {
        let mut notes = Notes::new(CollectionKey { publisher: NodeId([1; 32]), id: CollectionId([2; 16]) });
        notes.first.record = Record { folder: "Books".into(), floor: 7, ..Record::default() };
        notes.refuse(["a"].into_iter());
        notes.add_sources([(String::new(), PathBuf::from("/books"))].into_iter());
        notes
    }

    #[test]
    fn notes_without_later_parts_are_read() {
        let notes = notes();
        assert_eq!(Notes::from_bytes(&encode(&notes.first)), Some(notes));
    }

    #[test]
    fn later_parts_are_skipped() {
        let mut notes = notes();
        let words = Words { title: Some(crate::wire::Text::cut("Emma")), ..Words::default() };
        notes.words.insert("a".into(), words);
        let mut bytes = notes.to_bytes();
        assert_eq!(Notes::from_bytes(&bytes), Some(notes.clone()));
        assert_eq!(decode::<First>(&bytes).ok(), Some(notes.first.clone()), "an older program reads it");
        bytes.extend_from_slice(b"more");
        assert_eq!(Notes::from_bytes(&bytes), Some(notes));
    }

    #[test]
    fn damaged_notes_are_none() {
        let bytes = notes().to_bytes();
        let short = encode(&notes().first).len();
        for end in (0..bytes.len()).filter(|end| *end != short) {
            assert_eq!(Notes::from_bytes(&bytes[..end]), None, "{end}");
        }
    }
}
