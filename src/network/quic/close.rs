//! Why connections are closed: the application error codes of QUIC's CONNECTION_CLOSE (RFC 9000, section 19.19).

use std::error::Error as StdError;

use quinn_proto::{ConnectionError, VarInt};

use super::Error;

/// What a node says when it closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// No longer needed. What stock libp2p always says.
    Done,
    /// The peer is not on the list of those allowed.
    NotAllowed,
    /// The peer has misbehaved.
    Banned,
    /// No room for another peer.
    Full,
    /// No common version of the protocol.
    Version,
    /// The node shuts down.
    Stopping,
    /// A code that this version does not know.
    Other(u64),
}

/// The first of ours: "AL" in ASCII, then 00. Keeps clear of the small codes that others use.
const BASE: u64 = 0x41_4c_00;

impl CloseCode {
    pub(super) fn to_var_int(self) -> VarInt {
        let code = match self {
            Self::Done => 0,
            Self::NotAllowed => BASE + 1,
            Self::Banned => BASE + 2,
            Self::Full => BASE + 3,
            Self::Version => BASE + 4,
            Self::Stopping => BASE + 5,
            Self::Other(code) => code,
        };
        VarInt::from_u64(code).unwrap_or(VarInt::MAX)
    }

    fn from_var_int(code: VarInt) -> Self {
        match code.into_inner() {
            0 => Self::Done,
            code if code == BASE + 1 => Self::NotAllowed,
            code if code == BASE + 2 => Self::Banned,
            code if code == BASE + 3 => Self::Full,
            code if code == BASE + 4 => Self::Version,
            code if code == BASE + 5 => Self::Stopping,
            code => Self::Other(code),
        }
    }
}

/// What the peer said when it closed the connection, if that is what this error comes from. Looks through all that libp2p
/// wraps around it.
pub fn close_code(error: &(dyn StdError + 'static)) -> Option<CloseCode> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An io::Error hides the error that it was made of from `source`.
        if let Some(inner) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            next = Some(inner);
            continue;
        }
        if let Some(Error::Connection(ConnectionError::ApplicationClosed(close))) = error.downcast_ref() {
            return Some(CloseCode::from_var_int(close.error_code));
        }
        if let Some(ConnectionError::ApplicationClosed(close)) = error.downcast_ref() {
            return Some(CloseCode::from_var_int(close.error_code));
        }
        next = error.source();
    }
    None
}
