//! The pieces of a blob: what rarity and turns are counted in. Pure.

use std::ops::Range;

use super::SourceId;
use crate::limits::{GROUP_BYTES, transfer::PIECES, wire::DATA_BYTES};

/// Pieces of some groups each, at most [`PIECES`]; the last one may be shorter.
#[derive(Debug)]
pub(super) struct Pieces {
    groups: u64,
    groups_each: u64,
    /// How many groups of a piece the sources have, all added up.
    copies: Vec<u32>,
    /// How many of those who fetch the same blob should fetch this piece before this node. Each node finds the same order
    /// of all of them for a piece, so that no two fetch the same one from the only source that has it.
    turns: Vec<u8>,
}

impl Pieces {
    pub(super) fn new(groups: u64) -> Self {
        let mut groups_each = DATA_BYTES / GROUP_BYTES;
        while groups.div_ceil(groups_each) > PIECES {
            groups_each *= 2;
        }
        let count = groups.div_ceil(groups_each) as usize;
        Self { groups, groups_each, copies: vec![0; count], turns: vec![0; count] }
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

    /// Somebody fetches the same blob, or does so no more.
    pub(super) fn share(&mut self, me: SourceId, other: SourceId, fetches: bool) {
        for (piece, turn) in self.turns.iter_mut().enumerate() {
            if lot(piece, other) < lot(piece, me) {
                *turn = if fetches { turn.saturating_add(1) } else { turn.saturating_sub(1) };
            }
        }
    }

    /// The lower, the sooner this node should fetch a piece: rare ones first, of these its own, of these the front ones; of
    /// those of others the ones behind, which they have not come to.
    pub(super) fn order(&self, piece: usize) -> (u32, u8, usize) {
        let place = if self.turns[piece] == 0 { piece } else { self.count() - piece };
        (self.copies[piece], self.turns[piece], place)
    }
}

/// What a node draws for a piece: the same wherever it is drawn (splitmix64).
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
            let all = Pieces::new(groups);
            assert_eq!(all.count(), pieces);
            let cut = Vec::from_iter(all.cut(0..groups));
            assert_eq!(cut.iter().map(|(piece, _)| *piece).collect::<Vec<_>>(), Vec::from_iter(0..pieces));
            assert!(cut.iter().all(|(piece, part)| *part == all.groups(*piece)));
        }
        assert_eq!(Vec::from_iter(Pieces::new(12).cut(3..9)), [(0, 3..4), (1, 4..8), (2, 8..9)]);
    }

    #[test]
    fn each_piece_is_one_nodes_own() {
        let nodes = [3, 17, 99, 100, u64::MAX].map(SourceId);
        let views = nodes.map(|me| {
            let mut pieces = Pieces::new(4 * 1000);
            nodes.iter().filter(|other| **other != me).for_each(|other| pieces.share(me, *other, true));
            pieces
        });
        for piece in 0..1000 {
            let mut turns = views.each_ref().map(|view| view.turns[piece]);
            turns.sort_unstable();
            assert_eq!(turns, [0, 1, 2, 3, 4]);
        }
        for view in &views {
            let own = view.turns.iter().filter(|turn| **turn == 0).count();
            assert!((150..250).contains(&own), "{own} of 1000 between five");
        }
    }
}
