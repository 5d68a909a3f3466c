//! The side of the node.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, io::BufReader};
use smol::{
    Executor, Timer,
    channel::{self, Sender},
    future,
    lock::Semaphore,
    net::unix::{UnixListener, UnixStream},
};

use super::{ControlError, FailureKind, OpError, Reply, Request, socket_name, to_line};
use crate::{config::runtime_folders, limits::control};

/// How long a client may take to send its request, and to take a reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// What does the work: called on a blocking thread, it hands each reply to the function it is given, and stops with
/// [`OpError::gone`] when that says so.
pub type Handler =
    Arc<dyn Fn(Request, &mut dyn FnMut(Reply) -> Result<(), OpError>) -> Result<(), OpError> + Send + Sync>;

/// The listening socket; its file goes when this is dropped.
pub struct Server {
    path: PathBuf,
    listener: UnixListener,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A file that stays is replaced by the next node, and taken for dead by clients.
        let _ = fs::remove_file(&self.path);
    }
}

impl Server {
    /// Listens for the commands of this data folder, which the caller holds the lock of: a socket that is there already
    /// is that of a dead node, and replaced.
    ///
    /// # Errors
    /// If no runtime folder is usable.
    pub fn bind(data: &Path) -> Result<Self, ControlError> {
        Self::bind_in(&runtime_folders(), data)
    }

    pub(super) fn bind_in(folders: &[PathBuf], data: &Path) -> Result<Self, ControlError> {
        let name = socket_name(data).map_err(|source| ControlError::Io { path: data.to_owned(), source })?;
        let mut reasons = Vec::new();
        for folder in folders {
            let path = folder.join(&name);
            match prepare(folder).and_then(|mode| listen(&path, mode)) {
                Ok(listener) => return Ok(Self { path, listener }),
                Err(error) => reasons.push(format!("{}: {error}", path.display())),
            }
        }
        Err(ControlError::NoFolder(reasons.join("; ")))
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves clients for ever. At most [`control::CLIENTS`] at a time, of which [`control::OPERATIONS`] work; the
    /// others wait.
    pub async fn serve(&self, handler: Handler) {
        let clients = Arc::new(Semaphore::new(control::CLIENTS));
        let operations = Arc::new(Semaphore::new(control::OPERATIONS));
        let executor = Executor::new();
        let accept = async {
            loop {
                let seat = clients.acquire_arc().await;
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let (handler, operations) = (Arc::clone(&handler), Arc::clone(&operations));
                        let client = async move {
                            if let Err(error) = serve_client(stream, handler, operations).await {
                                log::debug!("a control client left: {error}");
                            }
                            drop(seat);
                        };
                        executor.spawn(client).detach();
                    }
                    Err(error) => {
                        // Out of file descriptors, say: some will be given back.
                        log::warn!("control socket: {error}");
                        Timer::after(Duration::from_secs(1)).await;
                    }
                }
            }
        };
        executor.run(accept).await
    }
}

/// Listens there for those whom this mode lets in, in the place of a dead node.
fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Makes the folder, or checks that the one that is there is this user's, and no stranger's way in: in `/tmp` anybody can be
/// first. Returns the mode for a socket in it. The folder says who may give commands: one that lets its group in, as that of a
/// system service does, has a socket for the group.
fn prepare(folder: &Path) -> io::Result<u32> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(folder)?;
    let mine = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    if !mine || metadata.mode() & 0o027 != 0 {
        return Err(io::Error::other("not a private folder of this user; remove it"));
    }
    Ok(if metadata.mode() & 0o010 == 0 { 0o600 } else { 0o660 })
}

async fn serve_client(mut stream: UnixStream, handler: Handler, operations: Arc<Semaphore>) -> io::Result<()> {
    let request = within(read_request(&mut stream)).await?;
    let request = match request {
        Ok(request) => request,
        Err(error) => return within(stream.write_all(&to_line(&Reply::Error(error)))).await,
    };
    // What costs little never waits behind a long verify.
    let slot = if request.is_quick() { None } else { Some(operations.acquire_arc().await) };
    let (sender, replies) = channel::bounded::<Vec<u8>>(control::REPLY_QUEUE);
    let work = smol::unblock(move || {
        let result = handler(request, &mut |reply| send(&sender, &reply));
        let last = match result {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Error(error),
        };
        // A client that is gone misses nothing.
        let _ = send(&sender, &last);
        drop(slot);
    });
    let write = async {
        while let Ok(bytes) = replies.recv().await {
            within(stream.write_all(&bytes)).await?;
        }
        stream.close().await
    };
    // If the client is gone, `replies` is dropped with `write`, and the work ends at its next reply.
    let written = write.await;
    drop(replies);
    work.await;
    written
}

/// The request of a client, or what to tell it.
async fn read_request(stream: &mut UnixStream) -> io::Result<Result<Request, OpError>> {
    let mut line = Vec::new();
    BufReader::new(stream).take(control::LINE_BYTES as u64).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        let message = format!("a request is one line of at most {} bytes", control::LINE_BYTES);
        return Ok(Err(OpError::new(FailureKind::Failed, message)));
    }
    Ok(serde_json::from_slice(&line).map_err(|error| {
        OpError::new(FailureKind::Failed, format!("the node does not understand this request: {error}"))
    }))
}

fn send(sender: &Sender<Vec<u8>>, reply: &Reply) -> Result<(), OpError> {
    let mut bytes = to_line(reply);
    match reply {
        Reply::Reading { .. } if sender.is_full() => return Ok(()),
        Reply::Data { content, .. } => bytes.extend_from_slice(content),
        _ => {}
    }
    sender.send_blocking(bytes).map_err(|_| OpError::gone())
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let too_late = async {
        Timer::after(PATIENCE).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    future::or(work, too_late).await
}
