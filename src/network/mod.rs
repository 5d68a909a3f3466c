//! The network: identity, encrypted connections, discovery.
//!
//! The only part that names libp2p, quinn and DNS. It may use `peers`, `wire` and the ground. It turns swarm events into
//! [`NetworkEvent`]s and commands into swarm calls, and decides nothing: whom to dial and whom to turn away is for `peers`.

mod behaviour;
mod closing;
mod door;
mod gossip;
pub mod identity;
mod interfaces;
mod listen;
pub mod mdns;
mod outbox;
pub mod quic;
mod service;
mod streams;
mod task;
pub mod tls;

pub use service::{Network, NetworkError, NetworkEvent, Options, Started};
pub use streams::{Connector, Incoming, Stream};
