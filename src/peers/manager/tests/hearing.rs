//! What is heard, believed, kept and tried again.

use super::*;

const OTHER: NodeId = NodeId([7; 32]);

fn heard_at(node: NodeId, address: &str, source: Source) -> Event {
    Event::Discovered { node, addresses: vec![address.into()], source }
}

fn introduction(node: NodeId, addresses: &[&str]) -> Introduction {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    Introduction { node, addresses, capacity: 50, uptime_s: 100 }
}

fn introduced(by: NodeId, others: Vec<Introduction>) -> Event {
    Event::Introduced { by, capacity: 20, uptime_s: 10, others }
}

fn addresses(manager: &PeerManager, node: NodeId) -> Vec<String> {
    manager.book.find(&node).map(|peer| peer.addresses.iter().map(str::to_owned).collect()).unwrap_or_default()
}

fn fail(manager: &mut PeerManager, now: Instant, node: NodeId, error: DialError) {
    manager.handle_event(now, Event::DialFailed { node, error });
}

#[test]
fn the_internet_is_not_dialled_on_hearsay() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, heard_at(GREATER, "/ip4/8.8.8.8/udp/1/quic-v1", Source::Mdns));
    assert_eq!(manager.status(now), []);
    manager.handle_event(now, heard_at(GREATER, "/ip4/8.8.8.8/udp/1/quic-v1", Source::Bootstrap));
    assert_eq!(addresses(&manager, GREATER).len(), 1, "a person says so");
    assert!(manager.status(now)[0].bootstrap);
}

#[test]
fn peers_tell_of_peers_and_are_believed_within_bounds() {
    let (mut manager, now) = manager(10);
    let (good, bad) = ("/ip4/10.0.0.7/udp/1/quic-v1", "/ip4/9.9.9.9/udp/1/quic-v1");
    manager.handle_event(now, introduced(GREATER, vec![introduction(OTHER, &[good])]));
    assert_eq!(manager.status(now), [], "a stranger is not listened to");
    manager.handle_event(now, connected(GREATER, 1, true));
    let many = (50..150).map(|key| introduction(NodeId([key; 32]), &["/ip4/10.0.0.8/udp/1/quic-v1"]));
    let told = [introduction(OTHER, &[good, bad]), introduction(ME, &[good]), introduction(SMALLER, &[bad])];
    manager.handle_event(now, introduced(GREATER, told.into_iter().chain(many).collect()));
    assert_eq!(addresses(&manager, OTHER), [good]);
    assert!(manager.book.find(&SMALLER).is_none() && manager.book.find(&ME).is_none());
    assert_eq!(manager.book.len(), 1 + limits::network::INTRODUCTIONS - 2);
    let about = manager.book.find(&OTHER).unwrap().about.unwrap();
    assert_eq!((about.capacity, about.uptime_s), (50, 100));
    // What it says of itself counts more than what others say.
    manager.handle_event(now, connected(OTHER, 2, true));
    manager.handle_event(now, introduced(OTHER, vec![]));
    manager.handle_event(now, introduced(GREATER, vec![introduction(OTHER, &[])]));
    assert_eq!(manager.book.find(&OTHER).unwrap().about.unwrap().capacity, 20);
    assert_eq!(manager.book.find(&OTHER).unwrap().uptime_s(now + Duration::from_secs(5)), 15);
}

#[test]
fn whom_nobody_ever_reached_is_forgotten() {
    let (mut manager, mut now) = manager(10);
    manager.handle_event(now, connected(GREATER, 1, true));
    manager.handle_event(now, introduced(GREATER, vec![introduction(OTHER, &["/ip4/10.0.0.7/udp/1/quic-v1"])]));
    let mut tries = 0;
    while manager.book.find(&OTHER).is_some() {
        now = now.max(manager.next_dial().unwrap());
        manager.handle_timeout(now);
        for node in dials(&mut manager) {
            fail(&mut manager, now, node, DialError::Unreachable("nobody".into()));
            tries += 1;
        }
    }
    assert_eq!(tries, 10);
}

