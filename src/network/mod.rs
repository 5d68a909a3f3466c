//! The network: the only part that names libp2p, quinn and DNS.
//!
//! It may use `wire`, `peers` and the ground. It turns swarm events into [`NetworkEvent`]s and commands into swarm calls,
//! and decides nothing.

pub mod identity;
pub mod mdns;
pub mod quic;
pub mod tls;
