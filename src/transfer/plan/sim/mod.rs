//! A simulated swarm: many nodes that fetch one blob from each other, each with a real [`Plan`], in virtual time, and the same
//! again from the same seed. For tests alone.
//!
//! What is simulated is what a plan meets: links with a rate up and a rate down, which the streams of a node share frame by
//! frame; delay; upload slots, of which a server has a few; places, of which a client has a few, for the streams that it receives
//! on; what has come, told to the neighbours from time to time; nodes that leave, die without a word, and come back with what
//! they had. Nothing is lost or wrong: that is the business of others. A run that fails prints its seed; `SIM_SEED=… cargo test --lib
//! transfer::plan::sim::tests::NAME` runs it again.

mod asking;
mod report;
mod serving;
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{Plan, SourceId, groups_in, messages};
use crate::{
    groups::Groups,
    limits::{follow::LARGE_PLACES, transfer::UPLOAD_SLOTS},
    wire::blob::Ranges,
};

/// Which node.
type Number = usize;
/// Groups.
type Frame = ops::Range<u64>;

/// A node tells what has come to it this often.
const HAVE: Duration = Duration::from_millis(100);
/// A peer that died is known to be gone after this time.
const NOTICED: Duration = Duration::from_secs(9);

/// What happens at a time.
enum Action {
    /// A server is asked for something.
    Asked { server: Number, client: Number, call: u32, ranges: Box<Ranges> },
    /// A client hears that a server has no slot for it.
    Busy { server: Number, client: Number, call: u32 },
    /// A frame has left a server.
    Sent { server: Number, client: Number, call: u32, frame: Frame },
    /// A frame has come to a client, and was verified.
    Arrived { server: Number, client: Number, call: u32, frame: Frame },
    /// A server looks whether a stream still needs its slot.
    Idle { server: Number, client: Number, call: u32 },
    /// A client looks whether there is something to be asked, of one server or of all.
    Look { client: Number, server: Option<Number> },
    /// A node tells its neighbours what has come since the last time.
    Tell { node: Number },
    /// A node hears what has come to another.
    Have { to: Number, from: Number, ranges: Rc<Vec<Ranges>> },
    /// A node is known to be gone.
    Gone { to: Number, node: Number },
    /// A node goes, with a word or without.
    Leave { node: Number, dies: bool },
    /// A node comes, with what it had.
    Join { node: Number },
}

/// A node.
struct Host {
    /// Bytes a second.
    up: f64,
    /// Bytes a second.
    down: f64,
    /// Its part of the way to others.
    delay: Duration,
    is_up: bool,
    has: Groups,
    /// What of it the neighbours were told.
    told: Groups,
    neighbours: BTreeSet<Number>,
    plan: Option<Plan>,
    /// When it will look at all servers again.
    looks_at: Option<Duration>,
    /// The servers whose streams have a place, and since when.
    places: BTreeMap<Number, Duration>,
    /// Those whose streams wait for one.
    waiting: VecDeque<Number>,
    /// Whether a frame is leaving.
    is_sending: bool,
    /// Whom it sent to last.
    served: Number,
    /// When all that is on its way to it has come.
    receives_until: Duration,
    joined: Duration,
    done: Option<Duration>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// A stream, from a server to a client. A new one has a new number: what was on its way on an old one is lost.
#[derive(Default)]
struct Stream {
    call: u32,
    /// What is to be sent, and whether an answer ends with it.
    waiting: VecDeque<(Frame, bool)>,
    on_the_way: usize,
    has_slot: bool,
    used: Duration,
    /// The client asks nothing before.
    busy_until: Duration,
}

/// How long a stream keeps its upload slot.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Slots {
    /// While it asks for more; others hear "busy".
    Kept,
    /// For one answer, if others wait; nobody hears "busy".
    Turns,
}

