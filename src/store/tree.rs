//! The hash tree of a blob: proving ranges with it, and checking proofs.
//!
//! It is BLAKE3's, cut off below groups of [`GROUP_BYTES`]. Outboards and encoded ranges are those of bao, as the crate bao-tree
//! has them; that cannot be used itself, as it counts the bytes below a node in 32 bits where the processor does.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::{content::ContentId, limits::GROUP_BYTES};

/// Bytes of one pair of hashes in an outboard.
pub(super) const PAIR: usize = 64;

/// Which blob, and the shape of its tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    root: [u8; 32],
    size: u64,
}

/// A part of a tree: so many groups, and the pairs of hashes above them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subtree {
    first: u64,
    groups: u64,
    /// Where its topmost pair is in the outboard, which has them in pre-order: after so many others.
    pair: u64,
    /// Whether nothing is above it.
    pub(super) is_root: bool,
}

impl Subtree {
    /// The tree of a blob of this size; an empty one has one group, too.
    pub(super) fn whole(size: u64) -> Self {
        Self { first: 0, groups: size.div_ceil(GROUP_BYTES).max(1), pair: 0, is_root: true }
    }

    /// Its two halves; none of a single group. The left one is as large as a full tree can be that leaves a group to the right
    /// (BLAKE3, section 2.1). Above `n` groups are `n - 1` pairs.
    pub(super) fn halves(self) -> Option<[Self; 2]> {
        let left = 1 << self.groups.checked_sub(1)?.checked_ilog2()?;
        let (pair, is_root) = (self.pair + 1, false);
        let right = Self { first: self.first + left, groups: self.groups - left, pair: self.pair + left, is_root };
        Some([Self { groups: left, pair, is_root, ..self }, right])
    }

    /// The byte of the blob at which it begins.
    pub(super) fn start(self) -> u64 {
        self.first * GROUP_BYTES
    }

    /// The byte of the outboard at which its topmost pair begins.
    pub(super) fn pair_offset(self) -> u64 {
        self.pair * PAIR as u64
    }
}

/// A part of an encoded range.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The topmost pair of a subtree; whether the range has something of its left half, and of its right one.
    Pair { of: Subtree, left: bool, right: bool },
    /// A group with so many bytes.
    Group { of: Subtree, bytes: usize },
}

/// Goes through a tree in pre-order, as far as a range of whole groups reaches.
struct Steps {
    size: u64,
    groups: Range<u64>,
    /// What has something of the range, the next one last.
    ahead: Vec<Subtree>,
}

impl Steps {
    fn new(size: u64, range: &Range<u64>) -> Self {
        let whole = Subtree::whole(size);
        let end = if range.end >= size { whole.groups } else { range.end / GROUP_BYTES };
        let groups = range.start / GROUP_BYTES..end;
        Self { size, ahead: if groups.is_empty() { Vec::new() } else { vec![whole] }, groups }
    }

    fn reach(&self, of: Subtree) -> bool {
        of.first < self.groups.end && self.groups.start < of.first + of.groups
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let of = self.ahead.pop()?;
        let Some(halves) = of.halves() else {
            return Some(Step::Group { of, bytes: (self.size - of.start()).min(GROUP_BYTES) as usize });
        };
        let [left, right] = halves.map(|half| self.reach(half));
        self.ahead.extend(right.then_some(halves[1]));
        self.ahead.extend(left.then_some(halves[0]));
        Some(Step::Pair { of, left, right })
    }
}

/// Why a range could not be proven from the disk.
#[derive(Debug)]
pub(super) enum ProofError {
    /// The file near this byte does not hash to the blob's id.
    Data { offset: u64 },
    /// The disk does not give the file near this byte.
    Io { offset: u64, error: io::Error },
    /// The outboard near this byte of the blob is missing, wrong, or not given by the disk.
    Outboard { offset: u64 },
}

