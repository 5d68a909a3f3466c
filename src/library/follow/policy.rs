//! What a mirror takes, and how much of it. Pure.

use std::collections::BTreeMap;

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

/// What the owner said of single collections, items and peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Of collections.
    pub collections: BTreeMap<CollectionKey, Wish>,
    /// Of items, by their paths.
    pub items: BTreeMap<CollectionKey, BTreeMap<String, Wish>>,
    /// What peers get next to others.
    pub peers: BTreeMap<NodeId, Priority>,
}

/// What the owner said of a collection or an item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Nothing of it is fetched for now.
    pub is_held_back: bool,
    /// Before which others it comes; an item without a word of its own as its collection does.
    pub priority: Priority,
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
        self.is_held_back(key) || self.wants(key, name)
    }

    /// Whether it is known what a collection lists, for somebody to read of it.
    pub(super) fn knows(&self, key: &CollectionKey, name: &str) -> bool {
        self.cache_bytes > 0 && !self.is_held_back(key) || self.wants(key, name)
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
        !self.is_held_back(key) && (self.only.is_empty() || self.only.iter().any(is_among))
    }

    fn is_held_back(&self, key: &CollectionKey) -> bool {
        self.wishes.collections.get(key).is_some_and(|wish| wish.is_held_back)
    }

    /// Before which others a collection is fetched.
    pub(super) fn priority(&self, key: &CollectionKey) -> Priority {
        self.wishes.collections.get(key).copied().unwrap_or_default().priority
    }

    /// The items of a collection, by their paths, of which anything was said.
    pub(super) fn named(&self, key: &CollectionKey) -> impl Iterator<Item = &str> {
        self.wishes.items.get(key).into_iter().flat_map(|items| items.keys().map(String::as_str))
    }

    /// Before which others an item is fetched; none if it is not fetched for now.
    pub(super) fn item_priority(&self, key: &CollectionKey, path: &str) -> Option<Priority> {
        let wish = self.wishes.items.get(key).and_then(|items| items.get(path)).copied().unwrap_or_default();
        let priority = if wish.priority == Priority::Normal { self.priority(key) } else { wish.priority };
        (!wish.is_held_back).then_some(priority)
    }

    /// What a stream with this peer gets of a limited rate, on which comes what has this priority.
    pub(super) fn priority_with(&self, peer: &NodeId, priority: Priority) -> Priority {
        self.wishes.peers.get(peer).copied().unwrap_or_default().and(priority)
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
        let wish = |is_held_back, priority| Wish { is_held_back, priority };
        let items = [
            ("first", wish(false, Priority::High)),
            ("not", wish(true, Priority::High)),
            ("usual", wish(false, Priority::Normal)),
        ];
        let wishes = Wishes {
            collections: [(key(1), wish(false, Priority::Low)), (key(2), wish(true, Priority::Normal))].into(),
            items: [(key(1), items.map(|(path, wish)| (path.to_owned(), wish)).into())].into(),
            peers: [(NodeId([7; 32]), Priority::High)].into(),
        };
        let policy = policy(Vec::new(), wishes);
        assert!(policy.wants(&key(1), "x") && !policy.wants(&key(2), "x"));
        assert!(policy.may_want(&key(1)) && !policy.may_want(&key(2)));
        assert_eq!([1, 3].map(|number| policy.priority(&key(number))), [Priority::Low, Priority::Normal]);
        assert_eq!(Vec::from_iter(policy.named(&key(1))), ["first", "not", "usual"]);
        assert_eq!(policy.named(&key(3)).count(), 0);
        let of = ["first", "not", "usual", "x"].map(|path| policy.item_priority(&key(1), path));
        assert_eq!(of, [Some(Priority::High), None, Some(Priority::Low), Some(Priority::Low)]);
        let with = |peer, priority| policy.priority_with(&NodeId([peer; 32]), priority);
        assert_eq!([with(7, Priority::Normal), with(7, Priority::Low)], [Priority::High, Priority::Normal]);
        assert_eq!([with(8, Priority::Low), with(7, Priority::High)], [Priority::Low, Priority::High]);
    }
}
