//! Readers of what is elsewhere.

use super::*;
use crate::{
    content::{CollectionKey, ContentId},
    library::follow::{Reading, ReadingError, Whose},
    limits::{GROUP_BYTES, follow::READS, transfer::READ_AHEAD_BYTES},
    store::BlobState,
};

const FILM_BYTES: u64 = 16 << 20;

/// A node that mirrors nobody, and whom it follows.
struct Reader {
    node: Node,
    follower: Arc<Follower>,
    links: Vec<(Link, Option<Task<FollowEnd>>)>,
}

fn cached(node: &Node, cache_bytes: u64) -> Policy {
    Policy { only: vec![Only::Publisher(node.library.node_id())], cache_bytes, ..policy() }
}

impl Reader {
    fn new(cache_bytes: u64) -> Self {
        let node = Node::new(99);
        let follower = Follower::new(Arc::clone(&node.library), cached(&node, cache_bytes));
        Self { node, follower, links: Vec::new() }
    }

    fn follow(&mut self, peer: &Node) {
        let link = Link::to(peer);
        let task = smol::spawn(follow_peer(Arc::clone(&self.follower), link.peer.node_id(), link.clone()));
        self.links.push((link, Some(task)));
    }

    fn leave(&mut self, link: usize) {
        drop(self.links[link].1.take().map(|task| block_on(task.cancel())));
    }

    /// The item of this path, once it is listed and somebody is there who has it.
    fn item(&self, path: &str) -> (CollectionKey, Item) {
        until("the collection is known", || {
            self.node.mirror("Books").is_some_and(|it| self.follower.is_in_reach(&it.key))
        });
        let key = self.node.mirror("Books").unwrap().key;
        (key, self.node.library.item(&key, path).unwrap().unwrap().item)
    }

    fn open(&self, path: &str, range: Range<u64>) -> Result<Reading, ReadingError> {
        let (key, item) = self.item(path);
        block_on(self.follower.read(&key, &item, range, Whose::Page))
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, ReadingError> {
        let mut reading = self.open(path, range.clone())?;
        read_on(&mut reading, range)
    }

    fn received(&self) -> u64 {
        self.links.iter().map(|(link, _)| link.blobs.load(Relaxed)).sum()
    }

    fn state(&self, path: &str) -> Option<BlobState> {
        let (_, item) = self.item(path);
        self.node.library.store().info(&item.id).unwrap().map(|info| info.state)
    }

    fn is_kept(&self, path: &str) -> bool {
        let (_, item) = self.item(path);
        // Its download is forgotten a moment after it has its name.
        self.state(path) == Some(BlobState::Complete) && !self.node.library.store().begun().contains(&item.id)
    }

    /// Waits until nobody is asked for anything.
    fn wait_for_quiet(&self) {
        let mut before = u64::MAX;
        until("it is quiet", || std::mem::replace(&mut before, self.received()) == self.received());
    }
}

fn read_on(reading: &mut Reading, range: Range<u64>) -> Result<Vec<u8>, ReadingError> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < range.end - range.start {
        let at = range.start + bytes.len() as u64;
        let end = range.end.min((at / GROUP_BYTES + 1) * GROUP_BYTES);
        bytes.extend(block_on(reading.bytes(at..end))?);
    }
    Ok(bytes)
}

/// Each 64 bytes of it are others.
fn noise(seed: u64, bytes: u64) -> String {
    let mut text: String = (0..bytes.div_ceil(64)).map(|number| format!("{seed:32}{number:32}")).collect();
    text.truncate(bytes as usize);
    text
}

fn library(node: &Node, files: &[(&str, &str)]) {
    node.add(&library_of(node.folder.path(), files));
}

#[test]
fn a_place_in_the_middle_comes_alone() {
    let (a, mut b, film) = (Node::new(1), Reader::new(u64::MAX), noise(1, FILM_BYTES));
    library(&a, &[("film.webm", &film)]);
    b.follow(&a);
    let range = FILM_BYTES / 2 + 5..FILM_BYTES / 2 + 300_000;
    let expected = &film.as_bytes()[range.start as usize..range.end as usize];
    assert!(b.read("film.webm", range).unwrap() == expected);
    b.wait_for_quiet();
    assert!(b.received() < 500_000, "{} bytes for 300,000", b.received());
    // To the end, and from before that place.
    let mut reading = b.open("film.webm", FILM_BYTES - 1..FILM_BYTES).unwrap();
    assert_eq!(block_on(reading.bytes(FILM_BYTES - 1..FILM_BYTES)).unwrap(), film.as_bytes()[film.len() - 1..]);
    let mut reading = b.open("film.webm", 0..FILM_BYTES).unwrap();
    assert!(read_on(&mut reading, 0..1 << 20).unwrap() == film.as_bytes()[..1 << 20]);
    b.wait_for_quiet();
    assert!(b.received() < (2 << 20) + READ_AHEAD_BYTES + (1 << 20), "no more than some ahead: {}", b.received());
    assert_eq!(b.node.mirror("Books").unwrap().held_items, 0);
    assert_eq!(b.node.files().len(), 0);
    // Nobody else is told of a collection of which nothing is here.
    assert!(b.node.library.heads().is_empty());
}

