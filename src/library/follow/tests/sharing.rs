//! Collections that go from node to node, and what changes in them.

use super::*;
use crate::{
    content::CollectionKey,
    transfer::{Priority, Rates},
};

/// Follows several peers while it lives.
struct Several {
    follower: Arc<Follower>,
    links: Vec<Link>,
    tasks: Vec<Task<FollowEnd>>,
}

impl Several {
    fn follow(node: &Node, links: Vec<Link>) -> Self {
        let follower = Follower::new(Arc::clone(&node.library), policy());
        let follow = |link: &Link| smol::spawn(follow_peer(Arc::clone(&follower), link.peer.node_id(), link.clone()));
        let tasks = links.iter().map(follow).collect();
        Self { follower, links, tasks }
    }

    /// Follows the first of them no more.
    fn leave_first(&mut self) {
        drop(block_on(self.tasks.remove(0).cancel()));
    }

    fn stop(self) {
        self.tasks.into_iter().for_each(|task| drop(block_on(task.cancel())));
    }
}

#[test]
fn a_collection_goes_from_node_to_node() {
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    let large = "x".repeat(LARGE);
    let files =
        [("a.txt", "a"), ("sub/empty", ""), ("sub/same as a.txt", "a"), ("large.bin", &*large), ("z.html", "z")];
    let key = a.add(&library_of(a.folder.path(), &files)).collection.key;

    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    until("the second name too", || b.files().len() == 5);
    following.stop();
    drop(a);

    let following = c.follow(Link::to(&b));
    until("C has it all", || c.is_whole("Books", 1) && c.files().len() == 5);
    let wanted: BTreeMap<_, _> =
        files.iter().map(|(path, content)| (format!("Books/{path}"), content.to_string())).collect();
    assert_eq!(c.files(), wanted);
    assert_eq!(c.library.root_bytes(&key).unwrap(), b.library.root_bytes(&key).unwrap());
    assert_eq!(following.follower.notices(), []);
    until("nothing is under way", || following.follower.transfers(crate::clock::now()).is_empty());
    let summary = c.mirror("Books").unwrap();
    assert!(!summary.mine && summary.followed && summary.key == key);
}

#[test]
fn an_update_sends_its_pages_only() {
    let (a, b) = (Node::new(1), Node::new(2));
    let books = folder(a.folder.path(), "Books", &[]);
    for at in 0..1000 {
        fs::write(books.join(format!("{at:04}.txt")), format!("{at}")).unwrap();
    }
    a.add(&books);
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    let before = following.link.catalogue.load(Relaxed);
    fs::write(books.join("0500.txt"), "new").unwrap();
    a.add(&books);
    until("B has the new one", || b.is_whole("Books", 2));
    let root = a.library.root_bytes(&b.mirror("Books").unwrap().key).unwrap().unwrap().len() as u64;
    let sent = following.link.catalogue.load(Relaxed) - before - root;
    assert!(sent < 16 * 1024, "{sent} bytes besides the root, where all pages are {before}");
    until("the old edition is gone", || {
        let files = b.files();
        files.len() == 1000 && files.get("Books/0500.txt").is_some_and(|content| content == "new")
    });
}

#[test]
fn an_edit_comes_without_any_file() {
    let (a, b) = (Node::new(1), Node::new(2));
    let large = "x".repeat(LARGE);
    let key = a.add(&library_of(a.folder.path(), &[("a.txt", "a"), ("b.bin", &large)])).collection.key;
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    let before = following.link.blobs.load(Relaxed);
    for path in ["a.txt", "b.bin"] {
        let words = Words::new(Some("Emma"), None, Some("en")).unwrap();
        a.library.edit(&key, path, words.clone()).unwrap();
        assert!(matches!(b.library.edit(&key, path, words), Err(LibraryError::NotMine(_))));
    }
    until("B has the edits", || b.is_whole("Books", 3));
    let titles = b.library.items(&key, 0, 10).unwrap().into_iter().map(|entry| entry.item.title.into_string());
    assert_eq!(titles.collect::<Vec<_>>(), ["Emma", "Emma"]);
    // One that is new comes behind what would have been fetched.
    fs::write(a.folder.path().join("Books/c.txt"), "c").unwrap();
    a.add(&a.folder.path().join("Books"));
    until("B has the new one", || b.is_whole("Books", 4));
    let sent = following.link.blobs.load(Relaxed) - before;
    assert!(sent < 200, "{sent} bytes for one byte of content");
    following.stop();
}

