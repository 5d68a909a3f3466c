//! Connections that come and go.

use std::time::{Duration, Instant};

use super::{Peer, PeerManager, Source, Standing, State};
use crate::{
    content::NodeId,
    peers::{Command, ConnectionNumber, Ended, Why, connections::Connection, detector::Detector, quality::Quality},
    status::{Access, Trouble},
};

/// A connection that ended sooner counts as one more failure: a peer that turns us away is not dialled without end.
pub(super) const SETTLED: Duration = Duration::from_secs(10);
/// A peer that exchanges less is idle.
const IDLE_BYTES_S: u64 = 4096;
/// A new peer is asked whom it knows within this time.
const FIRST_EXCHANGE: Duration = Duration::from_secs(3);

/// Who is worth more when there is no room for all: the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// It has misbehaved.
    Throttled,
    Stranger,
    /// The topology wants it.
    Chosen,
    /// A person wants it.
    Allowed,
    Bootstrap,
}

impl PeerManager {
    pub(super) fn handle_connected(
        &mut self,
        now: Instant,
        node: NodeId,
        number: ConnectionNumber,
        address: String,
        inbound: bool,
        cipher: &'static str,
    ) {
        if !inbound {
            self.dialler.end(&node);
        }
        self.with(node, |peer| peer.dial_at = None);
        let new = Connection { number, inbound, since: now, address, cipher, bytes: (0, 0), closing: None };
        if let Err(why) = self.find_room(now, node, &new) {
            // A stranger leaves no trace; whom this node dialled it tries again, there may be room then.
            self.commands.push_back(Command::TurnAway { node, why });
            let delay = self.options.reconnect.slow_delay(&mut self.rng);
            self.with(node, |peer| {
                peer.note(trouble_here(why), &format!("turned away: {why}"));
                peer.dial_at = (why == Why::Full && peer.is_wanted()).then_some(now + delay);
            });
            self.handle_turned_away(now, node, new.address, why);
            return;
        }
        let me_first = self.options.me < node;
        let Some(peer) = self.book.enter(now, node, Source::Inbound) else { return };
        if !new.inbound {
            self.has_memory_changed |= peer.addresses.prove(&new.address);
        }
        if !peer.is_connected() {
            peer.detector = Detector::new(now);
            peer.quality = Quality::default();
            peer.ask_at = Some(now + FIRST_EXCHANGE.mul_f64(self.rng.f64()));
        }
        let is_back = peer.is_failed() && !peer.has_turned_us_away();
        (peer.trouble, peer.error) = (None, None);
        let reason = format!("{} at {}", if new.inbound { "it dialled" } else { "dialled" }, new.address);
        for connection in peer.connections.add(new, me_first) {
            self.commands.push_back(Command::Close { node, connection, why: Why::Surplus });
        }
        self.turn(now, node, State::Connected, &reason);
        if self.access.learn(node) {
            log::info!("{node} is written down as allowed");
            self.handle_access_changed(now);
        }
        self.is_topology_due = true;
        self.look_soon(now);
        if is_back {
            self.rush(now);
        }
    }

    /// Whether a peer may stay that has just connected. Under pressure it takes the place of one that is worth less.
    fn find_room(&mut self, now: Instant, node: NodeId, new: &Connection) -> Result<(), Why> {
        self.access.check(&node)?;
        if self.is_connected(&node) {
            return Ok(());
        }
        let worth = self.worth(now, &node);
        let ip = new.ip().filter(|ip| !self.belief.is_own(*ip));
        if worth < Worth::Allowed && ip.is_some() {
            let at_ip = |peer: &Peer| peer.connections.first().and_then(Connection::ip) == ip;
            let there = self.book.connected().filter(|(_, peer)| at_ip(peer)).count();
            if there >= self.options.max_peers_per_ip {
                return Err(Why::Full);
            }
        }
        let are_dialled = !new.inbound && self.dialled() >= self.options.max_dialled;
        if are_dialled || self.connected() >= self.options.max_peers {
            let least = self.least_useful(now, worth, are_dialled).ok_or(Why::Full)?;
            self.turn_away(now, least, Why::Full);
        }
        Ok(())
    }

