//! What of the transfers waits, by the owner's word and by the hour.
//!
//! The owner's word is in `transfers.toml`, replaced as a whole before a command says that it holds. One that can't be read is
//! never written over, and pauses everything: who pays for each byte must not pay for a rotten file.

mod said;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use smol::Timer;
use thiserror::Error;

use self::said::{Named, Said, Word};
use super::{
    control::{FailureKind, OpError, TransferChange},
    kept, ops,
    state::State,
};
use crate::{
    clock,
    config::{Config, Hours},
    content::{CollectionKey, NodeId},
    library::{Entry, Library, LibraryError, Summary, follow::Wishes},
    limits::transfer::{CANCEL_LOOK_MS, CANCEL_LOOKS, HOURS_LOOK_MS, SAID_BYTES},
    status::{ControlStatus, Notice, NoticeLevel, PeerPriority, TransferState, TransferStatus},
    store::BlobState,
    transfer::{Paused, Priority},
};

/// Of [`Said`], in the data folder.
const FILE: &str = "transfers.toml";

/// Why it can't be read. The file stays as it is.
#[derive(Debug, Error)]
#[error(
    "{} is damaged: {reason}. Until it is mended nothing is copied from other nodes or sent to them. Mend it, or move it away; \
     then start the node again",
    path.display()
)]
struct SaidError {
    path: PathBuf,
    reason: String,
}

fn load(data: &Path) -> Result<Said, SaidError> {
    let path = data.join(FILE);
    let damaged = |reason: String| SaidError { path: path.clone(), reason };
    match kept::read(&path, SAID_BYTES) {
        Ok(None) => Ok(Said::default()),
        Ok(Some(bytes)) => {
            let text = str::from_utf8(&bytes).map_err(|_| damaged("it is no text".into()))?;
            Said::from_text(text).map_err(damaged)
        }
        Err(error) => Err(damaged(error.to_string())),
    }
}

/// What holds, for all tasks of a node.
pub(super) struct Controls {
    data: PathBuf,
    now: Mutex<Now>,
    /// Why the file can't be read; then it is not written either.
    damaged: Option<SaidError>,
    /// Held while the file is written: the newest comes last.
    writing: Mutex<()>,
}

struct Now {
    said: Said,
    hours: Hours,
    /// Of the day; none if the clock was never set.
    minute: Option<u16>,
}

impl Now {
    /// A board without a clock can't tell, and fetches at any time.
    fn is_hour(&self) -> bool {
        self.minute.is_none_or(|minute| self.hours.contains(minute))
    }
}

impl Controls {
    pub(super) fn load(config: &Config) -> Self {
        let (said, damaged) = match load(&config.data) {
            Ok(said) => (said, None),
            Err(error) => {
                log::error!("{error}");
                (Said { paused: true, ..Said::default() }, Some(error))
            }
        };
        let now = Now { said, hours: config.transfer.hours, minute: clock::minute_of_day() };
        Self { data: config.data.clone(), now: Mutex::new(now), damaged, writing: Mutex::default() }
    }

    /// Whether anything is fetched from this peer now.
    pub(super) fn may_fetch_from(&self, peer: &NodeId) -> bool {
        let now = self.lock();
        now.is_hour() && !now.said.paused && !now.said.paused_peers.contains(peer)
    }

    /// What the owner wants of collections, items and peers.
    pub(super) fn wishes(&self) -> Wishes {
        self.lock().said.wishes()
    }

    /// Who is sent nothing.
    pub(super) fn paused(&self) -> Paused {
        let Said { paused, paused_peers, .. } = &self.lock().said;
        Paused { all: *paused, peers: paused_peers.clone() }
    }

    /// What peers are sent next to others.
    pub(super) fn peer_priorities(&self) -> BTreeMap<NodeId, Priority> {
        self.lock().said.peer_priorities()
    }

    /// Looks what time it is, and which hours count; whether that changed anything.
    fn set_hours(&self, hours: Hours) -> bool {
        let mut now = self.lock();
        let was_hour = now.is_hour();
        (now.hours, now.minute) = (hours, clock::minute_of_day());
        was_hour != now.is_hour()
    }

