//! Fetching what is missing from one peer.

use std::{
    collections::{BTreeMap, BTreeSet},
    future, mem,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use smol::{Task, channel::Receiver};

use super::{
    Connect, FollowEnd, Follower, Peer,
    load::Lane,
    progress::Handle,
    scan::{Cursor, Found, Full, Want, make_way, scan, settle},
    small::{Go, Next},
};
use crate::{
    clock,
    content::{CollectionKey, ContentId},
    library::{Item, Library, LibraryError, Summary, wait::with},
    limits::follow::{NO_SPACE_RETRY_MS, RESCAN_MS, RETRY_MAX_MS, RETRY_MIN_MS, SLOW_PAUSE_MS},
    status::NoticeLevel,
    store::{StoreError, WriteError},
    transfer::{FetchError, Pace, Priority, Violation, wait_for_more},
    wire::blob,
};

/// Why a pass stopped early.
pub(super) enum Stop {
    /// The peer broke the rules.
    Violation(Violation),
    /// Try again after so long.
    After(Duration),
    /// The stream is of no more use; try again after the usual pause.
    Stream,
    /// The peer is too slow: let others send what it has.
    Slow,
}

/// Fetches whatever is missing, whenever the peer's heads or the collections here change.
pub(super) async fn run<C: Connect>(
    follower: &Arc<Follower>,
    peer: &Peer<C>,
    lane: Lane,
    wake: Receiver<()>,
) -> FollowEnd {
    let mut changes = follower.library.subscribe();
    let done = BTreeMap::new();
    let mut runner = Runner {
        follower,
        peer,
        lane,
        stream: None,
        cursor: Cursor::default(),
        go: None,
        next: None,
        priority: Priority::Normal,
        kept: false,
        again: false,
        full: None,
        unkept: None,
        idle: None,
        handle: None,
        marked: BTreeSet::new(),
        done,
    };
    let (mut pause, mut first) = (None, true);
    loop {
        let news = smol::future::or(async { _ = wake.recv().await }, changes.changed());
        let news = smol::future::or(news, more(peer, runner.idle));
        let woken = clock::within(pause.unwrap_or(Duration::from_millis(RESCAN_MS)), news).await.is_some();
        if !woken && pause.is_none() {
            // Files may have been found damaged meanwhile.
            runner.done.clear();
        }
        (runner.kept, runner.again, runner.full, runner.unkept, runner.idle) = (false, false, None, None, None);
        let states = runner.states();
        let keys = Vec::from_iter(states.keys().copied());
        let stop = runner.pass(keys.clone()).await;
        if stop.is_ok() && !runner.again {
            runner.unmark().await;
        }
        runner.handle = None;
        runner.tell(stop.is_ok());
        if runner.kept || (first && !keys.is_empty()) {
            first = false;
            runner.settle(keys).await;
        }
        if stop.is_ok() && !runner.again && !runner.kept {
            // What changed meanwhile is looked at again.
            let now = runner.states();
            runner.done.extend(states.into_iter().filter(|(key, state)| now.get(key) == Some(state)));
        }
        let longer = pause
            .filter(|_| !woken && !runner.kept)
            .map_or(RETRY_MIN_MS, |pause: Duration| (2 * pause.as_millis() as u64).min(RETRY_MAX_MS));
        pause = match stop {
            Ok(()) if runner.full.is_some() => Some(Duration::from_millis(NO_SPACE_RETRY_MS)),
            Ok(()) if runner.again => Some(Duration::from_millis(longer)),
            Ok(()) => None,
            Err(Stop::After(pause)) => Some(pause),
            Err(Stop::Stream) => {
                runner.stream = None;
                Some(Duration::from_millis(longer))
            }
            Err(Stop::Slow) => {
                runner.stream = None;
                // No news wakes it from this.
                smol::Timer::after(Duration::from_millis(SLOW_PAUSE_MS)).await;
                Some(Duration::ZERO)
            }
            Err(Stop::Violation(violation)) => {
                let is_corrupt = matches!(violation, Violation::WrongBytes);
                return FollowEnd::Violation { reason: violation.to_string(), is_corrupt };
            }
        };
    }
}

/// Waits until the peer has more of what it had nothing to offer of.
async fn more<C: Connect>(peer: &Peer<C>, idle: Option<(ContentId, u64)>) {
    let Some((id, held_bytes)) = idle else { return future::pending().await };
    let open = move || peer.connect.open(peer.node, blob::PROTOCOL).boxed();
    wait_for_more(&open, id, held_bytes).await;
}

/// Version and items held of a collection, and how often files were looked for that turned out to be bad.
type Seen = (u64, u64, u64);

/// Counts what came for a version. One may have come meanwhile that does not list it.
pub(super) async fn put_in_order(
    library: &Arc<Library>,
    summary: &Summary,
    came: Vec<(Item, bool)>,
) -> Result<(), Stop> {
    let (key, version) = (summary.key, summary.version);
    let done = with(library, move |library| library.put_in_order(&key, version, &came)).await;
    done.map_err(|error| not_now("putting in order what came", &error))
}

/// What a scan found, and how far it has come.
pub(super) type Looked = (Result<Found, LibraryError>, Cursor);

/// What the library could not do is tried again later.
fn not_now(what: &str, error: &LibraryError) -> Stop {
    log::warn!("{what}: {error}");
    Stop::After(Duration::from_millis(RETRY_MAX_MS))
}

pub(super) struct Runner<'a, C: Connect> {
    pub(super) follower: &'a Arc<Follower>,
    pub(super) peer: &'a Peer<C>,
    lane: Lane,
    pub(super) stream: Option<(C::Stream, Pace)>,
    /// How far this pass has come: who looks on takes it along.
    cursor: Cursor,
    /// Small blobs that are arriving, or have and may still be being written.
    pub(super) go: Option<Go>,
    /// What comes after them, if it is being looked for already.
    pub(super) next: Option<Next>,
    /// Of what is being fetched.
    priority: Priority,
    /// Whether this pass kept anything, or gave what was here a name.
    pub(super) kept: bool,
    /// Whether this pass left something out that the peer may have later.
    pub(super) again: bool,
    /// Why this pass left something out for want of room.
    full: Option<Full>,
    /// Why something that came in this pass could not be kept.
    unkept: Option<String>,
    /// The first blob of which the peer had nothing that was of use in this pass, and how many bytes it had.
    pub(super) idle: Option<(ContentId, u64)>,
    /// Collections that are noted as having files come: until a pass left nothing out.
    marked: BTreeSet<CollectionKey>,
    /// The transfer that people are shown.
    handle: Option<(CollectionKey, Arc<Handle>)>,
    /// Collections where nothing was left to be done, and how they were then.
    done: BTreeMap<CollectionKey, Seen>,
}

