//! The life of every peer.

mod lists;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

pub use self::lists::Changed;
use super::{
    Command, ConnectionNumber, DialError, Ended, Event, Lists, Memory, Options, Reconnect, Source, Why, access::Access,
};
use crate::{
    content::NodeId,
    limits,
    status::{PeerState, PeerStatus},
};

/// How long the node with the greater id leaves the first dial to the other, so that two nodes that discover each other at
/// the same moment make one connection.
const POLITENESS: Duration = Duration::from_millis(400);
/// Two connections that are made within this time were dialled from both ends at once; a later one replaces an earlier one
/// whose other end has probably restarted.
const SIMULTANEOUS: Duration = Duration::from_secs(5);
/// One dial tries several addresses at once, and more than one may get through: the other end keeps the first that it has,
/// and closes the rest itself, within this time. Which one that is can't be told from here.
const SIBLINGS: Duration = Duration::from_secs(1);
/// So many connections of one dial are left to the other end to choose from.
const SIBLINGS_MAX: usize = 4;
/// A connection that ended sooner counts as one more failure: a peer that turns us away is not dialled without end.
const SETTLED: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Connection {
    number: ConnectionNumber,
    inbound: bool,
    since: Instant,
}

#[derive(Debug)]
struct Peer {
    source: Source,
    /// Best first.
    addresses: Vec<String>,
    connections: Vec<Connection>,
    /// A `Dial` is under way.
    dialling: bool,
    /// When to dial next, if nothing happens before.
    dial_at: Option<Instant>,
    failures: u32,
    rtt: Option<Duration>,
    agent: Option<String>,
    error: Option<String>,
    heard: Instant,
}

impl Peer {
    fn state(&self, reconnect: &Reconnect) -> PeerState {
        match (self.connections.is_empty(), reconnect.is_given_up(self.failures)) {
            (false, _) => PeerState::Connected,
            (true, true) => PeerState::Failed,
            (true, false) => PeerState::Disconnected,
        }
    }

    /// Puts an address first, within the bound.
    fn prefer(&mut self, address: String) {
        self.addresses.retain(|known| *known != address);
        self.addresses.insert(0, address);
        self.addresses.truncate(limits::network::ADDRESSES_PER_PEER);
    }
}

/// All peers of a node. See the [module](super) for how it is driven.
#[derive(Debug)]
pub struct PeerManager {
    options: Options,
    rng: fastrand::Rng,
    access: Access,
    peers: BTreeMap<NodeId, Peer>,
    commands: VecDeque<Command>,
}

impl PeerManager {
    /// A manager with what was kept from the last start. Its first command is [`Command::Admit`].
    pub fn new(_now: Instant, options: Options, lists: Lists, _memory: Memory) -> Self {
        let rng = fastrand::Rng::with_seed(options.seed);
        let access = Access::new(&options, lists);
        let commands = VecDeque::from([Command::Admit(access.admission().clone())]);
        Self { options, rng, access, peers: BTreeMap::new(), commands }
    }

