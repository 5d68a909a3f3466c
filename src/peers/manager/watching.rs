//! Looking after those who are connected: whether they are still there, how good the way to them is, and whom they know.
//!
//! A look has two steps, because what is known of a connection is as old as the last look: the network is asked when those
//! were heard last who may have been silent for long, and who turns out so is probed. Nothing follows from an answer that never
//! came.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{PeerManager, Standing, State};
use crate::{
    content::NodeId,
    peers::{Command, Sample, Why, book::Peer, detector},
    status::Trouble,
};

/// While nobody is probed, it is looked this often, or six times within the interval of the heartbeat.
const QUIET: Duration = Duration::from_secs(1);
/// While somebody is, it is looked at most this often.
const BUSY: Duration = Duration::from_millis(20);
/// Between two questions to one peer whom it knows.
const EXCHANGE: Duration = Duration::from_secs(600);

impl PeerManager {
    /// While nobody is probed: the pause between two looks.
    fn quiet(&self) -> Duration {
        QUIET.min(self.options.heartbeat.interval / 6)
    }

    /// Who is silent is probed one look early, for the next would be too late; by the end that was dialled two looks early, so
    /// that one end probes and both are heard. That end is the one with many peers, where one has: it probes all that are due
    /// at once, and is woken less often than by each of them.
    fn heartbeat(&self, peer: &Peer) -> detector::Options {
        let looks = if peer.is_dialled() { 1 } else { 2 };
        let configured = self.options.heartbeat;
        detector::Options { interval: configured.interval - looks * self.quiet(), ..configured }
    }

    /// Sees to it that somebody looks after a peer that has just connected.
    pub(super) fn look_soon(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + self.quiet());
    }

    /// Looks after those who are connected.
    pub(super) fn look(&mut self, now: Instant) {
        let is_due = |peer: &Peer| peer.detector.next_timeout(&self.heartbeat(peer)) <= now;
        let due = self.book.connected().filter(|(_, peer)| is_due(peer)).map(|(node, _)| *node);
        let nodes: Vec<NodeId> = due.collect();
        if !nodes.is_empty() {
            self.commands.push_back(Command::Observe { nodes });
            self.is_observing = true;
        }
        self.ask(now);
        self.is_topology_due |= self.chosen_at.is_some_and(|at| now.saturating_duration_since(at) >= EXCHANGE);
        self.plan_look(now);
    }

    fn plan_look(&mut self, now: Instant) {
        let quiet = now + self.quiet();
        let next = |(_, peer): (&NodeId, &Peer)| match peer.detector.is_probing() && !self.is_observing {
            true => peer.detector.next_timeout(&self.heartbeat(peer)).clamp(now + BUSY, quiet.max(now + BUSY)),
            false => quiet,
        };
        self.look_at = self.book.connected().map(next).min();
    }

    /// Takes note of when these peers were heard, and finds out who of them is silent.
    pub(super) fn handle_observed(&mut self, now: Instant, samples: &[Sample]) {
        self.is_observing = false;
        for sample in samples {
            self.handle_sample(now, sample);
            self.close_if_left_behind(sample, samples);
        }
        let sampled: BTreeSet<NodeId> = samples.iter().map(|sample| sample.node).collect();
        let (mut nodes, mut lost) = (Vec::new(), Vec::new());
        for node in sampled {
            let Some(peer) = self.book.find(&node).filter(|peer| peer.is_connected()) else { continue };
            let heartbeat = self.heartbeat(peer);
            let Some(peer) = self.book.find_mut(&node) else { continue };
            match peer.detector.poll(now, &heartbeat) {
                Some(detector::Action::Probe) => nodes.push(node),
                Some(detector::Action::Unresponsive { failures, silent }) => lost.push((node, failures, silent)),
                None => {}
            }
            peer.quality.handle_failures(peer.detector.failed());
        }
        for (node, failures, silent) in lost {
            self.handle_unresponsive(now, node, failures, silent);
        }
        if !nodes.is_empty() {
            self.commands.push_back(Command::Probe { nodes });
        }
        self.plan_look(now);
    }

    fn handle_sample(&mut self, now: Instant, sample: &Sample) {
        let Some(peer) = self.book.find_mut(&sample.node) else { return };
        if peer.connections.live().any(|open| open.number == sample.connection)
            && peer.detector.handle_heard(sample.heard)
        {
            log::info!("{} answers again", sample.node);
        }
        if peer.connections.first().is_some_and(|open| open.number == sample.connection) {
            peer.quality.handle_sample(now, sample);
        }
        if let Some(open) = peer.connections.find_mut(sample.connection) {
            peer.bytes.0 += sample.sent_bytes.saturating_sub(open.bytes.0);
            peer.bytes.1 += sample.received_bytes.saturating_sub(open.bytes.1);
            open.bytes = (sample.sent_bytes, sample.received_bytes);
        }
    }

    /// Of several connections with a peer, which one dial made, the one that carries nothing is closed: it may be dead, and
    /// nobody would notice, as the peer is heard on another.
    fn close_if_left_behind(&mut self, sample: &Sample, samples: &[Sample]) {
        let late = self.options.heartbeat.interval / 2;
        let Some(peer) = self.book.find_mut(&sample.node) else { return };
        if peer.connections.live().count() < 2 {
            return;
        }
        let is_live = |other: &&Sample| peer.connections.live().any(|open| open.number == other.connection);
        let of_peer = samples.iter().filter(|other| other.node == sample.node).filter(is_live);
        let last = of_peer.map(|other| other.heard).max();
        if last.is_some_and(|last| last.saturating_duration_since(sample.heard) > late)
            && let Some(open) = peer.connections.find_mut(sample.connection).filter(|open| open.closing.is_none())
        {
            open.closing = Some(Why::Surplus);
            let Sample { node, connection, .. } = *sample;
            self.commands.push_back(Command::Close { node, connection, why: Why::Surplus });
        }
    }

    fn handle_unresponsive(&mut self, now: Instant, node: NodeId, failures: u32, silent: Duration) {
        let reason = format!("unresponsive: silent for {:.1} s, {failures} probes failed", silent.as_secs_f32());
        self.turn(now, node, State::UNREACHABLE, &reason);
        self.commands.push_back(Command::TurnAway { node, why: Why::Unresponsive });
        self.with(node, |peer| {
            peer.connections.close(Why::Unresponsive);
            peer.failures = 0;
        });
        self.handle_failure(now, node, Some(Trouble::Unresponsive), &reason);
    }

    /// Asks those who are due whom they know.
    fn ask(&mut self, now: Instant) {
        for (node, peer) in self.book.iter_mut().filter(|(_, peer)| peer.is_connected()) {
            if peer.ask_at.is_some_and(|at| at <= now) {
                peer.ask_at = Some(now + EXCHANGE);
                if peer.reputation.standing(now) == Standing::Good {
                    self.commands.push_back(Command::Exchange { node: *node });
                }
            }
        }
    }
}
