//! What is heard of peers: by mDNS, from themselves, from others, and from the machine's interfaces.

use std::{net::Ipv4Addr, time::Instant};

use super::{PeerManager, Source};
use crate::{
    content::NodeId,
    limits,
    peers::{Introduction, Speaks, Subnet, Why, address::Teller, book::About, connections::Connection},
};

impl PeerManager {
    pub(super) fn handle_discovered(&mut self, now: Instant, node: NodeId, addresses: Vec<String>, source: Source) {
        let public = self.options.public_addresses;
        let believed =
            |teller| addresses.iter().filter(|it| self.belief.believes(it, teller, public)).cloned().collect();
        let addresses: Vec<_> = match source {
            Source::Bootstrap | Source::Remembered => addresses,
            // It came by way of others, from who knows where.
            Source::Exchange => believed(Teller::Peer(Ipv4Addr::UNSPECIFIED.into())),
            _ => believed(Teller::Link),
        };
        if self.hear(now, node, addresses, source) {
            self.with(node, |peer| peer.was_heard = true);
            self.retry(now, node);
        }
    }

    /// Enters what was heard of a peer. Returns whether it may be a sign of life.
    fn hear(&mut self, now: Instant, node: NodeId, addresses: Vec<String>, source: Source) -> bool {
        if node == self.options.me || addresses.is_empty() {
            return false;
        }
        let is_known = self.book.find(&node).is_some();
        let Some(peer) = self.book.enter(now, node, source) else { return false };
        let is_news = peer.addresses.hear(addresses, source == Source::Bootstrap);
        let has_turned_us_away = peer.has_turned_us_away();
        self.is_topology_due |= !is_known || is_news;
        if is_known && is_news && !self.is_connected(&node) {
            self.begin_anew(now, node, "it was heard of at a new address");
        }
        // Hearing the same again changes nothing about that.
        is_known && !has_turned_us_away
    }

    pub(super) fn handle_identified(
        &mut self,
        now: Instant,
        node: NodeId,
        agent: String,
        speaks: Speaks,
        addresses: Vec<String>,
    ) {
        self.with(node, |peer| (peer.agent, peer.is_foreign) = (Some(agent), speaks == Speaks::Others));
        match speaks {
            Speaks::Ours => {}
            Speaks::OtherVersion => return self.turn_away(now, node, Why::Version),
            // It would not understand the question whom it knows.
            Speaks::Others => self.with(node, |peer| peer.ask_at = None),
        }
        let addresses = self.believed(&node, addresses);
        self.hear(now, node, addresses.clone(), Source::Inbound);
        let Some(peer) = self.book.find_mut(&node) else { return };
        let from = peer.connections.first().map(|open| open.address.as_str());
        // Where it dialled from, and listens, it is: so those who dialled this node alone hear of each other from it.
        if let Some(from) = addresses.iter().find(|it| Some(it.as_str()) == from) {
            self.has_memory_changed |= peer.addresses.prove(from);
        }
    }

    pub(super) fn handle_introduced(
        &mut self,
        now: Instant,
        by: NodeId,
        capacity: u16,
        uptime_s: u32,
        others: Vec<Introduction>,
    ) {
        if !self.is_connected(&by) {
            return;
        }
        self.with(by, |peer| peer.about = Some(About { capacity, uptime_s, at: now, is_own: true }));
        for other in others.into_iter().take(limits::network::INTRODUCTIONS) {
            let Introduction { node, mut addresses, capacity, uptime_s } = other;
            addresses.truncate(limits::network::ADDRESSES_REMEMBERED);
            let addresses = self.believed(&by, addresses);
            // Where this node has reached a peer itself, it needs no advice.
            if self.book.find(&node).is_none_or(|peer| !peer.addresses.is_proven()) {
                self.hear(now, node, addresses, Source::Exchange);
            }
            self.with(node, |peer| {
                if peer.about.is_none_or(|about| !about.is_own) {
                    peer.about = Some(About { capacity, uptime_s, at: now, is_own: false });
                }
            });
        }
    }

    /// What is believed of the addresses that a peer tells of.
    fn believed(&self, teller: &NodeId, addresses: Vec<String>) -> Vec<String> {
        let connection = self.book.find(teller).and_then(|peer| peer.connections.first());
        let Some(ip) = connection.and_then(Connection::ip) else { return Vec::new() };
        let public = self.options.public_addresses;
        addresses.into_iter().filter(|it| self.belief.believes(it, Teller::Peer(ip), public)).collect()
    }

    pub(super) fn handle_network_changed(&mut self, now: Instant, subnets: Vec<Subnet>) {
        self.belief.set_subnets(subnets);
        self.begin_all_anew(now);
    }
}
