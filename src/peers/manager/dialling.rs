//! Whom to dial, when, and what follows when it comes to nothing.

use std::time::{Duration, Instant};

use super::{
    BTreeSet, PeerManager, State,
    connecting::{Worth, trouble_there},
};
use crate::{
    content::NodeId,
    peers::{Command, DialError, book::Peer, topology::Candidate},
    status::Trouble,
};

/// How long the node with the greater id leaves the first dial to the other, so that two nodes that discover each other at
/// the same moment make one connection.
pub(super) const POLITENESS: Duration = Duration::from_millis(400);
/// When all come back at once, each is dialled within this time.
const RUSH: Duration = Duration::from_millis(500);
/// One peer after the other comes back; the rest are tried again this often.
const RUSH_AGAIN: Duration = Duration::from_secs(5);
/// A host that is being dialled enough already is looked at again after this time.
const BUSY: Duration = Duration::from_millis(200);
/// Among so many peers the topology is asked at each change.
const FEW: usize = 32;
/// Among more, this often at most.
const CHOICE: Duration = Duration::from_millis(250);

impl Peer {
    /// How long it has been running, as far as that is known.
    pub(super) fn uptime_s(&self, now: Instant) -> u32 {
        self.about.map_or(0, |about| {
            let since = now.saturating_duration_since(about.at).as_secs();
            about.uptime_s.saturating_add(u32::try_from(since).unwrap_or(u32::MAX))
        })
    }
}

impl PeerManager {
    /// Dials those who are due, as far as there is room.
    pub(super) fn dial(&mut self, now: Instant) {
        if let Some(node) = self.dialler.lost(now) {
            self.handle_dial_failed(now, node, &DialError::Unreachable("the dial was never answered".into()));
        }
        while let Some(node) = self.due(now) {
            let delay = self.options.reconnect.slow_delay(&mut self.rng);
            let has_room = self.has_room(now, &node);
            let is_dialling = self.dialler.is_dialling(&node);
            let Some(peer) = self.book.find_mut(&node) else { return };
            if is_dialling {
                // When that comes to nothing, the next try is set.
                peer.dial_at = None;
            } else if !has_room {
                peer.dial_at = Some(now + delay);
            } else if let Some(addresses) = self.dialler.start(now, node, peer.is_doubtful(), peer.addresses.iter()) {
                (peer.dial_at, peer.dialled, peer.was_heard) = (None, Some(now), false);
                self.commands.push_back(Command::Dial { node, addresses });
            } else {
                peer.dial_at = (!peer.addresses.is_empty()).then_some(now + BUSY);
            }
        }
    }

    /// Who has been due for the longest time of those whose dial may begin.
    fn due(&self, now: Instant) -> Option<NodeId> {
        let (at, node) = self.first_due()?;
        (self.dialler.next_start(at) <= now).then_some(node)
    }

    /// When the next dial is due, unless it waits for another to end.
    pub(super) fn next_dial(&self) -> Option<Instant> {
        self.first_due().map(|(at, _)| self.dialler.next_start(at))
    }

    /// Who is the first to be dialled, and when, of those for whom there is a slot.
    fn first_due(&self) -> Option<(Instant, NodeId)> {
        let has_slot = [false, true].map(|is_doubtful| self.dialler.has_slot(is_doubtful));
        let with_slot = self.book.iter().filter(|(_, peer)| has_slot[usize::from(peer.is_doubtful())]);
        with_slot.filter_map(|(node, peer)| Some((peer.dial_at?, *node))).min()
    }

    /// Whether one more peer may be dialled; for whom a person wants, room is made.
    fn has_room(&self, now: Instant, node: &NodeId) -> bool {
        let under_way = self.dialler.nodes().filter(|node| !self.is_connected(node)).count();
        let is_full = self.connected() + under_way >= self.options.max_peers;
        let are_dialled = self.dialled() + self.dialler.nodes().count() >= self.options.max_dialled;
        let worth = self.worth(now, node);
        (!is_full && !are_dialled) || (worth >= Worth::Allowed && self.least_useful(now, worth, are_dialled).is_some())
    }

    pub(super) fn handle_dial_failed(&mut self, now: Instant, node: NodeId, error: &DialError) {
        let tried = self.dialler.end(&node);
        let Some(peer) = self.book.find_mut(&node) else { return };
        if peer.is_connected() {
            return;
        }
        let trouble = match error {
            DialError::Refused(why) => trouble_there(*why),
            DialError::WrongPeer => {
                peer.addresses.disprove(&tried);
                Some(Trouble::WrongPeer)
            }
            DialError::Unreachable(_) => {
                peer.addresses.fail(&tried);
                Some(Trouble::Unreachable)
            }
        };
        self.handle_failure(now, node, trouble, &error.to_string());
        self.forget_stranger(now, node);
    }

    /// Decides when to dial a peer again that was not reached, or is gone.
    pub(super) fn handle_failure(&mut self, now: Instant, node: NodeId, trouble: Option<Trouble>, reason: &str) {
        let Some(peer) = self.book.find_mut(&node) else { return };
        peer.note(trouble, reason);
        peer.failures = peer.failures.saturating_add(1);
        let reconnect = self.options.reconnect;
        match trouble {
            Some(Trouble::NotAllowedThere | Trouble::Version | Trouble::WrongPeer) => {
                self.give_up(now, node, State::REFUSED, reason);
            }
            Some(Trouble::FullThere | Trouble::BannedThere) => self.give_up(now, node, State::UNREACHABLE, reason),
            _ if reconnect.is_given_up(peer.failures) => self.give_up(now, node, State::UNREACHABLE, reason),
            _ => {
                // Who failed before was wanted then: others took its place, and it is tried all the same.
                let is_wanted = (peer.is_wanted() || peer.is_failed()) && !peer.addresses.is_empty();
                let delay = reconnect.delay(peer.failures, &mut self.rng);
                peer.dial_at = (is_wanted && self.access.check(&node).is_ok()).then_some(now + delay);
            }
        }
    }

