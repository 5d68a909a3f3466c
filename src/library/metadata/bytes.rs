//! Bounded pieces of a file, unpacked, and what they say as text.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use miniz_oxide::inflate::{DecompressError, decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit};

/// Bytes that a packed piece of a file is unpacked to; what follows is not looked at.
pub(super) const UNPACKED_BYTES: usize = 1024 * 1024;

/// At most `len` bytes of the file from `at`; fewer at its end.
pub(super) fn window(mut file: &File, at: u64, len: usize) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = Vec::new();
    file.take(len as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Unpacks as much of deflated bytes as is there and is allowed (RFC 1951).
pub(super) fn inflate(packed: &[u8]) -> Vec<u8> {
    decompress_to_vec_with_limit(packed, UNPACKED_BYTES).unwrap_or_else(beginning)
}

/// The same for bytes in a zlib stream (RFC 1950).
pub(super) fn inflate_zlib(packed: &[u8]) -> Vec<u8> {
    decompress_to_vec_zlib_with_limit(packed, UNPACKED_BYTES).unwrap_or_else(beginning)
}

/// What was unpacked before the bound or the damage; the end of the buffer that was not written is zeros.
fn beginning(error: DecompressError) -> Vec<u8> {
    let mut unpacked = error.output;
    unpacked.truncate(unpacked.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    unpacked
}

/// Where `needle` first is in `bytes`.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// Where `needle` last is in `bytes`.
pub(super) fn rfind(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).rposition(|window| window == needle)
}

/// UTF-16 and UTF-8 by their marks, unmarked UTF-8, and otherwise PDFDocEncoding, of which Latin-1 is the greater part.
pub(super) fn text(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.as_chunks().0.iter().map(|pair| unit(*pair));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xfe, 0xff, rest @ ..] => return utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => return utf16(rest, u16::from_le_bytes),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // Cut within its last character.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => bytes.iter().map(|byte| pdf_doc(*byte)).collect(),
    }
}

/// ISO 32000-1, annex D.3; where it has nothing, Latin-1.
fn pdf_doc(byte: u8) -> char {
    const FROM_80: [char; 33] = [
        '•', '†', '‡', '…', '—', '–', 'ƒ', '⁄', '‹', '›', '−', '‰', '„', '“', '”', '‘', '’', '‚', '™', 'ﬁ', 'ﬂ', 'Ł',
        'Œ', 'Š', 'Ÿ', 'Ž', 'ı', 'ł', 'œ', 'š', 'ž', '\u{9f}', '€',
    ];
    let special = byte.checked_sub(0x80).and_then(|at| FROM_80.get(usize::from(at)));
    special.copied().unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_each_encoding() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b"\xfe\xff\x04\x12\x00!", "В!"),
            (b"\xff\xfe\x12\x04!\x00", "В!"),
            (b"\xfe\xff\xd8\x00\x00a\x00", "\u{fffd}a"),
            (b"\xef\xbb\xbf\xc3\xa9", "é"),
            (b"\xc3\xa9", "é"),
            (b"\xc3\xa9\xe2\x80", "é"),
            (b"caf\xe9 \x8ddu\x8e", "caf\u{e9} “du”"),
            (b"", ""),
        ] {
            assert_eq!(text(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn unpacking_is_bounded_and_takes_what_is_there() {
        let spaces = vec![b' '; 64 * UNPACKED_BYTES];
        let bomb = miniz_oxide::deflate::compress_to_vec(&spaces, 9);
        assert!(bomb.len() < UNPACKED_BYTES);
        assert_eq!(inflate(&bomb).len(), UNPACKED_BYTES);
        let whole = miniz_oxide::deflate::compress_to_vec_zlib(b"a sentence that is packed", 6);
        assert_eq!(inflate_zlib(&whole), b"a sentence that is packed");
        assert!(b"a sentence that is packed".starts_with(&inflate_zlib(&whole[..whole.len() - 8])));
        assert!(inflate_zlib(b"garbage").is_empty());
    }
}
