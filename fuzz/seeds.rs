//! Makes the seeds that the fuzz targets start from, with the program's own code: `cargo run --example fuzz_seeds`.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use allibrary::{
    config,
    content::{CollectionId, CollectionKey, ContentId, NodeId},
    library::{AddRequest, Library},
    store::{Options, Store},
    wire::{Frame, announce::Announcement, blob, catalogue, peers},
};

fn main() {
    let folder = std::env::temp_dir().join(format!("allibrary-seed-{}", std::process::id()));
    let books = folder.join("Books");
    fs::create_dir_all(&books).unwrap();
    fs::write(books.join("1.txt"), "one").unwrap();
    fs::write(books.join("large.bin"), vec![7; 200_000]).unwrap();
    let data = folder.join("data");
    let store = Arc::new(Store::open(&data, Options::default()).unwrap());
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let library = Library::open(store.clone(), &data, key).unwrap();
    let request = AddRequest { paths: vec![books.clone()], ..AddRequest::default() };
    library.add(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    let head = library.heads().remove(0);
    put("root", "small", &library.root_bytes(&head.collection).unwrap().unwrap());
    for path in files(&data.join("collections")) {
        let bytes = fs::read(&path).unwrap();
        match path.extension().and_then(|it| it.to_str()) {
            Some("manifest") => {
                put("manifest", "small", &bytes);
                // Its one page comes first, and ends where the items do.
                let table =
                    bytes.len() - 20 - "Books".len() - library.root_bytes(&head.collection).unwrap().unwrap().len();
                put("page", "small", &bytes[..table - 48]);
            }
            Some("notes") => put("notes", "small", &bytes[32..]),
            _ => {}
        }
    }
    let id = ContentId::of(&vec![7; 200_000]);
    let encoded = store.blob(&id).unwrap().encode(0..65_536).unwrap();
    // Size in units of 64 bytes, its rest, and the first group asked for.
    let header = [(200_000u32 / 64).to_le_bytes()[..3].to_vec(), vec![0, 0]].concat();
    put("encoded_range", "first", &[&header, &encoded[..1024]].concat());
    let outboard =
        files(&data.join("outboard")).into_iter().find(|path| path.is_file()).map(fs::read).unwrap().unwrap();
    put("outboard", "whole", &[header, outboard].concat());
    put("bits", "three_groups", &[&200_000u64.to_le_bytes()[..], &[5]].concat());
    put("index", "empty", &[0]);
    put("config", "example", config::EXAMPLE.as_bytes());
    put("mdns", "query", b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_p2p\x04_udp\x05local\0\0\x0c\0\x01");
    put("metadata", "html", b"\x02<html lang=en><head><title>A &amp; B</title><meta name=author content=C></head>");
    put(
        "metadata",
        "pdf",
        b"\x01%PDF-1.4\n1 0 obj<</Title(A)/Author(B)>>endobj\ntrailer<</Info 1 0 R>>\nstartxref\n0\n%%EOF",
    );
    let collection = CollectionKey { publisher: NodeId([1; 32]), id: CollectionId([2; 16]) };
    let pages = catalogue::PagesRequest { collection, hashes: vec![[3; 32]] };
    let ranges = [blob::Range { start: 0, len: 65_536 }].into_iter().collect();
    let heads = catalogue::Reply::Heads(catalogue::Heads { heads: vec![head] });
    put("wire", "get", &bytes_of(blob::Request::Get(blob::Get { id, ranges }).to_frame()));
    put("wire", "watch", &bytes_of(blob::Request::Watch(blob::Watch { id }).to_frame()));
    let ranges = [blob::Range { start: 65_536, len: 65_536 }].into_iter().collect();
    put("wire", "have", &bytes_of(blob::Reply::Have(blob::Have { id, size: 200_000, ranges }).into_frame()));
    let ranges = [blob::Range { start: 0, len: 65_536 }].into_iter().collect();
    put("wire", "blob", &bytes_of(blob::Reply::Blob(blob::Blob { size: 200_000, ranges }).into_frame()));
    let last = blob::Range { start: 196_608, len: 200_000 - 196_608 };
    let encode = |body: &mut Vec<u8>| {
        body.extend(store.blob(&id).unwrap().encode(last.start..200_000).unwrap());
        Ok::<_, std::io::Error>(())
    };
    put("wire", "data", &bytes_of(blob::Reply::Data(blob::Data::build(last, vec![], encode).unwrap()).into_frame()));
    put("wire", "pages", &bytes_of(catalogue::Request::Pages(pages).to_frame()));
    put("wire", "heads", &bytes_of(heads.into_frame()));
    let addresses = vec![peers::Address::new("/ip4/10.0.0.1/udp/4720/quic-v1").unwrap()];
    let node = NodeId([4; 32]);
    let news = Announcement { collection, version: 300, node, addresses: addresses.clone() };
    let others = vec![peers::Introduction { node, capacity: 128, uptime_s: 3600, addresses }];
    let known = peers::Reply::Known(peers::Known { capacity: 128, uptime_s: 60, others });
    put("wire", "known", &bytes_of(known.to_frame()));
    put("wire", "ask", &bytes_of(peers::Request::Ask(peers::Ask {}).to_frame()));
    put("wire", "announcement", &bytes_of(Frame { kind: 1, body: news.to_bytes() }));
    fs::remove_dir_all(folder).unwrap();
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() { files.extend(self::files(&entry.path())) } else { files.push(entry.path()) }
    }
    files
}

fn bytes_of(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    smol::block_on(allibrary::wire::write_frame(&mut bytes, frame.kind, &frame.body)).unwrap();
    bytes
}
