//! The protocol with virtual time, and the sockets on the loopback.

use std::{net::SocketAddr, time::Instant};

use futures::StreamExt;
use proptest::prelude::*;
use simple_dns::{CLASS, Label, Name, Packet, QTYPE, Question, ResourceRecord, TYPE, rdata};
use smol::future::FutureExt;

use super::{
    link::{Family, LinkId},
    *,
};

mod many;

const LINK: LinkId = (2, Family::V4);
const SECOND: Duration = Duration::from_secs(1);

/// A response of stock libp2p-mdns, byte by byte as its `query_response_packet` writes it: a pointer to a bare random
/// name, and one TXT record for each address in the additional section.
fn stock_response(name: &str, ttl_s: u32, addresses: &[String]) -> Vec<u8> {
    let bytes_of = |name: &str| {
        let mut bytes: Vec<u8> =
            name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        bytes.push(0);
        bytes
    };
    let mut packet = vec![0xf8, 0xf8, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, addresses.len() as u8];
    packet.extend(bytes_of("_p2p._udp.local"));
    packet.extend([0, 0x0c, 0, 1]);
    packet.extend(ttl_s.to_be_bytes());
    packet.extend((bytes_of(name).len() as u16).to_be_bytes());
    packet.extend(bytes_of(name));
    for address in addresses {
        packet.extend(bytes_of(name));
        packet.extend([0, 0x10, 0x80, 1]);
        packet.extend(ttl_s.to_be_bytes());
        let text = format!("dnsaddr={address}");
        packet.extend((text.len() as u16 + 1).to_be_bytes());
        packet.push(text.len() as u8);
        packet.extend(text.as_bytes());
    }
    packet
}

/// The query of stock libp2p-mdns, sent from a random port.
const STOCK_QUERY: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x04_p2p\x04_udp\x05local\0\0\x0c\0\x01";

fn link(host: u8) -> Link {
    let addresses = vec![([10, 0, 0, host].into(), 24), ("fe80::1".parse().unwrap(), 64)];
    Link { id: LINK, name: "eth0".into(), loopback: false, addresses }
}

fn from(host: u8) -> SocketAddr {
    ([10, 0, 0, host], engine::PORT).into()
}

/// A node of this number, at 10.0.0.`host`.
fn node(now: Instant, number: u8, host: u8) -> Engine {
    let mut engine = Engine::new(peer(number), format!("{number}-{host}-random"), format!("allibrary-{number}"));
    engine.set_links(now, vec![link(host)], vec![[10, 0, 0, host].into()]);
    engine.set_addresses(now, vec![listen(host), "/ip4/127.0.0.1/udp/4001/quic-v1".parse().unwrap()]);
    engine
}

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes(&NodeId([number; 32]).to_peer_id_bytes()).unwrap()
}

fn listen(host: u8) -> Multiaddr {
    format!("/ip4/10.0.0.{host}/udp/4001/quic-v1").parse().unwrap()
}

fn sent(engine: &mut Engine) -> Vec<Transmit> {
    std::iter::from_fn(|| engine.poll_transmit()).collect()
}

fn events(engine: &mut Engine) -> Vec<Event> {
    std::iter::from_fn(|| engine.poll_event()).collect()
}

/// Hands over everything that `from` has to say, and nothing of the answers.
fn deliver(now: Instant, from_engine: &mut Engine, source: SocketAddr, to: &mut Engine) {
    for transmit in sent(from_engine).into_iter().filter(|transmit| transmit.to.is_none()) {
        assert!(to.handle_packet(now, LINK, source, &transmit.bytes));
    }
}

fn query(name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(7);
    packet.questions.push(Question::new(Name::new(name).unwrap(), QTYPE::TYPE(kind), CLASS::IN.into(), false));
    packet.build_bytes_vec().unwrap()
}

fn page() -> Service {
    Service { kind: "_http._tcp", instance: "Library v1.0".into(), port: 8080, txt: vec!["path=/".into()] }
}

