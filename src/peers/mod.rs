//! Peers: who is known, who is connected, whom to dial and when. Pure: events and `now` go in, commands and the next
//! timeout come out.
//!
//! It may use `config` and `status` (their plain words) and the ground, and must never know libp2p, sockets or a clock. `node` feeds
//! it with what the network reports and carries its commands back:
//!
//! ```text
//! handle_event(now, event) ─┐
//! handle_timeout(now) ──────┴─► poll_command() until None; call handle_timeout again at next_timeout()
//! ```

mod access;
mod address;
mod addresses;
mod admission;
mod backoff;
mod book;
mod connections;
pub mod detector;
mod dialler;
mod event;
mod manager;
mod memory;
mod options;
pub mod quality;
mod refusals;
pub mod reputation;
#[cfg(test)]
mod sim;
mod state;
pub mod topology;

pub use access::ListFull;
pub use admission::Admission;
pub use backoff::Reconnect;
pub use event::{
    Command, Conduct, ConnectionNumber, DialError, Ended, Event, Introduction, Sample, Source, Speaks, Subnet, Why,
};
pub use manager::{Changed, PeerManager};
pub use memory::{Lists, Memory, Remembered};
pub use options::Options;
pub use refusals::Refusal;
pub use state::State;
