//! What this node says on one link: its services and the name of its host, as records.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use simple_dns::{
    CLASS, CharacterString, Name, Packet, ResourceRecord,
    rdata::{A, AAAA, PTR, RData, SRV, TXT},
};

use super::{
    link::Link,
    packet::{self, ADDRESS_KEY, P2P},
};
use crate::limits::network::ADDRESSES_PER_PEER;

/// Seconds that others keep a record: of a host's address, of a libp2p node (as stock libp2p does), and any other
/// (RFC 6762, section 10).
const HOST_TTL_S: u32 = 120;
const P2P_TTL_S: u32 = 6 * 60;
const TTL_S: u32 = 75 * 60;
/// Bytes of one label of a name (RFC 1035).
const LABEL_BYTES: usize = 63;

/// Lists the kinds of service that there are (RFC 6763, section 9).
const META: &str = "_services._dns-sd._udp";

/// Something that others may find here (RFC 6763).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is and how it is spoken to, as in `_http._tcp`.
    pub kind: &'static str,
    /// What people read in a list. 1 to 63 bytes; what is longer is cut, and a service without a name is not announced.
    pub instance: String,
    /// Where it listens.
    pub port: u16,
    /// `key=value` for those who connect, as in `path=/`. At most 255 bytes each; longer ones are left out.
    pub txt: Vec<String>,
}

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Zone {
    /// The first label of the host's name.
    host: String,
    services: Vec<Service>,
    addresses: Vec<IpAddr>,
}

/// What belongs together: told together, and no more often than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Group {
    Host,
    Kinds,
    Service(usize),
    /// Libp2p asks from any port and listens to the multicast group only, which an ordinary resolver does not.
    P2p,
}

/// Records that answer a query.
pub(super) struct Answer<'z> {
    pub(super) group: Group,
    pub(super) answers: Vec<ResourceRecord<'z>>,
    pub(super) additional: Vec<ResourceRecord<'z>>,
}

/// The node itself as a service, or none if it does not listen on this link.
pub(super) fn p2p_service(peer: PeerId, instance: &str, link: &Link, listen: &[Multiaddr]) -> Option<Service> {
    let here: Vec<_> = listen.iter().filter_map(|address| link.announced(address)).take(ADDRESSES_PER_PEER).collect();
    let port = here.first()?.iter().find_map(|part| match part {
        Protocol::Udp(port) | Protocol::Tcp(port) => Some(port),
        _ => None,
    })?;
    let txt = here.iter().map(|address| format!("{ADDRESS_KEY}={address}/p2p/{peer}")).collect();
    Some(Service { kind: P2P, instance: instance.into(), port, txt })
}

impl Zone {
    pub(super) fn new(host: &str, services: impl IntoIterator<Item = Service>, link: &Link) -> Self {
        let mut services: Vec<_> = services.into_iter().filter(|service| !service.instance.is_empty()).collect();
        for service in &mut services {
            while service.instance.len() > LABEL_BYTES {
                service.instance.pop();
            }
        }
        Self { host: host.into(), services, addresses: link.addresses.iter().map(|(ip, _)| *ip).collect() }
    }

