//! Ways in for the fuzz targets of `fuzz/`; not part of the program.

use std::{fs::File, io::Write, ops::Range};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{
    bits,
    count::Count,
    index::page,
    record::{Record, encode},
    tree::{Tree, group_hash, parent_hash},
    unfinished::Noted,
};
use crate::{content::ContentId, limits::GROUP_BYTES};

/// An encoded range from a hostile sender: what is found right is right.
pub fn encoded_range(data: &[u8]) {
    let Some((tree, range, encoded)) = tree(data) else { return };
    let Some(checked) = tree.check(&range, encoded) else { return };
    let bytes: usize = checked.groups.iter().map(|(_, group)| group.len()).sum();
    assert!(bytes as u64 >= range.end - range.start, "a group is missing");
}

/// A damaged outboard, and a damaged file: what is proven is what a receiver takes.
pub fn outboard(data: &[u8]) {
    let Some((tree, range, disk)) = tree(data) else { return };
    let (outboard, file) = disk.split_at(disk.len().min(tree.outboard_bytes() as usize));
    if let Ok(encoded) = tree.prove(&memory(file), Some(&memory(outboard)), &range, true) {
        assert!(tree.check(&range, &encoded).is_some(), "what is proven here is refused there");
    }
}

/// The tree of a blob whose first pair, or whose bytes, are those given: so the first hash is right.
fn tree(data: &[u8]) -> Option<(Tree, Range<u64>, &[u8])> {
    let (head, rest) = data.split_first_chunk::<5>()?;
    let size = u64::from(u32::from_le_bytes([head[0], head[1], head[2], 0])) * 64 + u64::from(head[3]);
    let id = match rest.split_first_chunk::<64>() {
        Some((pair, _)) if size > GROUP_BYTES => {
            parent_hash(pair[..32].try_into().expect("32"), pair[32..].try_into().expect("32"), true)
        }
        _ => group_hash(0, rest, true),
    };
    let start = u64::from(head[4]) % size.div_ceil(GROUP_BYTES).max(1) * GROUP_BYTES;
    let range = start..(start + GROUP_BYTES * 2).min(size);
    (!range.is_empty()).then(|| (Tree::new(&ContentId(id), size), range, rest))
}

fn memory(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory is to be had"));
    file.write_all(bytes).expect("memory is to be had");
    file
}

/// The bits of a download, with a right checksum: else nothing behind it would be reached.
pub fn bits(body: &[u8]) {
    let id = ContentId([7; 32]);
    let bytes = [body, &bits::checksum(&id, body)].concat();
    let Some(groups) = bits::from_bytes(&id, &bytes) else { return };
    let bytes = |here| groups.ranges(here).iter().map(|range| range.end - range.start).sum::<u64>();
    assert_eq!(bytes(true), groups.verified_bytes());
    assert_eq!(bytes(true) + bytes(false), groups.size());
}

/// Keys and values of the index.
pub fn index(bytes: &[u8]) {
    let at = page::find(bytes, &ContentId([7; 32]));
    if let Ok(page) = postcard::from_bytes::<Vec<Record>>(bytes) {
        assert!(at.is_ok(), "what is read as a whole is read in parts");
        assert_eq!(postcard::from_bytes::<Vec<Record>>(&encode(&page)).as_ref(), Ok(&page));
        let mut count = Count::default();
        page.iter().filter(|record| record.size < 1 << 40).for_each(|record| count.add(record));
    }
    let _ = postcard::from_bytes::<Count>(bytes);
    let _ = Noted::from_key(bytes);
}
