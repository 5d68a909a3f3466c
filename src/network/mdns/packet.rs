//! Packets: read with suspicion, written plainly (RFC 6762, section 18).

use std::{net::IpAddr, time::Duration};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use simple_dns::{
    CLASS, Label, Name, OPCODE, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE, rdata::RData,
};

use super::{cache::Announcement, link::Link};
use crate::limits::network::{MDNS_NAMES_PER_PACKET, MDNS_PACKET_BYTES};

/// The service under which libp2p nodes are found (<https://github.com/libp2p/specs/blob/master/discovery/mdns.md>).
pub(super) const P2P: &str = "_p2p._udp";
/// The TXT key of a libp2p address.
pub(super) const ADDRESS_KEY: &str = "dnsaddr";

/// Bytes of a header, and of the shortest question and record.
const HEADER_BYTES: usize = 12;
const MIN_QUESTION_BYTES: usize = 5;
const MIN_RECORD_BYTES: usize = 11;
/// What a record to a resolver that knows no multicast may live (RFC 6762, section 6.7).
const LEGACY_TTL_S: u32 = 10;

/// A name of these labels below `local`; a dot separates labels.
pub(super) fn local_name(labels: &str) -> Name<'_> {
    let labels: Vec<_> =
        labels.split('.').chain(["local"]).map(|label| Label::new_unchecked(label.as_bytes())).collect();
    Name::new_with_labels(&labels)
}

/// The name of an instance, of which a dot is part, of a kind of service.
pub(super) fn instance_name<'a>(instance: &'a str, kind: &'a str) -> Name<'a> {
    let mut labels = vec![Label::new_unchecked(instance.as_bytes())];
    labels.extend_from_slice(local_name(kind).get_labels());
    Name::new_with_labels(&labels)
}

/// Parses a packet; none if it is not one of multicast DNS.
pub(super) fn parse(bytes: &[u8]) -> Option<Packet<'_>> {
    let count = |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let records = count(6)? + count(8)? + count(10)?;
    // The parser makes room for as many as the header says: that must be no lie.
    let least = HEADER_BYTES + count(4)? * MIN_QUESTION_BYTES + records * MIN_RECORD_BYTES;
    if least > bytes.len() || bytes.len() > MDNS_PACKET_BYTES {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    (packet.opcode() == OPCODE::StandardQuery && packet.rcode() == RCODE::NoError).then_some(packet)
}

/// Whether a packet answers, or else asks.
pub(super) fn is_response(packet: &Packet) -> bool {
    packet.has_flags(PacketFlag::RESPONSE)
}

/// The peers that a response announces, with the names under which it does so.
///
/// Stock libp2p names a peer by one random label, anew in each answer, and tells its addresses in the additional
/// records: so the name that the pointer points to is followed, whatever it is.
pub(super) fn announcements<'p>(
    packet: &'p Packet<'p>,
    link: &Link,
    source: IpAddr,
) -> Vec<(&'p Name<'p>, Announcement)> {
    let kind = local_name(P2P);
    // Who was asked for by the name of its host tells of itself in the additional records.
    let records = || packet.answers.iter().chain(&packet.additional_records);
    let pointers = records().filter_map(|record| match &record.rdata {
        RData::PTR(pointer) if record.name == kind => Some((&pointer.0, record.ttl)),
        _ => None,
    });
    let found = pointers.take(MDNS_NAMES_PER_PACKET).filter_map(|(name, ttl_s)| {
        let named = packet.additional_records.iter().chain(&packet.answers).filter(|record| record.name == *name);
        let addresses = named.filter_map(|record| match &record.rdata {
            RData::TXT(txt) => Some(txt.iter_raw()),
            _ => None,
        });
        let mut addresses = addresses.flatten().filter_map(|(key, value)| peer_address(key, value?));
        let (peer, first) = addresses.next()?;
        let others = addresses.filter(|(other, _)| *other == peer).map(|(_, address)| address);
        let mut localised = Vec::new();
        for address in std::iter::once(first).chain(others).filter_map(|address| link.localise(&address, source)) {
            if !localised.contains(&address) {
                localised.push(address);
            }
        }
        let ttl = Duration::from_secs(ttl_s.into());
        Some((name, Announcement { peer, addresses: localised, ttl }))
    });
    found.collect()
}

fn peer_address(key: &[u8], value: &[u8]) -> Option<(PeerId, Multiaddr)> {
    if !key.eq_ignore_ascii_case(ADDRESS_KEY.as_bytes()) {
        return None;
    }
    let mut address: Multiaddr = std::str::from_utf8(value).ok()?.parse().ok()?;
    match address.pop()? {
        Protocol::P2p(peer) => Some((peer, address)),
        _ => None,
    }
}

/// Asks for libp2p nodes. What we would answer ourselves is told as known, so that we do not.
pub(super) fn query(known: Option<ResourceRecord>) -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    packet.questions.push(Question::new(local_name(P2P), QTYPE::TYPE(TYPE::PTR), CLASS::IN.into(), false));
    packet.answers.extend(known);
    bytes_of(&packet)
}

/// Whether a query asks for all nodes.
pub(super) fn asks_for_nodes(query: &Packet) -> bool {
    query.questions.iter().any(|asked| asked.qtype == QTYPE::TYPE(TYPE::PTR) && asked.qname == local_name(P2P))
}

/// Whether who asks knows the node of this name already.
pub(super) fn knows_node(query: &Packet, instance: &str) -> bool {
    let name = instance_name(instance, P2P);
    query.answers.iter().any(|known| matches!(&known.rdata, RData::PTR(pointer) if pointer.0 == name))
}

/// Asks some hosts where they are.
pub(super) fn query_hosts(hosts: &[&str]) -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    let ask = |host: &&str| Question::new(local_name(host).into_owned(), QTYPE::ANY, CLASS::IN.into(), false);
    packet.questions.extend(hosts.iter().map(ask));
    bytes_of(&packet)
}

/// Whether a query asks where this host is.
pub(super) fn asks_for_host(query: &Packet, host: &str) -> bool {
    let name = local_name(host);
    query.questions.iter().any(|asked| asked.qtype == QTYPE::ANY && asked.qname == name)
}

/// Tells everyone.
pub(super) fn response(answers: Vec<ResourceRecord>, additional: Vec<ResourceRecord>) -> Vec<u8> {
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.answers = answers;
    packet.additional_records = additional;
    bytes_of(&packet)
}

/// Takes back what was told.
pub(super) fn goodbye<'z>(mut answers: Vec<ResourceRecord<'z>>, mut additional: Vec<ResourceRecord<'z>>) -> Vec<u8> {
    answers.iter_mut().chain(&mut additional).for_each(|record| record.ttl = 0);
    response(answers, additional)
}

/// Tells a resolver that asked as if we were an ordinary DNS server (RFC 6762, section 6.7).
pub(super) fn legacy_response(
    query: &Packet,
    answers: Vec<ResourceRecord>,
    additional: Vec<ResourceRecord>,
) -> Vec<u8> {
    let mut packet = Packet::new_reply(query.id());
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.questions = query.questions.iter().take(1).cloned().collect();
    packet.answers = answers;
    packet.additional_records = additional;
    for record in packet.answers.iter_mut().chain(&mut packet.additional_records) {
        record.ttl = record.ttl.min(LEGACY_TTL_S);
        record.cache_flush = false;
    }
    bytes_of(&packet)
}

fn bytes_of(packet: &Packet) -> Vec<u8> {
    packet.build_bytes_vec_compressed().expect("a vector takes whatever is written")
}
