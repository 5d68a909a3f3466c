//! Which ranges of a blob are asked of whom. Pure.
//!
//! A [`Plan`] fetches one blob from several sources, most of whom fetch it themselves:
//!
//! - **What is rare comes first**, so that a source may go away, and so that each node soon has what others want. Sources that
//!   have all are asked for what none of those has that fetch the blob. Of that, each of them has a share of its own, which it
//!   asks for before that of the others: the source sends everything once before it sends anything twice. Where nothing is rarer
//!   than the rest, all is fetched in order. What comes first is not the same for all, who may not know of each other yet.
//! - **A reader who waits** comes before that, from the position on where he is. Some sources are there for readers alone.
//! - **A source is asked for as much as it sends within half a second** ([`AHEAD_MS`](crate::limits::transfer::AHEAD_MS)), as
//!   it was measured: enough to keep a long way busy. Towards the end it is asked for its share of what is left, so that all
//!   sources are done at the same time.
//! - **What a source does not send in time is asked of others**: when it fails at once, when it falls silent after
//!   [`OVERTAKE_MS`](crate::limits::transfer::OVERTAKE_MS) or what its speed makes of it. When nothing else is left to ask for,
//!   faster sources are asked for what slow ones still owe: one range of each at most comes twice.
//!
//! A call costs some steps for each piece of the blob, of which there are [`PIECES`](crate::limits::transfer::PIECES) at most,
//! however large it is; what changes costs some for each source and each 64 of the groups that change. A plan and each of its
//! sources take a bit for each group (16 bytes for 8 MiB), and 24 KiB.

mod announce;
mod choice;
mod picked;
mod pieces;
mod ranges;
mod source;
mod speed;

use std::{collections::BTreeMap, ops, time::Instant};

pub(super) use announce::{announce, next_data};
use pieces::Pieces;
#[cfg(test)]
use ranges::messages;
pub use ranges::{groups_in, range_of};
use source::Source;

use crate::{
    content::NodeId,
    groups::Groups,
    limits::{
        GROUP_BYTES,
        transfer::{READ_AHEAD_BYTES, READERS, SOURCES},
    },
    wire::blob::{Range, Ranges},
};

/// A node by a number that is the same wherever the node is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u64);

