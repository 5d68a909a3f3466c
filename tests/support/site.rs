//! A page over a real library of a few files, on a port of its own.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use allibrary::{
    kiosk::{Kiosk, Readers, Site},
    library::{AddRequest, Library},
    status::NodeStatus,
    store::{Options, Store},
};

/// A running page. It stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    /// The folder with the files that are shared.
    pub files: PathBuf,
    _folder: tempfile::TempDir,
    stop: Option<smol::channel::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Shares these files as the collection "Books".
pub fn start(files: &[(&str, &[u8])], status: NodeStatus) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("Books");
    std::fs::create_dir(&shared).unwrap();
    for (path, bytes) in files {
        let path = shared.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let data = folder.path().join("data");
    let store = Store::open(&data, Options::default()).unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let library = Library::open(Arc::new(store), &data, key).unwrap();
    if !files.is_empty() {
        let request = AddRequest { paths: vec![shared.clone()], ..AddRequest::default() };
        let report = library.add(&request, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert_eq!(report.added, files.len() as u64);
    }
    let site = Site {
        library: Arc::new(library),
        follower: None,
        status: Arc::new(move || status.clone()),
        name: "School library".to_owned(),
        local_name: Some("library-7.local".to_owned()),
        readers: Readers::new(|_| {}),
    };
    let kiosk = Kiosk::bind(([127, 0, 0, 1], 0).into(), true, site).unwrap();
    let address = kiosk.address();
    let (stop, stopped) = smol::channel::bounded::<()>(1);
    let thread = thread::spawn(move || {
        smol::block_on(kiosk.run(async move {
            let _ = stopped.recv().await;
        }));
    });
    Running { address, files: shared, _folder: folder, stop: Some(stop), thread: Some(thread) }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(ended.is_some_and(|ended| ended.is_ok()));
        }
    }
}

/// What came back.
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a header, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Running {
    /// Sends these bytes, and reads until the server closes.
    pub fn send(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request).unwrap();
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => {}
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: bytes.split_off(end) }
    }

    /// One request on a connection of its own, with further header lines.
    pub fn ask(&self, method: &str, target: &str, headers: &[&str]) -> Reply {
        let host = format!("Host: {}", self.address);
        let has_host = headers.iter().any(|line| line.starts_with("Host:"));
        let lines = headers.iter().copied().chain((!has_host).then_some(&*host)).chain(["Connection: close"]);
        let head = lines.fold(format!("{method} {target} HTTP/1.1\r\n"), |head, line| head + line + "\r\n");
        self.send((head + "\r\n").as_bytes())
    }

    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[])
    }
}
