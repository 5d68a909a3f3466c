//! Hosts: a manager each, and what its network knows.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{Cluster, HostNumber, LinkNumber, Note, What, links::Packet, rules::Rules};
use crate::{
    content::NodeId,
    peers::{Admission, Command, ConnectionNumber, Event, Lists, Memory, Options, PeerManager, Source, Why},
};

/// Between the network and the manager, at most.
const QUEUE_DELAY_US: u64 = 2_000;
/// A dial that has got nowhere is given up.
pub(super) const DIAL_TIME: Duration = Duration::from_secs(3);

/// One machine with one node.
pub(super) struct Host {
    pub(super) options: Options,
    pub(super) addresses: Vec<String>,
    pub(super) bootstrap: Vec<HostNumber>,
    pub(super) has_mdns: bool,
    pub(super) has_exchange: bool,
    /// Its own time runs ahead of the simulator's by this.
    pub(super) ahead: Duration,
    /// Packets between hosts of different groups are lost.
    pub(super) group: u8,
    /// Whether it reports a connection that it dialled only when the other end has let it in.
    pub(super) is_patient: bool,
    /// None while it is off.
    pub(super) manager: Option<PeerManager>,
    /// How often it was started.
    pub(super) life: u32,
    pub(super) started: Duration,
    pub(super) is_paused: bool,
    /// When it went on last.
    pub(super) resumed: Duration,
    /// What the manager is not told yet.
    pub(super) inbox: VecDeque<Event>,
    /// What arrives while it is paused.
    pub(super) unread: Vec<Packet>,
    pub(super) due: Option<Duration>,
    pub(super) admission: Arc<Admission>,
    pub(super) next_connection: ConnectionNumber,
    pub(super) connections: BTreeMap<ConnectionNumber, (LinkNumber, usize)>,
    /// The same by peer.
    pub(super) open: BTreeMap<NodeId, Vec<(LinkNumber, usize)>>,
    pub(super) dials: BTreeMap<NodeId, Dial>,
    /// Whom it has heard of by multicast.
    pub(super) found: std::collections::BTreeSet<HostNumber>,
    /// Those of them with whom the connection was lost, and for how long they are looked for.
    pub(super) missing: BTreeMap<HostNumber, Duration>,
    pub(super) announced: Option<Duration>,
    pub(super) asked: u32,
    pub(super) lists: Lists,
    pub(super) memory: Memory,
    pub(super) rules: Rules,
}

/// A dial under way.
pub(super) struct Dial {
    pub(super) number: u64,
    pub(super) links: Vec<LinkNumber>,
    pub(super) wrong_peer: bool,
}

impl Cluster {
    /// Adds a host that is off.
    pub(super) fn add(&mut self, change: impl FnOnce(&mut Host)) -> HostNumber {
        let number = self.hosts.len();
        let node = NodeId(*blake3::hash(&(number as u64 ^ self.seed << 16).to_le_bytes()).as_bytes());
        let mut host = Host {
            options: Options::new(node, self.rng.u64(..)),
            addresses: vec![format!("/ip4/10.1.{}.{}/udp/4720/quic-v1", number / 250, number % 250 + 1)],
            bootstrap: Vec::new(),
            has_mdns: true,
            has_exchange: true,
            ahead: Duration::from_millis(self.rng.u64(..100_000_000)),
            group: 0,
            is_patient: self.rng.bool(),
            manager: None,
            life: 0,
            started: Duration::ZERO,
            is_paused: false,
            resumed: Duration::ZERO,
            inbox: VecDeque::new(),
            unread: Vec::new(),
            due: None,
            admission: Arc::default(),
            next_connection: 0,
            connections: BTreeMap::new(),
            open: BTreeMap::new(),
            dials: BTreeMap::new(),
            found: std::collections::BTreeSet::new(),
            missing: BTreeMap::new(),
            announced: None,
            asked: 0,
            lists: Lists::default(),
            memory: Memory::default(),
            rules: Rules::default(),
        };
        change(&mut host);
        self.numbers.insert(node, number);
        self.hosts.push(host);
        number
    }

    pub(super) fn node(&self, host: HostNumber) -> NodeId {
        self.hosts[host].options.me
    }

    /// A host's own time.
    pub(super) fn time(&self, host: HostNumber) -> std::time::Instant {
        self.origin + self.hosts[host].ahead + self.now
    }

    pub(super) fn is_up(&self, host: HostNumber) -> bool {
        self.hosts[host].manager.is_some()
    }

    pub(super) fn start(&mut self, number: HostNumber) {
        let now = self.time(number);
        let options = Options { seed: self.rng.u64(..), ..self.hosts[number].options.clone() };
        let subnet = crate::peers::Subnet {
            address: [10, 1, (number / 250) as u8, (number % 250 + 1) as u8].into(),
            prefix_bits: 16,
        };
        let host = &mut self.hosts[number];
        assert!(host.manager.is_none(), "it is on");
        host.manager = Some(PeerManager::new(now, options, host.lists.clone(), host.memory.clone()));
        (host.life, host.started, host.is_paused) = (host.life + 1, self.now, false);
        (host.announced, host.asked) = (None, 0);
        host.found.clear();
        host.missing.clear();
        host.rules = Rules::default();
        let life = host.life;
        self.tell(number, Event::NetworkChanged { subnets: vec![subnet] });
        for peer in self.hosts[number].bootstrap.clone() {
            let (node, addresses) = (self.node(peer), self.hosts[peer].addresses.clone());
            self.tell(number, Event::Discovered { node, addresses, source: Source::Bootstrap });
        }
        if self.hosts[number].has_mdns {
            self.start_multicast(number, life);
        }
        self.obey(number);
    }

