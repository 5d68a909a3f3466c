//! Which ranges are asked of a single source. Pure.

use std::{collections::VecDeque, ops};

use crate::{
    limits::{transfer::REQUEST_BYTES, wire::DATA_BYTES},
    wire::blob::{Range, Ranges},
};

/// Cuts what is missing of a blob into requests, in ascending order: for one source.
pub struct InOrder {
    missing: VecDeque<ops::Range<u64>>,
}

impl InOrder {
    /// A plan for these ranges: ascending, apart, of whole groups (the blob's last one may be shorter).
    pub fn new(missing: Vec<ops::Range<u64>>) -> Self {
        Self { missing: missing.into() }
    }

    /// The ranges of the next request, at most [`REQUEST_BYTES`]; none when everything has been asked for.
    ///
    /// They end at multiples of [`DATA_BYTES`] where they can, so that each `Data` frame is one subtree and its proof short.
    pub fn next_request(&mut self) -> Option<Ranges> {
        let (mut ranges, mut free) = (Ranges::new(), REQUEST_BYTES);
        while let Some(next) = self.missing.front_mut() {
            let end = next.end.min(next.start.saturating_add(free) / DATA_BYTES * DATA_BYTES);
            if end <= next.start || ranges.push(Range { start: next.start, len: end - next.start }).is_err() {
                break;
            }
            free -= end - next.start;
            next.start = end;
            if next.start == next.end {
                self.missing.pop_front();
            }
        }
        (!ranges.is_empty()).then_some(ranges)
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::limits::GROUP_BYTES;

    #[test]
    fn a_whole_blob_is_asked_for_in_aligned_megabytes() {
        let mut plan = InOrder::new(vec![GROUP_BYTES..5 * REQUEST_BYTES + 7]);
        let mut starts = BTreeSet::new();
        while let Some(ranges) = plan.next_request() {
            assert_eq!(ranges.len(), 1);
            assert!(ranges[0].len > REQUEST_BYTES - DATA_BYTES || ranges[0].end() == Some(5 * REQUEST_BYTES + 7));
            starts.insert(ranges[0].start);
        }
        assert!(starts.iter().skip(1).all(|start| start.is_multiple_of(DATA_BYTES)));
        assert_eq!(starts.len(), 6);
    }
}
