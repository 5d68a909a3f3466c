//! Who is at what: a thing is claimed by one follower at a time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) struct Claims<T>(Arc<Mutex<BTreeSet<T>>>);

/// Held while a follower is at something; dropping it gives the thing free.
pub(super) struct Claim<T: Ord> {
    thing: T,
    claims: Arc<Mutex<BTreeSet<T>>>,
}

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Ord + Copy> Claims<T> {
    /// None if another has it.
    pub fn claim(&self, thing: T) -> Option<Claim<T>> {
        lock(&self.0).insert(thing).then(|| Claim { thing, claims: Arc::clone(&self.0) })
    }
}

impl<T: Ord> Drop for Claim<T> {
    fn drop(&mut self) {
        lock(&self.claims).remove(&self.thing);
    }
}

fn lock<T>(claims: &Mutex<BTreeSet<T>>) -> MutexGuard<'_, BTreeSet<T>> {
    claims.lock().unwrap_or_else(PoisonError::into_inner)
}
