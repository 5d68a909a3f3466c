//! How fast a source sends, and what that means for how much it is asked. Pure.

use std::time::{Duration, Instant};

use crate::limits::{
    GROUP_BYTES,
    transfer::{AHEAD_MS, OPEN_REQUESTS, OVERTAKE_MS, REQUEST_BYTES, START_BYTES},
    wire::DATA_BYTES,
};

const DATA_GROUPS: u64 = DATA_BYTES / GROUP_BYTES;
const REQUEST_GROUPS: u64 = REQUEST_BYTES / GROUP_BYTES;
const START_GROUPS: u64 = START_BYTES / GROUP_BYTES;
const OPEN_GROUPS: u64 = REQUEST_GROUPS * OPEN_REQUESTS as u64;
const AHEAD: Duration = Duration::from_millis(AHEAD_MS);
const OVERTAKE: Duration = Duration::from_millis(OVERTAKE_MS);
/// What was measured this long ago counts half.
const MEMORY_S: f64 = 1.0;
/// A source may be silent for so many times as long as it should take.
const PATIENCE: u32 = 4;

/// What was measured of one source while something was awaited from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Speed {
    groups: f64,
    seconds: f64,
    /// The shortest time that an answer to an idle source's first request took.
    latency: Option<Duration>,
    /// Since when nothing has come of what is awaited.
    silent_since: Option<Instant>,
    /// Nothing has come since it was idle.
    is_first: bool,
}

impl Speed {
    /// It is asked for something while nothing was awaited from it.
    pub(super) fn begin(&mut self, now: Instant) {
        self.silent_since = Some(now);
        self.is_first = true;
    }

    /// So many groups came of what was awaited.
    pub(super) fn count(&mut self, now: Instant, groups: u64) {
        let Some(since) = self.silent_since.replace(now) else { return };
        let took = now.saturating_duration_since(since);
        if std::mem::take(&mut self.is_first) {
            self.latency = Some(self.latency.map_or(took, |latency| latency.min(took)));
        }
        let faded = 0.5_f64.powf(took.as_secs_f64() / MEMORY_S);
        self.groups = self.groups * faded + groups as f64;
        self.seconds = self.seconds * faded + took.as_secs_f64();
    }

    /// Nothing is awaited from it any more.
    pub(super) fn rest(&mut self) {
        self.silent_since = None;
    }

    /// Since when nothing has come of what is awaited.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// Groups in a second, if that is known.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.groups > 0.0).then(|| self.groups / self.seconds.max(1e-4))
    }

    /// How long it needs for so many groups, if they are all that is asked of it. A second for what nobody knows.
    pub(super) fn time_for(&self, groups: u64) -> Duration {
        let Some(rate) = self.rate() else { return Duration::from_secs(1) };
        self.latency.unwrap_or_default() + Duration::from_secs_f64((groups as f64 / rate).min(1e6))
    }

    /// Groups that are awaited from it at a time.
    pub(super) fn window(&self) -> u64 {
        let Some(rate) = self.rate() else { return START_GROUPS };
        let ahead = AHEAD.max(2 * self.latency.unwrap_or_default());
        // One group on its way and one that is made, unless a group takes so long that a pause is short beside it.
        let least = if rate < 1.0 { 1.0 } else { 2.0 };
        (rate * ahead.as_secs_f64()).clamp(least, OPEN_GROUPS as f64) as u64
    }

    /// Groups of one request: a few requests fill the window, and each is long enough for short proofs, if it may.
    pub(super) fn request(&self) -> u64 {
        let window = self.window();
        let long = window.div_ceil(OPEN_REQUESTS as u64).next_multiple_of(DATA_GROUPS).min(REQUEST_GROUPS);
        long.min(window.div_ceil(2))
    }

    /// The longest time that it may be silent, while others are not.
    pub(super) fn patience(&self) -> Duration {
        OVERTAKE.max(self.time_for(DATA_GROUPS.min(self.window())) * PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that sends so many bytes a second, asked for as much as the window says, and answering after this time.
    fn measured(bytes_per_s: u64, round_trip: Duration) -> Speed {
        let (mut speed, mut now) = (Speed::default(), crate::clock::now());
        speed.begin(now);
        now += round_trip;
        for _ in 0..200 {
            // Either the rate or the window limits.
            let per_group = GROUP_BYTES as f64 / bytes_per_s as f64;
            let per_window = round_trip.as_secs_f64() / speed.window() as f64;
            now += Duration::from_secs_f64(per_group.max(per_window));
            speed.count(now, 1);
        }
        speed
    }

    #[test]
    fn a_window_fills_a_fast_link_over_a_long_way() {
        let speed = measured(25_000_000, Duration::from_millis(40));
        let filled = speed.window() * GROUP_BYTES;
        assert!(filled >= 2 * 25_000_000 * 40 / 1000, "{filled}");
        assert_eq!(speed.request() * GROUP_BYTES, REQUEST_BYTES);
        let far = measured(1_000_000, Duration::from_millis(600));
        assert!(far.window() * GROUP_BYTES >= 600_000, "{far:?}");
    }

    #[test]
    fn a_slow_source_is_asked_for_a_second_at_most() {
        for bytes_per_s in [1_000, 30_000, 65_536, 100_000, 500_000, 1_000_000, 12_500_000] {
            let speed = measured(bytes_per_s, Duration::from_millis(1));
            assert!(speed.request() == 1 || speed.request() * GROUP_BYTES <= bytes_per_s, "{bytes_per_s}: {speed:?}");
            assert!(speed.request() >= 1 && speed.window() >= speed.request());
            assert!(speed.window().div_ceil(speed.request()) <= OPEN_REQUESTS as u64);
        }
    }

    #[test]
    fn who_is_slow_is_waited_for_longer() {
        assert!(Speed::default().patience() >= Duration::from_secs(1));
        assert_eq!(measured(12_500_000, Duration::from_millis(1)).patience(), OVERTAKE);
        assert!(measured(30_000, Duration::from_millis(1)).patience() > Duration::from_secs(8));
    }
}
