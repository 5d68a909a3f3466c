//! Mirrors and their peers: real stores, real streams, no network.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    pin::Pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use smol::{Task, block_on, net::unix::UnixStream};

use super::*;
use crate::{
    library::{
        AddRequest, Remove, Root, Summary,
        manifest::Builder,
        serve,
        tests::{Node, folder, request},
    },
    transfer::{self, Uploads},
    wire::{Text, blob, encode},
};

/// Counts the bytes that one side receives.
struct Counted(UnixStream, Arc<AtomicU64>);

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_read(cx, into);
        if let Poll::Ready(Ok(len)) = polled {
            self.1.fetch_add(len as u64, Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A connection to a peer that serves its library.
#[derive(Clone)]
struct Link {
    peer: Arc<Library>,
    /// Bytes of catalogue and blob streams.
    catalogue: Arc<AtomicU64>,
    blobs: Arc<AtomicU64>,
    /// What changes the frames of the catalogue, for peers that lie.
    lies: Option<Arc<Lie>>,
}

type Lie = dyn Fn(Request) -> Reply + Send + Sync;

impl Link {
    fn to(node: &Node) -> Self {
        let (catalogue, blobs) = (Arc::default(), Arc::default());
        Self { peer: Arc::clone(&node.library), catalogue, blobs, lies: None }
    }
}

impl Connect for Link {
    type Stream = Counted;

    async fn open(&self, _: NodeId, protocol: &'static str) -> io::Result<Counted> {
        let (here, there) = UnixStream::pair()?;
        let peer = Arc::clone(&self.peer);
        if protocol == blob::PROTOCOL {
            let uploads = Uploads::new(8);
            let store = Arc::clone(peer.store());
            smol::spawn(async move { drop(transfer::serve(there, store, &uploads).await) }).detach();
            return Ok(Counted(here, Arc::clone(&self.blobs)));
        }
        match self.lies.clone() {
            Some(lie) => smol::spawn(tell_lies(there, lie)).detach(),
            None => smol::spawn(async move { drop(serve(there, peer).await) }).detach(),
        }
        Ok(Counted(here, Arc::clone(&self.catalogue)))
    }
}

async fn tell_lies(mut stream: UnixStream, lie: Arc<Lie>) {
    while let Ok(Some(frame)) = read_frame(&mut stream, 1 << 20).await {
        let reply = lie(Request::from_frame(&frame).unwrap()).to_frame();
        if write_frame(&mut stream, reply.kind, &reply.body).await.is_err() {
            break;
        }
    }
}

fn policy() -> Policy {
    let many = u64::MAX;
    Policy {
        only: vec![],
        max_bytes_per_publisher: many,
        max_items_per_publisher: many,
        max_collections_per_publisher: many,
    }
}

/// Follows while it lives.
struct Following {
    follower: Arc<Follower>,
    link: Link,
    task: Task<FollowEnd>,
}

impl Node {
    fn follow(&self, link: Link) -> Following {
        self.follow_by(policy(), link)
    }

    fn follow_by(&self, policy: Policy, link: Link) -> Following {
        let follower = Follower::new(Arc::clone(&self.library), policy);
        let task = smol::spawn(follow_peer(Arc::clone(&follower), link.peer.node_id(), link.clone()));
        Following { follower, link, task }
    }

    fn mirror(&self, name: &str) -> Option<Summary> {
        self.library.collections().into_iter().find(|summary| summary.name == name)
    }

    fn is_whole(&self, name: &str, version: u64) -> bool {
        self.mirror(name)
            .is_some_and(|it| it.version == version && it.held_items == it.items && it.held_bytes == it.bytes)
    }

    /// The files of the library folder and what is in them.
    fn files(&self) -> BTreeMap<String, String> {
        let root = self.library.store().library();
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    // It may go while we look.
                    let Ok(content) = fs::read_to_string(path) else { continue };
                    files.insert(name, content);
                }
            }
        }
        files
    }
}

/// Waits until it is so; a test that waits longer than any machine needs has failed.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    block_on(async {
        for _ in 0..1500 {
            if is_so() {
                return;
            }
            smol::Timer::after(Duration::from_millis(20)).await;
        }
        panic!("it never came about: {what}");
    });
}

impl Following {
    fn violation(self) -> String {
        match block_on(async { super::super::wait::within(Duration::from_secs(30), self.task).await }) {
            Some(FollowEnd::Violation { reason }) => reason,
            end => panic!("no violation, but {end:?}"),
        }
    }

