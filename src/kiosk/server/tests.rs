use std::{
    io::{Read, Write},
    net::Shutdown,
    ops::Range,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use bytes::Bytes;

use super::*;
use crate::kiosk::body::FileBody;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);
const LONG: Patience = Patience { head: DEADLINE, stall: DEADLINE };
const FILE_BYTES: u64 = 1 << 30;

/// A server with a page at `/` and an endless file at `/file`, that is damaged from its second group on at `/damaged`.
struct Server {
    address: SocketAddr,
    stop: channel::Sender<()>,
    thread: JoinHandle<()>,
    /// Hears of each file that is no longer read.
    let_go: mpsc::Receiver<()>,
}

struct LetGo(mpsc::Sender<()>);

impl Drop for LetGo {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

fn start(patience: Patience) -> Server {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    let (stop, stopped) = channel::bounded::<()>(1);
    let (released, let_go) = mpsc::channel();
    let handle = move |request: Request<Incoming>, _| {
        let let_go = LetGo(released.clone());
        let path = request.uri().path().to_owned();
        async move {
            Response::new(match &*path {
                "/" => Body::Whole(Bytes::from_static(b"hello")),
                _ => Body::File(FileBody::open(file(let_go, path == "/damaged"), 0..FILE_BYTES).unwrap()),
            })
        }
    };
    let thread = thread::spawn(move || {
        smol::block_on(serve(listener, patience, handle, async move {
            let _ = stopped.recv().await;
        }));
    });
    Server { address, stop, thread, let_go }
}

fn file(let_go: LetGo, damaged: bool) -> Box<dyn FnMut(Range<u64>) -> io::Result<Vec<u8>> + Send> {
    Box::new(move |range| {
        let _held = &let_go;
        if damaged && range.start > 0 {
            return Err(io::Error::other("damaged"));
        }
        Ok(vec![7; (range.end - range.start) as usize])
    })
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    }

    /// Stops it; it must not wait until its clients lose their patience.
    fn stop(self) {
        let begin = crate::clock::now();
        self.stop.try_send(()).unwrap();
        self.thread.join().unwrap();
        assert!(begin.elapsed() < DEADLINE / 2, "took {:?}", begin.elapsed());
    }
}

/// Reads until the text ends so.
fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "ended after {:?}", String::from_utf8_lossy(&bytes));
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Everything until the server closes, orderly or not.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => bytes,
    }
}

#[test]
fn silent_dripping_and_idle_clients_are_closed() {
    let server = start(Patience { head: Duration::from_millis(300), ..LONG });
    let mut silent = server.connect();
    let mut idle = server.ask("/");
    assert!(read_to(&mut idle, "hello").starts_with("HTTP/1.1 200 OK\r\n"));
    let mut dripping = server.connect();
    let mut drips = b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    let begin = crate::clock::now();
    while dripping.write_all(&[*drips.next().unwrap()]).is_ok() {
        assert!(begin.elapsed() < DEADLINE);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(read_all(&mut silent), b"");
    assert_eq!(read_all(&mut idle), b"");
    server.stop();
}

#[test]
fn a_client_that_stops_reading_is_given_up() {
    let server = start(Patience { stall: Duration::from_millis(300), ..LONG });
    let stream = server.ask("/file");
    server.let_go.recv_timeout(DEADLINE).expect("the file is still open");
    drop(stream);
    server.stop();
}

#[test]
fn a_client_that_goes_away_is_noticed() {
    let server = start(LONG);
    let mut stream = server.ask("/file");
    read_to(&mut stream, "\r\n\r\n");
    drop(stream);
    server.let_go.recv_timeout(DEADLINE).expect("the file is still open");
    server.stop();
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let server = start(LONG);
    let mut stream = server.ask("/");
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut stream).ends_with(b"hello"));
    server.stop();
}

#[test]
fn damage_ends_the_connection() {
    let server = start(LONG);
    let mut stream = server.ask("/damaged");
    let head = read_to(&mut stream, "\r\n\r\n");
    assert!(head.contains(&format!("content-length: {FILE_BYTES}\r\n")), "{head}");
    let bytes = read_all(&mut stream);
    assert!(bytes.len() as u64 <= crate::limits::GROUP_BYTES, "{} bytes", bytes.len());
    assert!(bytes.iter().all(|byte| *byte == 7));
    server.stop();
}

#[test]
fn too_long_heads_are_refused() {
    let server = start(LONG);
    let mut stream = server.connect();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(limits::REQUEST_HEAD_BYTES));
    let _ = stream.write_all(head.as_bytes());
    assert!(read_to(&mut stream, "\r\n\r\n").starts_with("HTTP/1.1 431 "));
    server.stop();
}

#[test]
fn one_client_too_many_is_told_so_and_places_come_back() {
    let server = start(LONG);
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS).map(|_| server.ask("/")).collect();
    for client in &mut clients {
        read_to(client, "hello");
    }
    let mut refused = server.ask("/");
    let answer = String::from_utf8(read_all(&mut refused)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
    clients.clear();
    let begin = crate::clock::now();
    while !read_some(&mut server.ask("/")).starts_with("HTTP/1.1 200 ") {
        assert!(begin.elapsed() < DEADLINE);
    }
    server.stop();
}

/// The first bytes that come.
fn read_some(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 1024];
    let len = stream.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

#[test]
fn it_stops_without_waiting_for_its_clients() {
    let server = start(LONG);
    let silent = server.connect();
    let mut idle = server.ask("/");
    read_to(&mut idle, "hello");
    let mut busy = server.ask("/file");
    read_to(&mut busy, "\r\n\r\n");
    server.stop();
    drop((silent, busy));
    assert_eq!(read_all(&mut idle), b"");
}
