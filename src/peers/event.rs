//! What the manager is told and what it asks for. Facts go in ([`Event`]), imperatives come out ([`Command`]).

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::Admission;
use crate::content::NodeId;

/// The network's number for a connection.
pub type ConnectionNumber = u64;

/// How an address became known. Whoever is known in several ways keeps the first of these that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Named in the configuration: never forgotten.
    Bootstrap,
    /// Heard on the LAN.
    Mdns,
    /// It dialled us.
    Inbound,
    /// Was connected before the last start.
    Remembered,
    /// Another peer told of it.
    Exchange,
}

impl Source {
    /// As people and `--json` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "bootstrap",
            Self::Mdns => "mdns",
            Self::Inbound => "inbound",
            Self::Remembered => "remembered",
            Self::Exchange => "exchange",
        }
    }
}

/// Why a node closes a connection; the other end is told so by the code of QUIC's CONNECTION_CLOSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// No longer needed.
    Done,
    /// Another connection between the two is open.
    Surplus,
    /// The closing node does not admit this peer.
    NotAllowed,
    /// The peer has misbehaved.
    Banned,
    /// No room for another peer.
    Full,
    /// No common version of the protocol.
    Version,
    /// The node shuts down.
    Stopping,
    /// Nothing was heard for too long.
    Unresponsive,
    /// A code that this version does not know.
    Unknown(u64),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("no longer needed"),
            Self::Surplus => f.write_str("another connection is open"),
            Self::NotAllowed => f.write_str("not allowed"),
            Self::Banned => f.write_str("banned for a while"),
            Self::Full => f.write_str("too many peers are connected"),
            Self::Version => f.write_str("no common version of the protocol"),
            Self::Stopping => f.write_str("the node stops"),
            Self::Unresponsive => f.write_str("it did not answer"),
            Self::Unknown(code) => write!(f, "code {code}"),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// This node closed it.
    Here(Why),
    /// The other end closed it.
    There(Why),
    /// It broke, or nothing was heard for too long.
    Lost(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(why) => write!(f, "closed here: {why}"),
            Self::There(why) => write!(f, "closed by the peer: {why}"),
            Self::Lost(reason) => write!(f, "lost: {reason}"),
        }
    }
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// The other end closed the connection as soon as it was made.
    Refused(Why),
    /// Somebody else answered at each address that answered.
    WrongPeer,
    /// No address answered, or none is of use.
    Unreachable(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "it closed the connection: {why}"),
            Self::WrongPeer => f.write_str("another node answers at its address"),
            Self::Unreachable(reason) => f.write_str(reason),
        }
    }
}

/// A connection as it is now; numbers count from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Whose.
    pub node: NodeId,
    /// Which.
    pub connection: ConnectionNumber,
    /// When the last packet arrived that was certainly the peer's: it was authentic, and none that had come before.
    pub heard: Instant,
    /// Smoothed round-trip time (RFC 9002, section 5.3).
    pub rtt: Duration,
    /// Packets sent, and those of them that were lost (RFC 9002, section 6.1).
    pub sent_packets: u64,
    /// See `sent_packets`.
    pub lost_packets: u64,
    /// Bytes of UDP payload, either way.
    pub sent_bytes: u64,
    /// See `sent_bytes`.
    pub received_bytes: u64,
}

/// What a peer did, as far as its reputation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// It sent so many bytes that proved right.
    Verified { bytes: u64 },
    /// It sent bytes that proved wrong.
    Corrupt,
    /// It broke the rules of a protocol.
    Violation,
    /// It did not answer a request in time.
    Timeout,
}

/// What one peer tells of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Whom it tells of.
    pub node: NodeId,
    /// Multiaddrs at which the teller has reached it.
    pub addresses: Vec<String>,
    /// How many peers it takes at most.
    pub capacity: u16,
    /// How long it has been running, in seconds.
    pub uptime_s: u32,
}

/// What a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// The protocols that this node needs.
    Ours,
    /// Those of this program, but not in the version that this node needs.
    OtherVersion,
    /// Nothing of this program: another program of libp2p's world, which does no harm.
    Others,
}

/// A network that this machine is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// This machine's address in it.
    pub address: IpAddr,
    /// Leading bits that all its addresses share.
    pub prefix_bits: u8,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer was heard of at these addresses (multiaddrs). Heard again, it is probably back.
    Discovered { node: NodeId, addresses: Vec<String>, source: Source },
    /// A connection is open and the other end has proved who it is.
    Connected {
        node: NodeId,
        connection: ConnectionNumber,
        address: String,
        inbound: bool,
        /// The cipher suite of TLS 1.3.
        cipher: &'static str,
    },
    /// A connection is gone.
    Disconnected { node: NodeId, connection: ConnectionNumber, ended: Ended },
    /// No address could be connected to.
    DialFailed { node: NodeId, error: DialError },
    /// The answer to [`Command::Observe`]: every open connection with those peers.
    Observed { samples: Vec<Sample> },
    /// The other end answered libp2p's ping.
    Pinged { node: NodeId, rtt: Duration },
    /// It did not.
    PingFailed { node: NodeId },
    /// The other end named its program, what it speaks, and where it listens: at most
    /// [`ADDRESSES_PER_PEER`](crate::limits::network::ADDRESSES_PER_PEER) multiaddrs, unproven.
    Identified { node: NodeId, agent: String, speaks: Speaks, addresses: Vec<String> },
    /// A peer told of itself and of others.
    Introduced { by: NodeId, capacity: u16, uptime_s: u32, others: Vec<Introduction> },
    /// A peer behaved well or badly.
    Behaved { node: NodeId, conduct: Conduct },
    /// The door was closed to a peer that proved to be this node, as [`Admission`] has it.
    TurnedAway { node: NodeId, address: String, why: Why },
    /// The networks that this machine is on have changed; these are all.
    NetworkChanged { subnets: Vec<Subnet> },
}

/// What the network is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Connect to the peer at any of these addresses; answered by `Connected` or `DialFailed`.
    Dial { node: NodeId, addresses: Vec<String> },
    /// Close one connection; answered by `Disconnected`.
    Close { node: NodeId, connection: ConnectionNumber, why: Why },
    /// Close what connections there are with a peer, and tell it why; answered by `Disconnected`.
    TurnAway { node: NodeId, why: Why },
    /// Let in from now on whom this admits; whoever else is connected is for `TurnAway`.
    Admit(Arc<Admission>),
    /// Tell how the connections with these peers are; answered by `Observed`.
    Observe { nodes: Vec<NodeId> },
    /// Make these peers answer: a QUIC PING frame each.
    Probe { nodes: Vec<NodeId> },
    /// Ask a peer whom it knows; answered by `Introduced`, or not.
    Exchange { node: NodeId },
}
