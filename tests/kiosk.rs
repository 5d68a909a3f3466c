//! The page over a real socket, a real library and a real store: what is sent, and what hostile clients and titles get.

#[path = "support/site.rs"]
mod site;

use std::{
    fs::OpenOptions,
    io::{Seek, SeekFrom, Write},
    net::TcpListener,
    sync::{Arc, LazyLock},
};

use allibrary::{
    content::ContentId,
    status::{ControlStatus, NodeStatus, Notice, NoticeLevel, TransferState, TransferStatus},
};
use site::{Running, start};

/// More than a few groups, no two alike.
static FILM: LazyLock<Vec<u8>> = LazyLock::new(|| (0..300_000u32).flat_map(|at| at.to_le_bytes()).collect());
const TITLE: &[u8] =
    b"<!DOCTYPE html><meta charset=utf-8><title>&lt;script&gt;alert(1)&lt;/script&gt; \xe2\x80\xaegnp.exe</title><p>x";

fn library() -> Running {
    start(
        &[
            ("film.webm", &FILM),
            ("evil.html", TITLE),
            ("book/index.html", b"<p>a book"),
            ("book/style.css", b"p{}".as_slice()),
            ("a b/café 书.epub", b"not really"),
            ("empty.txt", b""),
            ("100%.txt", b"per cent"),
        ],
        NodeStatus::default(),
    )
}

