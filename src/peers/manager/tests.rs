use std::time::Duration;

use super::*;
use super::{connecting::SETTLED, dialling::POLITENESS};
use crate::{
    peers::{
        Admission, Conduct, ConnectionNumber, DialError, Ended, Remembered, Sample, Speaks, Subnet, Why,
        connections::{SIBLINGS, SIMULTANEOUS},
    },
    status::{Access, PeerState, Trouble},
};

mod admitting;
mod hearing;
mod watching;

const ATTEMPTS: u32 = 30;
const ME: NodeId = NodeId([5; 32]);
const SMALLER: NodeId = NodeId([1; 32]);
const GREATER: NodeId = NodeId([9; 32]);

fn manager(max_peers: usize) -> (PeerManager, Instant) {
    let now = crate::clock::now();
    let options = Options { max_peers, ..Options::new(ME, 7) };
    let mut manager = PeerManager::new(now, options, Lists::default(), Memory::default());
    let first = manager.poll_command();
    assert!(matches!(first, Some(Command::Admit(admission)) if *admission == Admission::everybody()));
    (manager, now)
}

fn discovered(node: NodeId, source: Source) -> Event {
    Event::Discovered { node, addresses: vec!["/ip4/10.0.0.1/udp/1/quic-v1".into()], source }
}

fn connected(node: NodeId, connection: ConnectionNumber, inbound: bool) -> Event {
    Event::Connected { node, connection, address: "/ip4/10.0.0.1/udp/1/quic-v1".into(), inbound, cipher: "" }
}

fn disconnected(node: NodeId, connection: ConnectionNumber) -> Event {
    Event::Disconnected { node, connection, ended: Ended::Lost("gone".into()) }
}

fn commands(manager: &mut PeerManager) -> Vec<Command> {
    std::iter::from_fn(|| manager.poll_command()).collect()
}

fn dials(manager: &mut PeerManager) -> Vec<NodeId> {
    let dialled = |command| if let Command::Dial { node, .. } = command { Some(node) } else { None };
    commands(manager).into_iter().filter_map(dialled).collect()
}

#[test]
fn of_two_that_discover_each_other_the_smaller_id_dials_first() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    manager.handle_event(now, discovered(SMALLER, Source::Mdns));
    manager.handle_event(now, discovered(ME, Source::Mdns));
    manager.handle_timeout(now);
    assert_eq!(dials(&mut manager), [GREATER]);
    assert_eq!(manager.next_timeout(), Some(now + POLITENESS));
    // It did not dial us: it may not have heard us.
    manager.handle_timeout(now + POLITENESS);
    assert_eq!(dials(&mut manager), [SMALLER]);
    assert!(manager.next_timeout().unwrap() > now + Duration::from_secs(30), "only a lost answer is waited for");
}

#[test]
fn a_dial_is_under_way_until_the_network_answers_it() {
    let (mut manager, start) = manager(10);
    manager.handle_event(start, discovered(GREATER, Source::Bootstrap));
    manager.handle_timeout(start);
    assert_eq!(dials(&mut manager), [GREATER]);
    // The peer was faster, and is gone again.
    manager.handle_event(start, connected(GREATER, 1, true));
    manager.handle_event(start, disconnected(GREATER, 1));
    let mut now = start;
    while now < start + Duration::from_secs(3) {
        now = manager.next_timeout().unwrap().max(now + Duration::from_millis(1));
        manager.handle_timeout(now);
        assert_eq!(dials(&mut manager), [], "the first is not answered");
    }
    manager.handle_event(now, Event::DialFailed { node: GREATER, error: DialError::Unreachable("nobody".into()) });
    manager.handle_timeout(manager.next_timeout().unwrap());
    assert_eq!(dials(&mut manager), [GREATER]);
}

