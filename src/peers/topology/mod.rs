//! Whom a node dials of those it knows, so that all together stay connected with few connections each. Each node decides for
//! itself; as all see about the same, the choices fit. Whoever dials is let in, so nobody has to agree.
//!
//! | nodes | shape | each node dials |
//! |---|---|---|
//! | to 24 | mesh | everybody |
//! | to 300 | hubs | 3 hubs and its two neighbours on the ring of ids; hubs all other hubs besides |
//! | above | tree | 2 middle nodes; those 2 roots; roots all other roots |
//!
//! There are √n hubs, or 8 roots and n ÷ 24 middle nodes: the most useful of all, by capacity times
//! uptime in steps of two, so that small differences change nothing; ids decide between equals. Which of them a node dials
//! is drawn by weighted rendezvous hashing (<https://www.ietf.org/archive/id/draft-ietf-bess-weighted-hrw-00.html>): spread
//! by capacity, and when one of them goes, only its own nodes choose anew.
//!
//! Nodes do not all know the same others. A node near the edge of the useful ones is a hub to some and not to others, so it
//! dials as if it were one. The shape changes upwards when the limit is passed, and downwards an eighth below it; who is a
//! hub keeps being one until others are twice as useful. ARCHITECTURE.md has the measured degrees and diameters.

use std::collections::BTreeSet;

use crate::{content::NodeId, limits};

/// Hubs that a node dials.
const HUBS_EACH: usize = 3;
/// Middle nodes that a leaf dials.
const MIDDLES_EACH: usize = 2;
/// Roots that a middle node dials.
const ROOTS_EACH: usize = 2;
/// Roots of a tree.
const ROOTS: usize = 8;
/// Nodes of a tree for each middle node.
const LEAVES_PER_MIDDLE: usize = 24;
/// More uptime makes nobody more useful.
const UPTIME_MAX_H: u32 = 7 * 24;

/// How nodes connect with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each with each.
    Mesh,
    /// Through hubs that know each other.
    Hubs,
    /// Through middle nodes and roots.
    Tree,
}

/// What a topology is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The shape; else the number of nodes chooses it.
    pub shape: Option<Shape>,
    /// Nodes up to which it is a mesh.
    pub mesh_nodes: usize,
    /// Nodes up to which it has hubs, and above which it is a tree.
    pub hub_nodes: usize,
}

/// A node that others may dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub node: NodeId,
    /// Peers that it takes at most.
    pub capacity: u16,
    /// How long it has been running.
    pub uptime_s: u32,
}

impl Candidate {
    /// Its capacity, as far as it is believed: nobody draws everybody by a great number.
    fn weight(&self) -> u32 {
        u32::from(self.capacity).clamp(1, limits::network::PEERS as u32)
    }

    /// How useful it is for others, in steps of two.
    fn usefulness(&self) -> u32 {
        let uptime_h = (self.uptime_s / 3600).clamp(1, UPTIME_MAX_H);
        self.weight().ilog2() + uptime_h.ilog2()
    }
}

/// Chooses whom this node dials.
#[derive(Debug, Clone)]
pub struct Topology {
    options: Options,
    shape: Shape,
    /// Those who were above when it was chosen last: hubs; or roots and middle nodes.
    above: BTreeSet<NodeId>,
}

impl Topology {
    /// Begins with the shape for few nodes, unless one is given.
    pub fn new(options: Options) -> Self {
        Self { options, shape: options.shape.unwrap_or(Shape::Mesh), above: BTreeSet::new() }
    }

