//! Hashing whole files: their ids and outboards, on as many threads as there are.

use std::{fs::File, io, os::unix::fs::FileExt, thread};

use super::tree::{Subtree, group_hash, parent_hash};
use crate::{
    content::ContentId,
    limits::{GROUP_BYTES, store::HASH_BYTES},
};

/// Hashes `size` bytes in one pass, and writes the outboard if there is a file for it.
pub(super) fn hash(data: impl io::Read, size: u64, outboard: Option<&File>, threads: usize) -> io::Result<ContentId> {
    Ok(ContentId(hash_of(Subtree::whole(size), &mut Groups::new(data, size, threads), outboard)?))
}

/// The hash of a subtree, whose groups are the next ones. It goes down one step for each time that the size doubles.
fn hash_of(tree: Subtree, groups: &mut Groups<impl io::Read>, outboard: Option<&File>) -> io::Result<[u8; 32]> {
    let Some([left, right]) = tree.halves() else { return groups.next(tree.start(), tree.is_root) };
    let pair = [hash_of(left, groups, outboard)?, hash_of(right, groups, outboard)?];
    if let Some(file) = outboard {
        file.write_all_at(pair.as_flattened(), tree.pair_offset())?;
    }
    Ok(parent_hash(&pair[0], &pair[1], tree.is_root))
}

/// Hashes groups ahead of those who need them.
struct Groups<R> {
    data: R,
    threads: usize,
    size: u64,
    buffer: Vec<u8>,
    /// Of the groups in the buffer, the next one last.
    hashes: Vec<[u8; 32]>,
}

impl<R: io::Read> Groups<R> {
    fn new(data: R, size: u64, threads: usize) -> Self {
        // More than one is worth its start only where there is much to do.
        let threads = if size > 2 * HASH_BYTES as u64 { threads } else { 1 };
        let bytes = if threads == 1 { GROUP_BYTES } else { (threads * HASH_BYTES) as u64 };
        Self { data, threads, size, buffer: vec![0; bytes.min(size) as usize], hashes: Vec::new() }
    }

    /// The hash of the group at `start`, which follows the one before.
    fn next(&mut self, start: u64, is_root: bool) -> io::Result<[u8; 32]> {
        if self.hashes.is_empty() {
            let left = usize::try_from(self.size - start).unwrap_or(usize::MAX);
            self.buffer.truncate(left);
            self.data.read_exact(&mut self.buffer)?;
            self.hash(start, is_root);
        }
        Ok(self.hashes.pop().expect("just filled"))
    }

    fn hash(&mut self, start: u64, is_root: bool) {
        let hash_all = |start: u64, bytes: &[u8], hashes: &mut [[u8; 32]]| {
            // An empty blob has one group, which is empty.
            let groups = bytes.chunks(GROUP_BYTES as usize).chain(bytes.is_empty().then_some(bytes));
            for ((group, hash), at) in groups.zip(hashes).zip((start..).step_by(GROUP_BYTES as usize)) {
                *hash = group_hash(at, group, is_root);
            }
        };
        let count = self.buffer.len().div_ceil(GROUP_BYTES as usize).max(1);
        self.hashes.resize(count, [0; 32]);
        let share = count.div_ceil(self.threads);
        let share_bytes = share * GROUP_BYTES as usize;
        let starts = (start..).step_by(share_bytes);
        let mut shares = self.buffer.chunks(share_bytes).zip(self.hashes.chunks_mut(share)).zip(starts);
        if self.threads == 1 {
            hash_all(start, &self.buffer, &mut self.hashes);
        } else {
            thread::scope(|scope| {
                let first = shares.next();
                for ((bytes, hashes), start) in shares {
                    scope.spawn(move || hash_all(start, bytes, hashes));
                }
                if let Some(((bytes, hashes), start)) = first {
                    hash_all(start, bytes, hashes);
                }
            });
        }
        self.hashes.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_outboards_are_the_same_on_any_number_of_threads() {
        let group = GROUP_BYTES as usize;
        let sizes = [0, 1, group, group + 1, 5 * group, 2 * HASH_BYTES + 1, 7 * HASH_BYTES + 3 * group + 5];
        for size in sizes {
            let mut bytes = vec![0; size];
            fastrand::Rng::with_seed(size as u64).fill(&mut bytes);
            let mut outboards = [1, 2, 3, 16].map(|threads| {
                let outboard = tempfile::tempfile().unwrap();
                let id = hash(&*bytes, size as u64, Some(&outboard), threads).unwrap();
                assert_eq!(id, ContentId::of(&bytes), "{size} bytes on {threads} threads");
                let mut pairs = vec![0; outboard.metadata().unwrap().len() as usize];
                outboard.read_exact_at(&mut pairs, 0).unwrap();
                pairs
            });
            let block = bao_tree::BlockSize::from_bytes(GROUP_BYTES).unwrap();
            let mut expected = bao_tree::io::outboard::PreOrderMemOutboard::create(&bytes, block).data;
            expected.truncate(bao_tree::BaoTree::new(size as u64, block).outboard_size() as usize);
            outboards.iter_mut().for_each(|outboard| assert!(*outboard == expected, "{size} bytes"));
        }
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        for size in [2, GROUP_BYTES + 1, 9 * HASH_BYTES as u64] {
            let short = vec![0; size as usize - 1];
            let error = hash(&*short, size, None, 2).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