#[test]
fn ranges_and_conditions() {
    let site = library();
    let url = "/c/Books/film.webm";
    let tag = format!("\"{}\"", ContentId::of(&FILM));
    let whole = site.get(url);
    assert_eq!((whole.status, &whole.body), (200, &*FILM));
    assert_eq!(whole.header("etag"), Some(&*tag));
    assert_eq!(whole.header("content-type"), Some("video/webm"));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("cache-control"), Some("no-cache"));
    assert_eq!(whole.header("content-length"), Some("1200000"));

    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=65535-65536", 65_535, 65_537),
        ("bytes=100000-", 100_000, 1_200_000),
        ("bytes=-3", 1_199_997, 1_200_000),
        ("bytes=70000-9999999", 70_000, 1_200_000),
    ] {
        let part = site.ask("GET", url, &[&format!("Range: {range}"), &format!("If-Range: {tag}")]);
        assert_eq!((part.status, &part.body[..]), (206, &FILM[from..to]), "{range}");
        assert_eq!(part.header("content-range"), Some(&*format!("bytes {from}-{}/1200000", to - 1)));
        assert_eq!(part.header("content-length"), Some(&*(to - from).to_string()));
        assert_eq!(part.header("etag"), Some(&*tag));
    }
    for headers in
        [["Range: bytes=5-1", "X: y"], ["Range: bytes=0-1,5-6", "X: y"], ["Range: bytes=0-1", "If-Range: \"old\""]]
    {
        let all = site.ask("GET", url, &headers);
        assert_eq!((all.status, all.body.len()), (200, FILM.len()), "{headers:?}");
    }
    let past = site.ask("GET", url, &["Range: bytes=1200000-"]);
    assert_eq!((past.status, past.header("content-range")), (416, Some("bytes */1200000")));

    let known = site.ask("GET", url, &[&format!("If-None-Match: \"x\", W/{tag}")]);
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(&*tag)));
    assert_eq!(known.header("content-length"), None);
    assert_eq!(site.ask("GET", url, &["If-Match: \"other\""]).status, 412);

    let head = site.ask("HEAD", url, &["Range: bytes=0-1"]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let but_date =
        |head: &str| head.lines().filter(|line| !line.starts_with("date")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(but_date(&head.head), but_date(&whole.head));

    let empty = site.ask("GET", "/c/Books/empty.txt", &["Range: bytes=0-5"]);
    assert_eq!((empty.status, empty.body.len(), empty.header("content-length")), (200, 0, Some("0")));
}

#[test]
fn content_is_locked_in() {
    let site = library();
    let page = site.get("/c/Books/evil.html");
    assert_eq!((page.status, &page.body[..]), (200, TITLE));
    // The book itself says how it is encoded.
    assert_eq!(page.header("content-type"), Some("text/html"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("sandbox ") && !policy.contains("allow-scripts") && policy.contains("script-src 'none'")
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    assert_eq!(page.header("content-disposition"), None);
    let saved = site.get("/c/Books/a%20b/caf%C3%A9%20%E4%B9%A6.epub?download");
    assert_eq!((saved.status, saved.header("content-type")), (200, Some("application/epub+zip")));
    let name = "attachment; filename=\"caf_ _.epub\"; filename*=UTF-8''caf%C3%A9%20%E4%B9%A6.epub";
    assert_eq!(saved.header("content-disposition"), Some(name));
}

#[test]
fn html_books_keep_their_links() {
    let site = library();
    assert_eq!(site.get("/c/Books/book/").text(), "<p>a book");
    assert_eq!(site.get("/c/Books/book/index.html").text(), "<p>a book");
    assert_eq!(site.get("/c/Books/book/style.css").header("content-type"), Some("text/css"));
    for (from, to) in
        [("/c/Books/book", "/c/Books/book/"), ("/c/Books", "/c/Books/"), ("/c/Books/", "/collection/Books")]
    {
        let reply = site.get(from);
        assert_eq!((reply.status, reply.header("location")), (302, Some(to)), "{from}");
    }
}

#[test]
fn pages() {
    let site = library();
    let front = site.get("/");
    assert_eq!((front.status, front.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(front.header("content-security-policy").unwrap().starts_with("default-src 'none'; style-src 'self'"));
    assert!(front.text().contains("href=\"/collection/Books\"") && front.text().contains("7 titles"));
    let list = site.get("/collection/Books");
    assert!(list.text().contains("href=\"/item/Books/a%20b/caf%C3%A9%20%E4%B9%A6.epub\""), "{}", list.text());
    let style = list.text().split('"').find(|part| part.starts_with("/style.css")).unwrap();
    assert_eq!(site.get(style).header("content-type"), Some("text/css; charset=utf-8"));
    let item = site.get("/item/Books/film.webm");
    assert!(item.text().contains("<video") && item.text().contains("href=\"/c/Books/film.webm?download\""));
    assert!(site.get("/search?q=film").text().contains("href=\"/item/Books/film.webm\""));
    assert!(site.get("/search?q=%3Cb%3E").text().contains("&lt;b&gt;"));
    assert_eq!(site.get("/search?q=").status, 200);
    assert_eq!(site.get("/c/Books/100%25.txt").text(), "per cent");
    assert_eq!(site.get("/health").text(), "ok\n");
    for path in ["/favicon.ico", "/robots.txt", "/status"] {
        assert_eq!(site.get(path).status, 200, "{path}");
    }
    for (path, status) in [
        ("/collection/Books?page=2", 404),
        ("/collection/Books?page=0", 400),
        ("/collection/None", 404),
        ("/nothing", 404),
    ] {
        assert_eq!(site.get(path).status, status, "{path}");
    }
}

#[test]
fn an_empty_library_says_what_to_do() {
    let site = start(&[], NodeStatus::default());
    let text = site.get("/").text().to_owned();
    assert!(text.contains("Nothing here yet") && text.contains("allibrary add FOLDER"), "{text}");
}

#[test]
fn a_hundred_titles_a_page() {
    let names: Vec<String> = (0..205).map(|number| format!("{number:03}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, name.as_bytes())).collect();
    let site = start(&files, NodeStatus::default());
    for (page, items, previous, next) in [(1, 100, false, true), (2, 100, true, true), (3, 5, true, false)] {
        for list in [format!("/collection/Books?page={page}"), format!("/search?q=txt&page={page}")] {
            let text = site.get(&list).text().to_owned();
            assert_eq!(text.matches("href=\"/item/").count(), items, "{list}");
            assert_eq!(text.contains("rel=\"prev\""), previous, "{list}");
            assert_eq!(text.contains("rel=\"next\""), next, "{list}");
            assert!(text.contains(&format!("Page {page} of 3")), "{list}");
        }
    }
}

#[test]
fn status_for_people_and_programs() {
    let transfer = TransferStatus {
        collection: "<b>Videos".to_owned(),
        folder: "Videos".to_owned(),
        peer: "12D3KooWabcdefgh".to_owned(),
        item: None,
        items_done: 1,
        items_total: 4,
        bytes_done: 250,
        bytes_total: 1000,
        rate_bytes_s: 10,
        total_rate_bytes_s: 30,
        sources: 2,
        remaining_s: Some(25),
        ..TransferStatus::default()
    };
    let other = TransferStatus { peer: "12D3KooWijklmnop".to_owned(), rate_bytes_s: 20, ..transfer.clone() };
    let books = TransferStatus {
        collection: "Books".to_owned(),
        folder: "Books".to_owned(),
        bytes_total: 3000,
        total_rate_bytes_s: 40,
        ..transfer.clone()
    };
    let waiting = TransferStatus {
        collection: "Maps".to_owned(),
        items_total: 7,
        state: TransferState::Paused,
        ..TransferStatus::default()
    };
    let item = TransferStatus { path: Some("north.zim".to_owned()), items_total: 1, ..waiting.clone() };
    let controls = ControlStatus {
        collections: vec![waiting],
        items: vec![item],
        download_rate: 500_000,
        ..ControlStatus::default()
    };
    let notice = Notice { level: NoticeLevel::Warning, text: "The disk is full.".to_owned() };
    let transfers = vec![transfer, other, books];
    let status = NodeStatus { transfers, controls, notices: vec![notice], ..NodeStatus::default() };
    let site = start(&[], status.clone());
    let page = site.get("/status").text().to_owned();
    assert!(page.contains("http-equiv=\"refresh\"") && page.contains("<svg"), "{page}");
    assert!(page.contains("value=\"25\"") && page.contains("&lt;b&gt;Videos") && page.contains("The disk is full."));
    assert!(
        page.contains("Maps</bdi></strong> – paused, 0 of 7 titles") && page.contains("At most 500 kB are fetched"),
        "{page}"
    );
    for part in [
        "250 bytes of 1.0 kB · 30 bytes/s from 2 nodes · 25 s left",
        "…ijklmnop</code> · 20 bytes/s",
        "In all</strong> – 500 bytes of 4.0 kB · 70 bytes/s from 2 nodes · 50 s left",
        "Maps</bdi>/<bdi>north.zim</bdi></strong> – paused, 0 of 1 title are here",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    assert!(!site.get("/").text().contains("http-equiv=\"refresh\""));
    let metrics = site.get("/metrics");
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(
        metrics.text().contains("\nallibrary_collection_rate_bytes{collection=\"Videos\"} 30\n"),
        "{}",
        metrics.text()
    );
    let json = site.get("/status.json");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(serde_json::from_slice::<NodeStatus>(&json.body).unwrap(), status);
}

#[test]
fn only_get_and_head() {
    let site = library();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let reply = site.ask(method, "/", &[]);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let head = site.ask("HEAD", "/collection/Books", &[]);
    let get = site.get("/collection/Books");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(&*get.body.len().to_string()));
}

#[test]
fn other_hosts_are_sent_to_the_address() {
    let site = library();
    let home = format!("http://{}/", site.address);
    for path in ["/", "/c/Books/film.webm", "/generate_204"] {
        let reply = site.ask("GET", path, &["Host: evil.example"]);
        assert_eq!((reply.status, reply.header("location")), (302, Some(&*home)), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_eq!(site.ask("GET", "http://evil.example/", &[]).status, 302);
    let port = site.address.port();
    for host in [format!("localhost:{port}"), format!("library-7.local:{port}")] {
        assert_eq!(site.ask("GET", "/", &[&format!("Host: {host}")]).status, 200, "{host}");
    }
    assert_eq!(site.send(b"GET / HTTP/1.0\r\n\r\n").status, 200);
    assert_eq!(site.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").status, 400);
    assert_eq!(site.ask("GET", "/", &["Host: a b"]).status, 400);
    assert_eq!(site.ask("GET", "/", &["Host: localhost", "Host: localhost"]).status, 400);
}

#[test]
fn hostile_addresses_lead_nowhere() {
    let site = library();
    for (path, status) in [
        ("/c/Books/../../etc/passwd", 404),
        ("/c/Books/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/c/Books/..%2f..%2f..%2fetc%2fpasswd", 404),
        ("/c/../../../../etc/passwd", 404),
        ("/c/Books//etc/passwd", 404),
        ("/c/Books/%2fetc%2fpasswd", 404),
        ("/c/Books/film.webm/", 404),
        ("/c/None", 404),
        ("/c/Books/film.webm%00.html", 400),
        ("/c/Books/%", 400),
        ("/c/Books/%zz", 400),
        ("/c/Books/%ff", 400),
        ("/c/%ff/film.webm", 400),
        ("/item/Books/nothing", 404),
        ("//evil.example/", 404),
        ("/c/Books/%0d%0aSet-Cookie:%20a=b", 400),
    ] {
        let reply = site.get(path);
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.text().contains("To the library"), "{path}");
        assert_eq!(reply.header("set-cookie"), None);
    }
    // Not even an address, and so answered without a page.
    assert_eq!(site.get("/c/Books\x7f").status, 400);
    let long = site.get(&format!("/search?q={}", "x".repeat(10_000)));
    assert_eq!(long.status, 200);
    assert_eq!(site.get(&format!("/{}", "x".repeat(20_000))).status, 431);
}

#[test]
fn hostile_titles_are_only_text() {
    let site = library();
    for path in ["/collection/Books", "/item/Books/evil.html", "/search?q=alert"] {
        let reply = site.get(path);
        let text = reply.text();
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{path}");
        assert!(!text.contains("<script") && !text.contains('\u{202e}'), "{path}");
    }
}

#[test]
fn damaged_files_are_never_sent() {
    let site = library();
    let damage = |at: u64| {
        let path = site.files.join("film.webm");
        let mtime = path.metadata().unwrap().modified().unwrap();
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(b"!").unwrap();
        file.set_modified(mtime).unwrap();
    };
    damage(1_000_000);
    // What can't be taken back any more ends early; the client sees that it is not whole.
    let cut = site.get("/c/Books/film.webm");
    assert_eq!((cut.status, cut.header("content-length")), (200, Some("1200000")));
    assert!(cut.body.len() < 1_000_000 && FILM.starts_with(&cut.body), "{} bytes", cut.body.len());
    let reply = site.ask("GET", "/c/Books/film.webm", &["Range: bytes=1000000-1000001"]);
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("60")));
    assert_eq!(reply.header("content-range"), None);
}

#[test]
fn taken_ports() {
    let site = |library| allibrary::kiosk::Site {
        follower: None,
        library,
        status: Arc::new(NodeStatus::default),
        name: String::new(),
        local_name: None,
        readers: allibrary::kiosk::Readers::new(|_| {}),
    };
    let folder = tempfile::tempdir().unwrap();
    let options = allibrary::store::Options::default();
    let store = Arc::new(allibrary::store::Store::open(folder.path(), options).unwrap());
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let library = Arc::new(allibrary::library::Library::open(store, folder.path(), key).unwrap());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let Err(error) = allibrary::kiosk::Kiosk::bind(address, true, site(library.clone())) else {
        panic!("two listen on {address}");
    };
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let moved = allibrary::kiosk::Kiosk::bind(address, false, site(library)).unwrap();
    assert!(moved.address().port() > address.port());
}