/// Nodes and what is between them.
struct Swarm {
    seed: u64,
    rng: fastrand::Rng,
    now: Duration,
    origin: Instant,
    queue: BTreeMap<(Duration, u64), Action>,
    next_item: u64,
    hosts: Vec<Host>,
    streams: BTreeMap<(Number, Number), Stream>,
    size: u64,
    slots: usize,
    policy: Slots,
    places: usize,
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the run of SIM_SEED={} failed", self.seed);
        }
    }
}

impl Swarm {
    fn new(seed: u64, size: u64, origin: Instant) -> Self {
        Self {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            origin,
            queue: BTreeMap::new(),
            next_item: 0,
            hosts: Vec::new(),
            streams: BTreeMap::new(),
            size,
            slots: UPLOAD_SLOTS,
            policy: Slots::Turns,
            places: LARGE_PLACES,
        }
    }

    /// A node with these rates in Mbit/s, which is not there yet.
    fn add(&mut self, up: f64, down: f64) -> Number {
        self.hosts.push(Host {
            up: up * 125_000.0,
            down: down * 125_000.0,
            delay: Duration::from_micros(150),
            is_up: false,
            has: Groups::none(self.size),
            told: Groups::none(self.size),
            neighbours: BTreeSet::new(),
            plan: None,
            looks_at: None,
            places: BTreeMap::new(),
            waiting: VecDeque::new(),
            is_sending: false,
            served: 0,
            receives_until: Duration::ZERO,
            joined: Duration::ZERO,
            done: None,
            sent_bytes: 0,
            received_bytes: 0,
        });
        self.hosts.len() - 1
    }

    fn schedule(&mut self, wait: Duration, action: Action) {
        self.next_item += 1;
        self.queue.insert((self.now + wait, self.next_item), action);
    }

    fn delay(&self, one: Number, other: Number) -> Duration {
        self.hosts[one].delay + self.hosts[other].delay
    }

    fn instant(&self) -> Instant {
        self.origin + self.now
    }

    /// The number by which all nodes know one.
    fn id(&self, node: Number) -> SourceId {
        SourceId((node as u64 + 1).wrapping_mul(0xd134_2543_de82_ef95) ^ self.seed)
    }

    fn are_connected(&self, one: Number, other: Number) -> bool {
        self.hosts[one].is_up && self.hosts[other].is_up && self.hosts[one].neighbours.contains(&other)
    }

    fn connect(&mut self, one: Number, other: Number) {
        self.hosts[one].neighbours.insert(other);
        self.hosts[other].neighbours.insert(one);
    }

    /// Lets time pass until something is so; fails after this time.
    fn run_until(&mut self, what: &str, longest: Duration, is_so: impl Fn(&Self) -> bool) {
        let end = self.now + longest;
        while !is_so(self) {
            let next = self.queue.pop_first().filter(|((at, _), _)| *at <= end);
            let Some(((at, _), action)) = next else { panic!("within {longest:?} it is not so that {what}") };
            self.now = at;
            self.handle(action);
        }
    }

    fn handle(&mut self, action: Action) {
        match action {
            Action::Asked { server, client, call, ranges } => self.handle_asked(server, client, call, &ranges),
            Action::Busy { server, client, call } => self.handle_busy(server, client, call),
            Action::Sent { server, client, call, frame } => self.handle_sent(server, client, call, frame),
            Action::Arrived { server, client, call, frame } => self.handle_arrived(server, client, call, frame),
            Action::Idle { server, client, call } => self.handle_idle(server, client, call),
            Action::Look { client, server: Some(server) } => self.look(client, server),
            Action::Look { client, server: None } => {
                // It may have been put off.
                if self.hosts[client].looks_at == Some(self.now) {
                    self.hosts[client].looks_at = None;
                    self.look_at_all(client);
                }
            }
            Action::Tell { node } => self.handle_tell(node),
            Action::Have { to, from, ranges } => {
                let id = self.id(from);
                if self.are_connected(to, from)
                    && let Some(plan) = &mut self.hosts[to].plan
                {
                    ranges.iter().for_each(|ranges| plan.handle_have(id, ranges));
                    self.look(to, from);
                }
            }
            Action::Gone { to, node } => {
                if !self.hosts[node].is_up {
                    self.forget(to, node);
                }
            }
            Action::Leave { node, dies } => self.leave(node, dies),
            Action::Join { node } => self.join(node),
        }
    }

