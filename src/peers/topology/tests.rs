use std::collections::BTreeMap;

use super::*;

const OPTIONS: Options = Options { shape: None, mesh_nodes: 24, hub_nodes: 300 };

fn id(number: usize) -> NodeId {
    NodeId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Nodes that differ in nothing but their ids.
fn equals(count: usize) -> Vec<Candidate> {
    (0..count).map(|number| Candidate { node: id(number), capacity: 128, uptime_s: 60 }).collect()
}

/// Nodes of all kinds; one in ten takes few peers.
fn mixed(count: usize, rng: &mut fastrand::Rng) -> Vec<Candidate> {
    let mut one = |number| {
        let capacity = if rng.u32(..10) == 0 { rng.u16(8..64) } else { 128 };
        Candidate { node: id(number), capacity, uptime_s: rng.u32(..30 * 24 * 3600) }
    };
    (0..count).map(&mut one).collect()
}

/// What all choices together make: a connection wherever one of two dials.
struct Graph {
    links: Vec<Vec<usize>>,
}

impl Graph {
    /// Each node knows each other one with this chance.
    fn new(nodes: &[Candidate], known: f64, rng: &mut fastrand::Rng) -> Self {
        let number: BTreeMap<NodeId, usize> = nodes.iter().enumerate().map(|(at, one)| (one.node, at)).collect();
        let mut links = vec![BTreeSet::new(); nodes.len()];
        for (at, me) in nodes.iter().enumerate() {
            let others: Vec<Candidate> = nodes.iter().filter(|_| known >= 1.0 || rng.f64() < known).copied().collect();
            for node in Topology::new(OPTIONS).choose(me, &others) {
                links[at].insert(number[&node]);
                links[number[&node]].insert(at);
            }
        }
        Self { links: links.into_iter().map(|links| links.into_iter().collect()).collect() }
    }

    fn degree(&self) -> usize {
        self.links.iter().map(Vec::len).max().unwrap()
    }

    /// How many are reached from this node without that one, itself included, and the steps to the farthest.
    fn reach(&self, from: usize, without: Option<usize>) -> (usize, usize) {
        let mut seen = vec![false; self.links.len()];
        seen[from] = true;
        if let Some(without) = without {
            seen[without] = true;
        }
        let (mut rim, mut count, mut steps) = (vec![from], 1, 0);
        loop {
            let mut next = Vec::new();
            for &at in &rim {
                for &to in &self.links[at] {
                    if !std::mem::replace(&mut seen[to], true) {
                        next.push(to);
                    }
                }
            }
            if next.is_empty() {
                return (count, steps);
            }
            (count, steps, rim) = (count + next.len(), steps + 1, next);
        }
    }

    /// The greatest distance of two nodes; none if they are not connected.
    fn diameter(&self) -> Option<usize> {
        let all = self.links.len();
        let farthest = |from| Some(self.reach(from, None)).filter(|(count, _)| *count == all).map(|(_, steps)| steps);
        (0..all).try_fold(0, |most: usize, from| Some(most.max(farthest(from)?)))
    }

    /// Whether the others stay connected, whoever dies.
    fn survives_each_death(&self) -> bool {
        let all = self.links.len();
        (0..all).all(|dead| self.reach(usize::from(dead == 0), Some(dead)).0 == all - 1)
    }

    /// Sent until all have an announcement that everybody passes on once, to all but the one whom it came from.
    fn messages(&self) -> usize {
        let ends: usize = self.links.iter().map(Vec::len).sum();
        ends - (self.links.len() - 1)
    }
}

/// Kinds of nodes, and the part of the others that each knows.
const ALL: [(&str, f64); 4] = [("equal", 1.0), ("equal", 0.9), ("mixed", 1.0), ("mixed", 0.9)];
/// The easiest and the hardest.
const SOME: [(&str, f64); 2] = [ALL[0], ALL[3]];

/// Builds graphs of so many nodes, and holds them to what ARCHITECTURE.md says.
fn prove(counts: impl Iterator<Item = usize>, kinds: &[(&str, f64)], degree: usize, diameter: usize, messages: usize) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut worst = (0, 0, 0.0_f64);
    for count in counts {
        for &(kind, known) in kinds {
            let nodes = if kind == "equal" { equals(count) } else { mixed(count, &mut rng) };
            let graph = Graph::new(&nodes, known, &mut rng);
            let name = format!("{count} {kind} nodes that know {known} of the others");
            let found = graph.diameter().unwrap_or_else(|| panic!("{name} are not connected"));
            assert!(found <= diameter, "{name}: diameter {found}");
            assert!(graph.degree() <= degree, "{name}: degree {}", graph.degree());
            assert!(graph.survives_each_death(), "{name}: one can cut them");
            assert!(graph.messages() <= messages * count, "{name}: {} messages", graph.messages());
            let each = graph.messages() as f64 / count as f64;
            println!("{name}: degree {}, diameter {found}, {each:.1} messages each", graph.degree());
            worst = (worst.0.max(graph.degree()), worst.1.max(found), worst.2.max(each));
        }
    }
    println!("degree {}, diameter {}, messages for each node {:.1}", worst.0, worst.1, worst.2);
}

