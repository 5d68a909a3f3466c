//! Writing down what peers are, as it changes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::pending, select_biased};
use smol::Timer;

use super::{Peering, lock};
use crate::{
    clock,
    limits::peers::{BANS_MS, CACHE_MS},
    node::{
        control::{FailureKind, OpError},
        kept,
        state::State,
    },
};

impl Peering {
    /// Has what was changed since the last time written down.
    pub(super) fn tell_keeper(&self) {
        let changed = lock(&self.manager).take_changed();
        if changed.lists {
            self.lists_changed.send();
        }
        if changed.memory {
            self.memory_changed.send();
        }
        if changed.bans {
            self.bans_changed.send();
        }
    }

    pub(super) fn keep_lists(&self) -> Result<(), OpError> {
        if self.damaged.is_some() {
            return Ok(());
        }
        let _writing = lock(&self.writing);
        let lists = lock(&self.manager).lists().clone();
        kept::store_lists(&self.data, &lists).map_err(|error| {
            let message = format!(
                "what is said of peers holds until the node stops, and can't be kept in {}: {error}",
                self.data.display()
            );
            OpError::new(FailureKind::Failed, message)
        })
    }

    /// Keeps what is known of peers, if it is not what was kept last.
    fn keep_memory(&self) {
        let memory = lock(&self.manager).memory(clock::now());
        let mut written = lock(&self.written);
        if *written == memory {
            return;
        }
        match kept::store_memory(&self.data, &memory) {
            Ok(()) => *written = memory,
            Err(error) => log::warn!("what is known of peers can't be kept: {error}"),
        }
    }

    /// Keeps what changes, for as long as the node runs: lists at once, bans soon, what else is known of peers now and then.
    pub(in crate::node) async fn keep(state: Arc<State>) {
        let peering = &state.peering;
        let mut kept_at: Option<Instant> = None;
        let mut due: Option<Instant> = None;
        let after = |kept_at: Option<Instant>, ms| kept_at.map(|at| at + Duration::from_millis(ms));
        loop {
            let memory_due = async {
                match due {
                    Some(at) => Timer::at(at).await,
                    None => pending().await,
                }
            };
            select_biased! {
                () = peering.lists_changed.heard().fuse() => {
                    let state = state.clone();
                    if let Err(error) = smol::unblock(move || state.peering.keep_lists()).await {
                        log::warn!("{error}");
                    }
                }
                () = peering.memory_changed.heard().fuse() => {
                    due = due.or(after(kept_at.or(Some(clock::now())), CACHE_MS));
                }
                () = peering.bans_changed.heard().fuse() => {
                    let soon = after(kept_at, BANS_MS).unwrap_or_else(clock::now);
                    due = Some(due.map_or(soon, |due| due.min(soon)));
                }
                now = memory_due.fuse() => {
                    (kept_at, due) = (Some(now), None);
                    let state = state.clone();
                    smol::unblock(move || state.peering.keep_memory()).await;
                }
            }
        }
    }

    /// Keeps what is known at the end.
    pub(in crate::node) async fn keep_last(state: Arc<State>) {
        smol::unblock(move || state.peering.keep_memory()).await;
    }
}
