//! Files that change while they come, and names that pass from one to the other.

use proptest::prelude::*;

use super::*;
use crate::{library::names, limits::transfer::SMALL_BYTES, store::LibraryPath, transfer::Paused};

#[test]
fn an_edition_that_comes_late_does_not_take_the_place_of_the_new_one() {
    let (a, b) = (Node::new(1), Node::new(2));
    let [old, new] = ["1", "2"].map(|text| text.repeat(60_000));
    let books = library_of(a.folder.path(), &[("page", &*old)]);
    a.add(&books);
    let slow = b.follow(Link { is_slow: true, ..Link::to(&a) });
    until("the slow one sends", || slow.link.blobs.load(Relaxed) > 0);
    fs::write(books.join("page"), &new).unwrap();
    a.add(&books);
    let quick = Link::to(&a);
    let task = smol::spawn(follow_peer(Arc::clone(&slow.follower), NodeId([9; 32]), quick));
    until("all of the old one has come", || slow.link.blobs.load(Relaxed) >= old.len() as u64);
    until("it is done with", || slow.follower.transfers(crate::clock::now()).is_empty());
    let all = BTreeMap::from([("Books/page".into(), new)]);
    until("the new one stands there, alone", || b.is_whole("Books", 2) && b.files() == all);
    drop(task);
    slow.stop();
}

#[test]
fn what_has_come_is_put_in_order_though_its_peer_is_gone() {
    let (a, b) = (Node::new(1), Node::new(2));
    let [page, film] = [60_000, SMALL_BYTES as usize + 1].map(|len| "1".repeat(len));
    a.add(&library_of(a.folder.path(), &[("film", &*film), ("page", &*page)]));
    let link = Link::to(&a);
    link.uploads.set_paused(Paused { all: true, ..Paused::default() });
    let following = b.follow(link);
    until("B knows of it", || b.mirror("Books").is_some());
    // As if another version were being taken over.
    let writing = b.library.start_writing();
    following.link.uploads.set_paused(Paused::default());
    until("both stand under their names", || b.files().len() == 2);
    let follower = Arc::clone(&following.follower);
    following.stop();
    let is_free = |name: &&str| {
        let name = LibraryPath::new(&format!("Books/{name}")).unwrap();
        follower.names.claim(&name, ContentId::of(b"another edition")).is_some()
    };
    assert_eq!(["film", "page"].iter().filter(|name| is_free(name)).count(), 0, "others wait for them");
    drop(writing);
    until("they are counted", || b.is_whole("Books", 1));
    until("their names are free", || ["film", "page"].iter().all(is_free));
}

#[test]
fn files_of_equal_size_change_places() {
    let (a, b) = (Node::new(1), Node::new(2));
    let books = library_of(a.folder.path(), &[("a", "1"), ("b", "2"), ("c", "3")]);
    a.add(&books);
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    folder(a.folder.path(), "Books", &[("a", "2"), ("b", "1"), ("c", "1")]);
    a.add(&books);
    let all = [("a", "2"), ("b", "1"), ("c", "1")].map(|(name, text)| (format!("Books/{name}"), text.to_owned()));
    let all = BTreeMap::from(all);
    until("each has its own, and nothing else is there", || b.is_whole("Books", 2) && b.files() == all);
    following.stop();
}

#[test]
fn a_file_becomes_a_folder_and_a_folder_a_file() {
    let (a, b) = (Node::new(1), Node::new(2));
    let folder = a.folder.path().join("Books");
    let following = b.follow(Link::to(&a));
    let root = b.library.store().library().join("Books");
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    for (version, files) in
        [[("a", "1"), ("b/x", "2"), ("c", "")], [("a/x", "3"), ("b", "4"), ("c", "")]].iter().enumerate()
    {
        let _ = fs::remove_dir_all(&folder);
        a.add(&library_of(a.folder.path(), files));
        until("B has it all", || b.is_whole("Books", version as u64 + 1));
    }
    until("what has no place gets another", || ["a/x", "b"].map(|path| read(&names::spare_path(path))) == ["3", "4"]);
    assert_eq!(["a", "b/x"].map(read), ["1", "2"], "what was withdrawn stays as long as there is room");
    following.stop();
}

/// What is in a library: names, and which content each has.
type Books = BTreeMap<&'static str, usize>;

fn books() -> impl Strategy<Value = Books> {
    let names = proptest::sample::subsequence(vec!["A", "a", "a/x", "a/y", "b", "b/x", "c"], 1..=5);
    (names, proptest::collection::vec(0..5_usize, 5)).prop_map(|(names, contents)| {
        let all: Books = names.into_iter().zip(contents).collect();
        // A name is that of a file or of a folder.
        let is_folder = |name: &str| all.keys().any(|other| other.starts_with(&format!("{name}/")));
        all.iter().filter(|(name, _)| !is_folder(name)).map(|(name, content)| (*name, *content)).collect()
    })
}

proptest! {
    // One that fails waits for long each time: what it was is told as it is.
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn after_any_versions_each_name_has_its_content(versions in proptest::collection::vec(books(), 1..6)) {
        let contents = ["1", "2", "3", &*"4".repeat(LARGE), &*"5".repeat(LARGE)];
        let (a, b) = (Node::new(1), Node::new(2));
        let folder = a.folder.path().join("Books");
        let following = b.follow(Link::to(&a));
        for books in versions {
            let _ = fs::remove_dir_all(&folder);
            let files: Vec<_> = books.iter().map(|(name, content)| (*name, contents[*content])).collect();
            let version = a.add(&library_of(a.folder.path(), &files)).collection.version;
            let root = b.library.store().library().join("Books");
            let is_there = |(path, content): &(&str, &str)| {
                let names = [(*path).to_owned(), names::spare_path(path)];
                names.iter().any(|name| fs::read_to_string(root.join(name)).is_ok_and(|text| text == *content))
            };
            until(&format!("B has {books:?}"), || b.is_whole("Books", version) && files.iter().all(is_there));
        }
        following.stop();
    }
}
