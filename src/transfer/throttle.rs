//! How much may pass: token buckets, one in total and one for each peer. Pure.
//!
//! Whoever wants to pass something takes tokens for a piece of it, and waits until that many have come: tokens come at the rate,
//! and who took first goes first. What passes in any time is at most rate × time and what the bucket holds ([`BUCKET_MS`] of
//! the rate), so that over 10 s it is exact to 1 %. When rates change all begin anew with empty buckets, so that nothing jumps.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use crate::{content::NodeId, limits::transfer::BUCKET_MS};

/// Bytes that may pass in a second; none: all that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of all streams together.
    pub total: Option<NonZeroU64>,
    /// Of the streams of one peer.
    pub per_peer: Option<NonZeroU64>,
}

/// How much a stream gets next to others, where there is not enough for all: twice as much as with the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Half of what is usual.
    Low,
    /// What is usual.
    #[default]
    Normal,
    /// Twice of it.
    High,
}

impl Priority {
    /// From the first to the last.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// What holds for something of which both were said.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Normal, other) => other,
            (one, Self::Normal) => one,
            (one, other) if one == other => one,
            (Self::High, _) | (Self::Low, _) => Self::Normal,
        }
    }

    /// In how many parts is cut what one of the highest priority has as a whole.
    pub(super) fn parts(self) -> u64 {
        match self {
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 4,
        }
    }
}

/// Tokens are counted in billionths of a byte: a rate gives that many in a nanosecond.
const NANO: u128 = 1_000_000_000;

/// Tokens that come at a rate.
#[derive(Debug)]
struct Bucket {
    rate: Option<NonZeroU64>,
    /// Since the beginning, as of `updated`.
    come: u128,
    taken: u128,
    updated: Instant,
}

/// Tokens that were taken, by their last one's number. They are there once so many have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket(u128);

impl Bucket {
    /// An empty one.
    fn new(now: Instant, rate: Option<NonZeroU64>) -> Self {
        Self { rate, come: 0, taken: 0, updated: now }
    }

    fn update(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.updated);
        self.updated = self.updated.max(now);
        match self.rate {
            // What had to be waited for is there, and nothing is saved up.
            None => self.come = self.taken,
            Some(rate) => {
                let rate = u128::from(rate.get());
                let full = self.taken + rate * u128::from(BUCKET_MS) * (NANO / 1000);
                self.come = full.min(self.come + rate * passed.as_nanos());
            }
        }
    }

    fn take(&mut self, now: Instant, bytes: u64) -> Ticket {
        self.update(now);
        self.taken += u128::from(bytes) * NANO;
        Ticket(self.taken)
    }

    /// The tokens of so many bytes are for whoever comes next.
    fn give_back(&mut self, bytes: u64) {
        self.come += u128::from(bytes) * NANO;
    }

    /// How long until the tokens are there, if nothing changes.
    ///
    /// # Errors
    /// That, if they are not.
    fn check(&mut self, now: Instant, ticket: Ticket) -> Result<(), Duration> {
        self.update(now);
        match self.rate {
            Some(rate) if ticket.0 > self.come => {
                let nanos = (ticket.0 - self.come).div_ceil(rate.get().into());
                Err(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
            }
            _ => Ok(()),
        }
    }
}

/// The buckets of one direction.
#[derive(Debug)]
pub struct Throttle {
    rates: Rates,
    /// How often they changed.
    changes: u64,
    total: Bucket,
    /// Those of peers that have flows, and how many.
    peers: BTreeMap<NodeId, (Bucket, usize)>,
}

/// One stream's way through the buckets.
#[derive(Debug)]
pub struct Flow {
    peer: NodeId,
    priority: Priority,
    /// Bytes that may pass at once.
    credit: u64,
    wait: Wait,
    /// Of the rates, when it got these.
    changes: u64,
}

/// What a flow waits for, and for how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Nothing,
    Peer(u64, Ticket),
    Total(u64, Ticket),
}

impl Throttle {
    /// One without limits.
    pub fn new(now: Instant) -> Self {
        Self { rates: Rates::default(), changes: 0, total: Bucket::new(now, None), peers: BTreeMap::new() }
    }

