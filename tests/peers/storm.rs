//! Nodes that come and go quickly.

use super::{ids, start_all, support::node::Nodes, wait_for_mesh, wait_until};

/// Restarts of each restless node.
const ROUNDS: usize = 8;
/// Memory that the steady ones may take more afterwards, of what the allocator does not give back.
const MORE_KIB: u64 = 6 * 1024;

#[test]
fn a_storm_of_restarts_leaves_a_mesh_and_nothing_else() {
    let nodes = Nodes::new(5);
    let mut running = start_all(&nodes);
    let ids = ids(&nodes);
    let all = [0, 1, 2, 3, 4];
    wait_for_mesh(&mut running, &ids, &all);
    let mut rng = fastrand::Rng::with_seed(4);
    // Once without measuring: what is made once is made.
    let mut storm = |rounds: usize| {
        for _ in 0..rounds {
            for host in [2, 3, 4] {
                let node = running.remove(host);
                // Without waiting for anything: some are killed while they connect.
                if rng.bool() {
                    node.kill();
                } else {
                    assert_eq!(node.stop(), Some(0));
                }
                running.insert(host, nodes.place(host).start(&[]));
            }
        }
        wait_for_mesh(&mut running, &ids, &all);
        [0, 1].map(|at| (running[at].descriptors(), running[at].memory_kib("VmRSS")))
    };
    storm(2);
    let before = storm(1);
    let after = storm(ROUNDS);
    println!("descriptors and KiB before {before:?}, after {after:?}");
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(after.1 <= before.1 + MORE_KIB, "node {at} grew from {} to {} KiB", before.1, after.1);
        wait_until("the descriptors of before", || running[at].descriptors() <= before.0);
    }
}