    /// The record by which we are found as a libp2p node.
    pub(super) fn p2p_pointer(&self) -> Option<ResourceRecord<'_>> {
        self.services.iter().find(|service| service.kind == P2P).map(pointer)
    }

    /// Everything, as unsolicited answers: pointers as answers and the rest as additional records, since stock libp2p
    /// reads it like that only.
    pub(super) fn announcements(&self) -> impl Iterator<Item = (Group, Vec<u8>)> {
        self.services.iter().enumerate().map(|(at, service)| {
            let additional = self.details(service).chain(self.host_records()).collect();
            (group(at, service), packet::response(vec![pointer(service)], additional))
        })
    }

    /// Takes back what `next` no longer has.
    pub(super) fn goodbyes(&self, next: &Self) -> impl Iterator<Item = Vec<u8>> {
        let same = |a: &Service, b: &Service| (a.kind, &a.instance) == (b.kind, &b.instance);
        let gone = self.services.iter().filter(move |old| !next.services.iter().any(|new| same(new, old)));
        let host_gone = next.addresses.is_empty();
        gone.map(move |service| {
            let host = self.host_records().filter(|_| host_gone);
            packet::goodbye(vec![pointer(service)], self.details(service).chain(host).collect())
        })
    }

    /// What a query asks of us and does not know yet.
    pub(super) fn answers<'z>(&'z self, query: &Packet) -> Vec<Answer<'z>> {
        let split = |group, about: Vec<ResourceRecord<'z>>, host: Vec<ResourceRecord<'z>>| {
            let (answers, mut additional): (Vec<_>, Vec<_>) = about.into_iter().partition(|record| asks(query, record));
            additional.extend(host);
            (!answers.is_empty()).then_some(Answer { group, answers, additional })
        };
        let kinds =
            self.services.iter().map(|service| shared(packet::local_name(META), TTL_S, kind(service))).collect();
        let services = self.services.iter().enumerate().filter_map(|(at, service)| {
            let about = std::iter::once(pointer(service)).chain(self.details(service)).collect();
            split(group(at, service), about, self.host_records().collect())
        });
        // Who asks for the host may be a node that misses this one.
        let node = self.services.iter().find(|service| service.kind == P2P);
        let node = node.into_iter().flat_map(|node| std::iter::once(pointer(node)).chain(self.details(node))).collect();
        let host = split(Group::Host, self.host_records().collect(), node);
        let kinds = split(Group::Kinds, kinds, Vec::new());
        services.chain(host).chain(kinds).collect()
    }

    /// Whether someone asks because they want to use a name of ours (RFC 6762, section 8.1).
    pub(super) fn is_probed_by(&self, query: &Packet) -> bool {
        let ours = |name: &Name| {
            *name == packet::local_name(&self.host) || self.services.iter().any(|service| *name == instance(service))
        };
        query.name_servers.iter().any(|record| ours(&record.name))
    }

    /// Where a service is, and how to speak to it.
    fn details<'z>(&'z self, service: &'z Service) -> impl Iterator<Item = ResourceRecord<'z>> {
        let target = packet::local_name(&self.host);
        let location = RData::SRV(SRV { priority: 0, weight: 0, port: service.port, target });
        let mut txt = TXT::new();
        service
            .txt
            .iter()
            .filter_map(|text| CharacterString::new(text.as_bytes()).ok())
            .for_each(|text| txt.add_char_string(text));
        if service.txt.is_empty() {
            // RFC 6763, section 6.1: never without a string.
            txt.add_char_string(CharacterString::new(b"").expect("an empty string is short enough"));
        }
        [unique(instance(service), HOST_TTL_S, location), unique(instance(service), ttl_s(service), RData::TXT(txt))]
            .into_iter()
    }

    fn host_records(&self) -> impl Iterator<Item = ResourceRecord<'_>> {
        self.addresses.iter().map(|ip| {
            let data = match *ip {
                IpAddr::V4(ip) => RData::A(A::from(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA::from(ip)),
            };
            unique(packet::local_name(&self.host), HOST_TTL_S, data)
        })
    }
}

fn group(at: usize, service: &Service) -> Group {
    if service.kind == P2P { Group::P2p } else { Group::Service(at) }
}

fn kind(service: &Service) -> Name<'_> {
    packet::local_name(service.kind)
}

fn instance(service: &Service) -> Name<'_> {
    packet::instance_name(&service.instance, service.kind)
}

fn ttl_s(service: &Service) -> u32 {
    if service.kind == P2P { P2P_TTL_S } else { TTL_S }
}

fn pointer(service: &Service) -> ResourceRecord<'_> {
    shared(kind(service), ttl_s(service), instance(service))
}

/// A pointer among those of others.
fn shared<'z>(name: Name<'z>, ttl_s: u32, target: Name<'z>) -> ResourceRecord<'z> {
    ResourceRecord::new(name, CLASS::IN, ttl_s, RData::PTR(PTR(target)))
}

/// A record that nobody else may have: it replaces older ones.
fn unique<'z>(name: Name<'z>, ttl_s: u32, data: RData<'z>) -> ResourceRecord<'z> {
    ResourceRecord::new(name, CLASS::IN, ttl_s, data).with_cache_flush(true)
}

fn asks(query: &Packet, record: &ResourceRecord) -> bool {
    let known = |known: &ResourceRecord| known == record && known.ttl >= record.ttl / 2;
    let mut questions = query.questions.iter();
    questions
        .any(|asked| asked.qname == record.name && record.match_qtype(asked.qtype) && record.match_qclass(asked.qclass))
        && !query.answers.iter().any(known)
}
