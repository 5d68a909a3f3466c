//! Frames: one byte of kind, four bytes of length (little endian), the body.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use thiserror::Error;

/// One message as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which message of its protocol this is.
    pub kind: u8,
    /// The message, in postcard unless its documentation says otherwise.
    pub body: Vec<u8>,
}

/// Why no frame could be read. The stream is unusable afterwards, and nothing was kept.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The connection failed or ended inside a frame.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side announced a longer body than it may send.
    #[error("a frame of {len} bytes where at most {max} are allowed")]
    TooLong { len: usize, max: usize },
    /// The body is not the message that the kind says.
    #[error("a message that does not parse")]
    Malformed,
    /// A kind that has no place here.
    #[error("an unexpected message of kind {0:#04x}")]
    Unexpected(u8),
}

impl FrameError {
    /// Whether only a faulty or hostile peer sends this; a broken connection is nobody's fault.
    pub fn is_violation(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

/// Bytes of kind and length.
const HEADER_BYTES: usize = 5;
/// Bytes of memory that an announced body is given at a time.
const STEP_BYTES: usize = 64 * 1024;

/// Reads one frame with a body of at most `max` bytes; `None` at a clean end of the stream.
pub async fn read_frame<R: AsyncRead + Unpin>(reader: &mut R, max: usize) -> Result<Option<Frame>, FrameError> {
    read_frame_into(reader, max, Vec::new()).await
}

/// [`read_frame`] into the memory of `body`, whose content is lost.
pub async fn read_frame_into<R: AsyncRead + Unpin>(
    reader: &mut R,
    max: usize,
    mut body: Vec<u8>,
) -> Result<Option<Frame>, FrameError> {
    let Some(Head { kind, len }) = read_head(reader, max).await? else { return Ok(None) };
    // Memory grows with what arrives, not with what is announced; what is there already is filled at once, not zeroed first.
    let mut read = 0;
    while read < len {
        let end = len.min(body.len().max(read + STEP_BYTES));
        grow(&mut body, end);
        reader.read_exact(&mut body[read..end]).await?;
        read = end;
    }
    body.truncate(len);
    Ok(Some(Frame { kind, body }))
}

/// Fills up with zeros to so many bytes: `Vec::resize`, but not byte by byte where the program is built to be small.
pub(crate) fn grow(body: &mut Vec<u8>, bytes: usize) {
    const ZEROS: [u8; 1024] = [0; 1024];
    body.reserve(bytes.saturating_sub(body.len()));
    while body.len() < bytes {
        body.extend_from_slice(&ZEROS[..ZEROS.len().min(bytes - body.len())]);
    }
}

/// What a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// See [`Frame::kind`].
    pub kind: u8,
    /// Bytes of the body.
    pub len: usize,
}

/// Reads the beginning of a frame whose body has at most `max` bytes; `None` at a clean end of the stream.
pub async fn read_head<R: AsyncRead + Unpin>(reader: &mut R, max: usize) -> Result<Option<Head>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await?;
    let len = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if len > max {
        return Err(FrameError::TooLong { len, max });
    }
    Ok(Some(Head { kind: header[0], len }))
}

/// Writes one frame; the caller flushes when it has no more to say.
pub async fn write_frame<W: AsyncWrite + Unpin>(writer: &mut W, kind: u8, body: &[u8]) -> io::Result<()> {
    write_head(writer, kind, body.len()).await?;
    writer.write_all(body).await
}

/// Writes the beginning of a frame whose body has `len` bytes, and is to follow.
pub async fn write_head<W: AsyncWrite + Unpin>(writer: &mut W, kind: u8, len: usize) -> io::Result<()> {
    let len = u32::try_from(len).expect("bodies are bounded far below 4 GiB by limits::wire");
    let mut header = [kind, 0, 0, 0, 0];
    header[1..].copy_from_slice(&len.to_le_bytes());
    writer.write_all(&header).await
}
