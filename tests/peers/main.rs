//! Peers that look after themselves: real nodes, each on a host of its own, and what happens to networks. Needs root.
//!
//! What is asserted is states, counts and reasons, within a deadline that a busy machine keeps; how long things take is for
//! `make bench-peers`, and in virtual time for the simulation in `src/peers`.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod bootstrap;
mod commands;
mod diagnose;
mod gossip;
mod harm;
mod mesh;
mod paths;
mod silence;
mod soak;
mod storm;
mod strangers;

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use support::node::{Node, Nodes};

/// Between two looks at something that has no event of its own.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node on each host.
fn start_all(nodes: &Nodes) -> Vec<Node<'_>> {
    (0..nodes.lan.hosts.len()).map(|host| nodes.place(host).start(&[])).collect()
}

/// Their peer ids.
fn ids(nodes: &Nodes) -> Vec<String> {
    (0..nodes.lan.hosts.len()).map(|host| nodes.place(host).id()).collect()
}

/// Waits until each of these nodes is connected with all others of them, and with nobody else.
fn wait_for_mesh(running: &mut [Node<'_>], ids: &[String], members: &[usize]) {
    for at in members {
        let others: BTreeSet<_> =
            members.iter().filter(|other| *other != at).map(|other| ids[*other].clone()).collect();
        running[*at].wait_for_exactly(&others);
    }
}

/// Looks until it holds, or the deadline of [`support::node`] is over.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = allibrary::clock::now() + support::node::DEADLINE;
    while !holds() {
        assert!(allibrary::clock::now() < deadline, "no sign of {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks for this long, and fails as soon as it does not hold.
fn hold_for(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let until: Instant = allibrary::clock::now() + time;
    while allibrary::clock::now() < until {
        assert!(holds(), "not so any more: {what}");
        thread::sleep(LOOK_EVERY);
    }
}
