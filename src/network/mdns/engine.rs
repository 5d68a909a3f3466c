//! The protocol: when to ask, what to answer and whom to believe. Takes the time and packets, gives packets and events;
//! does no I/O.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};
use simple_dns::Packet;

use super::{
    Event,
    cache::{Announcement, Cache},
    link::{Link, LinkId},
    packet,
    zone::{self, Answer, Group, Service, Zone},
};
use crate::{
    limits::network::{MDNS_MISSING, MDNS_SERVICES},
    network::identity,
};

/// The port of multicast DNS.
pub(super) const PORT: u16 = 5353;
/// Between the first and the second query; then twice as long each time (RFC 6762, section 5.2), up to
/// [`MAX_QUERY_INTERVAL`], which is less than what stock libp2p lets an answer live.
const FIRST_QUERY_INTERVAL: Duration = Duration::from_secs(1);
const MAX_QUERY_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Unsolicited announcements, and the time between them (RFC 6762, section 8.3).
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(1);
/// Where nothing was answered for so long, others' questions may reach this node alone, and it asks itself.
const MAX_SILENCE: Duration = Duration::from_secs(6 * 60);
/// Between two multicasts of a record on a link (RFC 6762, section 6).
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// For each node that is known here, that much is between two answers that tell of this one: so that all nodes of a link
/// together give 20 in a second in the long run, however many they are. On Wi-Fi each costs everybody's time, and each node has
/// to read what the others say.
const ANSWER_INTERVAL_PER_NODE: Duration = Duration::from_millis(50);
/// How much earlier a record may be told again: to defend a name (RFC 6762, section 6), and to libp2p nodes, so that
/// one that comes up right after an answer to another is not left waiting. Stock libp2p has no limit.
const PROBE_SLACK: Duration = Duration::from_millis(750);
const P2P_SLACK: Duration = Duration::from_secs(3);
/// Between two questions for peers that are missing, and for how long they are asked for: one that was switched off is not
/// asked for without end. It announces itself when it is back, and one that was heard is missing no more.
const MISSING_INTERVAL: Duration = Duration::from_secs(3);
const MISSING_FOR: Duration = Duration::from_secs(60 * 60);
/// How often a second host with our identity is reported.
const CLONE_REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A packet to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transmit {
    pub(super) link: LinkId,
    /// None is everyone on the link.
    pub(super) to: Option<SocketAddr>,
    pub(super) bytes: Vec<u8>,
}

#[derive(Debug)]
struct LinkState {
    link: Link,
    zone: Zone,
    query_at: Instant,
    /// What comes after that.
    query_interval: Duration,
    /// When another node was heard to tell where it is.
    heard: Option<Instant>,
    announce_at: Instant,
    announcements: u8,
    limiter: Limiter,
}

/// Keeps answers apart. Knows when each group may be told again, to everyone or (true) to one ordinary resolver.
#[derive(Debug, Default)]
struct Limiter(HashMap<(Group, bool), Instant>);

impl Limiter {
    /// Whether a group may be told now, this much before its time; then not again before this interval is over.
    fn admits(&mut self, now: Instant, told: (Group, bool), slack: Duration, interval: Duration) -> bool {
        let due = self.0.get(&told).map_or(now, |due| now.max(*due));
        if due > now + slack {
            return false;
        }
        self.0.insert(told, due + interval);
        true
    }
}

impl LinkState {
    /// Starts anew: asks and announces at once.
    fn new(now: Instant, link: Link, zone: Zone) -> Self {
        Self {
            link,
            zone,
            query_at: now,
            query_interval: FIRST_QUERY_INTERVAL,
            heard: None,
            announce_at: now,
            announcements: ANNOUNCEMENTS,
            limiter: Limiter::default(),
        }
    }

    /// A question was asked; the next is due after the interval.
    fn wait_to_ask(&mut self, now: Instant) {
        self.query_at = now + self.query_interval;
        self.query_interval = MAX_QUERY_INTERVAL.min(2 * self.query_interval);
    }

    fn next_timeout(&self) -> Instant {
        if self.announcements > 0 { self.query_at.min(self.announce_at) } else { self.query_at }
    }
}

