//! A simulated network of nodes, each with the real [`PeerManager`](super::PeerManager), in virtual time: hours in seconds,
//! and the same again from the same seed. For tests alone.
//!
//! The simulator plays the part of `network`: it carries commands out and reports what happens. Packets take time and get
//! lost; handshakes are sent again as QUIC does (RFC 9002, section 6.2); a node that dies says nothing, one that stops says
//! so once to each peer; hosts are paused, cut off, started again, and find each other by multicast. Of a connection, either
//! end is kept for itself: one may be open while the other is gone. What a host's manager says and is told is checked on the
//! way (`rules`). A run that fails prints its seed; `SIM_SEED=… cargo test --lib peers::sim::tests::NAME` runs it again.

mod cluster;
mod dials;
mod hosts;
mod links;
mod multicast;
mod rules;
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use hosts::Host;
use links::{Link, Packet};

use super::Event;
use crate::content::NodeId;

/// Which host.
type HostNumber = usize;
/// Which connection, or attempt at one.
type LinkNumber = u64;

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Path {
    /// At least.
    delay: Duration,
    /// More than that, at most.
    jitter: Duration,
    /// The chance that a packet is lost.
    loss: f64,
}

impl Path {
    /// A cable.
    const LAN: Self = Self { delay: Duration::from_micros(200), jitter: Duration::from_micros(300), loss: 0.0 };
    /// What a failure detector has to bear: a fifth is lost each way, and answers take up to 400 ms.
    const BAD: Self = Self { delay: Duration::from_millis(1), jitter: Duration::from_millis(200), loss: 0.2 };
}

/// What happens at a time.
#[derive(Debug)]
enum Action {
    /// A manager asked to be called.
    Due { host: HostNumber },
    /// A manager is told what waits for it.
    Tell { host: HostNumber },
    /// A packet arrives.
    Arrive { to: HostNumber, packet: Packet },
    /// The dialling end says again what was not answered.
    Again { link: LinkNumber, tries: u32 },
    /// A dial has taken too long.
    GiveUp { host: HostNumber, node: NodeId, dial: u64 },
    /// An end looks whether it has heard anything lately.
    Idle { link: LinkNumber, end: usize },
    /// A host asks by multicast who is there.
    Ask { host: HostNumber, life: u32 },
    /// A host says by multicast that it is there.
    Announce { host: HostNumber, life: u32 },
    /// Something that both ends learn once they are connected.
    Later { link: LinkNumber, end: usize, event: Event },
}

/// Hosts and what is between them.
struct Cluster {
    seed: u64,
    rng: fastrand::Rng,
    /// Since the beginning.
    now: Duration,
    origin: Instant,
    queue: BinaryHeap<Reverse<Item>>,
    /// Orders what happens at the same time.
    next_item: u64,
    hosts: Vec<Host>,
    numbers: BTreeMap<NodeId, HostNumber>,
    links: BTreeMap<LinkNumber, Link>,
    next_link: LinkNumber,
    path: Path,
    /// Steps that were taken without any time passing.
    steps_at_once: u32,
    /// What happened, for tests to look at.
    journal: Vec<Note>,
}

/// What tests want to know of afterwards.
#[derive(Debug, Clone, PartialEq)]
struct Note {
    at: Duration,
    host: HostNumber,
    peer: HostNumber,
    what: What,
}

/// See [`Note`].
#[derive(Debug, Clone, PartialEq)]
enum What {
    Dialled,
    Connected { inbound: bool },
    Disconnected(super::Ended),
    DialFailed(super::DialError),
    TurnedAway(super::Why),
}

/// An action and its time.
#[derive(Debug)]
struct Item {
    at: Duration,
    number: u64,
    action: Action,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