impl From<NodeId> for SourceId {
    fn from(node: NodeId) -> Self {
        Self(node.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// What a source is to be asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "what is to be asked is asked at once, never kept")]
pub enum Next {
    /// These ranges: whole groups, ascending, apart, at most
    /// [`REQUEST_BYTES`](crate::limits::transfer::REQUEST_BYTES) of them. Look again for more.
    Ask(Ranges),
    /// Nothing. Look again after anything has happened to the plan, and at this time, when another source may have been silent
    /// for too long.
    Wait {
        /// Not before it.
        until: Option<Instant>,
    },
    /// Nothing any more: all is here.
    Done,
}

/// The plan of one blob. See the [module](self).
#[derive(Debug)]
pub struct Plan {
    me: SourceId,
    /// What is not here.
    missing: Groups,
    /// What of it nobody was asked for.
    free: Groups,
    /// What of that none of the others has that fetch the blob: only who has all of it.
    unshared: Groups,
    pieces: Pieces,
    sources: BTreeMap<SourceId, Source>,
    /// The groups that readers wait for, of each some ahead of him.
    readers: Vec<ops::Range<u64>>,
    /// When something was last verified.
    heard: Option<Instant>,
    /// Pieces that were looked at.
    #[cfg(test)]
    steps: u64,
}

impl Plan {
    /// A plan of a blob of `size` bytes, of which these ranges of bytes are missing: whole groups. `me` is this node.
    ///
    /// It takes memory for `size`: whether that can be true is for the caller to find out.
    pub fn new(size: u64, missing: &[ops::Range<u64>], me: SourceId) -> Self {
        let missing = Groups::of_bytes(size, missing);
        Self {
            me,
            free: missing.clone(),
            unshared: missing.clone(),
            pieces: Pieces::new(missing.len(), me),
            missing,
            sources: BTreeMap::new(),
            readers: Vec::new(),
            heard: None,
            #[cfg(test)]
            steps: 0,
        }
    }

    /// A source that has nothing until it says so. Returns whether it is one: [`SOURCES`] are enough, and this node is none.
    pub fn join(&mut self, source: SourceId) -> bool {
        if self.sources.contains_key(&source) {
            return true;
        }
        if self.sources.len() >= SOURCES || source == self.me {
            return false;
        }
        self.sources.insert(source, Source::new(self.missing.size(), self.pieces.count()));
        self.share_out();
        true
    }

    /// Those who fetch the blob.
    fn fetching(&self) -> impl Iterator<Item = (&SourceId, &Source)> {
        self.sources.iter().filter(|(_, it)| !it.has.is_whole())
    }

    /// Somebody fetches the blob who did not, or does so no more.
    fn share_out(&mut self) {
        let others: Vec<_> = self.fetching().map(|(id, _)| *id).collect();
        self.pieces.share(&others);
        self.find_unshared(0..self.missing.len());
    }

    /// Finds out which groups of a range are unshared.
    fn find_unshared(&mut self, range: ops::Range<u64>) {
        let mut unshared = std::mem::replace(&mut self.unshared, Groups::none(0));
        unshared.remove(range.clone());
        self.free.runs(range.clone()).for_each(|run| unshared.insert(run));
        for (_, it) in self.fetching() {
            it.has.runs(range.clone()).for_each(|shared| unshared.remove(shared));
        }
        self.unshared = unshared;
    }

    /// A source is asked for what readers wait for, and for nothing else.
    pub fn serve_readers_alone(&mut self, source: SourceId) {
        self.sources.get_mut(&source).into_iter().for_each(|it| it.is_for_readers = true);
    }

    /// A source has these ranges as well, whatever they are; what is no whole group of the blob is left out.
    pub fn handle_have(&mut self, source: SourceId, ranges: &[Range]) {
        let Some(it) = self.sources.get_mut(&source) else { return };
        let had_all = it.has.is_whole();
        for range in ranges {
            let new: Vec<_> = it.has.gaps(groups_in(&self.missing, range)).collect();
            for run in new {
                for (piece, part) in self.pieces.cut(run.clone()) {
                    self.pieces.add_copies(piece, (part.end - part.start) as i64);
                    it.add_wanted(piece, self.free.count_in(part) as i64);
                }
                self.unshared.remove(run.clone());
                it.has.insert(run);
            }
        }
        if !had_all && it.has.is_whole() {
            self.share_out();
        }
    }

    /// A source has all of the blob.
    pub fn handle_whole(&mut self, source: SourceId) {
        self.handle_have(source, &[Range { start: 0, len: self.missing.size() }]);
    }

    /// A source lacks these ranges: it announced less than it was asked for, or said that it has nothing.
    pub fn handle_lacking(&mut self, source: SourceId, ranges: &[Range]) {
        for range in ranges {
            let lacking = groups_in(&self.missing, range);
            self.strike_out(source, &lacking);
            let Some(it) = self.sources.get_mut(&source) else { return };
            let had_all = it.has.is_whole();
            let old: Vec<_> = it.has.runs(lacking.clone()).collect();
            for run in old {
                for (piece, part) in self.pieces.cut(run.clone()) {
                    self.pieces.add_copies(piece, -((part.end - part.start) as i64));
                    it.add_wanted(piece, -(self.free.count_in(part) as i64));
                }
                it.has.remove(run);
            }
            if had_all && !it.has.is_whole() {
                self.share_out();
            } else {
                self.find_unshared(lacking);
            }
        }
    }

    /// What came from a source was verified, or was here before. Ranges of whole groups, whether it was asked for them or not.
    pub fn handle_verified(&mut self, now: Instant, source: SourceId, range: Range) {
        let groups = groups_in(&self.missing, &range);
        self.set_free(groups.clone(), false);
        self.missing.remove(groups.clone());
        let Some(it) = self.sources.get_mut(&source) else { return };
        self.heard = Some(now);
        let awaited = it.strike_out(&groups);
        it.speed.count(now, awaited);
        if std::mem::take(&mut it.is_overtaken) {
            // The rest will come after all. What was asked of others meanwhile will come twice.
            let asked: Vec<_> = it.asked.iter().cloned().collect();
            asked.into_iter().for_each(|range| self.set_free(range, false));
        }
        self.rest_if_done(source);
    }

    /// What a source was asked does not come: it is busy, its stream broke, what it sent was wrong. All of it may be asked of
    /// others at once. It keeps what it has, until it leaves.
    pub fn handle_failed(&mut self, source: SourceId) {
        self.strike_out(source, &(0..self.missing.len()));
    }

    /// A source is gone.
    pub fn leave(&mut self, source: SourceId) {
        self.handle_failed(source);
        let Some(it) = self.sources.remove(&source) else { return };
        for run in it.has.runs(0..it.has.len()) {
            for (piece, part) in self.pieces.cut(run) {
                self.pieces.add_copies(piece, -((part.end - part.start) as i64));
            }
        }
        self.share_out();
    }

    /// What readers want, as ranges of bytes from where each is now, instead of what was said before. It is fetched before
    /// everything else, [`READ_AHEAD_BYTES`] ahead of each. [`READERS`] count.
    pub fn want(&mut self, ranges: &[ops::Range<u64>]) {
        let ahead = |range: &ops::Range<u64>| {
            let end = range.end.min(range.start.saturating_add(READ_AHEAD_BYTES));
            range.start / GROUP_BYTES..end.div_ceil(GROUP_BYTES)
        };
        self.readers = ranges.iter().take(READERS).map(ahead).collect();
    }

    /// Whether all is here.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether somebody was asked for all that is missing.
    pub fn is_all_asked(&self) -> bool {
        self.free.is_empty()
    }

    /// Bytes that a source has, as far as it said so.
    pub fn held_bytes(&self, source: SourceId) -> u64 {
        self.sources.get(&source).map_or(0, |it| it.has.verified_bytes())
    }

    /// The bytes that are not here: ascending, whole groups.
    pub fn missing(&self) -> Vec<ops::Range<u64>> {
        self.missing.ranges(true)
    }

    /// What a source is to be asked now; it counts as asked.
    pub fn next_request(&mut self, now: Instant, source: SourceId) -> Next {
        if self.missing.is_empty() {
            return Next::Done;
        }
        self.overtake(now);
        let Some(it) = self.sources.get(&source) else { return Next::Wait { until: None } };
        let room = it.room(self.share(it), self.free.count());
        if room > 0 {
            let mut ranges = self.pick(source, room);
            if ranges.is_empty() {
                ranges = self.double(source);
            }
            if let Some(it) = self.sources.get_mut(&source)
                && !ranges.is_empty()
            {
                it.ask(now, &ranges);
                return Next::Ask(ranges.iter().map(|range| range_of(&self.missing, range)).collect());
            }
        }
        let others = self.sources.iter().filter(|(id, _)| **id != source);
        let awaited = self.awaited();
        Next::Wait { until: others.filter_map(|(_, other)| self.deadline(other, awaited)).min() }
    }

    /// Takes from sources what they were asked, if they have been silent for too long.
    fn overtake(&mut self, now: Instant) {
        let awaited = self.awaited();
        let silent = |it: &Source| self.deadline(it, awaited).is_some_and(|deadline| deadline <= now);
        let silent: Vec<_> = self.sources.iter().filter(|(_, it)| silent(it)).map(|(id, _)| *id).collect();
        for source in silent {
            let Some(it) = self.sources.get_mut(&source) else { continue };
            it.is_overtaken = true;
            let asked: Vec<_> = it.asked.iter().cloned().collect();
            asked.into_iter().for_each(|range| self.release(range));
        }
    }

    /// From how many sources something is awaited.
    fn awaited(&self) -> usize {
        self.sources.values().filter(|it| !it.is_overtaken && !it.asked.is_empty()).count()
    }

    /// When a source will have been silent for too long, if something is awaited from so many.
    fn deadline(&self, it: &Source, awaited: usize) -> Option<Instant> {
        let since = it.speed.silent_since().filter(|_| !it.is_overtaken)?;
        // If nobody is heard, it may be this node that sleeps, or its disk.
        let nobody_is_heard = awaited > 1 && self.heard.is_none_or(|heard| heard <= since);
        Some(since + it.speed.patience() * if nobody_is_heard { 4 } else { 1 })
    }

    /// Strikes groups out of what a source was asked, and frees them.
    fn strike_out(&mut self, source: SourceId, groups: &ops::Range<u64>) {
        let Some(it) = self.sources.get_mut(&source) else { return };
        let asked: Vec<_> = it.asked.iter().cloned().collect();
        it.strike_out(groups);
        for range in asked {
            self.release(range.start.max(groups.start)..range.end.min(groups.end));
        }
        self.rest_if_done(source);
    }

    fn rest_if_done(&mut self, source: SourceId) {
        if let Some(it) = self.sources.get_mut(&source) {
            it.rest_if_done();
        }
    }

    /// Frees what is missing of a range, unless it is still awaited from somebody.
    fn release(&mut self, range: ops::Range<u64>) {
        for group in range {
            let is_awaited = || self.sources.values().any(|it| it.is_awaited_for(group));
            if self.missing.contains(group) && !is_awaited() {
                self.set_free(group..group + 1, true);
            }
        }
    }

    fn set_free(&mut self, range: ops::Range<u64>, is_free: bool) {
        let changed: Vec<_> = if is_free { self.free.gaps(range).collect() } else { self.free.runs(range).collect() };
        for run in changed {
            for (piece, part) in self.pieces.cut(run.clone()) {
                for it in self.sources.values_mut() {
                    let groups = it.has.count_in(part.clone()) as i64;
                    it.add_wanted(piece, if is_free { groups } else { -groups });
                }
            }
            if is_free {
                self.free.insert(run.clone())
            } else {
                self.free.remove(run.clone())
            }
            self.find_unshared(run);
        }
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one range is what is meant")]
mod tests;