#[test]
fn nodes_find_each_other_at_once_and_lose_each_other_by_goodbye() {
    let now = crate::clock::now();
    let (mut a, mut b) = (node(now, 1, 1), node(now, 2, 2));
    sent(&mut a);
    let later = now + SECOND / 10;
    deliver(later, &mut b, from(2), &mut a);
    assert_eq!(events(&mut a), [Event::Discovered { peer: peer(2), addresses: vec![listen(2)] }]);
    // The announcement was but 100 ms ago: the newcomer is answered nevertheless.
    deliver(later, &mut a, from(1), &mut b);
    assert_eq!(events(&mut b), [Event::Discovered { peer: peer(1), addresses: vec![listen(1)] }]);

    b.handle_shutdown();
    deliver(later, &mut b, from(2), &mut a);
    a.handle_timeout(later + SECOND);
    assert_eq!(events(&mut a), [Event::Expired { peer: peer(2) }]);
}

#[test]
fn finds_stock_nodes_whatever_their_random_name() {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    for (name, now) in [("xK2random", now), ("yL3another", now + SECOND)] {
        let addresses = ["/ip4/127.0.0.1/udp/9/quic-v1", "/ip4/10.0.0.9/udp/9/quic-v1", "/ip4/172.17.0.1/tcp/9"];
        let addresses = addresses.map(|address| format!("{address}/p2p/{}", peer(9)));
        engine.handle_packet(now, LINK, ([10, 0, 0, 9], 40000).into(), &stock_response(name, 360, &addresses));
        let found = ["/ip4/10.0.0.9/udp/9/quic-v1", "/ip4/10.0.0.9/tcp/9"].map(|address| address.parse().unwrap());
        let event = Event::Discovered { peer: peer(9), addresses: found.into() };
        assert_eq!(events(&mut engine), [event]);
    }
    engine.handle_timeout(now + 362 * SECOND);
    assert_eq!(events(&mut engine), [Event::Expired { peer: peer(9) }]);
}

#[test]
fn stock_nodes_find_us() {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    sent(&mut engine);
    engine.handle_packet(now + SECOND, LINK, ([10, 0, 0, 9], 40000).into(), STOCK_QUERY);
    let answers = sent(&mut engine);
    // Stock nodes ask from a random port, yet hear the group only.
    assert_eq!((answers.len(), answers[0].to), (1, None));
    let packet = Packet::parse(&answers[0].bytes).unwrap();
    assert!(packet.questions.is_empty(), "with a question stock takes it for a query");
    let [pointer] = &packet.answers[..] else { panic!("one pointer, not {:?}", packet.answers) };
    let rdata::RData::PTR(target) = &pointer.rdata else { panic!("a pointer") };
    let txt =
        packet.additional_records.iter().find(|record| record.name == target.0 && record.match_qtype(TYPE::TXT.into()));
    let rdata::RData::TXT(txt) = &txt.unwrap().rdata else { panic!("a TXT record") };
    let expected = format!("{}/p2p/{}", listen(1), peer(1));
    assert_eq!(txt.iter_raw().collect::<Vec<_>>(), [(&b"dnsaddr"[..], Some(expected.as_bytes()))]);
}

#[test]
fn asks_less_and_less_often() {
    let now = crate::clock::now();
    let mut engine = Engine::new(peer(1), "random".into(), "host".into());
    engine.set_links(now, vec![link(1)], vec![]);
    let mut asked = Vec::new();
    let mut at = now;
    while at < now + 1000 * SECOND {
        engine.handle_timeout(at);
        asked.extend(sent(&mut engine).iter().map(|_| (at - now).as_secs()));
        at = engine.next_timeout().unwrap();
    }
    assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]);
}

/// A node whose name is that of its id.
fn named(now: Instant, number: u8) -> Engine {
    let mut engine = Engine::new(peer(number), format!("{number}-random"), host_label(NodeId([number; 32])));
    engine.set_links(now, vec![link(number)], vec![[10, 0, 0, number].into()]);
    engine.set_addresses(now, vec![listen(number)]);
    engine
}

