//! Who hears of whom on the LAN, roughly as `network::mdns` has it: queries with known answers, answers to all.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use super::{Action, Cluster, HostNumber, links::Packet};
use crate::peers::{Event, Source};

/// Between two queries while a peer is missing that was heard of before.
const MISSING: Duration = Duration::from_secs(3);
/// Between two queries, else.
const QUIET: Duration = Duration::from_secs(60);
/// Nobody says the same twice within this time (RFC 6762, section 6).
const ONCE: Duration = Duration::from_secs(1);

impl Cluster {
    pub(super) fn start_multicast(&mut self, host: HostNumber, life: u32) {
        let wait = Duration::from_millis(self.rng.u64(..120));
        self.schedule(wait, Action::Ask { host, life });
        self.schedule(wait, Action::Announce { host, life });
        self.schedule(wait + ONCE, Action::Announce { host, life });
    }

    fn is_connected(&self, host: HostNumber, there: HostNumber) -> bool {
        !self.connections_with(host, self.node(there)).is_empty()
    }

    pub(super) fn handle_ask(&mut self, host: HostNumber, life: u32) {
        let it = &self.hosts[host];
        if it.manager.is_none() || it.life != life {
            return;
        }
        let known: BTreeSet<_> = it.found.iter().filter(|there| self.is_connected(host, **there)).copied().collect();
        let is_complete = known.len() == it.found.len();
        self.hosts[host].asked += 1;
        let wait = match self.hosts[host].asked {
            1 => Duration::from_secs(1),
            2 => Duration::from_secs(2),
            _ if is_complete => QUIET,
            _ => MISSING,
        };
        if !self.hosts[host].is_paused {
            let known = Rc::new(known);
            for there in 0..self.hosts.len() {
                if there != host && self.hosts[there].has_mdns && !known.contains(&there) {
                    self.send(host, there, Packet::Query { known: known.clone() });
                }
            }
        }
        // Whether somebody is missing is looked at more often than it is asked.
        self.schedule(wait.min(MISSING), Action::Ask { host, life });
    }

    pub(super) fn handle_query(&mut self, host: HostNumber, known: &BTreeSet<HostNumber>) {
        let life = self.hosts[host].life;
        let was_just_said = self.hosts[host].announced.is_some_and(|at| self.now < at + ONCE);
        if !known.contains(&host) && !was_just_said {
            let wait = Duration::from_millis(self.rng.u64(20..120));
            self.hosts[host].announced = Some(self.now + wait);
            self.schedule(wait, Action::Announce { host, life });
        }
    }

    pub(super) fn handle_announce(&mut self, host: HostNumber, life: u32) {
        let it = &self.hosts[host];
        if it.manager.is_none() || it.life != life || it.is_paused {
            return;
        }
        self.hosts[host].announced = Some(self.now);
        for there in 0..self.hosts.len() {
            if there != host && self.hosts[there].has_mdns {
                self.send(host, there, Packet::Presence { host });
            }
        }
    }

    pub(super) fn handle_presence(&mut self, host: HostNumber, there: HostNumber) {
        let is_new = self.hosts[host].found.insert(there);
        if is_new || !self.is_connected(host, there) {
            let (node, addresses) = (self.node(there), self.hosts[there].addresses.clone());
            self.tell(host, Event::Discovered { node, addresses, source: Source::Mdns });
        }
    }
}
