use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::limits::{
    transfer::{PIECES, REQUEST_BYTES},
    wire::{DATA_BYTES, RANGES_PER_REQUEST},
};

const DATA_GROUPS: u64 = DATA_BYTES / GROUP_BYTES;

const ME: SourceId = SourceId(1);

/// What a plan should know, kept in the most simple way, and what it may do.
struct Naive {
    plan: Plan,
    now: Instant,
    len: u64,
    missing: BTreeSet<u64>,
    has: BTreeMap<SourceId, BTreeSet<u64>>,
    /// What each source will send, in this order.
    asked: BTreeMap<SourceId, Vec<u64>>,
    /// Groups that were asked of a second source while they were awaited from a first.
    doubled: u64,
}

impl Naive {
    fn new(size: u64, missing: &BTreeSet<u64>) -> Self {
        let mut groups = Groups::none(size);
        missing.iter().for_each(|group| groups.add(*group));
        let plan = Plan::new(size, &groups.ranges(true), ME);
        assert_eq!(plan.missing(), groups.ranges(true));
        Self {
            plan,
            now: crate::clock::now(),
            len: groups.len(),
            missing: missing.clone(),
            has: BTreeMap::new(),
            asked: BTreeMap::new(),
            doubled: 0,
        }
    }

    fn join(&mut self, source: SourceId) {
        assert!(self.plan.join(source));
        self.has.entry(source).or_default();
        self.asked.entry(source).or_default();
    }

    fn range(&self, groups: ops::Range<u64>) -> Range {
        range_of(&Groups::none(self.plan.missing.size()), &groups)
    }

    fn have(&mut self, source: SourceId, groups: ops::Range<u64>) {
        self.plan.handle_have(source, &[self.range(groups.clone())]);
        let Some(has) = self.has.get_mut(&source) else { return };
        has.extend(groups.filter(|group| *group < self.len));
    }

    fn lacks(&mut self, source: SourceId, groups: ops::Range<u64>) {
        self.plan.handle_lacking(source, &[self.range(groups.clone())]);
        let Some(has) = self.has.get_mut(&source) else { return };
        has.retain(|group| !groups.contains(group));
        self.asked.entry(source).or_default().retain(|group| !groups.contains(group));
    }

    fn fail(&mut self, source: SourceId) {
        self.plan.handle_failed(source);
        self.asked.entry(source).or_default().clear();
    }

    fn leave(&mut self, source: SourceId) {
        self.plan.leave(source);
        self.has.remove(&source);
        self.asked.remove(&source);
    }

    /// The next of what a source was asked for comes. Returns whether there was anything.
    fn arrive(&mut self, source: SourceId, after: Duration) -> bool {
        self.now += after;
        let Some(asked) = self.asked.get_mut(&source).filter(|asked| !asked.is_empty()) else { return false };
        let group = asked.remove(0);
        self.missing.remove(&group);
        let range = self.range(group..group + 1);
        self.plan.handle_verified(self.now, source, range);
        true
    }

    /// Asks once, and checks that what is asked for makes sense. Returns how many groups.
    fn ask(&mut self, source: SourceId) -> usize {
        // Whoever has been silent for too long may have been overtaken in this very call.
        let (before, free) = (self.plan.steps, self.plan.free.clone());
        let ranges = match self.plan.next_request(self.now, source) {
            Next::Ask(ranges) => ranges,
            Next::Wait { until } => {
                assert!(until.is_none_or(|until| until > self.now));
                assert!(!self.missing.is_empty());
                return 0;
            }
            Next::Done => {
                assert!(self.missing.is_empty() && self.plan.is_complete());
                return 0;
            }
        };
        assert!(self.plan.steps - before <= 2 * PIECES * (RANGES_PER_REQUEST as u64 + 1));
        assert!(ranges.iter().map(|range| range.len).sum::<u64>() <= REQUEST_BYTES && !ranges.is_empty());
        let is_end = free.is_empty();
        let (mut groups, mut end) = (Vec::new(), 0);
        for range in &ranges {
            let part = groups_in(&self.plan.missing, range);
            assert!(*range == self.range(part.clone()), "whole groups");
            assert!(range.start >= end && !part.is_empty(), "ascending and apart");
            end = range.end().unwrap();
            groups.extend(part);
        }
        let mut doubled = 0;
        for group in &groups {
            assert!(self.missing.contains(group), "{group} is here");
            assert!(self.has[&source].contains(group), "it does not have {group}");
            assert!(!self.asked[&source].contains(group), "it was asked for {group} already");
            let is_awaited =
                |(id, asked): (&SourceId, &Vec<u64>)| asked.contains(group) && !self.plan.sources[id].is_overtaken;
            doubled += u64::from(self.asked.iter().any(is_awaited));
        }
        assert!(doubled == 0 || is_end, "{groups:?} is awaited and something else is left");
        self.doubled += doubled;
        self.asked.entry(source).or_default().extend(&groups);
        groups.len()
    }