#[test]
fn a_missing_peer_is_asked_for_and_answers_alone() {
    let now = crate::clock::now();
    let [mut a, mut b, mut c] = [1, 2, 3].map(|number| named(now, number));
    sent(&mut c);
    deliver(now, &mut b, from(2), &mut a);
    events(&mut a);
    let settled = now + 200 * SECOND;
    let mut at = now;
    while at < settled {
        a.handle_timeout(at);
        at = a.next_timeout().unwrap();
    }
    sent(&mut a);
    a.set_missing(settled, peer(9), true);
    a.handle_timeout(settled);
    assert_eq!(sent(&mut a), [], "who was never found here is not looked for");

    a.set_missing(settled, peer(2), true);
    let mut asked = Vec::new();
    let mut at = settled;
    while at < settled + 10 * SECOND {
        a.handle_timeout(at);
        asked.extend(sent(&mut a).into_iter().map(|sent| (at, sent.bytes)));
        at = a.next_timeout().unwrap();
    }
    let gaps: Vec<_> = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(asked.len(), 4);
    assert!(gaps.iter().all(|gap| (3 * SECOND..4 * SECOND).contains(gap)), "{gaps:?}");
    let (at, question) = asked.pop().unwrap();
    assert!(question.len() < 100, "{} bytes", question.len());
    c.handle_packet(at, LINK, from(1), &question);
    assert_eq!(sent(&mut c), [], "somebody else does not answer");
    sent(&mut b);
    b.handle_packet(at, LINK, from(1), &question);
    let answers = sent(&mut b);
    let hear = |a: &mut Engine, at| {
        answers.iter().for_each(|it| assert!(a.handle_packet(at, LINK, from(2), &it.bytes)));
    };
    hear(&mut a, at);
    assert_eq!(events(&mut a), [Event::Discovered { peer: peer(2), addresses: vec![listen(2)] }]);
    a.set_missing(at, peer(2), true);
    hear(&mut a, at);
    assert_eq!(events(&mut a), [], "it was told of in this second");
    a.handle_timeout(at);
    assert_eq!(sent(&mut a).len(), 1, "so it is still asked for");
    let at = at + 2 * SECOND;
    hear(&mut a, at);
    a.handle_timeout(at + 20 * SECOND);
    assert_eq!(sent(&mut a), [], "who was heard is there");
    a.set_missing(at, peer(2), true);
    a.set_missing(at, peer(2), false);
    a.handle_timeout(at + 20 * SECOND);
    assert_eq!(sent(&mut a), [], "who is connected is there");
}

#[test]
fn of_several_that_miss_a_peer_one_asks_and_not_for_ever() {
    let now = crate::clock::now();
    let mut nodes: Vec<_> = (1..=5).map(|number| named(now, number)).collect();
    let mut gone = named(now, 9);
    let hello = sent(&mut gone);
    for (at, node) in nodes.iter_mut().enumerate() {
        for packet in &hello {
            node.handle_packet(now, LINK, from(9), &packet.bytes);
        }
        // They notice one after the other.
        node.set_missing(now + u32::try_from(at).unwrap() * SECOND / 10, peer(9), true);
    }
    let (mut at, mut questions) = (now, 0);
    while at < now + 7200 * SECOND {
        for asker in 0..nodes.len() {
            nodes[asker].handle_timeout(at);
            for packet in sent(&mut nodes[asker]) {
                let host = host_label(NodeId([9; 32]));
                if !packet::asks_for_host(&Packet::parse(&packet.bytes).unwrap(), &host) {
                    continue;
                }
                questions += 1;
                for (other, node) in nodes.iter_mut().enumerate().filter(|(other, _)| *other != asker) {
                    let source = from(u8::try_from(asker + 1).unwrap());
                    assert!(node.handle_packet(at, LINK, source, &packet.bytes), "{other}");
                }
            }
        }
        at = nodes.iter().filter_map(Engine::next_timeout).min().unwrap();
    }
    // For an hour, every three seconds; five times that if each asked for itself.
    assert!((1000..1300).contains(&questions), "{questions}");
}

