//! A page of the index: postcard `Vec<Record>`, sorted by id. Whoever wants one record reads and changes it where it is: to take
//! all of them apart, with an allocation for each path, and to put them together again takes several times as long.

use std::ops::Range;

use postcard::take_from_bytes;

use crate::{
    content::ContentId,
    store::{
        Fault, StoreError,
        damage::{damaged, decode},
        record::{Record, encode},
    },
};

/// A page without records.
pub(super) const EMPTY: &[u8] = &[0];

/// What follows the id in a record, as far as its length depends on it: the size, and how many locations come.
type Head = (u64, usize);
/// A location, whose path is not copied.
type Seen<'a> = (u32, &'a [u8], i64, u64, Option<Fault>);

/// The bytes of a record, or none, where it would be.
pub(super) fn find(page: &[u8], id: &ContentId) -> Result<Range<usize>, StoreError> {
    let (records, mut rest) = take_from_bytes::<usize>(page).map_err(|_| damaged())?;
    for _ in 0..records {
        let start = page.len() - rest.len();
        let (found, after) = rest.split_first_chunk::<32>().ok_or_else(damaged)?;
        if *found > id.0 {
            return Ok(start..start);
        }
        rest = skip(after).map_err(|_| damaged())?;
        if *found == id.0 {
            return Ok(start..page.len() - rest.len());
        }
    }
    let end = page.len() - rest.len();
    Ok(end..end)
}

/// What follows a record that goes on with these bytes after its id.
fn skip(after_id: &[u8]) -> postcard::Result<&[u8]> {
    let ((_, locations), mut rest) = take_from_bytes::<Head>(after_id)?;
    for _ in 0..locations {
        rest = take_from_bytes::<Seen<'_>>(rest)?.1;
    }
    Ok(rest)
}

/// The record that was found there, if there was one.
pub(super) fn record(page: &[u8], at: &Range<usize>) -> Result<Option<Record>, StoreError> {
    (!at.is_empty()).then(|| decode(&page[at.clone()])).transpose()
}

/// The page with an encoded record, or nothing, in place of what [`find`] found.
pub(super) fn replace(page: &[u8], at: Range<usize>, record: &[u8]) -> Result<Vec<u8>, StoreError> {
    let (records, rest) = take_from_bytes::<usize>(page).map_err(|_| damaged())?;
    let head = page.len() - rest.len();
    let records = records + usize::from(!record.is_empty()) - usize::from(!at.is_empty());
    Ok([&encode(&records), &page[head..at.start], record, &page[at.end..]].concat())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::store::record::Location;

    fn location() -> impl Strategy<Value = Location> {
        let fault = prop_oneof![Just(None), Just(Some(Fault::Missing)), Just(Some(Fault::Damaged))];
        let fields = (any::<u32>(), vec(any::<u8>(), 0..200), any::<i64>(), any::<u64>(), fault);
        fields.prop_map(|(root, path, mtime_ns, inode, fault)| Location { root, path, mtime_ns, inode, fault })
    }

    fn records(most: usize) -> impl Strategy<Value = Vec<Record>> {
        // Of few ids, for some to be there before.
        let record = (0..40u8, any::<u64>(), vec(location(), 1..4));
        vec(record.prop_map(|(id, size, locations)| Record { id: ContentId([id; 32]), size, locations }), 0..most)
    }

    proptest! {
        #[test]
        fn a_page_is_the_records_put_into_it(changes in records(80), gone in vec(0..40u8, 0..40)) {
            let mut expected = std::collections::BTreeMap::new();
            let mut page = EMPTY.to_vec();
            let changes = changes.into_iter().map(|new| (new.id, Some(new)));
            for (id, new) in changes.chain(gone.into_iter().map(|id| (ContentId([id; 32]), None))) {
                let at = find(&page, &id).unwrap();
                prop_assert_eq!(record(&page, &at).unwrap(), expected.get(&id).cloned());
                page = replace(&page, at, &new.as_ref().map(encode).unwrap_or_default()).unwrap();
                match new {
                    Some(new) => _ = expected.insert(id, new),
                    None => _ = expected.remove(&id),
                }
                prop_assert_eq!(&page, &encode(&Vec::from_iter(expected.values())));
            }
        }

        #[test]
        fn a_page_that_ends_early_is_damaged(records in records(12), at in any::<prop::sample::Index>()) {
            let page = encode(&records);
            let short = &page[..at.index(page.len())];
            // After the last of all ids, all of them are read.
            let whole = find(&page, &ContentId([255; 32])).unwrap();
            prop_assert_eq!(whole, page.len()..page.len());
            prop_assert!(short.is_empty() || find(short, &ContentId([255; 32])).is_err());
            prop_assert!(!short.is_empty() || find(short, &ContentId([0; 32])).is_err());
        }
    }
}
