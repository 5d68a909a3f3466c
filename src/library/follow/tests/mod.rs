//! Mirrors and their peers: real stores, real streams, no network.

mod editions;
mod lies;
mod reading;
mod serving;
mod sharing;
mod trouble;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU64,
    ops::Range,
    path::Path,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use futures::AsyncReadExt;
use smol::{Task, block_on, net::unix::UnixStream};

use super::*;
use crate::{
    content::ContentId,
    groups::Groups,
    library::{
        AddRequest, Item, LibraryError, Remove, Root, Summary, Words,
        manifest::Builder,
        serve,
        tests::{Node, folder, go_on, request},
    },
    transfer::{self, Uploads},
    wire::{Text, blob, encode},
};

/// Counts the bytes that one side receives.
struct Counted(UnixStream, Arc<AtomicU64>);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_read(cx, into);
        if let Poll::Ready(Ok(len)) = polled {
            self.1.fetch_add(len as u64, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A connection to a peer that serves its library.
#[derive(Clone)]
struct Link {
    peer: Arc<Library>,
    /// Bytes of catalogue and blob streams.
    catalogue: Arc<AtomicU64>,
    blobs: Arc<AtomicU64>,
    /// What changes the frames of the catalogue, for peers that lie.
    lies: Option<Arc<Lie>>,
    /// Blobs come in drops of 2 KiB, one in 50 ms.
    is_slow: bool,
    uploads: Uploads,
}

type Lie = dyn Fn(Request) -> Reply + Send + Sync;

impl Link {
    fn to(node: &Node) -> Self {
        let (catalogue, blobs) = (Arc::default(), Arc::default());
        Self { peer: Arc::clone(&node.library), catalogue, blobs, lies: None, is_slow: false, uploads: Uploads::new(8) }
    }
}

impl Connect for Link {
    type Stream = Counted;

    async fn open(&self, _: NodeId, protocol: &'static str) -> io::Result<Counted> {
        let (here, there) = UnixStream::pair()?;
        let peer = Arc::clone(&self.peer);
        if protocol == blob::PROTOCOL {
            let uploads = self.uploads.clone();
            let store = Arc::clone(peer.store());
            let there = if self.is_slow { slowed(there)? } else { there };
            smol::spawn(async move { drop(transfer::serve(there, store, &uploads).await) }).detach();
            return Ok(Counted(here, Arc::clone(&self.blobs)));
        }
        match self.lies.clone() {
            Some(lie) => smol::spawn(tell_lies(there, lie)).detach(),
            None => smol::spawn(async move { drop(serve(there, peer).await) }).detach(),
        }
        Ok(Counted(here, Arc::clone(&self.catalogue)))
    }
}

/// The far end of a stream whose near end hears in drops.
fn slowed(mut near: UnixStream) -> io::Result<UnixStream> {
    let (mut middle, far) = UnixStream::pair()?;
    let (mut asking, mut asked) = (near.clone(), middle.clone());
    smol::spawn(async move { drop(smol::io::copy(&mut asking, &mut asked).await) }).detach();
    let drops = async move {
        let mut drop = [0; 2048];
        while let Ok(len @ 1..) = middle.read(&mut drop).await
            && near.write_all(&drop[..len]).await.is_ok()
        {
            smol::Timer::after(Duration::from_millis(50)).await;
        }
    };
    smol::spawn(drops).detach();
    Ok(far)
}

async fn tell_lies(mut stream: UnixStream, lie: Arc<Lie>) {
    while let Ok(Some(frame)) = read_frame(&mut stream, 1 << 20).await {
        let reply = lie(Request::from_frame(&frame).unwrap()).into_frame();
        if write_frame(&mut stream, reply.kind, &reply.body).await.is_err() {
            break;
        }
    }
}

fn policy() -> Policy {
    let many = u64::MAX;
    Policy {
        only: vec![],
        max_bytes_per_publisher: many,
        max_items_per_publisher: many,
        max_collections_per_publisher: many,
        wishes: Wishes::default(),
        cache_bytes: 0,
    }
}

/// Follows while it lives.
struct Following {
    follower: Arc<Follower>,
    link: Link,
    task: Task<FollowEnd>,
}

impl Node {
    fn follow(&self, link: Link) -> Following {
        self.follow_by(policy(), link)
    }

    fn follow_by(&self, policy: Policy, link: Link) -> Following {
        let follower = Follower::new(Arc::clone(&self.library), policy);
        let task = smol::spawn(follow_peer(Arc::clone(&follower), link.peer.node_id(), link.clone()));
        Following { follower, link, task }
    }

    fn mirror(&self, name: &str) -> Option<Summary> {
        self.library.collections().into_iter().find(|summary| summary.name == name)
    }

    fn is_whole(&self, name: &str, version: u64) -> bool {
        self.mirror(name)
            .is_some_and(|it| it.version == version && it.held_items == it.items && it.held_bytes == it.bytes)
    }

    /// The files of the library folder and what is in them.
    fn files(&self) -> BTreeMap<String, String> {
        let root = self.library.store().library();
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    // It may go while we look.
                    let Ok(content) = fs::read_to_string(path) else { continue };
                    files.insert(name, content);
                }
            }
        }
        files
    }
}

/// Waits until it is so; a test that waits longer than any machine needs has failed.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    block_on(async {
        for _ in 0..1500 {
            if is_so() {
                return;
            }
            smol::Timer::after(Duration::from_millis(20)).await;
        }
        panic!("it never came about: {what}");
    });
}

impl Following {
    fn violation(self) -> String {
        match block_on(async { crate::clock::within(Duration::from_secs(30), self.task).await }) {
            Some(FollowEnd::Violation { reason, is_corrupt }) => {
                let deed = self.follower.deeds().take()[&self.link.peer.node_id()];
                assert_eq!((deed.corrupt, deed.violations), (u32::from(is_corrupt), u32::from(!is_corrupt)));
                reason
            }
            end => panic!("no violation, but {end:?}"),
        }
    }

    fn stop(self) {
        drop(block_on(self.task.cancel()));
        drop(self.follower);
    }
}

fn library_of(parent: &Path, files: &[(&str, &str)]) -> std::path::PathBuf {
    folder(parent, "Books", files)
}

const LARGE: usize = 300_000;