#[test]
fn announces_twice_and_on_change_and_not_without_address() {
    let now = crate::clock::now();
    let mut engine = Engine::new(peer(1), "random".into(), "host".into());
    engine.set_links(now, vec![link(1)], vec![]);
    engine.handle_timeout(now);
    let announced = |engine: &mut Engine| {
        let packets = sent(engine).into_iter().filter(|sent| packet::is_response(&Packet::parse(&sent.bytes).unwrap()));
        packets.map(|sent| Packet::parse(&sent.bytes).unwrap().answers[0].ttl).collect::<Vec<_>>()
    };
    assert_eq!(announced(&mut engine), [0u32; 0]);
    engine.set_addresses(now, vec![listen(1)]);
    assert_eq!(announced(&mut engine), [360]);
    engine.set_addresses(now, vec![listen(1)]);
    assert_eq!(announced(&mut engine), [0u32; 0], "nothing changed");
    for (after, expected) in [(1, vec![360]), (2, vec![]), (3, vec![])] {
        engine.handle_timeout(now + after * SECOND);
        assert_eq!(announced(&mut engine), expected, "after {after} s");
    }
    engine.set_services(now + 9 * SECOND, vec![page()]);
    assert_eq!(announced(&mut engine), [360, 4500]);
    engine.set_services(now + 9 * SECOND, vec![]);
    assert_eq!(announced(&mut engine), [0, 360]);
    engine.set_addresses(now + 9 * SECOND, vec![]);
    assert_eq!(announced(&mut engine), [0]);
}

#[test]
fn answers_for_its_services_and_no_more_often_than_once_a_second() {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    engine.set_services(now, vec![page()]);
    sent(&mut engine);
    let mut ask = |after: Duration, name: &str, kind| {
        engine.handle_packet(now + after, LINK, from(9), &query(name, kind));
        let answers = sent(&mut engine);
        assert!(answers.iter().all(|answer| answer.to.is_none()));
        let packets = answers.iter().map(|answer| Packet::parse(&answer.bytes).unwrap());
        packets.map(|packet| (packet.answers.len(), packet.additional_records.len())).collect::<Vec<_>>()
    };
    let instance = r"Library v1\.0._http._tcp.local";
    assert_eq!(ask(SECOND / 2, "_http._tcp.local", TYPE::PTR), [], "just announced");
    assert_eq!(ask(SECOND, "_http._tcp.local", TYPE::PTR), [(1, 4)]);
    assert_eq!(ask(SECOND, "_http._tcp.local", TYPE::PTR), []);
    assert_eq!(ask(2 * SECOND, instance, TYPE::SRV), [(1, 4)]);
    assert_eq!(ask(3 * SECOND, instance, TYPE::TXT), [(1, 4)]);
    // Where the node itself is, too: three records more.
    assert_eq!(ask(3 * SECOND, "ALLIBRARY-1.local", TYPE::A), [(1, 4)]);
    assert_eq!(ask(3 * SECOND, "_services._dns-sd._udp.local", TYPE::PTR), [(2, 0)]);
    for other in ["_ipp._tcp.local", "raspberrypi.local", "other._http._tcp.local"] {
        assert_eq!(ask(9 * SECOND, other, TYPE::PTR), [], "{other}");
    }
}

#[test]
fn known_answers_are_not_repeated_and_probes_are_answered_soon() {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    engine.set_services(now, vec![page()]);
    sent(&mut engine);
    let mut packet = Packet::new_query(0);
    let kind = Name::new("_http._tcp.local").unwrap();
    let instance = Name::new(r"Library v1\.0._http._tcp.local").unwrap();
    packet.questions.push(Question::new(kind.clone(), QTYPE::TYPE(TYPE::PTR), CLASS::IN.into(), false));
    let pointer =
        |ttl| ResourceRecord::new(kind.clone(), CLASS::IN, ttl, rdata::RData::PTR(rdata::PTR(instance.clone())));
    for (ttl, answers) in [(4500, 0), (2250, 0), (2249, 1)] {
        packet.answers = vec![pointer(ttl)];
        engine.handle_packet(now + 5 * SECOND, LINK, from(9), &packet.build_bytes_vec().unwrap());
        assert_eq!(sent(&mut engine).len(), answers, "known for {ttl} s");
    }
    let mut probe = Packet::new_query(0);
    probe.questions.push(Question::new(instance.clone(), QTYPE::ANY, CLASS::IN.into(), false));
    let srv = rdata::SRV { priority: 0, weight: 0, port: 1, target: kind.clone() };
    probe.name_servers.push(ResourceRecord::new(instance, CLASS::IN, 120, rdata::RData::SRV(srv)));
    for (after_ms, answers) in [(5100, 0), (5250, 1), (5300, 0)] {
        let at = now + Duration::from_millis(after_ms);
        engine.handle_packet(at, LINK, from(9), &probe.build_bytes_vec().unwrap());
        assert_eq!(sent(&mut engine).len(), answers, "after {after_ms} ms");
    }
}

