//! What is here of a blob, piece by piece, for whoever waits for more of it.

use std::ops::Range;

use event_listener::EventListener;

use super::{Store, StoreError};
use crate::{
    content::ContentId,
    groups::Groups,
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
            return Ok(self.seen.more(&partial.groups(), most));
        }
        let record = self.store.0.index.record(&self.id)?;
        let Some(record) = record.filter(|it| self.store.as_seen(it).is_available()) else { return Ok(Vec::new()) };
        let ranges = self.seen.more(&Groups::whole(record.size), most);
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
struct Seen {
    size: u64,
    /// As if a piece were a group.
    told: Groups,
}

impl Default for Seen {
    fn default() -> Self {
        Self { size: 0, told: Groups::none(0) }
    }
}

impl Seen {
    /// It costs a step for each 64 pieces, and some for each run of what is new.
    fn more(&mut self, here: &Groups, most: usize) -> Vec<Range<u64>> {
        let groups = here.len();
        let each = groups.div_ceil(HOLDING_PIECES).max(1);
        let pieces = groups.div_ceil(each);
        if self.size != here.size() {
            *self = Self { size: here.size(), told: Groups::none(pieces * GROUP_BYTES) };
        }
        let unseen = self.told.gaps(0..pieces).flat_map(|gap| here.runs(gap.start * each..gap.end * each));
        let whole = unseen.map(|run| run.start.div_ceil(each)..if run.end == groups { pieces } else { run.end / each });
        let new: Vec<_> = whole.filter(|run| run.start < run.end).take(most).collect();
        new.into_iter()
            .map(|run| {
                self.told.insert(run.clone());
                here.bytes(&(run.start * each..run.end * each))
            })
            .collect()
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests {
    use super::*;

    fn some(size: u64, has: impl Fn(u64) -> bool) -> Groups {
        let mut groups = Groups::none(size);
        (0..groups.len()).filter(|group| has(*group)).for_each(|group| groups.add(group));
        groups
    }

    #[test]
    fn each_piece_is_seen_once_and_when_it_is_whole() {
        let size = 20 * GROUP_BYTES + 5;
        let (mut seen, mut here) = (Seen::default(), Groups::none(size));
        let mut told = [0; 21];
        for seed in 0..40u64 {
            here.add(seed * 2_654_435_761 % 21);
            for range in seen.more(&here, 2) {
                assert!(range.end.is_multiple_of(GROUP_BYTES) || range.end == size);
                (range.start / GROUP_BYTES..range.end.div_ceil(GROUP_BYTES)).for_each(|at| told[at as usize] += 1);
            }
        }
        assert_eq!(told, [1; 21]);
        assert_eq!(seen.more(&Groups::whole(size), 9), []);
        // Another size is another blob.
        assert_eq!(seen.more(&some(size - 6, |group| group == 1), 9), [GROUP_BYTES..2 * GROUP_BYTES]);
        assert_eq!(seen.more(&Groups::none(0), 9), []);
    }

    #[test]
    fn a_large_blob_has_large_pieces() {
        let groups = 2 * HOLDING_PIECES + 1;
        let size = groups * GROUP_BYTES - 7;
        let mut seen = Seen::default();
        let more = seen.more(&some(size, |group| group > 3 && group != 9), 9);
        assert_eq!(more, [6 * GROUP_BYTES..9 * GROUP_BYTES, 12 * GROUP_BYTES..size]);
        assert_eq!(seen.more(&some(size, |group| group > 3 && group != 11), 9), [], "9 to 11 are one piece");
        assert_eq!(seen.more(&Groups::whole(size), 9), [0..6 * GROUP_BYTES, 9 * GROUP_BYTES..12 * GROUP_BYTES]);
    }
}