    fn stop(self) {
        drop(block_on(self.task.cancel()));
        drop(self.follower);
    }
}

fn library_of(parent: &Path, files: &[(&str, &str)]) -> std::path::PathBuf {
    folder(parent, "Books", files)
}

const LARGE: usize = 300_000;

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
    until("nothing is under way", || following.follower.transfers(Instant::now()).is_empty());
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

    let follower = Follower::new(Arc::clone(&c.library), policy());
    let links = [Link::to(&a), Link::to(&b)];
    let tasks =
        links.each_ref().map(|link| smol::spawn(follow_peer(Arc::clone(&follower), link.peer.node_id(), link.clone())));
    until("C has it all", || c.is_whole("Books", 1));
    let each = links.each_ref().map(|link| link.blobs.load(Relaxed));
    assert!(each.iter().sum::<u64>() < bytes + bytes / 10, "{each:?} of {bytes}: nothing is fetched twice");
    for task in tasks {
        block_on(task.cancel());
    }
}

#[test]
fn caps_stop_a_stranger_and_say_so() {
    let (a, b) = (Node::new(1), Node::new(2));
    let big = ["x", "y"].map(|letter| letter.repeat(1000));
    a.add(&library_of(a.folder.path(), &[("a", &*big[0]), ("b", "12"), ("c", &*big[1])]));
    a.add(&folder(a.folder.path(), "Many", &[("1", ""), ("2", ""), ("3", ""), ("4", "")]));
    let policy = Policy { max_bytes_per_publisher: 1500, max_items_per_publisher: 4, ..policy() };
    let following = b.follow_by(policy, Link::to(&a));
    let notice = |word: &str| following.follower.notices().iter().any(|notice| notice.text.contains(word));
    until("both caps are told", || {
        notice("max_items_per_publisher") && (notice("max_bytes_per_publisher") || b.mirror("Many").is_some())
    });
    until("what fits is here", || b.mirror("Books").map_or(b.is_whole("Many", 1), |it| it.held_bytes == 1002));
    assert_eq!(b.library.collections().len(), 1);
    following.stop();

    let b = Node::new(3);
    let only = Policy { only: vec![Only::Collection("Many".into())], ..self::policy() };
    let following = b.follow_by(only, Link::to(&a));
    until("B has it all", || b.is_whole("Many", 1));
    assert!(b.mirror("Books").is_none());
    following.stop();
}

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