#[test]
fn what_the_publisher_removes_stays_here() {
    let (a, b) = (Node::new(1), Node::new(2));
    let books = library_of(a.folder.path(), &[("a", "1"), ("b", "2"), ("c", "3")]);
    let key = a.add(&books).collection.key;
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    fs::remove_file(books.join("b")).unwrap();
    a.add(&books);
    until("B has the new version", || b.is_whole("Books", 2));
    let entry = b.library.item(&key, "b").unwrap().unwrap();
    assert!(entry.held && !entry.offered);
    assert_eq!(b.paths(&key), ["a", "c", "b"]);
    assert_eq!(b.files()["Books/b"], "2");
    // It comes back.
    fs::write(books.join("b"), "2").unwrap();
    a.add(&books);
    until("B has the third version", || b.is_whole("Books", 3));
    assert_eq!(b.paths(&key), ["a", "b", "c"]);
    following.stop();
}

#[test]
fn what_is_not_wanted_stays_away() {
    let (a, b) = (Node::new(1), Node::new(2));
    let books = library_of(a.folder.path(), &[("a", "1"), ("b", "2")]);
    let other = folder(a.folder.path(), "Other", &[("x", "3")]);
    let (key, other) = (a.add(&books).collection.key, a.add(&other).collection.key);
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1) && b.is_whole("Other", 1));
    b.library.remove(&key, &Remove::Path("b".into())).unwrap();
    b.library.remove(&other, &Remove::Collection).unwrap();
    assert_eq!(b.files().into_keys().collect::<Vec<_>>(), ["Books/a"]);
    following.stop();
    let b = b.restart();
    fs::write(books.join("b"), "a new edition").unwrap();
    fs::write(books.join("c"), "4").unwrap();
    a.add(&books);
    a.add(&folder(a.folder.path(), "Other", &[("y", "5")]));
    let following = b.follow(Link::to(&a));
    until("B has the new one", || b.files().contains_key("Books/c"));
    until("it is counted", || b.mirror("Books").unwrap().held_items == 2);
    assert_eq!(b.files().into_keys().collect::<Vec<_>>(), ["Books/a", "Books/c"]);
    assert!(!b.library.item(&key, "b").unwrap().unwrap().held);
    assert!(b.mirror("Other").is_none());
    following.stop();
}

#[test]
fn equal_names_get_folders_of_their_own() {
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    a.add(&library_of(a.folder.path(), &[("x", "of a")]));
    b.add(&library_of(b.folder.path(), &[("x", "of b")]));
    let one = c.follow(Link::to(&a));
    until("C has that of A", || c.files().contains_key("Books/x"));
    let two = c.follow(Link::to(&b));
    until("C has that of B", || c.files().contains_key("Books (2)/x"));
    assert_eq!(c.files()["Books/x"], "of a");
    assert_eq!(c.files()["Books (2)/x"], "of b");
    let folders: Vec<_> = c.library.collections().into_iter().map(|it| it.folder).collect();
    one.stop();
    two.stop();
    let c = c.restart();
    assert_eq!(c.library.collections().into_iter().map(|it| it.folder).collect::<Vec<_>>(), folders);
}

