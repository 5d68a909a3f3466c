//! Which streams are sent content: slots, shared between peers. Pure.
//!
//! A stream takes a slot for one answer, or for a short turn of a long one. Whoever finds all slots taken waits in line. Those
//! of peers that have the fewest slots go first; then it goes round by round, as in start-time fair queuing (Goyal, Vin and
//! Cheng, 1996): the streams of a peer are in one round each, however many it has; and in a round, first come, first served.
//! For a peer of high priority a slot counts half, and its next stream is half a round later; of a low one, twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    content::NodeId,
    limits::{network::PEERS, transfer::SLOT_QUEUE},
    transfer::Priority,
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

/// Who asks for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    pub peer: NodeId,
    /// It gets one only while others leave more than half of them, and nobody else waits.
    pub is_throttled: bool,
}

/// One of those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What somebody hears who asks for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has one.
    Now,
    /// It waits, until [`Slots::next`] names it or it leaves.
    Later(Ticket),
    /// It gets none: it is paused, or too many wait.
    Never,
}

/// The slots of a node.
#[derive(Debug)]
pub(super) struct Slots {
    count: usize,
    paused: Paused,
    /// Of peers whose priority is not the usual one.
    priorities: BTreeMap<NodeId, Priority>,
    /// How many each peer has, of those who have any.
    held: BTreeMap<NodeId, usize>,
    line: Vec<Waits>,
    next_ticket: u64,
    /// That of whoever got a slot last. Each is two, for there to be halves.
    round: u64,
    /// In which one the next stream of a peer is, if not in this.
    rounds: BTreeMap<NodeId, u64>,
}

#[derive(Debug)]
struct Waits {
    client: Client,
    round: u64,
    ticket: Ticket,
}

impl Slots {
    /// So many.
    pub fn new(count: usize) -> Self {
        Self {
            count,
            paused: Paused::default(),
            priorities: BTreeMap::new(),
            held: BTreeMap::new(),
            line: Vec::new(),
            next_ticket: 0,
            round: 0,
            rounds: BTreeMap::new(),
        }
    }

    /// So many from now on; with fewer, what is taken ends by itself.
    pub fn set_count(&mut self, count: usize) {
        self.count = count;
    }

    /// These get none from now on, and what they have is over. Returns who waits in vain.
    pub fn set_paused(&mut self, paused: Paused) -> Vec<Ticket> {
        self.paused = paused;
        let gone = self.line.extract_if(.., |waits| self.paused.is(&waits.client.peer));
        gone.map(|waits| waits.ticket).collect()
    }

    /// These peers get more or less than others from now on.
    pub fn set_priorities(&mut self, priorities: BTreeMap<NodeId, Priority>) {
        self.priorities = priorities;
    }

    /// What a peer gets next to others.
    pub fn priority(&self, peer: &NodeId) -> Priority {
        self.priorities.get(peer).copied().unwrap_or_default()
    }

    /// How many there are, how many are taken, and how many streams wait for one.
    pub fn counts(&self) -> [usize; 3] {
        [self.count, self.taken(), self.line.len()]
    }

