//! What the owner said of transfers, and how it stands in `transfers.toml`: for people to read. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    content::{CollectionKey, NodeId},
    library::follow::{Wish, Wishes},
    limits::{library::COLLECTIONS, network::KNOWN_PEERS, transfer::NAMED_ITEMS},
    node::control::TransferChange,
    status::{TransferPriority, TransferState},
    transfer::Priority,
};

const HEAD: &str = "\
# What is not transferred, and what comes first, as `allibrary transfers` has it. To change it by hand, stop the node.
";

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Nothing is fetched, or sent to other nodes.
    pub paused: bool,
    /// Nothing is fetched from these, or sent to them.
    pub paused_peers: BTreeSet<NodeId>,
    /// Those that get more or less than others.
    pub peers: BTreeMap<NodeId, TransferPriority>,
    /// Of those of which anything was said.
    pub collections: BTreeMap<CollectionKey, Word>,
    /// The same of single items, by their paths.
    pub items: BTreeMap<(CollectionKey, String), Word>,
}

/// What was said of a collection, or of an item: what is usual of an item is as its collection has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Word {
    /// Whether it is fetched.
    pub state: TransferState,
    /// Before which others.
    pub priority: TransferPriority,
}

/// What a command names; if that is nothing, it is about everything.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// Peers.
    pub peers: Vec<NodeId>,
    /// Collections.
    pub collections: Vec<CollectionKey>,
    /// Items, by their paths.
    pub items: Vec<(CollectionKey, String)>,
}

