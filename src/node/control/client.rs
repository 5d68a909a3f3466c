//! The side of the command line. Blocking: a command has nothing else to do.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
};

use super::{ControlError, OpError, Reply, Request, socket_name, to_line};
use crate::{config::runtime_folders, limits::control};

/// A connection to a running node.
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
}

impl Client {
    /// Connects to the node of this data folder; none if no node runs.
    ///
    /// # Errors
    /// If one runs that cannot be talked to.
    pub fn connect(data: &Path) -> Result<Option<Self>, ControlError> {
        Self::connect_in(&runtime_folders(), data)
    }

    pub(super) fn connect_in(folders: &[PathBuf], data: &Path) -> Result<Option<Self>, ControlError> {
        let Ok(name) = socket_name(data) else { return Ok(None) };
        for folder in folders {
            let path = folder.join(&name);
            match UnixStream::connect(&path) {
                Ok(stream) => return Ok(Some(Self { path, stream })),
                Err(error) if is_nobody(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // A folder of somebody else tells nothing about this data folder, unless that is his, too.
                    if owner(folder).is_some_and(|owner_of_node| owner(data) == Some(owner_of_node)) {
                        return Err(ControlError::OtherUser);
                    }
                }
                Err(source) => return Err(ControlError::Io { path, source }),
            }
        }
        Ok(None)
    }

    /// Sends the request and hands on each reply until the node is done. The final [`Reply::Done`] is not handed on.
    ///
    /// # Errors
    /// [`Reply::Error`], and what `on_reply` itself returns, as they are; trouble with the socket through `E`'s `From`.
    pub fn perform<E: From<ControlError> + From<OpError>>(
        self,
        request: &Request,
        on_reply: &mut dyn FnMut(Reply) -> Result<(), E>,
    ) -> Result<(), E> {
        let io_error = |source| ControlError::Io { path: self.path.clone(), source };
        let line = to_line(request);
        if line.len() > control::LINE_BYTES {
            return Err(ControlError::TooLong.into());
        }
        (&self.stream).write_all(&line).map_err(io_error)?;
        let mut reader = BufReader::new(&self.stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut reader).take(control::LINE_BYTES as u64).read_until(b'\n', &mut line).map_err(io_error)?;
            match line.last() {
                None => return Err(ControlError::Stopped.into()),
                Some(b'\n') => {}
                Some(_) => return Err(ControlError::Protocol.into()),
            }
            match serde_json::from_slice(&line).map_err(|_| ControlError::Protocol)? {
                Reply::Done => return Ok(()),
                Reply::Error(error) => return Err(error.into()),
                Reply::Data { bytes, mut content } if bytes <= control::DATA_BYTES => {
                    content.resize(bytes, 0);
                    reader.read_exact(&mut content).map_err(|_| ControlError::Stopped)?;
                    on_reply(Reply::Data { bytes, content })?;
                }
                Reply::Data { .. } => return Err(ControlError::Protocol.into()),
                reply => on_reply(reply)?,
            }
        }
    }
}

/// Whose it is; none if that can't be told.
fn owner(path: &Path) -> Option<u32> {
    path.metadata().ok().map(|metadata| metadata.uid())
}

/// Whether no node listens there: no socket, one whose node is dead (refused), or a path that is too long for one.
fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | InvalidInput)
}
