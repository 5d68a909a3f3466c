//! The page in a real browser. Needs Chromium: what a browser makes of our headers, only a browser knows.

#[path = "support/site.rs"]
#[expect(dead_code, reason = "what the other test of this support needs")]
mod site;

use std::{
    io::{ErrorKind, Read},
    net::TcpListener,
    path::Path,
    process::Command,
};

use allibrary::status::NodeStatus;
use site::start;

/// Runs Chromium without a window, as a phone; the answer is what it prints.
fn chromium(url: &str, arguments: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    for name in ["chromium", "chromium-browser", "google-chrome"] {
        let output = Command::new(name)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=390,844"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(arguments)
            .arg(url)
            .output();
        match output {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            output => {
                let output = output.unwrap();
                assert!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
                return String::from_utf8(output.stdout).unwrap();
            }
        }
    }
    panic!("this test needs Chromium (Debian: apt install chromium)");
}

fn dom(url: &str) -> String {
    chromium(url, &["--dump-dom"])
}

/// A picture of the page, as the bytes of a PNG.
fn picture(url: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.png");
    chromium(url, &[&format!("--screenshot={}", file.display())]);
    std::fs::read(file).unwrap()
}

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A book with styles, pictures and a page within the page, and what its author would like to run in it.
fn book(attribute: &str, script: &str) -> [(&'static str, String); 5] {
    let index = format!(
        "<!DOCTYPE html><meta charset=utf-8><link rel=stylesheet href=style.css><title>Book</title><h1>A book</h1>
         <img src=picture.svg width=100 height=60 alt=missing {attribute}><iframe src=inner.html width=200 height=60></iframe>
         {script}"
    );
    let circle = "<svg xmlns='http://www.w3.org/2000/svg' width='20' height='20'><circle r='9' fill='blue'/></svg>";
    let area = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 5 3'><rect width='5' height='3'/></svg>";
    [
        ("index.html", index),
        ("style.css", "body { background: url(tile.svg) #dfd } h1 { font-size: 60px }".to_owned()),
        ("tile.svg", circle.to_owned()),
        ("picture.svg", area.to_owned()),
        ("inner.html", format!("<body style='background: navy'>{script}")),
    ]
}

#[test]
fn books_look_as_they_should_and_run_nothing() {
    let hostile =
        book("onload='document.body.style.color=\"red\"'", "<script>document.body.style.background = 'red'</script>");
    let site = start(&hostile.each_ref().map(|(path, text)| (*path, text.as_bytes())), NodeStatus::default());
    let tame = tempfile::tempdir().unwrap();
    for (path, text) in book("", "") {
        std::fs::write(tame.path().join(path), text).unwrap();
    }
    // From the disk, a browser loads and runs everything: it shows what a reader should see, and what not.
    let expected = picture(&file_url(&tame.path().join("index.html")));
    let taken_over = picture(&file_url(&site.files.join("index.html")));
    assert!(taken_over != expected, "no script ran from the disk: this test would prove nothing");
    let url = format!("http://{}/c/Books/", site.address);
    assert!(picture(&url) == expected, "the book looks otherwise than it should");
    let dom = dom(&url);
    assert!(dom.contains("<h1>A book</h1>"), "{dom}");
}

/// What was asked of a server that never answered.
fn requests(listener: &TcpListener) -> String {
    let mut all = String::new();
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(false).unwrap();
        stream.read_to_string(&mut all).unwrap();
    }
    all
}

#[test]
fn books_load_nothing_from_elsewhere() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let address = elsewhere.local_addr().unwrap();
    let book = format!(
        "<!DOCTYPE html><title>Book</title><link rel=stylesheet href='http://{address}/a.css'>
         <link rel=prefetch href='http://{address}/prefetch'><meta http-equiv=refresh content='0;url=http://{address}/refresh'>
         <style>@import 'http://{address}/b.css'; body {{ background: url(http://{address}/b.png) }}</style>
         <img src='http://{address}/c.png'><iframe src='http://{address}/d.html'></iframe>
         <video src='http://{address}/e.webm' autoplay></video><object data='http://{address}/f.svg'></object><p>end"
    );
    let site = start(&[("book.html", book.as_bytes())], NodeStatus::default());
    let dom = dom(&format!("http://{}/c/Books/book.html", site.address));
    assert!(dom.contains("<p>end"), "{dom}");
    // The browser has ended, and its connections with it. It may have opened one ahead of the rules, and said nothing.
    assert_eq!(requests(&elsewhere), "");
    // The same book from the disk does load things, or this test would prove nothing.
    chromium(&file_url(&site.files.join("book.html")), &["--dump-dom", "--timeout=2000"]);
    assert!(requests(&elsewhere).starts_with("GET /"));
}

#[test]
fn pages_render() {
    let title = b"<!DOCTYPE html><meta charset=utf-8><title>&lt;img src=x onerror=alert(1)&gt;</title>";
    let site = start(&[("a.html", title), ("b.txt", b"text")], NodeStatus::default());
    for (path, expected) in [
        ("/", "<bdi>Books</bdi>"),
        ("/collection/Books", "&lt;img src=x onerror=alert(1)&gt;"),
        ("/item/Books/b.txt", ">Read</a>"),
        ("/status", "<h1>Status</h1>"),
        ("/c/Books/none", "There is nothing here"),
    ] {
        let dom = dom(&format!("http://{}{path}", site.address));
        assert!(dom.contains(expected) && !dom.contains("<img"), "{path}: {dom}");
    }
}
