//! Single files out of a ZIP archive (APPNOTE.TXT 6.3.9), as far as EPUB uses it: stored or deflated, not encrypted.
//!
//! What the archive claims about sizes only ever makes less be read. ZIP64 is not read: no book needs it.

use std::fs::File;

use super::bytes::{UNPACKED_BYTES, inflate, rfind, window};

/// Bytes of the directory that are looked at, at least 46 for each file.
const DIRECTORY_BYTES: usize = 1024 * 1024;
/// Bytes of the record at the end without its comment, and with the longest one.
const END_BYTES: usize = 22;
const LONGEST_END_BYTES: usize = END_BYTES + 0xffff;

pub(super) struct Zip<'f> {
    file: &'f File,
    directory: Vec<u8>,
}

impl<'f> Zip<'f> {
    pub fn open(file: &'f File) -> Option<Self> {
        let len = file.metadata().ok()?.len();
        let tail = window(file, len.saturating_sub(LONGEST_END_BYTES as u64), LONGEST_END_BYTES)?;
        let end = &tail[rfind(&tail, b"PK\x05\x06")?..];
        let directory = window(file, u32_at(end, 16)?.into(), DIRECTORY_BYTES.min(u32_at(end, 12)? as usize))?;
        Some(Self { file, directory })
    }

    /// The beginning of the file of this name.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut rest = &self.directory[..];
        let entry = loop {
            let (entry, following) = split_entry(rest)?;
            if entry.get(46..46 + usize::from(u16_at(entry, 28)?))? == name.as_bytes() {
                break entry;
            }
            rest = following;
        };
        let encrypted = u16_at(entry, 8)? & 1 == 1;
        if encrypted {
            return None;
        }
        let at = u64::from(u32_at(entry, 42)?);
        let head = window(self.file, at, 30)?;
        if !head.starts_with(b"PK\x03\x04") {
            return None;
        }
        let content_at = at + 30 + u64::from(u16_at(&head, 26)?) + u64::from(u16_at(&head, 28)?);
        let content = window(self.file, content_at, UNPACKED_BYTES.min(u32_at(entry, 20)? as usize))?;
        match u16_at(entry, 10)? {
            0 => Some(content),
            8 => Some(inflate(&content)),
            _ => None,
        }
    }
}

/// The first entry of a directory, and the others.
fn split_entry(directory: &[u8]) -> Option<(&[u8], &[u8])> {
    if !directory.starts_with(b"PK\x01\x02") {
        return None;
    }
    let variable = [28, 30, 32].into_iter().map(|at| u16_at(directory, at).map(usize::from)).sum::<Option<usize>>()?;
    directory.split_at_checked(46 + variable)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