/// A node whose word for a collection is not what it should be.
fn liar(a: &Node, lie: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Link {
    Link { lies: Some(Arc::new(lie)), ..Link::to(a) }
}

/// The true answers of a library.
fn truth(library: &Library, request: &Request) -> Reply {
    match request {
        Request::Watch(_) => Reply::Heads(catalogue::Heads { heads: library.heads() }),
        Request::Root(root) => Reply::Root(library.root_bytes(&root.collection).unwrap().unwrap()),
        Request::Pages(pages) => {
            let page = library.page_bytes(&pages.collection, &pages.hashes[..1]).unwrap().remove(0);
            Reply::Page(page.unwrap_or_default())
        }
    }
}

#[test]
fn lies_are_violations_and_change_nothing() {
    let a = Node::new(1);
    let books = library_of(a.folder.path(), &[("a", "1"), ("b", "2")]);
    let summary = a.add(&books).collection;
    let key = summary.key;
    let signing = SigningKey::from_bytes(&[1; 32]);
    let root = Root::verify(&a.library.root_bytes(&key).unwrap().unwrap()).unwrap();
    let lie = |with: Box<dyn Fn(Reply) -> Reply + Send + Sync>| {
        let library = Arc::clone(&a.library);
        liar(&a, move |request| with(truth(&library, &request)))
    };
    let with_root = |bytes: Vec<u8>| {
        lie(Box::new(move |reply| match reply {
            Reply::Root(_) => Reply::Root(bytes.clone()),
            other => other,
        }))
    };
    let forged = Root { version: 9, ..root.clone() }.sign(&SigningKey::from_bytes(&[9; 32]));
    let totals = Root { bytes: 3, ..root.clone() }.sign(&signing);
    let counts = Root { items: 1 << 40, ..root.clone() }.sign(&signing);
    let old = Root { version: 0, ..root.clone() }.sign(&signing);
    let mut other = root.clone();
    other.collection.id.0[0] ^= 1;
    let cases: [(Link, &str); 8] = [
        (with_root(forged), "signature"),
        (with_root(totals), "but the root says otherwise"),
        (with_root(counts), "which can't be"),
        (with_root(old), "was announced"),
        (with_root(other.sign(&signing)), "nobody asked for"),
        (with_root(vec![7; 100]), "parse"),
        (
            lie(Box::new(|reply| match reply {
                Reply::Page(_) => Reply::Page(encode(&encode(&crate::library::item::sample("a", b"evil")))),
                other => other,
            })),
            "another hash",
        ),
        (
            lie(Box::new(|reply| match reply {
                Reply::Page(_) => Reply::Root(vec![]),
                other => other,
            })),
            "nobody asked for",
        ),
    ];
    for (link, reason) in cases {
        let b = Node::new(2);
        let following = b.follow(link);
        let violation = following.violation();
        assert!(violation.contains(reason), "{violation:?} should say {reason:?}");
        assert_eq!(b.library.collections(), []);
        assert_eq!(fs::read_dir(b.folder.path().join("data/collections")).unwrap().count(), 0, "after {reason:?}");
    }
}

#[test]
fn an_older_version_is_ignored() {
    let (a, b) = (Node::new(1), Node::new(2));
    let books = library_of(a.folder.path(), &[("a", "1")]);
    let key = a.add(&books).collection.key;
    let (heads, root) = (a.library.heads(), a.library.root_bytes(&key).unwrap().unwrap());
    fs::write(books.join("b"), "2").unwrap();
    a.add(&books);
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 2));
    following.stop();
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let following = b.follow(liar(&a, move |request| match request {
        Request::Watch(_) => {
            seen.store(true, Relaxed);
            Reply::Heads(catalogue::Heads { heads: heads.clone() })
        }
        _ => Reply::Root(root.clone()),
    }));
    until("it was asked", || asked.load(Relaxed));
    until("the heads are here", || following.link.catalogue.load(Relaxed) > 0);
    assert!(b.is_whole("Books", 2));
    assert!(!following.task.is_finished());
    following.stop();
}

#[test]
fn hostile_paths_stay_in_the_folder() {
    let a = Node::new(1);
    let draft = |paths: &[&str]| {
        let mut builder = Builder::create(a.folder.path().join("x.draft")).unwrap();
        for path in paths {
            builder.push(&crate::library::item::sample(path, path.as_bytes())).unwrap();
        }
        builder.into_draft().unwrap()
    };
    // Published by a program that is not ours: what our own would never list.
    let paths = ["CON", "a:b", "a\\b", "aux.txt/x", "evil\u{202e}txt.exe", "trailing. ", "~tilde"];
    let key = CollectionKey { publisher: a.library.node_id(), id: crate::content::CollectionId([5; 16]) };
    let sealed = draft(&paths);
    let root = Root {
        collection: key,
        version: 1,
        name: Text::cut("../../up"),
        items: sealed.items(),
        bytes: sealed.bytes(),
        pages: sealed.hashes().to_vec(),
    };
    let signed = root.sign(&SigningKey::from_bytes(&[1; 32]));
    a.library.adopt(&root, &signed, sealed).unwrap();
    let source = folder(a.folder.path(), "source", &[]);
    for (at, path) in paths.iter().enumerate() {
        fs::write(source.join(at.to_string()), path).unwrap();
    }
    let add = AddRequest { collection: Some("Bytes".into()), ..request(&source) };
    a.library.add(&add, &mut |_| ()).unwrap();
    let b = Node::new(2);
    let only = Policy { only: vec![Only::Collection("../../up".into())], ..policy() };
    let following = b.follow_by(only, Link::to(&a));
    until("B has it all", || b.is_whole("../../up", 1));
    let files = b.files();
    assert_eq!(files.len(), paths.len(), "{files:?}");
    assert!(files.keys().all(|path| path.starts_with("_") && !path.contains([':', '\\', '\u{202e}'])), "{files:?}");
    following.stop();
}

#[test]
fn a_full_disk_stops_the_mirror_and_says_so() {
    let (a, b) = (Node::new(1), Node::with_reserve(2, u64::MAX / 2));
    a.add(&library_of(a.folder.path(), &[("a", "1")]));
    let following = b.follow(Link::to(&a));
    until("it says so", || following.follower.notices().iter().any(|notice| notice.text.contains("no space left")));
    assert_eq!(b.files(), BTreeMap::new());
    assert!(!following.task.is_finished(), "it waits for room");
    following.stop();
}

