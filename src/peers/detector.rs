//! Whether a peer is still there: a failure detector with probes, as SWIM has them
//! (<https://www.cs.cornell.edu/projects/Quicksilver/public_pdfs/SWIM.pdf>), for two nodes that are connected.
//!
//! A peer that was silent for `interval` is probed. A probe that nothing was heard after within `timeout` has failed, and the
//! next goes out; after `failures` in a row the peer is unresponsive. So a death is found `interval + failures × timeout`
//! after the last sign of life: with the defaults 6 s + 20 × 0.15 s = 9 s.
//!
//! Why so many probes: where a packet is lost with the chance p, a probe or its answer is with 1 − (1 − p)², at p = 20 % with
//! 0.36. All of 10 probes fail once in 27,000 times, which is every 20 minutes for a node with 100 peers; all of 20 once in
//! 10⁹, which is every 1000 years. An answer may take longer than `timeout`: it counts whenever it comes.
//!
//! Each probe is counted when it is due and not by the time that has passed: a process that was paused itself takes nobody
//! for dead when it goes on.

use std::time::{Duration, Instant};

/// What a detector does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// A peer that has been silent for so long is probed.
    pub interval: Duration,
    /// A probe that was not answered within this time has failed.
    pub timeout: Duration,
    /// Failed probes in a row, 1 or more, after which the peer counts as unresponsive.
    pub failures: u32,
}

/// What a detector asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make the peer answer.
    Probe,
    /// It has not answered so many probes, and was not heard for so long. Said once, until something is heard again.
    Unresponsive { failures: u32, silent: Duration },
}

/// Watches one peer.
#[derive(Debug, Clone)]
pub struct Detector {
    heard: Instant,
    /// When the probe was sent that is not answered and has not failed.
    probed: Option<Instant>,
    failed: u32,
    /// When it was said that the peer is unresponsive, or when it was probed last since then.
    given_up: Option<Instant>,
}

impl Detector {
    /// For a peer that was heard of just now.
    pub fn new(now: Instant) -> Self {
        Self { heard: now, probed: None, failed: 0, given_up: None }
    }

    /// Takes note of when the peer was heard last. To be called before [`Detector::poll`], or a probe that was answered counts
    /// as failed. Returns whether probes had failed: the peer has recovered.
    pub fn handle_heard(&mut self, heard: Instant) -> bool {
        if heard <= self.heard {
            return false;
        }
        let had_failed = self.failed > 0;
        *self = Self::new(heard);
        had_failed
    }

    /// What is to be done at `now`, if anything.
    pub fn poll(&mut self, now: Instant, options: &Options) -> Option<Action> {
        if now < self.next_timeout(options) {
            return None;
        }
        if let Some(at) = &mut self.given_up {
            *at = now;
            return Some(Action::Probe);
        }
        if self.probed.take().is_some() {
            self.failed += 1;
            if self.failed >= options.failures {
                self.given_up = Some(now);
                let silent = now.saturating_duration_since(self.heard);
                return Some(Action::Unresponsive { failures: self.failed, silent });
            }
        }
        self.probed = Some(now);
        Some(Action::Probe)
    }

    /// When [`Detector::poll`] has something to do, unless something is heard before.
    pub fn next_timeout(&self, options: &Options) -> Instant {
        match (self.given_up, self.probed) {
            // Whoever is given up is asked now and then, as long as it is watched at all.
            (Some(at), _) => at + options.interval,
            (None, Some(at)) => at + options.timeout,
            (None, None) => self.heard + options.interval,
        }
    }

    /// Whether a probe is under way.
    pub fn is_probing(&self) -> bool {
        self.probed.is_some()
    }