/// An encoded range that was found right: what to write where. Nothing was copied.
pub(super) struct Checked<'a> {
    /// Byte offset in the outboard, and the pair of hashes.
    pub(super) pairs: Vec<(u64, &'a [u8])>,
    /// Byte offset in the blob, and one group.
    pub(super) groups: Vec<(u64, &'a [u8])>,
}

impl Tree {
    pub(super) fn new(id: &ContentId, size: u64) -> Self {
        Self { root: id.0, size }
    }

    /// Bytes of the outboard; 0 = there is none.
    pub(super) fn outboard_bytes(&self) -> u64 {
        (Subtree::whole(self.size).groups - 1) * PAIR as u64
    }

    /// Reads whole groups, and proves each in the buffer that is returned; `with_hashes`: in bao's response encoding.
    pub(super) fn prove(
        &self,
        data: &File,
        outboard: Option<&File>,
        range: &Range<u64>,
        with_hashes: bool,
    ) -> Result<Vec<u8>, ProofError> {
        let steps: Vec<_> = Steps::new(self.size, range).collect();
        let bytes = steps.iter().map(|step| match step {
            Step::Pair { .. } => {
                if with_hashes {
                    PAIR
                } else {
                    0
                }
            }
            Step::Group { bytes, .. } => *bytes,
        });
        let mut out = vec![0; bytes.sum()];
        let mut rest = out.as_mut_slice();
        let mut expected = vec![self.root];
        for step in steps {
            let hash = expected.pop().expect("each parent pushes the hashes of the children that follow");
            match step {
                Step::Pair { of, left, right } => {
                    let wrong = ProofError::Outboard { offset: of.start() };
                    let mut pair = [0; PAIR];
                    let Some(file) = outboard else { return Err(wrong) };
                    if file.read_exact_at(&mut pair, of.pair_offset()).is_err() || !parent_is(&hash, &pair, of.is_root)
                    {
                        return Err(wrong);
                    }
                    push(&mut expected, &pair, left, right);
                    if with_hashes {
                        take(&mut rest, PAIR).copy_from_slice(&pair);
                    }
                }
                Step::Group { of, bytes } => {
                    let (group, offset) = (take(&mut rest, bytes), of.start());
                    match data.read_exact_at(group, offset) {
                        Ok(()) if group_hash(offset, group, of.is_root) == hash => {}
                        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                            return Err(ProofError::Io { offset, error });
                        }
                        _ => return Err(ProofError::Data { offset }),
                    }
                }
            }
        }
        Ok(out)
    }

    /// Checks an encoded range of whole groups to its last byte; none if anything in it is wrong.
    pub(super) fn check<'a>(&self, range: &Range<u64>, mut encoded: &'a [u8]) -> Option<Checked<'a>> {
        let mut checked = Checked { pairs: Vec::new(), groups: Vec::new() };
        let mut expected = vec![self.root];
        for step in Steps::new(self.size, range) {
            let hash = expected.pop()?;
            match step {
                Step::Pair { of, left, right } => {
                    let pair = encoded.split_off(..PAIR)?;
                    if !parent_is(&hash, pair, of.is_root) {
                        return None;
                    }
                    push(&mut expected, pair, left, right);
                    checked.pairs.push((of.pair_offset(), pair));
                }
                Step::Group { of, bytes } => {
                    let group = encoded.split_off(..bytes)?;
                    if group_hash(of.start(), group, of.is_root) != hash {
                        return None;
                    }
                    checked.groups.push((of.start(), group));
                }
            }
        }
        encoded.is_empty().then_some(checked)
    }
}

/// Appends the content of an encoded range of whole groups of a blob of this size, with the hashes taken out. None if it has
/// another length: then it is not all there. It is not verified.
#[must_use]
pub fn append_content(size: u64, range: &Range<u64>, mut encoded: &[u8], content: &mut Vec<u8>) -> Option<()> {
    for step in Steps::new(size, range) {
        match step {
            Step::Pair { .. } => _ = encoded.split_off(..PAIR)?,
            Step::Group { bytes, .. } => content.extend_from_slice(encoded.split_off(..bytes)?),
        }
    }
    encoded.is_empty().then_some(())
}

/// Cuts the first bytes off.
fn take<'a>(rest: &mut &'a mut [u8], bytes: usize) -> &'a mut [u8] {
    rest.split_off_mut(..bytes).expect("the buffer was made for the sum of what is taken")
}

fn push(expected: &mut Vec<[u8; 32]>, pair: &[u8], left: bool, right: bool) {
    let (left_hash, right_hash) = halves(pair);
    if right {
        expected.push(*right_hash);
    }
    if left {
        expected.push(*left_hash);
    }
}

