//! The bytes of a `.bits` file: which groups of a download are here.

use crate::{content::ContentId, groups::Groups};

/// Size, bits, and a checksum over id and both.
pub(super) fn to_bytes(groups: &Groups, id: &ContentId) -> Vec<u8> {
    let mut bytes = groups.size().to_le_bytes().to_vec();
    bytes.extend_from_slice(&groups.to_bits());
    let sum = checksum(id, &bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

pub(super) fn from_bytes(id: &ContentId, bytes: &[u8]) -> Option<Groups> {
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    let (size, bits) = body.split_first_chunk::<8>()?;
    if *sum != checksum(id, body) {
        return None;
    }
    Groups::from_bits(u64::from_le_bytes(*size), bits)
}

pub(super) fn checksum(id: &ContentId, bytes: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(&id.0).update(bytes).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::GROUP_BYTES;

    #[test]
    fn damaged_bits_are_not_believed() {
        let id = ContentId::of(b"x");
        let mut groups = Groups::none(3 * GROUP_BYTES);
        groups.add(1);
        let bytes = to_bytes(&groups, &id);
        assert_eq!(bytes.len(), 8 + 1 + 32);
        assert_eq!(from_bytes(&id, &bytes), Some(groups));
        assert_eq!(from_bytes(&ContentId::of(b"y"), &bytes), None);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(from_bytes(&id, &wrong), None);
            assert_eq!(from_bytes(&id, &bytes[..at]), None);
        }
    }
}
