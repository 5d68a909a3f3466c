//! What a mirror takes, and how much of it. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    content::{CollectionKey, NodeId},
    library::Summary,
    transfer::Priority,
};

/// What is mirrored, and the bounds that keep a stranger from filling the disk.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Only these are mirrored; empty = everything.
    pub only: Vec<Only>,
    /// Bytes kept of one publisher's collections.
    pub max_bytes_per_publisher: u64,
    /// Items listed in one publisher's collections.
    pub max_items_per_publisher: u64,
    /// Collections of one publisher.
    pub max_collections_per_publisher: u64,
    /// What was said of single collections.
    pub wishes: Wishes,
    /// Bytes of what is read from other nodes and not mirrored; 0: nothing is.
    pub cache_bytes: u64,
}

/// What the owner said of single collections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Those of which nothing is fetched for now.
    pub held_back: BTreeSet<CollectionKey>,
    /// Those that come before or after others.
    pub priorities: BTreeMap<CollectionKey, Priority>,
}

/// Something that is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Only {
    /// Collections of this name, or the one of this id (32 hexadecimal digits).
    Collection(String),
    /// All collections of this publisher.
    Publisher(NodeId),
}

impl Policy {
    /// Whether a collection of this name is mirrored.
    pub(super) fn wants(&self, key: &CollectionKey, name: &str) -> bool {
        self.takes(key, |wanted| wanted == name || *wanted == key.id.to_string())
    }

    /// The same, whether it is held back for now or not.
    pub(super) fn mirrors(&self, key: &CollectionKey, name: &str) -> bool {
        self.wishes.held_back.contains(key) || self.wants(key, name)
    }

    /// Whether it is known what a collection lists, for somebody to read of it.
    pub(super) fn knows(&self, key: &CollectionKey, name: &str) -> bool {
        self.cache_bytes > 0 && !self.wishes.held_back.contains(key) || self.wants(key, name)
    }

    /// Whether a collection is mirrored, if it has the right name.
    pub(super) fn may_want(&self, key: &CollectionKey) -> bool {
        self.takes(key, |_| true)
    }

    fn takes(&self, key: &CollectionKey, is_named: impl Fn(&str) -> bool) -> bool {
        let is_among = |only: &Only| match only {
            Only::Collection(wanted) => is_named(wanted),
            Only::Publisher(node) => *node == key.publisher,
        };
        !self.wishes.held_back.contains(key) && (self.only.is_empty() || self.only.iter().any(is_among))
    }

    /// Before which others a collection is fetched.
    pub(super) fn priority(&self, key: &CollectionKey) -> Priority {
        self.wishes.priorities.get(key).copied().unwrap_or_default()
    }

    /// Collections in the order in which they are fetched.
    pub(super) fn in_order<'a>(&self, keys: impl Iterator<Item = &'a CollectionKey>) -> Vec<CollectionKey> {
        let mut keys: Vec<_> = keys.copied().collect();
        keys.sort_by_key(|key| Reverse(self.priority(key)));
        keys
    }

    /// Why a version with so many items is too much, next to the publisher's other collections.
    pub(super) fn refuses(&self, all: &[Summary], key: &CollectionKey, items: u64) -> Option<String> {
        let others = || all.iter().filter(|it| it.key.publisher == key.publisher && it.key != *key);
        let (collections, listed) = (others().count() as u64, others().map(|it| it.items).sum::<u64>());
        if collections >= self.max_collections_per_publisher {
            let max = self.max_collections_per_publisher;
            return Some(format!(
                "its publisher has more than {max} collections (mirror.max_collections_per_publisher)"
            ));
        }
        if listed.saturating_add(items) > self.max_items_per_publisher {
            let max = self.max_items_per_publisher;
            return Some(format!("its publisher lists more than {max} items (mirror.max_items_per_publisher)"));
        }
        None
    }

    /// Whether so many more bytes of the publisher may be kept.
    pub(super) fn has_room(&self, all: &[Summary], publisher: &NodeId, bytes: u64) -> bool {
        let held: u64 = all.iter().filter(|it| it.key.publisher == *publisher).map(|it| it.held_bytes).sum();
        held.saturating_add(bytes) <= self.max_bytes_per_publisher
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::CollectionId;

    fn policy(only: Vec<Only>, wishes: Wishes) -> Policy {
        Policy {
            only,
            max_bytes_per_publisher: 1,
            max_items_per_publisher: 1,
            max_collections_per_publisher: 1,
            wishes,
            cache_bytes: 0,
        }
    }

    #[test]
    fn what_has_no_name_yet_may_be_wanted_unless_its_publisher_is_not() {
        let key = |publisher| CollectionKey { publisher: NodeId([publisher; 32]), id: CollectionId([1; 16]) };
        assert!(policy(Vec::new(), Wishes::default()).may_want(&key(1)));
        let one = policy(vec![Only::Publisher(NodeId([1; 32]))], Wishes::default());
        assert!(one.may_want(&key(1)) && !one.may_want(&key(2)));
        let named = policy(vec![Only::Publisher(NodeId([1; 32])), Only::Collection("Books".into())], Wishes::default());
        assert!(named.may_want(&key(2)));
    }

    #[test]
    fn what_is_held_back_is_not_wanted_and_what_is_important_comes_first() {
        let key = |number| CollectionKey { publisher: NodeId([number; 32]), id: CollectionId([1; 16]) };
        let wishes = Wishes {
            held_back: [key(2)].into(),
            priorities: [(key(1), Priority::Low), (key(4), Priority::High)].into(),
        };
        let policy = policy(Vec::new(), wishes);
        assert!(policy.wants(&key(1), "x") && !policy.wants(&key(2), "x"));
        assert!(policy.may_want(&key(1)) && !policy.may_want(&key(2)));
        let keys = [key(1), key(2), key(3), key(4)];
        assert_eq!(policy.in_order(keys.iter()), [key(4), key(2), key(3), key(1)]);
    }
}