#[test]
fn this_node_tells_of_those_whom_it_has_reached() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, connected(GREATER, 1, false));
    manager.handle_event(now, connected(SMALLER, 2, true));
    assert_eq!(manager.introductions(now, &GREATER), []);
    let told = manager.introductions(now, &SMALLER);
    assert_eq!(told.len(), 1, "where the other one dialled from is nobody's business");
    assert_eq!((told[0].node, &told[0].addresses[..]), (GREATER, &["/ip4/10.0.0.1/udp/1/quic-v1".to_owned()][..]));
    // Unless it listens there.
    let listens = |port: u16| Event::Identified {
        node: SMALLER,
        agent: String::new(),
        speaks: Speaks::Ours,
        addresses: vec![format!("/ip4/10.0.0.1/udp/{port}/quic-v1")],
    };
    manager.handle_event(now, listens(2));
    assert_eq!(manager.introductions(now, &GREATER), []);
    manager.handle_event(now, listens(1));
    let told = manager.introductions(now, &GREATER);
    assert_eq!(
        (told.len(), told[0].node, &told[0].addresses[..]),
        (1, SMALLER, &["/ip4/10.0.0.1/udp/1/quic-v1".into()][..])
    );
}

#[test]
fn what_was_known_is_known_after_a_restart() {
    let (mut manager, now) = manager(10);
    assert!(!manager.take_changed().memory);
    manager.handle_event(now, connected(GREATER, 1, false));
    assert!(manager.take_changed().memory);
    manager.handle_event(now, connected(SMALLER, 2, true));
    let memory = manager.memory(now);
    assert_eq!(memory.peers.len(), 1);
    let nonsense = Remembered { node: OTHER, addresses: vec!["nonsense".into()], reputation: 7.0, banned_for_s: 0 };
    let own = Remembered { node: ME, ..nonsense.clone() };
    let memory = Memory { peers: memory.peers.into_iter().chain([nonsense, own]).collect() };
    let mut again = PeerManager::new(now, Options::new(ME, 1), Lists::default(), memory);
    again.handle_timeout(now);
    assert_eq!(dials(&mut again), [GREATER]);
    let status = again.status(now);
    assert_eq!(status.iter().map(|it| it.source.as_str()).collect::<Vec<_>>(), ["remembered"; 2]);
    assert_eq!(status[0].reputation, 7);
}

#[test]
fn a_refusal_is_not_argued_with() {
    for (error, trouble) in [
        (DialError::Refused(Why::NotAllowed), Trouble::NotAllowedThere),
        (DialError::Refused(Why::Version), Trouble::Version),
        (DialError::WrongPeer, Trouble::WrongPeer),
    ] {
        let (mut manager, now) = manager(10);
        manager.handle_event(now, discovered(GREATER, Source::Bootstrap));
        manager.handle_timeout(now);
        fail(&mut manager, now, GREATER, error);
        let status = manager.status(now).remove(0);
        assert_eq!((status.state, status.trouble), (PeerState::Failed, Some(trouble)));
        let slow = manager.next_dial().unwrap();
        assert!(slow >= now + manager.options.reconnect.slow / 2);
        // Neither the same address nor another network changes that.
        manager.handle_event(now, discovered(GREATER, Source::Bootstrap));
        manager.handle_event(now, Event::NetworkChanged { subnets: vec![] });
        assert_eq!(manager.next_dial(), Some(slow));
        // Unreachable at the next try, it is refused all the same.
        manager.handle_timeout(slow);
        fail(&mut manager, slow, GREATER, DialError::Unreachable(String::new()));
        assert_eq!(manager.book.find(&GREATER).unwrap().life.state(), State::REFUSED);
        manager.handle_event(slow, heard_at(GREATER, "/ip4/10.0.0.2/udp/1/quic-v1", Source::Mdns));
        assert!(manager.next_dial().unwrap() <= slow + Duration::from_secs(1), "that may be another place");
        assert_eq!(manager.status(slow)[0].state, PeerState::Disconnected);
    }
}