fn halves(pair: &[u8]) -> (&[u8; 32], &[u8; 32]) {
    let split = pair.split_first_chunk::<32>().expect("a pair is 64 bytes");
    (split.0, split.1.try_into().expect("a pair is 64 bytes"))
}

fn parent_is(hash: &[u8; 32], pair: &[u8], is_root: bool) -> bool {
    let (left, right) = halves(pair);
    parent_hash(left, right, is_root) == *hash
}

/// The hash of a pair of hashes.
pub(super) fn parent_hash(left: &[u8; 32], right: &[u8; 32], is_root: bool) -> [u8; 32] {
    if is_root {
        *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
    } else {
        merge_subtrees_non_root(left, right, Mode::Hash)
    }
}

/// The hash of the group that begins at this byte of its blob.
pub(super) fn group_hash(start: u64, bytes: &[u8], is_root: bool) -> [u8; 32] {
    if is_root {
        return *blake3::hash(bytes).as_bytes();
    }
    blake3::Hasher::new().set_input_offset(start).update(bytes).finalize_non_root()
}

#[cfg(test)]
mod tests {
    use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges, iter::BaoChunk};
    use proptest::prelude::*;

    use super::*;

    /// What a range of groups takes, by this module and by bao-tree: whether it is a group, where it begins, its bytes or which
    /// halves have something of the range, and whether it is the root.
    fn ours(size: u64, range: &Range<u64>) -> Vec<(bool, u64, usize, bool)> {
        let step = |step| match step {
            Step::Pair { of, left, right } => {
                (false, of.pair_offset(), usize::from(left) + 2 * usize::from(right), of.is_root)
            }
            Step::Group { of, bytes } => (true, of.start(), bytes, of.is_root),
        };
        Steps::new(size, range).map(step).collect()
    }

    fn bao(size: u64) -> BaoTree {
        BaoTree::new(size, BlockSize::from_bytes(GROUP_BYTES).unwrap())
    }

    fn theirs(size: u64, range: &Range<u64>) -> Vec<(bool, u64, usize, bool)> {
        let tree = bao(size);
        let chunk = |byte: u64| ChunkNum(byte / 1024);
        let chunks = if range.end >= size {
            ChunkRanges::from(chunk(range.start)..)
        } else {
            ChunkRanges::from(chunk(range.start)..chunk(range.end))
        };
        let step = |step| match step {
            BaoChunk::Parent { node, is_root, left, right, .. } => {
                let pair = tree.pre_order_offset(node).unwrap() * PAIR as u64;
                (false, pair, usize::from(left) + 2 * usize::from(right), is_root)
            }
            BaoChunk::Leaf { start_chunk, size, is_root, .. } => (true, start_chunk.to_bytes(), size, is_root),
        };
        tree.ranges_pre_order_chunks_iter_ref(&chunks, 0).map(step).collect()
    }

    proptest! {
        #[test]
        fn the_steps_are_those_of_bao_tree(bits in 0u32..48, below in any::<u64>(), at in any::<u64>(), groups in 0u64..20) {
            // Where it counts in 32 bits, bao-tree can't say.
            let bits = bits.min(usize::BITS - 1);
            let size = (1 << bits) + below % (1 << bits);
            let start = at % size / GROUP_BYTES * GROUP_BYTES;
            let range = start..(start + groups * GROUP_BYTES).min(size);
            prop_assert_eq!(ours(size, &range), theirs(size, &range));
            prop_assert_eq!(Tree::new(&ContentId([0; 32]), size).outboard_bytes(), bao(size).outboard_size());
        }
    }

    #[test]
    fn the_smallest_blobs_have_a_group_and_the_largest_all_of_theirs() {
        assert_eq!(ours(0, &(0..0)), [(true, 0, 0, true)]);
        assert_eq!(ours(1, &(0..1)), [(true, 0, 1, true)]);
        let size = u64::from(u32::MAX) * GROUP_BYTES + 5;
        let end = u64::from(u32::MAX) * GROUP_BYTES;
        let steps = ours(size, &(end..size));
        assert_eq!(steps.last(), Some(&(true, end, 5, false)));
        // Of a full tree of 2^32 groups: so many pairs are above each.
        assert_eq!(steps.len(), 32 + 1);
    }
}
