//! Peers that lie, by mistake or on purpose.

use super::*;

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
fn what_is_still_being_written_counts_against_a_publishers_share() {
    let (a, b) = (Node::new(1), Node::new(2));
    // One go and a half, of which one go and some files more may be kept.
    let go = crate::limits::follow::SMALL_WANTS;
    let files: Vec<_> = (0..go * 3 / 2).map(|number| (format!("{number:04}"), format!("{number:0100}"))).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    a.add(&library_of(a.folder.path(), &files));
    let share = 100 * (go as u64 + 20);
    let following = b.follow_by(Policy { max_bytes_per_publisher: share, ..policy() }, Link::to(&a));
    until("it says so", || following.follower.notices().iter().any(|it| it.text.contains("max_bytes_per_publisher")));
    until("its share is full", || b.mirror("Books").is_some_and(|it| it.held_bytes >= share));
    assert_eq!((b.mirror("Books").unwrap().held_bytes, b.files().len()), (share, go + 20));
    following.stop();
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
    let deed = Deed { verified_bytes: 2, ..Deed::default() };
    assert_eq!(following.follower.deeds().take(), [(a.library.node_id(), deed)].into());
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
    a.library.add(&add, &mut go_on).unwrap();
    let b = Node::new(2);
    let only = Policy { only: vec![Only::Collection("../../up".into())], ..policy() };
    let following = b.follow_by(only, Link::to(&a));
    until("B has it all", || b.is_whole("../../up", 1));
    let files = b.files();
    assert_eq!(files.len(), paths.len(), "{files:?}");
    assert!(files.keys().all(|path| path.starts_with("_") && !path.contains([':', '\\', '\u{202e}'])), "{files:?}");
    following.stop();
}
