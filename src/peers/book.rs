//! Who is known.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Source,
    addresses::Addresses,
    connections::Connections,
    detector::Detector,
    quality::Quality,
    reputation::{Reputation, Standing},
    state::{Life, State},
};
use crate::{content::NodeId, limits, status::Trouble, wire};

/// A score nearer to nothing than this is not worth remembering.
const NOTABLE: f32 = 1.0;

/// What a peer says of itself, or others of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) capacity: u16,
    pub(super) uptime_s: u32,
    pub(super) at: Instant,
    /// It says so itself: others don't know better.
    pub(super) is_own: bool,
}

/// All that is known of one peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) source: Source,
    pub(super) addresses: Addresses,
    pub(super) life: Life,
    pub(super) connections: Connections,
    /// The topology wants this node to dial it.
    pub(super) is_chosen: bool,
    /// When to dial next, if nothing happens before.
    pub(super) dial_at: Option<Instant>,
    /// When it was dialled last.
    pub(super) dialled: Option<Instant>,
    /// Dials and connections in a row that came to nothing.
    pub(super) failures: u32,
    /// There was a sign of life of it since it was dialled last.
    pub(super) was_heard: bool,
    pub(super) detector: Detector,
    pub(super) quality: Quality,
    pub(super) reputation: Reputation,
    /// Of libp2p's ping, before QUIC's own is known.
    pub(super) rtt: Option<Duration>,
    pub(super) agent: Option<String>,
    /// It is another program, which speaks no protocol of ours.
    pub(super) is_foreign: bool,
    /// What went wrong last, for programs and for people.
    pub(super) trouble: Option<Trouble>,
    pub(super) error: Option<String>,
    pub(super) about: Option<About>,
    /// When to ask it whom it knows.
    pub(super) ask_at: Option<Instant>,
    /// Bytes sent and received over all connections.
    pub(super) bytes: (u64, u64),
    pub(super) heard: Instant,
}

impl Peer {
    pub(super) fn new(now: Instant, source: Source) -> Self {
        Self {
            source,
            addresses: Addresses::default(),
            life: Life::new(now),
            connections: Connections::default(),
            is_chosen: false,
            dial_at: None,
            dialled: None,
            failures: 0,
            was_heard: false,
            detector: Detector::new(now),
            quality: Quality::default(),
            reputation: Reputation::new(now, 0.0, Duration::ZERO),
            rtt: None,
            agent: None,
            is_foreign: false,
            trouble: None,
            error: None,
            about: None,
            ask_at: None,
            bytes: (0, 0),
            heard: now,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connections.is_live()
    }

    /// Whether this node has dialled it, and is connected with it.
    pub(super) fn is_dialled(&self) -> bool {
        self.connections.first().is_some_and(|open| !open.inbound)
    }

    pub(super) fn is_failed(&self) -> bool {
        matches!(self.life.state(), State::Failed { .. })
    }

    /// Whether it is there and does not let this node in, for good or for lack of a place: a sign of life says nothing new.
    pub(super) fn has_turned_us_away(&self) -> bool {
        let has_no_place = matches!(self.trouble, Some(Trouble::FullThere | Trouble::BannedThere));
        self.life.state() == State::REFUSED || (self.is_failed() && has_no_place)
    }

    /// Whether it did not answer before, and nothing says that it would now.
    pub(super) fn is_doubtful(&self) -> bool {
        self.failures > 0 && !self.was_heard
    }

    /// Whether this node dials it when it is missing.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_chosen || self.source == Source::Bootstrap
    }

    /// Whether there is a reason to remember what it did.
    pub(super) fn is_notable(&self, now: Instant) -> bool {
        self.reputation.score(now).abs() >= NOTABLE || self.is_banned(now)
    }

    pub(super) fn is_banned(&self, now: Instant) -> bool {
        matches!(self.reputation.standing(now), Standing::Banned { .. })
    }

