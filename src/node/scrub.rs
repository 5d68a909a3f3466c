//! Checking what is kept while the node runs: a little at a time, and never while anybody else needs the disk.

mod pace;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use smol::{
    Timer,
    channel::{Receiver, Sender, bounded},
    future,
};

use self::pace::Pace;
use super::state::State;
use crate::{
    clock, config,
    limits::scrub::{KEEP_MS, KEEP_REST_S, LOOK_MS, REST_S},
    status::{Notice, NoticeLevel, ScrubState, ScrubStatus},
    store::{Position, Store},
};

/// How far it is.
pub(super) struct Scrub {
    config: Mutex<config::Scrub>,
    /// Full while another configuration was not looked at.
    changed: (Sender<()>, Receiver<()>),
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    state: ScrubState,
    position: Position,
}

impl Scrub {
    pub(super) fn new(config: &config::Scrub) -> Self {
        Self { config: Mutex::new(config.clone()), changed: bounded(1), now: Mutex::default() }
    }

    /// Goes by another configuration from now on.
    pub(super) fn set_config(&self, config: &config::Scrub) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config.clone();
        // If it is full, the newest is looked at all the same.
        let _ = self.changed.0.try_send(());
    }

    fn config(&self) -> config::Scrub {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `total_bytes`: of all that is kept.
    pub(super) fn status(&self, total_bytes: u64) -> ScrubStatus {
        let Now { state, position } = &*self.lock();
        ScrubStatus {
            state: *state,
            checked_bytes: position.checked_bytes.min(total_bytes),
            total_bytes,
            passes: position.passes,
            damaged: position.damaged,
        }
    }
}

/// Tells of damaged files.
pub(super) fn notices(store: &Store) -> Vec<Notice> {
    let damages = store.damages().unwrap_or_else(|error| {
        log::warn!("looking for damaged files: {error}");
        Vec::new()
    });
    let notice = |damage: crate::store::Damage| {
        let place = damage.ranges.first().map(|range| format!(" near byte {}", range.start)).unwrap_or_default();
        let text = format!(
            "{} is damaged{place}: the disk may be failing. It is neither served nor counted, and is fetched again when a peer \
             that has it is there",
            damage.path.display()
        );
        Notice { level: NoticeLevel::Warning, text }
    };
    damages.into_iter().map(notice).collect()
}

/// Scrubs for as long as the node runs.
pub(super) async fn run(state: Arc<State>) {
    let store = state.library.store().clone();
    let position = smol::unblock(move || {
        if let Err(error) = store.recall_damages() {
            log::warn!("looking for damaged files: {error}");
        }
        store.scrub_position()
    })
    .await;
    state.scrub.lock().position = position;
    // It would find everything missing.
    state.rebuild.over().await;
    loop {
        let config = state.scrub.config();
        let changed = async {
            // The other end is in the same place.
            let _ = state.scrub.changed.1.recv().await;
        };
        match config.enabled {
            true => future::or(changed, read(&state, &config)).await,
            false => {
                state.scrub.lock().state = ScrubState::Off;
                changed.await;
            }
        }
    }
}

/// Reads from where it is, by this configuration, for ever.
async fn read(state: &Arc<State>, config: &config::Scrub) {
    let store = state.library.store().clone();
    let mut position = state.scrub.lock().position.clone();
    let mut pace = Pace::new(config.rate.0, config.hours, Duration::from_secs(position.rest_s), clock::now());
    let mut kept_at = clock::now();
    loop {
        let (now, uses) = (clock::now(), store.uses());
        let wait = pace.wait(now, clock::minute_of_day(), uses);
        position.rest_s = pace.rest().as_secs();
        *state.scrub.lock() = Now { state: pace.state(now), position: position.clone() };
        if now - kept_at >= Duration::from_millis(KEEP_MS) {
            kept_at = now;
            keep_if(state.clone(), |rested_s| rested_s >= KEEP_REST_S).await;
        }
        if !wait.is_zero() {
            Timer::after(wait).await;
            continue;
        }
        let (passes, store) = (position.passes, store.clone());
        let step;
        (position, step) = smol::unblock(move || {
            let step = store.scrub(&mut position);
            (position, step)
        })
        .await;
        match step {
            Ok(step) => {
                pace.read(clock::now(), step.bytes);
                if step.is_end {
                    let rest_s = if position.passes > passes { REST_S } else { LOOK_MS / 1000 };
                    pace.rest_for(Duration::from_secs(rest_s));
                }
            }
            Err(error) => {
                log::warn!("checking the files: {error}");
                pace.rest_for(Duration::from_millis(LOOK_MS));
            }
        }
    }
}

/// Keeps how far it is.
pub(super) async fn keep(state: Arc<State>) {
    keep_if(state, |rested_s| rested_s > 0).await;
}

/// The same; if it has but rested since the last time, only if `is_long` says so of the seconds.
async fn keep_if(state: Arc<State>, is_long: fn(u64) -> bool) {
    let position = state.scrub.lock().position.clone();
    let kept = smol::unblock(move || {
        let store = state.library.store();
        let last = store.scrub_position();
        let mut rested = last.clone();
        rested.rest_s = position.rest_s;
        let is_due = rested != position || is_long(position.rest_s.abs_diff(last.rest_s));
        if is_due { store.keep_scrub_position(&position) } else { Ok(()) }
    });
    if let Err(error) = kept.await {
        log::warn!("how far the check of the files is: {error}");
    }
}
