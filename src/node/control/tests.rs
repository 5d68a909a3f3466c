use std::{
    io::{Read as _, Write as _},
    os::unix::{ffi::OsStringExt as _, fs::PermissionsExt as _, net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::*;
use crate::limits::control;

/// What a client may end with, to see which.
#[derive(Debug, Error)]
enum End {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Op(#[from] OpError),
}

struct Running {
    folders: Vec<PathBuf>,
    data: tempfile::TempDir,
    socket: PathBuf,
    stop: smol::channel::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.close();
        self.thread.take().expect("stopped once").join().unwrap();
        assert!(!self.socket.exists(), "the socket goes with its server");
    }
}

impl Running {
    fn start(handler: Handler) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folders = vec!["/nonexistent/runtime".into(), data.path().join("run")];
        let server = Server::bind_in(&folders, data.path()).unwrap();
        let socket = server.path().to_owned();
        let (stop, stopped) = smol::channel::bounded(1);
        let thread = thread::spawn(move || {
            smol::block_on(smol::future::or(server.serve(handler), async {
                let _ = stopped.recv().await;
            }));
        });
        Self { folders, data, socket, stop, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        Client::connect_in(&self.folders, self.data.path()).unwrap().expect("it runs")
    }

    fn perform(&self, request: &Request) -> (Vec<Reply>, Result<(), End>) {
        let mut replies = Vec::new();
        let result = self.client().perform(request, &mut |reply| {
            replies.push(reply);
            Ok(())
        });
        (replies, result)
    }
}

fn echo() -> Handler {
    Arc::new(|request, reply| match request {
        Request::Get { id } => {
            let content = vec![b'\n'; 100_000];
            reply(Reply::Blob { id, size_bytes: 200_000 })?;
            for _ in 0..2 {
                reply(Reply::Data { bytes: content.len(), content: content.clone() })?;
            }
            Ok(())
        }
        Request::Status => reply(Reply::Status(Box::default())),
        Request::Add { paths, .. } => {
            paths.iter().try_for_each(|path| reply(Reply::Skipped { path: format!("{path:?}"), reason: String::new() }))
        }
        _ => Err(OpError::new(FailureKind::NotFound, "no such thing")),
    })
}

#[test]
fn requests_are_answered_and_bytes_come_as_they_are() {
    let node = Running::start(echo());
    let (replies, result) = node.perform(&Request::Get { id: "ab".into() });
    result.unwrap();
    assert_eq!(replies[0], Reply::Blob { id: "ab".into(), size_bytes: 200_000 });
    assert_eq!(replies.len(), 3);
    for reply in &replies[1..] {
        assert!(matches!(reply, Reply::Data { bytes: 100_000, content } if content.iter().all(|b| *b == b'\n')));
    }
    let (replies, result) = node.perform(&Request::Status);
    result.unwrap();
    assert_eq!(replies, [Reply::Status(Box::default())]);
    let (replies, result) = node.perform(&Request::List { collection: None });
    assert_eq!(replies, []);
    assert!(matches!(result, Err(End::Op(OpError { kind: FailureKind::NotFound, .. }))));
}

#[test]
fn paths_of_any_bytes_arrive() {
    let node = Running::start(echo());
    let paths = vec![PathText("/a b/ä".into()), PathText(OsString::from_vec(b"/\xff\xfe".to_vec()).into())];
    let request = Request::Add { paths: paths.clone(), collection: None, copy: false, yes: false };
    let (replies, result) = node.perform(&request);
    result.unwrap();
    for (path, reply) in paths.iter().zip(replies) {
        assert_eq!(reply, Reply::Skipped { path: format!("{path:?}"), reason: String::new() });
    }
}

#[test]
fn the_socket_is_private_and_a_dead_one_is_replaced() {
    let node = Running::start(echo());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&node.socket), 0o600);
    assert_eq!(mode(node.socket.parent().unwrap()), 0o700);
    assert!(node.socket.as_os_str().len() < 108);

    // A socket file that nobody listens on.
    let data = tempfile::tempdir().unwrap();
    let folders = [data.path().join("run")];
    let dead = Server::bind_in(&folders, data.path()).unwrap();
    let path = dead.path().to_owned();
    let copy = path.with_extension("kept");
    std::fs::hard_link(&path, &copy).unwrap();
    drop(dead);
    std::fs::rename(&copy, &path).unwrap();
    assert!(Client::connect_in(&folders, data.path()).unwrap().is_none());
    let again = Server::bind_in(&folders, data.path()).unwrap();
    assert_eq!(again.path(), path);
    assert!(Client::connect_in(&folders, data.path()).unwrap().is_some());
}

