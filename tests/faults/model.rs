//! A naive model of a store: which blob stands under which name, as far as that is certain.

use std::{collections::BTreeSet, fs};

use allibrary::{
    limits::store::SMALL_FILE_BYTES,
    store::{BlobState, Store},
};

use super::ops::{self, Blob, NAMES, Name, Op, Outcome, Place, SIZES, Spot, content, id};

/// What may be. A set of one is certain; an operation that failed or was cut short leaves more than one.
pub struct Model {
    /// Which blob stands under each name.
    names: Vec<BTreeSet<Option<Blob>>>,
    /// Whether a blob is shared in place.
    shared: Vec<BTreeSet<bool>>,
    /// Bytes of a download that were made durable.
    durable: Vec<u64>,
    /// Names of blobs that others took: until somebody looks such a blob counts as being here, and when it comes again it
    /// gets the name back if that is free.
    displaced: BTreeSet<(Blob, Name)>,
}

impl Model {
    /// An empty store.
    pub fn new() -> Self {
        let (names, blobs) = (NAMES.into(), SIZES.len());
        let shared = vec![[false].into(); blobs];
        Self { names: vec![[None].into(); names], shared, durable: vec![0; blobs], displaced: BTreeSet::new() }
    }

    /// Whether the blob may be there, and whether it must.
    fn has(&self, blob: Blob) -> (bool, bool) {
        let (in_place, here) = (&self.shared[blob as usize], Some(blob));
        let may = in_place.contains(&true) || self.names.iter().any(|names| names.contains(&here));
        let must = *in_place == [true].into() || self.names.iter().any(|names| *names == [here].into());
        (may, must)
    }

    /// The blob gets the name, surely or perhaps.
    fn give(&mut self, blob: Blob, name: Name, surely: bool) {
        let names = &mut self.names[name as usize];
        // What else stood there is set aside, and no more to be read.
        let others: Vec<Blob> = names.iter().flatten().copied().filter(|other| *other != blob).collect();
        if surely {
            *names = [Some(blob)].into();
            self.displaced.remove(&(blob, name));
        } else {
            names.insert(Some(blob));
            names.extend((!others.is_empty()).then_some(None));
        }
        for other in others {
            self.durable[other as usize] = 0;
            self.displaced.insert((other, name));
        }
    }

    /// Names that were taken may come back.
    fn reinstate(&mut self) {
        for (blob, name) in &self.displaced {
            let names = &mut self.names[*name as usize];
            names.extend(names.contains(&None).then_some(Some(*blob)));
        }
    }

    /// Whether the store may say that the blob is here.
    fn may_claim(&self, blob: Blob) -> bool {
        self.has(blob).0 || self.displaced.iter().any(|(displaced, _)| *displaced == blob)
    }

    fn take(&mut self, blob: Blob, spot: Spot, surely: bool) {
        self.durable[blob as usize] = 0;
        match spot {
            Spot::Library(name) => {
                let names = &mut self.names[name as usize];
                if names.contains(&Some(blob)) {
                    names.insert(None);
                    names.retain(|it| !surely || *it != Some(blob));
                }
                if surely {
                    self.displaced.remove(&(blob, name));
                }
            }
            Spot::Shared => {
                let shared = &mut self.shared[blob as usize];
                shared.insert(false);
                shared.retain(|it| !surely || !*it);
            }
        }
    }

    /// Learns what was told of an operation; none: it was cut short. An error is what only a fault explains.
    pub fn learn(&mut self, op: &Op, told: Option<&Outcome>) -> Result<(), String> {
        let done = told == Some(&Outcome::Done);
        let each = |at: usize| matches!(told, Some(Outcome::Each(done)) if done[at]);
        // What a refusal would say if it were wrong.
        let mut wrong = None;
        match op {
            Op::Copy(blob, name) => self.give(*blob, *name, done),
            Op::Share(blob) => {
                let shared = &mut self.shared[*blob as usize];
                shared.insert(true);
                shared.retain(|it| !done || *it);
            }
            Op::Put(blobs) => {
                for (at, (blob, name)) in blobs.iter().enumerate() {
                    if SIZES[*blob as usize] as u64 <= SMALL_FILE_BYTES {
                        self.give(*blob, *name, each(at));
                        wrong = wrong.or((told.is_some() && !each(at)).then_some("not stored"));
                    }
                }
            }
            Op::Fetch(blob, ..) => match told {
                Some(Outcome::Here(bytes)) => {
                    let before = std::mem::replace(&mut self.durable[*blob as usize], *bytes);
                    wrong = (*bytes < before).then_some("a download forgot what was durable");
                }
                Some(Outcome::AlreadyHere) => wrong = (!self.may_claim(*blob)).then_some("it is not"),
                _ => {}
            },
            Op::Finish(blobs) => {
                for (at, (blob, name)) in blobs.iter().enumerate() {
                    let refused = told.is_some() && !each(at);
                    let twice = blobs[..at].iter().any(|(earlier, _)| earlier == blob);
                    wrong = wrong.or((refused && !twice && !self.may_claim(*blob)).then_some("not finished"));
                    if !(refused && (twice || self.has(*blob).1)) {
                        self.give(*blob, *name, each(at));
                    }
                    // One that goes on after a failure starts anew with what it finds.
                    if told.is_some() {
                        self.durable[*blob as usize] = 0;
                    }
                }
            }
            Op::Discard(blob) => self.durable[*blob as usize] = 0,
            Op::Place(blob, name) => match told {
                Some(Outcome::NotHere) => wrong = self.has(*blob).1.then_some("it is there"),
                _ => self.give(*blob, *name, done),
            },
            Op::Remove(files) => files.iter().for_each(|(blob, spot)| self.take(*blob, *spot, done)),
            Op::Verify(blob) | Op::Read(blob) => {
                assert!(!done || self.has(*blob).0, "blob {blob} came back");
                wrong = (told == Some(&Outcome::NotHere) && self.has(*blob).1).then_some("it is there");
            }
            Op::Reopen => {}
        }
        self.reinstate();
        match told {
            Some(Outcome::Failed { message, .. }) => Err(format!("{op:?}: {message}")),
            _ => wrong.map_or(Ok(()), |wrong| Err(format!("{op:?}: {told:?}, but {wrong}"))),
        }
    }

