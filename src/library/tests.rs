//! The catalogue over a real store.

use std::{
    fs,
    ops::ControlFlow,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::*;
use crate::{content::ContentId, store};

/// A node's library in a folder of its own.
pub(super) struct Node {
    pub folder: tempfile::TempDir,
    pub library: Arc<Library>,
    seed: u8,
}

impl Node {
    pub fn new(seed: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = open(folder.path(), seed);
        Self { folder, library, seed }
    }

    /// A node with bounds of its disk.
    pub fn with(seed: u8, options: store::Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = open_with(folder.path(), seed, options);
        Self { folder, library, seed }
    }

    /// Stops and starts.
    pub fn restart(self) -> Self {
        let Self { folder, library, seed } = self;
        drop(library);
        let library = open(folder.path(), seed);
        Self { folder, library, seed }
    }

    pub fn add(&self, path: &Path) -> AddReport {
        self.library.add(&request(path), &mut go_on).unwrap()
    }

    pub fn paths(&self, key: &CollectionKey) -> Vec<String> {
        self.library.items(key, 0, 1000).unwrap().into_iter().map(|entry| entry.item.path.into_string()).collect()
    }
}

pub(super) fn go_on<T>(_: T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn open(folder: &Path, seed: u8) -> Arc<Library> {
    open_with(folder, seed, store::Options::default())
}

fn open_with(folder: &Path, seed: u8, options: store::Options) -> Arc<Library> {
    // What was stopped may still be at its last piece of work.
    let give_up = crate::clock::now() + std::time::Duration::from_secs(30);
    let store = loop {
        match Store::open(&folder.join("data"), options.clone()) {
            Err(store::StoreError::Locked { .. }) if crate::clock::now() < give_up => std::thread::yield_now(),
            store => break store.unwrap(),
        }
    };
    Arc::new(Library::open(Arc::new(store), &folder.join("data"), SigningKey::from_bytes(&[seed; 32])).unwrap())
}

pub(super) fn request(path: &Path) -> AddRequest {
    AddRequest { paths: vec![path.to_owned()], ..AddRequest::default() }
}

/// A folder of this name with these files below `parent`.
pub(super) fn folder(parent: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = parent.join(name);
    fs::create_dir_all(&folder).unwrap();
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

#[test]
fn a_folder_becomes_a_collection() {
    let node = Node::new(1);
    let files = [("b.txt", "b"), ("a/x.txt", "ax"), ("a.txt", "a"), (".hidden", "h"), ("a/.git/x", "g"), ("empty", "")];
    let books = folder(node.folder.path(), "Books", &files);
    let report = node.add(&books);
    assert_eq!((report.added, report.added_bytes, report.failed, report.skipped), (4, 4, 0, 0));
    let summary = report.collection;
    assert_eq!((&*summary.name, &*summary.folder, summary.version, summary.items), ("Books", "Books", 1, 4));
    assert!(summary.mine && !summary.followed);
    assert_eq!((summary.held_items, summary.held_bytes), (4, 4));
    assert_eq!(node.paths(&summary.key), ["a.txt", "a/x.txt", "b.txt", "empty"]);
    let entry = node.library.item(&summary.key, "a/x.txt").unwrap().unwrap();
    assert_eq!((entry.item.id, entry.held, entry.offered), (ContentId::of(b"ax"), true, true));
    assert_eq!(node.library.item(&summary.key, ".hidden").unwrap(), None);
    assert_eq!(node.library.collection("Books").unwrap().key, summary.key);

    let node = node.restart();
    assert_eq!(node.library.collections(), [summary]);
}

#[test]
fn adding_again_finds_what_changed() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("b", "2"), ("sub/c", "3")]);
    let first = node.add(&books);
    let same = node.add(&books);
    assert_eq!((same.added, same.unchanged, same.collection.version), (0, 3, first.collection.version));
    fs::remove_file(books.join("a")).unwrap();
    fs::write(books.join("b"), "22").unwrap();
    fs::write(books.join("d"), "4").unwrap();
    let changed = node.add(&books);
    assert_eq!((changed.added, changed.unchanged, changed.removed), (2, 1, 1));
    assert_eq!(changed.collection.version, 2);
    assert_eq!(node.paths(&changed.collection.key), ["b", "d", "sub/c"]);
    assert_eq!(node.library.store().info(&ContentId::of(b"1")).unwrap(), None, "nobody lists it any more");
    let version = node.restart().add(&books).collection.version;
    assert_eq!(version, 2, "nothing changed");
}

