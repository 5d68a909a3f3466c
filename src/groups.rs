//! The ground: which groups of a blob somebody has, or lacks. Pure.
//!
//! Uses the limits alone, and must never know what the groups are wanted for.

use std::ops::Range;

use crate::limits::GROUP_BYTES;

const WORD_BITS: u64 = u64::BITS as u64;

/// A set of groups of one blob. Empty and whole sets take no memory, others a bit for each group of the blob: 200 KB for
/// 100 GB. What it does to a range costs a step for each 64 groups of that range.
///
/// Groups are counted from 0; ranges of them end at [`Groups::len`] at most, what is behind that is cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    size: u64,
    count: u64,
    /// Empty if the set is empty or whole.
    words: Vec<u64>,
}

impl Groups {
    /// No group of a blob of `size` bytes.
    pub fn none(size: u64) -> Self {
        Self { size, count: 0, words: Vec::new() }
    }

    /// All groups of a blob of `size` bytes.
    pub fn whole(size: u64) -> Self {
        Self { count: size.div_ceil(GROUP_BYTES), ..Self::none(size) }
    }

    /// The groups in these ranges of bytes. A group counts if all of it is in one of them.
    pub fn of_bytes(size: u64, ranges: &[Range<u64>]) -> Self {
        let mut groups = Self::none(size);
        for range in ranges {
            groups.insert(groups.inside(range));
        }
        groups
    }

    /// Bytes of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many groups the blob has.
    pub fn len(&self) -> u64 {
        self.size.div_ceil(GROUP_BYTES)
    }

    /// How many of them are in the set.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether all are. Of an empty blob a set is empty and whole.
    pub fn is_whole(&self) -> bool {
        self.count == self.len()
    }

    /// Whether the set has this group.
    pub fn contains(&self, group: u64) -> bool {
        group < self.len() && self.word(group / WORD_BITS) & 1 << (group % WORD_BITS) != 0
    }

    /// Whether the set has the last group, which alone proves the size.
    pub fn has_last(&self) -> bool {
        self.len().checked_sub(1).is_some_and(|last| self.contains(last))
    }

    /// Adds one group.
    pub fn add(&mut self, group: u64) {
        self.insert(group..group.saturating_add(1));
    }

    /// Adds a range of groups.
    pub fn insert(&mut self, range: Range<u64>) {
        self.change(range, |word, mask| word | mask);
    }

    /// Takes a range of groups away.
    pub fn remove(&mut self, range: Range<u64>) {
        self.change(range, |word, mask| word & !mask);
    }

    /// Adds what the other set of the same blob has.
    pub fn unite(&mut self, other: &Self) {
        self.combine(other, |word, other| word | other);
    }