/// A peer that was found here and is looked for.
#[derive(Debug)]
struct Missing {
    /// The first label of its host's name: it alone answers to that, while all nodes answer to the kind of service.
    host: String,
    ask_at: Instant,
    until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Engine {
    peer: PeerId,
    /// The random name of this run, by which our own packets are known.
    instance: String,
    host: String,
    listen: Vec<Multiaddr>,
    services: Vec<Service>,
    links: Vec<LinkState>,
    /// The addresses of this machine.
    own: Vec<IpAddr>,
    peers: Cache,
    missing: HashMap<PeerId, Missing>,
    clone_reported: Option<Instant>,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
}

impl Engine {
    pub(super) fn new(peer: PeerId, instance: String, host: String) -> Self {
        Self {
            peer,
            instance,
            host,
            listen: Vec::new(),
            services: Vec::new(),
            links: Vec::new(),
            own: Vec::new(),
            peers: Cache::default(),
            missing: HashMap::new(),
            clone_reported: None,
            events: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Takes the links that can be used from now on, and all addresses of this machine.
    pub(super) fn set_links(&mut self, now: Instant, links: Vec<Link>, own: Vec<IpAddr>) {
        let first = self.own.is_empty();
        let changed = own != self.own || links.len() != self.links.len();
        self.own = own;
        let mut before = std::mem::take(&mut self.links);
        for link in links {
            let same = before.iter().position(|state| state.link == link);
            let state = same.map(|at| before.swap_remove(at));
            let zone = self.zone(&link);
            self.links.push(state.unwrap_or_else(|| LinkState::new(now, link, zone)));
        }
        let gone = self.peers.keep_links(|id| self.links.iter().any(|state| state.link.id == id));
        self.events.extend(gone.into_iter().map(|peer| Event::Expired { peer }));
        if changed && !first {
            self.events.push_back(Event::InterfacesChanged);
        }
    }

    pub(super) fn set_addresses(&mut self, now: Instant, listen: Vec<Multiaddr>) {
        self.listen = listen;
        self.renew_zones(now);
    }

    pub(super) fn set_services(&mut self, now: Instant, mut services: Vec<Service>) {
        services.truncate(MDNS_SERVICES);
        self.services = services;
        self.renew_zones(now);
    }

    /// Announces what is new and takes back what is gone.
    fn renew_zones(&mut self, now: Instant) {
        for at in 0..self.links.len() {
            let zone = self.zone(&self.links[at].link);
            let state = &mut self.links[at];
            if zone == state.zone {
                continue;
            }
            let link = state.link.id;
            self.transmits.extend(state.zone.goodbyes(&zone).map(|bytes| Transmit { link, to: None, bytes }));
            state.zone = zone;
            state.announce_at = now;
            state.announcements = ANNOUNCEMENTS;
        }
        self.handle_timeout(now);
    }

    fn zone(&self, link: &Link) -> Zone {
        let node = zone::p2p_service(self.peer, &self.instance, link, &self.listen);
        Zone::new(&self.host, node.into_iter().chain(self.services.iter().cloned()), link)
    }

    /// From now on a peer is looked for that was found here, if it was; or it no longer is.
    pub(super) fn set_missing(&mut self, now: Instant, peer: PeerId, missing: bool) {
        if !missing {
            self.missing.remove(&peer);
        } else if self.peers.knows(&peer)
            && self.missing.len() < MDNS_MISSING
            && let Some(node) = identity::node_id(&peer)
        {
            let host = super::host_label(node);
            self.missing.insert(peer, Missing { host, ask_at: now, until: now + MISSING_FOR });
        }
    }

    /// Asks for the missing peers that it is time for, on all links.
    fn ask_for_missing(&mut self, now: Instant) {
        self.missing.retain(|_, missing| now < missing.until);
        let again = now + MISSING_INTERVAL + self.lateness(MISSING_INTERVAL / 6);
        let due = self.missing.values_mut().filter(|missing| missing.ask_at <= now);
        let hosts: Vec<_> = due
            .map(|missing| {
                missing.ask_at = again;
                missing.host.as_str()
            })
            .collect();
        if hosts.is_empty() {
            return;
        }
        let bytes = packet::query_hosts(&hosts);
        let links = self.links.iter().map(|state| state.link.id);
        self.transmits.extend(links.map(|link| Transmit { link, to: None, bytes: bytes.clone() }));
    }

    /// Of several that have the same question, one asks first, and the others need not (RFC 6762, section 7.3): this node's
    /// part of a time by which they differ.
    fn lateness(&self, most: Duration) -> Duration {
        most * u32::from(self.peer.to_bytes().last().copied().unwrap_or(0)) / 256
    }

    /// Tells everyone that all of ours is gone.
    pub(super) fn handle_shutdown(&mut self) {
        for state in &mut self.links {
            let link = state.link.id;
            let goodbyes = std::mem::take(&mut state.zone);
            self.transmits.extend(goodbyes.goodbyes(&state.zone).map(|bytes| Transmit { link, to: None, bytes }));
        }
    }

    /// Asks, announces and forgets what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for state in &mut self.links {
            let link = state.link.id;
            if state.announcements > 0 && state.announce_at <= now {
                state.announcements -= 1;
                state.announce_at = now + ANNOUNCEMENT_INTERVAL;
                for (group, bytes) in state.zone.announcements() {
                    state.limiter.0.insert((group, false), now + ANSWER_INTERVAL);
                    self.transmits.push_back(Transmit { link, to: None, bytes });
                }
            }
            if state.query_at <= now {
                state.wait_to_ask(now);
                let bytes = packet::query(state.zone.p2p_pointer());
                self.transmits.push_back(Transmit { link, to: None, bytes });
                // It may be the one that asks for all from now on, and nobody's question would be answered by it.
                let LinkState { zone, limiter, .. } = state;
                let own = zone.announcements().filter(|(group, _)| {
                    *group == Group::P2p
                        && state.query_interval == MAX_QUERY_INTERVAL
                        && limiter.admits(now, (*group, false), Duration::ZERO, ANSWER_INTERVAL)
                });
                self.transmits.extend(own.map(|(_, bytes)| Transmit { link, to: None, bytes }));
            }
        }
        self.ask_for_missing(now);
        self.events.extend(self.peers.expire(now).into_iter().map(|peer| Event::Expired { peer }));
    }