#[test]
fn several_sources_share_a_collection() {
    let node = Node::new(1);
    let parent = node.folder.path();
    let one = folder(parent, "one/docs", &[("x.txt", "1"), ("y.txt", "y")]);
    let two = folder(parent, "two/docs", &[("x.txt", "2")]);
    let add = |paths: &[&Path], collection: Option<&str>| {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        let request = AddRequest { paths, collection: collection.map(str::to_owned), ..AddRequest::default() };
        node.library.add(&request, &mut go_on).unwrap().collection.key
    };
    let key = add(&[&one, &two], Some("All"));
    assert_eq!(node.paths(&key), ["docs (2)/x.txt", "docs/x.txt", "docs/y.txt"]);
    assert_eq!(add(&[&one.join("x.txt"), &two.join("x.txt")], Some("All")), key);
    assert_eq!(node.paths(&key), ["docs (2)/x.txt", "docs/x.txt", "docs/y.txt", "x (2).txt", "x.txt"]);
    fs::remove_file(one.join("y.txt")).unwrap();
    add(&[&one], Some("All"));
    assert_eq!(node.paths(&key), ["docs (2)/x.txt", "docs/x.txt", "x (2).txt", "x.txt"], "only its own are gone");
    assert_ne!(add(&[&two.join("x.txt")], None), key);
    assert!(node.library.collection("Shared").is_some());
}

#[test]
fn odd_files_have_a_defined_outcome() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("real.txt", "r"), (".secret/key", "k")]);
    let odd = |bytes: &[u8]| books.join(std::ffi::OsString::from_vec(bytes.to_vec()));
    fs::write(odd(b"x\xff.txt"), "1").unwrap();
    fs::write(odd(b"x\xfe.txt"), "2").unwrap();
    fs::write(odd("x\u{fffd}.txt".as_bytes()), "3").unwrap();
    fs::write(odd(b"line\nbreak"), "4").unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, books.join(name)).unwrap();
    link("real.txt", "link.txt");
    link("/etc/hostname", "out.txt");
    link(".secret/key", "hidden.txt");
    link("nowhere", "dangling.txt");
    link(".", "loop");
    rustix::fs::mkfifoat(rustix::fs::CWD, books.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let mut skipped = Vec::new();
    let report = node.library.add(&request(&books), &mut |event| {
        if let AddEvent::Skipped { path, .. } = event {
            skipped.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
        ControlFlow::Continue(())
    });
    let key = report.unwrap().collection.key;
    let paths =
        ["line\u{fffd}break", "link.txt", "real.txt", "x\u{fffd} (2).txt", "x\u{fffd} (3).txt", "x\u{fffd}.txt"];
    assert_eq!(node.paths(&key), paths);
    assert_eq!(node.library.item(&key, "x\u{fffd}.txt").unwrap().unwrap().item.id, ContentId::of(b"3"));
    skipped.sort();
    assert_eq!(skipped, ["dangling.txt", "hidden.txt", "loop", "out.txt", "pipe"]);
    assert_eq!(node.add(&books).unchanged, 6);
}

#[test]
fn what_was_probably_not_meant_is_refused() {
    let node = Node::new(1);
    let add = |path: &str| node.library.add(&request(Path::new(path)), &mut go_on).unwrap_err();
    assert!(matches!(add("/"), LibraryError::NeedsYes { .. }));
    assert!(matches!(add("/root"), LibraryError::NeedsYes { .. }));
    assert!(matches!(add("/no/such/file"), LibraryError::Unreadable(_)));
    assert!(matches!(add("/dev/null"), LibraryError::Refused { .. }));
    let data = node.folder.path().join("data");
    assert!(matches!(node.library.add(&request(&data), &mut go_on), Err(LibraryError::Refused { .. })));
    let books = folder(node.folder.path(), "Books", &[("a", "1")]);
    let bad = AddRequest { collection: Some("a\nb".into()), ..request(&books) };
    assert!(matches!(node.library.add(&bad, &mut go_on), Err(LibraryError::Name(_))));
    // The data folder inside a shared one is left out.
    let report = node.add(node.folder.path());
    assert_eq!((report.skipped, node.paths(&report.collection.key)), (1, vec!["Books/a".to_owned()]));
}

#[test]
fn copies_stand_in_the_library() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a/b.txt", "1"), ("c", "3")]);
    let copy = AddRequest { copy: true, ..request(&books) };
    let key = node.library.add(&copy, &mut go_on).unwrap().collection.key;
    let copied = node.folder.path().join("data/library/Books/a/b.txt");
    assert_eq!(fs::read_to_string(&copied).unwrap(), "1");
    fs::write(books.join("a/b.txt"), "22").unwrap();
    assert_eq!(node.library.add(&copy, &mut go_on).unwrap().added, 1);
    assert_eq!(fs::read_to_string(&copied).unwrap(), "22");
    assert_eq!(fs::read_dir(copied.parent().unwrap()).unwrap().count(), 1, "the old copy is gone");
    fs::remove_file(books.join("a/b.txt")).unwrap();
    node.library.add(&copy, &mut go_on).unwrap();
    assert!(!copied.exists());
    assert_eq!(node.paths(&key), ["c"]);
}

