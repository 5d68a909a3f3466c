//! Peers: who is known, who is let in, who is connected, whom to dial and when, and whether each is still there. Pure: facts
//! and `now` go in, commands and the next timeout come out.
//!
//! It may use `config`, `status` and `wire` (for their plain words) and the ground, and must never know libp2p, sockets or a
//! clock. `node` feeds it with what the network reports and carries its commands back:
//!
//! ```text
//! handle_event(now, event) ─┐
//! handle_timeout(now) ──────┴─► poll_command() until None; call handle_timeout again at next_timeout()
//! ```
//!
//! What holds whatever happens:
//!
//! - A peer is [`State::Connected`] if and only if a connection with it is open that is not being closed here; all turns that
//!   a life takes are in `state`, and each is logged with its reason.
//! - No more than `max_peers` are connected, of whom no more than `max_dialled` are chosen and dialled here, and none that
//!   [`Admission`] keeps out. Under pressure the idle peer that is worth least goes first.
//! - Nobody is dead because an answer of this node's own network is missing: only probes that were sent and not answered count.
//! - What others say has bounds (`address` says what is believed, `book` what is kept), and changes nobody's reputation.
//! - An event costs at most one pass over the peers that are known, and a timeout makes progress: no time is due twice.

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
pub use state::State;
