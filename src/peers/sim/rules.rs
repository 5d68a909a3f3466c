//! What holds at any time, whatever happens.

use std::{collections::VecDeque, time::Duration};

use super::{Cluster, HostNumber, links::Stage};
use crate::{
    limits,
    peers::{Command, connections::SIBLINGS},
};

/// Dials at a time, and in a second.
const DIALS_AT_ONCE: usize = 8;
/// See [`DIALS_AT_ONCE`].
const DIALS_PER_SECOND: usize = 20;
/// Nobody is taken for connected who was not heard for longer; what waits in queues comes on top. The first of two connections
/// with a host that was killed and came back at once may pass for a sibling of the second, and is found out with it.
const SILENCE: Duration = Duration::from_millis(10_500).saturating_add(SIBLINGS);
/// Between two looks at all that a manager knows, which costs much: so many calls.
const LOOKS: u32 = 500;

/// What is remembered of a host to judge it.
#[derive(Default)]
pub(super) struct Rules {
    dials: VecDeque<Duration>,
    calls: u32,
}

impl Cluster {
    /// A command must make sense at the time at which it is given.
    pub(super) fn check_command(&mut self, number: HostNumber, command: &Command) {
        let me = self.node(number);
        match command {
            Command::Dial { node, addresses } => {
                assert_ne!(*node, me, "nobody dials itself");
                assert!(!addresses.is_empty(), "a dial needs an address");
                assert!(addresses.len() <= limits::network::ADDRESSES_PER_PEER, "too many addresses: {addresses:?}");
                assert!(self.hosts[number].admission.check(node).is_ok(), "it dials {node:?}, which it does not admit");
                let is_told = self.hosts[number].inbox.is_empty();
                let host = &self.hosts[number];
                assert!(!host.dials.contains_key(node) || !is_told, "it is dialling {node:?}");
                assert!(host.dials.len() < DIALS_AT_ONCE, "{} dials at once", host.dials.len() + 1);
                assert!(
                    !is_told || self.connections_with(number, *node).is_empty(),
                    "it dials {node:?}, with which it is connected"
                );
                let now = self.now;
                let dials = &mut self.hosts[number].rules.dials;
                dials.push_back(now);
                while dials.front().is_some_and(|at| now - *at >= Duration::from_secs(1)) {
                    dials.pop_front();
                }
                assert!(dials.len() <= DIALS_PER_SECOND + DIALS_AT_ONCE, "{} dials in a second", dials.len());
            }
            Command::Observe { nodes } | Command::Probe { nodes } => {
                assert!(nodes.len() <= limits::network::KNOWN_PEERS);
                assert!(!nodes.contains(&me), "nobody probes itself");
            }
            Command::Exchange { node } | Command::Close { node, .. } | Command::TurnAway { node, .. } => {
                assert_ne!(*node, me);
            }
            Command::Admit(_) => {}
        }
    }

    /// What a manager knows must agree with what its network knows.
    pub(super) fn check_host(&mut self, number: HostNumber) {
        let host = &mut self.hosts[number];
        host.rules.calls += 1;
        let is_time = host.rules.calls.is_multiple_of(LOOKS);
        if host.rules.calls.is_multiple_of(LOOKS / 10) {
            self.check_silence(number);
        }
        let host = &self.hosts[number];
        let Some(manager) = &host.manager else { return };
        assert!(manager.connected() <= host.options.max_peers, "{} peers", manager.connected());
        assert!(manager.dialled() <= host.options.max_dialled, "it has dialled {}", manager.dialled());
        if !host.inbox.is_empty() || !is_time {
            return;
        }
        let known = manager.status(self.time(number));
        assert!(known.len() <= limits::network::KNOWN_PEERS, "{} peers are known", known.len());
        for (there, it) in self.hosts.iter().enumerate() {
            let is_open = !self.connections_with(number, it.options.me).is_empty();
            let is_so = manager.is_connected(&it.options.me);
            assert_eq!(is_so, is_open, "host {number} thinks so of host {there}");
        }
    }

    /// A connection whose other end is gone does not stay.
    fn check_silence(&self, number: HostNumber) {
        let host = &self.hosts[number];
        if self.now < host.resumed + SILENCE {
            return;
        }
        for (link, end) in host.connections.values() {
            let end = &self.links[link].ends[*end];
            assert!(
                self.now - end.heard <= SILENCE,
                "host {number} has a connection that is silent since {:?}",
                end.heard
            );
        }
    }

    /// When nothing has happened for a while, both ends of each connection know of it, and there is one for two hosts.
    pub(super) fn check_settled(&self) {
        let mut pairs = std::collections::BTreeSet::new();
        for (number, link) in &self.links {
            let [a, b] = &link.ends;
            assert_eq!(a.is_open(), b.is_open(), "link {number} of hosts {} and {} is half open", a.host, b.host);
            if a.is_open() {
                let pair = (a.host.min(b.host), a.host.max(b.host));
                assert!(pairs.insert(pair), "hosts {pair:?} have two connections");
            }
        }
        let half = self.links.values().filter(|link| link.ends.iter().any(|end| end.stage == Stage::Opening)).count();
        let under_way: usize = self.hosts.iter().map(|host| host.dials.len()).sum();
        assert!(half <= under_way * limits::network::ADDRESSES_PER_PEER, "{half} attempts of nobody");
    }
}
