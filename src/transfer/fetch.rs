//! Fetching one large blob from several peers at once.

use std::{fmt, io, sync::Arc};

use futures::{AsyncRead, AsyncWrite, future::BoxFuture};

use super::{
    error::FetchError,
    exchange::{Cut, Ended, exchange},
    pace::Pace,
    places::Places,
    swarm::{Begun, Swarm},
};
use crate::{
    content::NodeId,
    store::{LibraryPath, StoreError, WriteError},
};

/// A peer that may have a blob.
pub struct Provider<'a, S> {
    /// Which node it is.
    pub node: NodeId,
    /// A stream to it, and its pace.
    pub stream: (&'a mut S, &'a mut Pace),
    /// Opens another such stream.
    pub open: &'a Open<'a, S>,
    /// It is asked for what readers wait for alone ([`Swarm::want`]), for as long as there may be more of that.
    pub is_for_readers: bool,
}

/// Opens a stream.
pub type Open<'a, S> = dyn Fn() -> BoxFuture<'a, io::Result<S>> + Sync + 'a;

/// How a fetch ended that met with no error.
#[derive(Debug)]
pub enum Fetched {
    /// All of the blob is here, and is to get its name now.
    Whole(Whole),
    /// All of the blob is here, and somebody else gives it its name, or has given.
    Elsewhere,
    /// The peer has nothing of the blob that is of use now.
    Idle {
        /// Bytes that it has; see [`wait_for_more`](super::wait_for_more).
        held_bytes: u64,
    },
}

/// A blob of which all is here, for who is to give it its name: one alone of those that fetched it.
pub struct Whole(Arc<Begun>);

impl Whole {
    /// Places it in the library. Blocks; durable when it returns.
    pub fn finish(&self, to: &LibraryPath) -> Result<(), WriteError> {
        self.0.download.finish(to)
    }
}

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Whole").field(&self.0.download.id()).finish()
    }
}

/// Fetches what is missing of a blob from one peer, beside all others that do the same. The second value says whether the stream
/// can be used for the next fetch; after errors see [`FetchError`].
///
/// `progress` hears how many bytes this peer has brought since it heard last, and how many are here: at once, and then after each
/// step. Cancelling (dropping the future) loses at most what was on its way; the stream is to be dropped then.
pub async fn fetch<S: AsyncRead + AsyncWrite + Unpin + Send>(
    swarm: &Swarm,
    provider: Provider<'_, S>,
    places: &Places,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(Fetched, bool), FetchError> {
    let begun = match swarm.begin().await {
        Err(FetchError::Store(WriteError::Store(StoreError::AlreadyHere(_)))) => return Ok((Fetched::Elsewhere, true)),
        begun => begun?,
    };
    progress(0, begun.download.verified_bytes());
    // If there are enough, no more is waited for.
    let Some(member) = begun.join(provider.node, provider.is_for_readers) else {
        return Ok((Fetched::Idle { held_bytes: u64::MAX }, true));
    };
    let (ended, member) = exchange(swarm, member, provider, places, progress).await;
    let begun = Arc::clone(member.begun());
    if member.finishes() {
        return Ok((Fetched::Whole(Whole(begun)), ended.is_ok()));
    }
    if !member.is_complete() && member.is_alone() {
        let checkpoint = smol::unblock(move || begun.download.checkpoint());
        if let Err(later) = checkpoint.await {
            log::warn!("a download that ended could not be made durable: {later}");
        }
    }
    match ended {
        Ok(_) | Err(Cut::Over) if member.is_complete() => Ok((Fetched::Elsewhere, ended.is_ok())),
        Ok(Ended { is_damaged: true }) => Err(FetchError::Damaged),
        Ok(_) | Err(Cut::Over) => Ok((Fetched::Idle { held_bytes: member.held_bytes() }, ended.is_ok())),
        Err(Cut::Failed(error)) => Err(error),
    }
}