    /// The idle peer to give up for one that is worth so much: whoever is worth least, of these the last to come; perhaps
    /// only of those that this node has dialled.
    pub(super) fn least_useful(&self, now: Instant, worth: Worth, dialled_only: bool) -> Option<NodeId> {
        let is_idle = |peer: &Peer| peer.quality.sent_bytes_s() + peer.quality.received_bytes_s() < IDLE_BYTES_S;
        let may_go = |peer: &Peer| is_idle(peer) && (peer.is_dialled() || !dialled_only);
        let idle = self.book.connected().filter(|(_, peer)| may_go(peer));
        let ranked = idle.map(|(node, peer)| (self.worth(now, node), peer.life.lasts(now), *node));
        ranked.min().filter(|(least, ..)| *least < worth).map(|(.., node)| node)
    }

    pub(super) fn worth(&self, now: Instant, node: &NodeId) -> Worth {
        let peer = self.book.find(node);
        match peer {
            Some(peer) if peer.source == Source::Bootstrap => Worth::Bootstrap,
            _ if self.access.status(node) == Access::Allowed => Worth::Allowed,
            Some(peer) if peer.reputation.standing(now) != Standing::Good => Worth::Throttled,
            Some(peer) if peer.is_chosen => Worth::Chosen,
            _ => Worth::Stranger,
        }
    }

    /// Closes all connections with a peer, and tells it why.
    pub(super) fn turn_away(&mut self, now: Instant, node: NodeId, why: Why) {
        let Some(peer) = self.book.find_mut(&node) else { return };
        let reason = format!("turned away: {why}");
        peer.connections.close(why);
        peer.note(trouble_here(why), &reason);
        self.commands.push_back(Command::TurnAway { node, why });
        if why == Why::Version {
            self.give_up(now, node, State::REFUSED, &reason);
        } else {
            self.turn(now, node, State::Disconnected, &reason);
        }
    }

    pub(super) fn handle_disconnected(
        &mut self,
        now: Instant,
        node: NodeId,
        connection: ConnectionNumber,
        ended: &Ended,
    ) {
        let Some(peer) = self.book.find_mut(&node) else { return };
        let Some(gone) = peer.connections.remove(connection) else { return };
        if peer.is_connected() {
            return;
        }
        peer.rtt = None;
        if now.saturating_duration_since(gone.since) >= SETTLED && !peer.is_failed() {
            peer.failures = 0;
        }
        match gone.closing {
            // The next try was set when it was closed.
            Some(Why::Unresponsive | Why::Version) => {}
            Some(why) => {
                let delay = self.options.reconnect.slow_delay(&mut self.rng);
                peer.dial_at = (why == Why::Full && peer.is_wanted()).then_some(now + delay);
            }
            None => {
                self.turn(now, node, State::Disconnected, &ended.to_string());
                let trouble = match ended {
                    Ended::There(why) => trouble_there(*why),
                    Ended::Lost(_) => Some(Trouble::Unresponsive),
                    Ended::Here(_) => None,
                };
                self.handle_failure(now, node, trouble, &ended.to_string());
            }
        }
        self.forget_stranger(now, node);
    }

    /// Forgets a peer that is gone, if there is nothing by which it could be found again, and nothing to hold against it.
    pub(super) fn forget_stranger(&mut self, now: Instant, node: NodeId) {
        let Some(peer) = self.book.find(&node) else { return };
        let is_stranger = matches!(peer.source, Source::Inbound | Source::Exchange) && !peer.is_notable(now);
        if is_stranger && peer.addresses.is_empty() && peer.connections.is_empty() {
            self.book.remove(&node);
            self.is_topology_due = true;
        }
    }
}

/// What this node's reason to close a connection means.
pub(super) fn trouble_here(why: Why) -> Option<Trouble> {
    Some(match why {
        Why::NotAllowed => Trouble::NotAllowedHere,
        Why::Banned => Trouble::BannedHere,
        Why::Full => Trouble::FullHere,
        Why::Version => Trouble::Version,
        Why::Unresponsive => Trouble::Unresponsive,
        _ => return None,
    })
}

/// What the other end's reason means.
pub(super) fn trouble_there(why: Why) -> Option<Trouble> {
    Some(match why {
        Why::NotAllowed => Trouble::NotAllowedThere,
        Why::Banned => Trouble::BannedThere,
        Why::Full => Trouble::FullThere,
        Why::Version => Trouble::Version,
        Why::Stopping => Trouble::Stopped,
        _ => return None,
    })
}