    fn check(&self) {
        let all = |groups: &Groups| BTreeSet::from_iter(groups.runs(0..self.len).flatten());
        assert_eq!(all(&self.plan.missing), self.missing);
        let awaited = |group: &u64| self.plan.sources.values().any(|it| it.is_awaited_for(*group));
        assert_eq!(all(&self.plan.free), self.missing.iter().copied().filter(|group| !awaited(group)).collect());
        let fetching = || self.has.values().filter(|has| has.len() < self.len as usize);
        let is_shared = |group: &u64| fetching().any(|has| has.contains(group));
        let unshared = all(&self.plan.free).into_iter().filter(|group| !is_shared(group)).collect();
        assert_eq!(all(&self.plan.unshared), unshared);
        for (id, it) in &self.plan.sources {
            assert_eq!(all(&it.has), self.has[id]);
            assert_eq!(
                BTreeSet::from_iter(it.asked.iter().cloned().flatten()),
                self.asked[id].iter().copied().collect()
            );
            for piece in 0..self.plan.pieces.count() {
                let wanted = self
                    .plan
                    .pieces
                    .groups(piece)
                    .filter(|group| it.has.contains(*group) && self.plan.free.contains(*group));
                assert_eq!(wanted.count(), it.wanted[piece] as usize, "wanted of piece {piece}");
                assert!(it.wanted[piece] == 0 || it.first <= piece);
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Have(u64, ops::Range<u64>),
    Lacks(u64, ops::Range<u64>),
    Ask(u64),
    Arrive(u64, u16),
    Fail(u64),
    Leave(u64),
    Join(u64),
    Want(u64),
}

fn steps(sources: u64, groups: u64) -> impl Strategy<Value = Vec<Step>> {
    let source = 2..2 + sources;
    let range = (0..groups, 1..groups + 20).prop_map(|(at, len)| at..at + len);
    let step = prop_oneof![
        3 => (source.clone(), range.clone()).prop_map(|(source, range)| Step::Have(source, range)),
        1 => (source.clone(), range).prop_map(|(source, range)| Step::Lacks(source, range)),
        8 => source.clone().prop_map(Step::Ask),
        8 => (source.clone(), 0..400u16).prop_map(|(source, ms)| Step::Arrive(source, ms)),
        1 => source.clone().prop_map(Step::Fail),
        1 => source.clone().prop_map(Step::Leave),
        1 => source.prop_map(Step::Join),
        1 => (0..groups).prop_map(Step::Want),
    ];
    proptest::collection::vec(step, 0..200)
}

fn blob() -> impl Strategy<Value = (u64, BTreeSet<u64>)> {
    (1..150u64, 1..=GROUP_BYTES).prop_flat_map(|(groups, last)| {
        let size = (groups - 1) * GROUP_BYTES + last;
        (Just(size), proptest::collection::btree_set(0..groups, 0..=groups as usize))
    })
}

proptest! {
    #[test]
    fn what_is_asked_makes_sense_and_all_comes((size, missing) in blob(), steps in steps(4, 150)) {
        let mut naive = Naive::new(size, &missing);
        (2..4).for_each(|id| naive.join(SourceId(id)));
        for step in steps {
            match step {
                Step::Have(id, range) => naive.have(SourceId(id), range),
                Step::Lacks(id, range) => naive.lacks(SourceId(id), range),
                Step::Ask(id) => _ = naive.ask(SourceId(id)),
                Step::Arrive(id, ms) => _ = naive.arrive(SourceId(id), Duration::from_millis(ms.into())),
                Step::Fail(id) => naive.fail(SourceId(id)),
                Step::Leave(id) => naive.leave(SourceId(id)),
                Step::Join(id) => naive.join(SourceId(id)),
                Step::Want(group) => naive.plan.want(&[group * GROUP_BYTES..u64::MAX]),
            }
            naive.check();
        }
        // Once somebody has everything, everything comes, whoever stays silent.
        let whole = SourceId(9);
        naive.join(whole);
        naive.have(whole, 0..150);
        let mut rounds = 0;
        while !naive.missing.is_empty() {
            naive.ask(whole);
            if !naive.arrive(whole, Duration::from_millis(100)) {
                naive.now += Duration::from_secs(1);
            }
            rounds += 1;
            assert!(rounds < 10_000, "it does not end");
        }
        naive.check();
        prop_assert_eq!(naive.plan.next_request(naive.now, whole), Next::Done);
    }
}

#[test]
fn a_single_source_is_asked_in_order_and_in_long_runs() {
    let size = 100 * REQUEST_BYTES + 7;
    let mut naive = Naive::new(size, &(3..1601).collect());
    let source = SourceId(2);
    naive.join(source);
    naive.have(source, 0..1601);
    let mut order = Vec::new();
    let mut requests = Vec::new();
    while !naive.missing.is_empty() {
        let before = naive.asked[&source].len();
        let asked = naive.ask(source);
        if asked > 0 {
            order.extend(naive.asked[&source][before..].iter().copied());
            requests.push(order[order.len() - asked]..order[order.len() - 1] + 1);
        } else {
            naive.arrive(source, Duration::from_micros(600));
        }
    }
    // From where it begins to the end, and then from the front.
    assert_eq!(order[0], naive.plan.pieces.groups(naive.plan.pieces.start).start);
    assert!(order.windows(2).filter(|next| next[1] != next[0] + 1).count() <= 3, "{order:?}");
    order.sort_unstable();
    assert_eq!(order, Vec::from_iter(3..1601));
    assert!(requests.iter().all(|asked| asked.end.is_multiple_of(DATA_GROUPS) || asked.end == 1601));
    assert!(requests.len() < 120, "{} requests", requests.len());
}

#[test]
fn what_is_rare_comes_first() {
    let mut naive = Naive::new(64 * DATA_BYTES, &(0..256).collect());
    (2..6).for_each(|id| naive.join(SourceId(id)));
    naive.have(SourceId(2), 0..256);
    naive.have(SourceId(3), 0..128);
    naive.have(SourceId(4), 0..196);
    naive.ask(SourceId(2));
    assert!(naive.asked[&SourceId(2)].iter().all(|group| *group >= 196));
    naive.ask(SourceId(4));
    assert!(naive.asked[&SourceId(4)].iter().all(|group| (128..196).contains(group)));
}

#[test]
fn what_a_reader_waits_for_comes_before_all() {
    let mut naive = Naive::new(64 * DATA_BYTES, &(0..256).collect());
    (2..4).for_each(|id| naive.join(SourceId(id)));
    (2..4).for_each(|id| naive.have(SourceId(id), 0..256));
    naive.plan.want(&[100 * GROUP_BYTES + 5..u64::MAX]);
    naive.ask(SourceId(2));
    naive.ask(SourceId(3));
    assert_eq!(naive.asked[&SourceId(2)], Vec::from_iter(100..104));
    assert_eq!(naive.asked[&SourceId(3)], Vec::from_iter(104..108));
    naive.plan.want(&[]);
    naive.ask(SourceId(2));
    let first = naive.plan.pieces.groups(naive.plan.pieces.start);
    assert_eq!(naive.asked[&SourceId(2)][4..], Vec::from_iter(first));
}

#[test]
fn who_is_there_for_readers_is_asked_for_nothing_else() {
    let mut naive = Naive::new(256 * DATA_BYTES, &(0..1024).collect());
    let source = SourceId(2);
    naive.join(source);
    naive.have(source, 0..1024);
    naive.plan.serve_readers_alone(source);
    assert_eq!(naive.ask(source), 0, "nobody reads");
    // As far as somebody wants to read, and some ahead of him.
    for (wanted, expected) in [
        (5 * GROUP_BYTES - 1..6 * GROUP_BYTES + 1, 4..7),
        (1000 * GROUP_BYTES..u64::MAX, 1000..1024),
        (512 * GROUP_BYTES..u64::MAX, 512..512 + READ_AHEAD_BYTES / GROUP_BYTES),
    ] {
        naive.plan.want(&[wanted]);
        let before: BTreeSet<u64> = naive.missing.clone();
        while naive.ask(source) > 0 || naive.arrive(source, Duration::from_millis(5)) {}
        let came: Vec<u64> = before.difference(&naive.missing).copied().collect();
        assert_eq!(came, Vec::from_iter(expected));
    }
    assert!(!naive.plan.is_complete() && !naive.plan.is_all_asked());
}

#[test]
fn readers_do_not_wait_for_slow_sources() {
    let mut naive = Naive::new(64 * DATA_BYTES, &(0..256).collect());
    let (slow, fast) = (SourceId(2), SourceId(3));
    for source in [slow, fast] {
        naive.join(source);
        naive.have(source, 0..256);
        naive.ask(source);
        while naive.arrive(source, Duration::from_millis(if source == slow { 200 } else { 5 })) {}
    }
    naive.plan.want(&[0..64 * GROUP_BYTES]);
    naive.ask(slow);
    assert!(naive.asked[&slow].iter().all(|group| *group >= 64), "{:?}", naive.asked[&slow]);
    naive.lacks(fast, 0..64);
    while naive.arrive(slow, Duration::from_millis(200)) {}
    naive.ask(slow);
    assert_eq!(naive.asked[&slow][0], 0, "nobody else has it");
}

/// Everything is asked of a source that then says nothing more.
#[test]
fn who_falls_silent_is_overtaken_and_taken_back() {
    let mut naive = Naive::new(2 * DATA_BYTES, &(0..8).collect());
    let (silent, other) = (SourceId(2), SourceId(3));
    naive.join(silent);
    naive.have(silent, 0..8);
    while naive.ask(silent) > 0 {}
    assert_eq!(naive.asked[&silent].len(), 8);
    assert!(naive.arrive(silent, Duration::from_millis(20)));
    naive.join(other);
    naive.have(other, 0..8);
    let Next::Wait { until: Some(until) } = naive.plan.next_request(naive.now, other) else {
        panic!("a time is given")
    };
    assert_eq!(until, naive.now + Duration::from_millis(500));
    naive.now = until;
    assert!(naive.ask(other) > 0);
    assert!(naive.plan.sources[&silent].is_overtaken);
    assert_eq!(naive.ask(silent), 0, "it is asked for nothing");
    assert!(naive.arrive(silent, Duration::from_millis(20)));
    assert!(!naive.plan.sources[&silent].is_overtaken);
    naive.check();
    assert_eq!(naive.ask(other), 0, "what it has begun to send is not asked of others");
}

#[test]
fn at_the_end_fast_sources_help_slow_ones() {
    let mut naive = Naive::new(20 * DATA_BYTES, &(0..80).collect());
    let (slow, fast) = (SourceId(2), SourceId(3));
    for source in [slow, fast] {
        naive.join(source);
        naive.have(source, 0..80);
    }
    let mut rounds = 0;
    while !naive.missing.is_empty() {
        for source in [slow, fast] {
            while naive.ask(source) > 0 {}
        }
        for _ in 0..20 {
            naive.arrive(fast, Duration::from_millis(5));
        }
        naive.arrive(slow, Duration::ZERO);
        rounds += 1;
        assert!(rounds < 1000);
    }
    assert!(naive.doubled > 0, "nothing was asked twice");
    assert!(naive.doubled <= 2 * REQUEST_BYTES / GROUP_BYTES, "{} groups were asked twice", naive.doubled);
}

#[test]
fn a_request_of_a_huge_blob_costs_few_steps() {
    // 100 GB, of which two sources have half each, and a third all.
    let size = 100_000_000_000;
    let mut plan = Plan::new(size, &[0..size], ME);
    let now = crate::clock::now();
    for (id, range) in [(2, 0..size / 2), (3, size / 2..size), (4, 0..size)] {
        assert!(plan.join(SourceId(id)));
        plan.handle_have(SourceId(id), &[Range { start: range.start, len: range.end - range.start }]);
    }
    for request in 0..200 {
        let before = plan.steps;
        let id = SourceId(2 + request % 3);
        let Next::Ask(ranges) = plan.next_request(now, id) else { panic!("nothing to be asked") };
        ranges.iter().for_each(|range| plan.handle_verified(now, id, *range));
        assert!(plan.steps - before <= 2 * (PIECES + 2), "{} steps", plan.steps - before);
    }
}

#[test]
fn hostile_words_do_no_harm() {
    let mut plan = Plan::new(10 * GROUP_BYTES + 1, &[0..10 * GROUP_BYTES + 1], ME);
    assert!(!plan.join(ME), "a node is no source of its own");
    for id in 2..2 + SOURCES as u64 {
        assert!(plan.join(SourceId(id)) && plan.join(SourceId(id)));
    }
    assert!(!plan.join(SourceId(1000)));
    let now = crate::clock::now();
    let wild =
        [(0, 0), (u64::MAX, u64::MAX), (1, 5), (GROUP_BYTES * 11, 1), (GROUP_BYTES * 10, u64::MAX), (3, u64::MAX)]
            .map(|(start, len)| Range { start, len });
    for source in [2, 1000, 1].map(SourceId) {
        plan.handle_have(source, &wild);
        plan.handle_lacking(source, &wild[..4]);
    }
    assert_eq!(Vec::from_iter(plan.sources[&SourceId(2)].has.runs(0..11)), [1..11]);
    assert!(matches!(plan.next_request(now, SourceId(2)), Next::Ask(_)));
    assert_eq!(plan.next_request(now, SourceId(1000)), Next::Wait { until: None });
    plan.handle_failed(SourceId(1000));
    plan.leave(SourceId(1000));
    wild.into_iter().for_each(|range| plan.handle_verified(now, SourceId(1000), range));
    plan.want(&vec![u64::MAX..u64::MAX; 100]);
    plan.next_request(now, SourceId(2));
    assert_eq!(plan.missing(), [0..GROUP_BYTES]);
}

#[test]
fn an_empty_blob_is_complete() {
    let mut plan = Plan::new(0, &[], ME);
    assert!(plan.join(SourceId(2)) && plan.is_complete());
    plan.handle_whole(SourceId(2));
    assert_eq!(plan.next_request(crate::clock::now(), SourceId(2)), Next::Done);
}

#[test]
fn messages_hold_all_of_a_set() {
    let mut groups = Groups::none(1000 * GROUP_BYTES - 1);
    (0..1000).step_by(3).for_each(|at| groups.add(at));
    let mut heard = Groups::none(groups.size());
    let sent = Vec::from_iter(messages::<RANGES_PER_REQUEST>(&groups));
    assert_eq!(sent.len(), 334_usize.div_ceil(RANGES_PER_REQUEST));
    sent.iter().flatten().for_each(|range| heard.insert(groups_in(&groups, range)));
    assert_eq!(heard, groups);
    assert_eq!(messages::<1>(&Groups::none(5)).count(), 0);
    let whole = Vec::from_iter(messages::<1>(&Groups::whole(1 << 40)));
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0][..], [Range { start: 0, len: 1 << 40 }]);
}
