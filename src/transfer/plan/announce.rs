//! What is sent of what was asked for. Pure.

use std::ops;

use crate::{
    limits::{GROUP_BYTES, wire::DATA_BYTES},
    wire::blob::{Range, Ranges},
};

/// What is sent of the ranges that were `asked` of a blob, if these ranges of it are `held`: whole groups, ascending, apart.
/// What would not fit into the announcement is left out.
pub fn announce(asked: &[Range], held: &[ops::Range<u64>], size: u64) -> Ranges {
    let mut announced = Ranges::new();
    let mut sent_to = 0;
    for range in asked.iter().take_while(|range| range.start < size) {
        let start = (range.start / GROUP_BYTES * GROUP_BYTES).max(sent_to);
        let end = range.end().unwrap_or(u64::MAX).min(size).div_ceil(GROUP_BYTES).saturating_mul(GROUP_BYTES).min(size);
        let first = held.partition_point(|held| held.end <= start);
        for held in held[first..].iter().take_while(|held| held.start < end) {
            let (start, end) = (start.max(held.start), end.min(held.end));
            if start >= end {
                continue;
            }
            if let Some(last) = announced.last_mut()
                && last.end() == Some(start)
            {
                last.len += end - start;
            } else if announced.push(Range { start, len: end - start }).is_err() {
                return announced;
            }
            sent_to = end;
        }
    }
    announced
}

/// Takes the content of the next `Data` frame out of what was announced.
pub fn next_data(announced: &mut Ranges) -> Option<Range> {
    let range = announced.first_mut()?;
    let len = range.len.min(DATA_BYTES - range.start % DATA_BYTES);
    let data = Range { start: range.start, len };
    *range = Range { start: range.start + len, len: range.len - len };
    if range.len == 0 {
        announced.remove(0);
    }
    Some(data)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A blob of some groups, the last one short, and for each group whether it is in the set.
    fn blob_and_set() -> impl Strategy<Value = (u64, Vec<bool>)> {
        (1..=GROUP_BYTES, proptest::collection::vec(any::<bool>(), 1..120))
            .prop_map(|(last, groups)| ((groups.len() as u64 - 1) * GROUP_BYTES + last, groups))
    }

    fn ranges_of(size: u64, groups: &[bool]) -> Vec<ops::Range<u64>> {
        let mut ranges: Vec<ops::Range<u64>> = Vec::new();
        for at in (0..groups.len()).filter(|at| groups[*at]) {
            let start = at as u64 * GROUP_BYTES;
            let end = (start + GROUP_BYTES).min(size);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }

    /// The groups in these ranges, which must be whole, ascending and apart.
    fn groups_of(size: u64, ranges: &[Range]) -> Vec<u64> {
        let mut groups = Vec::new();
        for range in ranges {
            let end = range.end().unwrap();
            assert!(range.len > 0 && end <= size);
            assert!(range.start.is_multiple_of(GROUP_BYTES) && (end.is_multiple_of(GROUP_BYTES) || end == size));
            groups.extend(range.start / GROUP_BYTES..end.div_ceil(GROUP_BYTES));
        }
        assert!(groups.is_sorted_by(|a, b| a < b));
        groups
    }

    fn all_true(groups: &[bool]) -> Vec<u64> {
        (0..groups.len()).filter(|at| groups[*at]).map(|at| at as u64).collect()
    }

    proptest! {
        #[test]
        fn announced_is_what_is_asked_and_held(
            (size, held) in blob_and_set(),
            cuts in proptest::collection::btree_set(0..130 * GROUP_BYTES, 0..20),
        ) {
            let cuts = Vec::from_iter(cuts);
            let asked: Vec<Range> =
                cuts.chunks_exact(2).map(|cut| Range { start: cut[0], len: cut[1] - cut[0] }).collect();
            let touched = |group: &u64| {
                let (start, end) = (group * GROUP_BYTES, ((group + 1) * GROUP_BYTES).min(size));
                asked.iter().any(|range| range.start < end && range.start + range.len > start)
            };
            let naive: Vec<u64> = all_true(&held).into_iter().filter(touched).collect();
            let announced = announce(&asked, &ranges_of(size, &held), size);
            let groups = groups_of(size, &announced);
            prop_assert!(naive.starts_with(&groups));
            prop_assert!(groups == naive || announced.is_full());

            let mut left = announced;
            let mut sent = Vec::new();
            while let Some(data) = next_data(&mut left) {
                prop_assert!(data.len <= DATA_BYTES);
                sent.extend(groups_of(size, &[data]));
            }
            prop_assert_eq!(sent, groups);
        }
    }

    #[test]
    fn hostile_ranges_do_no_harm() {
        let asked =
            [Range { start: 0, len: 1 }, Range { start: 9, len: u64::MAX - 9 }, Range { start: u64::MAX - 1, len: 1 }];
        let whole = [Range { start: 0, len: 10 }];
        assert_eq!(&announce(&asked, &[0..10], 10)[..], &whole);
        assert!(announce(&asked, &[], 10).is_empty());
        assert!(announce(&asked, &[], 0).is_empty());
        let huge = announce(&asked, &[0..u64::MAX], u64::MAX);
        assert_eq!(huge.iter().map(|range| range.len).sum::<u64>(), u64::MAX);
    }
}
