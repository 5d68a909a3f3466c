//! What an index of schema 1 holds for other parts: they take it over before it is forgotten. The store does not know what
//! it means.

use super::{Store, StoreError, index::SCHEMA, record::encode};
use crate::limits::store::BATCH_RECORDS;

/// How the keys begin.
const TABLES: &[u8] = b"T";

/// Called with a key and its value; an error ends it.
type Visit<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'a;

impl Store {
    /// Hands out what schema 1 held for other parts, by ascending keys, one at a time. When `f` has taken all of it, durably,
    /// [`Store::forget_legacy`] is to be called; a power cut before, and all of it is handed out again.
    ///
    /// # Errors
    /// Those of `f`, or of the index.
    pub fn for_each_legacy<E: From<StoreError>>(&self, f: &mut Visit<'_, E>) -> Result<(), E> {
        let mut failed = None;
        self.0.index.scan(TABLES, &mut |key, value| {
            failed = f(key, value).err();
            Ok(failed.is_none())
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Deletes it, and makes the index one of today's schema; durable when it returns. Begun again after a power cut, it goes
    /// on. Nothing happens if the index is one of today's schema.
    pub fn forget_legacy(&self) -> Result<(), StoreError> {
        let index = &self.0.index;
        while index.is_schema_1()? {
            let mut changes = Vec::with_capacity(BATCH_RECORDS);
            index.scan(TABLES, &mut |key, _| {
                changes.push(([TABLES, key].concat(), None));
                Ok(changes.len() < BATCH_RECORDS)
            })?;
            if changes.is_empty() {
                // The first programs of schema 1 did not store the count.
                changes.push((b"C".to_vec(), Some(encode(&index.count()))));
                changes.push((b"S".to_vec(), Some(SCHEMA.to_le_bytes().to_vec())));
            }
            index.put(changes)?;
        }
        Ok(())
    }
}