    /// When [`Engine::handle_timeout`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let missing = self.missing.values().map(|missing| missing.ask_at);
        self.links.iter().map(LinkState::next_timeout).chain(self.peers.next_timeout()).chain(missing).min()
    }

    /// Whether this is an address of this machine.
    pub(super) fn owns(&self, ip: IpAddr) -> bool {
        self.own.contains(&ip)
    }

    /// Takes a packet in. Returns whether it was one of multicast DNS.
    pub(super) fn handle_packet(&mut self, now: Instant, link: LinkId, from: SocketAddr, bytes: &[u8]) -> bool {
        let Some(at) = self.links.iter().position(|state| state.link.id == link) else { return false };
        if !self.links[at].link.hears(from.ip()) {
            return false;
        }
        let Some(packet) = packet::parse(bytes) else { return false };
        if packet::is_response(&packet) {
            self.handle_response(now, at, from.ip(), &packet);
        } else {
            self.handle_query(now, at, from, &packet);
        }
        true
    }

    fn handle_query(&mut self, now: Instant, at: usize, from: SocketAddr, query: &Packet) {
        let again = now + MISSING_INTERVAL + self.lateness(MISSING_INTERVAL / 6);
        for missing in self.missing.values_mut().filter(|missing| packet::asks_for_host(query, &missing.host)) {
            missing.ask_at = missing.ask_at.max(again);
        }
        self.spare_question(now, at, query);
        let interval = ANSWER_INTERVAL.max(ANSWER_INTERVAL_PER_NODE * self.peers.len());
        let LinkState { link, zone, limiter, .. } = &mut self.links[at];
        let probed = zone.is_probed_by(query);
        for Answer { group, answers, additional } in zone.answers(query) {
            let (slack, interval) = match group {
                Group::P2p => (P2P_SLACK, interval),
                _ if probed => (PROBE_SLACK, ANSWER_INTERVAL),
                _ => (Duration::ZERO, ANSWER_INTERVAL),
            };
            let legacy = from.port() != PORT && group != Group::P2p;
            if !limiter.admits(now, (group, legacy), slack, interval) {
                continue;
            }
            let bytes = if legacy {
                packet::legacy_response(query, answers, additional)
            } else {
                packet::response(answers, additional)
            };
            self.transmits.push_back(Transmit { link: link.id, to: legacy.then_some(from), bytes });
        }
    }

    /// Where another asks what this node is about to ask, it need not: everyone hears the answers (RFC 6762, section 7.3).
    fn spare_question(&mut self, now: Instant, at: usize, query: &Packet) {
        // Ours come back.
        if !packet::asks_for_nodes(query) || packet::knows_node(query, &self.instance) {
            return;
        }
        let later = self.lateness(self.links[at].query_interval / 60);
        let state = &mut self.links[at];
        let is_answered = state.heard.is_some_and(|heard| now < heard + MAX_SILENCE);
        if is_answered && state.query_at < now + state.query_interval / 4 {
            state.wait_to_ask(now + later);
        }
    }

    fn handle_response(&mut self, now: Instant, at: usize, source: IpAddr, response: &Packet) {
        let Self { links, peers, events, missing, .. } = self;
        let LinkState { link, heard, .. } = &mut links[at];
        let own_name = packet::instance_name(&self.instance, packet::P2P);
        for (name, announcement) in packet::announcements(response, link, source) {
            let Announcement { peer, ttl, .. } = announcement;
            if peer != self.peer {
                *heard = Some(now);
                if let Some(addresses) = peers.hear(now, link.id, source, announcement) {
                    // Whoever is told of it sees to it from now on, whether it is dialled or not.
                    missing.remove(&peer);
                    events.push_back(Event::Discovered { peer, addresses });
                }
                continue;
            }
            // A name of this run is our own packet, looped back or reflected by a router.
            let clone = *name != own_name && !ttl.is_zero() && !self.own.contains(&source);
            let reported = self.clone_reported.is_some_and(|at| now < at + CLONE_REPORT_INTERVAL);
            if clone && !reported {
                self.clone_reported = Some(now);
                events.push_back(Event::OwnIdElsewhere { from: source });
            }
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }
}
