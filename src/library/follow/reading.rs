//! Reading what is elsewhere, or only half here, while it arrives: from the best connected peers that have it, from where the
//! reader is, and no more than he wants. Each byte is verified before he gets it; what arrived is kept, see `cache`.

use std::{future, ops::Range, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use smol::future::or;
use thiserror::Error;

use super::{
    Connect, FollowEnd, Follower, Peer,
    reads::{Full, Joined, Reads, Seat, Whose},
};
use crate::{
    clock,
    content::{CollectionKey, ContentId, NodeId},
    library::{Item, Library, LibraryError, Summary, wait::with},
    limits::follow::{
        READ_LOOK_MS, READ_PATIENCE_MS, READ_RETRY_MS, READ_RETURN_MS, READS, RETRY_MAX_MS, RETRY_MIN_MS,
    },
    store::{Blob, BlobState, ReadError, StoreError, WriteError},
    transfer::{FetchError, Fetched, Pace, Provider, Violation, Whole, fetch},
    wire::blob,
};

/// Why something that is elsewhere can't be read, or not to its end. Another time it may.
#[derive(Debug, Error)]
pub enum ReadingError {
    /// Nobody who is connected has it.
    #[error("none of the {connected} connected nodes has it now; it comes back when one that has it is on")]
    Nobody { connected: usize },
    /// Nobody sends it.
    #[error("the nodes that have it do not send it now; try again later")]
    Slow,
    /// Too much is read at a time.
    #[error("{READS} files are being read from other nodes already; try again in a few seconds")]
    Busy,
    /// It would not fit.
    #[error(
        "there is no room here for a file of {bytes} bytes that is on another node (mirror.cache, mirror.quota, mirror.reserve)"
    )]
    NoRoom { bytes: u64 },
    /// Nothing is read that is elsewhere.
    #[error("it is not here, and what is on other nodes is not read here (mirror.cache)")]
    Off,
    /// The owner does not want it.
    #[error("it was removed from this node by its owner")]
    Unwanted,
    /// The collections.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came can't be kept.
    #[error(transparent)]
    Fetch(FetchError),
    /// What is here can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Full> for ReadingError {
    fn from(_: Full) -> Self {
        Self::Busy
    }
}

/// A blob that is read while it arrives. Dropping it ends the fetching of what nobody else wants.
pub struct Reading {
    follower: Arc<Follower>,
    blob: Option<Blob>,
    /// None if all of it was here.
    seat: Option<Seat>,
    /// Where the reader ends.
    end: u64,
    /// Whether he has got anything.
    has_begun: bool,
}

/// See [`READ_RETURN_MS`]; tests of those that do not come back don't wait that long.
const RETURN: Duration = Duration::from_millis(if cfg!(test) { 500 } else { READ_RETURN_MS });

impl Follower {
    /// Whether an item of this collection that is not here can probably be read: somebody who lists it is connected.
    pub fn is_in_reach(&self, key: &CollectionKey) -> bool {
        let is_on = self.policy().cache_bytes > 0 && !self.library.store().is_library_away();
        is_on && !self.reads.listing(key).is_empty()
    }

    /// Whether this collection is mirrored here.
    pub fn mirrors(&self, summary: &Summary) -> bool {
        !summary.mine && self.policy().mirrors(&summary.key, &summary.name)
    }

    /// How many peers are connected.
    pub fn connected(&self) -> usize {
        self.reads.connected()
    }

    /// How many files are read that come from elsewhere.
    pub fn reads(&self) -> usize {
        self.reads.count()
    }

    /// Asks this, once and for all, how good the connection with a peer is: more is better.
    pub fn set_quality(&self, quality: impl Fn(&NodeId) -> u32 + Send + Sync + 'static) {
        self.reads.set_quality(Box::new(quality));
    }

    /// Begins to read this range of an item, wherever it is.
    pub async fn read(
        self: &Arc<Self>,
        key: &CollectionKey,
        item: &Item,
        range: Range<u64>,
        whose: Whose,
    ) -> Result<Reading, ReadingError> {
        let (id, wanted, end) = (item.id, range.clone(), range.end);
        let here = with(&self.library, move |library| here(library, &id, &wanted)).await?;
        let (seat, blob) = match here {
            Some(blob) => (None, blob),
            None => {
                let seat = self.seat(key, item, range, whose).await?;
                let blob = match seat.as_ref().and_then(|seat| seat.read.swarm.blob()) {
                    Some(blob) => blob?,
                    None => with(&self.library, move |library| library.store().blob(&id)).await?,
                };
                (seat, blob)
            }
        };
        Ok(Reading { follower: Arc::clone(self), blob: Some(blob), seat, end, has_begun: false })
    }

