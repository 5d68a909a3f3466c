//! The hash tree of a blob: proving ranges with it, and checking proofs. Geometry comes from bao-tree.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges, TreeNode, blake3, iter::BaoChunk};
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::{content::ContentId, limits::GROUP_BYTES};

pub(super) const BLOCK: BlockSize = BlockSize::from_bytes(GROUP_BYTES).expect("a power of two of at least 1024");
/// Bytes of one pair of hashes in an outboard.
pub(super) const PAIR: usize = 64;

/// Which blob, and the shape of its tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    root: [u8; 32],
    bao: BaoTree,
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
        Self { root: id.0, bao: BaoTree::new(size, BLOCK) }
    }

    /// Bytes of the outboard; 0 = there is none.
    pub(super) fn outboard_bytes(&self) -> u64 {
        self.bao.outboard_size()
    }

    /// Reads whole groups, and proves each in the buffer that is returned; `with_hashes`: in bao's response encoding.
    pub(super) fn prove(
        &self,
        data: &File,
        outboard: Option<&File>,
        range: &Range<u64>,
        with_hashes: bool,
    ) -> Result<Vec<u8>, ProofError> {
        let chunks = chunks(&self.bao, range);
        let steps: Vec<_> = self.bao.ranges_pre_order_chunks_iter_ref(&chunks, 0).collect();
        let bytes = steps.iter().map(|step| match step {
            BaoChunk::Parent { .. } => {
                if with_hashes {
                    PAIR
                } else {
                    0
                }
            }
            BaoChunk::Leaf { size, .. } => *size,
        });
        let mut out = vec![0; bytes.sum()];
        let mut rest = out.as_mut_slice();
        let mut expected = vec![self.root];
        for step in steps {
            let hash = expected.pop().expect("each parent pushes the hashes of the children that follow");
            match step {
                BaoChunk::Parent { node, is_root, left, right, .. } => {
                    let wrong = ProofError::Outboard { offset: node.chunk_range().start.to_bytes() };
                    let mut pair = [0; PAIR];
                    let Some((file, offset)) = outboard.zip(self.pair_offset(node)) else { return Err(wrong) };
                    if file.read_exact_at(&mut pair, offset).is_err() || !parent_is(&hash, &pair, is_root) {
                        return Err(wrong);
                    }
                    push(&mut expected, &pair, left, right);
                    if with_hashes {
                        take(&mut rest, PAIR).copy_from_slice(&pair);
                    }
                }
                BaoChunk::Leaf { start_chunk, size, is_root, .. } => {
                    let (group, offset) = (take(&mut rest, size), start_chunk.to_bytes());
                    match data.read_exact_at(group, offset) {
                        Ok(()) if leaf_is(&hash, start_chunk, group, is_root) => {}
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
        for step in self.bao.ranges_pre_order_chunks_iter_ref(&chunks(&self.bao, range), 0) {
            let hash = expected.pop()?;
            match step {
                BaoChunk::Parent { node, is_root, left, right, .. } => {
                    let pair = encoded.split_off(..PAIR)?;
                    if !parent_is(&hash, pair, is_root) {
                        return None;
                    }
                    push(&mut expected, pair, left, right);
                    checked.pairs.push((self.pair_offset(node)?, pair));
                }
                BaoChunk::Leaf { start_chunk, size, is_root, .. } => {
                    let group = encoded.split_off(..size)?;
                    if !leaf_is(&hash, start_chunk, group, is_root) {
                        return None;
                    }
                    checked.groups.push((start_chunk.to_bytes(), group));
                }
            }
        }
        encoded.is_empty().then_some(checked)
    }

    fn pair_offset(&self, node: TreeNode) -> Option<u64> {
        self.bao.pre_order_offset(node).map(|pairs| pairs * PAIR as u64)
    }
}

/// The content of an encoded range of whole groups of a blob of this size, with the hashes taken out; none if it has another
/// length. It is not verified.
pub fn content_of(size: u64, range: &Range<u64>, mut encoded: &[u8]) -> Option<Vec<u8>> {
    let bao = BaoTree::new(size, BLOCK);
    let mut content = Vec::with_capacity(encoded.len());
    for step in bao.ranges_pre_order_chunks_iter_ref(&chunks(&bao, range), 0) {
        match step {
            BaoChunk::Parent { .. } => _ = encoded.split_off(..PAIR)?,
            BaoChunk::Leaf { size, .. } => content.extend_from_slice(encoded.split_off(..size)?),
        }
    }
    encoded.is_empty().then_some(content)
}

/// The chunks of a range of whole groups. The last range is open, so that the last group counts as whole.
fn chunks(bao: &BaoTree, range: &Range<u64>) -> ChunkRanges {
    let start = ChunkNum::full_chunks(range.start);
    if range.end >= bao.size() {
        ChunkRanges::from(start..)
    } else {
        ChunkRanges::from(start..ChunkNum::full_chunks(range.end))
    }
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

fn leaf_is(hash: &[u8; 32], start: ChunkNum, bytes: &[u8], is_root: bool) -> bool {
    group_hash(start.to_bytes(), bytes, is_root) == *hash
}

/// The hash of the group that begins at this byte of its blob.
pub(super) fn group_hash(start: u64, bytes: &[u8], is_root: bool) -> [u8; 32] {
    if is_root {
        return *blake3::hash(bytes).as_bytes();
    }
    blake3::Hasher::new().set_input_offset(start).update(bytes).finalize_non_root()
}
