//! The peers heard of, where they are and until when. Takes the time, never asks for it.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

use super::link::LinkId;
use crate::limits::network::{ADDRESSES_PER_PEER, MDNS_PEERS, MDNS_PEERS_PER_SOURCE};

/// The longest that an entry is kept without being heard again.
const MAX_TTL: Duration = Duration::from_secs(4500);
/// How long an address outlives its goodbye, and how old one must be to be flushed by newer ones (RFC 6762, sections
/// 10.1 and 10.2).
const GRACE: Duration = Duration::from_secs(1);

/// How often a peer is told of that is heard all the time and has nothing new.
const TOLD_INTERVAL: Duration = Duration::from_secs(1);

/// An announcement: one peer on one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) peer: PeerId,
    /// As they are dialled, without `/p2p`.
    pub(super) addresses: Vec<Multiaddr>,
    /// None left means goodbye.
    pub(super) ttl: Duration,
}

#[derive(Debug)]
struct Known {
    address: Multiaddr,
    link: LinkId,
    source: IpAddr,
    heard: Instant,
    expires: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cache {
    peers: HashMap<PeerId, Vec<Known>>,
    /// When each of them was last told of.
    told: HashMap<PeerId, Instant>,
    /// No entry expires earlier.
    next_expiry: Option<Instant>,
}

impl Cache {
    /// Takes an announcement in. Returns all addresses of the peer, unless it said goodbye, or was told of just now and there
    /// is nothing new.
    ///
    /// Those that were known before, too: who gave the peer up is to try again when it is heard.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        link: LinkId,
        source: IpAddr,
        announcement: Announcement,
    ) -> Option<Vec<Multiaddr>> {
        let Announcement { peer, addresses, ttl } = announcement;
        let goodbye = ttl.is_zero();
        if !self.peers.contains_key(&peer) && (goodbye || addresses.is_empty() || !self.has_room_for(source)) {
            return None;
        }
        let known = self.peers.entry(peer).or_default();
        let news = addresses.iter().any(|address| known.iter().all(|known| known.address != *address));
        let expires = now + ttl.clamp(GRACE, MAX_TTL);
        if goodbye {
            let here = known.iter_mut().filter(|known| known.link == link);
            here.for_each(|known| known.expires = known.expires.min(expires));
        }
        if !goodbye && !addresses.is_empty() {
            known
                .retain(|known| known.link != link || now - known.heard <= GRACE || addresses.contains(&known.address));
        }
        for address in addresses.into_iter().take(if goodbye { 0 } else { ADDRESSES_PER_PEER }) {
            let entry = Known { address, link, source, heard: now, expires };
            if let Some(same) = known.iter_mut().find(|known| known.link == link && known.address == entry.address) {
                *same = entry;
                continue;
            }
            if known.len() == ADDRESSES_PER_PEER {
                let oldest = (0..known.len()).min_by_key(|&at| known[at].expires).expect("a full list is not empty");
                known.swap_remove(oldest);
            }
            known.push(entry);
        }
        self.next_expiry = Some(self.next_expiry.map_or(expires, |at| at.min(expires)));
        let just_told = self.told.get(&peer).is_some_and(|told| now < *told + TOLD_INTERVAL);
        if goodbye || just_told && !news {
            return None;
        }
        self.told.insert(peer, now);
        Some(addresses_of(&self.peers[&peer]))
    }

    /// Whether a peer was heard of, and not too long ago.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// How many peers were heard of.
    pub(super) fn len(&self) -> u32 {
        self.peers.len().try_into().unwrap_or(u32::MAX)
    }

    /// Whether one more peer may come from this source: a stranger that makes up peers cannot keep the others out.
    fn has_room_for(&self, source: IpAddr) -> bool {
        let from_source =
            || self.peers.values().filter(|known| known.iter().any(|known| known.source == source)).count();
        self.peers.len() < MDNS_PEERS && from_source() < MDNS_PEERS_PER_SOURCE
    }

    /// Forgets what was not heard again in time. Returns the peers of which nothing is left.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        if self.next_expiry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.retain(|known| known.expires > now)
    }

    /// Forgets what was heard over links that are gone. Returns the peers of which nothing is left.
    pub(super) fn keep_links(&mut self, exists: impl Fn(LinkId) -> bool) -> Vec<PeerId> {
        self.retain(|known| exists(known.link))
    }

    fn retain(&mut self, keep: impl Fn(&Known) -> bool) -> Vec<PeerId> {
        let mut gone = Vec::new();
        self.peers.retain(|peer, known| {
            known.retain(&keep);
            if known.is_empty() {
                gone.push(*peer);
            }
            !known.is_empty()
        });
        for peer in &gone {
            self.told.remove(peer);
        }
        self.next_expiry = self.peers.values().flatten().map(|known| known.expires).min();
        gone
    }

    /// When [`Cache::expire`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next_expiry
    }
}

