//! Following: keeping a mirror of what the peers have, one follower for each that is connected.
//!
//! It may use `transfer`, the catalogue of this node and plain streams. It must never know how a peer is reached, and
//! decides nothing about peers: one that breaks the rules ends its follower, which says so.
//!
//! Four things go on at a time with a peer: its heads are watched, newer versions are taken over (`sync`), and what is
//! missing is fetched on two lanes, small files in batches and large ones one by one (`lane`), so that a film does not hold
//! up a page; and what somebody reads here that is elsewhere is fetched from it before that (`reading`). The followers of all peers share what they are at: a blob comes from one peer at a time, or, if it is large, from
//! all that have some of it (`swarms`).

mod claims;
mod deeds;
mod lane;
mod large;
mod load;
mod policy;
mod progress;
mod reading;
mod reads;
mod scan;
mod small;
mod swarms;
mod sync;

pub use deeds::{Deed, Deeds};
pub use policy::{Only, Policy, Wish, Wishes};
pub use reading::{Reading, ReadingError};
pub use reads::Whose;

use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Instant,
};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use smol::{
    channel::{Receiver, Sender, bounded},
    future::or,
    lock::Semaphore,
};

use self::{
    claims::{Claims, Names},
    load::Lane,
    progress::{Notices, Transfers},
    reads::{Connected, Reads},
    swarms::Swarms,
};
use super::Library;
use crate::{
    content::{CollectionKey, ContentId, NodeId},
    limits::{
        self,
        follow::{LARGE_PLACES, SMALL_LANES},
    },
    status::{Notice, TransferStatus},
    transfer::{Limiter, Places},
    wire::{
        catalogue::{self, Head, Reply, Request, Watch},
        read_frame, write_frame,
    },
};

/// What all followers of a node share.
pub struct Follower {
    library: Arc<Library>,
    policy: RwLock<Arc<Policy>>,
    /// Blobs that are being fetched.
    blobs: Claims<ContentId>,
    /// Where they shall stand.
    names: Names,
    /// Collections whose newer version is being fetched.
    collections: Claims<CollectionKey>,
    swarms: Swarms,
    /// Who is connected, and what is read from them.
    reads: Arc<Reads>,
    /// Places for those that fetch small blobs, and large ones: they bound the memory that peers together can fill.
    small_lanes: Arc<Semaphore>,
    large_lanes: Places,
    transfers: Transfers,
    notices: Notices,
    deeds: Deeds,
    limiter: Limiter,
}

/// Opens streams to a peer.
pub trait Connect: Send + Sync {
    /// A stream; dropping it ends it.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Opens a stream of this protocol to the peer.
    fn open(&self, peer: NodeId, protocol: &'static str) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Why following a peer came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowEnd {
    /// The connection ended, or the peer does not speak our protocols.
    Gone { reason: String },
    /// The peer broke the rules: nothing it sent in doing so was kept. That it did is among the [`Deeds`], for whoever decides
    /// what becomes of it. `is_corrupt`: it sent bytes that are not those of the blob, as a rotten disk may have them.
    Violation { reason: String, is_corrupt: bool },
}

impl Follower {
    /// The follower of a node.
    pub fn new(library: Arc<Library>, policy: Policy) -> Arc<Self> {
        let policy = Arc::new(policy);
        tell_of(&library, &policy);
        Arc::new(Self {
            library,
            policy: RwLock::new(policy),
            blobs: Claims::default(),
            names: Names::default(),
            swarms: Swarms::default(),
            reads: Arc::default(),
            collections: Claims::default(),
            small_lanes: Arc::new(Semaphore::new(SMALL_LANES)),
            large_lanes: Places::new(LARGE_PLACES),
            transfers: Transfers::default(),
            notices: Notices::default(),
            deeds: Deeds::default(),
            limiter: Limiter::default(),
        })
    }

    /// What is mirrored.
    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Mirrors by another policy from now on. Peers that are followed already are to be followed anew.
    pub fn set_policy(&self, policy: Policy) {
        let policy = Arc::new(policy);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&policy);
        tell_of(&self.library, &policy);
    }

