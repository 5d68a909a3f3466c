//! Folders that change, and disks that come and go.

use std::fs;

use super::*;
use crate::library::{
    Remove,
    tests::{Node, folder, go_on, request},
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
    assert_eq!((report.removed, report.away, &report.collection), (0, 2, &before), "the folder is gone");
    assert_eq!(away, [(books.clone(), 2)]);
    fs::create_dir(&books).unwrap();
    let report = node.add(&books);
    assert_eq!((report.removed, report.away, &report.collection), (0, 2, &before), "an empty mount point");
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
    assert_eq!(node.library.shared().unwrap(), [(key, "Books".to_owned())]);
    node.library.remove(&key, &Remove::Path("a".into())).unwrap();
    assert_eq!(node.library.shared().unwrap().len(), 1, "a folder of which nothing is listed any more");
    node.library.remove(&key, &Remove::Collection).unwrap();
    assert_eq!(node.library.shared().unwrap(), []);
    let other = CollectionKey { publisher: crate::content::NodeId([9; 32]), ..key };
    assert!(matches!(node.library.add_again(&other, &mut go_on), Err(LibraryError::NoCollection)));
}
