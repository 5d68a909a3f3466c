//! Folders that change, and disks that come and go.

use std::fs;

use super::*;
use crate::{
    library::{
        AwayFolder, Remove,
        tests::{Node, folder, go_on, request},
    },
    store::Fault,
};

/// Adds again all that a collection is made of; what of it was told to be away.
fn add_again(node: &Node, key: &CollectionKey) -> (AddReport, Vec<(PathBuf, u64)>) {
    let mut away = Vec::new();
    let report = node.library.add_again(key, &mut |event| {
        if let AddEvent::Away { path, items } = event {
            away.push((path, items));
        }
        ControlFlow::Continue(())
    });
    (report.unwrap(), away)
}

#[test]
fn a_folder_that_lost_everything_keeps_its_items() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("sub/b", "2")]);
    let before = node.add(&books).collection;
    let unplugged = node.folder.path().join("unplugged");
    let key = before.key;

    fs::rename(&books, &unplugged).unwrap();
    let (report, away) = add_again(&node, &key);
    assert_eq!((report.removed, report.away, report.collection.version), (0, 2, before.version), "the folder is gone");
    assert_eq!(away, [(books.clone(), 2)]);
    fs::create_dir(&books).unwrap();
    let report = node.add(&books);
    assert_eq!(
        (report.removed, report.away, report.collection.version),
        (0, 2, before.version),
        "an empty mount point"
    );
    assert_eq!((report.collection.items, report.collection.held_items), (2, 0));
    fs::write(books.join("another disk's"), "3").unwrap();
    let (report, away) = add_again(&node, &key);
    assert_eq!((report.added, report.removed, away), (1, 0, vec![(books.clone(), 2)]));
    assert_eq!(node.paths(&key), ["a", "another disk's", "sub/b"]);

    fs::remove_dir_all(&books).unwrap();
    fs::rename(&unplugged, &books).unwrap();
    let (report, away) = add_again(&node, &key);
    assert_eq!((report.added, report.unchanged, report.removed, away), (0, 2, 1, vec![]), "it is back");
    fs::remove_file(books.join("a")).unwrap();
    assert_eq!(add_again(&node, &key).0.removed, 1, "one that is gone alone is gone");
    fs::remove_dir_all(&books).unwrap();
    node.library.remove(&key, &Remove::Path("sub".into())).unwrap();
    assert_eq!(node.paths(&key), [""; 0], "what is away can be removed");
}

#[test]
fn what_is_unplugged_is_not_available_until_it_is_back() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("sub/b", "2")]);
    let key = node.add(&books).collection.key;
    let held = |node: &Node| {
        let entry = node.library.item(&key, "sub/b").unwrap().unwrap();
        (entry.held, entry.fault, node.library.collections()[0].held_items)
    };
    assert!(!node.library.look_for_disks().unwrap());
    assert_eq!(held(&node), (true, None, 2));

    let unplugged = node.folder.path().join("unplugged");
    fs::rename(&books, &unplugged).unwrap();
    for others in [&[][..], &[("another disk's", "3")]] {
        assert!(node.library.look_for_disks().unwrap() || !others.is_empty());
        let away = AwayFolder { collection: "Books".into(), path: books.clone() };
        assert_eq!(node.library.away(), [away]);
        assert_eq!(held(&node), (false, Some(Fault::Missing), 0));
        folder(node.folder.path(), "Books", others);
    }
    let node = node.restart();
    node.library.look_for_disks().unwrap();
    assert_eq!(held(&node), (false, Some(Fault::Missing), 0));
    assert_eq!(node.add(&books).added, 1);
    assert_eq!(node.library.away(), [], "something of it is there");
    assert_eq!(node.library.collections()[0].items, 3);

    fs::remove_dir_all(&books).unwrap();
    fs::rename(&unplugged, &books).unwrap();
    node.library.look_for_disks().unwrap();
    let entry = node.library.item(&key, "sub/b").unwrap().unwrap();
    assert!(entry.held && node.library.store().blob(&entry.item.id).unwrap().read(0..1).unwrap() == b"2");
}

