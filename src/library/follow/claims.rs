//! Who is at what: a thing is claimed by one follower at a time, a name in the library by all that bring the same blob.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{content::ContentId, store::LibraryPath};

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

/// By a name's hash, that of the blob that is to stand under it, and how many bring it. Two names of one hash wait for each other.
type Brought = Mutex<BTreeMap<u64, (u64, usize)>>;

/// Names that blobs are on their way to. Two editions of a file do not come at the same time: the one that is listed no more
/// may be the last to arrive, and would take the other's place.
#[derive(Default)]
pub(super) struct Names {
    hasher: RandomState,
    brought: Arc<Brought>,
}

/// Held until a blob has its name or is given up; dropping it lets another blob have the name.
pub(super) struct Name {
    hash: u64,
    brought: Arc<Brought>,
}

impl Names {
    /// None if another blob is on its way there.
    pub fn claim(&self, to: &LibraryPath, id: ContentId) -> Option<Name> {
        let (hash, blob) = (self.hasher.hash_one(to), self.hasher.hash_one(id));
        match lock(&self.brought).entry(hash) {
            Entry::Vacant(free) => {
                free.insert((blob, 1));
            }
            Entry::Occupied(mut taken) => {
                let (other, count) = taken.get_mut();
                if *other != blob {
                    return None;
                }
                *count += 1;
            }
        }
        Some(Name { hash, brought: Arc::clone(&self.brought) })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Entry::Occupied(mut mine) = lock(&self.brought).entry(self.hash) {
            mine.get_mut().1 -= 1;
            if mine.get().1 == 0 {
                mine.remove();
            }
        }
    }
}

fn lock<T>(claims: &Mutex<T>) -> MutexGuard<'_, T> {
    claims.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_for_another_blob_when_all_have_left_it() {
        let (names, [old, new]) = (Names::default(), [b"old", b"new"].map(|bytes| ContentId::of(bytes)));
        let [page, other] = ["Books/page", "Books/other"].map(|path| LibraryPath::new(path).unwrap());
        let first = names.claim(&page, old);
        let second = names.claim(&page, old);
        assert!(first.is_some() && second.is_some() && names.claim(&page, new).is_none());
        assert!(names.claim(&other, new).is_some());
        drop(first);
        assert!(names.claim(&page, new).is_none());
        drop(second);
        let third = names.claim(&page, new);
        assert!(third.is_some() && names.claim(&page, old).is_none());
    }
}