    /// Whether a version of a collection that somebody has may be wanted here: of a collection that is not known yet, the name
    /// isn't either.
    pub fn may_want(&self, key: &CollectionKey, version: u64) -> bool {
        let policy = self.policy();
        match self.library.summary(key) {
            Some(summary) => version > summary.version && policy.wants(key, &summary.name),
            None => policy.may_want(key),
        }
    }

    /// Every transfer under way.
    pub fn transfers(&self, now: Instant) -> Vec<TransferStatus> {
        self.transfers.status(now, |key| self.library.summary(key))
    }

    /// What peers did.
    pub fn deeds(&self) -> &Deeds {
        &self.deeds
    }

    /// What bounds the rate of all that is fetched.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// What the owner of the node should know or do.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.list()
    }
}

/// Other nodes are told of what is mirrored, and not of what is only known.
fn tell_of(library: &Library, policy: &Arc<Policy>) {
    let policy = Arc::clone(policy);
    library.set_mirrored(move |key, name| policy.mirrors(key, name));
}

impl FollowEnd {
    fn violation(reason: impl Into<String>) -> Self {
        Self::Violation { reason: reason.into(), is_corrupt: false }
    }
}

/// One peer, as the parts that follow it see it.
struct Peer<C> {
    node: NodeId,
    connect: C,
    /// What it said last that it has.
    heads: Mutex<Vec<Head>>,
    /// The same, for those who read.
    connected: Connected,
}

impl<C> Peer<C> {
    fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Follows one peer until it is gone or misbehaves. Dropping the future stops it at once; what was fetched is kept, by tasks that
/// end by themselves.
pub async fn follow_peer<C: Connect>(follower: Arc<Follower>, peer: NodeId, connect: C) -> FollowEnd {
    let connected = Reads::connect(&follower.reads, peer);
    let peer = Peer { node: peer, connect, heads: Mutex::default(), connected };
    let wakers: [(Sender<()>, Receiver<()>); 3] = std::array::from_fn(|_| bounded(1));
    let [sync_wake, small_wake, large_wake] = wakers.each_ref().map(|(_, receiver)| receiver.clone());
    let wake_all = || wakers.iter().for_each(|(sender, _)| _ = sender.try_send(()));
    let lanes =
        or(lane::run(&follower, &peer, Lane::Small, small_wake), lane::run(&follower, &peer, Lane::Large, large_wake));
    let lanes = or(reading::run(&follower, &peer), lanes);
    let end = or(watch(&peer, wake_all), or(sync::run(&follower, &peer, sync_wake), lanes)).await;
    if let FollowEnd::Violation { reason, is_corrupt } = &end {
        match is_corrupt {
            true => follower.deeds.corrupt(peer.node),
            false => follower.deeds.violation(peer.node),
        }
        log::warn!("peer {} broke the rules: {reason}", peer.node);
    }
    end
}

/// Keeps the peer's heads up to date until its stream ends.
async fn watch<C: Connect>(peer: &Peer<C>, wake: impl Fn()) -> FollowEnd {
    let gone = |reason: String| FollowEnd::Gone { reason };
    let mut stream = match peer.connect.open(peer.node, catalogue::PROTOCOL).await {
        Ok(stream) => stream,
        Err(error) => return gone(error.to_string()),
    };
    let request = Request::Watch(Watch {}).to_frame();
    if let Err(error) = async {
        write_frame(&mut stream, request.kind, &request.body).await?;
        stream.flush().await
    }
    .await
    {
        return gone(error.to_string());
    }
    loop {
        let frame = match read_frame(&mut stream, limits::wire::FRAME_BYTES).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return gone("it ended the stream".into()),
            Err(error) if error.is_violation() => return FollowEnd::violation(error.to_string()),
            Err(error) => return gone(error.to_string()),
        };
        if frame.kind == crate::wire::KIND_ERROR {
            return gone("it does not let us watch its catalogue".into());
        }
        match Reply::from_frame(frame) {
            Ok(Reply::Heads(heads)) => {
                peer.connected.lists(heads.heads.iter().map(|head| head.collection).collect());
                *peer.heads.lock().unwrap_or_else(PoisonError::into_inner) = heads.heads;
                wake();
            }
            Ok(_) => return FollowEnd::violation("an answer that nobody asked for"),
            Err(error) => return FollowEnd::violation(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
