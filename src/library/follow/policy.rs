//! What a mirror takes, and how much of it. Pure.

use crate::{
    content::{CollectionKey, NodeId},
    library::Summary,
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
        self.only.is_empty()
            || self.only.iter().any(|only| match only {
                Only::Collection(wanted) => wanted == name || *wanted == key.id.to_string(),
                Only::Publisher(node) => *node == key.publisher,
            })
    }

    /// Whether a collection is mirrored, if it has the right name.
    pub(super) fn may_want(&self, key: &CollectionKey) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|only| match only {
                Only::Collection(_) => true,
                Only::Publisher(node) => *node == key.publisher,
            })
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

    #[test]
    fn what_has_no_name_yet_may_be_wanted_unless_its_publisher_is_not() {
        let policy = |only| Policy {
            only,
            max_bytes_per_publisher: 1,
            max_items_per_publisher: 1,
            max_collections_per_publisher: 1,
        };
        let key = |publisher| CollectionKey { publisher: NodeId([publisher; 32]), id: CollectionId([1; 16]) };
        assert!(policy(Vec::new()).may_want(&key(1)));
        let one = policy(vec![Only::Publisher(NodeId([1; 32]))]);
        assert!(one.may_want(&key(1)) && !one.may_want(&key(2)));
        let named = policy(vec![Only::Publisher(NodeId([1; 32])), Only::Collection("Books".into())]);
        assert!(named.may_want(&key(2)));
    }
}
