//! Fetching what is small, many blobs in one go: while one arrives, the last ones of the go before are written, and what comes next
//! is looked for.

use std::{iter, mem, sync::Arc};

use futures::future::join;
use smol::{Task, lock::SemaphoreGuardArc};

use super::{
    Connect,
    lane::{Looked, Runner, Stop, put_in_order},
    progress::Handle,
    scan::{Ahead, Want},
};
use crate::{
    clock,
    content::ContentId,
    library::{Library, Summary},
    limits::follow::SMALL_WANT_BYTES,
    store::StoreError,
    tasks::{self, Lasting},
    transfer::{FetchError, SmallOutcome, SmallWant, SmallWritten, fetch_small},
};

/// A want here and as it is asked for, its claims and its id ahead of the next scan, and what becomes of it. Trees and rows that
/// grow have room for as much again.
const _: () = {
    let want = 2 * size_of::<Want>() + size_of::<SmallWant>();
    let claims = 2 * (2 * size_of::<ContentId>() + size_of::<(u64, (u64, usize))>());
    assert!(want + claims + size_of::<SmallOutcome>() <= SMALL_WANT_BYTES);
};

/// Blobs of one go that are arriving, or have and may still be being written.
pub(super) struct Go {
    ahead: Ahead,
    ended: Lasting<Ended>,
}

/// What the next go brings, which is being looked for.
pub(super) struct Next {
    pub place: SemaphoreGuardArc,
    pub looked: Task<Looked>,
}

/// What came of a go.
struct Ended {
    outcomes: Vec<SmallOutcome>,
    written: Result<(), StoreError>,
    in_order: Result<(), Stop>,
}

impl<C: Connect> Runner<'_, C> {
    /// A place for the next go: beside that of the one before where none else needs it.
    pub(super) async fn small_place(&mut self) -> Result<SemaphoreGuardArc, Stop> {
        let lanes = &self.follower.small_lanes;
        if let Some(place) = lanes.try_acquire_arc() {
            return Ok(place);
        }
        self.end_go().await?;
        Ok(lanes.acquire_arc().await)
    }

    /// What is under way, for the one scan that follows.
    pub(super) fn ahead(&mut self) -> Ahead {
        self.go.as_mut().map(|go| mem::take(&mut go.ahead)).unwrap_or_default()
    }

    pub(super) async fn fetch_small(
        &mut self,
        summary: Summary,
        wants: Vec<Want>,
        handle: &Arc<Handle>,
        place: SemaphoreGuardArc,
    ) -> Result<(), Stop> {
        if let Some(want) = wants.first() {
            handle.item(want.item.label());
        }
        let small = wants.iter().map(|want| SmallWant { id: want.item.id, size: want.item.size, to: want.to.clone() });
        let small = small.collect();
        let (mut stream, mut pace) = self.stream().await?;
        let (handle, follower, node) = (Arc::clone(handle), Arc::clone(self.follower), self.peer.node);
        let mut told = 0;
        let progress = move |kept: u64| {
            let bytes = kept.saturating_sub(mem::replace(&mut told, kept));
            handle.arrived(clock::now(), bytes);
            follower.deeds.verified(node, bytes);
        };
        let library = Arc::clone(&self.follower.library);
        let (receiving, writing) = fetch_small((&mut stream, &mut pace), library.store(), small, progress);
        let ahead = Ahead::of(&summary, &wants);
        let keeping = async move {
            let ended = keep(&library, &summary, wants, writing).await;
            // The bytes took memory until now.
            drop(place);
            ended
        };
        let go = Go { ahead, ended: tasks::spawn_lasting(keeping) };
        let (received, ended) = join(receiving, self.begin_go(go)).await;
        ended?;
        if matches!(received, Ok(()) | Err(FetchError::Busy { .. })) {
            self.stream = Some((stream, pace));
        }
        if let Err(error) = received {
            self.end_go().await?;
            self.failed(error)?;
        }
        Ok(())
    }

    /// Once all of the go before is written, looks for what comes after this one, if nobody else needs the place.
    async fn begin_go(&mut self, go: Go) -> Result<(), Stop> {
        let ended = self.end_go().await;
        self.go = Some(go);
        ended?;
        if let Some(place) = self.follower.small_lanes.try_acquire_arc() {
            self.next = Some(Next { place, looked: self.look() });
        }
        Ok(())
    }

    /// Waits until all is written that has arrived.
    pub(super) async fn end_go(&mut self) -> Result<(), Stop> {
        let Some(Go { ended, .. }) = self.go.take() else { return Ok(()) };
        let Ended { outcomes, written, in_order } = ended.await;
        let mut stop = Ok(());
        for outcome in outcomes {
            match outcome {
                Ok(()) => self.kept = true,
                Err(error) => stop = stop.and(self.failed(error)),
            }
        }
        if let Err(error) = written {
            // Of what was still to come the stream is full.
            stop = stop.and(self.failed(error.into())).and(Err(Stop::Stream));
        }
        stop.and(in_order)
    }
}

/// Until what came of a go is written, and in order. What keeps others from the same is held until then.
async fn keep(
    library: &Arc<Library>,
    summary: &Summary,
    wants: Vec<Want>,
    writing: impl Future<Output = SmallWritten>,
) -> Ended {
    let (outcomes, written) = writing.await;
    let are_whole = outcomes.iter().map(Result::is_ok).chain(iter::repeat(false));
    let came = wants.into_iter().zip(are_whole).map(|(want, is_whole)| ((want.item, is_whole), (want.hold, want.name)));
    let (came, held): (Vec<_>, Vec<_>) = came.unzip();
    let in_order = put_in_order(library, summary, came).await;
    drop(held);
    Ended { outcomes, written, in_order }
}
