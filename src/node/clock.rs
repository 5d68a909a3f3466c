//! The one place that asks what time it is, for the parts that are told.

use std::time::Instant;

/// Now. Monotonic: a board without a clock chip has nothing else to go by.
pub fn now() -> Instant {
    Instant::now()
}
