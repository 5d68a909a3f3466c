//! How fast something goes, smoothed for people. Pure.

use std::time::{Duration, Instant};

/// After this long, a change of speed shows to 63 %.
const SMOOTHING_S: f64 = 5.0;

/// A rate meter with exponentially fading memory.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    started: Instant,
    updated: Instant,
    bytes_per_s: f64,
}

impl Rate {
    /// A meter of something that starts now.
    pub fn new(now: Instant) -> Self {
        Self { started: now, updated: now, bytes_per_s: 0.0 }
    }

    /// Counts bytes that are done now.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        self.bytes_per_s = self.faded(now) + bytes as f64 / SMOOTHING_S;
        self.updated = self.updated.max(now);
    }

    /// Bytes per second over about the last five seconds, or since the start if that is shorter.
    pub fn bytes_per_s(&self, now: Instant) -> u64 {
        let seen = 1.0 - fading(now.saturating_duration_since(self.started));
        if seen > 0.0 { (self.faded(now) / seen) as u64 } else { 0 }
    }

    /// How long `bytes` will take at this rate; none while nothing moves.
    pub fn remaining(&self, now: Instant, bytes: u64) -> Option<Duration> {
        match self.bytes_per_s(now) {
            0 => None,
            rate => Some(Duration::from_secs(bytes.div_ceil(rate))),
        }
    }

    fn faded(&self, now: Instant) -> f64 {
        self.bytes_per_s * fading(now.saturating_duration_since(self.updated))
    }
}

fn fading(passed: Duration) -> f64 {
    (-passed.as_secs_f64() / SMOOTHING_S).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: &mut Rate, from: Instant, seconds: u32, bytes_per_s: u64) -> Instant {
        let step = Duration::from_millis(100);
        (0..seconds * 10).fold(from, |now, _| {
            rate.add(now + step, bytes_per_s / 10);
            now + step
        })
    }

    fn assert_near(rate: u64, expected: u64) {
        assert!(rate.abs_diff(expected) * 20 <= expected, "{rate} is not near {expected}");
    }

    #[test]
    fn a_steady_rate_is_right_from_the_first_second() {
        let start = crate::clock::now();
        let mut rate = Rate::new(start);
        assert_eq!(rate.bytes_per_s(start), 0);
        assert_eq!(rate.remaining(start, 1), None);
        let now = run(&mut rate, start, 1, 1_000_000);
        assert_near(rate.bytes_per_s(now), 1_000_000);
        assert_near(rate.remaining(now, 60_000_000).unwrap().as_secs(), 60);
    }

    #[test]
    fn a_change_shows_within_seconds() {
        let start = crate::clock::now();
        let mut rate = Rate::new(start);
        let now = run(&mut rate, start, 60, 1_000_000);
        let now = run(&mut rate, now, 15, 100_000);
        let seen = rate.bytes_per_s(now);
        assert!((100_000..150_000).contains(&seen), "{seen}");
        assert_eq!(rate.remaining(now + Duration::from_secs(120), 1), None, "nothing moves");
    }

    #[test]
    fn a_clock_that_stands_still_does_no_harm() {
        let start = crate::clock::now();
        let mut rate = Rate::new(start);
        rate.add(start, u64::MAX);
        assert_eq!(rate.bytes_per_s(start), 0);
        assert!(rate.bytes_per_s(start + Duration::from_millis(1)) > 0);
        assert_eq!(rate.remaining(start + Duration::from_millis(1), 0), Some(Duration::ZERO));
    }
}
