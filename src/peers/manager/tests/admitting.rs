//! Who is let in, and who has to go.

use super::*;
use crate::config::Auth;

const STRANGER: NodeId = NodeId([7; 32]);

fn with_auth(auth: Auth) -> (PeerManager, Instant) {
    let now = crate::clock::now();
    let options = Options { auth, ..Options::new(ME, 7) };
    (PeerManager::new(now, options, Lists::default(), Memory::default()), now)
}

fn last_admission(commands: &[Command]) -> Option<&Admission> {
    commands.iter().rev().find_map(|it| if let Command::Admit(admission) = it { Some(&**admission) } else { None })
}

fn turned_away(commands: &[Command]) -> Vec<(NodeId, Why)> {
    let away = |it: &Command| if let Command::TurnAway { node, why } = it { Some((*node, *why)) } else { None };
    commands.iter().filter_map(away).collect()
}

#[test]
fn lists_have_effect_on_live_connections_at_once() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, connected(GREATER, 1, true));
    manager.deny(now, GREATER).unwrap();
    let told = commands(&mut manager);
    assert_eq!(last_admission(&told).unwrap().check(&GREATER), Err(Why::NotAllowed));
    assert_eq!(turned_away(&told), [(GREATER, Why::NotAllowed)]);
    assert!(!manager.is_connected(&GREATER));
    let status = manager.status(now).remove(0);
    assert_eq!((status.state, status.trouble), (PeerState::Disconnected, Some(Trouble::NotAllowedHere)));
    assert_eq!(status.access, Access::Denied);
    manager.handle_event(now, disconnected(GREATER, 1));
    assert!(manager.take_changed().lists && !manager.take_changed().lists);
    // One that slips through, as the network had not heard yet.
    manager.handle_event(now, connected(GREATER, 2, true));
    assert_eq!(turned_away(&commands(&mut manager)), [(GREATER, Why::NotAllowed)]);
    assert!(!manager.is_connected(&GREATER));
}

#[test]
fn whoever_is_allowed_again_is_dialled() {
    let (mut manager, now) = with_auth(Auth::Allowlist);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    manager.handle_timeout(now);
    assert_eq!(dials(&mut manager), [], "it is on no list");
    manager.allow(now, GREATER).unwrap();
    manager.handle_timeout(now);
    assert_eq!(dials(&mut manager), [GREATER]);
    assert_eq!(manager.lists().allowed, [GREATER].into());
    manager.handle_event(now, connected(GREATER, 1, false));
    manager.forget(now, GREATER);
    assert_eq!(turned_away(&commands(&mut manager)), [(GREATER, Why::NotAllowed)], "an emptied list admits nobody");
    manager.handle_event(now, disconnected(GREATER, 1));
    assert_eq!(manager.status(now), [], "forgotten is forgotten");
}

#[test]
fn learning_ends_with_the_lock() {
    let (mut manager, now) = with_auth(Auth::Learn);
    manager.handle_event(now, connected(GREATER, 1, true));
    assert!(manager.take_changed().lists);
    manager.lock(now);
    let told = commands(&mut manager);
    assert_eq!(last_admission(&told).unwrap().check(&GREATER), Ok(()));
    assert_eq!(last_admission(&told).unwrap().check(&STRANGER), Err(Why::NotAllowed));
    assert_eq!((turned_away(&told), manager.lists().locked), (vec![], true));
}

#[test]
fn other_options_hold_at_once() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, connected(GREATER, 1, true));
    manager.handle_event(now, connected(SMALLER, 2, true));
    let _ = commands(&mut manager);
    let options = Options { auth: Auth::Allowlist, allow: [SMALLER].into(), ..Options::new(STRANGER, 0) };
    manager.set_options(now, options);
    assert_eq!(turned_away(&commands(&mut manager)), [(GREATER, Why::NotAllowed)]);
    assert_eq!(manager.options.me, ME, "a node stays who it is");
}