    /// These hold from now on, for those who wait too.
    pub fn set_rates(&mut self, now: Instant, rates: Rates) {
        if rates != self.rates {
            self.rates = rates;
            self.changes += 1;
            self.total = Bucket::new(now, rates.total);
            self.peers.values_mut().for_each(|(bucket, _)| *bucket = Bucket::new(now, rates.per_peer));
        }
    }

    /// A stream of this peer begins.
    pub fn open(&mut self, now: Instant, peer: NodeId) -> Flow {
        let rate = self.rates.per_peer;
        self.peers.entry(peer).or_insert_with(|| (Bucket::new(now, rate), 0)).1 += 1;
        Flow { peer, priority: Priority::default(), credit: 0, wait: Wait::Nothing, changes: self.changes }
    }

    /// It ends; to be called once. What it took and did not use is for the others.
    pub fn close(&mut self, flow: &mut Flow) {
        self.renew(flow);
        let (peer, total) = match flow.wait {
            Wait::Nothing => (flow.credit, flow.credit),
            Wait::Peer(bytes, _) => (bytes, 0),
            Wait::Total(bytes, _) => (bytes, bytes),
        };
        (flow.credit, flow.wait) = (0, Wait::Nothing);
        self.total.give_back(total);
        if let Some((bucket, flows)) = self.peers.get_mut(&flow.peer) {
            bucket.give_back(peer);
            *flows -= 1;
            if *flows == 0 {
                self.peers.remove(&flow.peer);
            }
        }
    }

    /// How many of `bytes`, at least one, may pass now.
    ///
    /// # Errors
    /// How long to wait before asking again; rates that change meanwhile change that too.
    pub fn grant(&mut self, now: Instant, flow: &mut Flow, bytes: u64) -> Result<u64, Duration> {
        if self.rates == Rates::default() {
            return Ok(bytes);
        }
        self.renew(flow);
        if flow.credit == 0 {
            flow.credit = self.earn(now, flow)?;
        }
        let granted = bytes.min(flow.credit);
        flow.credit -= granted;
        Ok(granted)
    }

    /// What it has of other rates counts no more.
    fn renew(&self, flow: &mut Flow) {
        if flow.changes != self.changes {
            (flow.credit, flow.wait, flow.changes) = (0, Wait::Nothing, self.changes);
        }
    }

    /// Tokens for a piece, from both buckets.
    fn earn(&mut self, now: Instant, flow: &mut Flow) -> Result<u64, Duration> {
        let (bytes, ticket) = match flow.wait {
            Wait::Total(bytes, ticket) => (bytes, ticket),
            Wait::Nothing | Wait::Peer(..) => {
                let (bucket, _) = self.peers.get_mut(&flow.peer).expect("the peer of an open flow has a bucket");
                let (bytes, ticket) = match flow.wait {
                    Wait::Peer(bytes, ticket) => (bytes, ticket),
                    _ => {
                        let bytes = piece(self.rates, flow.priority);
                        (bytes, bucket.take(now, bytes))
                    }
                };
                flow.wait = Wait::Peer(bytes, ticket);
                bucket.check(now, ticket)?;
                (bytes, self.total.take(now, bytes))
            }
        };
        flow.wait = Wait::Total(bytes, ticket);
        self.total.check(now, ticket)?;
        flow.wait = Wait::Nothing;
        Ok(bytes)
    }
}

impl Flow {
    /// It gets more or less than others from its next piece on.
    pub fn set_priority(&mut self, priority: Priority) {
        self.priority = priority;
    }
}