#[test]
fn a_simultaneous_dial_ends_in_the_same_connection_on_both_ends() {
    for first_inbound in [true, false] {
        let (mut manager, now) = manager(10);
        manager.handle_event(now, connected(GREATER, 1, first_inbound));
        manager.handle_event(now, connected(GREATER, 2, !first_inbound));
        // We have the smaller id: the one that we dialled stays.
        let closed = if first_inbound { 1 } else { 2 };
        assert_eq!(commands(&mut manager), [Command::Close { node: GREATER, connection: closed, why: Why::Surplus }]);
        manager.handle_event(now, disconnected(GREATER, closed));
        assert_eq!(manager.connected(), 1);
    }
}

#[test]
fn a_peer_that_restarted_replaces_its_old_connection() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, connected(GREATER, 1, false));
    manager.handle_event(now + SIMULTANEOUS, connected(GREATER, 2, true));
    assert!(matches!(commands(&mut manager)[..], [Command::Close { connection: 1, .. }]));
}

#[test]
fn a_peer_that_restarts_soon_is_turned_away_for_a_moment_at_most() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, connected(GREATER, 1, false));
    // It may have dialled when we did, so the one that we dialled stays.
    manager.handle_event(now + Duration::from_secs(1), connected(GREATER, 2, true));
    assert!(matches!(commands(&mut manager)[..], [Command::Close { connection: 2, .. }]));
    manager.handle_event(now + Duration::from_secs(1), disconnected(GREATER, 2));
    manager.handle_event(now + Duration::from_secs(2), connected(GREATER, 3, true));
    assert!(matches!(commands(&mut manager)[..], [Command::Close { connection: 1, .. }]));
    manager.handle_event(now + Duration::from_secs(2), disconnected(GREATER, 1));
    assert!(manager.is_connected(&GREATER));
}

#[test]
fn whoever_dials_several_addresses_at_once_chooses_the_connection() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, connected(GREATER, 1, true));
    manager.handle_event(now, connected(GREATER, 2, true));
    assert_eq!(commands(&mut manager), [], "the first is the other end's choice, perhaps");
    manager.handle_event(now, disconnected(GREATER, 2));
    assert_eq!(manager.connected(), 1);
    assert_eq!(commands(&mut manager), []);
    // It does not hold many that way.
    for number in 3..100 {
        manager.handle_event(now, connected(GREATER, number, true));
        for command in commands(&mut manager) {
            let Command::Close { connection, .. } = command else { panic!("{command:?}") };
            manager.handle_event(now, disconnected(GREATER, connection));
        }
        assert!(manager.book.find(&GREATER).unwrap().connections.live().count() <= limits::network::SIBLINGS);
    }
    let left = manager.book.find(&GREATER).unwrap().connections.live().count();
    manager.handle_event(now + SIBLINGS, connected(GREATER, 100, true));
    assert_eq!(commands(&mut manager).len(), left, "a later one replaces all");
}

#[test]
fn a_lost_peer_is_dialled_again_and_given_up_after_some_attempts() {
    let (mut manager, mut now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    manager.handle_timeout(now);
    manager.handle_event(now, connected(GREATER, 1, false));
    assert_eq!(manager.status(now)[0].state, PeerState::Connected);
    now += SETTLED;
    manager.handle_event(now, disconnected(GREATER, 1));
    assert_eq!(manager.status(now)[0].state, PeerState::Disconnected);
    assert!(manager.next_dial().unwrap() <= now + Duration::from_secs(1), "it was well before");
    let _ = dials(&mut manager);
    for _ in 1..ATTEMPTS {
        now = manager.next_dial().unwrap();
        manager.handle_timeout(now);
        assert_eq!(dials(&mut manager), [GREATER]);
        manager.handle_event(
            now,
            Event::DialFailed { node: GREATER, error: DialError::Unreachable("nobody there".into()) },
        );
    }
    assert_eq!(manager.status(now)[0].state, PeerState::Failed);
    assert_eq!(manager.status(now)[0].error.as_deref(), Some("nobody there"));
    assert!(manager.next_dial().unwrap() > now + manager.options.reconnect.longest, "it is in the slow lane");
    // Heard again, it is probably back.
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    assert_eq!(manager.next_dial(), Some(now + manager.options.reconnect.first), "soon after the last try");
}

#[test]
fn a_bootstrap_peer_is_never_given_up_for_good() {
    let (mut manager, mut now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Bootstrap));
    for _ in 0..2 * ATTEMPTS {
        now = manager.next_dial().unwrap();
        manager.handle_timeout(now);
        assert_eq!(dials(&mut manager), [GREATER]);
        manager.handle_event(now, Event::DialFailed { node: GREATER, error: DialError::Unreachable("off".into()) });
    }
}

