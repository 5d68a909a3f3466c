//! The pieces of a blob: what rarity and turns are counted in. Pure.

use std::ops::Range;

use super::SourceId;
use crate::limits::{
    GROUP_BYTES,
    transfer::{FIRST_BYTES, PIECES, SHARED_BYTES},
    wire::DATA_BYTES,
};

/// Pieces of some groups each, at most [`PIECES`]; the last one may be shorter.
#[derive(Debug)]
pub(super) struct Pieces {
    groups: u64,
    groups_each: u64,
    /// How many groups of a piece the sources have, all added up.
    copies: Vec<u32>,
    me: SourceId,
    /// The piece that this node begins with. If all began in front, those who fetch a blob at the same time would ask for the same
    /// until they know of each other. It is not far from the front: not every file system leaves holes.
    pub(super) start: usize,
    /// How many nodes are known to fetch the blob, this one among them, and how many of these come before it in the order of
    /// their numbers, which is the same wherever they are known.
    fetching: usize,
    before: usize,
}

impl Pieces {
    pub(super) fn new(groups: u64, me: SourceId) -> Self {
        let mut groups_each = DATA_BYTES / GROUP_BYTES;
        while groups.div_ceil(groups_each) > PIECES {
            groups_each *= 2;
        }
        let count = groups.div_ceil(groups_each) as usize;
        let first = if groups * GROUP_BYTES < SHARED_BYTES { 1 } else { FIRST_BYTES / (groups_each * GROUP_BYTES) };
        let start = (lot(0, me) % first.clamp(1, count.max(1) as u64)) as usize;
        Self { groups, groups_each, copies: vec![0; count], me, start, fetching: 1, before: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.copies.len()
    }

    /// The groups of a piece.
    pub(super) fn groups(&self, piece: usize) -> Range<u64> {
        let start = piece as u64 * self.groups_each;
        start..(start + self.groups_each).min(self.groups)
    }

    /// A range of groups, cut where pieces end.
    pub(super) fn cut(&self, range: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> + use<> {
        let each = self.groups_each;
        let mut next = range.start;
        std::iter::from_fn(move || {
            let part = next..range.end.min((next / each + 1) * each);
            next = part.end;
            (part.start < part.end).then_some(((part.start / each) as usize, part))
        })
    }

    /// So many groups of a piece are to be had from one source more, or less.
    pub(super) fn add_copies(&mut self, piece: usize, groups: i64) {
        self.copies[piece] = self.copies[piece].saturating_add_signed(groups as i32);
    }

    /// These others fetch the same blob.
    pub(super) fn share(&mut self, others: &[SourceId]) {
        self.fetching = others.len() + 1;
        self.before = others.iter().filter(|other| **other < self.me).count();
    }

    /// In order, from where this node begins.
    pub(super) fn place(&self, piece: usize) -> usize {
        (piece + self.count() - self.start) % self.count()
    }

    /// The lower, the sooner this node should fetch a piece that all the others who fetch the blob lack: first its own, in order
    /// from where it began, so that no two fetch the same one; then those of others, in an order that it has drawn, so that two
    /// who help the same one hardly ever do.
    pub(super) fn turn(&self, piece: usize) -> (bool, u64) {
        let is_own = piece % self.fetching == self.before;
        (!is_own, if is_own { self.place(piece) as u64 } else { lot(piece, self.me) })
    }

    /// The lower, the sooner this node should fetch a piece: rare ones first.
    pub(super) fn order(&self, piece: usize) -> (u32, (bool, u64)) {
        (self.copies[piece], self.turn(piece))
    }
}

/// What a node draws for a piece (splitmix64).
fn lot(piece: usize, node: SourceId) -> u64 {
    let mut lot = node.0 ^ (piece as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    lot = (lot ^ lot >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    lot = (lot ^ lot >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    lot ^ lot >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_blob_has_few_pieces() {
        for (groups, pieces) in [(0, 0), (1, 1), (4, 1), (5, 2), (16_384, 4096), (16_385, 2049), (1_600_000, 3125)] {
            let all = Pieces::new(groups, SourceId(1));
            assert_eq!(all.count(), pieces);
            let cut = Vec::from_iter(all.cut(0..groups));
            assert_eq!(cut.iter().map(|(piece, _)| *piece).collect::<Vec<_>>(), Vec::from_iter(0..pieces));
            assert!(cut.iter().all(|(piece, part)| *part == all.groups(*piece)));
        }
        assert_eq!(Vec::from_iter(Pieces::new(12, SourceId(1)).cut(3..9)), [(0, 3..4), (1, 4..8), (2, 8..9)]);
    }

    #[test]
    fn nodes_begin_at_different_places_in_front() {
        for (groups, different) in [(63, 1), (1000, 15), (16_384, 15), (1_600_000, 2)] {
            let all = Vec::from_iter((0..20).map(|node| Pieces::new(groups, SourceId(node))));
            let starts = std::collections::BTreeSet::from_iter(all.iter().map(|it| it.groups(it.start).start));
            assert!(starts.len() >= different, "{groups}: {starts:?}");
            assert!(starts.iter().all(|start| start * GROUP_BYTES < FIRST_BYTES));
        }
    }

    #[test]
    fn each_piece_is_one_nodes_own() {
        let nodes = [3, 17, 99, 100, u64::MAX].map(SourceId);
        let views = nodes.map(|me| {
            let mut pieces = Pieces::new(4 * 1000, me);
            pieces.share(&nodes.into_iter().filter(|other| *other != me).collect::<Vec<_>>());
            pieces
        });
        for piece in 0..1000 {
            assert_eq!(views.iter().filter(|view| !view.turn(piece).0).count(), 1);
        }
        let helped_first = views.iter().map(|view| {
            let mut order = Vec::from_iter(0..1000);
            order.sort_unstable_by_key(|piece| view.turn(*piece));
            let (own, others) = order.split_at(200);
            assert!(own.iter().all(|piece| !view.turn(*piece).0));
            assert!(own.iter().map(|piece| (*piece < view.start, piece)).is_sorted(), "from where it begins");
            others[0]
        });
        assert_eq!(std::collections::BTreeSet::from_iter(helped_first).len(), 5);
    }
}
