//! What a source is asked for next. Pure.

use std::ops::Range;

use super::{Plan, SourceId, picked::Picked, source::Source};
use crate::limits::wire::RANGES_PER_REQUEST;

/// Readers do not wait for a source if another one is so many times as fast.
const SLOW_FOR_READERS: f64 = 4.0;

impl Plan {
    /// How many groups a source may owe so that all that is left comes at the same time from all of them.
    pub(super) fn share(&self, it: &Source) -> u64 {
        let rates = self.sources.values().filter(|it| !it.is_overtaken).filter_map(|it| it.speed.rate());
        let Some(rate) = it.speed.rate() else { return u64::MAX };
        (self.missing.count() as f64 * rate / rates.sum::<f64>()).ceil() as u64
    }

    /// Takes what a source shall be asked for from what is free: so many groups at most. Ascending, apart.
    pub(super) fn pick(&mut self, source: SourceId, room: u64) -> Vec<Range<u64>> {
        let mut picked = Picked::new(room);
        for reader in self.readers.clone() {
            if !self.is_slow_for(source, &reader) {
                self.take(self.runs(source, reader), &mut picked);
            }
        }
        if self.sources.get(&source).is_none_or(|it| it.is_for_readers) {
            return picked.sorted();
        }
        let mut before = None;
        while !picked.is_full()
            && before.replace(picked.room) != Some(picked.room)
            && let Some(runs) = self.best_runs(source)
        {
            self.take(runs, &mut picked);
        }
        picked.sorted()
    }

    /// Whether a reader had better wait for another source, that is much faster.
    fn is_slow_for(&self, source: SourceId, range: &Range<u64>) -> bool {
        let rate = |it: &Source| it.speed.rate().filter(|_| !it.is_overtaken);
        let Some(own) = self.sources.get(&source).and_then(rate) else { return false };
        let Some(next) = self.free.runs(range.clone()).next() else { return false };
        self.sources.values().any(|it| it.has.contains(next.start) && rate(it) > Some(own * SLOW_FOR_READERS))
    }

    /// Takes what there is room for.
    fn take(&mut self, runs: Vec<Range<u64>>, picked: &mut Picked) {
        for run in runs {
            if let Some(run) = picked.take(run) {
                self.set_free(run, false);
            }
        }
    }

    /// What is wanted of a source in a range.
    fn runs(&self, source: SourceId, range: Range<u64>) -> Vec<Range<u64>> {
        let it = self.sources.get(&source);
        it.map_or_else(Vec::new, |it| self.free.shared(&it.has, range).take(RANGES_PER_REQUEST).collect())
    }

    /// What a source shall be asked for next, in one piece.
    fn best_runs(&mut self, source: SourceId) -> Option<Vec<Range<u64>>> {
        if let Some(piece) = self.unshared_piece(source) {
            return Some(self.unshared.runs(self.pieces.groups(piece)).take(RANGES_PER_REQUEST).collect());
        }
        let piece = self.best_piece(source)?;
        Some(self.runs(source, self.pieces.groups(piece)))
    }

    /// The best piece of which something can be had from those alone who have everything, if this is one of them, and there are
    /// others.
    fn unshared_piece(&mut self, source: SourceId) -> Option<usize> {
        let is_whole = self.sources.get(&source)?.has.is_whole();
        if self.sources.len() == 1 || !is_whole || self.unshared.is_empty() {
            return None;
        }
        #[cfg(test)]
        (self.steps += self.pieces.count() as u64);
        let is_unshared = |piece: &usize| self.unshared.count_in(self.pieces.groups(*piece)) > 0;
        (0..self.pieces.count()).filter(is_unshared).min_by_key(|piece| self.pieces.turn(*piece))
    }

    /// The piece of which a source shall be asked for something next, if all that it has is alike.
    fn best_piece(&mut self, source: SourceId) -> Option<usize> {
        let is_alone = self.sources.len() == 1;
        let it = self.sources.get_mut(&source)?;
        #[cfg(test)]
        (self.steps += 1);
        while *it.wanted.get(it.first)? == 0 {
            it.first += 1;
            #[cfg(test)]
            (self.steps += 1);
        }
        #[cfg(test)]
        (self.steps += (self.pieces.count() - it.first) as u64);
        let wanted = (it.first..self.pieces.count()).filter(|piece| it.wanted[*piece] > 0);
        if is_alone {
            wanted.min_by_key(|piece| self.pieces.place(*piece))
        } else {
            wanted.min_by_key(|piece| self.pieces.order(*piece))
        }
    }

    /// Something that is awaited from a slower source, for the time when nothing else is left.
    pub(super) fn double(&mut self, source: SourceId) -> Vec<Range<u64>> {
        let Some(it) = self.sources.get(&source) else { return Vec::new() };
        if !self.free.is_empty() || it.doubles || it.speed.rate().is_none() {
            return Vec::new();
        }
        let others = self.sources.iter().filter(|(id, other)| **id != source && !other.is_doubled);
        let slower = others.filter_map(|(id, other)| {
            // What comes last of what it was asked, and does not come anyway.
            let new = |range: &Range<u64>| !range.clone().any(|group| it.is_awaited_for(group));
            let wanted = |range: &Range<u64>| self.missing.shared(&it.has, range.clone()).find(new);
            let range = other.asked.iter().rev().find_map(wanted)?;
            let takes = it.speed.time_for(it.asked_groups() + range.end - range.start);
            (2 * takes < other.remaining()).then(|| (other.remaining(), *id, range))
        });
        let Some((_, other, range)) = slower.max_by_key(|(remaining, ..)| *remaining) else { return Vec::new() };
        self.sources.get_mut(&other).into_iter().for_each(|other| other.is_doubled = true);
        self.sources.get_mut(&source).into_iter().for_each(|it| it.doubles = true);
        vec![range]
    }
}