#[test]
fn nothing_is_read_that_has_not_changed() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "one"), ("b", "two")]);
    let key = node.add(&books).collection.key;
    let file = fs::File::options().write(true).open(books.join("a")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"ONE", 0).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(add_again(&node, &key).0.unchanged, 2, "who does not read it does not see it");
    let id = crate::content::ContentId::of(b"one");
    assert!(node.library.store().blob(&id).unwrap().read(0..3).is_err(), "who reads it gets no wrong byte");
    assert_eq!(node.library.item(&key, "a").unwrap().unwrap().fault, Some(Fault::Damaged));
    let (report, _) = add_again(&node, &key);
    assert_eq!((report.failed, report.changed, report.unchanged), (1, 0, 1), "it may be rot, which is not published");
    file.set_modified(modified + std::time::Duration::from_secs(1)).unwrap();
    let (report, _) = add_again(&node, &key);
    assert_eq!((report.failed, report.changed, report.unchanged), (0, 1, 1), "who touches it wants it");
}

#[test]
fn what_another_disk_lacked_is_found_when_the_first_is_back() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("b", "2")]);
    let key = node.add(&books).collection.key;
    let first = node.folder.path().join("first");
    fs::rename(&books, &first).unwrap();
    folder(node.folder.path(), "Books", &[("b", "2")]);
    assert!(!node.library.look_for_disks().unwrap(), "something of it is there");
    let id = crate::content::ContentId::of(b"1");
    assert!(node.library.store().blob(&id).is_err());
    let fault = || node.library.item(&key, "a").unwrap().unwrap().fault;
    assert_eq!(fault(), Some(Fault::Missing));
    fs::remove_dir_all(&books).unwrap();
    fs::rename(&first, &books).unwrap();
    node.library.look_for_disks().unwrap();
    assert_eq!(fault(), None);
}

#[test]
fn a_disk_that_is_plugged_in_elsewhere_is_not_read_again() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "one"), ("sub/b", "two")]);
    let before = node.add(&books).collection;
    let elsewhere = folder(node.folder.path(), "elsewhere", &[]).join("Books");
    fs::rename(&books, &elsewhere).unwrap();
    node.library.look_for_disks().unwrap();
    // What was written to it meanwhile shows when it is read.
    let file = fs::File::options().write(true).open(elsewhere.join("a")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"ONE", 0).unwrap();
    file.set_modified(modified).unwrap();

    let report = node.add(&elsewhere);
    assert_eq!((report.added, report.unchanged, report.removed, report.away), (0, 2, 0, 0));
    assert_eq!(report.collection, before, "the same version");
    assert_eq!(node.library.away(), []);
    let read = |content: &[u8]| node.library.store().blob(&crate::content::ContentId::of(content)).unwrap().read(0..3);
    assert_eq!(read(b"two").unwrap(), b"two");
    assert!(read(b"one").is_err());
    // And back, with one that is another file now.
    fs::rename(&elsewhere, &books).unwrap();
    fs::write(books.join("sub/new"), "two").unwrap();
    fs::rename(books.join("sub/new"), books.join("sub/b")).unwrap();
    let report = node.add(&books);
    assert_eq!((report.changed, report.unchanged), (0, 2));
    assert_eq!(read(b"two").unwrap(), b"two");
}

#[test]
fn files_that_were_all_renamed_are_listed_once() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("b", "2")]);
    let key = node.add(&books).collection.key;
    fs::create_dir(books.join("sub")).unwrap();
    fs::rename(books.join("a"), books.join("sub/a")).unwrap();
    fs::rename(books.join("b"), books.join("sub/c")).unwrap();
    let (report, away) = add_again(&node, &key);
    assert_eq!((report.added, report.removed, away), (2, 2, vec![]));
    assert_eq!(node.paths(&key), ["sub/a", "sub/c"]);
    assert_eq!(node.library.store().info(&crate::content::ContentId::of(b"1")).unwrap().unwrap().paths.len(), 1);
}

#[test]
fn each_source_is_there_or_away_by_itself() {
    let node = Node::new(1);
    let parent = node.folder.path();
    let (one, two) = (folder(parent, "one", &[("x", "1")]), folder(parent, "two", &[("y", "2"), ("z", "3")]));
    let file = folder(parent, "files", &[("file", "4")]).join("file");
    let all = AddRequest {
        paths: vec![one.clone(), two.clone(), file.clone()],
        collection: Some("All".into()),
        ..AddRequest::default()
    };
    let key = node.library.add(&all, &mut go_on).unwrap().collection.key;
    fs::remove_dir_all(&one).unwrap();
    fs::remove_file(&file).unwrap();
    fs::remove_file(two.join("z")).unwrap();
    let (report, away) = add_again(&node, &key);
    assert_eq!((report.unchanged, report.removed, report.away), (1, 1, 2));
    assert_eq!(away, [(file, 1), (one, 1)]);
    assert_eq!(node.paths(&key), ["file", "one/x", "two/y"]);
}

