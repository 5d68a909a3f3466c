//! Rot: what is right is kept, what is wrong is fetched again, and no name is lost.

use super::*;

const SIZE: u64 = 20 * GROUP_BYTES + 77;

/// A source, a target that has the blob under its names, and its bytes.
struct Pair {
    folders: (TempDir, TempDir),
    source: Store,
    target: Store,
    id: ContentId,
    bytes: Vec<u8>,
}

impl Pair {
    fn new(names: &[&str]) -> Self {
        let folders = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let bytes = content(SIZE as usize, 40);
        let (source, id) = with_file(&folders.0, &bytes);
        let pair = Self { source, target: open(folders.1.path()), id, bytes, folders };
        pair.repair(names[0]);
        names[1..].iter().for_each(|name| pair.target.place(&id, &to(name)).unwrap());
        pair
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.target.library().join(name)
    }

    /// Turns bits of a file without anybody noticing.
    fn rot(&self, path: &Path, groups: &[u64]) {
        let metadata = fs::metadata(path).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        for group in groups {
            let at = group * GROUP_BYTES + 5;
            file.write_all_at(&[!self.bytes[at as usize]], at).unwrap();
        }
        file.set_modified(metadata.modified().unwrap()).unwrap();
    }

    fn verify(&self) -> Verified {
        self.target.verify(&self.id, &mut go_on).unwrap()
    }

    /// Fetches what is missing; how many bytes that were.
    fn repair(&self, name: &str) -> u64 {
        let download = self.target.download(self.id, SIZE).unwrap();
        let fetched = self.fetch(&download);
        download.finish(&to(name)).unwrap();
        fetched
    }

    fn fetch(&self, download: &Download) -> u64 {
        let mut blob = self.source.blob(&self.id).unwrap();
        let mut fetched = 0;
        for range in pieces(download.missing()) {
            fetched += range.end - range.start;
            download.write(range.clone(), &blob.encode(range).unwrap()).unwrap();
        }
        fetched
    }