#[test]
fn what_matters_most_is_looked_for_first() {
    let (a, b) = (Node::new(1), Node::new(2));
    let key = a.add(&library_of(a.folder.path(), &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]));
    let other = a.add(&folder(a.folder.path(), "Other", &[("x", "6"), ("y", "7")])).collection.key;
    let key = key.collection.key;
    let wish = |is_held_back, priority| Wish { is_held_back, priority };
    let by = |collections, items: &[(&CollectionKey, &str, Wish)]| {
        let mut wishes = Wishes { collections, ..Wishes::default() };
        for (key, path, wish) in items {
            wishes.items.entry(**key).or_default().insert((*path).to_owned(), *wish);
        }
        Policy { wishes, ..policy() }
    };
    // Nothing comes at first but what is listed.
    let not = wish(true, Priority::Normal);
    let all = ["a", "b", "c", "d", "e"].map(|path| (&key, path, not));
    let none = [&all[..], &[(&other, "x", not), (&other, "y", not)]].concat();
    let following = b.follow_by(by(BTreeMap::new(), &none), Link::to(&a));
    until("B knows both", || b.mirror("Books").is_some() && b.mirror("Other").is_some());
    let items = [
        (&key, "d", wish(false, Priority::High)),
        (&key, "b", wish(false, Priority::Low)),
        (&key, "c", not),
        (&key, "gone", wish(false, Priority::High)),
        (&other, "y", wish(false, Priority::Normal)),
    ];
    let follower = Arc::clone(&following.follower);
    following.stop();
    follower.set_policy(by([(other, wish(false, Priority::High))].into(), &items));
    let (mut cursor, mut order) = (scan::Cursor::new(vec![key, other]), Vec::new());
    loop {
        let found = scan::scan(&follower, Lane::Small, &mut cursor).unwrap();
        let Some(collection) = found.collection else { break };
        let paths = found.wants.iter().map(|want| want.item.path.to_string());
        order.push((found.priority, collection.name, Vec::from_iter(paths)));
    }
    let group = |priority, name: &str, paths: &[&str]| {
        (priority, name.to_owned(), Vec::from_iter(paths.iter().map(|path| (*path).to_owned())))
    };
    let expected = [
        group(Priority::High, "Books", &["d"]),
        group(Priority::High, "Other", &["x", "y"]),
        group(Priority::Normal, "Books", &["a", "e"]),
        group(Priority::Low, "Books", &["b"]),
    ];
    assert_eq!(order, expected);
}