#[test]
fn who_does_harm_is_banned_for_a_while() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    manager.handle_event(now, connected(GREATER, 1, false));
    manager.handle_event(now, Event::Behaved { node: GREATER, conduct: Conduct::Verified { bytes: 1 << 20 } });
    assert_eq!(manager.standing(now, &GREATER), Standing::Good);
    assert!(manager.take_changed().memory);
    while manager.is_connected(&GREATER) {
        manager.handle_event(now, Event::Behaved { node: GREATER, conduct: Conduct::Corrupt });
    }
    let told = commands(&mut manager);
    assert_eq!(turned_away(&told), [(GREATER, Why::Banned)]);
    assert_eq!(last_admission(&told).unwrap().check(&GREATER), Err(Why::Banned));
    manager.handle_event(now, disconnected(GREATER, 1));
    let status = manager.status(now).remove(0);
    assert_eq!((status.trouble, status.banned_for_s), (Some(Trouble::BannedHere), Some(600)));
    assert!(status.reputation < 0);
    assert_eq!(manager.next_dial(), None);
    // It is written down, and holds after a restart.
    let memory = manager.memory(now);
    assert_eq!(memory.peers[0].banned_for_s, 600);
    let again = PeerManager::new(now, Options::new(ME, 1), Lists::default(), memory);
    assert_eq!(again.access.check(&GREATER), Err(Why::Banned));
    // Its time is over.
    let end = manager.access.next_timeout().unwrap();
    assert_eq!(end, now + Duration::from_secs(600));
    manager.handle_timeout(end);
    let told = commands(&mut manager);
    assert_eq!(last_admission(&told), Some(&Admission::everybody()));
    assert!(told.iter().any(|command| matches!(command, Command::Dial { node: GREATER, .. })), "{told:?}");
}

#[test]
fn a_person_can_forgive() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    for _ in 0..10 {
        manager.handle_event(now, Event::Behaved { node: GREATER, conduct: Conduct::Violation });
    }
    assert!(matches!(manager.standing(now, &GREATER), Standing::Banned { .. }));
    let _ = commands(&mut manager);
    manager.pardon(now, GREATER);
    assert_eq!(manager.standing(now, &GREATER), Standing::Good);
    manager.handle_timeout(now);
    let told = commands(&mut manager);
    assert_eq!(last_admission(&told), Some(&Admission::everybody()));
    assert!(told.iter().any(|command| matches!(command, Command::Dial { node: GREATER, .. })));
}

#[test]
fn room_is_made_for_those_who_are_worth_more() {
    let (mut manager, now) = manager(2);
    let (first, second) = (NodeId([6; 32]), NodeId([8; 32]));
    manager.handle_event(now, connected(first, 1, true));
    manager.handle_event(now + Duration::from_secs(1), connected(second, 2, true));
    manager.with(first, |peer| peer.is_chosen = false);
    manager.with(second, |peer| peer.is_chosen = false);
    let now = now + Duration::from_secs(2);
    manager.handle_event(now, connected(STRANGER, 3, true));
    assert_eq!(turned_away(&commands(&mut manager)), [(STRANGER, Why::Full)], "it is worth no more than they are");
    let stranger = manager.strangers().remove(0);
    assert_eq!((stranger.node, stranger.trouble), (STRANGER.to_string(), Some(Trouble::FullHere)));
    manager.allow(now, GREATER).unwrap();
    manager.with(first, |peer| peer.is_chosen = false);
    manager.with(second, |peer| peer.is_chosen = false);
    manager.handle_event(now, connected(GREATER, 4, true));
    assert_eq!(turned_away(&commands(&mut manager)), [(second, Why::Full)], "the last of the least");
    assert!(manager.is_connected(&GREATER) && manager.is_connected(&first) && manager.connected() == 2);
    // Who misbehaved is worth less than a stranger, whoever has a transfer under way is not idle.
    for _ in 0..3 {
        manager.handle_event(now, Event::Behaved { node: first, conduct: Conduct::Timeout });
    }
    manager.handle_event(now, Event::Behaved { node: first, conduct: Conduct::Violation });
    assert_eq!(manager.standing(now, &first), Standing::Throttled);
    manager.handle_event(now, connected(STRANGER, 5, true));
    assert_eq!(turned_away(&commands(&mut manager)), [(first, Why::Full)]);
}

#[test]
fn for_a_bootstrap_peer_a_stranger_has_to_go() {
    let (mut manager, now) = manager(1);
    manager.handle_event(now, connected(STRANGER, 1, true));
    manager.handle_event(now, discovered(GREATER, Source::Bootstrap));
    manager.handle_timeout(now);
    assert_eq!(dials(&mut manager), [GREATER]);
    manager.handle_event(now, connected(GREATER, 2, false));
    assert_eq!(turned_away(&commands(&mut manager)), [(STRANGER, Why::Full)]);
    manager.handle_event(now, disconnected(STRANGER, 1));
    assert_eq!((manager.connected(), manager.is_connected(&GREATER)), (1, true));
}