    /// A host dies without a word: power, a kernel that hangs.
    pub(super) fn crash(&mut self, number: HostNumber) {
        let ends: Vec<_> = self.hosts[number].connections.values().copied().collect();
        for (link, end) in ends {
            self.forget_end(link, end);
        }
        for (_, dial) in std::mem::take(&mut self.hosts[number].dials) {
            for link in dial.links {
                self.forget_end(link, 0);
            }
        }
        let now = self.time(number);
        let host = &mut self.hosts[number];
        if let Some(manager) = host.manager.take() {
            // Lists are written down at once, the rest now and then.
            host.lists = manager.lists().clone();
            host.memory = manager.memory(now);
        }
        (host.is_paused, host.due) = (false, None);
        host.connections.clear();
        host.open.clear();
        host.inbox.clear();
        host.unread.clear();
    }

    /// A node stops properly: it tells each peer once.
    pub(super) fn stop(&mut self, number: HostNumber) {
        let ends: Vec<_> = self.hosts[number].connections.values().copied().collect();
        for (link, end) in ends {
            self.say_close(link, end, Why::Stopping);
        }
        self.crash(number);
    }

    pub(super) fn pause(&mut self, number: HostNumber) {
        self.hosts[number].is_paused = true;
    }

    /// It goes on with what has arrived, as far as the socket's buffer held it.
    pub(super) fn resume(&mut self, number: HostNumber) {
        (self.hosts[number].is_paused, self.hosts[number].resumed) = (false, self.now);
        for packet in std::mem::take(&mut self.hosts[number].unread) {
            self.handle_packet(number, packet);
        }
        self.schedule(Duration::ZERO, super::Action::Tell { host: number });
        self.schedule(Duration::ZERO, super::Action::Due { host: number });
        self.hosts[number].due = Some(self.now);
    }

    /// Reports to a host's manager.
    pub(super) fn tell(&mut self, number: HostNumber, event: Event) {
        self.note_event(number, &event);
        let delay = Duration::from_micros(self.rng.u64(..QUEUE_DELAY_US));
        self.hosts[number].inbox.push_back(event);
        self.schedule(delay, super::Action::Tell { host: number });
    }

    pub(super) fn handle_tell(&mut self, number: HostNumber) {
        if self.hosts[number].is_paused {
            return;
        }
        let now = self.time(number);
        let host = &mut self.hosts[number];
        // A packet may have been read in between: all that waits is told.
        while let (Some(manager), Some(event)) = (&mut host.manager, host.inbox.pop_front()) {
            manager.handle_event(now, event);
        }
        self.obey(number);
    }

    pub(super) fn handle_due(&mut self, number: HostNumber) {
        let now = self.time(number);
        let host = &mut self.hosts[number];
        if host.is_paused || host.due != Some(self.now) {
            return;
        }
        host.due = None;
        if let Some(manager) = &mut host.manager {
            manager.handle_timeout(now);
        }
        self.obey(number);
    }

    /// Carries out what a manager asks for, and sees when it wants to be called.
    fn obey(&mut self, number: HostNumber) {
        loop {
            let Some(manager) = &mut self.hosts[number].manager else { return };
            let Some(command) = manager.poll_command() else { break };
            self.check_command(number, &command);
            self.carry_out(number, command);
        }
        let (start, ahead, now) = (self.origin, self.hosts[number].ahead, self.now);
        let host = &mut self.hosts[number];
        let Some(manager) = &host.manager else { return };
        let due = manager.next_timeout().map(|at| at.saturating_duration_since(start + ahead).max(now));
        if due != host.due {
            host.due = due;
            if let Some(at) = due {
                self.schedule(at - now, super::Action::Due { host: number });
            }
        }
        self.check_host(number);
    }

    fn carry_out(&mut self, number: HostNumber, command: Command) {
        match command {
            Command::Dial { node, addresses } => self.dial(number, node, &addresses),
            Command::Close { node: _, connection, why } => {
                if let Some((link, end)) = self.hosts[number].connections.get(&connection).copied() {
                    self.close(link, end, why);
                }
            }
            Command::TurnAway { node, why } => {
                for (link, end) in self.connections_with(number, node) {
                    self.close(link, end, why);
                }
            }
            Command::Admit(admission) => self.hosts[number].admission = admission,
            Command::Observe { nodes } => self.observe(number, &nodes),
            Command::Probe { nodes } => self.probe(number, &nodes),
            Command::Exchange { node } => self.exchange(number, node),
        }
    }

    /// What a host's network has open with a peer.
    pub(super) fn connections_with(&self, number: HostNumber, node: NodeId) -> Vec<(LinkNumber, usize)> {
        self.hosts[number].open.get(&node).cloned().unwrap_or_default()
    }

    fn note_event(&mut self, host: HostNumber, event: &Event) {
        let (node, what) = match event {
            Event::Connected { node, inbound, .. } => (node, What::Connected { inbound: *inbound }),
            Event::Disconnected { node, ended, .. } => (node, What::Disconnected(ended.clone())),
            Event::DialFailed { node, error } => (node, What::DialFailed(error.clone())),
            Event::TurnedAway { node, why, .. } => (node, What::TurnedAway(*why)),
            _ => return,
        };
        self.note(host, *node, what);
    }

    pub(super) fn note(&mut self, host: HostNumber, node: NodeId, what: What) {
        if let Some(&peer) = self.numbers.get(&node) {
            self.journal.push(Note { at: self.now, host, peer, what });
        }
    }
}