    /// Moves a peer to the slow lane.
    pub(super) fn give_up(&mut self, now: Instant, node: NodeId, to: State, reason: &str) {
        let delay = self.options.reconnect.slow_delay(&mut self.rng);
        let attempts = self.options.reconnect.attempts;
        let is_admitted = self.access.check(&node).is_ok();
        self.turn(now, node, to, reason);
        self.with(node, |peer| {
            peer.failures = peer.failures.max(attempts);
            peer.dial_at = (is_admitted && !peer.addresses.is_empty()).then_some(now + delay);
        });
    }

    /// Tries a missing peer again soon, of which there is a sign of life.
    pub(super) fn retry(&mut self, now: Instant, node: NodeId) {
        let first = self.options.reconnect.first;
        let is_dialling = self.dialler.is_dialling(&node) || self.access.check(&node).is_err();
        let polite = self.politeness(node);
        let Some(peer) = self.book.find_mut(&node) else { return };
        let is_missing = peer.connections.is_empty() && !peer.addresses.is_empty();
        if is_missing && !is_dialling && (peer.is_wanted() || peer.is_failed()) {
            let soon = peer.dialled.map_or(now + polite, |last| (last + first).max(now + polite));
            peer.dial_at = Some(peer.dial_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Forgets that a peer was given up, for there is a reason to begin anew.
    pub(super) fn begin_anew(&mut self, now: Instant, node: NodeId, reason: &str) {
        let Some(peer) = self.book.find_mut(&node) else { return };
        peer.failures = 0;
        if peer.is_failed() {
            // Else a new choice would be needed before it is tried.
            peer.is_chosen = true;
            self.turn(now, node, State::Disconnected, reason);
        }
        self.retry(now, node);
    }

    /// Tries all missing peers again: the network has changed.
    pub(super) fn begin_all_anew(&mut self, now: Instant) {
        for node in self.missing() {
            self.begin_anew(now, node, "the network has changed");
            self.hurry(now, node);
        }
    }

    /// Tries all missing peers again, as one of them is back: perhaps the way to all of them is.
    pub(super) fn rush(&mut self, now: Instant) {
        if self.rushed_at.is_some_and(|at| now < at + RUSH_AGAIN) {
            return;
        }
        self.rushed_at = Some(now);
        for node in self.missing() {
            self.retry(now, node);
            self.hurry(now, node);
        }
    }

    /// Those who are not connected, and did not turn this node away. Among many full ones each lets it in for a moment: it would
    /// try all the others again each time, for ever.
    fn missing(&self) -> Vec<NodeId> {
        let is_missing = |peer: &Peer| !peer.is_connected() && !peer.has_turned_us_away();
        self.book.iter().filter(|(_, peer)| is_missing(peer)).map(|(node, _)| *node).collect()
    }

    /// Dials soon whom it would dial later, but not all in one moment.
    fn hurry(&mut self, now: Instant, node: NodeId) {
        let rush = RUSH.mul_f64(self.rng.f64());
        self.with(node, |peer| peer.dial_at = peer.dial_at.map(|at| at.min(now + rush)));
    }

    fn politeness(&self, node: NodeId) -> Duration {
        if self.options.me > node { POLITENESS } else { Duration::ZERO }
    }

    /// When the topology is to be asked.
    pub(super) fn next_choice(&self) -> Option<Instant> {
        let at = self.chosen_at.map_or(self.started, |at| at + CHOICE);
        self.is_topology_due.then_some(at)
    }

    /// Asks the topology at once where that is cheap.
    pub(super) fn choose_few(&mut self, now: Instant) {
        if self.is_topology_due && self.book.len() <= FEW {
            self.choose(now);
        }
    }

    /// Asks the topology whom to dial, and sets out to.
    pub(super) fn choose(&mut self, now: Instant) {
        (self.is_topology_due, self.chosen_at) = (false, Some(now));
        let capacity = u16::try_from(self.options.max_peers).unwrap_or(u16::MAX);
        let uptime_s = now.saturating_duration_since(self.started).as_secs();
        let me = Candidate { node: self.options.me, capacity, uptime_s: u32::try_from(uptime_s).unwrap_or(u32::MAX) };
        let can_be_reached = |(node, peer): &(&NodeId, &Peer)| {
            let is_there = peer.is_connected() || (!peer.is_failed() && !peer.addresses.is_empty());
            is_there && self.access.check(node).is_ok()
        };
        let candidate = |(node, peer): (&NodeId, &Peer)| Candidate {
            node: *node,
            capacity: peer.about.map_or(0, |about| about.capacity),
            uptime_s: peer.uptime_s(now),
        };
        let others: Vec<_> = self.book.iter().filter(can_be_reached).map(candidate).collect();
        let chosen: BTreeSet<NodeId> = self.topology.choose(&me, &others);
        let me = self.options.me;
        for (node, peer) in self.book.iter_mut() {
            peer.is_chosen = chosen.contains(node);
            let is_reachable = !peer.addresses.is_empty() && self.access.check(node).is_ok();
            let is_idle = peer.connections.is_empty() && !self.dialler.is_dialling(node);
            if !is_reachable || (!peer.is_failed() && !peer.is_wanted()) {
                peer.dial_at = None;
            } else if is_idle && peer.dial_at.is_none() {
                peer.dial_at = Some(if me > *node { now + POLITENESS } else { now });
            }
        }
    }
}