#[test]
fn removing_takes_out_of_the_collection_and_leaves_the_files() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("b/c", "2"), ("b/d", "3"), ("bb", "2")]);
    let key = node.add(&books).collection.key;
    let remove = |what| node.library.remove(&key, &what);
    assert_eq!(remove(Remove::Path("b/d".into())).unwrap(), Removed { items: 1, bytes: 1 });
    assert!(books.join("b/d").exists());
    assert_eq!(node.library.store().info(&ContentId::of(b"3")).unwrap(), None);
    remove(Remove::Path("b".into())).unwrap();
    assert_eq!(node.paths(&key), ["a", "bb"]);
    assert!(node.library.item(&key, "bb").unwrap().unwrap().held, "the same bytes are still listed elsewhere");
    remove(Remove::Id(ContentId::of(b"2"))).unwrap();
    assert!(matches!(remove(Remove::Path("b".into())), Err(LibraryError::NoItem)));
    remove(Remove::Collection).unwrap();
    assert_eq!(node.library.collections(), []);
    let version = node.library.heads()[0].version;
    assert_eq!(node.add(&books).collection.key, key, "the name is that collection's for ever");
    assert_eq!(node.library.heads()[0].version, version + 1);
}

#[test]
fn a_file_of_the_library_stays_whoever_shares_it_too() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1")]);
    let copy = AddRequest { copy: true, ..request(&books) };
    let key = node.library.add(&copy, &mut go_on).unwrap().collection.key;
    let best = node.folder.path().join("data/library/Books/a");
    let best = AddRequest { collection: Some("Best".to_owned()), ..request(&best) };
    let best = node.library.add(&best, &mut go_on).unwrap().collection.key;
    assert_eq!(node.library.remove(&best, &Remove::Collection).unwrap().items, 1);
    assert!(node.library.item(&key, "a").unwrap().unwrap().held);
    assert!(node.folder.path().join("data/library/Books/a").exists());
}

#[test]
fn what_is_gone_is_forgotten_whatever_its_name() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1")]);
    let odd = books.join(std::ffi::OsString::from_vec(b"odd \xff".to_vec()));
    fs::write(&odd, "2").unwrap();
    node.add(&books);
    assert_eq!(node.library.store().totals().blobs, 2);
    fs::remove_file(&odd).unwrap();
    assert_eq!(node.add(&books).removed, 1);
    assert_eq!(node.library.store().totals().blobs, 1);
}

#[test]
fn search_finds_in_all_collections() {
    let node = Node::new(1);
    let one = folder(node.folder.path(), "One", &[("Jane Austen - Emma.txt", "1"), ("x/Émma.txt", "2")]);
    let two = folder(node.folder.path(), "Two", &[("emmanuel.txt", "3"), ("dilemma.txt", "4")]);
    let (one, _two) = (node.add(&one).collection.key, node.add(&two).collection.key);
    let found = |words, within, offset, limit| node.library.search(words, within, offset, limit).unwrap();
    let all = found("EMMA", None, 0, 10);
    assert_eq!((all.total, all.hits.len()), (3, 3));
    assert_eq!(found("emma", Some(&one), 0, 10).total, 2);
    assert_eq!(found("emma austen", None, 0, 10).hits[0].entry.item.author.to_string(), "Jane Austen");
    let second = found("emma", None, 1, 1);
    assert_eq!((second.total, &second.hits[..]), (3, &all.hits[1..2]));
    assert_eq!(found("  ", None, 0, 10).total, 0);
}