    /// Takes note of what happened.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Discovered { node, addresses, source } => self.handle_discovered(now, node, addresses, source),
            Event::Connected { node, connection, address, inbound, .. } => {
                self.handle_connected(now, node, Connection { number: connection, inbound, since: now }, address);
            }
            Event::Disconnected { node, connection, ended } => self.handle_disconnected(now, node, connection, &ended),
            Event::DialFailed { node, error } => self.handle_dial_failed(now, node, &error),
            Event::Pinged { node, rtt } => self.with(node, |peer| peer.rtt = Some(rtt)),
            Event::Identified { node, agent, .. } => self.with(node, |peer| peer.agent = Some(agent)),
            _ => {}
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let under_way = self.peers.values().filter(|peer| peer.dialling && peer.connections.is_empty()).count();
        let room = self.options.max_peers.saturating_sub(self.connected() + under_way);
        let due = self.peers.iter_mut().filter(|(_, peer)| peer.dial_at.is_some_and(|at| at <= now));
        for (count, (node, peer)) in due.enumerate() {
            if count >= room {
                peer.dial_at = Some(now + self.options.reconnect.slow_delay(&mut self.rng));
                continue;
            }
            peer.dial_at = None;
            peer.dialling = true;
            self.commands.push_back(Command::Dial { node: *node, addresses: peer.addresses.clone() });
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`PeerManager::handle_timeout`] is to be called, unless something happens before.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.dial_at).min()
    }

    /// How many peers are connected.
    pub fn connected(&self) -> usize {
        self.peers.values().filter(|peer| !peer.connections.is_empty()).count()
    }

    /// Whether this peer is.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.peers.get(node).is_some_and(|peer| !peer.connections.is_empty())
    }

    /// What people are shown of every peer.
    pub fn status(&self) -> Vec<PeerStatus> {
        let status = |(node, peer): (&NodeId, &Peer)| PeerStatus {
            node: node.to_string(),
            state: peer.state(&self.options.reconnect),
            address: peer.addresses.first().cloned(),
            rtt_us: peer.rtt.map(|rtt| rtt.as_micros() as u64),
            agent: peer.agent.clone(),
            source: peer.source.name().into(),
            error: peer.error.clone(),
            ..PeerStatus::default()
        };
        self.peers.iter().map(status).collect()
    }

    fn with(&mut self, node: NodeId, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(&node) {
            change(peer);
        }
    }

    fn handle_discovered(&mut self, now: Instant, node: NodeId, addresses: Vec<String>, source: Source) {
        if node == self.options.me || addresses.is_empty() {
            return;
        }
        let reconnect = self.options.reconnect;
        let polite = if self.options.me > node { POLITENESS } else { Duration::ZERO };
        let Some(peer) = self.peer(now, node, source) else { return };
        if source == Source::Bootstrap {
            peer.source = source;
        }
        let news = addresses.iter().any(|address| !peer.addresses.contains(address));
        for address in addresses.into_iter().rev() {
            // What proved good stays first.
            let at = usize::from(!peer.addresses.is_empty() && !peer.connections.is_empty());
            if !peer.addresses.contains(&address) {
                peer.addresses.insert(at, address);
            }
        }
        peer.addresses.truncate(limits::network::ADDRESSES_PER_PEER);
        if peer.connections.is_empty() && !peer.dialling {
            let given_up = reconnect.is_given_up(peer.failures);
            if given_up || news {
                peer.failures = 0;
            }
            if given_up || news || peer.dial_at.is_none() {
                peer.dial_at = Some(now + polite);
            }
        }
    }

    fn handle_connected(&mut self, now: Instant, node: NodeId, new: Connection, address: String) {
        let number = new.number;
        let me_first = self.options.me < node;
        if !self.is_connected(&node) && self.connected() >= self.options.max_peers {
            // A stranger leaves no trace; whom we dialled ourselves we try again, there may be room then.
            let delay = self.options.reconnect.slow_delay(&mut self.rng);
            self.with(node, |peer| (peer.dialling, peer.dial_at) = (false, Some(now + delay)));
            self.commands.push_back(Command::TurnAway { node, why: Why::Full });
            return;
        }
        let Some(peer) = self.peer(now, node, Source::Inbound) else {
            self.commands.push_back(Command::TurnAway { node, why: Why::Full });
            return;
        };
        // The one that the smaller id dialled survives, where both ends dialled at once; else the newest.
        let simultaneous = |old: &Connection| now.saturating_duration_since(old.since) < SIMULTANEOUS;
        let keep_old = |old: &Connection| old.inbound != new.inbound && simultaneous(old) && old.inbound != me_first;
        if !new.inbound {
            peer.prefer(address);
        } else if peer.addresses.is_empty() {
            peer.addresses.push(address);
        }
        (peer.dialling, peer.dial_at, peer.error) = (false, None, None);
        let surplus = match peer.connections.iter().find(|old| keep_old(old)) {
            Some(_) => vec![number],
            None => {
                let few = peer.connections.len() < SIBLINGS_MAX;
                let sibling = |old: &Connection| {
                    few && old.inbound && new.inbound && now.saturating_duration_since(old.since) < SIBLINGS
                };
                peer.connections.iter().filter(|old| !sibling(old)).map(|old| old.number).collect()
            }
        };
        peer.connections.push(new);
        for number in surplus {
            self.close(node, number, Why::Surplus);
        }
    }

    fn handle_disconnected(&mut self, now: Instant, node: NodeId, connection: ConnectionNumber, ended: &Ended) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(at) = peer.connections.iter().position(|open| open.number == connection) else { return };
        let Connection { inbound, since, .. } = peer.connections.remove(at);
        if !peer.connections.is_empty() {
            return;
        }
        peer.rtt = None;
        if now.saturating_duration_since(since) >= SETTLED {
            peer.failures = 0;
        }
        // Of a peer that dialled us, only the port that it dialled from may be known: it comes back by itself.
        if peer.source == Source::Inbound && inbound {
            self.peers.remove(&node);
        } else {
            self.handle_failure(now, node, ended.to_string());
        }
    }

    fn handle_dial_failed(&mut self, now: Instant, node: NodeId, error: &DialError) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.dialling = false;
        if peer.connections.is_empty() {
            self.handle_failure(now, node, error.to_string());
        }
    }

    /// Decides when to dial a peer again that was not reached, or is gone.
    fn handle_failure(&mut self, now: Instant, node: NodeId, reason: String) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.failures = peer.failures.saturating_add(1);
        peer.error = Some(reason);
        peer.dial_at = Some(now + self.options.reconnect.delay(peer.failures, &mut self.rng));
    }

    fn close(&mut self, node: NodeId, connection: ConnectionNumber, why: Why) {
        self.commands.push_back(Command::Close { node, connection, why });
    }

    /// The peer, made if there is room or somebody less useful to forget.
    fn peer(&mut self, now: Instant, node: NodeId, source: Source) -> Option<&mut Peer> {
        if !self.peers.contains_key(&node) && self.peers.len() >= limits::network::KNOWN_PEERS {
            let idle = |peer: &Peer| peer.connections.is_empty() && peer.source != Source::Bootstrap;
            let oldest = self.peers.iter().filter(|(_, peer)| idle(peer)).min_by_key(|(_, peer)| peer.heard);
            let forgotten = *oldest?.0;
            self.peers.remove(&forgotten);
        }
        let peer = self.peers.entry(node).or_insert_with(|| Peer {
            source,
            addresses: Vec::new(),
            connections: Vec::new(),
            dialling: false,
            dial_at: None,
            failures: 0,
            rtt: None,
            agent: None,
            error: None,
            heard: now,
        });
        peer.heard = now;
        Some(peer)
    }
}

#[cfg(test)]
mod tests;
