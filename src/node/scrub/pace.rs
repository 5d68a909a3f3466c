//! When the scrub reads on. Pure: it is told the time, and what others do.

use std::time::{Duration, Instant};

use crate::{
    config::Hours,
    limits::scrub::{LOOK_MS, QUIET_MS},
    status::ScrubState,
};

/// Keeps the scrub to its rate and its hours, and out of everybody's way.
pub(super) struct Pace {
    rate_bytes_s: u64,
    hours: Hours,
    is_hour: bool,
    /// When the rate lets it read on.
    due: Instant,
    /// What the store had done for others at the last look, and when it is quiet if it does no more.
    uses: u64,
    quiet: Instant,
    /// How long it still rests, as of `looked`.
    rest: Duration,
    looked: Instant,
}

impl Pace {
    /// `rest`: what is left of the rest after the last pass.
    pub fn new(rate_bytes_s: u64, hours: Hours, rest: Duration, now: Instant) -> Self {
        Self {
            rate_bytes_s: rate_bytes_s.max(1),
            hours,
            is_hour: true,
            due: now,
            uses: 0,
            quiet: now,
            rest,
            looked: now,
        }
    }

    /// How long to wait and then to ask again; zero: read on now. `minute` of the day, if the clock was ever set; `uses` is
    /// a number that changes with everything that the store does for others.
    pub fn wait(&mut self, now: Instant, minute: Option<u16>, uses: u64) -> Duration {
        self.rest = self.rest.saturating_sub(now.saturating_duration_since(self.looked));
        self.looked = now;
        if self.uses != uses {
            self.uses = uses;
            self.quiet = now + Duration::from_millis(QUIET_MS);
        }
        let look = Duration::from_millis(LOOK_MS);
        if !self.rest.is_zero() {
            return self.rest.min(look);
        }
        self.is_hour = minute.is_none_or(|minute| self.hours.contains(minute));
        if !self.is_hour {
            return look;
        }
        self.due.max(self.quiet).saturating_duration_since(now).min(look)
    }

    /// So many bytes were read.
    pub fn read(&mut self, now: Instant, bytes: u64) {
        // What was not read while it waited is not made up for.
        let micros = bytes.saturating_mul(1_000_000) / self.rate_bytes_s;
        self.due = self.due.max(now) + Duration::from_micros(micros);
    }

    /// Nothing is read for so long.
    pub fn rest_for(&mut self, time: Duration) {
        self.rest = time;
    }

    /// What it does since [`Pace::wait`] was asked.
    pub fn state(&self, now: Instant) -> ScrubState {
        match () {
            () if !self.rest.is_zero() => ScrubState::Resting,
            () if !self.is_hour || self.quiet > now => ScrubState::Waiting,
            () => ScrubState::Reading,
        }
    }

    /// What is left of the rest.
    pub fn rest(&self) -> Duration {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, limits::scrub::REST_S};

    const MB: u64 = 1_000_000;
    const STEP: u64 = 1024 * 1024;

    /// Bytes read in so much virtual time, if the steps themselves take none.
    fn read_in(
        pace: &mut Pace,
        mut now: Instant,
        time: Duration,
        minute: Option<u16>,
        uses: impl Fn(Duration) -> u64,
    ) -> u64 {
        let (start, mut bytes) = (now, 0);
        while now - start < time {
            match pace.wait(now, minute, uses(now - start)) {
                Duration::ZERO => {
                    bytes += STEP;
                    pace.read(now, STEP);
                }
                wait => now += wait,
            }
        }
        bytes
    }

    #[test]
    fn the_rate_holds() {
        let now = clock::now();
        let mut pace = Pace::new(MB, Hours::default(), Duration::ZERO, now);
        let bytes = read_in(&mut pace, now, Duration::from_secs(3600), None, |_| 0);
        assert!((3600 * MB..=3600 * MB + STEP).contains(&bytes), "{bytes}");
        // After a step that took as long as ten it goes on as slowly.
        let later = now + Duration::from_secs(7200);
        let bytes = read_in(&mut pace, later, Duration::from_secs(100), None, |_| 0);
        assert!(bytes <= 100 * MB + STEP, "{bytes}");
    }

    #[test]
    fn it_waits_until_nobody_has_used_the_store_for_a_while() {
        let now = clock::now();
        let quiet = Duration::from_millis(QUIET_MS);
        let mut pace = Pace::new(MB, Hours::default(), Duration::ZERO, now);
        assert_eq!(pace.wait(now, None, 1), quiet);
        assert_eq!(pace.wait(now + quiet / 2, None, 2), quiet, "somebody came in between");
        assert_eq!(pace.wait(now + quiet, None, 2), quiet / 2);
        assert_eq!(pace.wait(now + quiet * 3 / 2, None, 2), Duration::ZERO);
        // A reader for an hour: nothing is read, but for what was begun before.
        let bytes = read_in(&mut pace, now + quiet * 2, Duration::from_secs(3600), None, |time| time.as_secs());
        assert_eq!(bytes, 0);
    }

    #[test]
    fn it_keeps_its_hours_if_the_clock_is_set() {
        let now = clock::now();
        let mut pace = Pace::new(MB, "22:00-06:00".parse().unwrap(), Duration::ZERO, now);
        let hour = Duration::from_secs(3600);
        assert_eq!(read_in(&mut pace, now, hour, Some(12 * 60), |_| 0), 0);
        assert!(read_in(&mut pace, now + hour, hour, Some(23 * 60), |_| 0) > 3000 * MB);
        assert!(read_in(&mut pace, now + 2 * hour, hour, None, |_| 0) > 3000 * MB);
    }

    #[test]
    fn it_rests_after_a_pass() {
        let now = clock::now();
        let mut pace = Pace::new(MB, Hours::default(), Duration::from_secs(100), now);
        assert_eq!(read_in(&mut pace, now, Duration::from_secs(99), None, |_| 0), 0);
        assert_eq!(pace.wait(now + Duration::from_secs(100), None, 0), Duration::ZERO);
        pace.rest_for(Duration::from_secs(REST_S));
        assert_eq!(read_in(&mut pace, now + Duration::from_secs(100), Duration::from_secs(REST_S - 1), None, |_| 0), 0);
        assert!(pace.rest() <= Duration::from_secs(61));
    }
}
