//! What a lane carries, and how much of it in one go. Pure.

use crate::{
    library::Item,
    limits::{
        GROUP_BYTES,
        follow::{ITEM_TEXT_BYTES, SMALL_WANTS, SMALL_WANTS_BYTES, SMALL_WANTS_TEXT_BYTES},
        transfer::SMALL_BYTES,
    },
    store::{BlobState, LibraryPath},
};

/// What a lane carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Files that are verified as a whole, many at a time.
    Small,
    /// Larger ones, one at a time.
    Large,
}

impl Lane {
    /// Whether this is enough for one go.
    pub fn is_full(self, load: &Load) -> bool {
        let Load { blobs, bytes, text_bytes } = *load;
        match self {
            Self::Small => {
                blobs >= SMALL_WANTS
                    || bytes >= SMALL_WANTS_BYTES
                    || text_bytes > SMALL_WANTS_TEXT_BYTES - ITEM_TEXT_BYTES
            }
            Self::Large => blobs >= 1,
        }
    }

    /// Whether an item can go on this lane, whatever the store has of it.
    pub fn may_take(self, item: &Item) -> bool {
        match self {
            Self::Small => item.size <= SMALL_BYTES,
            Self::Large => item.size > GROUP_BYTES,
        }
    }

    /// Whether an item of which the store has this goes on this lane. Where there is something of several groups to build upon,
    /// not all of it is fetched.
    pub fn takes(self, item: &Item, state: Option<BlobState>) -> bool {
        let is_begun = item.size > GROUP_BYTES && state.is_some_and(|state| state != BlobState::Complete);
        (item.size <= SMALL_BYTES && !is_begun) == (self == Self::Small)
    }
}

/// What is asked for in one go.
#[derive(Default)]
pub(super) struct Load {
    pub blobs: usize,
    pub bytes: u64,
    /// Of names, titles and the like.
    pub text_bytes: usize,
}

impl Load {
    pub fn add(&mut self, item: &Item, to: &LibraryPath) {
        self.blobs += 1;
        self.bytes += item.size;
        self.text_bytes += item.path.len() + item.title.len() + item.author.len() + item.language.len();
        self.text_bytes += to.as_str().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Fault;

    #[test]
    fn a_file_of_a_few_groups_is_fetched_as_a_whole_unless_something_of_it_is_here() {
        let lane_of = |size, state| {
            let item = Item { size, ..crate::library::item::sample("book", b"") };
            let lanes = [Lane::Small, Lane::Large].into_iter().filter(|lane| lane.takes(&item, state));
            let lanes = Vec::from_iter(lanes);
            assert!(lanes.len() == 1 && lanes[0].may_take(&item), "{size} {state:?}: {lanes:?}");
            lanes[0]
        };
        let begun = [BlobState::Partial { verified_bytes: 0 }, BlobState::Unavailable(Fault::Damaged)];
        for state in begun.map(Some) {
            assert_eq!(lane_of(GROUP_BYTES, state), Lane::Small, "{state:?}");
            assert_eq!(lane_of(SMALL_BYTES, state), Lane::Large, "{state:?}");
        }
        for state in [None, Some(BlobState::Complete)] {
            assert_eq!(lane_of(SMALL_BYTES, state), Lane::Small, "{state:?}");
            assert_eq!(lane_of(SMALL_BYTES + 1, state), Lane::Large, "{state:?}");
        }
    }

    #[test]
    fn one_go_is_bounded_by_blobs_bytes_and_text() {
        let to = LibraryPath::new("Books/book").unwrap();
        let blobs_of = |item: &Item| {
            let mut load = Load::default();
            while !Lane::Small.is_full(&load) {
                load.add(item, &to);
            }
            assert!(load.text_bytes <= SMALL_WANTS_TEXT_BYTES);
            load.blobs
        };
        let item = crate::library::item::sample("book", b"");
        assert_eq!(blobs_of(&item), SMALL_WANTS);
        let large = Item { size: SMALL_BYTES, ..item.clone() };
        assert_eq!(blobs_of(&large), (SMALL_WANTS_BYTES / SMALL_BYTES) as usize);
        let long = crate::library::item::sample(&"a/".repeat(500), b"");
        let (blobs, most) = (blobs_of(&long), SMALL_WANTS_TEXT_BYTES / long.path.len());
        assert!((most - 5..=most).contains(&blobs), "{blobs} of {most}");
        let mut load = Load::default();
        load.add(&item, &to);
        assert!(Lane::Large.is_full(&load) && !Lane::Large.is_full(&Load::default()));
    }
}