    /// The shape of the last choice.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Goes on with other options.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
        self.shape = options.shape.unwrap_or(self.shape);
    }

    /// Whom this node dials. `others` are those who are connected or can probably be reached: in place of one that is left
    /// out another is chosen. At most as many as this node has capacity for.
    pub fn choose(&mut self, me: &Candidate, others: &[Candidate]) -> BTreeSet<NodeId> {
        let others: Vec<Candidate> = others.iter().filter(|other| other.node != me.node).copied().collect();
        self.shape = self.shape_for(others.len() + 1);
        let mut wanted = match self.shape {
            Shape::Mesh => {
                self.above.clear();
                others.iter().map(|other| other.node).collect()
            }
            Shape::Hubs => self.choose_hubs(me, &others),
            Shape::Tree => self.choose_above(me, &others),
        };
        let capacity = usize::from(me.capacity).max(1);
        if wanted.len() > capacity {
            // Neighbours on the ring keep all in one piece.
            let ring = neighbours(me, &others);
            let rest: Vec<Candidate> = others.iter().filter(|other| wanted.contains(&other.node)).copied().collect();
            let rest = draw(me, &rest, wanted.len()).filter(|node| !ring.contains(node));
            wanted = ring.iter().copied().chain(rest).take(capacity).collect();
        }
        wanted
    }

    fn shape_for(&self, nodes: usize) -> Shape {
        let Options { shape, mesh_nodes, hub_nodes } = self.options;
        if let Some(shape) = shape {
            return shape;
        }
        // Whoever is above a limit goes back well below it.
        let limit = |nodes: usize, is_above: bool| if is_above { nodes - nodes / 8 } else { nodes };
        if nodes > limit(hub_nodes.max(mesh_nodes), self.shape == Shape::Tree) {
            Shape::Tree
        } else if nodes > limit(mesh_nodes, self.shape != Shape::Mesh) {
            Shape::Hubs
        } else {
            Shape::Mesh
        }
    }

    fn choose_hubs(&mut self, me: &Candidate, others: &[Candidate]) -> BTreeSet<NodeId> {
        let all = self.ranked(me, others);
        let count = all.len().isqrt().max(HUBS_EACH).min(all.len());
        let hubs = &all[..count];
        self.above = hubs.iter().map(|hub| hub.node).collect();
        let is_hub = all.iter().take(with_margin(count)).any(|one| one.node == me.node);
        let mut wanted = neighbours(me, others);
        wanted.extend(draw(me, hubs, if is_hub { count } else { HUBS_EACH }));
        wanted
    }

    fn choose_above(&mut self, me: &Candidate, others: &[Candidate]) -> BTreeSet<NodeId> {
        let all = self.ranked(me, others);
        let roots = ROOTS.min(all.len());
        let middles = (all.len() / LEAVES_PER_MIDDLE).max(MIDDLES_EACH + 1).min(all.len() - roots);
        self.above = all[..roots + middles].iter().map(|one| one.node).collect();
        let rank = all.iter().position(|one| one.node == me.node).unwrap_or(all.len());
        let mut wanted = BTreeSet::new();
        if rank < with_margin(roots) {
            wanted.extend(draw(me, &all[..roots], roots));
        } else if rank < roots + with_margin(middles) || middles == 0 {
            wanted.extend(draw(me, &all[..roots], ROOTS_EACH));
        } else {
            wanted.extend(draw(me, &all[roots..roots + middles], MIDDLES_EACH));
        }
        wanted
    }

    /// All nodes with this one, the most useful first; those who were above before have a step ahead.
    fn ranked(&self, me: &Candidate, others: &[Candidate]) -> Vec<Candidate> {
        let usefulness = |one: &Candidate| one.usefulness() + u32::from(self.above.contains(&one.node));
        let mut all: Vec<Candidate> = others.iter().chain([me]).copied().collect();
        all.sort_by_cached_key(|one| (std::cmp::Reverse(usefulness(one)), one.node));
        all
    }
}

/// Whoever is so far up or a little below is one to others, perhaps.
fn with_margin(count: usize) -> usize {
    count + count.div_ceil(4)
}

/// The nodes before and after this one in the ring of ids.
fn neighbours(me: &Candidate, others: &[Candidate]) -> BTreeSet<NodeId> {
    let ring: BTreeSet<NodeId> = others.iter().map(|other| other.node).collect();
    let next = ring.range(me.node..).next().or(ring.first());
    let previous = ring.range(..me.node).next_back().or(ring.last());
    next.into_iter().chain(previous).copied().collect()
}

/// So many of these, other than this node, by weighted rendezvous hashing.
fn draw(me: &Candidate, from: &[Candidate], count: usize) -> impl Iterator<Item = NodeId> {
    let mut drawn: Vec<(f64, NodeId)> =
        from.iter().filter(|one| one.node != me.node).map(|one| (lot(me, one), one.node)).collect();
    drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
    drawn.into_iter().take(count).map(|(_, node)| node)
}

/// The greater, the sooner this node dials that one: -w ÷ ln(h), h evenly spread between 0 and 1.
fn lot(me: &Candidate, other: &Candidate) -> f64 {
    let hash = blake3::Hasher::new().update(&me.node.0).update(&other.node.0).finalize();
    let bits = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight of 32 bytes"));
    let h = (bits as f64 + 1.0) / (u64::MAX as f64 + 2.0);
    -f64::from(other.weight()) / h.ln().min(-f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests;
