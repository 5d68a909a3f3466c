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

/// When what is known of peers is to be kept. Cards wear by writing: a ban is kept soon, lest a restart ends it, and the rest
/// now and then.
#[derive(Debug, Default)]
struct Schedule {
    kept_at: Option<Instant>,
    due: Option<Instant>,
}

impl Schedule {
    fn handle_memory_changed(&mut self, now: Instant) {
        let later = self.kept_at.unwrap_or(now) + Duration::from_millis(CACHE_MS);
        self.due.get_or_insert(later);
    }

    /// The first ban is kept at once.
    fn handle_bans_changed(&mut self, now: Instant) {
        let soon = self.kept_at.map_or(now, |at| at + Duration::from_millis(BANS_MS));
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    fn handle_kept(&mut self, now: Instant) {
        *self = Self { kept_at: Some(now), due: None };
    }
}

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
        let mut schedule = Schedule::default();
        loop {
            let memory_due = async {
                match schedule.due {
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
                () = peering.memory_changed.heard().fuse() => schedule.handle_memory_changed(clock::now()),
                () = peering.bans_changed.heard().fuse() => schedule.handle_bans_changed(clock::now()),
                now = memory_due.fuse() => {
                    schedule.handle_kept(now);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_is_kept_soon_and_the_rest_now_and_then() {
        let (bans, cache) = (Duration::from_millis(BANS_MS), Duration::from_millis(CACHE_MS));
        let (start, second) = (clock::now(), Duration::from_secs(1));
        let mut schedule = Schedule::default();
        schedule.handle_memory_changed(start);
        assert_eq!(schedule.due, Some(start + cache));
        schedule.handle_memory_changed(start + second);
        assert_eq!(schedule.due, Some(start + cache), "it is not put off");
        schedule.handle_bans_changed(start + second);
        assert_eq!(schedule.due, Some(start + second), "nothing was kept before");
        schedule.handle_kept(start + second);
        assert_eq!(schedule.due, None);
        // Whoever has itself banned again and again does not wear the card.
        let kept = start + second;
        schedule.handle_bans_changed(kept + second);
        assert_eq!(schedule.due, Some(kept + bans));
        schedule.handle_memory_changed(kept + second);
        schedule.handle_bans_changed(kept + 2 * second);
        assert_eq!(schedule.due, Some(kept + bans), "what is known of others goes with it");
        schedule.handle_kept(kept + bans);
        schedule.handle_memory_changed(kept + bans + second);
        assert_eq!(schedule.due, Some(kept + bans + cache));
    }
}
