use std::fs;

use super::*;
use crate::library::item::{Item, sample};

fn items(count: usize) -> Vec<Item> {
    (0..count).map(|at| sample(&format!("shelf/{at:05}.txt"), at.to_string().as_bytes())).collect()
}

fn write(folder: &std::path::Path, items: &[Item]) -> std::path::PathBuf {
    let path = folder.join("a.manifest");
    let mut builder = Builder::create(folder.join("a.tmp")).unwrap();
    for item in items {
        builder.push(item).unwrap();
    }
    builder.into_draft().unwrap().seal(b"root", "Books").unwrap().install(&path).unwrap();
    path
}

#[test]
fn every_item_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let items = items(1000);
    let path = write(folder.path(), &items);
    let open = || Manifest::open(&path).unwrap().unwrap();
    let mut manifest = open();
    assert_eq!(manifest.items().unwrap(), 1000);
    assert_eq!(manifest.root().unwrap(), b"root");
    assert_eq!(manifest.folder().unwrap(), "Books");
    for item in items.iter().chain(items.iter().rev()) {
        assert_eq!(manifest.item(&item.path).unwrap().as_ref(), Some(item));
    }
    assert_eq!(manifest.item("shelf/00500").unwrap(), None);
    assert_eq!(manifest.item("").unwrap(), None);
    assert_eq!(manifest.item("z").unwrap(), None);
    for offset in [0, 1, 31, 32, 33, 64, 500, 999, 1000, u64::MAX] {
        let found: Vec<Item> = open().items_from(offset).unwrap().map(Result::unwrap).collect();
        assert_eq!(found, items[items.len().min(offset as usize)..]);
    }
    let mut hashes: Vec<_> = (0..manifest.pages()).map(|index| manifest.hash(index).unwrap()).collect();
    hashes[1] = [0; 32];
    let places: Vec<_> = (0..manifest.pages()).map(|index| (index != 1).then_some(index)).collect();
    assert_eq!(manifest.find(&hashes).unwrap(), places);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the draft is gone");
}

#[test]
fn an_empty_collection_is_a_manifest_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &[]);
    let mut manifest = Manifest::open(&path).unwrap().unwrap();
    assert_eq!((manifest.pages(), manifest.items().unwrap()), (0, 0));
    assert_eq!(manifest.item("a").unwrap(), None);
    assert_eq!(manifest.items_from(0).unwrap().count(), 0);
    assert!(Manifest::open(&folder.path().join("none")).unwrap().is_none());
}

#[test]
fn damage_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &items(100));
    let whole = fs::read(&path).unwrap();
    for len in [0, 5, 40, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(Manifest::open(&path).is_err(), "cut to {len}");
    }
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let manifest = Manifest::open(&path).unwrap().unwrap();
    assert!(matches!(manifest.page(0), Err(ManifestError::Damaged(_))));
    assert_eq!(manifest.items_from(0).unwrap().filter(Result::is_err).count(), 1, "an error ends the items");
}

#[test]
fn pages_of_a_peer_are_checked_against_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &items(200));
    let manifest = Manifest::open(&path).unwrap().unwrap();
    let mut draft = Draft::create(folder.path().join("b.tmp")).unwrap();
    draft.push_page(&manifest.page(1).unwrap()).unwrap();
    let again = draft.push_page(&manifest.page(0).unwrap()).unwrap_err();
    assert!(again.is_violation(), "{again}");
    drop(draft);
    assert!(!folder.path().join("b.tmp").exists());
}