#[test]
fn copies_stay_when_their_source_is_unplugged() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1"), ("b", "2")]);
    let copy = AddRequest { copy: true, ..request(&books) };
    let key = node.library.add(&copy, &mut go_on).unwrap().collection.key;
    fs::write(books.join("new"), "3").unwrap();
    let (report, away) = add_again(&node, &key);
    assert_eq!((report.added, report.unchanged, away), (0, 0, vec![]), "they were taken once");
    for name in ["a", "b", "new"] {
        fs::remove_file(books.join(name)).unwrap();
    }
    let report = node.library.add(&copy, &mut go_on).unwrap();
    assert_eq!((report.removed, report.away), (0, 2));
    assert!(node.library.item(&key, "a").unwrap().unwrap().held);
}

#[test]
fn only_what_comes_from_here_is_looked_at_again() {
    let node = Node::new(1);
    let books = folder(node.folder.path(), "Books", &[("a", "1")]);
    let key = node.add(&books).collection.key;
    assert_eq!(node.library.shared().unwrap(), [(key, "Books".to_owned(), [(String::new(), books)].into())]);
    node.library.remove(&key, &Remove::Path("a".into())).unwrap();
    assert_eq!(node.library.shared().unwrap().len(), 1, "a folder of which nothing is listed any more");
    node.library.remove(&key, &Remove::Collection).unwrap();
    assert_eq!(node.library.shared().unwrap(), []);
    let other = CollectionKey { publisher: crate::content::NodeId([9; 32]), ..key };
    assert!(matches!(node.library.add_again(&other, &mut go_on), Err(LibraryError::NoCollection)));
}

#[test]
fn what_rots_is_no_new_edition() {
    let node = Node::new(1);
    let bytes = "a".repeat(200_000);
    let books = folder(node.folder.path(), "Books", &[("a", &bytes), ("b", "2")]);
    let before = node.add(&books).collection;
    let (path, store) = (books.join("a"), node.library.store());
    let id = crate::content::ContentId::of(bytes.as_bytes());
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let write = |bytes: &str, modified| {
        // In place, as a disk does.
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, bytes.as_bytes()).unwrap();
        file.set_modified(modified).unwrap();
    };
    write(&bytes.replacen('a', "x", 1), modified);
    assert!(matches!(
        store.verify(&id, &mut go_on).unwrap(),
        crate::store::Verified::Bad { fault: Fault::Damaged, .. }
    ));

    let (report, _) = add_again(&node, &before.key);
    assert_eq!((report.failed, report.unchanged, report.collection.version), (1, 1, before.version));
    // Somebody who mirrors it sends it back.
    let other = crate::store::Store::open(&node.folder.path().join("other"), Default::default()).unwrap();
    let copied = folder(node.folder.path(), "elsewhere", &[("a", &bytes)]).join("a");
    let imported = other.import_in_place(&copied, &mut |_| ControlFlow::Continue(())).unwrap();
    other.commit(vec![imported]).unwrap();
    let download = store.download(id, 200_000).unwrap();
    let group = download.missing()[0].clone();
    download.write(group.clone(), &other.blob(&id).unwrap().encode(group).unwrap()).unwrap();
    download.finish(&crate::store::LibraryPath::new("Books/a").unwrap()).unwrap();
    assert_eq!(add_again(&node, &before.key).0.collection.version, before.version);
    assert!(store.library().join("Books/a").exists());

    // Written to, it is: and nothing is left of the one before.
    write(&bytes.replacen('a', "y", 1), modified + std::time::Duration::from_secs(1));
    let (report, _) = add_again(&node, &before.key);
    assert_eq!((report.failed, report.added, report.collection.version), (0, 1, before.version + 1));
    assert!(!store.library().join("Books/a").exists());
    assert_eq!(store.info(&id).unwrap(), None);
}