    /// A seat among the readers of a blob whose download has begun; none if it is here by now.
    async fn seat(
        &self,
        key: &CollectionKey,
        item: &Item,
        range: Range<u64>,
        whose: Whose,
    ) -> Result<Option<Seat>, ReadingError> {
        if self.policy().cache_bytes == 0 {
            return Err(ReadingError::Off);
        }
        let (owned, path) = (*key, item.path.clone());
        if with(&self.library, move |library| Ok::<_, LibraryError>(library.notes(&owned)?.is_unwanted(&path))).await? {
            return Err(ReadingError::Unwanted);
        }
        let give_up = clock::now() + Duration::from_millis(READ_PATIENCE_MS);
        while clock::now() < give_up {
            if let Some(found) = self.try_seat(key, item, &range, whose).await? {
                return Ok(found);
            }
            let id = item.id;
            if with(&self.library, move |library| library.is_held(&id)).await? {
                return Ok(None);
            }
            smol::Timer::after(Duration::from_millis(READ_LOOK_MS)).await;
        }
        Err(ReadingError::Slow)
    }

    /// The same; none if somebody is at the blob in another way, for a moment.
    async fn try_seat(
        &self,
        key: &CollectionKey,
        item: &Item,
        range: &Range<u64>,
        whose: Whose,
    ) -> Result<Option<Option<Seat>>, ReadingError> {
        let _opening = self.reads.opening.lock().await;
        if let Some(seat) = Reads::seat(&self.reads, &item.id, range, whose)? {
            return Ok(Some(Some(seat)));
        }
        if self.reads.listing(key).is_empty() {
            return Err(ReadingError::Nobody { connected: self.connected() });
        }
        let swarm = self.join_reading(item.id, item.size).filter(|swarm| swarm.size() == item.size);
        let Some(swarm) = swarm else { return Ok(None) };
        self.make_room(item).await?;
        match swarm.open().await {
            Ok(()) => {
                let seat = Reads::open(&self.reads, *key, swarm, range)?;
                Ok(Some(Some(seat)))
            }
            Err(FetchError::Store(WriteError::Store(StoreError::AlreadyHere(_)))) => Ok(Some(None)),
            // One that has ended may still be at its last piece.
            Err(FetchError::Store(WriteError::Store(StoreError::Busy(_)))) => Ok(None),
            Err(FetchError::NoSpace(_)) => Err(ReadingError::NoRoom { bytes: item.size }),
            Err(error) => Err(ReadingError::Fetch(error)),
        }
    }

    /// Makes room for what is not here at all, and notes that it comes for readers alone.
    async fn make_room(&self, item: &Item) -> Result<(), ReadingError> {
        let (id, bytes, cache_bytes) = (item.id, item.size, self.policy().cache_bytes);
        let has_room = with(&self.library, move |library| -> Result<bool, LibraryError> {
            let store = library.store();
            let is_begun = matches!(store.info(&id)?.map(|info| info.state), Some(BlobState::Partial { .. }));
            if is_begun && !store.is_marked_read(&id) {
                return Ok(true);
            }
            if !library.make_cache_room(&id, bytes, cache_bytes)? {
                return Ok(false);
            }
            store.mark_read(&id)?;
            Ok(true)
        });
        if has_room.await? { Ok(()) } else { Err(ReadingError::NoRoom { bytes }) }
    }
}

/// The blob, if all of this range is here.
fn here(library: &Library, id: &ContentId, range: &Range<u64>) -> Result<Option<Blob>, ReadingError> {
    let store = library.store();
    match store.info(id)?.map(|info| info.state) {
        None | Some(BlobState::Unavailable(_)) => return Ok(None),
        Some(BlobState::Partial { .. }) if store.is_marked_read(id) => store.mark_read(id)?,
        Some(BlobState::Partial { .. } | BlobState::Complete) => {}
    }
    // It may go, or get its name, in this moment.
    Ok(store.blob(id).ok().filter(|blob| blob.has(range)))
}

impl Reading {
    /// Verified bytes of a range within that which was asked for, of at most [`DATA_BYTES`](crate::limits::wire::DATA_BYTES),
    /// as soon as they are here.
    pub async fn bytes(&mut self, range: Range<u64>) -> Result<Vec<u8>, ReadingError> {
        self.wait_for(&range).await?;
        // Gone only if an earlier call was dropped.
        let mut blob = self.blob.take().ok_or(ReadingError::Slow)?;
        let (blob, bytes) = smol::unblock(move || {
            let bytes = blob.read(range);
            (blob, bytes)
        })
        .await;
        self.blob = Some(blob);
        self.has_begun = true;
        Ok(bytes?)
    }

