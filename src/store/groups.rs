//! Which groups of a download are here: in memory, and as the bytes of a `.bits` file.

use std::ops::Range;

use crate::{content::ContentId, limits::GROUP_BYTES};

/// Which groups of a blob are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) size: u64,
    bits: Vec<u8>,
    count: u64,
}

impl Groups {
    pub(super) fn none(size: u64) -> Self {
        Self { size, bits: vec![0; size.div_ceil(GROUP_BYTES).div_ceil(8) as usize], count: 0 }
    }

    fn len(&self) -> u64 {
        self.size.div_ceil(GROUP_BYTES)
    }

    fn has(&self, group: u64) -> bool {
        self.bits[(group / 8) as usize] & 1 << (group % 8) != 0
    }

    pub(super) fn add(&mut self, group: u64) {
        if !self.has(group) {
            self.bits[(group / 8) as usize] |= 1 << (group % 8);
            self.count += 1;
        }
    }

    /// Whether the last one is here, which alone proves the size.
    pub(super) fn has_last(&self) -> bool {
        self.len().checked_sub(1).is_some_and(|last| self.has(last))
    }

    fn range(&self, group: u64) -> Range<u64> {
        group * GROUP_BYTES..((group + 1) * GROUP_BYTES).min(self.size)
    }

    /// The byte ranges of the groups that are here, or that are not.
    pub(super) fn ranges(&self, here: bool) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for group in (0..self.len()).filter(|group| self.has(*group) == here) {
            let range = self.range(group);
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges
    }

    pub(super) fn verified_bytes(&self) -> u64 {
        let whole = self.count * GROUP_BYTES;
        if self.has_last() { whole - (self.len() * GROUP_BYTES - self.size) } else { whole }
    }

    /// Size, bits, and a checksum over id and both.
    pub(super) fn to_bytes(&self, id: &ContentId) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.bits);
        let sum = Self::checksum(id, &bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    pub(super) fn from_bytes(id: &ContentId, bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        let (size, bits) = body.split_first_chunk::<8>()?;
        let mut groups = Self::none(0);
        groups.size = u64::from_le_bytes(*size);
        if bits.len() as u64 != groups.len().div_ceil(8) || *sum != Self::checksum(id, body) {
            return None;
        }
        groups.bits = bits.to_vec();
        groups.count = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
        // A bit behind the last group would count as one.
        let of_groups = (0..groups.len()).filter(|group| groups.has(*group)).count() as u64;
        (of_groups == groups.count).then_some(groups)
    }

    pub(super) fn checksum(id: &ContentId, bytes: &[u8]) -> [u8; 32] {
        *blake3::Hasher::new().update(&id.0).update(bytes).finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_a_naive_list_says() {
        let size = 20 * GROUP_BYTES + 5;
        for seed in 0..50u64 {
            let mut groups = Groups::none(size);
            let naive: Vec<bool> = (0..21).map(|at| ((seed * 2_654_435_761) >> (at % 32)) & 1 == 1).collect();
            (0..21u64).filter(|at| naive[*at as usize]).for_each(|at| groups.add(at));
            let inside = |ranges: &[Range<u64>], byte| ranges.iter().any(|range| range.contains(&byte));
            let (here, missing) = (groups.ranges(true), groups.ranges(false));
            for byte in (0..21).flat_map(|at| [at * GROUP_BYTES, at * GROUP_BYTES + 4]) {
                assert_eq!(inside(&here, byte), naive[(byte / GROUP_BYTES) as usize]);
                assert_ne!(inside(&here, byte), inside(&missing, byte));
            }
            let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
            assert_eq!(groups.verified_bytes(), bytes(&here));
            assert_eq!(bytes(&here) + bytes(&missing), size);
        }
    }

    #[test]
    fn damaged_bits_are_not_believed() {
        let id = ContentId::of(b"x");
        let mut groups = Groups::none(3 * GROUP_BYTES);
        groups.add(1);
        let bytes = groups.to_bytes(&id);
        assert_eq!(Groups::from_bytes(&id, &bytes), Some(groups));
        assert_eq!(Groups::from_bytes(&ContentId::of(b"y"), &bytes), None);
        let mut stray = Groups::none(3 * GROUP_BYTES);
        stray.bits[0] |= 1 << 3;
        assert_eq!(Groups::from_bytes(&id, &stray.to_bytes(&id)), None);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(Groups::from_bytes(&id, &wrong), None);
            assert_eq!(Groups::from_bytes(&id, &bytes[..at]), None);
        }
    }
}
