//! QUIC for libp2p without tokio: a [`Transport`] on quinn-proto (protocol), quinn-udp (sockets) and async-io (waiting).
//!
//! Uses `tls`, `identity` and the words of `peers` for how a connection is. Must never know what flows in the streams, or which peers are welcome.
//!
//! One task per UDP socket, the `driver`, moves datagrams and timers for all connections of that socket. Connections and
//! streams share their state with it behind a lock each, and tell it when they have changed something.
//!
//! What is absent: connection migration, 0-RTT, unreliable datagrams, unidirectional streams, hole punching.

mod address;
mod close;
mod config;
mod connection;
mod control;
mod dial;
mod driver;
mod endpoint;
mod listener;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod watched;

pub use close::{CloseCode, close_code};
pub use config::Config;
pub use connection::{Connecting, Connection};
pub use control::Control;
pub use dial::Dial;
pub use stream::Stream;
pub use transport::Transport;
pub use watched::Watched;

use std::io;

use thiserror::Error;

use super::tls::TlsError;

/// Why a connection was not made, or is no more.
#[derive(Debug, Error)]
pub enum Error {
    /// The connection ended, or never came about.
    #[error(transparent)]
    Connection(#[from] quinn_proto::ConnectionError),
    /// The dial could not start.
    #[error("cannot dial: {0}")]
    Connect(#[from] quinn_proto::ConnectError),
    /// The peer did not finish its handshake in time.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// The socket could not be made.
    #[error("UDP socket: {0}")]
    Socket(#[from] io::Error),
    /// No TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The peer's certificate is none.
    #[error("the peer did not prove who it is: {0}")]
    Identity(rustls::Error),
    /// An IPv6 link-local address says nothing without its interface.
    #[error("the link-local address {0} needs its interface: /ip6zone/<interface>/ip6/fe80::…")]
    ZoneMissing(std::net::Ipv6Addr),
    /// There is no such interface.
    #[error("there is no network interface {0:?}")]
    NoSuchInterface(String),
    /// This node closed the connection as soon as it was made.
    #[error("closed at once, with {0:?}")]
    ClosedHere(CloseCode),
}

impl Error {
    /// Whether an address can't be listened on because no interface has it, at least not yet.
    pub fn is_address_missing(&self) -> bool {
        match self {
            Self::Socket(error) => error.kind() == io::ErrorKind::AddrNotAvailable,
            Self::NoSuchInterface(_) => true,
            _ => false,
        }
    }
}
