//! One source of a blob, as the plan knows it. Pure.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use super::speed::Speed;
use crate::{groups::Groups, limits::wire::PIPELINED_REQUESTS};

/// Ranges that are awaited from one source at a time.
const ASKED_RANGES: usize = PIPELINED_REQUESTS / 2;

#[derive(Debug)]
pub(super) struct Source {
    /// What it has, as far as it said so.
    pub(super) has: Groups,
    /// How many groups of each piece it has that are wanted and asked of nobody.
    pub(super) wanted: Vec<u32>,
    /// No piece before this one is wanted of it.
    pub(super) first: usize,
    /// What is awaited from it, in the order in which it was asked; each is not empty.
    pub(super) asked: VecDeque<Range<u64>>,
    pub(super) speed: Speed,
    /// It was silent for too long: what it was asked may be asked of others, and it is asked for nothing more until it is heard.
    pub(super) is_overtaken: bool,
    /// Something that is awaited from it was asked of another as well.
    pub(super) is_doubled: bool,
    /// It was asked for something that is awaited from another.
    pub(super) doubles: bool,
    /// It is asked for what readers wait for, and for nothing else.
    pub(super) is_for_readers: bool,
}

impl Source {
    /// One that has nothing yet of a blob in so many pieces.
    pub(super) fn new(size: u64, pieces: usize) -> Self {
        Self {
            has: Groups::none(size),
            wanted: vec![0; pieces],
            first: 0,
            asked: VecDeque::new(),
            speed: Speed::default(),
            is_overtaken: false,
            is_doubled: false,
            doubles: false,
            is_for_readers: false,
        }
    }

    /// So many groups of a piece are wanted of it, more or less than before.
    pub(super) fn add_wanted(&mut self, piece: usize, groups: i64) {
        self.wanted[piece] = self.wanted[piece].saturating_add_signed(groups as i32);
        if groups > 0 {
            self.first = self.first.min(piece);
        }
    }

    /// How many groups are awaited from it.
    pub(super) fn asked_groups(&self) -> u64 {
        self.asked.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether this group is awaited from it, and it is not too late.
    pub(super) fn is_awaited_for(&self, group: u64) -> bool {
        !self.is_overtaken && self.asked.iter().any(|range| range.contains(&group))
    }

    /// How many groups it may be asked for now, if it is to owe `share` at most, or one, and if so many are `free`.
    pub(super) fn room(&self, share: u64, free: u64) -> u64 {
        let (asked, request) = (self.asked_groups(), self.speed.request().min(share).min(free.max(1)));
        let is_full = asked > 0 && asked + request > self.speed.window().min(share);
        if self.is_overtaken || is_full || self.asked.len() >= ASKED_RANGES { 0 } else { request }
    }

    pub(super) fn ask(&mut self, now: Instant, ranges: &[Range<u64>]) {
        if self.asked.is_empty() {
            self.speed.begin(now);
        }
        self.asked.extend(ranges.iter().cloned());
    }

    /// What came, or does not come, is awaited no more. Returns how many groups of it were.
    pub(super) fn strike_out(&mut self, groups: &Range<u64>) -> u64 {
        let before = self.asked_groups();
        for _ in 0..self.asked.len() {
            let Some(range) = self.asked.pop_front() else { break };
            let kept = [range.start..range.end.min(groups.start), range.start.max(groups.end)..range.end];
            self.asked.extend(kept.into_iter().filter(|kept| kept.start < kept.end));
        }
        before - self.asked_groups()
    }

    /// Nothing is awaited from it any more.
    pub(super) fn rest_if_done(&mut self) {
        if self.asked.is_empty() {
            self.speed.rest();
            (self.is_overtaken, self.is_doubled, self.doubles) = (false, false, false);
        }
    }

    /// How long it will take until all has come that is awaited.
    pub(super) fn remaining(&self) -> Duration {
        self.speed.time_for(self.asked_groups())
    }
}
