//! Building the index again while the node runs: it reads every file, which may take hours, and readers do not wait for that.

use std::{
    convert::Infallible,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use smol::{
    Timer,
    channel::{Receiver, Sender, bounded},
};

use super::{
    control::{FailureKind, OpError},
    ops,
    state::State,
};
use crate::status::{Notice, NoticeLevel};

/// Between a try that failed and the next.
const AGAIN: Duration = Duration::from_secs(60);

/// How far it is.
pub(super) struct Rebuild {
    /// None when there is nothing to be done.
    under_way: Mutex<Option<UnderWay>>,
    found: AtomicU64,
    over: Receiver<Infallible>,
}

struct UnderWay {
    /// Items of all collections.
    items: u64,
    /// Why the last try failed.
    failed: Option<String>,
    /// Dropped when it is over.
    _running: Sender<Infallible>,
}

impl Rebuild {
    /// `items`: how many files are looked for; none if the index is whole.
    pub(super) fn new(items: Option<u64>) -> Self {
        let (running, over) = bounded(1);
        let under_way = items.map(|items| UnderWay { items, failed: None, _running: running });
        Self { under_way: Mutex::new(under_way), found: AtomicU64::new(0), over }
    }

    fn lock(&self) -> MutexGuard<'_, Option<UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when nothing is to be done any more.
    pub(super) async fn over(&self) {
        // Nothing is ever sent: it ends when the other end is dropped.
        let _ = self.over.recv().await;
    }

    /// What a person should know.
    pub(super) fn notice(&self) -> Option<Notice> {
        let under_way = self.lock();
        let UnderWay { items, failed, .. } = under_way.as_ref()?;
        let found = self.found.load(Relaxed);
        let text = format!(
            "the index was lost and is built again: {found} of {items} files are found so far. Until then nothing is mirrored, \
             and nothing can be added or removed"
        );
        Some(match failed {
            Some(why) => {
                Notice { level: NoticeLevel::Error, text: format!("{text}. It failed and is tried again: {why}") }
            }
            None => Notice { level: NoticeLevel::Warning, text },
        })
    }

    /// Fails until it is over: nothing may change what is looked for.
    pub(super) fn check_over(&self) -> Result<(), OpError> {
        match self.notice() {
            Some(notice) => Err(OpError::new(FailureKind::Failed, format!("try again later: {}", notice.text))),
            None => Ok(()),
        }
    }
}

/// Builds it, once or until it works.
pub(super) async fn run(state: Arc<State>) {
    if state.rebuild.lock().is_none() {
        return;
    }
    loop {
        state.rebuild.found.store(0, Relaxed);
        let at_work = state.clone();
        let rebuilt = smol::unblock(move || {
            let found = |path: &Path| {
                log::debug!("found {}", path.display());
                at_work.rebuild.found.fetch_add(1, Relaxed);
            };
            ops::rebuild(&at_work.library, found)
        });
        match rebuilt.await {
            Ok(()) => break,
            Err(error) => {
                log::warn!("building the index again: {error}");
                if let Some(under_way) = state.rebuild.lock().as_mut() {
                    under_way.failed = Some(error.to_string());
                }
            }
        }
        Timer::after(AGAIN).await;
    }
    *state.rebuild.lock() = None;
}
