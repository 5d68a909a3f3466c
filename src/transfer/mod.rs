//! Blobs on their way: sending and fetching verified ranges over a plain byte stream, by `/allibrary/blob/1`.
//!
//! It may use the store, the wire and the ground. It must never know libp2p, collections or who the peer is: somebody else
//! opens the streams, decides what is fetched from whom, and what becomes of a peer that broke the rules.
//!
//! Nothing is kept that was not verified, and nothing is sent that was not verified in the very buffer that is sent. Disk and
//! hashing run in `smol::unblock` one hop at a time, while the network moves the frames before or behind: no thread ever
//! waits for a peer.

mod answer;
mod error;
mod exchange;
mod fetch;
mod limiter;
mod look;
mod pace;
mod places;
pub mod plan;
mod rate;
mod serve;
mod slots;
mod small;
mod source;
mod swarm;
mod throttle;
mod uploads;
mod watch;

use std::future::Future;

pub use answer::Violation;
pub use error::FetchError;
pub use fetch::{Fetched, Provider, Whole, fetch};
pub use limiter::{Limiter, Meter};
pub use look::wait_for_more;
pub use pace::Pace;
pub use places::Places;
pub use rate::Rate;
pub use serve::{ServeError, ServeStats, serve};
pub use slots::Paused;
pub use small::{SmallOutcome, SmallWant, SmallWritten, fetch_small};
pub use swarm::Swarm;
pub use throttle::{Priority, Rates};
pub use uploads::Uploads;

use crate::clock;

/// The output of waiting for the peer; none if it takes longer than its pace allows.
pub(crate) async fn at_pace<F: Future>(pace: &mut Pace, waiting: F) -> Option<F::Output> {
    let begun = clock::now();
    let output = clock::within(pace.left(), waiting).await;
    pace.count_time(clock::now() - begun);
    output
}

#[cfg(test)]
mod tests;
