//! Why connections end, between QUIC's codes and the words of `peers`.

use std::error::Error;

use libp2p::{
    Multiaddr,
    multiaddr::Protocol,
    swarm::{ConnectionError, DialError as SwarmDialError},
};

use super::quic::{CloseCode, close_code};
use crate::peers::{DialError, Ended, Why};

/// What the other end is told.
pub(super) fn code(why: Why) -> CloseCode {
    match why {
        Why::Done | Why::Surplus | Why::Unresponsive => CloseCode::Done,
        Why::NotAllowed => CloseCode::NotAllowed,
        Why::Banned => CloseCode::Banned,
        Why::Full => CloseCode::Full,
        Why::Version => CloseCode::Version,
        Why::Stopping => CloseCode::Stopping,
        Why::Unknown(code) => CloseCode::Other(code),
    }
}

fn why(code: CloseCode) -> Why {
    match code {
        CloseCode::Done => Why::Done,
        CloseCode::NotAllowed => Why::NotAllowed,
        CloseCode::Banned => Why::Banned,
        CloseCode::Full => Why::Full,
        CloseCode::Version => Why::Version,
        CloseCode::Stopping => Why::Stopping,
        CloseCode::Other(code) => Why::Unknown(code),
    }
}

/// How a connection ended that the swarm reports closed.
pub(super) fn ended(cause: Option<&ConnectionError>) -> Ended {
    match cause {
        None => Ended::Here(Why::Done),
        Some(cause) => told(cause).map_or_else(|| Ended::Lost(cause.to_string()), Ended::There),
    }
}

/// Why a dial failed.
pub(super) fn dial_error(error: &SwarmDialError) -> DialError {
    match told(error) {
        Some(why) => DialError::Refused(why),
        None if matches!(error, SwarmDialError::WrongPeerId { .. }) => DialError::WrongPeer,
        None => DialError::Unreachable(error.to_string()),
    }
}

fn told(error: &(dyn Error + 'static)) -> Option<Why> {
    close_code(error).map(why)
}

/// The address without the peer id behind it: who it is, is told apart from where.
pub(super) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}