#[test]
fn what_was_read_is_kept_and_read_again_without_anybody() {
    let (a, mut b, film) = (Node::new(1), Reader::new(u64::MAX), noise(2, 6 << 20));
    let files = [("film.webm", &*film), ("a", "1"), ("empty", ""), ("page", &film[..200_000])];
    library(&a, &files);
    b.follow(&a);
    for (path, content) in files {
        assert!(b.read(path, 0..content.len() as u64).unwrap() == content.as_bytes(), "{path}");
        // Nobody waits for nothing.
        until("it is kept", || b.is_kept(path) || content.is_empty());
    }
    let key = b.node.mirror("Books").unwrap().key;
    until("they count as held", || b.node.mirror("Books").unwrap().held_items >= 3);
    let heads: Vec<_> = b.node.library.heads().into_iter().map(|head| head.collection).collect();
    assert_eq!(heads, [key], "now it is worth telling");
    let before = b.received();
    b.leave(0);
    for (path, content) in files {
        let item = b.node.library.item(&key, path).unwrap().unwrap().item;
        if content.is_empty() {
            continue;
        }
        let mut reading = block_on(b.follower.read(&key, &item, 0..item.size, Whose::Page)).unwrap();
        assert!(read_on(&mut reading, 0..item.size).unwrap() == content.as_bytes());
    }
    assert_eq!(b.received(), before);
    // Whoever mirrors it later gives it its name, and fetches nothing.
    b.follower.set_policy(policy());
    b.follow(&a);
    let names: Vec<_> = ["Books/a", "Books/empty", "Books/film.webm", "Books/page"].map(String::from).into();
    until("the files have their names", || Vec::from_iter(b.node.files().into_keys()) == names);
    assert!(b.links[1].0.blobs.load(Relaxed) < 1000, "nothing comes twice");
}

#[test]
fn one_that_goes_away_is_made_up_for_by_another() {
    let (first, second, mut b) = (Node::new(1), Node::new(2), Reader::new(u64::MAX));
    let film = noise(3, FILM_BYTES);
    library(&first, &[("film.webm", &film)]);
    let following = second.follow(Link::to(&first));
    until("there are two", || second.is_whole("Books", 1));
    following.stop();
    b.follow(&first);
    let mut reading = b.open("film.webm", 0..FILM_BYTES).unwrap();
    let begun = read_on(&mut reading, 0..1 << 20).unwrap();
    b.follow(&second);
    let key = b.node.mirror("Books").unwrap().key;
    until("both list it", || b.follower.reads.listing(&key).len() == 2);
    b.leave(0);
    let rest = read_on(&mut reading, 1 << 20..FILM_BYTES).unwrap();
    assert!([begun, rest].concat() == film.as_bytes());
    assert!(b.links[1].0.blobs.load(Relaxed) > FILM_BYTES / 2);
}

#[test]
fn without_anybody_it_ends_in_words() {
    let (a, mut b, film) = (Node::new(1), Reader::new(u64::MAX), noise(4, FILM_BYTES));
    library(&a, &[("film.webm", &film), ("gone", "x")]);
    b.follow(&a);
    let mut reading = b.open("film.webm", 0..FILM_BYTES).unwrap();
    read_on(&mut reading, 0..1 << 20).unwrap();
    let (key, gone) = b.item("gone");
    fs::remove_file(a.folder.path().join("Books/gone")).unwrap();
    let nobody = block_on(b.follower.read(&key, &gone, 0..1, Whose::Page)).unwrap();
    assert!(matches!(read_on(&mut { nobody }, 0..1), Err(ReadingError::Nobody { connected: 1 })));
    b.leave(0);
    let ended = read_on(&mut reading, 1 << 20..FILM_BYTES);
    assert!(matches!(ended, Err(ReadingError::Nobody { connected: 0 })), "{:?}", ended.map(|it| it.len()));
    let words = ended.unwrap_err().to_string();
    assert_eq!(words, "none of the 0 connected nodes has it now; it comes back when one that has it is on");
    assert!(matches!(
        block_on(b.follower.read(&key, &gone, 0..1, Whose::Page)),
        Err(ReadingError::Nobody { connected: 0 })
    ));
    // It goes on where it was.
    b.follow(&a);
    assert!(b.read("film.webm", 0..FILM_BYTES).unwrap() == film.as_bytes());
}

