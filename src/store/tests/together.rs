//! Readers, writers and those who take away, all at once.

use std::{io::ErrorKind, thread};

use super::*;

const BLOBS: u8 = 6;
const NAMES: u8 = 3;
const ROUNDS: usize = 200;

/// Some with an outboard, some without.
fn blob(number: u8) -> Vec<u8> {
    content([900, 65_536, 65_537, 300_000][usize::from(number) % 4] + usize::from(number), number)
}

fn name(number: u8, name: u8) -> LibraryPath {
    to(&format!("{}/{number}-{name}", name % 2))
}

struct Together {
    store: Store,
    /// Has all blobs, to download from.
    source: Store,
    files: TempDir,
}

impl Together {
    fn read(&self, rng: &mut fastrand::Rng) {
        let number = rng.u8(..BLOBS);
        let bytes = blob(number);
        let mut blob = match self.store.blob(&ContentId::of(&bytes)) {
            Ok(blob) => blob,
            Err(ReadError::NotFound(_) | ReadError::Unavailable { fault: Fault::Missing, .. }) => return,
            // A download that ended since it was looked up.
            Err(ReadError::Store(StoreError::Io { source, .. })) if source.kind() == ErrorKind::NotFound => return,
            Err(error) => panic!("{error}"),
        };
        for range in blob.ranges() {
            let start = rng.u64(range.clone());
            let end = range.end.min(start + rng.u64(1..DATA_BYTES));
            match blob.read(start..end) {
                Ok(read) => assert!(read == bytes[start as usize..end as usize], "wrong bytes"),
                // It was taken away, or its download has become another's.
                Err(ReadError::Damaged { .. } | ReadError::Store(StoreError::NotFound(_))) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn write(&self, rng: &mut fastrand::Rng) {
        let number = rng.u8(..BLOBS);
        let (bytes, to) = (blob(number), name(number, rng.u8(..NAMES)));
        let id = ContentId::of(&bytes);
        let result = match rng.u8(..4) {
            0 if bytes.len() as u64 <= GROUP_BYTES => self.store.put_small(vec![SmallBlob { id, bytes, to }]).map(drop),
            0 | 1 => {
                let path = self.files.path().join(number.to_string());
                let imported = self.store.import_copy(&path, &to, &mut go_on).unwrap();
                self.store.commit(vec![imported])
            }
            2 => self.store.place(&id, &to),
            _ => self.download(&id, bytes.len() as u64, &to),
        };
        match result {
            Ok(()) | Err(StoreError::Busy(_) | StoreError::AlreadyHere(_) | StoreError::NotFound(_)) => {}
            // Somebody took away what stood there.
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn download(&self, id: &ContentId, size: u64, to: &LibraryPath) -> Result<(), StoreError> {
        let download = self.store.download(*id, size)?;
        let mut source = self.source.blob(id).unwrap();
        for range in pieces(download.missing()).collect::<Vec<_>>() {
            download.write(range.clone(), &source.encode(range).unwrap()).unwrap();
        }
        download.finish(to).map_err(|error| match error {
            WriteError::Store(error) => error,
            error => panic!("{error}"),
        })
    }

    fn take_away(&self, rng: &mut fastrand::Rng) {
        let number = rng.u8(..BLOBS);
        let id = ContentId::of(&blob(number));
        match rng.u8(..3) {
            0 => match self.store.verify(&id, &mut go_on) {
                // One that was replaced while it was read counts as changed; that must not be written down.
                Ok(Verified::Good | Verified::Bad { fault: Fault::Missing | Fault::Changed, .. }) => {}
                Err(StoreError::NotFound(_)) => {}
                other => panic!("{other:?}"),
            },
            _ => {
                let names = (0..rng.u8(1..=NAMES)).map(|at| (id, self.store.library().join(name(number, at).as_str())));
                self.store.remove(&names.collect::<Vec<_>>()).unwrap();
            }
        }
    }

    /// What the index says is there, and nothing else.
    fn check(&self) {
        let mut known = BTreeSet::new();
        self.store
            .for_each(&mut |id, info| {
                assert_eq!(info.state, BlobState::Complete, "{id}");
                known.extend(info.paths.iter().cloned());
                ControlFlow::Continue(())
            })
            .unwrap();
        let mut found = BTreeSet::new();
        for folder in fs::read_dir(self.store.library()).unwrap() {
            found.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
        }
        assert_eq!(found, known);
        for number in 0..BLOBS {
            let bytes = blob(number);
            if let Ok(mut blob) = self.store.blob(&ContentId::of(&bytes)) {
                let read = pieces(blob.ranges()).collect::<Vec<_>>();
                assert!(read.into_iter().flat_map(|range| blob.read(range).unwrap()).eq(bytes));
            }
        }
    }
}

#[test]
fn readers_writers_and_removals_do_not_get_into_each_others_way() {
    let (here, there, files) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let source = open(there.path());
    for number in 0..BLOBS {
        let path = files.path().join(number.to_string());
        fs::write(&path, blob(number)).unwrap();
        import(&source, &path);
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let together = Together { store: open(here.path()), source, files };
    thread::scope(|scope| {
        let work: [fn(&Together, &mut fastrand::Rng); 5] =
            [Together::read, Together::read, Together::write, Together::write, Together::take_away];
        for (thread, work) in (0..).zip(work) {
            let (together, mut rng) = (&together, fastrand::Rng::with_seed(seed + thread));
            scope.spawn(move || (0..ROUNDS).for_each(|_| work(together, &mut rng)));
        }
    });
    together.check();
    let Together { store, source, files } = together;
    drop(store);
    Together { store: open(here.path()), source, files }.check();
}