fn addresses_of(known: &[Known]) -> Vec<Multiaddr> {
    let mut addresses = Vec::with_capacity(known.len());
    for Known { address, .. } in known {
        if !addresses.contains(address) {
            addresses.push(address.clone());
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::{super::link::Family, *};

    const LINK: LinkId = (2, Family::V4);
    const OTHER_LINK: LinkId = (3, Family::V4);
    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/10.0.0.9/udp/{port}/quic-v1").parse().unwrap()
    }

    fn announcement(peer: PeerId, ports: &[usize], ttl_s: u64) -> Announcement {
        let addresses = ports.iter().map(|port| address(*port)).collect();
        Announcement { peer, addresses, ttl: Duration::from_secs(ttl_s) }
    }

    #[test]
    fn a_peer_lives_as_long_as_it_is_heard() {
        let (mut cache, now, peer) = (Cache::default(), crate::clock::now(), PeerId::random());
        assert_eq!(cache.hear(now, LINK, SOURCE, announcement(peer, &[1], 360)), Some(vec![address(1)]));
        let later = now + Duration::from_secs(300);
        assert_eq!(cache.hear(later, LINK, SOURCE, announcement(peer, &[1], 360)), Some(vec![address(1)]));
        assert_eq!(cache.expire(now + Duration::from_secs(361)), []);
        assert_eq!(cache.expire(later + Duration::from_secs(360)), [peer]);
        assert_eq!(cache.next_timeout(), None);
    }

    #[test]
    fn a_peer_that_is_heard_all_the_time_is_told_of_once_a_second_or_when_it_has_news() {
        let (mut cache, now, peer) = (Cache::default(), crate::clock::now(), PeerId::random());
        let mut hear = |after_ms, ports: &[usize]| {
            let at = now + Duration::from_millis(after_ms);
            cache.hear(at, LINK, SOURCE, announcement(peer, ports, 360)).is_some()
        };
        assert!(hear(0, &[1]));
        assert!(!hear(999, &[1]));
        assert!(hear(999, &[1, 2]), "a new address");
        assert!(!hear(1900, &[1, 2]));
        assert!(hear(1999, &[1, 2]));
    }

    #[test]
    fn newer_addresses_of_a_link_replace_older_ones() {
        let (mut cache, now, peer) = (Cache::default(), crate::clock::now(), PeerId::random());
        cache.hear(now, LINK, SOURCE, announcement(peer, &[1], 360));
        cache.hear(now, OTHER_LINK, SOURCE, announcement(peer, &[3], 360));
        // Answers may come in several packets: those of the same second add up.
        let both = cache.hear(now + GRACE, LINK, SOURCE, announcement(peer, &[2], 360));
        assert_eq!(both, Some(vec![address(1), address(3), address(2)]));
        let moved = cache.hear(now + 3 * GRACE, LINK, SOURCE, announcement(peer, &[4], 360));
        assert_eq!(moved, Some(vec![address(3), address(4)]));
    }

    #[test]
    fn a_goodbye_and_a_lost_link_end_a_peer() {
        let (mut cache, now, peer) = (Cache::default(), crate::clock::now(), PeerId::random());
        assert_eq!(cache.hear(now, LINK, SOURCE, announcement(peer, &[1], 0)), None, "never heard of");
        cache.hear(now, LINK, SOURCE, announcement(peer, &[1], 360));
        cache.hear(now, OTHER_LINK, SOURCE, announcement(peer, &[1], 360));
        assert_eq!(cache.hear(now, LINK, SOURCE, announcement(peer, &[1], 0)), None);
        assert_eq!(cache.expire(now + GRACE), [], "still known on the other link");
        assert_eq!(cache.keep_links(|link| link != OTHER_LINK), [peer]);
    }

    #[test]
    fn everything_is_bounded() {
        let (mut cache, now) = (Cache::default(), crate::clock::now());
        let peer = PeerId::random();
        for port in 0..100 {
            cache.hear(now, LINK, SOURCE, announcement(peer, &[2 * port, 2 * port + 1], u64::MAX));
        }
        assert_eq!(cache.peers[&peer].len(), ADDRESSES_PER_PEER);
        assert_eq!(cache.next_timeout(), Some(now + MAX_TTL));
        for source in 0..u32::try_from(MDNS_PEERS / MDNS_PEERS_PER_SOURCE + 1).unwrap() {
            let source = IpAddr::V4(std::net::Ipv4Addr::from_bits(source));
            for _ in 0..=MDNS_PEERS_PER_SOURCE {
                cache.hear(now, LINK, source, announcement(PeerId::random(), &[1], 360));
            }
            let from_source = cache.peers.values().filter(|known| known[0].source == source).count();
            assert!(from_source <= MDNS_PEERS_PER_SOURCE);
        }
        assert_eq!(cache.peers.len(), MDNS_PEERS);
    }
}