/// Bytes that a flow takes at a time. As flows take turns, it gets as much of the rate as its pieces are larger than others'; the
/// largest are what a bucket holds.
fn piece(rates: Rates, priority: Priority) -> u64 {
    let rate = [rates.total, rates.per_peer].into_iter().flatten().min().map_or(u64::MAX, NonZeroU64::get);
    (rate.saturating_mul(BUCKET_MS) / 1000 / priority.parts()).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock;

    /// Streams that always have something to send, in virtual time.
    struct Bench {
        throttle: Throttle,
        start: Instant,
        now: Instant,
        /// When each asks next.
        flows: Vec<(Instant, Flow)>,
        /// When what passed: time, number of the flow, bytes.
        passed: Vec<(Instant, usize, u64)>,
    }

    fn rate(bytes_s: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(bytes_s)
    }

    fn peer(number: usize) -> NodeId {
        NodeId([number as u8; 32])
    }

    impl Bench {
        /// Flows of these peers.
        fn new(rates: Rates, peers: &[usize]) -> Self {
            let now = clock::now();
            let mut throttle = Throttle::new(now);
            throttle.set_rates(now, rates);
            let flows = peers.iter().map(|number| (now, throttle.open(now, peer(*number)))).collect();
            Self { throttle, start: now, now, flows, passed: Vec::new() }
        }

        /// Each sends frames of so many bytes for so long.
        fn run(&mut self, time: Duration, frame_bytes: &[u64]) {
            let end = self.now + time;
            loop {
                let (at, (due, flow)) =
                    self.flows.iter_mut().enumerate().min_by_key(|(_, (due, _))| *due).expect("there are flows");
                self.now = self.now.max(*due);
                if self.now >= end {
                    break;
                }
                match self.throttle.grant(self.now, flow, frame_bytes[at % frame_bytes.len()]) {
                    Ok(bytes) => self.passed.push((self.now, at, bytes)),
                    Err(wait) => *due = self.now + wait,
                }
            }
            self.now = end;
        }

        /// Bytes of these flows from one time to another since the start.
        fn bytes(&self, from: Duration, to: Duration, of: impl Fn(usize) -> bool) -> u64 {
            let inside = |at: &Instant| (self.start + from..self.start + to).contains(at);
            self.passed.iter().filter(|(at, flow, _)| inside(at) && of(*flow)).map(|(.., bytes)| bytes).sum()
        }

        fn assert_exact(&self, from_s: f64, of: impl Fn(usize) -> bool, bytes_s: u64) {
            let from = Duration::from_secs_f64(from_s);
            let bytes = self.bytes(from, from + Duration::from_secs(10), of);
            assert!(bytes.abs_diff(10 * bytes_s) * 100 <= 10 * bytes_s, "{bytes} in 10 s at {bytes_s} in each");
        }
    }

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ten_seconds_are_exact_whoever_sends_what(
            bytes_s in 64 * KIB..200 * MIB,
            peers in proptest::collection::vec(0..4_usize, 1..14),
            priorities in proptest::collection::vec(0..3_usize, 14),
            // Frames that take more than some milliseconds: else the test counts for ever.
            frame_ms in proptest::collection::vec(2..2000_u64, 3),
            from_s in 0.0..5.0_f64,
        ) {
            let mut bench = Bench::new(Rates { total: rate(bytes_s), per_peer: None }, &peers);
            for ((_, flow), priority) in bench.flows.iter_mut().zip(priorities) {
                flow.set_priority([Priority::Low, Priority::Normal, Priority::High][priority]);
            }
            bench.run(Duration::from_secs(15), &frame_ms.iter().map(|ms| bytes_s * ms / 1000).collect::<Vec<_>>());
            bench.assert_exact(from_s, |_| true, bytes_s);
        }

        #[test]
        fn each_peer_has_its_rate_as_far_as_there_is_enough(
            bytes_s in 64 * KIB..100 * MIB,
            flows in proptest::collection::vec(0..4_usize, 4..14),
            times in 1..8_u64,
        ) {
            let total = bytes_s * times;
            let mut bench = Bench::new(Rates { total: rate(total), per_peer: rate(bytes_s) }, &flows);
            bench.run(Duration::from_secs(15), &[256 * KIB]);
            let peers = (0..4).filter(|peer| flows.contains(peer)).count() as u64;
            for number in (0..4).filter(|peer| flows.contains(peer)) {
                if times >= peers {
                    bench.assert_exact(3.0, |flow| flows[flow] == number, bytes_s);
                } else {
                    let bytes = bench.bytes(Duration::ZERO, Duration::from_secs(10), |flow| flows[flow] == number);
                    prop_assert!(bytes <= 10 * bytes_s + bytes_s / 10);
                }
            }
            bench.assert_exact(3.0, |_| true, bytes_s * times.min(peers));
        }

        #[test]
        fn rates_change_without_a_jump(
            rates in proptest::collection::vec(64 * KIB..50 * MIB, 2..4),
            flows in 1..8_usize,
        ) {
            let mut bench = Bench::new(Rates::default(), &vec![1; flows]);
            let ten = Duration::from_secs(10);
            for (at, bytes_s) in rates.iter().enumerate() {
                bench.throttle.set_rates(bench.now, Rates { total: rate(*bytes_s), per_peer: None });
                // Those who wait ask again soon, whatever they were told before.
                let soon = bench.now + Duration::from_millis(1);
                bench.flows.iter_mut().for_each(|(due, _)| *due = soon.min(*due));
                bench.run(ten, &[100 * KIB]);
                let from = ten * at as u32;
                let bytes = bench.bytes(from, from + ten, |_| true);
                prop_assert!(bytes.abs_diff(10 * bytes_s) * 100 <= 10 * bytes_s, "{bytes} at {bytes_s}");
            }
        }
    }

    #[test]
    fn what_waits_is_shared_by_priority() {
        let mut bench = Bench::new(Rates { total: rate(700 * KIB), per_peer: None }, &[0, 1, 2]);
        for (at, priority) in [Priority::Low, Priority::Normal, Priority::High].into_iter().enumerate() {
            bench.flows[at].1.set_priority(priority);
        }
        bench.run(Duration::from_secs(12), &[256 * KIB, 20 * KIB, 64 * KIB]);
        for (at, share) in [(0, 100 * KIB), (1, 200 * KIB), (2, 400 * KIB)] {
            bench.assert_exact(2.0, |flow| flow == at, share);
        }
    }

    #[test]
    fn nothing_is_saved_up_but_what_a_bucket_holds() {
        let mut bench = Bench::new(Rates { total: rate(MIB), per_peer: None }, &[0]);
        bench.now += Duration::from_secs(3600);
        bench.run(Duration::from_millis(1), &[256 * KIB]);
        let burst: u64 = bench.passed.iter().map(|(.., bytes)| bytes).sum();
        assert!(burst <= MIB * BUCKET_MS / 1000 + 2, "{burst}");
        assert!(burst >= MIB * BUCKET_MS / 1000 - KIB, "{burst}");
    }

    #[test]
    fn without_a_limit_nothing_is_counted_and_who_waited_goes_on() {
        let now = clock::now();
        let mut throttle = Throttle::new(now);
        let mut flow = throttle.open(now, peer(1));
        assert_eq!(throttle.grant(now, &mut flow, u64::MAX), Ok(u64::MAX));
        let slow = Rates { total: None, per_peer: rate(1) };
        throttle.set_rates(now, slow);
        let wait = throttle.grant(now, &mut flow, 9).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(throttle.grant(now + wait, &mut flow, 9), Ok(1), "one at least");
        throttle.grant(now + wait, &mut flow, 9).unwrap_err();
        throttle.set_rates(now + wait, Rates::default());
        assert_eq!(throttle.grant(now + wait, &mut flow, 9), Ok(9));
        throttle.set_rates(now + wait, slow);
        assert_eq!(throttle.grant(now + wait, &mut flow, 9), Err(Duration::from_secs(1)), "from the beginning");
    }

    #[test]
    fn what_a_stream_that_ends_did_not_use_is_for_others() {
        let now = clock::now();
        let mut throttle = Throttle::new(now);
        throttle.set_rates(now, Rates { total: rate(1000), per_peer: rate(1000) });
        let (mut stays, mut goes) = (throttle.open(now, peer(1)), throttle.open(now, peer(2)));
        let first = throttle.grant(now, &mut goes, 1).unwrap_err();
        let now = now + first;
        assert_eq!(throttle.grant(now, &mut goes, 1), Ok(1));
        throttle.close(&mut goes);
        assert_eq!(throttle.peers.len(), 1, "nobody is remembered");
        let rest = Duration::from_millis(1);
        assert_eq!(throttle.grant(now, &mut stays, 1), Err(rest), "all but one byte is there");
        assert_eq!(throttle.grant(now + rest, &mut stays, 1), Ok(1));
        throttle.close(&mut stays);
        assert!(throttle.peers.is_empty());
    }
}