#[test]
fn a_folder_that_lets_its_group_in_has_a_socket_for_the_group() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("run");
    std::fs::create_dir(&folder).unwrap();
    let mode_of_socket_in = |mode| {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        let server = Server::bind_in(std::slice::from_ref(&folder), data.path()).ok()?;
        Some(server.path().metadata().unwrap().permissions().mode() & 0o777)
    };
    assert_eq!(mode_of_socket_in(0o700), Some(0o600));
    assert_eq!(mode_of_socket_in(0o750), Some(0o660));
    assert_eq!(mode_of_socket_in(0o770), None, "the group could put another socket there");
    assert_eq!(mode_of_socket_in(0o751), None);
}

#[test]
fn a_folder_that_others_can_enter_is_not_trusted() {
    let data = tempfile::tempdir().unwrap();
    let open = data.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let link = data.path().join("link");
    std::os::unix::fs::symlink(data.path(), &link).unwrap();
    let Err(ControlError::NoFolder(reasons)) = Server::bind_in(&[open, link], data.path()) else {
        panic!("it was trusted")
    };
    assert_eq!(reasons.matches("not a private folder of this user").count(), 2, "{reasons}");
}

#[test]
fn a_folder_without_room_for_a_socket_is_passed_over() {
    let data = tempfile::tempdir().unwrap();
    // A socket's path has at most 107 bytes.
    let folders = [data.path().join("x".repeat(100)), data.path().join("run")];
    let server = Server::bind_in(&folders, data.path()).unwrap();
    assert!(server.path().starts_with(&folders[1]));
    assert!(Client::connect_in(&folders, data.path()).unwrap().is_some());
}

#[test]
fn no_node_is_no_error() {
    let data = tempfile::tempdir().unwrap();
    assert!(Client::connect_in(&[data.path().to_owned()], data.path()).unwrap().is_none());
    assert!(Client::connect_in(&[data.path().to_owned()], Path::new("/nonexistent")).unwrap().is_none());
}

#[test]
fn a_request_that_is_too_long_is_not_sent() {
    let node = Running::start(echo());
    let (replies, result) = node.perform(&Request::Verify { ids: vec!["x".repeat(1000); control::LINE_BYTES / 1000] });
    assert!(matches!(result, Err(End::Control(ControlError::TooLong))), "{result:?}");
    assert_eq!(replies, []);
}

#[test]
fn garbage_is_answered_and_bounded() {
    let node = Running::start(echo());
    let ask = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&node.socket).unwrap();
        // The server may have had enough before all is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(ask(b"hello\n").contains("the node does not understand this request"));
    assert!(ask(b"{\"request\":\"fly\"}\n").contains("unknown variant `fly`"));
    assert!(ask(b"{\"request\":\"status\"}").contains("a request is one line"));
    ask(&vec![b'x'; control::LINE_BYTES + 10]);
    ask(&[0xff; 100]);
    node.perform(&Request::Status).1.unwrap();
}

#[test]
fn work_ends_when_its_client_is_gone() {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let node = Running::start(Arc::new(move |request, reply| {
        if request == Request::Status {
            return Ok(());
        }
        loop {
            if let Err(error) = reply(Reply::Published { version: 1, items: 1 }) {
                told.store(true, Ordering::Release);
                return Err(error);
            }
        }
    }));
    let client = node.client();
    let result = client.perform(&Request::Verify { ids: vec![] }, &mut |_| Err(End::Op(OpError::gone())));
    assert!(matches!(result, Err(End::Op(OpError { kind: FailureKind::Gone, .. }))));
    let deadline = crate::clock::now() + std::time::Duration::from_secs(20);
    while !ended.load(Ordering::Acquire) {
        assert!(crate::clock::now() < deadline, "the work went on without a client");
        // A round trip instead of a sleep.
        node.perform(&Request::Status).1.unwrap();
    }
}

#[test]
fn more_clients_than_seats_are_served_in_turn() {
    let node = Running::start(echo());
    let silent: Vec<_> = (1..control::CLIENTS).map(|_| UnixStream::connect(&node.socket).unwrap()).collect();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| node.perform(&Request::Get { id: "x".into() }).1.unwrap());
        }
    });
    drop(silent);
}
