//! A network that goes on and on: what nodes take does not grow.

use std::{fs, time::Duration};

use super::{
    ids,
    support::{
        most::{Most, assert_flat, soak_seconds},
        node::Nodes,
    },
    wait_for_mesh,
};

/// Between two restarts of the restless node.
const RESTART_EVERY: Duration = Duration::from_secs(15);
/// Memory that may be taken more in the second half than in the first.
const MORE_KIB: u64 = 3 * 1024;

#[test]
fn what_nodes_take_stays_flat_for_a_minute() {
    soak(Duration::from_secs(75));
}

#[test]
#[ignore = "takes an hour, or SOAK_SECONDS: make check-long"]
fn what_nodes_take_stays_flat_for_an_hour() {
    soak(Duration::from_secs(soak_seconds()));
}

/// Four nodes, two of which mirror the books of another; one of the four is restarted all the time.
fn soak(time: Duration) {
    let nodes = Nodes::new(4);
    let books = nodes.folder("Books");
    for number in 0..20_u8 {
        fs::write(books.join(format!("{number}.bin")), vec![number; 50_000]).expect("a folder of the test");
    }
    nodes.place(0).ok(&["add", books.to_str().expect("a printable name")]);
    let start = |host: usize| nodes.place(host).start(if host == 0 { &[] } else { &["--mirror"] });
    let mut running: Vec<_> = (0..4).map(start).collect();
    let ids = ids(&nodes);
    let all = [0, 1, 2, 3];
    wait_for_mesh(&mut running, &ids, &all);
    running.iter_mut().for_each(|node| node.wait_for_blobs(20));

    // A first part in which all that is made once is made, then two halves that are compared.
    let mut halves = [[Most::default(); 3]; 2];
    let begin = allibrary::clock::now();
    let parts = [time / 5, time * 3 / 5, time];
    let mut restart_at = RESTART_EVERY;
    while begin.elapsed() < time {
        let now = begin.elapsed();
        if now >= restart_at {
            restart_at += RESTART_EVERY;
            let node = running.pop().expect("there are four");
            assert_eq!(node.stop(), Some(0));
            running.push(start(3));
        }
        if now >= parts[0] {
            let half = &mut halves[usize::from(now >= parts[1])];
            half.iter_mut().zip(&running).for_each(|(most, node)| most.look(node));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    wait_for_mesh(&mut running, &ids, &all);
    assert_flat(halves.each_ref().map(|half| &half[..]), MORE_KIB);
}
