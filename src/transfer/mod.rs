//! Blobs on their way: sending and fetching verified ranges over a plain byte stream, by `/allibrary/blob/1`.
//!
//! It may use the store, the wire and the ground. It must never know libp2p, collections or who the peer is: somebody else
//! opens the streams, decides what is fetched from whom, and what becomes of a peer that broke the rules.
//!
//! Nothing is kept that was not verified, and nothing is sent that was not verified in the very buffer that is sent. Disk and
//! hashing run in `smol::unblock` one hop at a time, while the network moves the frames before or behind: no thread ever
//! waits for a peer.

mod answer;
mod fetch;
mod plan;
mod rate;
mod serve;
mod small;

use std::time::Duration;

pub use answer::Violation;
pub use fetch::{FetchError, fetch_blob};
pub use rate::Rate;
pub use serve::{ServeError, ServeStats, Uploads, serve};
pub use small::{SmallOutcome, SmallWant, fetch_small};

use crate::limits;

/// See [`limits::transfer::STALL_MS`]; tests of peers that stall don't wait that long.
const STALL: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { limits::transfer::STALL_MS });

#[cfg(test)]
mod tests;