    /// Probes that have failed in a row.
    pub fn failed(&self) -> u32 {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options =
        Options { interval: Duration::from_secs(6), timeout: Duration::from_millis(150), failures: 20 };

    /// Polls whenever it is time; returns when the first action of this kind came.
    fn run(detector: &mut Detector, wanted: impl Fn(&Action) -> bool) -> Instant {
        loop {
            let now = detector.next_timeout(&OPTIONS);
            if detector.poll(now, &OPTIONS).is_some_and(|action| wanted(&action)) {
                return now;
            }
        }
    }

    #[test]
    fn a_silent_peer_is_unresponsive_after_nine_seconds() {
        let start = crate::clock::now();
        let mut detector = Detector::new(start);
        assert_eq!(detector.poll(start + OPTIONS.interval - Duration::from_millis(1), &OPTIONS), None);
        assert_eq!(detector.poll(start + OPTIONS.interval, &OPTIONS), Some(Action::Probe));
        assert_eq!(detector.poll(start + OPTIONS.interval, &OPTIONS), None, "it is under way");
        let at = run(&mut detector, |action| matches!(action, Action::Unresponsive { failures: 20, .. }));
        assert_eq!(at, start + Duration::from_secs(9));
        // It is said once, and the peer is still asked now and then.
        assert_eq!(detector.next_timeout(&OPTIONS), at + OPTIONS.interval);
        assert_eq!(detector.poll(at + OPTIONS.interval, &OPTIONS), Some(Action::Probe));
        assert_eq!(detector.next_timeout(&OPTIONS), at + 2 * OPTIONS.interval);
        assert!(detector.handle_heard(at + Duration::from_secs(20)), "it is back");
        assert_eq!(detector.failed(), 0);
    }

    #[test]
    fn whatever_is_heard_resets_the_count() {
        let start = crate::clock::now();
        let mut detector = Detector::new(start);
        for _ in 0..OPTIONS.failures {
            assert_eq!(detector.poll(detector.next_timeout(&OPTIONS), &OPTIONS), Some(Action::Probe));
        }
        let late = detector.next_timeout(&OPTIONS);
        assert_eq!(detector.failed(), OPTIONS.failures - 1);
        assert!(!detector.handle_heard(start), "that is old");
        assert!(detector.handle_heard(late));
        assert!(!detector.handle_heard(late + Duration::from_secs(1)), "nothing had failed since");
        assert_eq!(run(&mut detector, |_| true), late + Duration::from_secs(1) + OPTIONS.interval);
    }

    #[test]
    fn whoever_was_paused_itself_takes_nobody_for_dead() {
        let start = crate::clock::now();
        let mut detector = Detector::new(start);
        let resumed = start + Duration::from_secs(3600);
        assert_eq!(detector.poll(resumed, &OPTIONS), Some(Action::Probe));
        assert_eq!(detector.poll(resumed, &OPTIONS), None);
        assert_eq!(detector.poll(resumed + Duration::from_secs(3600), &OPTIONS), Some(Action::Probe));
        assert_eq!(detector.failed(), 1);
    }

    /// Probes over a path that loses 20 % each way and takes up to 200 ms each way.
    #[test]
    fn a_bad_path_is_no_death() {
        let start = crate::clock::now();
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut probes, mut worst) = (0, 0);
        for _peer in 0..100 {
            let mut detector = Detector::new(start);
            let mut answers: Vec<Instant> = Vec::new();
            let mut now = start;
            while now < start + Duration::from_secs(30 * 60) {
                now = detector.next_timeout(&OPTIONS);
                answers.retain(|at| {
                    let is_here = *at <= now;
                    if is_here {
                        detector.handle_heard(*at);
                    }
                    !is_here
                });
                match detector.poll(now, &OPTIONS) {
                    Some(Action::Probe) => {
                        probes += 1;
                        worst = worst.max(detector.failed());
                        if rng.f64() < 0.8 * 0.8 {
                            answers.push(now + Duration::from_millis(rng.u64(2..=400)));
                        }
                    }
                    Some(action) => panic!("{action:?}"),
                    None => {}
                }
            }
        }
        assert!(probes > 40_000 && worst > 5, "{probes} probes, {worst} failed in a row");
    }
}
