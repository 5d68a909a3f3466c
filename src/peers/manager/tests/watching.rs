//! Who is still there, how good the way is, and whom they know.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn sample(node: NodeId, connection: ConnectionNumber, heard: Instant) -> Sample {
    Sample {
        node,
        connection,
        heard,
        rtt: Duration::from_millis(10),
        sent_packets: 100,
        lost_packets: 0,
        sent_bytes: 1000,
        received_bytes: 2000,
    }
}

/// Lets time pass; peers answer when they are probed, as far as `is_there` has it. Returns the commands with their times.
fn watch(
    manager: &mut PeerManager,
    now: &mut Instant,
    time: Duration,
    heard: &mut [(NodeId, Instant)],
    is_there: impl Fn(&NodeId) -> bool,
) -> Vec<(Instant, Command)> {
    let (end, mut told) = (*now + time, Vec::new());
    while let Some(at) = manager.next_timeout().filter(|at| *at <= end) {
        *now = (*now).max(at);
        manager.handle_timeout(*now);
        while let Some(command) = manager.poll_command() {
            match &command {
                Command::Probe { nodes } => {
                    for (_, heard) in heard.iter_mut().filter(|(node, _)| nodes.contains(node) && is_there(node)) {
                        *heard = *now;
                    }
                }
                Command::Observe { nodes } => {
                    let asked = heard.iter().filter(|(node, _)| nodes.contains(node));
                    let samples = asked.map(|(node, heard)| sample(*node, 1, *heard)).collect();
                    manager.handle_event(*now, Event::Observed { samples });
                }
                _ => {}
            }
            told.push((*now, command));
        }
    }
    *now = end;
    told
}

/// This node has dialled one, and the other this node.
fn two_peers() -> (PeerManager, Instant, [(NodeId, Instant); 2]) {
    let (mut manager, now) = manager(10);
    for node in [SMALLER, GREATER] {
        manager.handle_event(now, discovered(node, Source::Mdns));
        manager.handle_event(now, connected(node, 1, node == GREATER));
    }
    let _ = commands(&mut manager);
    (manager, now, [(SMALLER, now), (GREATER, now)])
}

#[test]
fn who_is_silent_is_probed_in_time_by_the_end_that_was_dialled_first() {
    let (mut manager, start, mut heard) = two_peers();
    let mut now = start;
    let interval = manager.options.heartbeat.interval;
    let mut first = |wanted| {
        let told = watch(&mut manager, &mut now, interval / 2, &mut heard, |_| true);
        let probed = |(at, command): &(Instant, Command)| match command {
            Command::Probe { nodes } if nodes.contains(&wanted) => Some(*at - start),
            _ => None,
        };
        told.iter().find_map(probed)
    };
    assert_eq!(first(GREATER), None);
    assert!(first(GREATER).is_some_and(|after| after <= interval * 5 / 6), "it dialled this node");
    // The other end of this one should have probed long ago.
    assert!(manager.book.find(&SMALLER).unwrap().detector.next_timeout(&manager.options.heartbeat) > start + interval);
}

#[test]
fn a_peer_that_is_gone_is_found_so_and_dialled_at_once() {
    let (mut manager, mut now, mut heard) = two_peers();
    let start = now;
    let told = watch(&mut manager, &mut now, 20 * SECOND, &mut heard, |node| *node == SMALLER);
    let gone = Command::TurnAway { node: GREATER, why: Why::Unresponsive };
    let at = told.iter().find(|(_, command)| *command == gone).map(|(at, _)| *at - start).unwrap();
    assert!((7 * SECOND..=9 * SECOND).contains(&at), "after {at:?}");
    assert_eq!(told.iter().filter(|(_, command)| *command == gone).count(), 1);
    assert!(!manager.is_connected(&GREATER) && manager.is_connected(&SMALLER));
    let status = &manager.status(now)[1];
    assert_eq!((status.state, status.trouble), (PeerState::Failed, Some(Trouble::Unresponsive)));
    assert!(told.iter().any(|(_, command)| matches!(command, Command::Dial { node: GREATER, .. })), "at once");
    manager.handle_event(now, disconnected(GREATER, 1));
    assert_eq!(manager.status(now)[1].state, PeerState::Failed, "the closing is no news");
    // It was not dead after all.
    manager.handle_event(now, connected(GREATER, 2, true));
    assert_eq!((manager.status(now)[1].state, manager.status(now)[1].trouble), (PeerState::Connected, None));
}

#[test]
fn a_network_that_does_not_answer_makes_nobody_dead() {
    let (mut manager, start, _) = two_peers();
    let (mut now, mut looks) = (start, 0);
    while now < start + 60 * SECOND {
        now = manager.next_timeout().unwrap();
        manager.handle_timeout(now);
        for command in commands(&mut manager) {
            looks += u32::from(matches!(&command, Command::Observe { .. }));
            assert!(matches!(command, Command::Observe { .. } | Command::Exchange { .. }), "{command:?}");
        }
    }
    assert!((30..=100).contains(&looks), "{looks} looks in a minute");
    assert_eq!(manager.connected(), 2);
    // It answers again: silent for a minute is not dead either, as long as no probe has failed.
    manager.handle_event(now, Event::Observed { samples: vec![sample(GREATER, 1, start)] });
    assert_eq!(manager.connected(), 2);
}

