//! What the owner said of transfers, and how it stands in `transfers.toml`: for people to read. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Deserialize;

use crate::{
    content::{CollectionKey, NodeId},
    library::follow::Wishes,
    limits::{library::COLLECTIONS, network::KNOWN_PEERS},
    node::control::TransferChange,
    status::TransferState,
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
    /// Of those of which anything was said.
    pub collections: BTreeMap<CollectionKey, OfCollection>,
}

/// What was said of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfCollection {
    /// Whether it is fetched.
    pub state: TransferState,
    /// Before which others.
    pub priority: Priority,
}

/// [`Said`] as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    paused: bool,
    paused_peers: Vec<String>,
    #[serde(default)]
    collection: Vec<CollectionText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectionText {
    publisher: String,
    id: String,
    state: String,
    priority: String,
}

const STATES: [(&str, TransferState); 3] =
    [("going", TransferState::Going), ("paused", TransferState::Paused), ("cancelled", TransferState::Cancelled)];
const PRIORITIES: [(&str, Priority); 3] =
    [("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

/// How one of a few is called.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

fn value<T: Copy>(words: &[(&'static str, T)], text: &str) -> Result<T, String> {
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| format!("{text:?} is no state or priority"))
}

impl Said {
    /// # Errors
    /// What is wrong with the text.
    pub fn from_text(text: &str) -> Result<Self, String> {
        // The message may have several lines, with the place in the file.
        let text: Text = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
        if text.paused_peers.len() > KNOWN_PEERS || text.collection.len() > COLLECTIONS {
            return Err(format!("it lists more than {KNOWN_PEERS} peers or {COLLECTIONS} collections"));
        }
        let peer = |text: String| text.parse::<NodeId>().map_err(|_| format!("{text:?} is no peer id"));
        let collection = |text: CollectionText| {
            let id = text.id.parse().map_err(|_| format!("{:?} is no id of a collection", text.id))?;
            let key = CollectionKey { publisher: peer(text.publisher)?, id };
            let of =
                OfCollection { state: value(&STATES, &text.state)?, priority: value(&PRIORITIES, &text.priority)? };
            Ok::<_, String>((key, of))
        };
        Ok(Self {
            paused: text.paused,
            paused_peers: text.paused_peers.into_iter().map(peer).collect::<Result<_, _>>()?,
            collections: text.collection.into_iter().map(collection).collect::<Result<_, _>>()?,
        })
    }

    /// What [`Said::from_text`] reads.
    pub fn to_text(&self) -> String {
        let peers: Vec<String> = self.paused_peers.iter().map(|peer| format!("\"{peer}\"")).collect();
        let mut text = format!("{HEAD}paused = {}\npaused_peers = [{}]\n", self.paused, peers.join(", "));
        for (CollectionKey { publisher, id }, of) in &self.collections {
            let (state, priority) = (word(&STATES, &of.state), word(&PRIORITIES, &of.priority));
            let written = write!(
                text,
                "\n[[collection]]\npublisher = \"{publisher}\"\nid = \"{id}\"\nstate = \"{state}\"\npriority = \"{priority}\"\n"
            );
            written.expect("a String takes everything");
        }
        text
    }

    /// What a change makes of it; of everything if neither peers nor collections are named.
    pub fn change(&mut self, change: TransferChange, peers: &[NodeId], collections: &[CollectionKey]) {
        if peers.is_empty() && collections.is_empty() {
            match change {
                TransferChange::Pause => self.paused = true,
                TransferChange::Resume => *self = Self { paused: false, ..self.resumed() },
                TransferChange::Cancel | TransferChange::High | TransferChange::Normal | TransferChange::Low => {}
            }
        }
        for peer in peers {
            match change {
                TransferChange::Pause => _ = self.paused_peers.insert(*peer),
                TransferChange::Resume => _ = self.paused_peers.remove(peer),
                TransferChange::Cancel | TransferChange::High | TransferChange::Normal | TransferChange::Low => {}
            }
        }
        for key in collections {
            let of = self.collections.entry(*key).or_default();
            match change {
                TransferChange::Pause if of.state == TransferState::Cancelled => {}
                TransferChange::Pause => of.state = TransferState::Paused,
                TransferChange::Resume => of.state = TransferState::Going,
                TransferChange::Cancel => of.state = TransferState::Cancelled,
                TransferChange::High => of.priority = Priority::High,
                TransferChange::Normal => of.priority = Priority::Normal,
                TransferChange::Low => of.priority = Priority::Low,
            }
        }
        self.collections.retain(|_, of| *of != OfCollection::default());
    }

    /// What is left when all that was paused goes on; what was cancelled was meant to stay so.
    fn resumed(&self) -> Self {
        let mut resumed = Self { paused_peers: BTreeSet::new(), ..self.clone() };
        for of in resumed.collections.values_mut().filter(|of| of.state == TransferState::Paused) {
            of.state = TransferState::Going;
        }
        resumed
    }

    /// What it means for mirroring.
    pub fn wishes(&self) -> Wishes {
        let of = |keep: fn(&OfCollection) -> bool| self.collections.iter().filter(move |(_, of)| keep(of));
        Wishes {
            held_back: of(|of| of.state != TransferState::Going).map(|(key, _)| *key).collect(),
            priorities: of(|of| of.priority != Priority::Normal).map(|(key, of)| (*key, of.priority)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::CollectionId, network::identity::Keypair};

    fn key(number: u8) -> CollectionKey {
        CollectionKey { publisher: Keypair::generate().node_id(), id: CollectionId([number; 16]) }
    }

    fn of(state: TransferState, priority: Priority) -> OfCollection {
        OfCollection { state, priority }
    }

    #[test]
    fn what_is_said_is_read_as_it_was_written() {
        let mut said = Said::default();
        assert_eq!(Said::from_text(&said.to_text()), Ok(said.clone()));
        said.change(TransferChange::Pause, &[], &[]);
        said.change(TransferChange::Pause, &[Keypair::generate().node_id(), Keypair::generate().node_id()], &[key(1)]);
        said.change(TransferChange::Cancel, &[], &[key(2)]);
        said.change(TransferChange::Low, &[], &[key(3)]);
        assert_eq!((said.paused_peers.len(), said.collections.len()), (2, 3));
        assert_eq!(Said::from_text(&said.to_text()), Ok(said));
    }

    #[test]
    fn what_nobody_wrote_is_refused_with_a_reason() {
        let good = |collection: &str| format!("paused = true\npaused_peers = []\n{collection}");
        assert!(Said::from_text(&good("")).is_ok());
        for bad in [
            "",
            "paused = 1\npaused_peers = []",
            "paused = true\npaused_peers = ['x']",
            &good("more = 1"),
            &good("[[collection]]\npublisher = 'x'\nid = 'y'\nstate = 'paused'\npriority = 'low'"),
            &good(&format!(
                "[[collection]]\npublisher = '{}'\nid = '{}'\nstate = 'x'\npriority = 'low'",
                key(1).publisher,
                key(1).id
            )),
            &format!("paused = true\npaused_peers = [{}]", format!("'{}',", key(1).publisher).repeat(KNOWN_PEERS + 1)),
        ] {
            assert!(Said::from_text(bad).is_err_and(|reason| !reason.is_empty()), "{bad:?}");
        }
    }

    #[test]
    fn changes_add_up_and_what_is_usual_is_not_kept() {
        let (a, b) = (key(1), key(2));
        let mut said = Said::default();
        said.change(TransferChange::High, &[], &[a]);
        said.change(TransferChange::Pause, &[], &[a, b]);
        assert_eq!(said.collections[&a], of(TransferState::Paused, Priority::High));
        assert_eq!(said.wishes().held_back, [a, b].into());
        said.change(TransferChange::Cancel, &[], &[b]);
        said.change(TransferChange::Pause, &[], &[b]);
        assert_eq!(said.collections[&b].state, TransferState::Cancelled, "it stays so");
        said.change(TransferChange::Pause, &[a.publisher], &[]);
        said.change(TransferChange::Pause, &[], &[]);
        // All goes on but what was cancelled.
        said.change(TransferChange::Resume, &[], &[]);
        assert!(!said.paused && said.paused_peers.is_empty());
        assert_eq!(said.wishes().held_back, [b].into());
        assert_eq!(said.wishes().priorities, [(a, Priority::High)].into());
        said.change(TransferChange::Resume, &[], &[b]);
        said.change(TransferChange::Normal, &[], &[a]);
        assert_eq!(said, Said::default());
    }
}
