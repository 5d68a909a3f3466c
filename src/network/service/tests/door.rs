//! Who gets in.

use std::collections::BTreeSet;

use super::*;
use crate::peers::{Admission, Command, DialError, Ended, Event, Why};

/// How a dial that the other end does not like comes to an end: it may look open for a moment.
fn refused(event: NetworkEvent) -> Option<Why> {
    match event {
        NetworkEvent::Peer(Event::Disconnected { ended: Ended::There(why), .. }) => Some(why),
        NetworkEvent::Peer(Event::DialFailed { error: DialError::Refused(why), .. }) => Some(why),
        NetworkEvent::Peer(Event::Disconnected { ended, .. }) => panic!("{ended}"),
        _ => None,
    }
}

/// Whom the door was closed to; nobody is to get in meanwhile.
fn turned_away(event: NetworkEvent) -> Option<(NodeId, Why)> {
    match event {
        NetworkEvent::Peer(Event::TurnedAway { node, address, why }) => {
            assert!(address.starts_with("/ip4/127.0.0.1/udp/"), "{address}");
            Some((node, why))
        }
        NetworkEvent::Peer(event @ (Event::Connected { .. } | Event::Identified { .. })) => panic!("{event:?}"),
        _ => None,
    }
}

async fn admit(started: &Started, admission: Admission) {
    started.network.command(Command::Admit(Arc::new(admission))).await;
}

#[test]
fn a_stranger_hears_why_and_speaks_no_protocol() {
    smol::block_on(async {
        let Pair { mut one, mut two, id_one, id_two, address } = Pair::start(options(V4), options(V4)).await;
        let nobody = Admission::default();
        let denied = Admission { denied: BTreeSet::from([id_one]), ..Admission::everybody() };
        let banned = Admission { banned: BTreeSet::from([id_one]), ..Admission::everybody() };
        for (admission, why) in [(nobody, Why::NotAllowed), (denied, Why::NotAllowed), (banned, Why::Banned)] {
            admit(&two, admission).await;
            one.network.command(Command::Dial { node: id_two, addresses: vec![address.clone()] }).await;
            // It knocks for as long as it may.
            let connector = one.connector.clone();
            let knocks = smol::spawn(async move {
                loop {
                    if let Ok(mut stream) = connector.open(id_two, wire::blob::PROTOCOL).await {
                        let _ = stream.write_all(b"let me in").await;
                    }
                    smol::future::yield_now().await;
                }
            });
            assert_eq!(wait_for(&mut one, refused).await, why);
            assert_eq!(wait_for(&mut two, turned_away).await, (id_one, why));
            drop(knocks);
        }
        assert!(two.incoming.try_recv().is_err(), "no stream gets through");

        // Whom the list names is at home, at once.
        admit(&two, Admission { allowed: BTreeSet::from([id_one]), ..Admission::default() }).await;
        connect(&mut one, &mut two, id_two, &address).await;
    });
}

#[test]
fn whom_this_node_does_not_admit_it_does_not_reach_either() {
    smol::block_on(async {
        let Pair { mut one, two: _two, id_two, address, .. } = Pair::start(options(V4), options(V4)).await;
        admit(&one, Admission::default()).await;
        one.network.command(Command::Dial { node: id_two, addresses: vec![address] }).await;
        assert_eq!(wait_for(&mut one, turned_away).await, (id_two, Why::NotAllowed));
        let failed = wait_for(&mut one, |event| match event {
            NetworkEvent::Peer(Event::DialFailed { node, error }) => Some((node, error.to_string())),
            _ => None,
        });
        let (node, error) = failed.await;
        assert!(node == id_two && error.contains("NotAllowed"), "{error}");
    });
}

#[test]
fn a_door_that_closes_behind_a_peer_is_heard() {
    smol::block_on(async {
        let Pair { mut one, mut two, id_one, id_two, address } = Pair::start(options(V4), options(V4)).await;
        connect(&mut one, &mut two, id_two, &address).await;
        admit(&two, Admission::default()).await;
        two.network.command(Command::TurnAway { node: id_one, why: Why::NotAllowed }).await;
        assert_eq!(wait_for(&mut one, refused).await, Why::NotAllowed);
        let ended = wait_for(&mut two, |event| match event {
            NetworkEvent::Peer(Event::Disconnected { ended, .. }) => Some(ended),
            _ => None,
        });
        assert_eq!(ended.await, Ended::Here(Why::NotAllowed));
    });
}