#[test]
fn a_damaged_manifest_is_published_again_above_its_version() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1")]);
    let key = node.add(&books).collection.key;
    let manifest = node.library.manifest_path(&key, "manifest");
    let whole = fs::read(&manifest).unwrap();
    let mut page = whole.clone();
    page[10] ^= 1;
    let mut node = node;
    for (damaged, version) in [(b"garbage".to_vec(), 2), (page, 3), (whole[1..].to_vec(), 4)] {
        fs::write(&manifest, damaged).unwrap();
        node = node.restart();
        assert_eq!(node.library.collections(), []);
        let again = node.add(&books).collection;
        assert_eq!((again.key, again.version, again.items), (key, version, 1));
    }
}

#[test]
fn a_long_add_publishes_on_its_way() {
    let node = Node::new(1);
    let count = crate::limits::library::ADD_PUBLISH_ITEMS + 10;
    let books = folder(node.folder.path(), "Books", &[]);
    for at in 0..count {
        fs::write(books.join(format!("{at}.txt")), at.to_string()).unwrap();
    }
    let mut versions = Vec::new();
    let report = node.library.add(&request(&books), &mut |event| {
        if let AddEvent::Published { version, items } = event {
            versions.push((version, items));
        }
        ControlFlow::Continue(())
    });
    assert_eq!(versions, [(1, count as u64 - 10), (2, count as u64)]);
    let key = report.unwrap().collection.key;
    let fifth = &node.library.items(&key, 5, 1).unwrap()[0];
    assert_eq!(node.library.item(&key, &fifth.item.path).unwrap().as_ref(), Some(fifth));
    assert_eq!(node.library.search("8191", None, 0, 10).unwrap().total, 1);
}

#[test]
fn an_add_can_be_stopped_within_a_file() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1")]);
    let before = node.add(&books).collection;
    fs::write(books.join("b"), "2").unwrap();
    fs::File::create(books.join("c")).unwrap().set_len(64 << 20).unwrap();
    for copy in [false, true] {
        let add = AddRequest { copy, ..request(&books) };
        let mut told = Vec::new();
        let end = node.library.add(&add, &mut |event| match event {
            AddEvent::File { done, size, .. } if size > 1 && done > 0 => ControlFlow::Break(()),
            event => {
                told.push(event);
                ControlFlow::Continue(())
            }
        });
        assert!(matches!(end, Err(LibraryError::Store(store::StoreError::Stopped))), "{end:?}");
        assert!(!told.iter().any(|event| matches!(event, AddEvent::Published { .. })), "{told:?}");
        assert_eq!(node.library.collections(), std::slice::from_ref(&before));
        for left in ["data/incoming", "data/outboard"] {
            assert_eq!(fs::read_dir(node.folder.path().join(left)).unwrap().count(), 0, "{left}");
        }
    }
    fs::remove_file(books.join("c")).unwrap();
    assert_eq!(node.paths(&node.add(&books).collection.key), ["a", "b"]);
}

#[test]
fn the_catalogue_outlives_the_index() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("b/c", "2")]);
    let copy = AddRequest { copy: true, ..request(&books) };
    let before = node.library.add(&copy, &mut go_on).unwrap().collection;
    let Node { folder, library, seed } = node;
    drop(library);
    fs::remove_dir_all(folder.path().join("data/index")).unwrap();
    let library = open(folder.path(), seed);
    let node = Node { folder, library, seed };
    assert!(!node.library.item(&before.key, "a").unwrap().unwrap().held);
    node.library.restore(&mut |_| ()).unwrap();
    assert_eq!(node.library.collections(), std::slice::from_ref(&before));
    assert!(node.library.item(&before.key, "b/c").unwrap().unwrap().held);
    let again = node.library.add(&copy, &mut go_on).unwrap();
    assert_eq!((again.collection.key, again.unchanged), (before.key, 2));
}