    /// Changes what is said, and keeps it; blocks until that is on the disk.
    fn change(&self, library: &Library, change: TransferChange, names: &[String]) -> Result<Named, OpError> {
        if let Some(damaged) = &self.damaged {
            return Err(OpError::new(FailureKind::Damaged, damaged));
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = self.lock().said.clone();
        let named = change_and_keep(&mut said, &self.data, library, change, names)?;
        self.lock().said = said;
        Ok(named)
    }

    /// For people and programs; `under_way` is what is shown of transfers anyway.
    pub(super) fn status(&self, library: &Library, under_way: &mut [TransferStatus]) -> ControlStatus {
        let (said, is_resting) = {
            let now = self.lock();
            (now.said.clone(), !now.is_hour())
        };
        let mut status = ControlStatus {
            paused: said.paused,
            resting: is_resting,
            paused_peers: said.paused_peers.iter().map(ToString::to_string).collect(),
            peer_priorities: said
                .peers
                .iter()
                .map(|(peer, priority)| PeerPriority { peer: peer.to_string(), priority: *priority })
                .collect(),
            ..ControlStatus::default()
        };
        for summary in library.collections() {
            let of_items = said.items.iter().filter(|((key, _), _)| *key == summary.key);
            status.items.extend(of_items.filter_map(|((key, path), word)| {
                let entry = library.item(key, path).ok().flatten()?;
                let Word { state, priority } = *word;
                Some(TransferStatus { state, priority, ..one(library, &summary, entry) })
            }));
            let Some(Word { state, priority }) = said.collections.get(&summary.key).copied() else { continue };
            let id = summary.key.id.to_string();
            let mut is_under_way = false;
            for transfer in under_way.iter_mut().filter(|it| it.id == id && it.folder == summary.folder) {
                (transfer.state, transfer.priority, is_under_way) = (state, priority, true);
            }
            if !is_under_way {
                status.collections.push(TransferStatus { state, priority, ..still(summary) });
            }
        }
        status
    }

    /// What a person should know.
    pub(super) fn notices(&self) -> Vec<Notice> {
        let info = |text: String| Notice { level: NoticeLevel::Info, text };
        if let Some(damaged) = &self.damaged {
            return vec![Notice { level: NoticeLevel::Error, text: damaged.to_string() }];
        }
        let now = self.lock();
        let (said, mut notices) = (&now.said, Vec::new());
        let count = |state| {
            let is_so = |word: &&Word| word.state == state;
            (said.collections.values().filter(is_so).count(), said.items.values().filter(is_so).count())
        };
        let (paused, cancelled) = (count(TransferState::Paused), count(TransferState::Cancelled));
        let (collections, files, peers) = (paused.0 + cancelled.0, paused.1 + cancelled.1, said.paused_peers.len());
        if said.paused {
            notices.push(info("transfers are paused: nothing is copied from other nodes or sent to them, until: allibrary transfers resume".into()));
        } else if collections + files + peers > 0 {
            notices.push(info(format!(
                "transfers that wait until they are resumed: collections: {collections}, single files: {files}, peers: {peers}"
            )));
        }
        if !now.is_hour() {
            notices
                .push(info(format!("nothing is copied from other nodes now, but at {} (transfer.hours)", now.hours)));
        } else if now.minute.is_none() && now.hours != Hours::default() {
            let text = "the clock of this machine was never set: other nodes are copied at any time, whatever transfer.hours says";
            notices.push(Notice { level: NoticeLevel::Warning, text: text.into() });
        }
        notices
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Does what a client wants of transfers; blocks.
    pub(super) fn change_transfers(&self, change: TransferChange, names: &[String]) -> Result<(), OpError> {
        let named = self.controls.change(&self.library, change, names)?;
        self.apply_controls();
        match change {
            TransferChange::Cancel => give_up_all(&self.library, &named),
            _ => Ok(()),
        }
    }

    /// Takes up hours that may have changed.
    pub(super) fn set_hours(&self, hours: Hours) {
        if self.controls.set_hours(hours) {
            self.apply_controls();
        }
    }
}

/// Looks at the clock, as long as the node runs; gives up what was cancelled when the node was stopped.
pub(super) async fn run(state: Arc<State>) {
    state.rebuild.over().await;
    let shared = state.clone();
    smol::unblock(move || {
        let cancelled = shared.controls.lock().said.cancelled();
        if let Err(error) = give_up_all(&shared.library, &cancelled) {
            log::warn!("giving up what was cancelled: {error}");
        }
    })
    .await;
    loop {
        Timer::after(Duration::from_millis(HOURS_LOOK_MS)).await;
        state.set_hours(state.hours());
    }
}

/// Changes what is kept where no node runs; the data folder is locked meanwhile.
///
/// # Errors
/// What is wrong with the names, or the file. Nothing is changed then.
pub fn change_transfers(config: &Config, change: TransferChange, names: &[String]) -> Result<(), OpError> {
    let (library, _) = ops::open(config)?;
    let mut said = load(&config.data).map_err(|error| OpError::new(FailureKind::Damaged, error))?;
    let named = change_and_keep(&mut said, &config.data, &library, change, names)?;
    match change {
        TransferChange::Cancel => give_up_all(&library, &named),
        _ => Ok(()),
    }
}

/// What is named.
fn change_and_keep(
    said: &mut Said,
    data: &Path,
    library: &Library,
    change: TransferChange,
    names: &[String],
) -> Result<Named, OpError> {
    let mut named = Named::default();
    for name in names {
        match (name.parse::<NodeId>(), name.trim_end_matches('/').split_once('/')) {
            (Ok(_), _) if change == TransferChange::Cancel => {
                let message =
                    format!("{name} is a peer, of which nothing is half here that could be deleted; pause it");
                return Err(OpError::new(FailureKind::Failed, message));
            }
            (Ok(peer), _) => named.peers.push(peer),
            (Err(_), Some((folder, path))) => {
                let key = mirrored(library, folder)?.key;
                library.item(&key, path)?.ok_or_else(|| ops::no_item(name, folder))?;
                named.items.push((key, path.to_owned()));
            }
            (Err(_), None) => named.collections.push(mirrored(library, name.trim_end_matches('/'))?.key),
        }
    }
    let before = said.clone();
    said.change(change, &named);
    // What was removed meanwhile would stay for ever.
    said.collections.retain(|key, _| library.summary(key).is_some());
    said.items.retain(|(key, path), _| !matches!(library.item(key, path), Ok(None) | Err(LibraryError::NoCollection)));
    if said.is_too_much() {
        return Err(OpError::new(
            FailureKind::NoSpace,
            "no more can be paused or put first; take something of it back first",
        ));
    }
    if *said != before {
        let path = data.join(FILE);
        let failed = |error| OpError::new(FailureKind::Failed, format!("{}: {error}", path.display()));
        kept::replace(&path, said.to_text().as_bytes()).map_err(failed)?;
    }
    Ok(named)
}

/// The collection in this folder, which is another's.
fn mirrored(library: &Library, folder: &str) -> Result<Summary, OpError> {
    let found = ops::collection(library, folder)?;
    if found.mine {
        let message = format!("{folder:?} is published by this node: it is not copied from elsewhere");
        return Err(OpError::new(FailureKind::Failed, message));
    }
    Ok(found)
}

/// Deletes what has come of these collections' files, and of these files, that are not complete.
fn give_up_all(library: &Library, named: &Named) -> Result<(), OpError> {
    let items = named.items.iter().map(|(key, path)| (key, Some(path.as_str())));
    named.collections.iter().map(|key| (key, None)).chain(items).try_for_each(|(key, path)| give_up(library, key, path))
}

/// Deletes what has come of a collection's files that are not complete, or of one of them.
fn give_up(library: &Library, key: &CollectionKey, path: Option<&str>) -> Result<(), OpError> {
    for _ in 0..CANCEL_LOOKS {
        if library.give_up(key, path)? == 0 {
            return Ok(());
        }
        // What was just being written is on a thread of its own.
        thread::sleep(Duration::from_millis(CANCEL_LOOK_MS));
    }
    let message =
        "some of what has come is still being written; it is deleted at the next start, or if you cancel again";
    Err(OpError::new(FailureKind::Failed, message))
}

/// A collection that is not on its way.
fn still(summary: Summary) -> TransferStatus {
    TransferStatus {
        collection: summary.name,
        folder: summary.folder,
        id: summary.key.id.to_string(),
        items_done: summary.held_items,
        items_total: summary.items,
        bytes_done: summary.held_bytes,
        bytes_total: summary.bytes,
        ..TransferStatus::default()
    }
}

/// One of its items.
fn one(library: &Library, summary: &Summary, Entry { item, held, .. }: Entry) -> TransferStatus {
    let bytes_done = match library.store().info(&item.id).ok().flatten().map(|info| info.state) {
        Some(BlobState::Partial { verified_bytes }) => verified_bytes,
        _ => {
            if held {
                item.size
            } else {
                0
            }
        }
    };
    TransferStatus {
        collection: summary.name.clone(),
        folder: summary.folder.clone(),
        id: summary.key.id.to_string(),
        path: Some(item.path.to_string()),
        items_done: u64::from(held),
        items_total: 1,
        bytes_done,
        bytes_total: item.size,
        ..TransferStatus::default()
    }
}
