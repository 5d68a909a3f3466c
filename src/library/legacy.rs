//! What the library kept in the store's index before it had files for it, by the layout of then:
//!
//! | table | key | value |
//! |---|---|---|
//! | 1 | collection | postcard [`OldRecord`] |
//! | 2 | collection, half of the hash of an item's path | nothing: the item is not wanted |
//! | 4 | collection, half of the hash of a path | postcard of that path, and of the file or folder it comes from |
//!
//! Tables 3 and 5 were never used.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use serde::{Deserialize, Serialize};

use super::{
    Library, LibraryError,
    state::{Notes, Record},
};
use crate::{content::CollectionKey, limits::library::LEGACY_VALUES, wire::decode};

/// A collection's record of then.
#[derive(Serialize, Deserialize)]
struct OldRecord {
    folder: String,
    name: String,
    floor: u64,
    unwanted: bool,
    held_items: u64,
    held_bytes: u64,
}

/// One value, decoded.
enum Value {
    Record(OldRecord),
    Unwanted([u8; 16]),
    Source(String, Vec<u8>),
}

impl Library {
    /// Takes over what an older program kept in the index. Done again after a power cut, it changes nothing that is done.
    pub(super) fn take_over_legacy(&self) -> Result<(), LibraryError> {
        let mut taken: Vec<(CollectionKey, Value)> = Vec::new();
        let mut count = 0;
        self.store.for_each_legacy(&mut |key, value| {
            let Some((collection, value)) = parse(key, value) else {
                log::warn!("the index holds a value of an older version that does not parse; it is ignored");
                return Ok::<_, LibraryError>(());
            };
            count += 1;
            if taken.len() == LEGACY_VALUES || taken.last().is_some_and(|(last, _)| *last != collection) {
                self.take_over(std::mem::take(&mut taken))?;
            }
            taken.push((collection, value));
            Ok(())
        })?;
        self.take_over(taken)?;
        self.store.forget_legacy()?;
        if count > 0 {
            log::info!("what an older version kept in the index is now in {}", self.folder.display());
        }
        Ok(())
    }

    /// Of one collection.
    fn take_over(&self, values: Vec<(CollectionKey, Value)>) -> Result<(), LibraryError> {
        let Some((key, _)) = values.first() else { return Ok(()) };
        self.note(&key.clone(), |notes| values.into_iter().for_each(|(_, value)| add(notes, value)))
    }
}

/// What is in the notes by now is newer.
fn add(notes: &mut Notes, value: Value) {
    match value {
        Value::Record(old) if *notes.record() == Record::default() => {
            let OldRecord { folder, name, floor, unwanted, held_items, held_bytes } = old;
            *notes.record_mut() = Record { folder, name, floor, unwanted, held_items, held_bytes, unfinished: false };
        }
        Value::Record(_) => {}
        Value::Unwanted(path) => notes.refuse_hashed(path),
        Value::Source(at, path) if !notes.sources().contains_key(&at) => {
            notes.add_sources([(at, OsString::from_vec(path).into())].into_iter());
        }
        Value::Source(..) => {}
    }
}

fn parse(key: &[u8], value: &[u8]) -> Option<(CollectionKey, Value)> {
    let (table, key) = key.split_first()?;
    let (collection, item) = key.split_first_chunk()?;
    let value = match table {
        1 => Value::Record(decode(value).ok()?),
        2 => Value::Unwanted(item.try_into().ok()?),
        4 => {
            let (at, path) = decode(value).ok()?;
            Value::Source(at, path)
        }
        _ => return None,
    };
    Some((CollectionKey::from_bytes(*collection), value))
}
