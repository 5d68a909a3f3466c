//! Fetching what is small, many blobs in one go: while the last of them are written, the next go is on its way.

use std::{mem, sync::Arc};

use smol::{Task, lock::SemaphoreGuard};

use super::{
    Connect,
    claims::Name,
    lane::{Runner, Stop},
    progress::Handle,
    scan::{Ahead, Want},
};
use crate::{
    clock,
    content::ContentId,
    library::{Item, Summary},
    limits::follow::SMALL_WANT_BYTES,
    transfer::{FetchError, SmallFetch, SmallOutcome, SmallWant, SmallWritten, fetch_small},
};

/// A want here and as it is asked for, its claims and its id ahead of the next scan, and what becomes of it. Trees and rows that
/// grow have room for as much again.
const _: () = {
    let want = 2 * size_of::<Want>() + size_of::<SmallWant>();
    let claims = 2 * (2 * size_of::<ContentId>() + size_of::<(u64, (u64, usize))>());
    // Shared, behind two counts.
    let name = size_of::<Name>() + 2 * size_of::<usize>();
    assert!(want + claims + name + size_of::<SmallOutcome>() <= SMALL_WANT_BYTES);
};

/// Blobs of one go that have arrived. Some are still being written.
pub(super) struct Go<'a> {
    summary: Summary,
    wants: Vec<Want>,
    written: Task<SmallWritten>,
    /// Their bytes take memory until then.
    place: SemaphoreGuard<'a>,
}

impl<'a, C: Connect> Runner<'a, C> {
    /// A place for the next go: beside that of the one before where none else needs it.
    pub(super) async fn small_place(&mut self) -> Result<SemaphoreGuard<'a>, Stop> {
        let follower = self.follower;
        if let Some(place) = follower.small_lanes.try_acquire() {
            return Ok(place);
        }
        self.end_go().await?;
        Ok(follower.small_lanes.acquire().await)
    }

    /// What is still being written.
    pub(super) fn ahead(&self) -> Ahead {
        self.go.as_ref().map_or_else(Ahead::default, |go| Ahead::of(&go.summary, &go.wants))
    }

    pub(super) async fn fetch_small(
        &mut self,
        summary: Summary,
        wants: Vec<Want>,
        handle: &Arc<Handle>,
        place: SemaphoreGuard<'a>,
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
        let store = self.follower.library.store();
        let SmallFetch { received, written } = fetch_small((&mut stream, &mut pace), store, small, progress).await;
        let ended = self.end_go().await;
        self.go = Some(Go { summary, wants, written, place });
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

    /// Waits until all is written that has arrived.
    pub(super) async fn end_go(&mut self) -> Result<(), Stop> {
        let Some(Go { summary, wants, written, place }) = self.go.take() else { return Ok(()) };
        let (outcomes, written) = written.await;
        let mut stop = Ok(());
        for (want, outcome) in wants.iter().zip(outcomes) {
            match outcome {
                Ok(()) => self.kept(&summary.key, &want.item),
                Err(error) => stop = stop.and(self.failed(error)),
            }
        }
        if let Err(error) = written {
            // Of what was still to come the stream is full.
            stop = stop.and(self.failed(error.into())).and(Err(Stop::Stream));
        }
        let (items, names): (Vec<Item>, Vec<Arc<Name>>) = wants.into_iter().map(|want| (want.item, want.name)).unzip();
        self.drop_unlisted(&summary, items).await?;
        drop((names, place));
        stop
    }
}
