//! Which streams are sent content: slots, shared between peers. Pure.
//!
//! Whoever finds all slots taken waits for its turn, first come, first served, as long as it keeps asking. While somebody waits
//! who has less than its share, a slot is given back by whoever has more than its own, or has had it for a turn
//! ([`SLOT_TURN_MS`]).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    content::NodeId,
    limits::{
        network::PEERS,
        transfer::{SLOT_TURN_MS, SLOT_WAIT_MS},
    },
};

/// Who gets no slot for now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paused {
    /// Everybody.
    pub all: bool,
    /// These, if not.
    pub peers: BTreeSet<NodeId>,
}

impl Paused {
    fn is(&self, peer: &NodeId) -> bool {
        self.all || self.peers.contains(peer)
    }
}

/// The slots of a node.
#[derive(Debug)]
pub struct Slots {
    count: usize,
    paused: Paused,
    /// How many each peer has, of those who have any.
    held: BTreeMap<NodeId, usize>,
    /// Who was refused, and when last: each once, the first one first.
    waiting: VecDeque<(NodeId, Instant)>,
}

impl Slots {
    /// So many.
    pub fn new(count: usize) -> Self {
        Self { count, paused: Paused::default(), held: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// So many from now on; with fewer, what is taken ends by itself.
    pub fn set_count(&mut self, count: usize) {
        self.count = count;
    }

    /// These get none from now on, and what they have is over.
    pub fn set_paused(&mut self, paused: Paused) {
        self.waiting.retain(|(peer, _)| !paused.is(peer));
        self.paused = paused;
    }

    /// Takes a slot for a stream of this peer if it is its turn; else it waits for it.
    pub fn take(&mut self, now: Instant, peer: NodeId) -> bool {
        if self.paused.is(&peer) {
            return false;
        }
        let ahead = self.in_need(now).iter().take_while(|waiting| **waiting != peer).count();
        if self.free() > ahead {
            *self.held.entry(peer).or_default() += 1;
            self.waiting.retain(|(waiting, _)| *waiting != peer);
            return true;
        }
        let place = self.waiting.iter().position(|(waiting, _)| *waiting == peer);
        match place {
            Some(at) => self.waiting[at].1 = now,
            None if self.waiting.len() < PEERS => self.waiting.push_back((peer, now)),
            None => {}
        }
        false
    }

    /// The same for a peer that gets one only while others leave more than half of them, and whom nobody waits for.
    pub fn take_spare(&mut self, now: Instant, peer: NodeId) -> bool {
        let is_spare = !self.paused.is(&peer) && self.taken() < self.count / 2 && self.in_need(now).is_empty();
        if is_spare {
            *self.held.entry(peer).or_default() += 1;
        }
        is_spare
    }

    /// A stream of this peer ends, or gives its slot back.
    pub fn give_back(&mut self, peer: NodeId) {
        if let Some(held) = self.held.get_mut(&peer) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&peer);
            }
        }
    }

    /// Whether a peer should give back a slot that it took at this time.
    pub fn is_over(&mut self, now: Instant, peer: NodeId, taken: Instant) -> bool {
        if self.paused.is(&peer) || self.taken() > self.count {
            return true;
        }
        let in_need = self.in_need(now).iter().filter(|waiting| **waiting != peer).count();
        let turn = Duration::from_millis(SLOT_TURN_MS);
        in_need > self.free() && (self.held_by(&peer) > self.share() || now.saturating_duration_since(taken) >= turn)
    }

    /// Those who wait and have less than their share, the first one first; who has not asked again is forgotten.
    fn in_need(&mut self, now: Instant) -> Vec<NodeId> {
        let patience = Duration::from_millis(SLOT_WAIT_MS);
        self.waiting.retain(|(_, asked)| now.saturating_duration_since(*asked) < patience);
        let share = self.share();
        self.waiting.iter().map(|(peer, _)| *peer).filter(|peer| self.held_by(peer) < share).collect()
    }

    /// What each peer may have while others wait.
    fn share(&self) -> usize {
        let peers: BTreeSet<_> = self.held.keys().chain(self.waiting.iter().map(|(peer, _)| peer)).collect();
        (self.count / peers.len().max(1)).max(1)
    }

    fn held_by(&self, peer: &NodeId) -> usize {
        self.held.get(peer).copied().unwrap_or_default()
    }

    fn taken(&self) -> usize {
        self.held.values().sum()
    }

    fn free(&self) -> usize {
        self.count.saturating_sub(self.taken())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{clock, limits::transfer::BUSY_RETRY_MS};

    const STEP: Duration = Duration::from_millis(100);

    fn peer(number: usize) -> NodeId {
        NodeId([number as u8; 32])
    }

    /// Streams that are asked for more and more, in virtual time.
    struct Bench {
        slots: Slots,
        now: Instant,
        /// Whose, when it took its slot or when it asks for one again, and how long it had slots.
        streams: Vec<(NodeId, Result<Instant, Instant>, Duration)>,
    }

    impl Bench {
        fn new(count: usize, streams: impl Iterator<Item = usize>) -> Self {
            let now = clock::now();
            let streams = streams.map(|number| (peer(number), Err(now), Duration::ZERO)).collect();
            Self { slots: Slots::new(count), now, streams }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                for (peer, state, had) in &mut self.streams {
                    if let Ok(taken) = *state
                        && self.slots.is_over(self.now, *peer, taken)
                    {
                        self.slots.give_back(*peer);
                        *state = Err(self.now);
                    }
                    if state.is_err_and(|again| again <= self.now) {
                        *state = match self.slots.take(self.now, *peer) {
                            true => Ok(self.now),
                            false => Err(self.now + Duration::from_millis(BUSY_RETRY_MS.into())),
                        };
                    }
                    *had += if state.is_ok() { STEP } else { Duration::ZERO };
                }
                assert!(self.slots.taken() <= self.slots.count);
                assert_eq!(self.slots.taken(), self.streams.iter().filter(|(_, state, _)| state.is_ok()).count());
                self.now += STEP;
            }
        }

        fn had(&self, number: usize) -> f64 {
            let of = self.streams.iter().filter(|(of, ..)| *of == peer(number));
            of.map(|(.., had)| had.as_secs_f64()).sum()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn peers_get_the_same_however_many_streams_they_open(
            count in 1..=8_usize,
            streams in proptest::collection::vec(1..=4_usize, 1..24),
        ) {
            let each = streams.iter().enumerate().flat_map(|(number, streams)| vec![number; *streams]);
            let mut bench = Bench::new(count, each);
            bench.run(Duration::from_secs(1200));
            let total: f64 = (0..streams.len()).map(|number| bench.had(number)).sum();
            let all = streams.iter().sum::<usize>();
            prop_assert!(total >= 1200.0 * count.min(all) as f64 * 0.75, "{total} s of {count} slots are used");
            // What a peer that always wants as much as it may would have, at least.
            let fair = 1200.0 * count as f64 / streams.len() as f64;
            for (number, streams) in streams.iter().enumerate() {
                let want = fair.min(1200.0 * *streams as f64);
                prop_assert!(bench.had(number) >= want * 0.4, "{number}: {} s, fair are {want}", bench.had(number));
            }
        }
    }

    #[test]
    fn who_comes_later_gets_its_share_at_once() {
        let mut bench = Bench::new(8, [0, 0, 0, 0, 1, 1, 1, 1].into_iter());
        bench.run(STEP);
        assert_eq!((bench.had(0), bench.had(1)), (0.4, 0.4), "nobody else is there");
        bench.streams.extend(vec![(peer(2), Err(bench.now), Duration::ZERO); 4]);
        bench.run(Duration::from_millis(2 * u64::from(BUSY_RETRY_MS)) + 3 * STEP);
        let held: Vec<usize> = (0..3).map(|number| bench.slots.held_by(&peer(number))).collect();
        assert!(held.iter().all(|held| *held >= 8 / 3), "{held:?}");
    }

    #[test]
    fn who_does_not_ask_again_is_forgotten() {
        let (mut slots, now) = (Slots::new(1), clock::now());
        assert!(slots.take(now, peer(1)) && !slots.take(now, peer(2)) && !slots.take(now, peer(3)));
        slots.give_back(peer(1));
        assert!(!slots.take(now, peer(3)), "it is not its turn");
        let later = now + Duration::from_millis(SLOT_WAIT_MS);
        assert!(slots.take(later, peer(3)));
        assert!(slots.waiting.is_empty() && slots.held.len() == 1);
    }

    #[test]
    fn who_is_paused_gets_none_and_gives_back_what_it_has() {
        let (mut slots, now) = (Slots::new(2), clock::now());
        assert!(slots.take(now, peer(1)) && slots.take(now, peer(2)) && !slots.take(now, peer(3)));
        slots.set_paused(Paused { all: false, peers: [peer(1), peer(3)].into() });
        assert!(slots.is_over(now, peer(1), now) && !slots.is_over(now, peer(2), now));
        slots.give_back(peer(1));
        assert!(!slots.take(now, peer(1)) && !slots.take_spare(now, peer(3)));
        assert!(slots.take(now, peer(4)), "nobody who is paused is waited for");
        slots.set_paused(Paused { all: true, peers: BTreeSet::new() });
        assert!(slots.is_over(now, peer(2), now));
        slots.set_paused(Paused::default());
        slots.give_back(peer(2));
        assert!(slots.take(now, peer(3)));
    }

    #[test]
    fn as_many_wait_as_there_may_be_peers() {
        let (mut slots, now) = (Slots::new(0), clock::now());
        for number in 0..2 * PEERS {
            assert!(!slots.take(now, peer(number)));
        }
        assert_eq!(slots.waiting.len(), PEERS);
    }
}