    /// Compares it with what is there, and learns what of the possible is true.
    pub fn check(&mut self, place: &Place) {
        let store = place.open().unwrap_or_else(|error| panic!("the store does not open: {error}"));
        assert!(!store.needs_rebuild().unwrap(), "the index was lost");
        (0..SIZES.len() as Blob).for_each(|blob| self.check_blob(place, &store, blob));
        for name in 0..NAMES {
            let path = place.path(Spot::Library(name), 0);
            let found = fs::read(&path).ok();
            let blob = found.map(|found| {
                let known = (0..SIZES.len() as Blob).find(|blob| content(*blob) == found);
                known.unwrap_or_else(|| panic!("{} holds no blob", path.display()))
            });
            assert!(self.names[name as usize].contains(&blob), "name {name}: blob {blob:?} of {:?}", self.names);
            if let Some(blob) = blob {
                let info = store.info(&id(blob)).unwrap();
                assert!(info.is_some_and(|info| info.paths.contains(&path)), "no record knows {}", path.display());
            }
            self.names[name as usize] = [blob].into();
        }
        self.check_leftovers(place, &store);
    }

    fn check_blob(&mut self, place: &Place, store: &Store, blob: Blob) {
        let ((may, must), durable) = (self.has(blob), &mut self.durable[blob as usize]);
        let verified = store.verify(&id(blob), &mut |_| std::ops::ControlFlow::Continue(()));
        let is_here = ops::read(store, blob).unwrap();
        assert!(is_here || !must, "ACKNOWLEDGED AND LOST: blob {blob}: {verified:?}, {:?}", store.info(&id(blob)));
        assert!(may || !is_here, "blob {blob} came back");
        let info = store.info(&id(blob)).unwrap();
        if is_here {
            *durable = 0;
        } else if *durable > 0 {
            let state = info.as_ref().map(|info| info.state);
            let Some(BlobState::Partial { verified_bytes }) = state else { panic!("blob {blob} is {state:?}") };
            assert!(verified_bytes >= *durable, "blob {blob}: {durable} bytes were durable, {verified_bytes} are left");
        }
        let is_shared = info.is_some_and(|info| info.paths.contains(&place.shared(blob)));
        let shared = &mut self.shared[blob as usize];
        assert!(shared.contains(&is_shared), "blob {blob} is shared: {is_shared}");
        *shared = [is_shared].into();
    }

    /// Nothing is there that nobody asked for.
    fn check_leftovers(&self, place: &Place, store: &Store) {
        let names: Vec<_> = (0..NAMES).map(|name| place.path(Spot::Library(name), 0)).collect();
        let blobs = || (0..SIZES.len() as Blob).filter(|blob| store.info(&id(*blob)).unwrap().is_some());
        let downloads: Vec<_> =
            blobs().flat_map(|blob| ["part", "bits"].map(|kind| format!("{}.{kind}", id(blob)))).collect();
        let outboards: Vec<_> = blobs().map(|blob| format!("{}.obao", id(blob))).collect();
        let mut folders = vec![place.data()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let part = path.strip_prefix(place.data()).unwrap().components().next().unwrap();
                // Its owner looks at it and deletes it.
                if name.contains("(set aside") {
                    fs::remove_file(&path).unwrap();
                    continue;
                }
                let is_expected = match &*part.as_os_str().to_string_lossy() {
                    "library" => path.is_dir() || names.contains(&path),
                    "incoming" => path.is_dir() || downloads.contains(&name),
                    "outboard" => path.is_dir() || outboards.contains(&name),
                    "index" | "index.generation" | "lock" | "ballast" => true,
                    _ => false,
                };
                assert!(is_expected, "{} was left behind", path.display());
                folders.extend(path.is_dir().then_some(path));
            }
        }
    }
}