#[test]
fn an_ordinary_resolver_is_answered_where_it_asked_from() {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    engine.set_services(now, vec![page()]);
    sent(&mut engine);
    let resolver = ([10, 0, 0, 9], 40000).into();
    engine.handle_packet(now + SECOND, LINK, resolver, &query("_http._tcp.local", TYPE::PTR));
    let [answer] = &sent(&mut engine)[..] else { panic!("one answer") };
    assert_eq!(answer.to, Some(resolver));
    let packet = Packet::parse(&answer.bytes).unwrap();
    assert_eq!((packet.id(), packet.questions.len()), (7, 1));
    assert!(
        packet.answers.iter().chain(&packet.additional_records).all(|record| record.ttl <= 10 && !record.cache_flush)
    );
}

#[test]
fn a_second_host_with_our_identity_is_reported_once_a_minute() {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    let announcement = |engine: &mut Engine| {
        let mut packets = sent(engine).into_iter().map(|sent| sent.bytes);
        packets.find(|bytes| packet::is_response(&Packet::parse(bytes).unwrap())).unwrap()
    };
    let own = announcement(&mut engine);
    engine.handle_packet(now, LINK, from(1), &own);
    engine.handle_packet(now, LINK, from(7), &own);
    assert_eq!(events(&mut engine), [], "our own packet, looped back or reflected");

    let mut clone = node(now, 1, 5);
    let copy = announcement(&mut clone);
    let report = Event::OwnIdElsewhere { from: [10, 0, 0, 5].into() };
    for (after_s, expected) in [(0, vec![&report]), (59, vec![]), (60, vec![&report])] {
        engine.handle_packet(now + after_s * SECOND, LINK, from(5), &copy);
        assert_eq!(events(&mut engine).iter().collect::<Vec<_>>(), expected, "after {after_s} s");
    }
}

#[test]
fn a_lost_interface_loses_its_peers_and_a_new_one_starts_anew() {
    let now = crate::clock::now();
    let (mut a, mut b) = (node(now, 1, 1), node(now, 2, 2));
    deliver(now, &mut b, from(2), &mut a);
    events(&mut a);
    sent(&mut a);
    a.set_links(now, vec![], vec!["127.0.0.1".parse().unwrap()]);
    assert_eq!(events(&mut a), [Event::Expired { peer: peer(2) }, Event::InterfacesChanged]);
    assert!(!a.handle_packet(now, LINK, from(2), STOCK_QUERY));
    a.set_links(now, vec![link(1)], vec![[10, 0, 0, 1].into()]);
    a.handle_timeout(now);
    assert_eq!(sent(&mut a).len(), 2, "announces and asks");
}

#[test]
fn packets_from_elsewhere_are_not_heard() {
    let mut engine = node(crate::clock::now(), 1, 1);
    assert!(!engine.handle_packet(crate::clock::now(), LINK, ([8, 8, 8, 8], engine::PORT).into(), STOCK_QUERY));
    assert!(!engine.handle_packet(crate::clock::now(), (9, Family::V4), from(2), STOCK_QUERY));
}

#[test]
fn labels_of_any_length_make_readable_packets() {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    let long = Service { instance: "ß".repeat(100), txt: vec!["x".repeat(300)], ..page() };
    engine.set_services(now, vec![long, Service { instance: String::new(), ..page() }]);
    let sent = sent(&mut engine);
    let last = Packet::parse(&sent.last().unwrap().bytes).unwrap();
    let rdata::RData::PTR(instance) = &last.answers[0].rdata else { panic!("a pointer") };
    assert_eq!(instance.0.get_labels()[0], Label::new_unchecked("ß".repeat(31).into_bytes()));
}

fn heard_after(packet: &[u8]) {
    let now = crate::clock::now();
    let mut engine = node(now, 1, 1);
    engine.set_services(now, vec![page()]);
    sent(&mut engine);
    engine.handle_packet(now + SECOND, LINK, from(2), packet);
    let answers = sent(&mut engine);
    assert!(answers.len() <= 4 && answers.iter().all(|answer| answer.bytes.len() < MDNS_PACKET_BYTES));
    assert!(events(&mut engine).len() <= crate::limits::network::MDNS_NAMES_PER_PACKET);
}