    /// All is as it should be, and nothing else is there.
    fn check(&self, names: &[&str]) {
        for name in names {
            assert!(fs::read(self.file(name)).unwrap() == self.bytes, "{name} is right");
        }
        let listed = fs::read_dir(self.target.library()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(listed.count(), names.len(), "nothing was set aside");
        assert_eq!(fs::read_dir(self.folders.1.path().join("incoming")).unwrap().count(), 0);
        assert_eq!(state(&self.target, &self.id), BlobState::Complete);
        let right = fs::read(self.source.outboard_path(&self.id)).unwrap();
        assert!(fs::read(self.target.outboard_path(&self.id)).unwrap() == right, "the outboard is right");
        assert_eq!(self.verify(), Verified::Good);
    }
}

#[test]
fn only_what_rotted_is_fetched_again() {
    let pair = Pair::new(&["book"]);
    pair.rot(&pair.file("book"), &[7, 20]);
    assert_eq!(fault(pair.verify()), Some(Fault::Damaged));
    assert!(matches!(pair.target.download(pair.id, SIZE + 1), Err(StoreError::WrongSize { .. })));
    assert_eq!(pair.repair("book"), GROUP_BYTES + 77);
    pair.check(&["book"]);
}

#[test]
fn a_repair_survives_a_power_cut_at_its_beginning_and_its_end() {
    let mut pair = Pair::new(&["book", "other"]);
    pair.rot(&pair.file("book"), &[7]);
    assert_eq!(fault(pair.verify()), Some(Fault::Damaged));
    let taken = pair.target.totals().library_bytes;
    drop(pair.target.download(pair.id, SIZE).unwrap());
    assert_eq!((taken, pair.target.totals().library_bytes), (SIZE, SIZE), "its room is counted once");
    // Even if what is there is looked at meanwhile.
    assert_eq!(fault(pair.verify()), Some(Fault::Missing));
    let folder = pair.folders.1.path().to_owned();
    let reopen = |pair: &mut Pair| {
        pair.target = open(&pair.folders.0.path().join("elsewhere"));
        pair.target = open(&folder);
    };
    reopen(&mut pair);
    assert!(matches!(state(&pair.target, &pair.id), BlobState::Partial { .. }));
    let download = pair.target.download(pair.id, SIZE).unwrap();
    assert_eq!(pair.fetch(&download), GROUP_BYTES);
    // All but the record and the end of the note.
    let (part, book) = (pair.target.part_path(&pair.id), pair.file("book"));
    pair.target.note(Doing::Naming, &[unfinished::Noted::named(pair.id, b"book")], true).unwrap();
    drop(download);
    fs::rename(part, book).unwrap();
    reopen(&mut pair);
    pair.check(&["book", "other"]);
}

#[test]
fn what_was_salvaged_is_not_given_up_for_want_of_room() {
    let mut pair = Pair::new(&["book"]);
    pair.rot(&pair.file("book"), &[7]);
    assert_eq!(fault(pair.verify()), Some(Fault::Damaged));
    let folder = pair.folders.1.path().to_owned();
    let reopen = |pair: &mut Pair, reserve_bytes| {
        pair.target = open(&pair.folders.0.path().join("elsewhere"));
        pair.target = Store::open(&folder, Options { reserve_bytes, ..Options::default() }).unwrap();
    };
    let too_much = pair.target.totals().free_bytes * 2;
    reopen(&mut pair, too_much);
    assert_eq!(pair.target.room_for(&pair.id, SIZE).unwrap(), 0);
    assert!(matches!(pair.target.download(pair.id, SIZE), Err(StoreError::NoSpace { .. })));
    reopen(&mut pair, 0);
    assert_eq!(pair.repair("book"), GROUP_BYTES);
    pair.check(&["book"]);
}

#[test]
fn a_wrong_outboard_is_right_again_too() {
    for damage in [None, Some(0), Some(640)] {
        let pair = Pair::new(&["book"]);
        pair.rot(&pair.file("book"), &[3]);
        assert_eq!(fault(pair.verify()), Some(Fault::Damaged));
        let outboard = pair.target.outboard_path(&pair.id);
        match damage {
            None => fs::remove_file(&outboard).unwrap(),
            Some(at) => fs::File::options().write(true).open(&outboard).unwrap().write_all_at(b"rot", at).unwrap(),
        }
        let fetched = pair.repair("book");
        assert!((GROUP_BYTES..=SIZE).contains(&fetched));
        pair.check(&["book"]);
    }
}

#[test]
fn all_names_of_a_rotten_file_come_back() {
    let names = ["book", "edition", "waiting"];
    let pair = Pair::new(&names);
    assert_eq!(fs::metadata(pair.file("book")).unwrap().nlink(), 3);
    pair.rot(&pair.file("book"), &[0]);
    assert_eq!(fault(pair.verify()), Some(Fault::Damaged));
    assert_eq!(pair.repair("edition"), GROUP_BYTES);
    pair.check(&names);
    assert_eq!(fs::metadata(pair.file("book")).unwrap().nlink(), 3);
}

#[test]
fn a_file_that_others_have_too_is_not_written_to() {
    let pair = Pair::new(&["book"]);
    let theirs = pair.folders.1.path().join("theirs");
    fs::hard_link(pair.file("book"), &theirs).unwrap();
    pair.rot(&theirs, &[1]);
    let rotten = fs::read(&theirs).unwrap();
    assert_eq!(fault(pair.verify()), Some(Fault::Damaged));
    assert_eq!(pair.repair("book"), GROUP_BYTES, "the rest is copied");
    pair.check(&["book"]);
    assert!(fs::read(&theirs).unwrap() == rotten && rotten != pair.bytes);
}

#[test]
fn a_rotten_file_of_the_owner_stays_as_it_is() {
    let pair = Pair::new(&["book"]);
    let own = pair.folders.0.path().join("file.bin");
    pair.rot(&own, &[2]);
    let rotten = fs::read(&own).unwrap();
    assert_eq!(fault(pair.source.verify(&pair.id, &mut go_on).unwrap()), Some(Fault::Damaged));
    let download = pair.source.download(pair.id, SIZE).unwrap();
    let bad = 2 * GROUP_BYTES..3 * GROUP_BYTES;
    assert_eq!(download.missing(), vec![bad.clone()]);
    let encoded = pair.target.blob(&pair.id).unwrap().encode(bad.clone()).unwrap();
    download.write(bad, &encoded).unwrap();
    download.finish(&to("book")).unwrap();
    assert!(fs::read(&own).unwrap() == rotten);
    assert_eq!(state(&pair.source, &pair.id), BlobState::Complete);
    assert!(fs::read(pair.source.library().join("book")).unwrap() == pair.bytes);
}

#[test]
fn what_somebody_changed_is_set_aside_whole() {
    let pair = Pair::new(&["book"]);
    fs::write(pair.file("book"), b"a note of mine").unwrap();
    assert_eq!(fault(pair.verify()), Some(Fault::Changed));
    pair.repair("book");
    assert!(fs::read(pair.file("book")).unwrap() == pair.bytes);
    assert_eq!(fs::read(pair.file("book (set aside 1)")).unwrap(), b"a note of mine");
}

#[test]
fn a_good_copy_mends_a_rotten_one_without_a_peer() {
    let pair = Pair::new(&["book"]);
    fs::write(pair.folders.1.path().join("own"), &pair.bytes).unwrap();
    import(&pair.target, &pair.folders.1.path().join("own"));
    pair.rot(&pair.file("book"), &[4]);
    assert_eq!(pair.verify(), Verified::Good);
    pair.check(&["book"]);
}

#[test]
fn a_small_file_that_rotted_is_replaced() {
    let dir = TempDir::new().unwrap();
    let (store, id) = (open(dir.path()), ContentId::of(b"small"));
    let path = store.library().join("a");
    store.put_small(vec![small(b"small", "a")]).unwrap();
    store.place(&id, &to("b")).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    fs::write(&path, b"smell").unwrap();
    set_mtime(&path, &metadata);
    assert_eq!(fault(store.verify(&id, &mut go_on).unwrap()), Some(Fault::Damaged));
    assert!(matches!(store.put_small(vec![small(b"small", "a")]).unwrap()[..], [PutOutcome::Stored]));
    for name in ["a", "b"] {
        assert_eq!(fs::read(store.library().join(name)).unwrap(), b"small");
    }
    assert_eq!(fs::read_dir(store.library()).unwrap().count(), 2);
    assert_eq!(store.verify(&id, &mut go_on).unwrap(), Verified::Good);
}

#[test]
fn a_repair_that_nobody_wants_any_more_leaves_nothing() {
    let pair = Pair::new(&["book"]);
    pair.rot(&pair.file("book"), &[7]);
    assert_eq!(fault(pair.verify()), Some(Fault::Damaged));
    drop(pair.target.download(pair.id, SIZE).unwrap());
    assert!(remove(&pair.target, &pair.id, &pair.file("book")));
    assert_eq!(fs::read_dir(pair.folders.1.path().join("incoming")).unwrap().count(), 0);
    assert!(!pair.target.outboard_path(&pair.id).exists());
}