#[test]
fn a_hundred_idle_peers_wake_nobody_more_than_twice_a_second() {
    let (mut manager, start) = manager(128);
    let mut heard = Vec::new();
    for key in 10..110 {
        let node = NodeId([key; 32]);
        let now = start + Duration::from_millis(37 * u64::from(key));
        let address = format!("/ip4/10.0.0.{key}/udp/1/quic-v1");
        manager.handle_event(now, Event::Connected { node, connection: 1, address, inbound: true, cipher: "" });
        heard.push((node, now));
    }
    let mut now = start + 10 * SECOND;
    watch(&mut manager, &mut now, 10 * SECOND, &mut heard, |_| true);
    let mut times: Vec<_> =
        watch(&mut manager, &mut now, 60 * SECOND, &mut heard, |_| true).into_iter().map(|(at, _)| at).collect();
    times.dedup();
    assert!(times.len() <= 120, "{} times in a minute", times.len());
    assert_eq!(manager.connected(), 100);
}

#[test]
fn a_peer_that_was_found_silent_and_answers_is_no_longer_suspect() {
    let (mut manager, mut now, mut heard) = two_peers();
    watch(&mut manager, &mut now, 6 * SECOND, &mut heard, |node| *node == SMALLER);
    let quality = |manager: &PeerManager| manager.status(now)[1].quality.unwrap();
    let before = quality(&manager);
    assert!(before < 50, "{before}");
    manager.handle_event(now, Event::Observed { samples: vec![sample(GREATER, 1, now)] });
    assert!(quality(&manager) > 90, "it counts at once");
    assert_eq!(manager.connected(), 2);
}

#[test]
fn people_are_shown_all_of_it() {
    let (mut manager, start) = manager(10);
    let address = "/ip4/10.0.0.1/udp/1/quic-v1";
    let cipher = "TLS13_AES_256_GCM_SHA384";
    let event = Event::Connected { node: GREATER, connection: 1, address: address.into(), inbound: false, cipher };
    manager.handle_event(start, event);
    manager.handle_event(start, Event::Pinged { node: GREATER, rtt: Duration::from_millis(7) });
    assert_eq!(manager.status(start)[0].rtt_us, Some(7000));
    let mut one = sample(GREATER, 1, start);
    manager.handle_event(start, Event::Observed { samples: vec![one.clone()] });
    let now = start + 2 * SECOND;
    (one.heard, one.sent_bytes, one.received_bytes, one.sent_packets, one.lost_packets) = (now, 5000, 4000, 200, 10);
    manager.handle_event(now, Event::Observed { samples: vec![one, sample(SMALLER, 9, now)] });
    let (agent, addresses) = ("thing/1".into(), Vec::new());
    manager.handle_event(now, Event::Identified { node: GREATER, agent, speaks: Speaks::Ours, addresses });
    let status = manager.status(now).remove(0);
    assert_eq!((status.address.as_deref(), status.cipher.as_deref()), (Some(address), Some(cipher)));
    assert_eq!((status.sent_bytes, status.received_bytes, status.since_s), (5000, 4000, Some(2)));
    assert_eq!((status.rtt_us, status.loss_percent), (Some(10_000), Some(10.0)));
    assert!(status.sent_bytes_s > 0 && status.quality.is_some() && status.rtt_deviation_us.is_some());
    assert_eq!((status.agent.as_deref(), status.source.as_str()), (Some("thing/1"), "inbound"));
    manager.handle_event(now, Event::PingFailed { node: GREATER });
    assert_eq!(manager.status(now)[0].error.as_deref(), Some("it did not answer a ping"));
    manager.handle_event(now, disconnected(GREATER, 1));
    let status = manager.status(now).remove(0);
    assert_eq!((status.quality, status.retry_in_s, status.cipher), (None, Some(1), None));
    assert_eq!((status.error.as_deref(), status.state), (Some("lost: gone"), PeerState::Disconnected));
}

#[test]
fn each_peer_is_asked_whom_it_knows_every_ten_minutes() {
    let (mut manager, mut now, mut heard) = two_peers();
    let (agent, addresses) = (String::new(), Vec::new());
    manager.handle_event(now, Event::Identified { node: SMALLER, agent, speaks: Speaks::Others, addresses });
    let told = watch(&mut manager, &mut now, 1795 * SECOND, &mut heard, |_| true);
    let asked: Vec<_> = told.iter().filter(|(_, command)| matches!(command, Command::Exchange { .. })).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked.iter().all(|(_, command)| *command == Command::Exchange { node: GREATER }));
    assert!(asked.windows(2).all(|two| two[1].0 - two[0].0 >= 600 * SECOND));
}

#[test]
fn of_two_connections_the_one_that_is_left_behind_is_closed() {
    let (mut manager, now) = manager(10);
    for connection in [1, 2] {
        manager.handle_event(now, connected(GREATER, connection, true));
    }
    let _ = commands(&mut manager);
    assert_eq!(manager.book.find(&GREATER).unwrap().connections.live().count(), 2, "one dial may have made both");
    let later = now + manager.options.heartbeat.interval;
    manager.handle_event(later, Event::Observed { samples: vec![sample(GREATER, 1, now), sample(GREATER, 2, later)] });
    let closed = Command::Close { node: GREATER, connection: 1, why: Why::Surplus };
    assert_eq!(commands(&mut manager).iter().filter(|command| **command == closed).count(), 1);
    assert!(manager.is_connected(&GREATER));
}
