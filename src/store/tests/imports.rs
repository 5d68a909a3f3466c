//! Taking files in.

use super::*;

#[test]
fn files_that_are_none_are_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    for path in [&fifo, &dir.path().join("socket"), dir.path(), Path::new("/dev/null")] {
        assert!(matches!(store.import_in_place(path, &mut go_on), Err(ImportError::NotAFile { .. })), "{path:?}");
    }
    let gone = store.import_in_place(&dir.path().join("gone"), &mut go_on).err().unwrap();
    assert!(gone.to_string().contains("gone") && gone.to_string().contains("check the name"), "{gone}");
    assert_eq!(store.totals().blobs, 0);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let path = dir.path().join("file");
    let changes: [fn(&Path); 3] = [
        |path| {
            fs::File::options()
                .append(true)
                .open(path)
                .and_then(|mut it| std::io::Write::write_all(&mut it, b"!"))
                .unwrap()
        },
        |path| fs::File::options().write(true).open(path).unwrap().set_len(70_000).unwrap(),
        |path| {
            fs::rename(path, path.with_extension("old")).unwrap();
            fs::write(path, content(200_000, 2)).unwrap();
        },
    ];
    for change in changes {
        fs::write(&path, content(200_000, 1)).unwrap();
        let mut is_first = true;
        let imported = store.import_in_place(&path, &mut |_| {
            if std::mem::take(&mut is_first) {
                change(&path);
            }
            ControlFlow::Continue(())
        });
        assert!(matches!(imported, Err(ImportError::Changed { .. })));
    }
    let left: Vec<_> = fs::read_dir(dir.path().join("data/outboard")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn any_name_that_linux_allows_can_be_shared() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let store = open(&data);
    let folder = dir.path().join("shared");
    fs::create_dir(&folder).unwrap();
    store.add_root(&folder).unwrap();
    let names: [&[u8]; 4] = [b"\xff\xfe.pdf", b"a\nb", "книга 本.epub".as_bytes(), b" "];
    for (at, name) in names.into_iter().enumerate() {
        let path = folder.join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, [at as u8]).unwrap();
        let id = import(&store, &path);
        assert_eq!(store.info(&id).unwrap().unwrap().paths, [path]);
    }
    let link = dir.path().join("link");
    symlink(folder.join(" "), &link).unwrap();
    assert_eq!(import(&store, &link), ContentId::of(&[3]));
    drop(store);
    let store = open(&data);
    assert_eq!(store.blob(&ContentId::of(&[0])).unwrap().read(0..1).unwrap(), [0]);
    assert!(store.is_unchanged(&ContentId::of(&[3]), &link).unwrap());
    assert!(!store.is_unchanged(&ContentId::of(&[2]), &link).unwrap());
}

#[test]
fn unchanged_means_size_time_and_inode() {
    let dir = TempDir::new().unwrap();
    let (store, id) = with_file(&dir, b"1234");
    let path = dir.path().join("file.bin");
    let metadata = fs::metadata(&path).unwrap();
    assert!(store.is_unchanged(&id, &path).unwrap());
    fs::write(&path, b"12345").unwrap();
    set_mtime(&path, &metadata);
    assert!(!store.is_unchanged(&id, &path).unwrap());
    fs::write(&path, b"1234").unwrap();
    set_mtime(&path, &metadata);
    assert!(store.is_unchanged(&id, &path).unwrap());
    fs::write(dir.path().join("new"), b"1234").unwrap();
    set_mtime(&dir.path().join("new"), &metadata);
    fs::rename(dir.path().join("new"), &path).unwrap();
    assert!(!store.is_unchanged(&id, &path).unwrap());
}

#[test]
fn a_copy_costs_little_more_than_its_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let path = dir.path().join("file");
    fs::write(&path, content(3_000_000, 1)).unwrap();
    let imported = store.import_copy(&path, &to("c/copy"), &mut go_on).unwrap();
    let id = imported.id();
    assert_eq!(imported.size(), 3_000_000);
    assert!(!store.library().join("c").exists(), "nothing is named before the commit");
    store.commit(vec![imported]).unwrap();
    assert_eq!(fs::read(store.library().join("c/copy")).unwrap(), content(3_000_000, 1));
    let outboard = fs::metadata(store.outboard_path(&id)).unwrap().len();
    assert!(outboard as f64 <= 0.02 * 3_000_000.0, "{outboard}");
    fs::remove_file(&path).unwrap();
    assert_eq!(store.verify(&id, &mut go_on).unwrap(), Verified::Good);
    // One that is dropped leaves nothing.
    fs::write(&path, content(100_000, 2)).unwrap();
    drop(store.import_copy(&path, &to("c/other"), &mut go_on).unwrap());
    assert_eq!(fs::read_dir(dir.path().join("data/incoming")).unwrap().count(), 0);
}

#[test]
fn a_sparse_file_is_imported() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    let size = (300 << 20) + 1;
    file.set_len(size).unwrap();
    let store = open(&dir.path().join("data"));
    let id = import(&store, &path);
    let mut blob = store.blob(&id).unwrap();
    assert_eq!(blob.read(size - 1..size).unwrap(), [0]);
    let outboard = fs::metadata(store.outboard_path(&id)).unwrap().len();
    assert_eq!(outboard, 64 * (size.div_ceil(GROUP_BYTES) - 1));
}

#[test]
fn a_file_keeps_its_root_when_a_folder_below_is_shared_too() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"));
    let (above, below) = (dir.path().join("above"), dir.path().join("above/below"));
    fs::create_dir_all(&below).unwrap();
    let path = below.join("file");
    fs::write(&path, b"x").unwrap();
    store.add_root(&above).unwrap();
    let id = import(&store, &path);
    store.add_root(&below).unwrap();
    assert!(store.is_unchanged(&id, &path).unwrap());
    assert!(remove(&store, &id, &path));
}