#[test]
fn a_mirror_goes_on_where_it_was_stopped() {
    let (a, b) = (Node::new(1), Node::new(2));
    let content: String = (0..4_000_000).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    a.add(&library_of(a.folder.path(), &[("film", &*content)]));
    let following = b.follow(Link::to(&a));
    let bytes_done = |it: &Following| it.follower.transfers(Instant::now()).first().map_or(0, |it| it.bytes_done);
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
fn a_damaged_mirror_file_is_fetched_again() {
    let (a, b) = (Node::new(1), Node::new(2));
    let key = a.add(&library_of(a.folder.path(), &[("a", "good"), ("b", "1")])).collection.key;
    let following = b.follow(Link::to(&a));
    until("B has it all", || b.is_whole("Books", 1));
    let id = b.library.item(&key, "a").unwrap().unwrap().item.id;
    fs::write(b.library.store().library().join("Books/a"), "evil").unwrap();
    assert!(matches!(b.library.store().verify(&id, &mut |_| ()).unwrap(), crate::store::Verified::Bad(_)));
    b.library.rescan().unwrap();
    until("it is good again", || b.files().get("Books/a").is_some_and(|content| content == "good"));
    until("it is counted", || b.is_whole("Books", 1));
    following.stop();
}

#[test]
fn the_server_answers_what_it_can() {
    let node = Node::new(1);
    let key = node.add(&library_of(node.folder.path(), &[("a", "1")])).collection.key;
    let nobody = CollectionKey { publisher: NodeId([0; 32]), ..key };
    block_on(async {
        let (mut here, there) = UnixStream::pair().unwrap();
        let server = smol::spawn(serve(there, Arc::clone(&node.library)));
        let mut ask = async |frame: crate::wire::Frame| {
            write_frame(&mut here, frame.kind, &frame.body).await.unwrap();
            read_frame(&mut here, Reply::MAX_BYTES).await.unwrap().unwrap()
        };
        let code = |frame: crate::wire::Frame| {
            assert_eq!(frame.kind, crate::wire::KIND_ERROR);
            crate::wire::decode::<crate::wire::ErrorReply>(&frame.body).unwrap().code
        };
        use crate::wire::{ErrorCode, Frame};
        assert_eq!(code(ask(Frame { kind: 77, body: vec![1, 2] }).await), ErrorCode::UnknownKind);
        assert_eq!(code(ask(Frame { kind: 2, body: vec![1, 2] }).await), ErrorCode::BadRequest);
        let root = |key| Request::Root(catalogue::RootRequest { collection: key }).to_frame();
        assert_eq!(code(ask(root(nobody)).await), ErrorCode::NotFound);
        let bytes = node.library.root_bytes(&key).unwrap().unwrap();
        let page = Root::verify(&bytes).unwrap().pages[0];
        assert_eq!(Reply::from_frame(ask(root(key)).await).unwrap(), Reply::Root(bytes));
        let pages =
            |key, hash| Request::Pages(catalogue::PagesRequest { collection: key, hashes: vec![hash] }).to_frame();
        assert_eq!(Reply::from_frame(ask(pages(nobody, page)).await).unwrap(), Reply::Page(vec![]));
        assert_eq!(Reply::from_frame(ask(pages(key, [0; 32])).await).unwrap(), Reply::Page(vec![]));
        let sent = node.library.page_bytes(&key, &[page]).unwrap().remove(0).unwrap();
        assert_eq!(Reply::from_frame(ask(pages(key, page)).await).unwrap(), Reply::Page(sent));
        let heads = ask(Request::Watch(Watch {}).to_frame()).await;
        let Ok(Reply::Heads(heads)) = Reply::from_frame(heads) else { panic!("no heads") };
        assert_eq!(heads.heads, node.library.heads());
        // And again after a change.
        node.add(&folder(node.folder.path(), "More", &[("b", "2")]));
        let Ok(Reply::Heads(heads)) = Reply::from_frame(read_frame(&mut here, 1 << 16).await.unwrap().unwrap()) else {
            panic!("no heads")
        };
        assert_eq!(heads.heads.len(), 2);
        drop(here);
        server.await.unwrap();
    });
}