#[test]
fn a_mesh_connects_each_with_each() {
    prove(2..=24, &SOME, 23, 2, 23);
}

#[test]
fn hubs_keep_300_nodes_close_and_in_one_piece() {
    prove([25, 30, 60, 120, 200, 300].into_iter(), &SOME, 128, 4, 23);
}

#[test]
fn a_tree_keeps_1000_nodes_close_and_in_one_piece() {
    prove([301, 1000].into_iter(), &SOME, 128, 6, 9);
}

#[test]
#[ignore = "a minute: all numbers of nodes"]
fn all_numbers_of_nodes_stay_close_and_in_one_piece() {
    prove(25..=300, &ALL, 128, 4, 23);
    prove((301..=1000).step_by(30), &ALL, 128, 6, 9);
}

/// Nodes of one kind share the load; those that take fewer get less; a short-lived or small node is no hub.
#[test]
fn hubs_are_useful_nodes_and_share_the_load() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut nodes = equals(300);
    for (at, node) in nodes.iter_mut().enumerate() {
        match at {
            0..30 => (node.capacity, node.uptime_s) = (128, 1_000_000),
            30..60 => (node.capacity, node.uptime_s) = (16, 1_000_000),
            _ => node.uptime_s = 7200,
        }
    }
    let graph = Graph::new(&nodes, 1.0, &mut rng);
    let degrees: Vec<usize> = graph.links.iter().map(Vec::len).collect();
    let hubs: Vec<usize> = (0..300).filter(|at| degrees[*at] > 30).collect();
    assert_eq!(hubs.len(), 17, "the root of 300: {hubs:?}");
    assert!(hubs.iter().all(|hub| *hub < 30), "only the best are: {hubs:?}");
    let (least, most) = hubs.iter().fold((128, 0), |(a, b), hub| (degrees[*hub].min(a), degrees[*hub].max(b)));
    assert!(most <= 2 * least && most <= 90, "a hub has {least} to {most} peers");
}

/// Hubs are found anew by all when some go, by those alone that lost one.
#[test]
fn when_a_hub_goes_only_its_own_nodes_choose_anew() {
    let nodes = equals(200);
    let mut topologies = vec![Topology::new(OPTIONS); nodes.len()];
    let choose = |topologies: &mut [Topology], others: &[Candidate]| -> Vec<BTreeSet<NodeId>> {
        nodes.iter().zip(topologies).map(|(me, topology)| topology.choose(me, others)).collect()
    };
    let before = choose(&mut topologies, &nodes);
    let hub = *topologies[0].above.first().unwrap();
    let rest: Vec<Candidate> = nodes.iter().filter(|one| one.node != hub).copied().collect();
    let after = choose(&mut topologies, &rest);
    let mut kept = 0;
    for ((one, before), after) in nodes.iter().zip(&before).zip(&after) {
        let lost = before.difference(after).filter(|node| **node != hub).count();
        // The new hub draws some nodes from others.
        assert!(one.node == hub || lost <= 1, "{:?} left {lost} that are still there", one.node);
        kept += usize::from(before == after);
    }
    assert!(kept > 100, "{kept} of 200 changed nothing");
}

/// What others know of a node's uptime is minutes old, and different with each.
#[test]
fn hubs_change_seldom_while_uptimes_grow() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut nodes = mixed(100, &mut rng);
    let mut topology = Topology::new(OPTIONS);
    topology.choose(&nodes[0], &nodes);
    let (mut hubs, mut changes) = (topology.above.clone(), 0);
    for _minute in 0..7 * 24 * 60 {
        for node in &mut nodes {
            node.uptime_s += rng.u32(..120);
        }
        topology.choose(&nodes[0], &nodes);
        changes += hubs.difference(&topology.above).count();
        hubs.clone_from(&topology.above);
    }
    assert!(changes <= 20, "{changes} changes of 10 hubs in a week");
}

#[test]
fn a_small_node_dials_few_and_stays_on_the_ring() {
    let mut nodes = equals(20);
    nodes[3].capacity = 4;
    let chosen = Topology::new(OPTIONS).choose(&nodes[3], &nodes);
    assert_eq!(chosen.len(), 4);
    assert!(
        neighbours(&nodes[3], &nodes.iter().filter(|one| one.node != nodes[3].node).copied().collect::<Vec<_>>())
            .is_subset(&chosen)
    );
    nodes[3].capacity = 0;
    assert_eq!(Topology::new(OPTIONS).choose(&nodes[3], &nodes).len(), 1, "it dials one at least");
    assert!(Topology::new(OPTIONS).choose(&nodes[3], &[]).is_empty());
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