    async fn wait_for(&self, range: &Range<u64>) -> Result<(), ReadingError> {
        let Some((seat, blob)) = self.seat.as_ref().zip(self.blob.as_ref()) else { return Ok(()) };
        seat.want(range.start..self.end);
        let since = clock::now();
        let mut has_asked_again = false;
        loop {
            let (news, changed) = (self.follower.library.store().news(), seat.read.changed());
            if blob.has(range) {
                return Ok(());
            }
            let is_hopeless = seat.is_hopeless();
            if is_hopeless && !has_asked_again {
                has_asked_again = true;
                seat.ask_again();
                continue;
            }
            let patience = match is_hopeless {
                false => Duration::from_millis(READ_PATIENCE_MS),
                // Whoever sent the beginning may be back in a moment.
                true if self.has_begun => RETURN,
                true => Duration::ZERO,
            };
            let left = patience.saturating_sub(clock::now() - since);
            if clock::within(left, or(news, changed)).await.is_none() {
                let connected = self.follower.connected();
                return Err(if is_hopeless { ReadingError::Nobody { connected } } else { ReadingError::Slow });
            }
        }
    }
}

/// Fetches from a peer what is read, whenever it lists it and is among the best.
pub(super) async fn run<C: Connect>(follower: &Arc<Follower>, peer: &Peer<C>) -> FollowEnd {
    let mut fetching = FuturesUnordered::new();
    loop {
        let changed = follower.reads.changed();
        while let Some(joined) = Reads::take_for(&follower.reads, peer.node) {
            fetching.push(fetch_for(follower, peer, joined));
        }
        let ended = async {
            match fetching.next().await {
                Some(ended) => ended,
                None => future::pending().await,
            }
        };
        let news = async {
            changed.await;
            Ok(())
        };
        if let Err(Violated(violation)) = or(news, ended).await {
            let is_corrupt = matches!(violation, Violation::WrongBytes);
            return FollowEnd::Violation { reason: violation.to_string(), is_corrupt };
        }
    }
}

/// The peer broke the rules.
struct Violated(Violation);

async fn fetch_for<C: Connect>(follower: &Arc<Follower>, peer: &Peer<C>, joined: Joined) -> Result<(), Violated> {
    let read = Arc::clone(&joined.read);
    let fetched = async { Some(fetch_from(follower, peer, &joined).await) };
    let over = async {
        read.over().await;
        None
    };
    let pause_ms = match or(fetched, over).await {
        None => return Ok(()),
        Some(Ok(Fetched::Whole(whole))) => {
            keep(follower, &joined, whole).await;
            return Ok(());
        }
        // Another brought the last of it.
        Some(Ok(Fetched::Elsewhere)) => READ_RETRY_MS,
        // It sends the blob to a mirror here, whose plan knows what readers want.
        Some(Ok(Fetched::Idle { held_bytes: u64::MAX })) => RETRY_MIN_MS,
        Some(Ok(Fetched::Idle { .. })) => {
            joined.lacks();
            return Ok(());
        }
        Some(Err(FetchError::Violation(violation))) => return Err(Violated(violation)),
        Some(Err(FetchError::Busy { retry_ms })) => {
            joined.rests();
            u64::from(retry_ms).clamp(RETRY_MIN_MS, RETRY_MAX_MS)
        }
        Some(Err(FetchError::Io(error))) => {
            log::info!("reading from peer {}: {error}", peer.node);
            joined.rests();
            READ_RETRY_MS
        }
        Some(Err(error)) => {
            if matches!(error, FetchError::TooSlow) {
                follower.deeds.timeout(peer.node);
            }
            log::info!("reading from peer {}: {error}", peer.node);
            joined.lacks();
            return Ok(());
        }
    };
    let pause = async { _ = smol::Timer::after(Duration::from_millis(pause_ms)).await };
    or(pause, read.over()).await;
    Ok(())
}

async fn fetch_from<C: Connect>(
    follower: &Arc<Follower>,
    peer: &Peer<C>,
    joined: &Joined,
) -> Result<Fetched, FetchError> {
    let swarm = &joined.read.swarm;
    let mut stream = peer.connect.open(peer.node, blob::PROTOCOL).await.map_err(FetchError::Io)?;
    let open = move || peer.connect.open(peer.node, blob::PROTOCOL).boxed();
    let stream = (&mut stream, &mut Pace::default());
    let provider = Provider { node: peer.node, stream, open: &open, is_for_readers: true };
    let mut progress = |new_bytes: u64, _| follower.deeds.verified(peer.node, new_bytes);
    fetch(swarm, provider, &follower.large_lanes, &mut progress).await.map(|(fetched, _)| fetched)
}

/// All of it is here: it counts as held, and a mirror gives it the name that it has there.
async fn keep(follower: &Arc<Follower>, joined: &Joined, whole: Whole) {
    let (key, to) = (joined.read.key, follower.library.store().cache_path(&joined.read.swarm.id()));
    if let Err(error) = smol::unblock(move || whole.finish(&to)).await {
        log::warn!("keeping what was read: {error}");
        joined.lacks();
    } else if let Err(error) = with(&follower.library, move |library| library.recount(&key)).await {
        log::warn!("counting what is here: {error}");
    }
}
