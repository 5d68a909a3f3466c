//! Pages of a manifest: runs of items, cut where the items say, so that a change moves no page but its own.
//!
//! A page is the postcard of each item, each behind its length (postcard varint). Which items end a page is decided by
//! their paths alone, up to the limits [`PAGE_ITEMS`] and [`PAGE_BYTES`]; a reader accepts any cut.

use thiserror::Error;

use super::item::{Item, is_item_path};
use crate::{
    limits::library::{PAGE_BYTES, PAGE_ITEMS},
    wire::{decode, encode},
};

/// What names a page: the BLAKE3 hash of its bytes.
pub(super) type PageHash = [u8; 32];

/// Why bytes are no page.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PageError {
    #[error("a page of {0} bytes where at most {PAGE_BYTES} are allowed")]
    TooLong(usize),
    #[error("a page of more than {PAGE_ITEMS} items")]
    TooManyItems,
    #[error("an empty page")]
    Empty,
    #[error("an item that does not parse")]
    Malformed,
    #[error("{0:?} is no path within a collection")]
    Path(String),
    #[error("{0:?} is out of order")]
    Order(String),
}

/// The hash that names these bytes.
pub(super) fn hash(page: &[u8]) -> PageHash {
    *blake3::hash(page).as_bytes()
}

/// The items of a page from anywhere: bounded, each path valid, sorted and unique.
pub(super) fn parse(page: &[u8]) -> Result<Vec<Item>, PageError> {
    if page.len() > PAGE_BYTES {
        return Err(PageError::TooLong(page.len()));
    }
    let mut items: Vec<Item> = Vec::new();
    let mut rest = page;
    while !rest.is_empty() {
        if items.len() == PAGE_ITEMS {
            return Err(PageError::TooManyItems);
        }
        let (bytes, behind): (&[u8], _) = postcard::take_from_bytes(rest).map_err(|_| PageError::Malformed)?;
        let item: Item = decode(bytes).map_err(|_| PageError::Malformed)?;
        if !is_item_path(&item.path) {
            return Err(PageError::Path(item.path.to_string()));
        }
        if items.last().is_some_and(|last| last.path >= item.path) {
            return Err(PageError::Order(item.path.to_string()));
        }
        items.push(item);
        rest = behind;
    }
    if items.is_empty() { Err(PageError::Empty) } else { Ok(items) }
}

/// One item in this many ends its page.
const ITEMS_PER_CUT: u8 = 32;

/// Whether this path ends its page: stable for ever, or updates would re-send whole collections.
fn ends_page(path: &str) -> bool {
    blake3::hash(path.as_bytes()).as_bytes()[0].is_multiple_of(ITEMS_PER_CUT)
}

/// Cuts sorted items into pages.
#[derive(Default)]
pub(super) struct Paginator {
    page: Vec<u8>,
    items: usize,
}

/// A page that is complete.
pub(super) struct Page {
    pub bytes: Vec<u8>,
    pub items: usize,
}

impl Paginator {
    /// Takes the next item; returns up to two pages that are complete now.
    pub fn push(&mut self, item: &Item) -> [Option<Page>; 2] {
        // An item behind its length is never longer than a page: asserted in `limits`.
        let entry = encode(&encode(item));
        let before =
            if self.items == PAGE_ITEMS || self.page.len() + entry.len() > PAGE_BYTES { self.finish() } else { None };
        self.page.extend_from_slice(&entry);
        self.items += 1;
        let after = if ends_page(&item.path) { self.finish() } else { None };
        [before, after]
    }

    /// The page that was being filled.
    pub fn finish(&mut self) -> Option<Page> {
        let (bytes, items) = (std::mem::take(&mut self.page), std::mem::take(&mut self.items));
        (items > 0).then_some(Page { bytes, items })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::library::item::sample;

    fn pages(items: &BTreeMap<String, u8>) -> Vec<Vec<u8>> {
        let mut paginator = Paginator::default();
        let mut pages = Vec::new();
        for (path, content) in items {
            pages.extend(paginator.push(&sample(path, &[*content])).into_iter().flatten());
        }
        pages.extend(paginator.finish());
        pages.into_iter().map(|page| page.bytes).collect()
    }

    #[test]
    fn pages_hold_about_32_items() {
        let items = (0..20_000).map(|at| (format!("shelf/{at:06}.txt"), 0)).collect();
        let count = pages(&items).len();
        assert!((500..1000).contains(&count), "{count} pages");
    }

    #[test]
    fn bad_pages_say_why() {
        let entry = |path: &str| encode(&encode(&sample(path, b"")));
        let (a, b) = (entry("a"), entry("b"));
        assert_eq!(parse(&[a.clone(), b.clone()].concat()).unwrap().len(), 2);
        assert_eq!(parse(&[b.clone(), a.clone()].concat()), Err(PageError::Order("a".into())));
        assert_eq!(parse(&[a.clone(), a.clone()].concat()), Err(PageError::Order("a".into())));
        assert_eq!(parse(&entry("../a")), Err(PageError::Path("../a".into())));
        assert_eq!(parse(&entry("/a")), Err(PageError::Path("/a".into())));
        assert_eq!(parse(b""), Err(PageError::Empty));
        assert_eq!(parse(&a[..a.len() - 1]), Err(PageError::Malformed));
        assert_eq!(parse(&vec![0; PAGE_BYTES + 1]), Err(PageError::TooLong(PAGE_BYTES + 1)));
        let many: Vec<u8> = (0..=PAGE_ITEMS).flat_map(|at| entry(&format!("{at:03}"))).collect();
        assert_eq!(parse(&many), Err(PageError::TooManyItems));
    }

    #[test]
    fn fields_of_later_versions_are_skipped() {
        let mut item = encode(&sample("a", b"x"));
        item.extend_from_slice(b"a field of a later version");
        assert_eq!(parse(&encode(&item)).unwrap(), [sample("a", b"x")]);
    }

    proptest! {
        #[test]
        fn pages_give_back_the_items(items: BTreeMap<u16, u8>) {
            let items: BTreeMap<String, u8> = items.into_iter().map(|(at, content)| (format!("{at}"), content)).collect();
            let back: Vec<Item> = pages(&items).iter().flat_map(|page| parse(page).unwrap()).collect();
            let naive: Vec<Item> = items.iter().map(|(path, content)| sample(path, &[*content])).collect();
            prop_assert_eq!(back, naive);
        }

        /// The pages outside the run of items between two cuts stay as they are, whatever happens in it.
        #[test]
        fn a_change_changes_its_own_run_only(at in 0..4000u16, remove: bool) {
            let mut items: BTreeMap<String, u8> = (0..2000).map(|at| (format!("{:04}", at * 2), 0)).collect();
            let before: BTreeSet<Vec<u8>> = pages(&items).into_iter().collect();
            let path = format!("{at:04}");
            if remove { items.remove(&path); } else { items.insert(path, 1); }
            let new = pages(&items).into_iter().filter(|page| !before.contains(page));
            // A removed cut joins two runs, and the longest run of these paths has 4 pages; nearly always it is 1.
            prop_assert!(new.count() <= 5);
        }

        #[test]
        fn garbage_is_refused_without_harm(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