#[test]
fn where_there_was_no_room_it_is_tried_in_the_slow_lane() {
    for why in [Why::Full, Why::Banned] {
        let (mut manager, now) = manager(10);
        manager.handle_event(now, discovered(GREATER, Source::Mdns));
        manager.handle_event(now, connected(GREATER, 1, false));
        manager.handle_event(now, Event::Disconnected { node: GREATER, connection: 1, ended: Ended::There(why) });
        assert_eq!(manager.book.find(&GREATER).unwrap().life.state(), State::UNREACHABLE);
        let slow = manager.next_dial().unwrap();
        assert!(slow >= now + manager.options.reconnect.slow / 2);
        // It is there, as was known: neither a sign of life of its own nor one of others changes that.
        manager.handle_event(now, discovered(GREATER, Source::Mdns));
        manager.rush(now);
        assert_eq!(manager.next_dial(), Some(slow));
        // Nor does its letting in say anything of others.
        manager.handle_event(slow, connected(GREATER, 2, false));
        assert_eq!(manager.rushed_at, Some(now));
    }
}

#[test]
fn a_peer_that_stops_says_so() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    manager.handle_event(now, connected(GREATER, 1, false));
    let ended = Ended::There(Why::Stopping);
    manager.handle_event(now, Event::Disconnected { node: GREATER, connection: 1, ended });
    let status = manager.status(now).remove(0);
    assert_eq!((status.state, status.trouble), (PeerState::Disconnected, Some(Trouble::Stopped)));
}

#[test]
fn another_network_is_a_reason_to_try_all_again_but_not_at_once() {
    let (mut manager, mut now) = manager(128);
    manager.options.max_dialled = 128;
    for key in 10..110 {
        let address = format!("/ip4/10.0.1.{key}/udp/1/quic-v1");
        manager.handle_event(now, heard_at(NodeId([key; 32]), &address, Source::Bootstrap));
    }
    while manager.book.iter().any(|(_, peer)| !peer.is_failed()) {
        now = now.max(manager.next_timeout().unwrap());
        manager.handle_timeout(now);
        for node in dials(&mut manager) {
            fail(&mut manager, now, node, DialError::Unreachable(String::new()));
        }
    }
    let start = now;
    manager.handle_event(now, Event::NetworkChanged { subnets: vec![] });
    let mut count = 0;
    while count < 100 {
        now = now.max(manager.next_timeout().unwrap());
        manager.handle_timeout(now);
        for node in dials(&mut manager) {
            manager.handle_event(now, connected(node, count, false));
            count += 1;
        }
    }
    assert!((Duration::from_millis(4900)..Duration::from_secs(7)).contains(&(now - start)), "20 in a second");
}

/// A manager that knows ten peers, with keys 10 to 19, of which none answers, once or until it is given up.
fn with_ten_missing(until_given_up: bool) -> (PeerManager, Instant) {
    let (mut manager, mut now) = manager(128);
    let hear = |manager: &mut PeerManager, now| {
        for key in 10..20 {
            let address = format!("/ip4/10.0.1.{key}/udp/1/quic-v1");
            manager.handle_event(now, heard_at(NodeId([key; 32]), &address, Source::Mdns));
        }
    };
    hear(&mut manager, now);
    let is_missing = |peer: &Peer| if until_given_up { peer.is_failed() } else { peer.failures > 0 };
    while !manager.book.iter().all(|(_, peer)| is_missing(peer)) {
        now = now.max(manager.next_timeout().unwrap());
        manager.handle_timeout(now);
        for node in dials(&mut manager) {
            fail(&mut manager, now, node, DialError::Unreachable(String::new()));
        }
        // Slowly enough for the addresses to be heard again.
        hear(&mut manager, now);
    }
    (manager, now)
}

/// Whom it dials from now on.
fn dials_for(manager: &mut PeerManager, now: &mut Instant, time: Duration) -> Vec<NodeId> {
    let (end, mut dialled) = (*now + time, Vec::new());
    while *now < end {
        *now += Duration::from_millis(10);
        manager.handle_timeout(*now);
        dialled.extend(dials(manager));
    }
    dialled
}

#[test]
fn when_one_is_back_all_are_tried() {
    let (mut manager, mut now) = with_ten_missing(true);
    now += Duration::from_secs(3);
    manager.handle_event(now, connected(NodeId([10; 32]), 1, true));
    let mut tried = BTreeSet::new();
    let end = now + Duration::from_secs(1);
    while now < end {
        for node in dials_for(&mut manager, &mut now, Duration::from_millis(10)) {
            fail(&mut manager, now, node, DialError::Unreachable(String::new()));
            tried.insert(node);
        }
    }
    assert_eq!(tried.len(), 9, "{tried:?}");
}

