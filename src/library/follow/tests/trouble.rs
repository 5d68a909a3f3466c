//! Disks that are full or damaged, files that were edited, transfers that were stopped.

use super::*;
use crate::{limits::transfer::BUSY_RETRY_MS, store::Options, transfer::Paused};

#[test]
fn an_edited_mirror_file_is_set_aside() {
    let (a, b) = (Node::new(1), Node::new(2));
    let books = library_of(a.folder.path(), &[("a.txt", "1")]);
    a.add(&books);
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    let path = b.library.store().library().join("Books/a.txt");
    fs::write(&path, "a reader's notes").unwrap();
    fs::write(books.join("a.txt"), "2").unwrap();
    a.add(&books);
    until("B has the new one", || fs::read_to_string(&path).is_ok_and(|content| content == "2"));
    assert!(b.files().values().any(|content| content == "a reader's notes"), "{:?}", b.files());
    following.stop();
}

#[test]
fn a_full_disk_stops_the_mirror_and_says_so() {
    let (a, b) = (Node::new(1), Node::with(2, Options { reserve_bytes: u64::MAX / 2, ..Options::default() }));
    a.add(&library_of(a.folder.path(), &[("a", "1")]));
    let following = b.follow(Link::to(&a));
    until("it says so", || following.follower.notices().iter().any(|notice| notice.text.contains("no space left")));
    assert_eq!(b.files(), BTreeMap::new());
    assert!(!following.task.is_finished(), "it waits for room");
    following.stop();
}

#[test]
fn a_quota_is_kept_and_what_was_withdrawn_makes_room_by_last_use() {
    let quota_bytes = 4 * LARGE as u64;
    let (a, b) = (Node::new(1), Node::with(2, Options { quota_bytes, ..Options::default() }));
    let book = |letter: &str| letter.repeat(LARGE);
    let [x, y, z, w] = ["a", "b", "c", "d"].map(book);
    let books = library_of(a.folder.path(), &[("a", &*x), ("b", &*y), ("c", &*z), ("d", &*w)]);
    let key = a.add(&books).collection.key;
    let following = b.follow(Link::to(&a));
    until("B is full", || b.is_whole("Books", 1));

    let add = |name| fs::write(books.join(name), book(name)).unwrap();
    let says_so = || following.follower.notices().iter().any(|notice| notice.text.contains("mirror.quota"));
    add("e");
    a.add(&books);
    until("it says so", says_so);
    assert_eq!(b.files().len(), 4, "what is offered stays");

    // Of two withdrawn books the one goes that nobody read lately.
    let age = |name: &str, days: u64| {
        let file = fs::File::options().write(true).open(b.library.store().library().join("Books").join(name)).unwrap();
        let then = crate::clock::wall() - Duration::from_secs(days * 24 * 60 * 60);
        file.set_times(fs::FileTimes::new().set_accessed(then)).unwrap();
    };
    age("b", 30);
    age("c", 20);
    b.library.store().blob(&b.library.item(&key, "b").unwrap().unwrap().item.id).unwrap();
    ["b", "c"].iter().for_each(|name| fs::remove_file(books.join(name)).unwrap());
    a.add(&books);
    until("B has the new one", || b.is_whole("Books", 3));
    assert_eq!(Vec::from_iter(b.files().into_keys()), ["Books/a", "Books/b", "Books/d", "Books/e"]);
    assert_eq!(b.paths(&key), ["a", "d", "e", "b"], "what went is not listed any more");
    until("the notice goes", || !says_so());
    assert!(b.library.store().totals().library_bytes <= quota_bytes);
    following.stop();

    let b = b.restart();
    assert_eq!(b.library.store().totals().library_bytes, quota_bytes, "counted as before");
    let used =
        |name: &str| b.library.store().library().join("Books").join(name).metadata().unwrap().accessed().unwrap();
    assert!(used("b") > crate::clock::wall() - Duration::from_secs(60 * 60), "read today");
}

#[test]
fn what_is_withdrawn_or_refused_while_it_comes_does_not_stay() {
    let book = || Remove::Path("b".to_owned());
    for (is_withdrawn, what, left) in [(true, book(), 1), (false, book(), 1), (false, Remove::Collection, 0)] {
        let (a, b) = (Node::new(1), Node::new(2));
        let large = "x".repeat(LARGE);
        let key = a.add(&library_of(a.folder.path(), &[("a", "1"), ("b", &large)])).collection.key;
        let following = b.follow(Link { is_slow: true, ..Link::to(&a) });
        until("it is coming", || b.library.store().begun().len() == 1 && b.files().len() == 1);
        assert!(b.library.record(&key).unwrap().unfinished, "the next start would look for it");
        if is_withdrawn { &a } else { &b }.library.remove(&key, &what).unwrap();
        until("B knows", || !is_withdrawn || b.mirror("Books").is_some_and(|it| it.version == 2));
        until("nothing is left of it", || b.library.store().info(&ContentId::of(large.as_bytes())).unwrap().is_none());
        until("its file is gone too", || b.files().len() == left);
        following.stop();
    }
}

