//! The page of a node, as those on its host get it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    ops::Range,
    time::{Duration, Instant},
};

use allibrary::clock;

use super::{
    netns::Host,
    node::{DEADLINE, Node},
};

/// Where it is.
pub struct Page<'a> {
    host: &'a Host,
    address: String,
}

/// A response of which the head and the first byte were read.
pub struct Response {
    pub status: u16,
    pub head: String,
    /// How long it took until its first byte was here, from the connection's beginning on.
    pub took: Duration,
    pub body: BufReader<TcpStream>,
}

impl<'a> Page<'a> {
    /// That of this node.
    pub fn of(host: &'a Host, node: &mut Node) -> Self {
        let status = node.wait_for("a page", |status| status["pages"][0].is_string());
        let url = status["pages"][0].as_str().expect("it was just looked at");
        Self { host, address: url.trim_start_matches("http://").trim_end_matches('/').to_owned() }
    }

    /// That of a node which offers to read this item, and has somebody to read it from.
    pub fn offering(item: &str, host: &'a Host, node: &mut Node) -> Self {
        let page = Self::of(host, node);
        let path = format!("/item/{item}");
        node.wait_for("an offer", |_| page.get(&path, None).text().contains("opens from there"));
        page
    }

    /// What comes for this path, or for this range of it.
    pub fn get(&self, path: &str, range: Option<Range<u64>>) -> Response {
        let range = range.map_or_else(String::new, |it| format!("Range: bytes={}-{}\r\n", it.start, it.end - 1));
        let address = self.address.clone();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{range}Connection: close\r\n\r\n");
        self.host.thread(move || ask(&address, &request)).join().expect("it answers")
    }
}

fn ask(address: &str, request: &str) -> Response {
    let begin: Instant = clock::now();
    let mut stream = TcpStream::connect(address).expect("the page listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("it is longer than nothing");
    stream.write_all(request.as_bytes()).expect("it hears");
    let mut body = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(body.read_line(&mut head).expect("a head") > 0, "no whole head: {head:?}");
    }
    // An empty body has none.
    let _ = body.fill_buf();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    Response { status, head, took: begin.elapsed(), body }
}

impl Response {
    /// The next bytes of the body.
    pub fn some(&mut self, bytes: usize) -> Vec<u8> {
        let mut some = vec![0; bytes];
        self.body.read_exact(&mut some).expect("there are so many");
        some
    }

    /// What is left of the body, to the end of the connection.
    pub fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.body.read_to_end(&mut rest).expect("it ends as it should");
        rest
    }

    /// The same as text.
    pub fn text(self) -> String {
        String::from_utf8(self.rest()).expect("pages are UTF-8")
    }
}