#[test]
fn so_many_are_dialled_and_the_rest_is_for_those_who_dial() {
    let now = crate::clock::now();
    let options = Options { max_dialled: 1, ..Options::new(ME, 7) };
    let mut manager = PeerManager::new(now, options, Lists::default(), Memory::default());
    let (first, second) = (NodeId([6; 32]), NodeId([8; 32]));
    manager.handle_event(now, discovered(first, Source::Mdns));
    manager.handle_event(now, discovered(second, Source::Mdns));
    manager.handle_timeout(now);
    assert_eq!(dials(&mut manager), [first], "one dial under way counts");
    manager.handle_event(now, connected(first, 1, false));
    let later = now + Duration::from_secs(1);
    manager.handle_timeout(later);
    assert_eq!(dials(&mut manager), []);
    manager.handle_event(later, connected(SMALLER, 2, true));
    assert_eq!((manager.connected(), manager.dialled()), (2, 1));
    // For whom a person wants, one that was dialled has to go; nobody else does.
    manager.handle_event(later, discovered(GREATER, Source::Bootstrap));
    manager.handle_timeout(later);
    assert_eq!(dials(&mut manager), [GREATER]);
    manager.handle_event(later, connected(GREATER, 3, false));
    assert_eq!(turned_away(&commands(&mut manager)), [(first, Why::Full)]);
    manager.handle_event(later, disconnected(first, 1));
    assert_eq!((manager.connected(), manager.dialled()), (2, 1));
    manager.handle_event(later, disconnected(GREATER, 3));
    let _ = commands(&mut manager);
    manager.set_options(later, Options { max_dialled: 2, ..manager.options.clone() });
    let mut dialled = Vec::new();
    for second in 1..=120 {
        manager.handle_timeout(later + Duration::from_secs(second));
        dialled.extend(dials(&mut manager));
    }
    assert!(
        dialled.contains(&GREATER) && (dialled.contains(&first) || dialled.contains(&second)),
        "there is room again"
    );
}

#[test]
fn one_address_does_not_take_all_places() {
    let now = crate::clock::now();
    let options = Options { max_peers_per_ip: 2, ..Options::new(ME, 7) };
    let mut manager = PeerManager::new(now, options, Lists::default(), Memory::default());
    let _ = commands(&mut manager);
    let come = |manager: &mut PeerManager, key: u8, host: &str| {
        let address = format!("/ip4/{host}/udp/{key}/quic-v1");
        let (node, connection) = (NodeId([key; 32]), key.into());
        manager.handle_event(now, Event::Connected { node, connection, address, inbound: true, cipher: "" });
        turned_away(&commands(manager)).len()
    };
    assert_eq!([10, 11, 12].map(|key| come(&mut manager, key, "10.0.0.1")), [0, 0, 1]);
    assert_eq!([20, 21, 22].map(|key| come(&mut manager, key, "127.0.0.1")), [0, 0, 0], "this machine's own");
    let address = "10.0.0.9".parse().unwrap();
    manager.handle_event(now, Event::NetworkChanged { subnets: vec![Subnet { address, prefix_bits: 24 }] });
    assert_eq!([30, 31, 32].map(|key| come(&mut manager, key, "10.0.0.9")), [0, 0, 0]);
    manager.allow(now, NodeId([13; 32])).unwrap();
    let _ = commands(&mut manager);
    assert_eq!(come(&mut manager, 13, "10.0.0.1"), 0, "a person wants it");
}

#[test]
fn another_version_is_told_so_and_left_alone() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    manager.handle_event(now, connected(GREATER, 1, false));
    let (agent, addresses) = (String::new(), Vec::new());
    manager.handle_event(now, Event::Identified { node: GREATER, agent, speaks: Speaks::OtherVersion, addresses });
    assert_eq!(turned_away(&commands(&mut manager)), [(GREATER, Why::Version)]);
    manager.handle_event(now, disconnected(GREATER, 1));
    let status = manager.status(now).remove(0);
    assert_eq!((status.state, status.trouble), (PeerState::Failed, Some(Trouble::Version)));
    assert!(manager.next_dial().unwrap() >= now + manager.options.reconnect.slow / 2);
    manager.handle_event(now, Event::TurnedAway { node: SMALLER, address: "a".into(), why: Why::NotAllowed });
    let stranger = manager.strangers().remove(0);
    assert_eq!((stranger.node, stranger.trouble), (SMALLER.to_string(), Some(Trouble::NotAllowedHere)));
    manager.handle_event(now, discovered(SMALLER, Source::Mdns));
    assert!(manager.strangers().is_empty(), "it is known");
}