#[test]
fn what_was_cut_short_is_swept_away() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("b", "2")]);
    let shared = folder(node.folder.path(), "Shared", &[("x", "3")]);
    let copies = AddRequest { copy: true, ..request(&books) };
    let key = node.library.add(&copies, &mut |_| ControlFlow::Continue(())).unwrap().collection.key;
    let other = node.add(&shared).collection.key;
    // As if adds of both had ended before they published: files are taken in that nobody lists.
    let store = node.library.store();
    let take_in = |path: &Path, content: &str, to: Option<&str>| {
        fs::write(path, content).unwrap();
        let go_on = &mut |_| ControlFlow::Continue(());
        let imported = match to {
            Some(to) => store.import_copy(path, &store::LibraryPath::new(to).unwrap(), go_on),
            None => store.import_in_place(path, go_on),
        };
        store.commit(vec![imported.unwrap()]).unwrap();
        ContentId::of(content.as_bytes())
    };
    let left = [take_in(&books.join("c"), "left", Some("Books/c")), take_in(&shared.join("y"), "left too", None)];
    node.library.sweep().unwrap();
    assert!(left.iter().all(|id| store.info(id).unwrap().is_some()), "nothing was cut short");
    node.library.set_unfinished(&key, true).unwrap();
    node.library.set_unfinished(&other, true).unwrap();
    let node = node.restart();
    node.library.sweep().unwrap();
    let store = node.library.store();
    assert!(left.iter().all(|id| store.info(id).unwrap().is_none()));
    assert!(!store.library().join("Books/c").exists() && shared.join("y").exists());
    for (key, path) in [(key, "a"), (key, "b"), (other, "x")] {
        assert!(node.library.item(&key, path).unwrap().unwrap().held, "{path}");
    }
    assert_eq!(fs::read_dir(store.library().join("Books")).unwrap().count(), 2);
}

#[test]
fn a_copy_whose_successor_was_cut_short_gets_its_name_back() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1")]);
    let copies = AddRequest { copy: true, ..request(&books) };
    let key = node.library.add(&copies, &mut go_on).unwrap().collection.key;
    // As if an add had ended between taking the new edition in and publishing it.
    let old = node.library.item(&key, "a").unwrap().unwrap().item;
    let copy = node.library.store().library().join("Books/a");
    let waiting = editions::set_back(&node.library, "Books", &[(old, copy.clone())]).unwrap().remove(0).unwrap();
    assert!(waiting.exists() && !copy.exists());
    node.library.set_unfinished(&key, true).unwrap();
    let node = node.restart();
    node.library.sweep().unwrap();
    assert!(!waiting.exists() && fs::read(&copy).unwrap() == b"1");
    assert_eq!(node.library.store().info(&ContentId::of(b"1")).unwrap().unwrap().paths, [copy]);
}

#[test]
fn downloads_of_what_nobody_lists_are_given_up() {
    let node = Node::new(1);
    let (listed, unlisted) = (ContentId::of(&[1; 70_000]), ContentId::of(&[2; 70_000]));
    let mut item = item::sample("a", &[1; 70_000]);
    item.id = listed;
    let own = node.library.own(Text::cut("Books")).unwrap();
    node.library.publish(&own, &BTreeMap::from([("a".to_owned(), Some(item))]), &mut |_| true).unwrap();
    for id in [listed, unlisted] {
        drop(node.library.store().download(id, 70_000).unwrap());
    }
    let node = node.restart();
    node.library.sweep().unwrap();
    assert_eq!(node.library.store().begun(), [listed]);
    assert_eq!(fs::read_dir(node.folder.path().join("data/incoming")).unwrap().count(), 1);
    // Nobody knows what a damaged manifest lists.
    drop(node.library.store().download(unlisted, 70_000).unwrap());
    fs::write(node.library.manifest_path(&own.key, "manifest"), "garbage").unwrap();
    let node = node.restart();
    node.library.sweep().unwrap();
    assert_eq!(node.library.store().begun().len(), 2);
}

#[test]
fn what_came_is_looked_for_in_the_manifest_only_if_that_has_changed() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("1.txt", "one")]);
    let key = node.add(&books).collection.key;
    let came: Vec<_> = node.library.items(&key, 0, 10).unwrap().into_iter().map(|entry| (entry.item, false)).collect();
    let version = node.library.summary(&key).unwrap().version;
    let manifest = node.library.manifest_path(&key, "manifest");
    fs::write(&manifest, "whoever opens this fails").unwrap();

    node.library.put_in_order(&key, version, &came).expect("it was opened for the version that it has");
    node.library.put_in_order(&key, version + 1, &came).expect_err("another version was not looked at");
    assert!(node.library.store().info(&came[0].0.id).unwrap().is_some());
}
