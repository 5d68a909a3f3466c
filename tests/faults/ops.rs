//! Operations on a store: random lists of them, and what became of each.

use std::{
    fs,
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
};

use allibrary::{
    content::ContentId,
    limits::GROUP_BYTES,
    store::{
        BlobState, ImportError, LibraryPath, Options, PutOutcome, ReadError, SmallBlob, Store, StoreError, Verified,
        WriteError,
    },
};
use bao_tree::{BlockSize, ChunkNum, ChunkRanges, io::outboard::PreOrderMemOutboard, io::sync::encode_ranges};
use proptest::{collection::vec, prelude::*};
use serde::{Deserialize, Serialize};

/// Bytes of the blobs that all is about: whatever the store treats differently, two of the same size.
pub const SIZES: [usize; 8] = [0, 1, 5_000, 5_000, 65_536, 65_537, 200_000, 300_000];
/// Names that they may get. They are few, so that blobs meet under one.
pub const NAMES: u8 = 5;

/// A number of [`SIZES`].
pub type Blob = u8;
/// A number below [`NAMES`].
pub type Name = u8;

/// Where a blob stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Spot {
    Library(Name),
    /// In place, outside of the library.
    Shared,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Op {
    Copy(Blob, Name),
    Share(Blob),
    Put(Vec<(Blob, Name)>),
    /// Writes so many groups of a download, and makes them durable if asked.
    Fetch(Blob, u8, bool),
    Finish(Vec<(Blob, Name)>),
    Discard(Blob),
    Place(Blob, Name),
    Remove(Vec<(Blob, Spot)>),
    Verify(Blob),
    Read(Blob),
    Reopen,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Done,
    /// Each of several was done, or not.
    Each(Vec<bool>),
    /// So many bytes of a download are here.
    Here(u64),
    /// The blob is not there.
    NotHere,
    /// The blob is there already.
    AlreadyHere,
    /// An error of the system. `reopened`: one of the index, after which the store has to be opened again.
    Failed {
        reopened: bool,
        message: String,
    },
}

/// A list of operations.
pub fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let blob = || 0..SIZES.len() as Blob;
    let place = || (blob(), 0..NAMES);
    let spot = prop_oneof![4 => (0..NAMES).prop_map(Spot::Library), 1 => Just(Spot::Shared)];
    let op = prop_oneof![
        3 => place().prop_map(|(blob, name)| Op::Copy(blob, name)),
        2 => blob().prop_map(Op::Share),
        2 => vec(place(), 1..4).prop_map(Op::Put),
        2 => (blob(), 0..4u8, any::<bool>()).prop_map(|(blob, groups, durably)| Op::Fetch(blob, groups, durably)),
        3 => vec(place(), 1..3).prop_map(Op::Finish),
        1 => blob().prop_map(Op::Discard),
        2 => place().prop_map(|(blob, name)| Op::Place(blob, name)),
        4 => vec((blob(), spot), 1..20).prop_map(Op::Remove),
        1 => blob().prop_map(Op::Verify),
        2 => blob().prop_map(Op::Read),
        1 => Just(Op::Reopen),
    ];
    vec(op, 1..most)
}

/// The bytes of a blob: they repeat nowhere near the size of a group.
pub fn content(blob: Blob) -> Vec<u8> {
    let mut bytes = vec![0; SIZES[blob as usize]];
    blake3::Hasher::new_derive_key("faults").update(&[blob]).finalize_xof().fill(&mut bytes);
    bytes
}

pub fn id(blob: Blob) -> ContentId {
    ContentId::of(&content(blob))
}

pub fn library_path(name: Name) -> LibraryPath {
    LibraryPath::new(&format!("shelf {}/{name}.bin", name % 2)).expect("a tame path")
}

/// The folder of a test: the data folder, and the files that are shared and copied.
pub struct Place(pub PathBuf);

impl Place {
    /// Makes the files.
    pub fn new(folder: &Path) -> Self {
        let place = Self(folder.to_owned());
        fs::create_dir(folder.join("shared")).expect("a test's own folder");
        for blob in 0..SIZES.len() as Blob {
            fs::write(place.shared(blob), content(blob)).expect("a test's own folder");
        }
        place
    }

    pub fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub fn shared(&self, blob: Blob) -> PathBuf {
        self.0.join("shared").join(blob.to_string())
    }

