//! What is here of a blob, piece by piece, for whoever waits for more of it.

use std::ops::Range;

use event_listener::EventListener;

use super::{Store, StoreError, numbers::Numbers};
use crate::{
    content::ContentId,
    limits::{GROUP_BYTES, store::HOLDING_PIECES},
};

/// Looks at what is here of one blob, and knows what it has seen. It costs the same for blobs of all sizes: of large ones,
/// several groups are one piece, which is here when all of them are.
pub struct Holding {
    store: Store,
    id: ContentId,
    seen: Seen,
    is_whole: bool,
}

impl Store {
    /// A look at a blob, which may come later.
    pub fn holding(&self, id: ContentId) -> Holding {
        Holding { store: self.clone(), id, seen: Seen::default(), is_whole: false }
    }

    /// Becomes ready when more of any blob is here than when this was called.
    pub fn news(&self) -> EventListener {
        self.0.news.listen()
    }
}

impl Holding {
    /// What is here now and was not seen yet: ascending, whole groups, at most `most` ranges. Nothing if it is all that there is.
    pub fn more(&mut self, most: usize) -> Result<Vec<Range<u64>>, StoreError> {
        // Not under the lock of all.
        let partial = self.store.partials().get(&self.id).cloned();
        if let Some(partial) = partial {
            let groups = partial.groups();
            return Ok(self.seen.more(groups.size(), most, |group| groups.contains(group)));
        }
        let record = self.store.0.index.record(&self.id)?;
        let Some(record) = record.filter(|it| self.store.as_seen(it).is_available()) else { return Ok(Vec::new()) };
        let ranges = self.seen.more(record.size, most, |_| true);
        self.is_whole = ranges.len() < most;
        Ok(ranges)
    }

    /// Bytes of the whole blob, as of the last look; 0 while nothing is known of it.
    pub fn size(&self) -> u64 {
        self.seen.size
    }

    /// Whether all of it is here and was seen.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// The pieces of a blob that somebody has seen.
#[derive(Default)]
struct Seen {
    size: u64,
    told: Numbers,
}

impl Seen {
    fn more(&mut self, size: u64, most: usize, has: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
        let groups = size.div_ceil(GROUP_BYTES);
        let each = groups.div_ceil(HOLDING_PIECES).max(1);
        if self.size != size {
            *self = Self { size, told: Numbers::none(groups.div_ceil(each)) };
        }
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for piece in 0..groups.div_ceil(each) {
            let mut of_piece = piece * each..((piece + 1) * each).min(groups);
            let (start, end) = (of_piece.start * GROUP_BYTES, (of_piece.end * GROUP_BYTES).min(size));
            if self.told.has(piece) || !of_piece.all(&has) {
                continue;
            }
            let is_full = ranges.len() == most;
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ if is_full => break,
                _ => ranges.push(start..end),
            }
            self.told.add(piece);
        }
        ranges
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_seen_once_and_when_it_is_whole() {
        let size = 20 * GROUP_BYTES + 5;
        let (mut seen, mut here) = (Seen::default(), [false; 21]);
        let mut told = [0; 21];
        for seed in 0..40u64 {
            here[(seed * 2_654_435_761 % 21) as usize] = true;
            for range in seen.more(size, 2, |group| here[group as usize]) {
                assert!(range.end.is_multiple_of(GROUP_BYTES) || range.end == size);
                (range.start / GROUP_BYTES..range.end.div_ceil(GROUP_BYTES)).for_each(|at| told[at as usize] += 1);
            }
        }
        assert_eq!(told, [1; 21]);
        assert_eq!(seen.more(size, 9, |_| true), []);
        // Another size is another blob.
        assert_eq!(seen.more(size - 6, 9, |group| group == 1), [GROUP_BYTES..2 * GROUP_BYTES]);
    }

    #[test]
    fn a_large_blob_has_large_pieces() {
        let groups = 2 * HOLDING_PIECES + 1;
        let mut seen = Seen::default();
        let more = seen.more(groups * GROUP_BYTES, 9, |group| group > 3 && group != 9);
        assert_eq!(more, [6 * GROUP_BYTES..9 * GROUP_BYTES, 12 * GROUP_BYTES..groups * GROUP_BYTES]);
        assert!(seen.told.has(HOLDING_PIECES / 2));
    }
}