#[test]
fn two_peers_share_the_work() {
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    let contents: Vec<String> = (0..40).map(|at| format!("{at}").repeat(40_000)).collect();
    let names: Vec<String> = (0..40).map(|at| format!("{at:02}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|it| &**it).zip(contents.iter().map(|it| &**it)).collect();
    a.add(&library_of(a.folder.path(), &files));
    let bytes: u64 = contents.iter().map(|content| content.len() as u64).sum();
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    following.stop();

    let following = Several::follow(&c, vec![Link::to(&a), Link::to(&b)]);
    until("C has it all", || c.is_whole("Books", 1));
    let each = Vec::from_iter(following.links.iter().map(|link| link.blobs.load(Relaxed)));
    assert!(each.iter().sum::<u64>() < bytes + bytes / 10, "{each:?} of {bytes}: nothing is fetched twice");
    following.stop();
}

#[test]
fn two_peers_send_one_film() {
    let (a, b, c) = (Node::new(1), Node::new(2), Node::new(3));
    let film: String = (0..16_000_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    a.add(&library_of(a.folder.path(), &[("film", &*film)]));
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    following.stop();

    let following = Several::follow(&c, vec![Link::to(&a), Link::to(&b)]);
    until("C has it all", || c.is_whole("Books", 1));
    assert_eq!(c.files()["Books/film"], film);
    let Several { follower, links, .. } = &following;
    let deeds = follower.deeds().take();
    assert_eq!(deeds.values().map(|deed| deed.verified_bytes).sum::<u64>(), film.len() as u64, "{deeds:?}");
    assert!(links.iter().all(|link| link.blobs.load(Relaxed) > 1_000_000), "both send some of it: {deeds:?}");
    until("nothing is under way", || follower.transfers(crate::clock::now()).is_empty());
    following.stop();
}

/// Who has the film is gone as soon as each part of it has come to any of the others.
#[test]
fn a_seed_may_leave_after_one_copy() {
    let film: String = (0..16_000_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let id = ContentId::of(film.as_bytes());
    let (seed, receivers) = (Node::new(1), [2, 3, 4].map(Node::new));
    seed.add(&library_of(seed.folder.path(), &[("film", &*film)]));
    // Each sends so much in a second: when a copy is out, much of it has not been passed on.
    let limited = |node: &Node, bytes_s| {
        let link = Link::to(node);
        link.uploads.limiter().set_rates(Rates { total: NonZeroU64::new(bytes_s), per_peer: None });
        link
    };
    let from_seed = limited(&seed, 8_000_000);
    let links = receivers.each_ref().map(|node| limited(node, 2_000_000));
    let mut followings = receivers.each_ref().map(|node| {
        let others = links.iter().filter(|link| link.peer.node_id() != node.library.node_id());
        Several::follow(node, [&from_seed].into_iter().chain(others).cloned().collect())
    });
    let held = |node: &Node| {
        let ranges = node.library.store().blob(&id).map(|blob| blob.ranges());
        Groups::of_bytes(film.len() as u64, &ranges.unwrap_or_default())
    };
    until("a copy is out", || {
        let mut all = Groups::none(film.len() as u64);
        receivers.iter().for_each(|node| all.unite(&held(node)));
        all.is_whole()
    });
    followings.iter_mut().for_each(Several::leave_first);
    let sent = from_seed.uploads.sent_bytes() as f64 / film.len() as f64;
    let parts = receivers.each_ref().map(|node| held(node).verified_bytes() as f64 / film.len() as f64);
    println!("{sent:.2} copies were sent, of which the others have {parts:.2?}");
    assert!(parts.iter().any(|part| *part < 1.0), "nothing is left to be passed on");
    until("all have it", || receivers.iter().all(|node| node.is_whole("Books", 1)));
    assert!(receivers.iter().all(|node| node.files()["Books/film"] == film));
    followings.into_iter().for_each(Several::stop);
}

#[test]
fn a_publisher_continues_above_its_own_higher_version() {
    let (old, new, mirror) = (Node::new(1), Node::new(1), Node::new(2));
    let books = library_of(new.folder.path(), &[("a", "1"), ("b", "2")]);
    let key = new.add(&books).collection.key;
    fs::write(books.join("b"), "3").unwrap();
    new.add(&books);
    let following = mirror.follow(Link::to(&new));
    until("the mirror has it all", || mirror.is_whole("Books", 2));
    following.stop();
    // The publisher lost its card, but not its key.
    let following = old.follow(Link::to(&mirror));
    until("it has its catalogue back", || old.mirror("Books").is_some_and(|it| it.version == 2 && it.mine));
    following.stop();
    let again = old.add(&library_of(old.folder.path(), &[("a", "1"), ("c", "4")])).collection;
    assert_eq!((again.key, again.version), (key, 3));
}

#[test]
fn what_is_listed_twice_comes_once_however_many_files_are_between() {
    let (a, b) = (Node::new(1), Node::new(2));
    let files: Vec<(String, String)> =
        (0..1200).map(|number| (format!("{number:04}"), format!("page {}", number % 481))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    a.add(&library_of(a.folder.path(), &files));
    let link = Link::to(&a);
    let following = b.follow(link.clone());
    until("B has it all", || b.is_whole("Books", 1) && b.files().len() == 1200);
    for (name, text) in files {
        assert_eq!(b.files()[&format!("Books/{name}")], text);
    }
    // Each of 481 takes less than 100 bytes, with what frames add.
    assert!(link.blobs.load(Relaxed) < 481 * 100, "{}", link.blobs.load(Relaxed));
    following.stop();
}

#[test]
fn what_comes_next_is_looked_for_while_small_files_arrive() {
    let (a, b) = (Node::new(1), Node::new(2));
    let go = limits::follow::SMALL_WANTS;
    let files: Vec<_> = (0..go * 5 / 2).map(|number| (format!("{number:04}"), format!("{number:0100}"))).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    a.add(&library_of(a.folder.path(), &files));
    let Following { follower, link, task } = b.follow(Link { is_slow: true, ..Link::to(&a) });
    // Whoever has a place has the semaphore, too.
    let taken = || Arc::strong_count(&follower.small_lanes) - 1;
    until("both places are taken", || taken() == 2);
    let arrived = link.blobs.load(Relaxed);
    assert!(arrived < 50 * go as u64, "{arrived} bytes of the first go had arrived");
    // Who goes away leaves nothing behind that would keep it from others.
    drop(block_on(task.cancel()));
    until("both are free", || taken() == 0);
    let task = smol::spawn(follow_peer(Arc::clone(&follower), link.peer.node_id(), Link::to(&a)));
    until("B has it all", || b.is_whole("Books", 1));
    drop(block_on(task.cancel()));
}