    /// Takes away what the other set of the same blob has.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, |word, other| word & !other);
    }

    /// How many groups of a range are in the set.
    pub fn count_in(&self, range: Range<u64>) -> u64 {
        masks(self.cut(range)).map(|(at, mask)| u64::from((self.word(at) & mask).count_ones())).sum()
    }

    /// The groups of a range that are in the set: ascending, apart.
    pub fn runs(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        runs(self.cut(range), |at| self.word(at))
    }

    /// The groups of a range that are not in the set: ascending, apart.
    pub fn gaps(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        runs(self.cut(range), |at| !self.word(at))
    }

    /// The groups of a range that are in this set and in the other one of the same blob: ascending, apart.
    pub fn shared(&self, other: &Self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        runs(self.cut(range), |at| self.word(at) & other.word(at))
    }

    /// The byte ranges of the groups that are in the set, or that are not: ascending, apart.
    pub fn ranges(&self, here: bool) -> Vec<Range<u64>> {
        let bytes = |groups: Range<u64>| self.bytes(&groups);
        if here { self.runs(0..self.len()).map(bytes).collect() } else { self.gaps(0..self.len()).map(bytes).collect() }
    }

    /// Bytes of the groups in the set.
    pub fn verified_bytes(&self) -> u64 {
        let short_by = if self.has_last() { self.len() * GROUP_BYTES - self.size } else { 0 };
        self.count * GROUP_BYTES - short_by
    }

    /// The bytes of a range of groups.
    pub fn bytes(&self, groups: &Range<u64>) -> Range<u64> {
        let at = |group: u64| group.saturating_mul(GROUP_BYTES).min(self.size);
        at(groups.start)..at(groups.end)
    }

    /// The groups of which all bytes are in this range, which anybody may have made up.
    pub fn inside(&self, bytes: &Range<u64>) -> Range<u64> {
        let end = if bytes.end >= self.size { self.len() } else { bytes.end / GROUP_BYTES };
        bytes.start.div_ceil(GROUP_BYTES).min(end)..end
    }

    /// A bit for each group, the first one the lowest of the first byte.
    pub fn to_bits(&self) -> Vec<u8> {
        let words = self.len().div_ceil(WORD_BITS);
        let mut bits: Vec<u8> = (0..words).flat_map(|at| self.word(at).to_le_bytes()).collect();
        bits.truncate(self.len().div_ceil(8) as usize);
        bits
    }

    /// The set with these bits, see [`Groups::to_bits`]; none if they are too many or too few for the size.
    pub fn from_bits(size: u64, bits: &[u8]) -> Option<Self> {
        let mut groups = Self::none(size);
        if bits.len() as u64 != groups.len().div_ceil(8) {
            return None;
        }
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        groups.words = bits.chunks(8).map(word).collect();
        groups.count = groups.words.iter().map(|word| u64::from(word.count_ones())).sum();
        // A bit behind the last group is none.
        let is_right = groups.count_in(0..groups.len()) == groups.count;
        groups.tidy();
        is_right.then_some(groups)
    }

    fn word(&self, at: u64) -> u64 {
        match self.words.get(at as usize) {
            Some(word) => *word,
            None if self.is_empty() => 0,
            None => mask(at, &(0..self.len())),
        }
    }

    fn cut(&self, range: Range<u64>) -> Range<u64> {
        let end = range.end.min(self.len());
        range.start.min(end)..end
    }

    fn change(&mut self, range: Range<u64>, change: impl Fn(u64, u64) -> u64) {
        let range = self.cut(range);
        if range.is_empty() {
            return;
        }
        self.unfold();
        for (at, mask) in masks(range) {
            let word = &mut self.words[at as usize];
            let changed = change(*word, mask);
            self.count = self.count + u64::from(changed.count_ones()) - u64::from(word.count_ones());
            *word = changed;
        }
        self.tidy();
    }

    fn combine(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        debug_assert_eq!(self.size, other.size, "sets of different blobs");
        self.unfold();
        for at in 0..self.words.len() {
            self.words[at] = combine(self.words[at], other.word(at as u64));
        }
        self.count = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        self.tidy();
    }

    /// Gives an empty or whole set its bits.
    fn unfold(&mut self) {
        if self.words.is_empty() {
            self.words = (0..self.len().div_ceil(WORD_BITS)).map(|at| self.word(at)).collect();
        }
    }

    /// Takes them away again.
    fn tidy(&mut self) {
        if self.is_empty() || self.is_whole() {
            self.words = Vec::new();
        }
    }
}

/// The bits of a range in one word.
fn mask(at: u64, range: &Range<u64>) -> u64 {
    let below = |group: u64| match group.saturating_sub(at * WORD_BITS) {
        bits @ 0..WORD_BITS => (1 << bits) - 1,
        _ => u64::MAX,
    };
    below(range.end) & !below(range.start)
}

/// The words of a range that is not empty, and its bits in each.
fn masks(range: Range<u64>) -> impl Iterator<Item = (u64, u64)> {
    (range.start / WORD_BITS..range.end.div_ceil(WORD_BITS)).map(move |at| (at, mask(at, &range)))
}

