//! The signed root of one version of a collection.
//!
//! On the wire and on disk: the length of the body (postcard varint), the body, 64 bytes of ed25519 signature (RFC 8032)
//! over [`CONTEXT`] and the body. Fields are only ever appended, inside the body, where the signature covers them; a root
//! is kept and relayed in the bytes it came in.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::page::PageHash;
use crate::{
    content::{CollectionKey, NodeId},
    limits::{self, library},
    wire::{Text, decode, encode},
};

/// What is signed before the body, so that the signature of anything else never passes for one of a collection.
const CONTEXT: &[u8] = b"allibrary collection 1\0";

/// One version of a collection, all but its items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Which collection.
    pub collection: CollectionKey,
    /// Counts up; the highest is the newest.
    pub version: u64,
    /// What the publisher calls it.
    pub name: Text<{ library::NAME_BYTES }>,
    /// Items on all pages.
    pub items: u64,
    /// Bytes of all items.
    pub bytes: u64,
    /// The hashes of the pages, in the order of their items.
    pub pages: Vec<PageHash>,
}

/// Why bytes are no root.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RootError {
    #[error("a signed root of {0} bytes where at most {max} are allowed", max = limits::wire::ROOT_BYTES)]
    TooLong(usize),
    #[error("a signed root that does not parse")]
    Malformed,
    #[error("the signature of a root is not by its publisher")]
    Signature,
    #[error("a root with {pages} pages and {items} items, which can't be")]
    Counts { pages: usize, items: u64 },
    #[error("a root of a collection that nobody asked for")]
    WrongCollection,
}

impl Root {
    /// The root as its publisher sends it out.
    pub(super) fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let body = encode(self);
        let signature = key.sign(&message(&body));
        let mut bytes = encode(&body);
        bytes.extend_from_slice(&signature.to_bytes());
        bytes
    }

    /// A root from anywhere: bounded, signed by its publisher, its counts possible.
    pub(super) fn verify(bytes: &[u8]) -> Result<Self, RootError> {
        if bytes.len() > limits::wire::ROOT_BYTES {
            return Err(RootError::TooLong(bytes.len()));
        }
        let (body, signature): (&[u8], _) = postcard::take_from_bytes(bytes).map_err(|_| RootError::Malformed)?;
        let signature = Signature::from_slice(signature).map_err(|_| RootError::Malformed)?;
        let root: Self = decode(body).map_err(|_| RootError::Malformed)?;
        let NodeId(publisher) = root.collection.publisher;
        VerifyingKey::from_bytes(&publisher)
            .and_then(|key| key.verify_strict(&message(body), &signature))
            .map_err(|_| RootError::Signature)?;
        let pages = root.pages.len() as u64;
        let possible = pages..=pages * library::PAGE_ITEMS as u64;
        if root.pages.len() > library::PAGES || !possible.contains(&root.items) {
            return Err(RootError::Counts { pages: root.pages.len(), items: root.items });
        }
        Ok(root)
    }
}

fn message(body: &[u8]) -> Vec<u8> {
    [CONTEXT, body].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::CollectionId;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn root() -> Root {
        Root {
            collection: CollectionKey {
                publisher: NodeId(key().verifying_key().to_bytes()),
                id: CollectionId([1; 16]),
            },
            version: 3,
            name: Text::cut("Books"),
            items: 40,
            bytes: 1000,
            pages: vec![[1; 32], [2; 32]],
        }
    }

    fn signed(body: &[u8]) -> Vec<u8> {
        let mut bytes = encode(&body);
        bytes.extend_from_slice(&key().sign(&message(body)).to_bytes());
        bytes
    }

    #[test]
    fn roots_survive_their_bytes() {
        assert_eq!(Root::verify(&root().sign(&key())), Ok(root()));
    }

    #[test]
    fn fields_of_later_versions_are_signed_and_skipped() {
        let mut body = encode(&root());
        body.extend_from_slice(b"a field of a later version");
        assert_eq!(Root::verify(&signed(&body)), Ok(root()));
    }

    #[test]
    fn bad_roots_say_why() {
        let other = SigningKey::from_bytes(&[8; 32]);
        let mut forged = root();
        forged.collection.publisher = NodeId(other.verifying_key().to_bytes());
        assert_eq!(Root::verify(&signed(&encode(&forged))), Err(RootError::Signature));
        let few = Root { items: 1, ..root() };
        assert_eq!(Root::verify(&few.sign(&key())), Err(RootError::Counts { pages: 2, items: 1 }));
        let many = Root { items: u64::MAX, ..root() };
        assert_eq!(Root::verify(&many.sign(&key())), Err(RootError::Counts { pages: 2, items: u64::MAX }));
        assert_eq!(Root::verify(&[root().sign(&key()), vec![0]].concat()), Err(RootError::Malformed));
        let long = vec![0; limits::wire::ROOT_BYTES + 1];
        assert_eq!(Root::verify(&long), Err(RootError::TooLong(long.len())));
        let pages = Root { pages: vec![[0; 32]; library::PAGES + 1], items: 40_000, ..root() };
        assert!(matches!(Root::verify(&pages.sign(&key())), Err(RootError::Counts { .. } | RootError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at: prop::sample::Index, bit in 0..8u8) {
            let mut bytes = root().sign(&key());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Root::verify(&bytes).is_err());
        }

        #[test]
        fn garbage_is_refused_without_harm(bytes: Vec<u8>) {
            prop_assert!(Root::verify(&bytes).is_err());
        }
    }
}