    fn join(&mut self, node: Number) {
        let host = &mut self.hosts[node];
        if std::mem::replace(&mut host.is_up, true) {
            return;
        }
        host.told = host.has.clone();
        if host.has.is_empty() {
            host.joined = self.now;
        }
        let me = self.id(node);
        let host = &mut self.hosts[node];
        host.plan = (!host.has.is_whole()).then(|| Plan::new(self.size, &host.has.ranges(false), me));
        for other in self.hosts[node].neighbours.clone() {
            if self.hosts[other].is_up {
                self.meet(node, other);
                self.meet(other, node);
            }
        }
        let phase = Duration::from_micros(self.rng.u64(0..HAVE.as_micros() as u64));
        self.schedule(phase, Action::Tell { node });
    }

    /// A node learns that another is there, and soon what it has.
    fn meet(&mut self, node: Number, other: Number) {
        self.forget(node, other);
        let id = self.id(other);
        if let Some(plan) = &mut self.hosts[node].plan {
            plan.join(id);
        }
        let ranges = Rc::new(messages(&self.hosts[other].told).collect());
        self.schedule(self.delay(node, other), Action::Have { to: node, from: other, ranges });
    }

    fn leave(&mut self, node: Number, dies: bool) {
        self.hosts[node].is_up = false;
        self.hosts[node].plan = None;
        for other in self.hosts[node].neighbours.clone() {
            let wait = if dies { NOTICED } else { self.delay(node, other) };
            self.schedule(wait, Action::Gone { to: other, node });
            self.hang_up(other, node);
        }
    }

    /// A node learns that another is gone.
    fn forget(&mut self, node: Number, other: Number) {
        let id = self.id(other);
        if let Some(plan) = &mut self.hosts[node].plan {
            plan.leave(id);
        }
        self.hang_up(other, node);
        self.look_at_all(node);
    }

    fn handle_tell(&mut self, node: Number) {
        let host = &mut self.hosts[node];
        if !host.is_up {
            return;
        }
        let mut new = host.has.clone();
        new.subtract(&host.told);
        host.told = host.has.clone();
        let is_last = host.has.is_whole();
        if !new.is_empty() {
            let ranges = Rc::new(Vec::from_iter(messages(&new)));
            for other in self.hosts[node].neighbours.clone() {
                if self.hosts[other].plan.is_some() {
                    let ranges = Rc::clone(&ranges);
                    self.schedule(self.delay(node, other), Action::Have { to: other, from: node, ranges });
                }
            }
        }
        if !is_last {
            self.look_at_all(node);
            self.schedule(HAVE, Action::Tell { node });
        }
    }

    fn handle_arrived(&mut self, server: Number, client: Number, call: u32, frame: Frame) {
        let Some(stream) = self.streams.get_mut(&(server, client)).filter(|stream| stream.call == call) else { return };
        stream.on_the_way -= 1;
        self.send_next(server);
        let (id, now) = (self.id(server), self.instant());
        let host = &mut self.hosts[client];
        let range = super::range_of(&host.has, &frame);
        host.received_bytes += range.len;
        let Some(plan) = &mut host.plan else { return };
        plan.handle_verified(now, id, range);
        host.has.insert(frame);
        if plan.is_complete() {
            assert!(host.has.is_whole());
            (host.plan, host.done) = (None, Some(self.now));
            for server in self.hosts[client].neighbours.clone() {
                self.hang_up(server, client);
            }
        } else {
            self.look(client, server);
        }
    }
}