impl<C: Connect> Runner<'_, C> {
    /// The collections that the peer has and where something may be missing. Of this node's own,
    /// what rotted here is fetched from whoever mirrors it.
    fn states(&self) -> BTreeMap<CollectionKey, Seen> {
        let (library, policy) = (&self.follower.library, self.follower.policy());
        let (heads, rescans) = (self.peer.heads(), library.rescans());
        // Once a file is here again and another is bad, as many are held as before.
        let seen = |it: &Summary| (it.version, it.held_items, if it.held_items < it.items { rescans } else { 0 });
        let is_wanted = |it: &Summary| if it.mine { it.held_items < it.items } else { policy.wants(&it.key, &it.name) };
        let all = library.collections().into_iter().filter(|it| {
            is_wanted(it)
                && self.done.get(&it.key) != Some(&seen(it))
                && heads.iter().any(|head| head.collection == it.key)
        });
        all.map(|it| (it.key, seen(&it))).collect()
    }

    /// Once over everything.
    async fn pass(&mut self, keys: Vec<CollectionKey>) -> Result<(), Stop> {
        self.cursor = Cursor::new(keys);
        let passed = self.pass_over().await;
        // What has arrived is kept, however the pass ended; and what was just looked for is free again for the next.
        let ended = self.end_go().await;
        if let Some(Next { looked, .. }) = self.next.take() {
            self.note(&looked.await.0.unwrap_or_default());
        }
        ended.and(passed)
    }

    async fn pass_over(&mut self) -> Result<(), Stop> {
        let (mut is_second, mut has_twice) = (false, false);
        loop {
            let (place, (found, cursor)) = match self.next.take() {
                Some(Next { place, looked }) => (Some(place), looked.await),
                None => {
                    // Before it is known what is wanted, which takes memory.
                    let place = match self.lane {
                        Lane::Small => Some(self.small_place().await?),
                        Lane::Large => None,
                    };
                    (place, self.look().await)
                }
            };
            self.cursor = cursor;
            let found = found.map_err(|error| not_now("looking for what is missing", &error))?;
            self.note(&found);
            self.again |= found.twice && is_second;
            has_twice |= found.twice;
            let Some(summary) = found.collection else {
                self.end_go().await?;
                if !has_twice || is_second {
                    return Ok(());
                }
                // What came under one name gets its others now.
                is_second = true;
                self.cursor.restart();
                continue;
            };
            let handle = self.handle(&summary);
            self.priority = self.follower.policy().priority_with(&self.peer.node, found.priority);
            self.mark(summary.key).await?;
            let wants = self.make_way(&summary, found.wants).await?;
            match place {
                Some(place) => self.fetch_small(summary, wants, &handle, place).await?,
                None => self.fetch_large(&summary, wants, &handle).await?,
            }
        }
    }

    /// Looks on from where the pass has come.
    pub(super) fn look(&mut self) -> Task<Looked> {
        let (mut cursor, follower, lane) = (mem::take(&mut self.cursor), Arc::clone(self.follower), self.lane);
        cursor.ahead = self.ahead();
        smol::unblock(move || (scan(&follower, lane, &mut cursor), cursor))
    }

    /// What a scan did, and what it left out.
    fn note(&mut self, found: &Found) {
        self.kept |= found.placed;
        self.again |= found.again | found.full.is_some();
        self.full = found.full.or(self.full);
    }

    /// Writes down that files of a collection are coming. If this is cut short, the next start looks for what nobody lists.
    async fn mark(&mut self, key: CollectionKey) -> Result<(), Stop> {
        if self.marked.insert(key) {
            let marked = with(&self.follower.library, move |library| library.set_unfinished(&key, true)).await;
            marked.map_err(|error| not_now("noting that files are coming", &error))?;
        }
        Ok(())
    }

    async fn unmark(&mut self) {
        let marked = mem::take(&mut self.marked);
        let done = with(&self.follower.library, move |library| {
            marked.iter().try_for_each(|key| library.set_unfinished(key, false))
        });
        if let Err(error) = done.await {
            log::warn!("noting that files have come: {error}");
        }
    }

    fn handle(&mut self, summary: &Summary) -> Arc<Handle> {
        match &self.handle {
            Some((key, handle)) if *key == summary.key => Arc::clone(handle),
            _ => {
                let handle = self.follower.transfers.begin(clock::now(), self.peer.node, summary.key);
                let handle = Arc::new(handle);
                self.handle = Some((summary.key, Arc::clone(&handle)));
                handle
            }
        }
    }

    async fn make_way(&mut self, summary: &Summary, wants: Vec<Want>) -> Result<Vec<Want>, Stop> {
        let summary = summary.clone();
        let made = with(&self.follower.library, move |library| {
            let ways = wants.iter().map(|want| (&want.item, &want.to));
            make_way(library, &summary, ways).map(|()| wants)
        });
        made.await.map_err(|error| not_now("making way for a new edition", &error))
    }

    pub(super) async fn stream(&mut self) -> Result<(C::Stream, Pace), Stop> {
        let (stream, mut pace) = match self.stream.take() {
            Some(stream) => stream,
            None => match self.peer.connect.open(self.peer.node, blob::PROTOCOL).await {
                Ok(stream) => (stream, Pace::limited(self.follower.limiter.meter(self.peer.node, self.priority))),
                Err(error) => {
                    log::info!("no stream to peer {}: {error}", self.peer.node);
                    return Err(Stop::Stream);
                }
            },
        };
        pace.set_priority(self.priority);
        Ok((stream, pace))
    }

    /// Whether the pass goes on.
    pub(super) fn failed(&mut self, error: FetchError) -> Result<(), Stop> {
        self.again = true;
        match error {
            FetchError::Violation(violation) => Err(Stop::Violation(violation)),
            FetchError::NotFound | FetchError::Damaged => Ok(()),
            // The next pass finds the name taken, and takes another.
            FetchError::Store(WriteError::Store(StoreError::NameTaken { .. })) => Ok(()),
            FetchError::Store(error) => {
                self.unkept.get_or_insert(format!("not everything can be kept that is to be mirrored: {error}"));
                Ok(())
            }
            FetchError::Refused { .. } => {
                log::warn!("from peer {}: {error}", self.peer.node);
                Ok(())
            }
            FetchError::Busy { retry_ms } => {
                Err(Stop::After(Duration::from_millis(u64::from(retry_ms).clamp(RETRY_MIN_MS, RETRY_MAX_MS))))
            }
            FetchError::NoSpace(error) => {
                self.full = Full::of(&error);
                Err(Stop::After(Duration::from_millis(NO_SPACE_RETRY_MS)))
            }
            FetchError::Io(_) => {
                log::info!("from peer {}: {error}", self.peer.node);
                Err(Stop::Stream)
            }
            FetchError::TooSlow => {
                self.follower.deeds.timeout(self.peer.node);
                log::info!("from peer {}: {error}", self.peer.node);
                Err(Stop::Slow)
            }
        }
    }

    /// Tells people what was not kept in this pass and why, or that this is over, which a pass that `was_whole` knows.
    fn tell(&self, was_whole: bool) {
        let Follower { library, notices, .. } = &**self.follower;
        let full = self.full.map(|full| {
            let folder = library.store().library();
            let why = match full {
                Full::Disk => format!("no space left in {} above the reserve (mirror.reserve)", folder.display()),
                Full::Quota => "the quota is used up (mirror.quota)".to_owned(),
            };
            format!("{why}: not everything is mirrored. What is here is served, the rest follows when there is room")
        });
        // The lanes of all peers say the same of the disk: next to each other, for it to be told once.
        for (what, text) in [("space", full), ("store", self.unkept.clone())] {
            let about = format!("{what} {} {:?}", self.peer.node, self.lane);
            match text {
                Some(text) => notices.put(&about, NoticeLevel::Error, text),
                None if was_whole => notices.clear(&about),
                None => {}
            }
        }
    }

    async fn settle(&mut self, keys: Vec<CollectionKey>) {
        let settled = with(&self.follower.library, move |library| -> Result<(), LibraryError> {
            keys.iter().try_for_each(|key| settle(library, key))
        });
        if let Err(error) = settled.await {
            log::warn!("putting the mirror in order: {error}");
        }
    }
}

impl<C: Connect> Drop for Runner<'_, C> {
    fn drop(&mut self) {
        (self.full, self.unkept) = (None, None);
        self.tell(true);
    }
}