    pub fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.data(), Options::default())
    }

    pub fn path(&self, spot: Spot, blob: Blob) -> PathBuf {
        match spot {
            Spot::Library(name) => self.data().join("library").join(library_path(name).as_str()),
            Spot::Shared => self.shared(blob),
        }
    }

    /// Does it.
    pub fn perform(&self, store: &Store, op: &Op) -> Result<Outcome, Error> {
        match op {
            Op::Copy(blob, name) => {
                let copy = store.import_copy(&self.shared(*blob), &library_path(*name), &mut go_on)?;
                store.commit(vec![copy])?;
            }
            Op::Share(blob) => store.commit(vec![store.import_in_place(&self.shared(*blob), &mut go_on)?])?,
            Op::Put(blobs) => {
                let small = |(blob, name): &(Blob, Name)| SmallBlob {
                    id: id(*blob),
                    bytes: content(*blob),
                    to: library_path(*name),
                };
                let outcomes = store.put_small(blobs.iter().map(small).collect())?;
                return Ok(Outcome::Each(outcomes.iter().map(|it| matches!(it, PutOutcome::Stored)).collect()));
            }
            Op::Fetch(blob, groups, durably) => {
                let download = store.download(id(*blob), SIZES[*blob as usize] as u64)?;
                fetch(&download, *blob, *groups as usize)?;
                if *durably {
                    download.checkpoint()?;
                    return Ok(Outcome::Here(download.verified_bytes()));
                }
            }
            Op::Finish(blobs) => {
                let (mut downloads, mut outcomes) = (Vec::new(), Vec::new());
                for (blob, name) in blobs {
                    match store.download(id(*blob), SIZES[*blob as usize] as u64) {
                        Ok(download) => {
                            fetch(&download, *blob, usize::MAX)?;
                            downloads.push((download, library_path(*name)));
                            outcomes.push(true);
                        }
                        Err(StoreError::AlreadyHere(_) | StoreError::Busy(_)) => outcomes.push(false),
                        Err(error) => return Err(error.into()),
                    }
                }
                let finished = store.finish(downloads)?;
                for (outcome, finished) in outcomes.iter_mut().filter(|outcome| **outcome).zip(finished) {
                    *outcome = finished.is_ok();
                }
                return Ok(Outcome::Each(outcomes));
            }
            Op::Discard(blob) => store.discard(&id(*blob))?,
            Op::Place(blob, name) => store.place(&id(*blob), &library_path(*name))?,
            Op::Remove(files) => {
                let files: Vec<_> = files.iter().map(|(blob, spot)| (id(*blob), self.path(*spot, *blob))).collect();
                store.remove(&files)?;
            }
            Op::Verify(blob) => match store.verify(&id(*blob), &mut go_on)? {
                Verified::Good => {}
                Verified::Bad { .. } => return Ok(Outcome::NotHere),
            },
            Op::Read(blob) if read(store, *blob)? => {}
            Op::Read(_) => return Ok(Outcome::NotHere),
            Op::Reopen => unreachable!("whoever has the store reopens it"),
        }
        Ok(Outcome::Done)
    }
}

/// Whether a blob is complete, and all of its bytes can be read. Wrong ones end the test.
pub fn read(store: &Store, blob: Blob) -> Result<bool, StoreError> {
    let bytes = content(blob);
    let mut open = match store.blob(&id(blob)) {
        Ok(open) => open,
        Err(ReadError::Store(error)) => return Err(error),
        Err(_) => return Ok(false),
    };
    let mut is_whole = true;
    for group in groups_of(blob) {
        match open.read(group.clone()) {
            Ok(read) => assert!(read == bytes[group.start as usize..group.end as usize], "WRONG BYTES of blob {blob}"),
            Err(ReadError::Store(error)) => return Err(error),
            Err(_) => is_whole = false,
        }
    }
    // What is here of a download can be read too.
    Ok(is_whole && store.info(&id(blob))?.is_some_and(|info| info.state == BlobState::Complete))
}

fn fetch(download: &allibrary::store::Download, blob: Blob, groups: usize) -> Result<(), WriteError> {
    let bytes = content(blob);
    let missing = download.missing();
    let is_missing = |group: &Range<u64>| missing.iter().any(|range| range.contains(&group.start));
    for group in groups_of(blob).filter(is_missing).take(groups) {
        let encoded = encode(&bytes, &group);
        download.write(group, &encoded)?;
    }
    Ok(())
}

fn groups_of(blob: Blob) -> impl Iterator<Item = Range<u64>> {
    let size = SIZES[blob as usize] as u64;
    (0..size).step_by(GROUP_BYTES as usize).map(move |start| start..(start + GROUP_BYTES).min(size))
}

/// What a sender sends, by the naive way.
fn encode(bytes: &[u8], group: &Range<u64>) -> Vec<u8> {
    let outboard = PreOrderMemOutboard::create(bytes, BlockSize::from_bytes(GROUP_BYTES).expect("a power of two"));
    let end = if group.end == bytes.len() as u64 { u64::MAX } else { group.end };
    let chunks = ChunkRanges::from(ChunkNum::full_chunks(group.start)..ChunkNum::full_chunks(end));
    let mut encoded = Vec::new();
    encode_ranges(bytes, &outboard, &chunks, &mut encoded).expect("a Vec takes all");
    encoded
}

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Why an operation was not done.
pub struct Error(pub Outcome);

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self(match &error {
            StoreError::NotFound(_) => Outcome::NotHere,
            StoreError::AlreadyHere(_) => Outcome::AlreadyHere,
            error => {
                let in_index = |path: &Path| path.starts_with("index");
                let reopened = match error {
                    StoreError::Index(_) => true,
                    StoreError::Io { path, .. } | StoreError::NoSpace { folder: path, .. } => in_index(path),
                    _ => false,
                };
                Outcome::Failed { reopened, message: error.to_string() }
            }
        })
    }
}

impl From<ImportError> for Error {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Store(error) => error.into(),
            error => Self(Outcome::Failed { reopened: false, message: error.to_string() }),
        }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Store(error) => error.into(),
            error => Self(Outcome::Failed { reopened: false, message: error.to_string() }),
        }
    }
}
