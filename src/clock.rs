//! The only place that asks what time it is.
//!
//! It is for what does I/O. Pure logic is told the time, and must never name this.

use std::{
    future::Future,
    time::{Duration, Instant, SystemTime},
};

/// Now. Monotonic: a board without a clock chip has nothing else to go by.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// What the wall clock says, which on some boards begins at 1970 with each start: for people, and for what is better roughly
/// right than not known.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The future's output, or none if it takes longer than `limit`.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    smol::future::or(async { Some(future.await) }, async {
        smol::Timer::after(limit).await;
        None
    })
    .await
}
