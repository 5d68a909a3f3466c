//! A set of numbers.

/// Numbers below a bound, one bit for each.
#[derive(Debug, Default)]
pub(super) struct Numbers(Vec<u8>);

impl Numbers {
    pub(super) fn none(bound: u64) -> Self {
        Self(vec![0; bound.div_ceil(8) as usize])
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.0[(number / 8) as usize] & 1 << (number % 8) != 0
    }

    pub(super) fn add(&mut self, number: u64) {
        self.0[(number / 8) as usize] |= 1 << (number % 8);
    }
}
