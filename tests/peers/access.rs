//! Who may connect.

use std::{collections::BTreeSet, time::Duration};

use super::{
    hold_for, ids, start_all,
    support::node::{Nodes, Place},
    wait_for_mesh,
};

/// Whom each of five nodes names in `allow` and in `deny`; the last one admits everybody else.
const LISTS: [(&[usize], &[usize]); 5] =
    [(&[1, 2, 3], &[]), (&[0, 2, 3], &[3]), (&[0, 1], &[]), (&[0, 1, 4], &[]), (&[], &[2])];

fn admits(host: usize, other: usize) -> bool {
    let (allow, deny) = LISTS[host];
    !deny.contains(&other) && (host == 4 || allow.contains(&other))
}

#[test]
fn five_nodes_with_lists_of_their_own_connect_where_both_ends_agree() {
    let nodes = Nodes::new(5);
    let ids = ids(&nodes);
    let named = |hosts: &[usize]| hosts.iter().map(|host| ids[*host].clone()).collect::<Vec<_>>().join(",");
    let place = |host: usize| -> Place<'_> {
        let auth = if host == 4 { "open" } else { "allowlist" };
        let place = nodes.place(host).with("ALLIBRARY_NETWORK_AUTH", auth);
        let place = place.with("ALLIBRARY_NETWORK_ALLOW", &named(LISTS[host].0));
        place.with("ALLIBRARY_NETWORK_DENY", &named(LISTS[host].1))
    };
    let mut running: Vec<_> = (0..5).map(|host| place(host).start(&[])).collect();
    let agreed: Vec<BTreeSet<String>> = (0..5)
        .map(|host| {
            let others = (0..5).filter(|other| *other != host && admits(host, *other) && admits(*other, host));
            others.map(|other| ids[other].clone()).collect()
        })
        .collect();
    assert_eq!(agreed.iter().map(BTreeSet::len).sum::<usize>(), 10, "0-1, 0-2, 0-3, 1-2, 3-4");
    for (node, agreed) in running.iter_mut().zip(&agreed) {
        node.wait_for_exactly(agreed);
    }
    // And so it stays: whoever was turned away tries again, and is again. It may believe for a moment that it got through: in
    // TLS 1.3 the one who dials is done first.
    let strangers = |host: usize| (0..5).filter(move |other| *other != host && !admits(host, *other));
    hold_for(Duration::from_secs(5), "no stranger is in", || {
        let in_there = |host: usize| running[host].connected();
        (0..5).all(|host| strangers(host).all(|other| !in_there(host).contains(&ids[other])))
    });
    for (node, agreed) in running.iter_mut().zip(&agreed) {
        node.wait_for_exactly(agreed);
    }
    for (host, node) in running.iter().enumerate() {
        let log = node.log();
        for other in strangers(host) {
            let line = format!("{} is connected", ids[other]);
            assert!(!log.contains(&line), "a stranger was let in by {host}:\n{log}");
        }
    }
}

#[test]
fn an_empty_allowlist_admits_nobody() {
    let nodes = Nodes::new(2);
    let ids = ids(&nodes);
    let mut closed = nodes.place(0).with("ALLIBRARY_NETWORK_AUTH", "allowlist").start(&[]);
    let mut open = nodes.place(1).start(&[]);
    let refused = open.wait_for_peer(&ids[0], "being refused", |peer| peer.error.is_some());
    assert!(refused.error.as_ref().is_some_and(|error| error.contains("not allowed")), "{refused:?}");
    closed.wait_for_exactly(&BTreeSet::new());
    assert!(!closed.log().contains(" is connected"), "{}", closed.log());
}

#[test]
fn lists_changed_while_nodes_run_hold_at_once_and_after_a_restart() {
    let nodes = Nodes::new(3);
    let mut running = start_all(&nodes);
    let ids = ids(&nodes);
    wait_for_mesh(&mut running, &ids, &[0, 1, 2]);
    nodes.place(0).ok(&["peers", "deny", &ids[1]]);
    running[0].wait_for_exactly(&BTreeSet::from([ids[2].clone()]));
    running[1].wait_for_exactly(&BTreeSet::from([ids[2].clone()]));
    assert_eq!(running.remove(0).stop(), Some(0));
    running.insert(0, nodes.place(0).start(&[]));
    running[0].wait_for_exactly(&BTreeSet::from([ids[2].clone()]));
    hold_for(Duration::from_secs(3), "the deny list", || !running[0].connected().contains(&ids[1]));
    nodes.place(0).ok(&["peers", "allow", &ids[1]]);
    wait_for_mesh(&mut running, &ids, &[0, 1, 2]);
}

#[test]
fn whoever_comes_while_a_node_learns_may_come_again_and_nobody_else() {
    let nodes = Nodes::new(3);
    let ids = ids(&nodes);
    let learner = || nodes.place(0).with("ALLIBRARY_NETWORK_AUTH", "learn").start(&[]);
    let first = BTreeSet::from([ids[1].clone()]);
    let mut running = vec![learner(), nodes.place(1).start(&[])];
    running[0].wait_for_exactly(&first);
    nodes.place(0).ok(&["peers", "lock"]);
    running.push(nodes.place(2).start(&[]));
    running[2].wait_for_peer(&ids[0], "being refused", |peer| {
        peer.error.as_ref().is_some_and(|error| error.contains("not allowed"))
    });
    running[0].wait_for_exactly(&first);
    // What was learnt, and that it is over, survives a restart; a change of mind takes effect at once.
    running.remove(0).kill();
    running.insert(0, learner());
    running[0].wait_for_exactly(&first);
    hold_for(Duration::from_secs(3), "the lock", || running[0].connected().is_subset(&first));
    nodes.place(0).ok(&["peers", "allow", &ids[2]]);
    wait_for_mesh(&mut running, &ids, &[0, 1, 2]);
    nodes.place(0).ok(&["peers", "forget", &ids[1]]);
    running[0].wait_for_exactly(&BTreeSet::from([ids[2].clone()]));
}
