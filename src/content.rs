//! The ground: the names by which bytes, nodes and collections are known everywhere in the program.
//!
//! Uses nothing of the program, and must never know where bytes or nodes are.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseIdError {
    /// The text has the wrong number of characters.
    #[error("expected {expected} hexadecimal digits, found {found} characters")]
    Length { expected: usize, found: usize },
    /// A character is no hexadecimal digit.
    #[error("{0:?} is no hexadecimal digit")]
    Digit(char),
    /// The text is no peer id of an ed25519 key.
    #[error("not the peer id of an ed25519 key (they start with 12D3KooW)")]
    PeerId,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let found = text.chars().count();
    if found != 2 * N {
        return Err(ParseIdError::Length { expected: 2 * N, found });
    }
    let mut bytes = [0; N];
    for (at, character) in text.chars().enumerate() {
        let digit = character.to_digit(16).ok_or(ParseIdError::Digit(character))?;
        bytes[at / 2] = bytes[at / 2] << 4 | digit as u8;
    }
    Ok(bytes)
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    // A precision shortens: `{id:.8}` prints the first 8 digits.
    let digits = f.precision().unwrap_or(2 * bytes.len());
    for (at, byte) in bytes.iter().enumerate().take(digits.div_ceil(2)) {
        if 2 * at + 1 < digits { write!(f, "{byte:02x}")? } else { write!(f, "{:x}", byte >> 4)? }
    }
    Ok(())
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self:.8}…")
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

hex_id! {
    /// The name of a blob: the BLAKE3 hash of its bytes, what `b3sum` prints.
    ContentId, 32
}

hex_id! {
    /// The random number that tells a publisher's collections apart.
    CollectionId, 16
}

impl ContentId {
    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl From<blake3::Hash> for ContentId {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

/// A node, and as such a publisher: its ed25519 public key. Printed as the libp2p peer id of that key
/// (<https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md>).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 32]);

/// Identity multihash of 36 bytes that are a protobuf message: key type ed25519, 32 bytes of key.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl NodeId {
    /// The bytes of the libp2p peer id.
    pub fn to_peer_id_bytes(self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// The node behind the bytes of a libp2p peer id; none unless it is one of an ed25519 key.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.strip_prefix(&PEER_ID_PREFIX)?.try_into().ok().map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&bs58::encode(self.to_peer_id_bytes()).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All ids start alike; the end tells them apart.
        let text = self.to_string();
        write!(f, "…{}", &text[text.len() - 8..])
    }
}

impl FromStr for NodeId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let mut bytes = [0; 38];
        match bs58::decode(text).onto(&mut bytes) {
            Ok(38) => Self::from_peer_id_bytes(&bytes).ok_or(ParseIdError::PeerId),
            _ => Err(ParseIdError::PeerId),
        }
    }
}

/// What tells one collection from all others: who publishes it, and which of its collections it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionKey {
    /// Whose signature its versions bear.
    pub publisher: NodeId,
    /// Which of the publisher's collections.
    pub id: CollectionId,
}

impl CollectionKey {
    /// The key as bytes, for index keys: publisher, then id.
    pub fn to_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..32].copy_from_slice(&self.publisher.0);
        bytes[32..].copy_from_slice(&self.id.0);
        bytes
    }

    /// The inverse of [`CollectionKey::to_bytes`].
    pub fn from_bytes(bytes: [u8; 48]) -> Self {
        let (mut publisher, mut id) = ([0; 32], [0; 16]);
        publisher.copy_from_slice(&bytes[..32]);
        id.copy_from_slice(&bytes[32..]);
        Self { publisher: NodeId(publisher), id: CollectionId(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_id_is_what_b3sum_prints() {
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(ContentId::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(ContentId::of(b"")));
        assert_eq!(format!("{:.7}", ContentId::of(b"")), "af1349b");
    }

    #[test]
    fn bad_ids_say_what_is_wrong() {
        assert_eq!("af13".parse::<ContentId>(), Err(ParseIdError::Length { expected: 64, found: 4 }));
        assert_eq!("zz".repeat(16).parse::<CollectionId>(), Err(ParseIdError::Digit('z')));
        assert_eq!("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<NodeId>(), Err(ParseIdError::PeerId));
        assert_eq!("".parse::<NodeId>(), Err(ParseIdError::PeerId));
    }

    #[test]
    fn node_id_is_the_libp2p_peer_id() {
        // Example of the libp2p peer id specification.
        let text = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let node: NodeId = text.parse().unwrap();
        assert_eq!(node.to_string(), text);
        assert_eq!(text.parse::<libp2p::PeerId>().unwrap().to_bytes(), node.to_peer_id_bytes());
    }

    #[test]
    fn collection_key_survives_its_bytes() {
        let key = CollectionKey { publisher: NodeId([7; 32]), id: CollectionId([9; 16]) };
        assert_eq!(CollectionKey::from_bytes(key.to_bytes()), key);
    }
}
