//! Gossip: announces new versions of what this node has, and hears who has what it wants. What is announced is proven by nobody:
//! it is reason to look there, by the rules of `peers` for whatever others tell.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use smol::Timer;

use super::state::State;
use crate::{
    config::QuicAddress,
    content::{CollectionKey, NodeId},
    limits::{network::ANNOUNCED_PER_MINUTE, wire::TOLD_ADDRESSES},
    network::Network,
    peers::{Event, Source},
    wire::{announce::Announcement, catalogue::Head, peers::Address},
};

/// Between two announcements, and between two tries while nobody is there to be told.
const SPACING: Duration = Duration::from_millis(60_000 / ANNOUNCED_PER_MINUTE as u64);

/// Announces for as long as the node runs; nothing happens while nothing is new.
pub(super) async fn announce(state: Arc<State>, network: Arc<Network>) {
    let mut changes = state.library.subscribe();
    let mut told = Told::new(state.library.node_id(), &state.library.heads());
    loop {
        let heads = state.library.heads();
        let Some(head) = told.next(&heads) else {
            told.forget_gone(&heads);
            changes.changed().await;
            continue;
        };
        let addresses = addresses(&state.peering.listen());
        let (collection, version, node) = (head.collection, head.version, state.library.node_id());
        if !addresses.is_empty() && network.announce(Announcement { collection, version, node, addresses }).await {
            log::debug!("announced version {version} of collection {}", collection.id);
            told.tell(head);
        }
        Timer::after(SPACING).await;
    }
}

/// What has been announced.
struct Told(BTreeMap<CollectionKey, u64>);

impl Told {
    /// At its start, a node has its own collections to tell of; those of others were told when they were new.
    fn new(me: NodeId, heads: &[Head]) -> Self {
        let others = heads.iter().filter(|head| head.collection.publisher != me);
        Self(others.map(|head| (head.collection, head.version)).collect())
    }

    fn next<'a>(&self, heads: &'a [Head]) -> Option<&'a Head> {
        heads.iter().find(|head| self.0.get(&head.collection).is_none_or(|told| *told < head.version))
    }

    fn tell(&mut self, head: &Head) {
        self.0.insert(head.collection, head.version);
    }

    /// What is no longer here needs no memory.
    fn forget_gone(&mut self, heads: &[Head]) {
        self.0.retain(|key, _| heads.iter().any(|head| head.collection == *key));
    }
}

/// Where others may find this node: what means something on another machine, the best first.
fn addresses(listen: &[String]) -> Vec<Address> {
    let ranked = |address: &String| {
        let ip = address.parse::<QuicAddress>().ok()?.ip()?;
        let has_zone = address.starts_with("/ip6zone");
        (!has_zone).then(|| (ip.is_loopback(), ip.is_ipv6(), address.clone()))
    };
    let mut ranked: Vec<_> = listen.iter().filter_map(ranked).collect();
    ranked.sort();
    ranked.into_iter().filter_map(|(_, _, address)| Address::new(address)).take(TOLD_ADDRESSES).collect()
}

/// Makes a node known that has what this one wants and lacks, so that it may be dialled.
pub(super) fn heard(state: &State, announcement: Announcement) {
    let Announcement { collection, version, node, addresses } = announcement;
    if !state.follower.may_want(&collection, version) {
        return;
    }
    log::debug!("{node} announces version {version} of collection {}", collection.id);
    let addresses = addresses.into_iter().map(Address::into_string).collect();
    let event = Event::Discovered { node, addresses, source: Source::Exchange };
    state.peering.judge(std::iter::once(event));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::CollectionId, wire::Text};

    fn head(publisher: u8, version: u64) -> Head {
        let collection = CollectionKey { publisher: NodeId([publisher; 32]), id: CollectionId([1; 16]) };
        Head { collection, version, name: Text::cut("Books"), items: 1, bytes: 1 }
    }

    #[test]
    fn each_version_is_announced_once() {
        let heads = [head(1, 3), head(2, 3)];
        let mut told = Told::new(NodeId([1; 32]), &heads);
        assert_eq!(told.next(&heads), Some(&heads[0]), "what others made was announced by them");
        told.tell(&heads[0]);
        assert_eq!(told.next(&heads), None);
        let newer = [head(1, 3), head(2, 4)];
        assert_eq!(told.next(&newer), Some(&newer[1]));
        told.tell(&newer[1]);
        assert_eq!(told.next(&newer), None);
        told.forget_gone(&newer[..1]);
        assert_eq!(told.0.len(), 1);
    }

    #[test]
    fn the_best_addresses_are_announced() {
        let quic = |host: &str| format!("{host}/udp/4720/quic-v1");
        let listen = ["/ip4/127.0.0.1", "/ip6/fd00::1", "/ip6zone/eth0/ip6/fe80::1", "/ip4/10.0.0.1"].map(quic);
        let told: Vec<_> = addresses(&listen).into_iter().map(Address::into_string).collect();
        assert_eq!(told, ["/ip4/10.0.0.1", "/ip6/fd00::1", "/ip4/127.0.0.1"].map(quic));
        let many: Vec<_> = (0..10).map(|host| quic(&format!("/ip4/10.0.0.{host}"))).collect();
        assert_eq!(addresses(&many).len(), TOLD_ADDRESSES);
    }
}