#[test]
fn more_than_the_limit_are_turned_away_and_not_dialled() {
    let (mut manager, now) = manager(1);
    manager.handle_event(now, connected(GREATER, 1, true));
    manager.handle_event(now, connected(SMALLER, 2, true));
    assert_eq!(commands(&mut manager), [Command::TurnAway { node: SMALLER, why: Why::Full }]);
    manager.handle_event(now, discovered(NodeId([6; 32]), Source::Mdns));
    manager.handle_timeout(now);
    assert_eq!(commands(&mut manager), []);
    assert!(manager.next_dial().unwrap() > now);
}

#[test]
fn a_peer_that_turns_us_away_is_dialled_less_and_less() {
    let (mut manager, mut now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    let start = now;
    let mut count = 0;
    while manager.status(now)[0].state != PeerState::Failed {
        now = manager.next_dial().unwrap();
        manager.handle_timeout(now);
        assert_eq!(dials(&mut manager), [GREATER]);
        count += 1;
        manager.handle_event(now, connected(GREATER, count, false));
        manager.handle_event(now, disconnected(GREATER, count));
    }
    assert_eq!(count, u64::from(ATTEMPTS));
    assert!(now > start + Duration::from_secs(10));
}

#[test]
fn a_full_node_keeps_no_strangers_and_dials_again_when_there_is_room() {
    let (mut manager, now) = manager(1);
    manager.handle_event(now, discovered(GREATER, Source::Mdns));
    manager.handle_timeout(now);
    // While we dial, another takes the only place.
    manager.handle_event(now, connected(SMALLER, 1, true));
    manager.handle_event(now, connected(GREATER, 2, false));
    manager.handle_event(now, connected(NodeId([7; 32]), 3, true));
    manager.handle_event(now, disconnected(GREATER, 2));
    manager.handle_event(now, disconnected(NodeId([7; 32]), 3));
    assert!(manager.book.find(&NodeId([7; 32])).is_none());
    manager.handle_event(now, disconnected(SMALLER, 1));
    let _ = commands(&mut manager);
    manager.handle_timeout(manager.next_dial().unwrap());
    assert_eq!(dials(&mut manager), [GREATER]);
}

#[test]
fn no_more_are_dialled_at_a_time_than_there_is_room_for() {
    let (mut manager, now) = manager(2);
    for key in 6..10 {
        manager.handle_event(now, discovered(NodeId([key; 32]), Source::Bootstrap));
    }
    let mut count = 0;
    for ms in 0..1000 {
        manager.handle_timeout(now + Duration::from_millis(ms));
        count += dials(&mut manager).len();
    }
    assert_eq!(count, 2);
}

#[test]
fn strangers_cannot_fill_the_memory() {
    let (mut manager, now) = manager(10);
    manager.handle_event(now, discovered(GREATER, Source::Bootstrap));
    for number in 0..2 * limits::network::KNOWN_PEERS as u64 {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let addresses = (0..100).map(|port| format!("/ip4/10.0.0.1/udp/{port}/quic-v1")).collect();
        let event = Event::Discovered { node: NodeId(key), addresses, source: Source::Mdns };
        manager.handle_event(now + Duration::from_millis(number), event);
    }
    assert_eq!(manager.book.len(), limits::network::KNOWN_PEERS);
    assert!(manager.book.find(&GREATER).is_some(), "a bootstrap peer was forgotten");
    assert!(manager.book.iter().all(|(_, peer)| peer.addresses.iter().count() <= limits::network::ADDRESSES_PER_PEER));
}