/// Packets of every sort that we read, to be broken.
fn good_packets() -> Vec<Vec<u8>> {
    let now = crate::clock::now();
    let mut engine = node(now, 2, 2);
    engine.set_services(now, vec![page()]);
    let mut packets: Vec<_> = sent(&mut engine).into_iter().map(|sent| sent.bytes).collect();
    let addresses: Vec<_> = (0..20).map(|port| format!("/ip4/10.0.0.2/udp/{port}/quic-v1/p2p/{}", peer(3))).collect();
    packets.push(stock_response("random", 360, &addresses));
    packets.extend([STOCK_QUERY.to_vec(), query("_services._dns-sd._udp.local", TYPE::PTR)]);
    packets
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(packet in proptest::collection::vec(any::<u8>(), 0..MDNS_PACKET_BYTES + 9)) {
        heard_after(&packet);
    }

    #[test]
    fn broken_packets_do_no_harm(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let packets = good_packets();
        let mut packet = packets[which.index(packets.len())].clone();
        for (at, byte) in changes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if cuts {
            packet.truncate(cut.index(packet.len()));
        }
        heard_after(&packet);
    }
}

#[test]
fn compression_loops_and_lying_counts_are_refused() {
    let header = |counts: [u8; 8]| [&[0, 0, 0, 0][..], &counts].concat();
    let loops = [header([0, 1, 0, 0, 0, 0, 0, 0]), vec![0xc0, 12, 0, 12, 0, 1]].concat();
    assert!(packet::parse(&loops).is_none());
    for section in 0..4 {
        let mut counts = [0; 8];
        counts[2 * section..2 * section + 2].fill(0xff);
        assert!(packet::parse(&[header(counts), vec![0; 100]].concat()).is_none());
    }
}

/// Waits for an event, for as long as a busy machine may need.
async fn wait_for(mdns: &mut Mdns, wanted: impl Fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            let event = mdns.next().await.expect("the stream never ends");
            if wanted(&event) {
                return Some(event);
            }
        }
    };
    let deadline = async {
        Timer::after(Duration::from_secs(20)).await;
        None
    };
    found.or(deadline).await.expect("the event comes within 20 s")
}

#[test]
fn a_machine_without_network_is_told_so() {
    let node = NodeId([7; 32]);
    let mut mdns = Mdns::new(Config { node, interfaces: vec!["no such".into()] }).unwrap();
    mdns.set_addresses(vec![listen(1)]);
    assert_eq!(mdns.heard(), []);
    assert_eq!(smol::block_on(smol::future::poll_once(mdns.next())), None);
    mdns.goodbye();
}

#[test]
fn two_nodes_on_the_loopback_find_and_lose_each_other() {
    // Others may be on this loopback too: these are two that nobody else is.
    let nodes = [(); 2].map(|()| {
        let mut id = [0; 32];
        getrandom::fill(&mut id).unwrap();
        NodeId(id)
    });
    let listen = |port| -> Multiaddr { format!("/ip4/127.0.0.1/udp/{port}/quic-v1").parse().unwrap() };
    let [mut a, mut b] = nodes.map(|node| Mdns::new(Config { node, interfaces: vec!["lo".into()] }).unwrap());
    a.set_addresses(vec![listen(1)]);
    b.set_addresses(vec![listen(2)]);
    let [peer_a, peer_b] = nodes.map(|node| PeerId::from_bytes(&node.to_peer_id_bytes()).unwrap());
    let discovers = |wanted: PeerId, port| move |event: &Event| matches!(event, Event::Discovered { peer, addresses } if *peer == wanted && *addresses == [listen(port)]);
    smol::block_on(async {
        let (_, _) = futures::join!(wait_for(&mut a, discovers(peer_b, 2)), wait_for(&mut b, discovers(peer_a, 1)),);
        assert!(a.heard().iter().any(|heard| heard.interface == "lo" && heard.from_here > 0));
        b.goodbye();
        wait_for(&mut a, |event| *event == Event::Expired { peer: peer_b }).await;
    });
}
