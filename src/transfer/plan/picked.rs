//! What one request asks for. Pure.

use std::ops;

use crate::limits::{
    GROUP_BYTES,
    wire::{DATA_BYTES, RANGES_PER_REQUEST},
};

const DATA_GROUPS: u64 = DATA_BYTES / GROUP_BYTES;

/// What one request will ask for.
pub(super) struct Picked {
    pub(super) room: u64,
    ranges: Vec<ops::Range<u64>>,
}

impl Picked {
    /// Nothing, with room for so many groups.
    pub(super) fn new(room: u64) -> Self {
        Self { room, ranges: Vec::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.room == 0 || self.ranges.len() == RANGES_PER_REQUEST
    }

    /// Takes the front of a run, as much as there is room for, to the end of a `Data` frame if it can be: so that its proof is
    /// short.
    pub(super) fn take(&mut self, run: ops::Range<u64>) -> Option<ops::Range<u64>> {
        if self.is_full() {
            return None;
        }
        let mut end = run.end.min(run.start + self.room);
        if end < run.end {
            self.room = 0;
            match end / DATA_GROUPS * DATA_GROUPS {
                aligned if aligned > run.start => end = aligned,
                _ if self.ranges.is_empty() => {}
                _ => return None,
            }
        }
        self.room = self.room.saturating_sub(end - run.start);
        self.ranges.push(run.start..end);
        Some(run.start..end)
    }

    pub(super) fn sorted(mut self) -> Vec<ops::Range<u64>> {
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, range| {
            let touches = range.end == next.start;
            if touches {
                range.end = next.end;
            }
            touches
        });
        self.ranges
    }
}