#[test]
fn what_has_no_room_holds_up_nothing_else() {
    let (a, b) = (Node::new(1), Node::new(2));
    let books = library_of(a.folder.path(), &[("b", &"x".repeat(LARGE)), ("c", "1")]);
    a.add(&books);
    let own = a.library.own(Text::cut("Books")).unwrap();
    let huge = Item { size: 1 << 62, ..crate::library::item::sample("a", b"more than any disk holds") };
    a.library.publish(&own, &BTreeMap::from([("a".to_owned(), Some(huge))]), &mut |_| true).unwrap();
    let following = b.follow(Link::to(&a));
    until("the others are here", || b.files().len() == 2);
    until("it says so", || following.follower.notices().iter().any(|notice| notice.text.contains("no space left")));
    following.stop();
}

#[test]
fn a_mirror_goes_on_where_it_was_stopped() {
    let (a, b) = (Node::new(1), Node::new(2));
    let content: String = (0..4_000_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    a.add(&library_of(a.folder.path(), &[("film", &*content)]));
    let following = b.follow(Link::to(&a));
    let bytes_done = |it: &Following| it.follower.transfers(crate::clock::now()).first().map_or(0, |it| it.bytes_done);
    let first = Arc::clone(&following.link.blobs);
    until("some is here", || bytes_done(&following) > 500_000 || b.is_whole("Books", 1));
    following.stop();
    let b = b.restart();
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    let sent = first.load(Relaxed) + following.link.blobs.load(Relaxed);
    assert!(sent < content.len() as u64 + 3 * 1024 * 1024, "{sent} bytes sent");
    assert_eq!(b.files()["Books/film"], content);
    following.stop();
}

#[test]
fn what_a_slow_peer_has_is_taken_from_another() {
    let (a, b) = (Node::new(1), Node::new(2));
    a.add(&library_of(a.folder.path(), &[("film", &*"x".repeat(3_000_000))]));
    let slow = b.follow(Link { is_slow: true, ..Link::to(&a) });
    until("the slow one sends", || slow.link.blobs.load(Relaxed) > 0);
    let quick = Link::to(&a);
    let task = smol::spawn(follow_peer(Arc::clone(&slow.follower), NodeId([9; 32]), quick.clone()));
    until("B has it all", || b.is_whole("Books", 1));
    assert!(quick.blobs.load(Relaxed) > 2_000_000);
    drop(task);
    slow.stop();
}

#[test]
fn a_peer_that_says_it_is_busy_is_believed() {
    let (a, b) = (Node::new(1), Node::new(2));
    a.add(&library_of(a.folder.path(), &[("a", "1"), ("film", &*"x".repeat(LARGE))]));
    let link = Link::to(&a);
    link.uploads.set_paused(Paused { all: true, ..Paused::default() });
    let begun = crate::clock::now();
    let following = b.follow(link);
    until("it is asked", || following.link.blobs.load(Relaxed) > 0);
    following.link.uploads.set_paused(Paused::default());
    until("B has it all", || b.is_whole("Books", 1));
    let pause = Duration::from_millis(u64::from(BUSY_RETRY_MS));
    assert!(begun.elapsed() >= pause, "it was asked again after {:?}", begun.elapsed());
    assert_eq!(following.follower.deeds().take()[&a.library.node_id()].timeouts, 0, "nothing is held against it");
    following.stop();
}

#[test]
fn a_damaged_mirror_file_is_fetched_again() {
    let (a, b) = (Node::new(1), Node::new(2));
    let key = a.add(&library_of(a.folder.path(), &[("a", "good"), ("b", "1")])).collection.key;
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    let id = b.library.item(&key, "a").unwrap().unwrap().item.id;
    fs::write(b.library.store().library().join("Books/a"), "evil").unwrap();
    assert!(matches!(b.library.store().verify(&id, &mut go_on).unwrap(), crate::store::Verified::Bad { .. }));
    b.library.rescan().unwrap();
    until("it is good again", || b.files().get("Books/a").is_some_and(|content| content == "good"));
    until("it is counted", || b.is_whole("Books", 1));
    following.stop();
}
