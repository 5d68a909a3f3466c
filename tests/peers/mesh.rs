//! Everybody connects with everybody, and does again after whatever happened to the network.

use std::collections::BTreeSet;

use super::{ids, start_all, support::node::Nodes, wait_for_mesh, wait_until};

#[test]
fn five_nodes_form_a_full_mesh_by_mdns_and_mend_it() {
    let nodes = Nodes::new(5);
    let mut running = start_all(&nodes);
    let ids = ids(&nodes);
    let all = [0, 1, 2, 3, 4];
    wait_for_mesh(&mut running, &ids, &all);
    for node in &running {
        assert!(
            node.peers().iter().all(|peer| peer.source == "mdns" || peer.source == "inbound"),
            "{:?}",
            node.peers()
        );
        assert_eq!(node.peers().len(), 4, "nobody knows itself or strangers");
    }

    // The switch falls apart: each side sees it, and keeps what it has.
    nodes.lan.split(&[3, 4]);
    wait_for_mesh(&mut running, &ids, &[0, 1, 2]);
    wait_for_mesh(&mut running, &ids, &[3, 4]);
    nodes.lan.join();
    wait_for_mesh(&mut running, &ids, &all);

    // Killed, it is missed; started again, it is back, with everybody.
    let killed = running.remove(2);
    killed.kill();
    for (node, me) in running.iter_mut().zip([0, 1, 3, 4]) {
        let others: BTreeSet<_> = [0, 1, 3, 4].iter().filter(|at| **at != me).map(|at| ids[*at].clone()).collect();
        node.wait_for_exactly(&others);
    }
    running.insert(2, nodes.place(2).start(&[]));
    wait_for_mesh(&mut running, &ids, &all);
    assert_eq!(nodes.place(2).id(), ids[2], "it is the same one");
}

#[test]
fn twelve_nodes_form_a_full_mesh() {
    let nodes = Nodes::new(12);
    let mut running = start_all(&nodes);
    let ids = ids(&nodes);
    wait_for_mesh(&mut running, &ids, &(0..12).collect::<Vec<_>>());
}

#[test]
fn a_slow_link_that_loses_packets_carries_a_mesh() {
    let nodes = Nodes::new(3);
    for host in &nodes.lan.hosts {
        host.lose(20);
        host.limit("1mbit");
    }
    let mut running = start_all(&nodes);
    wait_for_mesh(&mut running, &ids(&nodes), &[0, 1, 2]);
}

#[test]
fn a_link_that_goes_down_and_up_and_an_address_that_changes_are_coped_with() {
    let nodes = Nodes::new(3);
    let mut running = start_all(&nodes);
    let ids = ids(&nodes);
    let all = [0, 1, 2];
    wait_for_mesh(&mut running, &ids, &all);
    let host = &nodes.lan.hosts[0];

    // The cable, which the machine itself can see.
    nodes.lan.unplug(0);
    wait_for_mesh(&mut running, &ids, &[1, 2]);
    wait_for_mesh(&mut running, &ids, &[0]);
    nodes.lan.plug(0);
    wait_for_mesh(&mut running, &ids, &all);

    // The interface.
    host.configure("link set eth0 down");
    wait_for_mesh(&mut running, &ids, &[1, 2]);
    wait_for_mesh(&mut running, &ids, &[0]);
    host.configure("link set eth0 up");
    wait_for_mesh(&mut running, &ids, &all);

    // The address; without IPv6, whose addresses would stay. The others see it with the new one.
    nodes.lan.hosts.iter().for_each(|host| host.configure("-6 addr flush dev eth0"));
    host.configure(&format!("addr del {}/16 dev eth0", host.ip));
    host.configure("addr add 10.77.9.9/16 broadcast + dev eth0");
    for at in [1, 2] {
        running[at].wait_for_peer(&ids[0], "the new address", |peer| {
            peer.state == allibrary::status::PeerState::Connected
                && peer.address.as_ref().is_some_and(|address| address.starts_with("/ip4/10.77.9.9/"))
        });
    }
    wait_for_mesh(&mut running, &ids, &all);
    wait_until("the new address in what it says itself", || {
        running[0].status().is_some_and(|status| status["listen"].to_string().contains("10.77.9.9"))
    });
}