#[test]
fn who_goes_away_is_fetched_for_no_longer() {
    let (a, mut b, film) = (Node::new(1), Reader::new(u64::MAX), noise(5, FILM_BYTES));
    library(&a, &[("film.webm", &film)]);
    b.follow(&a);
    let mut reading = b.open("film.webm", 0..FILM_BYTES).unwrap();
    let mut other = b.open("film.webm", FILM_BYTES - 1..FILM_BYTES).unwrap();
    block_on(reading.bytes(0..1)).unwrap();
    drop(reading);
    assert_eq!(block_on(other.bytes(FILM_BYTES - 1..FILM_BYTES)).unwrap(), film.as_bytes()[film.len() - 1..]);
    drop(other);
    b.wait_for_quiet();
    let Some(BlobState::Partial { verified_bytes }) = b.state("film.webm") else { panic!("half of it is here") };
    assert!(verified_bytes < FILM_BYTES * 3 / 4, "no more than some ahead: {verified_bytes}");
    assert_eq!(b.node.library.store().cached().unwrap().len(), 1);
}

#[test]
fn so_many_are_read_at_a_time() {
    let (a, mut b) = (Node::new(1), Reader::new(u64::MAX));
    let names: Vec<_> = (0..=READS).map(|number| format!("{number}")).collect();
    let contents: Vec<_> = (0..=READS as u64).map(|number| noise(100 + number, 100_000)).collect();
    let files: Vec<_> = names.iter().map(|name| &**name).zip(contents.iter().map(|it| &**it)).collect();
    library(&a, &files);
    b.follow(&a);
    let mut open: Vec<_> = files[..READS].iter().map(|(name, _)| b.open(name, 0..100_000).unwrap()).collect();
    assert!(matches!(b.open(files[READS].0, 0..1), Err(ReadingError::Busy)));
    // One more reader of the same is no more.
    drop(b.open(files[0].0, 5..6).unwrap());
    open.pop();
    assert!(b.read(files[READS].0, 0..100_000).unwrap() == files[READS].1.as_bytes());
}

#[test]
fn what_was_not_read_for_longest_makes_room() {
    let (a, mut b) = (Node::new(1), Reader::new(1 << 20));
    let contents: Vec<_> = (0..4).map(|number| noise(200 + number, 400_000)).collect();
    let large = noise(300, (1 << 20) + 1);
    let files = [("a", &*contents[0]), ("b", &contents[1]), ("c", &contents[2]), ("large", &large)];
    library(&a, &files);
    b.follow(&a);
    let keep = |path| {
        b.read(path, 0..400_000).unwrap();
        until("it is kept", || b.is_kept(path));
    };
    keep("a");
    keep("b");
    keep("a");
    keep("c");
    assert_eq!([b.state("a"), b.state("b")], [Some(BlobState::Complete), None]);
    // Of what is half here too.
    drop(b.open("b", 0..1).unwrap());
    assert_eq!(b.state("a"), None);
    assert!(matches!(b.open("large", 0..1), Err(ReadingError::NoRoom { bytes: 1_048_577 })));
    b.follower.set_policy(cached(&b.node, 0));
    assert!(matches!(b.open_anyway("large"), Err(ReadingError::Off)));
    assert!(!b.follower.is_in_reach(&b.node.mirror("Books").unwrap().key));
}

impl Reader {
    fn open_anyway(&self, path: &str) -> Result<Reading, ReadingError> {
        let key = self.node.mirror("Books").unwrap().key;
        let item = self.node.library.item(&key, path).unwrap().unwrap().item;
        block_on(self.follower.read(&key, &item, 0..1, Whose::Page))
    }
}

#[test]
fn what_is_mirrored_and_half_here_comes_to_a_reader_first() {
    let (a, mut b, film) = (Node::new(1), Reader::new(u64::MAX), noise(6, FILM_BYTES));
    library(&a, &[("film.webm", &film)]);
    b.follower.set_policy(Policy { cache_bytes: u64::MAX, ..policy() });
    // The mirror is kept to a rate at which it would take minutes.
    let slow = crate::transfer::Rates { total: std::num::NonZeroU64::new(64 * 1024), per_peer: None };
    b.follower.limiter().set_rates(slow);
    b.follow(&a);
    let at = FILM_BYTES - (2 << 20);
    assert!(b.read("film.webm", at..FILM_BYTES).unwrap() == film.as_bytes()[at as usize..]);
    let id = ContentId::of(film.as_bytes());
    assert!(matches!(b.node.library.store().info(&id).unwrap().unwrap().state, BlobState::Partial { .. }));
    b.follower.limiter().set_rates(crate::transfer::Rates::default());
    until("the mirror is whole", || b.node.is_whole("Books", 1));
    assert!(b.node.files()["Books/film.webm"] == film);
}
