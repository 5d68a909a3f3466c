//! The life of every peer.

mod admitting;
mod connecting;
mod dialling;
mod hearing;
mod lists;
mod status;
mod watching;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

pub use self::lists::Changed;
use super::{
    Command, Event, Introduction, Lists, Memory, Options, Source,
    access::Access,
    address::{self, Belief},
    book::{Book, Peer},
    dialler::Dialler,
    refusals::Refusals,
    reputation::{Reputation, Standing},
    state::State,
    topology::{Shape, Topology},
};
use crate::{content::NodeId, limits};

/// All peers of a node. See the [module](super) for how it is driven.
#[derive(Debug)]
pub struct PeerManager {
    options: Options,
    started: Instant,
    rng: fastrand::Rng,
    access: Access,
    belief: Belief,
    book: Book,
    dialler: Dialler,
    refusals: Refusals,
    topology: Topology,
    /// Something has changed that the topology goes by; and when it was asked last.
    is_topology_due: bool,
    chosen_at: Option<Instant>,
    /// When all missing peers were tried again, as one was back.
    rushed_at: Option<Instant>,
    /// When to look after those who are connected.
    look_at: Option<Instant>,
    /// An `Observe` is not answered yet.
    is_observing: bool,
    has_memory_changed: bool,
    have_bans_changed: bool,
    commands: VecDeque<Command>,
}

impl PeerManager {
    /// A manager with what was kept from the last start. Its first command is [`Command::Admit`].
    pub fn new(now: Instant, options: Options, lists: Lists, memory: Memory) -> Self {
        let mut manager = Self {
            started: now,
            rng: fastrand::Rng::with_seed(options.seed),
            access: Access::new(&options, lists),
            belief: Belief::default(),
            book: Book::default(),
            dialler: Dialler::default(),
            refusals: Refusals::default(),
            topology: Topology::new(options.topology),
            is_topology_due: false,
            chosen_at: None,
            rushed_at: None,
            look_at: None,
            is_observing: false,
            has_memory_changed: false,
            have_bans_changed: false,
            commands: VecDeque::new(),
            options,
        };
        manager.remember(now, memory);
        manager.access.update(&manager.options);
        manager.commands.push_back(Command::Admit(manager.access.admission().clone()));
        manager
    }

    /// Takes note of what happened.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Discovered { node, addresses, source } => self.handle_discovered(now, node, addresses, source),
            Event::Connected { node, connection, address, inbound, cipher } => {
                self.handle_connected(now, node, connection, address, inbound, cipher);
            }
            Event::Disconnected { node, connection, ended } => self.handle_disconnected(now, node, connection, &ended),
            Event::DialFailed { node, error } => self.handle_dial_failed(now, node, &error),
            Event::Observed { samples } => self.handle_observed(now, &samples),
            Event::Pinged { node, rtt } => self.with(node, |peer| peer.rtt = Some(rtt)),
            Event::PingFailed { node } => self.with(node, |peer| peer.note(None, "it did not answer a ping")),
            Event::Identified { node, agent, speaks, addresses } => {
                self.handle_identified(now, node, agent, speaks, addresses);
            }
            Event::Introduced { by, capacity, uptime_s, others } => {
                self.handle_introduced(now, by, capacity, uptime_s, others);
            }
            Event::Behaved { node, conduct } => self.handle_conduct(now, node, conduct),
            Event::TurnedAway { node, address, why } => self.handle_turned_away(now, node, address, why),
            Event::NetworkChanged { subnets } => self.handle_network_changed(now, subnets),
        }
        self.choose_few(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.end_bans(now);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look(now);
        }
        if self.next_choice().is_some_and(|at| at <= now) {
            self.choose(now);
        }
        self.dial(now);
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`PeerManager::handle_timeout`] is to be called, unless something happens before.
    pub fn next_timeout(&self) -> Option<Instant> {
        let all = [self.next_dial(), self.dialler.next_timeout(), self.look_at, self.next_choice()];
        all.into_iter().chain([self.access.next_timeout()]).flatten().min()
    }

    /// How many peers are connected.
    pub fn connected(&self) -> usize {
        self.book.connected().count()
    }

    /// How many of them this node has dialled.
    pub(super) fn dialled(&self) -> usize {
        self.book.connected().filter(|(_, peer)| peer.is_dialled()).count()
    }

    /// Whether this peer is connected.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.book.find(node).is_some_and(Peer::is_connected)
    }

    /// How good the connection with a peer is, from 0 to 100; none if that is not known.
    pub fn quality(&self, node: &NodeId) -> Option<u8> {
        self.book.find(node)?.quality.score()
    }

    /// What a peer may expect of this node.
    pub fn standing(&self, now: Instant, node: &NodeId) -> Standing {
        self.book.find(node).map_or(Standing::Good, |peer| peer.reputation.standing(now))
    }

    /// How those who are known connect with each other.
    pub fn shape(&self) -> Shape {
        self.topology.shape()
    }

    /// Whom to tell a peer of that asks: others who are connected, and where this node has reached them, as far as that means
    /// anything to the peer; at most [`INTRODUCTIONS`](limits::network::INTRODUCTIONS), drawn by lot.
    pub fn introductions(&mut self, now: Instant, to: &NodeId) -> Vec<Introduction> {
        let connection = self.book.find(to).and_then(|peer| peer.connections.first());
        let Some(ip) = connection.and_then(|it| it.ip()) else { return Vec::new() };
        let of = |(node, peer): (&NodeId, &Peer)| Introduction {
            node: *node,
            addresses: peer.addresses.proven().filter(|it| address::may_be_told(it, ip)).map(str::to_owned).collect(),
            capacity: peer.about.map_or(0, |about| about.capacity),
            uptime_s: peer.uptime_s(now),
        };
        let others = self.book.connected().filter(|(node, peer)| *node != to && peer.addresses.is_proven());
        let mut others: Vec<_> = others.map(of).filter(|other| !other.addresses.is_empty()).collect();
        self.rng.shuffle(&mut others);
        others.truncate(limits::network::INTRODUCTIONS);
        others
    }

    fn with(&mut self, node: NodeId, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.book.find_mut(&node) {
            change(peer);
        }
    }

    /// Has a peer's life take a turn, and tells of it.
    fn turn(&mut self, now: Instant, node: NodeId, to: State, reason: &str) {
        let Some(peer) = self.book.find_mut(&node) else { return };
        match peer.life.change(now, to, reason) {
            Ok(change) => {
                log::info!("{node} is {change}");
                self.is_topology_due = true;
            }
            // A second connection, or a further failure: nothing has changed.
            Err(illegal) => log::trace!("{node}: {illegal}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
