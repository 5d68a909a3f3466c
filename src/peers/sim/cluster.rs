//! Time, the queue of what happens, and what tests ask of a cluster.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::{Duration, Instant},
};

use super::{Action, Cluster, HostNumber, Item, Path, What, links::Packet};

/// So much does not happen at one time, unless a manager turns in circles.
const STEPS_AT_ONCE: u32 = 200_000;
/// Packets that a paused host's socket holds.
const UNREAD: usize = 1000;

impl Cluster {
    pub(super) fn new(seed: u64, origin: Instant) -> Self {
        Self {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            origin,
            queue: BinaryHeap::new(),
            next_item: 0,
            hosts: Vec::new(),
            numbers: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            path: Path::LAN,
            steps_at_once: 0,
            journal: Vec::new(),
        }
    }

    pub(super) fn schedule(&mut self, wait: Duration, action: Action) {
        self.next_item += 1;
        self.queue.push(Reverse(Item { at: self.now + wait, number: self.next_item, action }));
    }

    /// Sends a packet on its way. Returns whether it will arrive.
    pub(super) fn send(&mut self, from: HostNumber, to: HostNumber, packet: Packet) -> bool {
        let is_cut = self.hosts[from].group != self.hosts[to].group;
        let is_lost = self.path.loss > 0.0 && self.rng.f64() < self.path.loss;
        if is_cut || is_lost {
            return false;
        }
        let jitter = Duration::from_micros(self.rng.u64(..=self.path.jitter.as_micros() as u64));
        self.schedule(self.path.delay + jitter, Action::Arrive { to, packet });
        true
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at <= end
        {
            self.step();
        }
        self.now = end;
    }

    /// Lets time pass until something is so; returns how long that took, or fails after this time.
    pub(super) fn run_until(&mut self, what: &str, longest: Duration, is_so: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !is_so(self) {
            assert!(self.now - start < longest, "within {longest:?} it is not so that {what}");
            self.run_for(Duration::from_millis(100));
        }
        self.now - start
    }

    fn step(&mut self) {
        let Some(Reverse(item)) = self.queue.pop() else { return };
        self.steps_at_once = if item.at > self.now { 0 } else { self.steps_at_once + 1 };
        assert!(self.steps_at_once < STEPS_AT_ONCE, "time stands still: {:?}", item.action);
        self.now = item.at;
        match item.action {
            Action::Due { host } => self.handle_due(host),
            Action::Tell { host } => self.handle_tell(host),
            Action::Arrive { to, packet } if self.is_up(to) => {
                if !self.hosts[to].is_paused {
                    self.handle_packet(to, packet);
                } else if self.hosts[to].unread.len() < UNREAD {
                    self.hosts[to].unread.push(packet);
                }
            }
            Action::Arrive { .. } => {}
            Action::Again { link, tries } => self.handle_again(link, tries),
            Action::GiveUp { host, node, dial } => self.handle_give_up(host, node, dial),
            Action::Idle { link, end } => self.handle_idle(link, end),
            Action::Ask { host, life } => self.handle_ask(host, life),
            Action::Announce { host, life } => self.handle_announce(host, life),
            Action::Later { link, end, event } => self.handle_later(link, end, event),
        }
    }

    /// Hosts that run.
    pub(super) fn up(&self) -> Vec<HostNumber> {
        (0..self.hosts.len()).filter(|host| self.is_up(*host)).collect()
    }

    /// Whom a manager takes for connected.
    pub(super) fn peers(&self, host: HostNumber) -> BTreeSet<HostNumber> {
        let Some(manager) = &self.hosts[host].manager else { return BTreeSet::new() };
        self.up().into_iter().filter(|there| manager.is_connected(&self.node(*there))).collect()
    }

    /// Whether both take each other for connected.
    pub(super) fn are_connected(&self, a: HostNumber, b: HostNumber) -> bool {
        let takes = |a: HostNumber, b: HostNumber| {
            self.hosts[a].manager.as_ref().is_some_and(|manager| manager.is_connected(&self.node(b)))
        };
        takes(a, b) && takes(b, a)
    }

    /// Whether each of these hosts is connected with each.
    pub(super) fn is_mesh(&self, hosts: &[HostNumber]) -> bool {
        hosts.iter().all(|a| hosts.iter().all(|b| a == b || self.are_connected(*a, *b)))
    }

    /// What has happened, since then.
    pub(super) fn count(&self, since: Duration, what: impl Fn(&What) -> bool) -> usize {
        self.journal.iter().rev().take_while(|note| note.at >= since).filter(|note| what(&note.what)).count()
    }

    /// The most that happened in any stretch of this length.
    pub(super) fn most_within(&self, time: Duration, what: impl Fn(&What) -> bool) -> usize {
        let times: Vec<Duration> = self.journal.iter().filter(|note| what(&note.what)).map(|note| note.at).collect();
        let (mut from, mut most) = (0, 0);
        for (to, at) in times.iter().enumerate() {
            while *at - times[from] > time {
                from += 1;
            }
            most = most.max(to - from + 1);
        }
        most
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("peers::sim");
            for note in self.journal.iter().rev().take(20).rev() {
                println!("{:?} host {} with {}: {:?}", note.at, note.host, note.peer, note.what);
            }
            println!("at {:?}, with {} hosts; to run it again:", self.now, self.hosts.len());
            println!("SIM_SEED={} cargo test --lib {name} -- --include-ignored", self.seed);
        }
    }
}
