//! Peers: who is known, who is connected, whom to dial and when. Pure: events and `now` go in, commands and the next
//! timeout come out.
//!
//! It may use `status` (the words for states) and the ground, and must never know libp2p, sockets or a clock. `node` feeds
//! it with what the network reports and carries its commands back:
//!
//! ```text
//! handle_event(now, event) ─┐
//! handle_timeout(now) ──────┴─► poll_command() until None; call handle_timeout again at next_timeout()
//! ```

mod admission;
mod backoff;
pub mod detector;
mod event;
mod manager;
mod memory;
pub mod quality;
pub mod reputation;
pub mod topology;

pub use admission::Admission;
pub use event::{
    Command, Conduct, ConnectionNumber, DialError, Ended, Event, Introduction, Sample, Source, Subnet, Why,
};
pub use manager::{Options, PeerManager};
pub use memory::{Lists, Memory, Remembered};
