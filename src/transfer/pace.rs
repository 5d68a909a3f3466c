//! The least that a peer must send or take. Pure.

use std::time::Duration;

use super::limiter::Meter;
use crate::limits::transfer::{PACE_BYTES, PACE_FRAME_BYTES, PACE_MS, PACE_WAIT_MS};

/// See [`PACE_MS`]; tests of slow peers don't wait that long.
pub(super) const PACE: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { PACE_MS });
/// See [`PACE_WAIT_MS`].
const PACE_WAIT: Duration = Duration::from_millis(if cfg!(test) { 1_500 } else { PACE_WAIT_MS });

/// How long a peer may still be waited for: one for each stream. Only waiting for the peer counts, not what is done meanwhile.
#[derive(Debug)]
pub struct Pace {
    left: Duration,
    /// What does not count of the next wait.
    free: Duration,
    missing_bytes: u64,
    /// What keeps the stream to this node's own limits.
    pub(super) meter: Option<Meter>,
    pub(super) is_unmetered: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: PACE, free: Duration::ZERO, missing_bytes: PACE_BYTES, meter: None, is_unmetered: false }
    }
}

impl Pace {
    /// That of a stream which this meter keeps to the limits of this node. What these delay does not count.
    pub fn limited(meter: Meter) -> Self {
        Self { meter: Some(meter), ..Self::default() }
    }

    /// An answer is to begin, which may have to wait until the peer has time for it.
    pub(super) fn expect_answer(&mut self) {
        self.free = PACE_WAIT;
    }

    /// How long it may take for its next step.
    pub(super) fn left(&self) -> Duration {
        self.left + self.free
    }

    /// It was waited for.
    pub(super) fn count_time(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited.saturating_sub(self.free));
        self.free = self.free.saturating_sub(waited);
    }

    /// A frame with so long a body has passed.
    pub(crate) fn count_frame(&mut self, bytes: usize) {
        self.free = Duration::ZERO;
        self.missing_bytes = self.missing_bytes.saturating_sub(PACE_FRAME_BYTES.max(bytes as u64));
        if self.missing_bytes == 0 {
            (self.left, self.missing_bytes) = (PACE, PACE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GROUP_BYTES;

    /// How long a peer with frames of so many bytes, one in each so many milliseconds, is put up with.
    fn patience(frame_bytes: usize, every_ms: u64) -> Option<Duration> {
        let (mut pace, mut waited) = (Pace::default(), Duration::ZERO);
        for _ in 0..100_000 {
            let wait = Duration::from_millis(every_ms);
            if wait >= pace.left() {
                return Some(waited + pace.left());
            }
            waited += wait;
            pace.count_time(wait);
            pace.count_frame(frame_bytes);
        }
        None
    }

    #[test]
    fn a_peer_must_send_so_much_in_so_long() {
        let ms = PACE.as_millis() as u64;
        assert_eq!(patience(0, ms), Some(PACE), "silence");
        assert_eq!(patience(PACE_BYTES as usize, ms - 1), None);
        assert_eq!(patience(PACE_BYTES as usize / 4, ms / 4 - 1), None);
        assert_eq!(patience(PACE_BYTES as usize / 4, ms / 3), Some(PACE), "too slow, though each frame is in time");
        // Small answers count for more than their bytes.
        let frames = PACE_BYTES / PACE_FRAME_BYTES;
        assert_eq!(patience(0, ms / frames - 1), None);
        assert_eq!(patience(0, 2 * ms / frames), Some(PACE));
    }

    #[test]
    fn a_peer_may_let_an_answer_wait() {
        let mut pace = Pace::default();
        for _ in 0..100 {
            pace.expect_answer();
            assert!(pace.left() > PACE_WAIT);
            pace.count_time(PACE_WAIT);
            pace.count_frame(GROUP_BYTES as usize);
            pace.count_time(PACE / 5);
            pace.count_frame(0);
        }
        pace.expect_answer();
        pace.count_time(PACE_WAIT + PACE);
        assert_eq!(pace.left(), Duration::ZERO, "no longer");
    }
}