/// The runs of bits in a range of words.
fn runs(range: Range<u64>, word: impl Fn(u64) -> u64) -> impl Iterator<Item = Range<u64>> {
    // From `start` on, the next bit that is set, or not.
    let find = move |start: u64, set: bool| {
        let mut at = start;
        while at < range.end {
            let word = if set { word(at / WORD_BITS) } else { !word(at / WORD_BITS) };
            let rest = word >> (at % WORD_BITS);
            if rest != 0 {
                return (at + u64::from(rest.trailing_zeros())).min(range.end);
            }
            at = (at / WORD_BITS + 1) * WORD_BITS;
        }
        range.end
    };
    let mut next = range.start;
    std::iter::from_fn(move || {
        let start = find(next, true);
        next = find(start, false);
        (start < next).then_some(start..next)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Up to some words' worth of groups, the last of which may be short.
    fn size() -> impl Strategy<Value = u64> {
        (0..200u64, 1..=GROUP_BYTES)
            .prop_map(|(groups, last)| groups.checked_sub(1).map_or(0, |whole| whole * GROUP_BYTES + last))
    }

    fn ranges() -> impl Strategy<Value = Vec<(bool, Range<u64>)>> {
        proptest::collection::vec((any::<bool>(), (0..210u64, 0..80u64).prop_map(|(at, len)| at..at + len)), 0..12)
    }

    fn build(size: u64, steps: &[(bool, Range<u64>)]) -> (Groups, BTreeSet<u64>) {
        let (mut groups, mut naive) = (Groups::none(size), BTreeSet::new());
        for (add, range) in steps {
            let inside = range.start..range.end.min(groups.len());
            if *add {
                naive.extend(inside);
                groups.insert(range.clone());
            } else {
                naive.retain(|group| !inside.contains(group));
                groups.remove(range.clone());
            }
        }
        (groups, naive)
    }

    fn listed(runs: impl Iterator<Item = Range<u64>>) -> Vec<u64> {
        let mut free = None;
        runs.flat_map(|run| {
            assert!(run.start < run.end && free < Some(run.start), "runs are neither empty nor touch");
            free = Some(run.end);
            run
        })
        .collect()
    }

    fn check(groups: &Groups, naive: &BTreeSet<u64>) {
        let len = groups.len();
        assert_eq!(groups.count(), naive.len() as u64);
        assert_eq!(groups.is_empty(), naive.is_empty());
        assert_eq!(groups.is_whole(), naive.len() as u64 == len);
        assert!(groups.words.is_empty() || !groups.is_empty() && !groups.is_whole(), "no memory for nothing or all");
        assert!((0..len + 70).all(|group| groups.contains(group) == naive.contains(&group)));
        assert_eq!(listed(groups.runs(0..u64::MAX)), Vec::from_iter(naive.iter().copied()));
        assert_eq!(listed(groups.gaps(0..u64::MAX)), Vec::from_iter((0..len).filter(|group| !naive.contains(group))));
        let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        assert_eq!(bytes(&groups.ranges(true)), groups.verified_bytes());
        assert_eq!(bytes(&groups.ranges(false)), groups.size() - groups.verified_bytes());
        assert_eq!(Groups::of_bytes(groups.size(), &groups.ranges(true)), *groups);
        assert_eq!(Groups::from_bits(groups.size(), &groups.to_bits()).as_ref(), Some(groups));
    }

    proptest! {
        #[test]
        fn it_is_what_a_naive_set_says(size in size(), one in ranges(), two in ranges(), part in (0..210u64, 0..210u64)) {
            let ((mut one, mut naive), (other, other_naive)) = (build(size, &one), build(size, &two));
            check(&one, &naive);
            let part = part.0..part.1;
            let in_part = |set: &BTreeSet<u64>| Vec::from_iter(set.iter().copied().filter(|group| part.contains(group)));
            prop_assert_eq!(listed(one.runs(part.clone())), in_part(&naive));
            prop_assert_eq!(one.count_in(part.clone()), in_part(&naive).len() as u64);
            prop_assert_eq!(listed(one.shared(&other, part.clone())), in_part(&(&naive & &other_naive)));
            one.unite(&other);
            naive = &naive | &other_naive;
            check(&one, &naive);
            one.subtract(&other);
            check(&one, &(&naive - &other_naive));
        }

        #[test]
        fn ranges_that_anybody_made_up_are_whole_groups(size in size(), start: u64, end: u64, near in 0..300 * GROUP_BYTES) {
            let groups = Groups::none(size);
            for range in [start..end, near..end, 0..near, near..near + 3 * GROUP_BYTES] {
                let inside = groups.inside(&range);
                prop_assert!(inside.start <= inside.end && inside.end <= groups.len());
                for group in 0..groups.len() {
                    let bytes = groups.bytes(&(group..group + 1));
                    prop_assert_eq!(inside.contains(&group), range.start <= bytes.start && bytes.end <= range.end);
                }
            }
        }
    }

    #[test]
    fn bits_behind_the_last_group_are_none() {
        let size = 3 * GROUP_BYTES;
        assert!(Groups::from_bits(size, &[0b111]).is_some_and(|groups| groups.is_whole()));
        assert_eq!(Groups::from_bits(size, &[0b1010]), None);
        assert_eq!(Groups::from_bits(size, &[]), None);
        assert_eq!(Groups::from_bits(size, &[0, 0]), None);
        assert_eq!(Groups::from_bits(u64::MAX, &[0]), None);
    }
}