    /// Takes note of what went wrong, in words within their bound.
    pub(super) fn note(&mut self, trouble: Option<Trouble>, error: &str) {
        let error = wire::Text::<{ limits::network::REASON_BYTES }>::cut(error);
        (self.trouble, self.error) = (trouble, Some(error.into_string()));
    }

    /// Whoever is known in several ways keeps the first that holds.
    pub(super) fn hear(&mut self, now: Instant, source: Source) {
        (self.source, self.heard) = (self.source.min(source), now);
    }

    /// What speaks against forgetting it, the most important first.
    fn use_of(&self, now: Instant) -> impl Ord + use<> {
        (self.is_notable(now), self.addresses.is_proven(), Reverse(self.source), self.heard)
    }
}

/// The peers, at most [`KNOWN_PEERS`](limits::network::KNOWN_PEERS).
#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<NodeId, Peer>);

impl Book {
    /// The peer, entered if there is room or somebody less useful to forget. Those of the configuration and those who are
    /// connected stay; whoever is known by hearsay alone drives out only the like.
    pub(super) fn enter(&mut self, now: Instant, node: NodeId, source: Source) -> Option<&mut Peer> {
        if !self.0.contains_key(&node) && self.0.len() >= limits::network::KNOWN_PEERS {
            let may_go = |peer: &Peer| {
                peer.connections.is_empty()
                    && peer.source != Source::Bootstrap
                    && (source != Source::Exchange || peer.source == source)
            };
            let idle = self.0.iter().filter(|(_, peer)| may_go(peer));
            let least = *idle.min_by_key(|(_, peer)| peer.use_of(now))?.0;
            self.0.remove(&least);
        }
        let peer = self.0.entry(node).or_insert_with(|| Peer::new(now, source));
        peer.hear(now, source);
        Some(peer)
    }

    pub(super) fn find(&self, node: &NodeId) -> Option<&Peer> {
        self.0.get(node)
    }

    pub(super) fn find_mut(&mut self, node: &NodeId) -> Option<&mut Peer> {
        self.0.get_mut(node)
    }

    pub(super) fn remove(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut Peer)> {
        self.0.iter_mut()
    }

    pub(super) fn connected(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.0.iter().filter(|(_, peer)| peer.is_connected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        NodeId(key)
    }

    fn full(now: Instant, source: Source) -> Book {
        let mut book = Book::default();
        for number in 0..limits::network::KNOWN_PEERS as u64 {
            assert!(book.enter(now + Duration::from_secs(number), node(number), source).is_some());
        }
        book
    }

    #[test]
    fn the_least_useful_is_forgotten() {
        let now = crate::clock::now();
        let mut book = full(now, Source::Mdns);
        book.find_mut(&node(0)).unwrap().addresses.prove("a");
        book.find_mut(&node(1)).unwrap().reputation = Reputation::new(now, -30.0, Duration::ZERO);
        book.find_mut(&node(2)).unwrap().source = Source::Bootstrap;
        book.find_mut(&node(9)).unwrap().source = Source::Exchange;
        for new in 0..3 {
            book.enter(now, node(10_000 + new), Source::Mdns).unwrap();
        }
        // Who is known by hearsay, then who was heard first.
        assert!([9, 10_000, 10_001].iter().all(|gone| book.find(&node(*gone)).is_none()));
        assert!([0, 1, 2, 3, 10_002].iter().all(|kept| book.find(&node(*kept)).is_some()));
        assert_eq!(book.len(), limits::network::KNOWN_PEERS);
    }

    #[test]
    fn hearsay_drives_out_nobody_else() {
        let now = crate::clock::now();
        let mut book = full(now, Source::Mdns);
        assert!(book.enter(now, node(10_000), Source::Exchange).is_none());
        assert!(book.enter(now, node(5), Source::Exchange).is_some(), "it is known");
        assert_eq!(book.find(&node(5)).unwrap().source, Source::Mdns, "and better than that");
        let mut book = full(now, Source::Bootstrap);
        assert!(book.enter(now, node(10_000), Source::Bootstrap).is_none());
    }
}
