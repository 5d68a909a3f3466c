//! The least that a peer must send or take. Pure.

use std::time::Duration;

use super::limiter::Meter;
use crate::limits::transfer::{PACE_BYTES, PACE_FRAME_BYTES, PACE_MS};

/// See [`PACE_MS`]; tests of slow peers don't wait that long.
pub(super) const PACE: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { PACE_MS });

/// How long a peer may still be waited for: one for each stream. Only waiting for the peer counts, not what is done meanwhile.
#[derive(Debug)]
pub struct Pace {
    left: Duration,
    missing_bytes: u64,
    /// What keeps the stream to this node's own limits.
    pub(super) meter: Option<Meter>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: PACE, missing_bytes: PACE_BYTES, meter: None }
    }
}

impl Pace {
    /// That of a stream which this meter keeps to the limits of this node. What these delay does not count.
    pub fn limited(meter: Meter) -> Self {
        Self { meter: Some(meter), ..Self::default() }
    }

    /// How long it may take for its next step.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// It was waited for.
    pub(super) fn count_time(&mut self, waited: Duration) {
        self.left = self.left.saturating_sub(waited);
    }

    /// A frame with so long a body has passed.
    pub(crate) fn count_frame(&mut self, bytes: usize) {
        self.missing_bytes = self.missing_bytes.saturating_sub(PACE_FRAME_BYTES.max(bytes as u64));
        if self.missing_bytes == 0 {
            (self.left, self.missing_bytes) = (PACE, PACE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
