//! Who hears of whom on the LAN, roughly as `network::mdns` has it: queries with known answers, answers to all.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use super::{Action, Cluster, HostNumber, links::Packet};
use crate::{
    content::NodeId,
    peers::{Event, Source},
};

/// Between two queries for a peer that was lost, which it alone answers, and for how long.
const MISSING: Duration = Duration::from_secs(3);
/// See [`MISSING`].
const MISSING_FOR: Duration = Duration::from_secs(3600);
/// One in so many queries is for all that are not known, after the first three.
const QUIET_ASKS: u32 = 20;
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

    /// Whom it had heard of, and who is lost, is asked for.
    pub(super) fn look_for(&mut self, host: HostNumber, node: NodeId) {
        let (there, until) = (self.numbers[&node], self.now + MISSING_FOR);
        if self.hosts[host].found.contains(&there) {
            self.hosts[host].missing.insert(there, until);
        }
    }

    pub(super) fn handle_ask(&mut self, host: HostNumber, life: u32) {
        let now = self.now;
        let it = &mut self.hosts[host];
        if it.manager.is_none() || it.life != life {
            return;
        }
        it.missing.retain(|_, until| now < *until);
        it.asked += 1;
        let is_general = it.asked <= 3 || it.asked.is_multiple_of(QUIET_ASKS);
        let known = Rc::new(if is_general { it.found.clone() } else { BTreeSet::new() });
        let missing: Vec<HostNumber> = it.missing.keys().copied().collect();
        if !it.is_paused {
            for there in missing {
                self.send(host, there, Packet::Query { known: Rc::default() });
            }
            for there in 0..self.hosts.len() {
                if is_general && there != host && self.hosts[there].has_mdns && !known.contains(&there) {
                    self.send(host, there, Packet::Query { known: known.clone() });
                }
            }
        }
        let wait = Duration::from_secs(u64::from(self.hosts[host].asked)).min(MISSING);
        self.schedule(wait, Action::Ask { host, life });
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
            self.hosts[host].missing.remove(&there);
            let (node, addresses) = (self.node(there), self.hosts[there].addresses.clone());
            self.tell(host, Event::Discovered { node, addresses, source: Source::Mdns });
        }
    }
}