#[test]
fn those_who_do_not_answer_delay_nobody() {
    const LONG: Duration = Duration::from_secs(10);
    let (mut manager, mut now) = with_ten_missing(false);
    manager.book.iter_mut().for_each(|(_, peer)| peer.was_heard = false);
    // No dial is answered.
    let dialled = dials_for(&mut manager, &mut now, LONG);
    assert_eq!(dialled.len(), limits::network::DIALS_DOUBTFUL, "{dialled:?}");
    let heard = (10..20).map(|key| NodeId([key; 32])).find(|node| !dialled.contains(node)).unwrap();
    let address = format!("/ip4/10.0.1.{}/udp/1/quic-v1", heard.0[0]);
    manager.handle_event(now, heard_at(heard, &address, Source::Mdns));
    manager.handle_event(now, discovered(NodeId([30; 32]), Source::Mdns));
    let dialled = dials_for(&mut manager, &mut now, LONG);
    assert_eq!(BTreeSet::from_iter(dialled), BTreeSet::from([heard, NodeId([30; 32])]));
}

#[test]
fn a_lost_answer_costs_no_slot_for_good() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Bootstrap));
    manager.handle_timeout(now);
    assert_eq!(dials(&mut manager), [GREATER]);
    let later = manager.next_timeout().unwrap();
    manager.handle_timeout(later);
    assert_eq!(manager.status(later)[0].error.as_deref(), Some("the dial was never answered"));
    manager.handle_timeout(manager.next_dial().unwrap());
    assert_eq!(dials(&mut manager), [GREATER]);
}

/// Whatever happens in whatever order: a state is what the connections say, and commands are few.
#[test]
fn states_and_connections_agree_whatever_happens() {
    let mut rng = fastrand::Rng::with_seed(1);
    let (mut manager, mut now) = manager(5);
    let mut open: Vec<(NodeId, ConnectionNumber)> = Vec::new();
    for number in 0..20_000 {
        now += Duration::from_millis(rng.u64(..2000));
        let node = NodeId([rng.u8(10..22); 32]);
        match rng.u8(..12) {
            0 | 1 => {
                manager.handle_event(now, discovered(node, rng.choice([Source::Mdns, Source::Bootstrap]).unwrap()))
            }
            2 | 3 => {
                manager.handle_event(now, connected(node, number, rng.bool()));
                open.push((node, number));
            }
            4 | 5 if !open.is_empty() => {
                let (node, connection) = open.swap_remove(rng.usize(..open.len()));
                let whys = [Why::Done, Why::NotAllowed, Why::Full, Why::Stopping];
                let there = Ended::There(rng.choice(whys).unwrap());
                let ended = rng.choice([Ended::Lost("gone".into()), there]).unwrap();
                manager.handle_event(now, Event::Disconnected { node, connection, ended });
            }
            6 => fail(&mut manager, now, node, DialError::WrongPeer),
            7 => manager.handle_event(now, Event::Behaved { node, conduct: Conduct::Violation }),
            8 => manager.deny(now, node).unwrap(),
            9 => manager.allow(now, node).unwrap(),
            10 => manager.handle_event(now, Event::NetworkChanged { subnets: vec![] }),
            _ => manager.handle_timeout(now),
        }
        assert!(commands(&mut manager).len() < 50);
        assert!(manager.connected() <= 5);
        for (node, peer) in manager.book.iter() {
            let is_so = peer.life.state() == State::Connected;
            assert_eq!(is_so, peer.is_connected(), "{node:?}: {:?}", peer.life.state());
            assert!(!is_so || manager.access.check(node).is_ok());
        }
    }
}

#[test]
fn what_came_a_long_way_leads_nobody_to_its_own_machine() {
    let (mut manager, now) = manager(10);
    manager.handle_event(
        now,
        Event::NetworkChanged { subnets: vec![Subnet { address: [192, 168, 1, 2].into(), prefix_bits: 24 }] },
    );
    let (near, own) = ("/ip4/10.0.0.7/udp/1/quic-v1", "/ip4/127.0.0.1/udp/1/quic-v1");
    let addresses_told = vec![near.into(), own.into(), "/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1".into()];
    let event = Event::Discovered { node: OTHER, addresses: addresses_told, source: Source::Exchange };
    manager.handle_event(now, event);
    assert_eq!(addresses(&manager, OTHER), [near]);
}
