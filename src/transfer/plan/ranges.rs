//! Groups as messages name them. Pure.

use std::ops;

use crate::{groups::Groups, wire::blob::Range};

/// The groups of a blob that lie in a range which somebody sent: whatever it says, they are groups of that blob.
pub fn groups_in(of: &Groups, range: &Range) -> ops::Range<u64> {
    of.inside(&(range.start..range.start.saturating_add(range.len)))
}

/// A range of groups of a blob, as a message names it.
pub fn range_of(of: &Groups, groups: &ops::Range<u64>) -> Range {
    let bytes = of.bytes(groups);
    Range { start: bytes.start, len: bytes.end - bytes.start }
}

/// What is in a set, in as many messages as that takes: of the whole set or, of one that grew, what is new, see
/// [`Groups::subtract`]. What `transfer::watch` does for what is on disk.
#[cfg(test)]
pub fn messages<const RANGES: usize>(groups: &Groups) -> impl Iterator<Item = heapless::Vec<Range, RANGES>> {
    let mut runs = groups.runs(0..groups.len()).map(|run| range_of(groups, &run));
    std::iter::from_fn(move || {
        let mut ranges = heapless::Vec::new();
        while !ranges.is_full()
            && let Some(range) = runs.next()
        {
            ranges.push(range).expect("there is room");
        }
        (!ranges.is_empty()).then_some(ranges)
    })
}