/// [`Said`] as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    paused: bool,
    paused_peers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    peer: Vec<PeerText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    collection: Vec<CollectionText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    item: Vec<ItemText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerText {
    node: String,
    priority: TransferPriority,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectionText {
    publisher: String,
    id: String,
    state: TransferState,
    priority: TransferPriority,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemText {
    publisher: String,
    id: String,
    path: String,
    state: TransferState,
    priority: TransferPriority,
}

fn node(text: &str) -> Result<NodeId, String> {
    text.parse().map_err(|_| format!("{text:?} is no peer id"))
}

fn key(publisher: &str, id: &str) -> Result<CollectionKey, String> {
    let id = id.parse().map_err(|_| format!("{id:?} is no id of a collection"))?;
    Ok(CollectionKey { publisher: node(publisher)?, id })
}

impl Said {
    /// # Errors
    /// What is wrong with the text.
    pub fn from_text(text: &str) -> Result<Self, String> {
        // The message may have several lines, with the place in the file.
        let text: Text = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
        let said = Self {
            paused: text.paused,
            paused_peers: text.paused_peers.iter().map(|peer| node(peer)).collect::<Result<_, _>>()?,
            peers: text
                .peer
                .iter()
                .map(|of| Ok::<_, String>((node(&of.node)?, of.priority)))
                .collect::<Result<_, _>>()?,
            collections: text
                .collection
                .iter()
                .map(|of| {
                    Ok::<_, String>((key(&of.publisher, &of.id)?, Word { state: of.state, priority: of.priority }))
                })
                .collect::<Result<_, _>>()?,
            items: text
                .item
                .into_iter()
                .map(|of| {
                    let word = Word { state: of.state, priority: of.priority };
                    Ok::<_, String>(((key(&of.publisher, &of.id)?, of.path), word))
                })
                .collect::<Result<_, _>>()?,
        };
        if said.is_too_much() {
            return Err(format!(
                "it lists more than {KNOWN_PEERS} peers, {COLLECTIONS} collections or {NAMED_ITEMS} items"
            ));
        }
        Ok(said)
    }

    /// Whether it is more than is kept.
    pub fn is_too_much(&self) -> bool {
        self.paused_peers.len().max(self.peers.len()) > KNOWN_PEERS
            || self.collections.len() > COLLECTIONS
            || self.items.len() > NAMED_ITEMS
    }

    /// What [`Said::from_text`] reads.
    pub fn to_text(&self) -> String {
        let collection = |(key, word): (&CollectionKey, &Word)| CollectionText {
            publisher: key.publisher.to_string(),
            id: key.id.to_string(),
            state: word.state,
            priority: word.priority,
        };
        let item = |((key, path), word): (&(CollectionKey, String), &Word)| ItemText {
            publisher: key.publisher.to_string(),
            id: key.id.to_string(),
            path: path.clone(),
            state: word.state,
            priority: word.priority,
        };
        let text = Text {
            paused: self.paused,
            paused_peers: self.paused_peers.iter().map(NodeId::to_string).collect(),
            peer: self
                .peers
                .iter()
                .map(|(peer, priority)| PeerText { node: peer.to_string(), priority: *priority })
                .collect(),
            collection: self.collections.iter().map(collection).collect(),
            item: self.items.iter().map(item).collect(),
        };
        format!("{HEAD}{}", toml::to_string(&text).expect("it holds only what TOML can"))
    }

    /// What a change makes of it.
    pub fn change(&mut self, change: TransferChange, Named { peers, collections, items }: &Named) {
        if peers.is_empty() && collections.is_empty() && items.is_empty() {
            match change {
                TransferChange::Pause => self.paused = true,
                TransferChange::Resume => self.resume(),
                TransferChange::Cancel | TransferChange::High | TransferChange::Normal | TransferChange::Low => {}
            }
        }
        for peer in peers {
            match change {
                TransferChange::Pause => _ = self.paused_peers.insert(*peer),
                TransferChange::Resume => _ = self.paused_peers.remove(peer),
                TransferChange::High => _ = self.peers.insert(*peer, TransferPriority::High),
                TransferChange::Low => _ = self.peers.insert(*peer, TransferPriority::Low),
                TransferChange::Normal => _ = self.peers.remove(peer),
                TransferChange::Cancel => {}
            }
        }
        collections.iter().for_each(|key| self.collections.entry(*key).or_default().change(change));
        items.iter().for_each(|item| self.items.entry(item.clone()).or_default().change(change));
        self.collections.retain(|_, word| *word != Word::default());
        self.items.retain(|_, word| *word != Word::default());
    }

    /// All that was paused goes on; what was cancelled was meant to stay so.
    fn resume(&mut self) {
        self.paused = false;
        self.paused_peers.clear();
        for word in self.collections.values_mut().chain(self.items.values_mut()) {
            if word.state == TransferState::Paused {
                word.state = TransferState::Going;
            }
        }
    }

    /// What was cancelled.
    pub fn cancelled(&self) -> Named {
        let is_over = |word: &Word| word.state == TransferState::Cancelled;
        Named {
            peers: Vec::new(),
            collections: self.collections.iter().filter(|(_, word)| is_over(word)).map(|(key, _)| *key).collect(),
            items: self.items.iter().filter(|(_, word)| is_over(word)).map(|(item, _)| item.clone()).collect(),
        }
    }

    /// What it means for mirroring.
    pub fn wishes(&self) -> Wishes {
        let mut items: BTreeMap<CollectionKey, BTreeMap<String, Wish>> = BTreeMap::new();
        for ((key, path), word) in &self.items {
            items.entry(*key).or_default().insert(path.clone(), word.wish());
        }
        Wishes {
            collections: self.collections.iter().map(|(key, word)| (*key, word.wish())).collect(),
            items,
            peers: self.peer_priorities(),
        }
    }

    /// What peers get next to others.
    pub fn peer_priorities(&self) -> BTreeMap<NodeId, Priority> {
        self.peers.iter().map(|(peer, of)| (*peer, priority(*of))).collect()
    }
}

impl Word {
    fn change(&mut self, change: TransferChange) {
        match change {
            TransferChange::Pause if self.state == TransferState::Cancelled => {}
            TransferChange::Pause => self.state = TransferState::Paused,
            TransferChange::Resume => self.state = TransferState::Going,
            TransferChange::Cancel => self.state = TransferState::Cancelled,
            TransferChange::High => self.priority = TransferPriority::High,
            TransferChange::Normal => self.priority = TransferPriority::Normal,
            TransferChange::Low => self.priority = TransferPriority::Low,
        }
    }

    fn wish(self) -> Wish {
        Wish { is_held_back: self.state != TransferState::Going, priority: priority(self.priority) }
    }
}

fn priority(of: TransferPriority) -> Priority {
    match of {
        TransferPriority::Low => Priority::Low,
        TransferPriority::Normal => Priority::Normal,
        TransferPriority::High => Priority::High,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::CollectionId, network::identity::Keypair};

    fn key(number: u8) -> CollectionKey {
        CollectionKey { publisher: Keypair::generate().node_id(), id: CollectionId([number; 16]) }
    }

    fn word(state: TransferState, priority: TransferPriority) -> Word {
        Word { state, priority }
    }

    fn all() -> Named {
        Named::default()
    }

    fn peers(peers: &[NodeId]) -> Named {
        Named { peers: peers.to_vec(), ..all() }
    }

    fn collections(keys: &[CollectionKey]) -> Named {
        Named { collections: keys.to_vec(), ..all() }
    }

    fn item(key: CollectionKey, path: &str) -> Named {
        Named { items: vec![(key, path.to_owned())], ..all() }
    }

    #[test]
    fn what_is_said_is_read_as_it_was_written() {
        let mut said = Said::default();
        assert_eq!(Said::from_text(&said.to_text()), Ok(said.clone()));
        said.change(TransferChange::Pause, &all());
        let some = Named { collections: vec![key(1)], ..peers(&[key(1).publisher, key(2).publisher]) };
        said.change(TransferChange::Pause, &some);
        said.change(TransferChange::Cancel, &collections(&[key(2)]));
        said.change(TransferChange::Low, &collections(&[key(3)]));
        said.change(TransferChange::High, &peers(&[key(4).publisher]));
        said.change(TransferChange::High, &item(key(5), "odd \"name\" \\ 書.pdf"));
        said.change(TransferChange::Cancel, &item(key(5), "a/b"));
        assert_eq!((said.paused_peers.len(), said.peers.len()), (2, 1));
        assert_eq!((said.collections.len(), said.items.len()), (3, 2));
        assert_eq!(Said::from_text(&said.to_text()), Ok(said));
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let key = key(1);
        let text = format!(
            "paused = false\npaused_peers = []\n\n[[collection]]\npublisher = \"{}\"\nid = \"{}\"\nstate = \"paused\"\n\
             priority = \"high\"\n",
            key.publisher, key.id
        );
        let said = Said::from_text(&text).unwrap();
        assert_eq!(said.collections, [(key, word(TransferState::Paused, TransferPriority::High))].into());
    }

    #[test]
    fn what_nobody_wrote_is_refused_with_a_reason() {
        let good = |more: &str| format!("paused = true\npaused_peers = []\n{more}");
        assert!(Said::from_text(&good("")).is_ok());
        let key = key(1);
        let named = format!("publisher = '{}'\nid = '{}'\n", key.publisher, key.id);
        let items = |count: usize| {
            let item = |number| format!("[[item]]\n{named}path = '{number}'\nstate = 'going'\npriority = 'low'\n");
            good(&(0..count).map(item).collect::<String>())
        };
        assert!(Said::from_text(&items(NAMED_ITEMS)).is_ok());
        for bad in [
            "",
            "paused = 1\npaused_peers = []",
            "paused = true\npaused_peers = ['x']",
            &good("more = 1"),
            &good("[[collection]]\npublisher = 'x'\nid = 'y'\nstate = 'paused'\npriority = 'low'"),
            &good(&format!("[[collection]]\n{named}state = 'x'\npriority = 'low'")),
            &good(&format!("[[item]]\n{named}state = 'going'\npriority = 'low'")),
            &good("[[peer]]\nnode = 'x'\npriority = 'low'"),
            &good(&format!("[[peer]]\nnode = '{}'\npriority = 'urgent'", key.publisher)),
            &items(NAMED_ITEMS + 1),
        ] {
            assert!(Said::from_text(bad).is_err_and(|reason| !reason.is_empty()), "{bad:?}");
        }
    }

    #[test]
    fn changes_add_up_and_what_is_usual_is_not_kept() {
        let (a, b) = (key(1), key(2));
        let mut said = Said::default();
        said.change(TransferChange::High, &collections(&[a]));
        said.change(TransferChange::Pause, &collections(&[a, b]));
        assert_eq!(said.collections[&a], word(TransferState::Paused, TransferPriority::High));
        let wish = |is_held_back, priority| Wish { is_held_back, priority };
        let both = [(a, wish(true, Priority::High)), (b, wish(true, Priority::Normal))];
        assert_eq!(said.wishes().collections, both.into());
        said.change(TransferChange::Cancel, &collections(&[b]));
        said.change(TransferChange::Pause, &collections(&[b]));
        assert_eq!(said.collections[&b].state, TransferState::Cancelled, "it stays so");
        said.change(TransferChange::Pause, &peers(&[a.publisher]));
        said.change(TransferChange::Low, &peers(&[b.publisher]));
        said.change(TransferChange::Pause, &item(a, "x"));
        said.change(TransferChange::Low, &item(a, "x"));
        said.change(TransferChange::Pause, &all());
        // All goes on but what was cancelled.
        said.change(TransferChange::Resume, &all());
        assert!(!said.paused && said.paused_peers.is_empty());
        let both = [(a, wish(false, Priority::High)), (b, wish(true, Priority::Normal))];
        assert_eq!(said.wishes().collections, both.into());
        assert_eq!(said.wishes().items, [(a, [("x".to_owned(), wish(false, Priority::Low))].into())].into());
        assert_eq!(said.wishes().peers, [(b.publisher, Priority::Low)].into());
        said.change(TransferChange::Resume, &collections(&[b]));
        said.change(TransferChange::Normal, &collections(&[a]));
        said.change(TransferChange::Normal, &peers(&[b.publisher]));
        said.change(TransferChange::Normal, &item(a, "x"));
        assert_eq!(said, Said::default());
    }
}
