use super::*;

const OPTIONS: Options = Options { shape: None, mesh_nodes: 24, hub_nodes: 300 };

/// Ids in no order, and nodes that differ in nothing else.
fn equals(count: usize) -> Vec<Candidate> {
    let node = |number: usize| NodeId(*blake3::hash(&number.to_le_bytes()).as_bytes());
    (0..count).map(|number| Candidate { node: node(number), capacity: 128, uptime_s: 60 }).collect()
}

#[test]
fn a_count_that_wavers_around_a_limit_switches_once() {
    let nodes = equals(310);
    for (limit, shapes) in [(24, [Shape::Mesh, Shape::Hubs]), (300, [Shape::Hubs, Shape::Tree])] {
        let mut topology = Topology::new(OPTIONS);
        let mut seen = Vec::new();
        for step in 0..1000 {
            let count = limit - 2 + step * 7 % 6;
            topology.choose(&nodes[0], &nodes[1..count]);
            seen.push(topology.shape());
        }
        seen.dedup();
        assert_eq!(seen, shapes);
        topology.choose(&nodes[0], &nodes[1..limit - limit / 8]);
        assert_eq!(topology.shape(), shapes[0], "well below, it goes back");
    }
}