    /// Takes a slot, or a place in the line.
    pub fn take(&mut self, client: Client) -> Turn {
        if self.paused.is(&client.peer) || self.line.len() >= SLOT_QUEUE {
            return Turn::Never;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let parts = self.priority(&client.peer).parts();
        let next = self.rounds.entry(client.peer).or_insert(self.round);
        self.line.push(Waits { client, round: *next, ticket });
        *next += parts;
        if self.rounds.len() > PEERS {
            // Most of them are gone.
            self.begin_round(self.round + Priority::Normal.parts());
        }
        // Nobody else's turn can have come by that.
        if self.next().is_some() { Turn::Now } else { Turn::Later(ticket) }
    }

    /// Whose turn it is, if it is anybody's: it has a slot now. To be asked until there is none, after each change.
    pub fn next(&mut self) -> Option<Ticket> {
        let is_spare = self.is_spare();
        if self.taken() >= if is_spare { self.count / 2 } else { self.count } {
            return None;
        }
        let line = self.line.iter().enumerate().filter(|(_, waits)| waits.client.is_throttled == is_spare);
        let (at, _) = line.min_by_key(|(_, it)| (self.weighs(it.client.peer, 0), it.round, it.ticket))?;
        let Waits { client, round, ticket } = self.line.remove(at);
        *self.held.entry(client.peer).or_default() += 1;
        self.begin_round(round.max(self.round));
        Some(ticket)
    }

    fn begin_round(&mut self, round: u64) {
        self.round = round;
        self.rounds.retain(|_, next| *next > round);
    }

    /// Somebody waits no more.
    pub fn leave(&mut self, ticket: Ticket) {
        self.line.retain(|waits| waits.ticket != ticket);
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

    /// The turn of a stream with a slot is over: whether it is to give the slot back. If not, this is its next turn.
    pub fn ends_turn(&mut self, from: Client) -> bool {
        if self.paused.is(&from.peer) || self.taken() > self.count {
            return true;
        }
        let next = self.rounds.get(&from.peer).copied().unwrap_or(self.round);
        let own = (self.weighs(from.peer, 1), next);
        let is_spare = self.is_spare();
        let ends = self.line.iter().filter(|waits| waits.client.is_throttled == is_spare).any(|waits| {
            let held = self.weighs(waits.client.peer, usize::from(waits.client.peer == from.peer));
            match (from.is_throttled, is_spare) {
                (true, false) => true,
                (false, true) => false,
                _ => (held, waits.round) <= own,
            }
        });
        if !ends && !self.line.is_empty() {
            self.rounds.insert(from.peer, next + self.priority(&from.peer).parts());
        }
        ends
    }

    /// Whether only those wait who get what is left.
    fn is_spare(&self) -> bool {
        self.line.iter().all(|waits| waits.client.is_throttled)
    }

    /// What the slots of a peer count, but for so many of them.
    fn weighs(&self, peer: NodeId, without: usize) -> u64 {
        let held = self.held.get(&peer).copied().unwrap_or_default().saturating_sub(without);
        held as u64 * self.priority(&peer).parts()
    }

    fn taken(&self) -> usize {
        self.held.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(number: usize) -> Client {
        Client { peer: NodeId([number as u8; 32]), is_throttled: false }
    }

    fn throttled(number: usize) -> Client {
        Client { is_throttled: true, ..client(number) }
    }

    fn later(turn: Turn) -> Ticket {
        let Turn::Later(ticket) = turn else { panic!("{turn:?}") };
        ticket
    }

    /// A stream that always has something more to be sent.
    struct Stream {
        client: Client,
        /// Steps that one of its answers takes.
        takes: usize,
        state: Result<usize, Ticket>,
        had: usize,
    }

    fn step(slots: &mut Slots, streams: &mut [Stream]) {
        let mut ended = Vec::new();
        for (at, Stream { takes, state, had, .. }) in streams.iter_mut().enumerate() {
            let Ok(left) = state else { continue };
            (*left, *had) = (*left - 1, *had + 1);
            if *left == 0 {
                *left = *takes;
                ended.push(at);
            }
        }
        for at in ended {
            let client = streams[at].client;
            if slots.ends_turn(client) {
                slots.give_back(client.peer);
                while let Some(ticket) = slots.next() {
                    let next = streams.iter_mut().find(|stream| stream.state == Err(ticket)).expect("it waits");
                    next.state = Ok(next.takes);
                }
                streams[at].state = Err(later(slots.take(client)));
            }
        }
        let held = streams.iter().filter(|stream| stream.state.is_ok()).count();
        assert_eq!(slots.held.values().sum::<usize>(), held);
        assert!(held <= slots.count);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn peers_get_the_same_however_many_streams_they_open(
            count in 1..=8_usize,
            peers in proptest::collection::vec(1..=4_usize, 1..16),
            takes in 1..=5_usize,
        ) {
            let mut slots = Slots::new(count);
            let each = peers.iter().enumerate().flat_map(|(number, streams)| vec![number; *streams]);
            let mut streams: Vec<_> = each
                .map(|number| {
                    let state = match slots.take(client(number)) {
                        Turn::Now => Ok(takes),
                        turn => Err(later(turn)),
                    };
                    Stream { client: client(number), takes, state, had: 0 }
                })
                .collect();
            const STEPS: usize = 5000;
            (0..STEPS).for_each(|_| step(&mut slots, &mut streams));
            let had = streams.iter().map(|stream| stream.had).sum::<usize>();
            prop_assert_eq!(had, STEPS * count.min(streams.len()), "no slot is free while somebody waits");
            // What a peer that always wants as much as it may would have, at least.
            let fair = STEPS * count / peers.len();
            for (number, open) in peers.iter().enumerate() {
                let of = streams.iter().filter(|stream| stream.client == client(number));
                let (had, want) = (of.map(|stream| stream.had).sum::<usize>(), fair.min(STEPS * open));
                prop_assert!(had * 2 >= want, "{number}: {had} steps, fair are {want}");
            }
        }
    }

    #[test]
    fn who_matters_more_gets_more() {
        for (count, streams_each) in [(1, 1), (7, 7)] {
            let mut slots = Slots::new(count);
            let priorities = Priority::ALL.into_iter().enumerate();
            slots.set_priorities(priorities.map(|(number, priority)| (client(number).peer, priority)).collect());
            let each = (0..3).flat_map(|number| vec![number; streams_each]);
            let mut streams: Vec<_> = each
                .map(|number| {
                    let state = match slots.take(client(number)) {
                        Turn::Now => Ok(1),
                        turn => Err(later(turn)),
                    };
                    Stream { client: client(number), takes: 1, state, had: 0 }
                })
                .collect();
            (0..700).for_each(|_| step(&mut slots, &mut streams));
            let had = |number| {
                let of = streams.iter().filter(|stream| stream.client == client(number));
                of.map(|stream| stream.had).sum::<usize>() / count
            };
            for (had, fair) in [(had(0), 400), (had(1), 200), (had(2), 100)] {
                assert!(had.abs_diff(fair) <= fair / 20, "{had} of {fair} with {count} slots");
            }
        }
    }

    #[test]
    fn who_came_first_goes_first_and_who_has_none_before() {
        let mut slots = Slots::new(2);
        assert!((1..3).all(|number| slots.take(client(number)) == Turn::Now));
        let [more, third, again, fourth] = [1, 3, 3, 4].map(|number| later(slots.take(client(number))));
        assert_eq!(slots.next(), None);
        assert!(slots.ends_turn(client(1)));
        slots.give_back(client(2).peer);
        assert_eq!((slots.next(), slots.next()), (Some(third), None), "one that has a slot lets others go");
        slots.give_back(client(1).peer);
        assert_eq!(slots.next(), Some(fourth), "one that had its turn lets others go");
        slots.give_back(client(4).peer);
        assert_eq!(slots.next(), Some(more), "it has none now");
        slots.leave(again);
        slots.give_back(client(1).peer);
        assert_eq!((slots.next(), slots.line.len(), slots.held.len()), (None, 0, 1));
        assert!(!slots.ends_turn(client(3)));
    }

    #[test]
    fn a_throttled_peer_gets_what_others_leave() {
        let mut slots = Slots::new(4);
        assert!((0..2).all(|_| slots.take(throttled(1)) == Turn::Now));
        let waits = later(slots.take(throttled(1)));
        assert!(!slots.ends_turn(client(2)) && slots.ends_turn(throttled(1)));
        assert!((0..2).all(|_| slots.take(client(2)) == Turn::Now), "others may have all");
        let other = later(slots.take(client(3)));
        slots.give_back(client(1).peer);
        assert_eq!((slots.next(), slots.next()), (Some(other), None));
        (0..2).for_each(|_| slots.give_back(client(2).peer));
        assert_eq!(slots.next(), None, "half of them are taken");
        slots.give_back(client(3).peer);
        assert_eq!(slots.next(), Some(waits));
    }

    #[test]
    fn who_is_paused_gets_none_and_gives_back_what_it_has() {
        let mut slots = Slots::new(2);
        assert!((1..3).all(|number| slots.take(client(number)) == Turn::Now));
        let waits = later(slots.take(client(3)));
        let paused = Paused { all: false, peers: [client(1).peer, client(3).peer].into() };
        assert_eq!(slots.set_paused(paused), [waits]);
        assert!(slots.ends_turn(client(1)) && !slots.ends_turn(client(2)));
        slots.give_back(client(1).peer);
        assert_eq!((slots.take(client(1)), slots.take(throttled(3))), (Turn::Never, Turn::Never));
        assert_eq!(slots.take(client(4)), Turn::Now, "nobody who is paused is waited for");
        slots.set_paused(Paused { all: true, peers: BTreeSet::new() });
        assert!(slots.ends_turn(client(2)));
        slots.set_paused(Paused::default());
        slots.give_back(client(2).peer);
        assert_eq!(slots.take(client(3)), Turn::Now);
    }

    #[test]
    fn only_so_many_wait() {
        let mut slots = Slots::new(0);
        let all = Vec::from_iter((0..SLOT_QUEUE).map(|number| later(slots.take(client(number)))));
        assert_eq!(slots.take(client(1)), Turn::Never);
        slots.set_count(1);
        assert_eq!((slots.next(), slots.next()), (Some(all[0]), None));
        slots.set_count(0);
        assert!(slots.ends_turn(client(0)));
    }

    #[test]
    fn only_so_many_peers_are_remembered() {
        let mut slots = Slots::new(1);
        for number in 0..3 * PEERS as u64 {
            let peer = NodeId(std::array::from_fn(|at| number.to_le_bytes()[at % 8]));
            assert_eq!(slots.take(Client { peer, is_throttled: false }), Turn::Now);
            slots.give_back(peer);
            assert!(slots.rounds.len() <= PEERS);
        }
    }
}
