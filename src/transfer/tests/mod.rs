//! Real stores in temporary folders, over Unix sockets; peers that lie are written by hand. A file for each topic.

mod clients;
mod fetching;
mod lies;
mod slow;
mod swarms;
mod turns;
mod watching;

use std::{io, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use futures::{
    AsyncReadExt, AsyncWriteExt, FutureExt,
    future::{Either, join, select},
};
use proptest::prelude::*;
use smol::{block_on, net::unix::UnixStream};

use super::{pace::PACE, *};
use crate::{
    content::{ContentId, NodeId},
    limits::{
        GROUP_BYTES,
        transfer::{BUSY_RETRY_MS, PACE_BYTES, SMALL_BYTES},
        wire::{DATA_BYTES, DATA_FRAME_BYTES, PIPELINED_REQUESTS, REQUEST_BYTES},
    },
    store::{LibraryPath, Options, Store},
    wire::{
        ErrorCode, ErrorReply, Frame, KIND_ERROR,
        blob::{Blob, Data, Get, Range, Ranges, Reply, Request},
        decode, read_frame, write_frame,
    },
};

const MIB: usize = 1024 * 1024;

/// A node's store, and a folder for the files that it shares.
struct Node {
    folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("data"), Options::default()).unwrap());
        Self { folder, store }
    }

    fn share(&self, bytes: &[u8]) -> ContentId {
        let (id, path) = (ContentId::of(bytes), self.shared(&ContentId::of(bytes)));
        std::fs::write(&path, bytes).unwrap();
        let imported = self.store.import_in_place(&path, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        self.store.commit(vec![imported]).unwrap();
        id
    }

    /// Where the file stands that was shared.
    fn shared(&self, id: &ContentId) -> PathBuf {
        self.folder.path().join(format!("{id}.file"))
    }

    fn verified_bytes(&self, id: ContentId) -> u64 {
        self.store.blob(&id).map_or(0, |blob| blob.ranges().iter().map(|range| range.end - range.start).sum())
    }

    /// The bytes, if all of them are here.
    fn content(&self, id: ContentId) -> Option<Vec<u8>> {
        let mut blob = self.store.blob(&id).ok()?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < blob.size() {
            let start = bytes.len() as u64;
            bytes.extend(blob.read(start..(start + DATA_BYTES).min(blob.size())).ok()?);
        }
        Some(bytes)
    }

    async fn fetch(&self, stream: &mut UnixStream, id: ContentId, size: u64) -> Result<(), FetchError> {
        fetch_blob((stream, &mut Pace::default()), &self.store, id, size, &name(&id), &mut |_| {}).await
    }

    async fn serve(&self, stream: UnixStream) -> Result<ServeStats, ServeError> {
        serve(stream, Arc::clone(&self.store), &Uploads::new(2)).await
    }
}

fn name(id: &ContentId) -> LibraryPath {
    LibraryPath::new(&format!("books/{id}")).unwrap()
}

/// Bytes that differ everywhere, and for each seed.
fn bytes(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Fetches from one peer, who can't be watched.
async fn fetch_blob(
    stream: (&mut UnixStream, &mut Pace),
    store: &Arc<Store>,
    id: ContentId,
    size: u64,
    to: &LibraryPath,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), FetchError> {
    let swarm = Swarm::new(Arc::clone(store), NodeId([0; 32]), id, size);
    let open = || std::future::ready(Err(io::ErrorKind::Unsupported.into())).boxed();
    let provider = Provider { node: NodeId([1; 32]), stream, open: &open, is_for_readers: false };
    let progress = &mut |_, here| progress(here);
    match super::fetch(&swarm, provider, &Places::new(1), progress).await? {
        (Fetched::Whole(whole), is_usable) => {
            assert!(is_usable);
            whole.finish(to)?;
        }
        (Fetched::Idle { .. }, is_usable) => {
            assert!(is_usable);
            return Err(FetchError::NotFound);
        }
        (Fetched::Elsewhere, _) => panic!("there is nobody else"),
    }
    Ok(())
}

/// Fetches from an honest node over a fresh connection.
fn fetch_from(server: &Node, client: &Node, id: ContentId, size: u64) -> (Result<(), FetchError>, ServeStats) {
    let (mut near, far) = UnixStream::pair().unwrap();
    let fetch = async {
        let result = client.fetch(&mut near, id, size).await;
        drop(near);
        result
    };
    let (result, stats) = block_on(join(fetch, server.serve(far)));
    (result, stats.unwrap())
}

/// The near end of a stream that is served.
fn link(store: &Arc<Store>, uploads: &Uploads) -> UnixStream {
    let (near, far) = UnixStream::pair().unwrap();
    let (store, uploads) = (Arc::clone(store), uploads.clone());
    smol::spawn(async move { drop(serve(far, store, &uploads).await) }).detach();
    near
}

/// A stream that hears in drops, of which so many are enough: then it is cut.
fn drops(near: UnixStream, bytes: usize, pause: Duration, enough: usize) -> UnixStream {
    let (mut here, there) = UnixStream::pair().unwrap();
    let (mut asked, mut asks) = (near.clone(), here.clone());
    smol::spawn(async move { drop(smol::io::copy(&mut asks, &mut asked).await) }).detach();
    let mut answers = near;
    smol::spawn(async move {
        let mut drop = vec![0; bytes];
        for _ in 0..enough {
            let Ok(len @ 1..) = answers.read(&mut drop).await else { break };
            if here.write_all(&drop[..len]).await.is_err() {
                break;
            }
            smol::Timer::after(pause).await;
        }
        let _ = here.shutdown(std::net::Shutdown::Both);
    })
    .detach();
    there
}

fn get(id: ContentId, start: u64, len: u64) -> Frame {
    Request::Get(Get { id, ranges: Ranges::from_iter([Range { start, len }]) }).to_frame()
}

async fn ask(stream: &mut UnixStream, frame: &Frame) {
    write_frame(stream, frame.kind, &frame.body).await.unwrap();
}

#[test]
fn futures_can_be_spawned() {
    fn spawnable<T: Send>(_: T) {}
    let node = Node::new();
    let (mut near, far) = UnixStream::pair().unwrap();
    let uploads = Uploads::new(1);
    spawnable(serve(far, Arc::clone(&node.store), &uploads));
    let id = ContentId::of(b"");
    let swarm = Swarm::new(Arc::clone(&node.store), NodeId([0; 32]), id, 0);
    let open = || std::future::ready(UnixStream::pair().map(|(near, _)| near)).boxed();
    let provider = Provider {
        node: NodeId([1; 32]),
        stream: (&mut near, &mut Pace::default()),
        open: &open,
        is_for_readers: false,
    };
    spawnable(fetch(&swarm, provider, &Places::new(1), &mut |_, _| {}));
    let mut pace = Pace::default();
    let (receiving, writing) = fetch_small((&mut near, &mut pace), &node.store, vec![], |_| {});
    spawnable((receiving, crate::tasks::spawn(writing)));
}
