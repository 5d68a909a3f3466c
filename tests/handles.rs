//! A process without file handles. The only test here: it takes those of the whole process.

use std::{fs, fs::File, ops::ControlFlow};

use allibrary::store::{BlobState, LibraryPath, Options, Store};
use rustix::process::{Resource, Rlimit, setrlimit};

#[test]
fn what_cannot_be_opened_for_want_of_handles_is_not_taken_for_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("book.pdf");
    fs::write(&path, vec![7; 300_000]).unwrap();
    let store = Store::open(&folder.path().join("data"), Options::default()).unwrap();
    let imported = store.import_in_place(&path, &mut |_| ControlFlow::Continue(())).unwrap();
    let id = imported.id();
    store.commit(vec![imported]).unwrap();

    let copy = store.library().join("book.pdf");
    let imported =
        store.import_copy(&path, &LibraryPath::new("book.pdf").unwrap(), &mut |_| ControlFlow::Continue(())).unwrap();
    store.commit(vec![imported]).unwrap();

    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty() && taken.len() < 64);
    assert!(store.blob(&id).is_err());
    assert!(store.verify(&id, &mut |_| ControlFlow::Continue(())).is_err());
    // Whatever is left of them, a file stays only if the removal says that it failed.
    while store.remove(&[(id, copy.clone())]).is_err() {
        assert!(taken.pop().is_some(), "with all of them it works");
    }
    assert!(!copy.exists());
    drop(taken);

    assert_eq!(store.info(&id).unwrap().unwrap().state, BlobState::Complete);
    assert_eq!(store.blob(&id).unwrap().read(0..10).unwrap(), [7; 10]);
}
