//! Fetching one large blob from one peer.

use std::{io, pin::pin, sync::Arc, time::Duration};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
    future::{Either, select},
    io::{BufReader, BufWriter},
};
use smol::channel::{self, Receiver, Sender, TrySendError};
use thiserror::Error;

use super::{
    answer::{Answer, Step, Violation},
    limiter,
    pace::{PACE, Pace},
    plan::InOrder,
};
use crate::{
    clock,
    content::ContentId,
    limits::transfer::{BUSY_RETRY_MAX_MS, CHECKPOINT_MS, FRAMES_IN_MEMORY, OPEN_REQUESTS, PACE_BYTES},
    store::{Download, LibraryPath, Store, StoreError, WriteError},
    wire::{
        ErrorCode, ErrorReply, Frame, FrameError,
        blob::{Data, Get, Reply, Request},
        write_frame,
    },
};

/// Why a fetch ended before its time. What was verified is kept, and the next fetch continues there.
///
/// After `Busy`, `NotFound`, `Damaged` and `Refused` the stream can be used for the next fetch, else it is to be dropped.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The connection failed. Try again, this peer or another.
    #[error("the connection broke: {0}")]
    Io(io::Error),
    /// The peer broke the rules: it should hear no more from us.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The peer has no free slot: try again after `retry_ms`.
    #[error("the peer is busy; it says to try again in {retry_ms} ms")]
    Busy { retry_ms: u32 },
    /// The peer has nothing of the blob, or not all that is missing here.
    #[error("the peer does not have all of the blob")]
    NotFound,
    /// The bytes on the peer's disk are damaged: try another peer.
    #[error("the blob is damaged on the peer's disk")]
    Damaged,
    /// The peer can't or won't, for another reason.
    #[error("the peer refused ({code:?}): {detail}")]
    Refused { code: ErrorCode, detail: String },
    /// No room for the blob on this node's disk. Try again when there is.
    #[error(transparent)]
    NoSpace(StoreError),
    /// This node's store failed.
    #[error(transparent)]
    Store(WriteError),
    /// The peer fell silent, or sends too little: see [`PACE_MS`](crate::limits::transfer::PACE_MS). Try another peer.
    #[error("the peer sent less than {} KiB in {} s", PACE_BYTES / 1024, PACE.as_secs())]
    TooSlow,
}

impl FetchError {
    /// Whether only a faulty or hostile peer brings this about.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }

    pub(super) fn refused(reply: ErrorReply) -> Self {
        match reply.code {
            ErrorCode::Busy => Self::Busy { retry_ms: reply.retry_ms.min(BUSY_RETRY_MAX_MS) },
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Damaged => Self::Damaged,
            code => Self::Refused { code, detail: reply.detail.to_string() },
        }
    }
}

impl From<FrameError> for FetchError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => Self::Io(error),
            error => Self::Violation(error.into()),
        }
    }
}

impl From<WriteError> for FetchError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Corrupt(_) => Self::Violation(Violation::WrongBytes),
            WriteError::Store(error) if error.is_about_room() => Self::NoSpace(error),
            error => Self::Store(error),
        }
    }
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        WriteError::from(error).into()
    }
}

/// Fetches what is missing of a blob from the peer at the other end of `stream`, and places it in the library. `pace` is that
/// of the stream.
///
/// `progress` hears how many bytes of the blob are here, verified: at once, and then after each step. Cancelling (dropping
/// the future) loses at most what was on its way; the stream is to be dropped then.
pub async fn fetch_blob<S: AsyncRead + AsyncWrite + Unpin + Send>(
    (stream, pace): (&mut S, &mut Pace),
    store: &Arc<Store>,
    id: ContentId,
    size: u64,
    to: &LibraryPath,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), FetchError> {
    let store = Arc::clone(store);
    let (download, missing) = smol::unblock(move || {
        let download = store.download(id, size)?;
        let missing = download.missing();
        Ok::<_, StoreError>((download, missing))
    })
    .await?;
    progress(download.verified_bytes());

    let mut plan = InOrder::new(missing);
    let requests = std::iter::from_fn(|| plan.next_request()).map(|ranges| (Get { id, ranges }, size));
    let (reader, writer) = stream.split();
    let (open, answers) = channel::bounded(OPEN_REQUESTS - 1);
    let (received, to_write) = channel::bounded(FRAMES_IN_MEMORY);
    let (written, buffers) = channel::bounded(FRAMES_IN_MEMORY);
    for _ in 0..FRAMES_IN_MEMORY {
        written.try_send(Vec::new()).expect("the channel has room for all buffers");
    }

    let network = pin!(async {
        let receive = receive(BufReader::new(reader), pace, answers, buffers, received);
        futures::try_join!(ask(writer, requests, open), receive).map(|_| ())
    });
    let disk = pin!(write(download, to_write, written, progress));
    let ((download, kept), network) = match select(network, disk).await {
        Either::Left((result, disk)) => (disk.await, result),
        Either::Right((kept @ (_, Err(_)), _)) => (kept, Ok(())),
        Either::Right((kept, network)) => (kept, network.await),
    };
    let to = to.clone();
    smol::unblock(move || match kept.and(network) {
        Ok(()) => Ok(download.finish(&to)?),
        Err(error) => {
            if let Err(later) = download.checkpoint() {
                log::warn!("a download that ended could not be made durable: {later}");
            }
            Err(error)
        }
    })
    .await
}

/// Writes the requests, as many ahead of their answers as `open` has room for. It ends early when `open` is closed.
pub(super) async fn ask<W: AsyncWrite + Unpin>(
    writer: W,
    requests: impl Iterator<Item = (Get, u64)>,
    open: Sender<Answer>,
) -> Result<(), FetchError> {
    let mut writer = BufWriter::with_capacity(4096, writer);
    for (get, size) in requests {
        let answer = Answer::new(size, get.ranges.clone());
        match open.try_send(answer) {
            Ok(()) => {}
            Err(TrySendError::Full(answer)) => {
                writer.flush().await.map_err(FetchError::Io)?;
                if open.send(answer).await.is_err() {
                    break;
                }
            }
            Err(TrySendError::Closed(_)) => break,
        }
        let frame = Request::Get(get).to_frame();
        write_frame(&mut writer, frame.kind, &frame.body).await.map_err(FetchError::Io)?;
    }
    writer.flush().await.map_err(FetchError::Io)
}

/// Reads all answers and hands their content on, each frame in one of the `buffers`.
async fn receive<R: AsyncRead + Unpin>(
    mut reader: R,
    pace: &mut Pace,
    answers: Receiver<Answer>,
    buffers: Receiver<Vec<u8>>,
    received: Sender<Data>,
) -> Result<(), FetchError> {
    let mut outcome = Ok(());
    let mut spare = None;
    while let Ok(mut answer) = answers.recv().await {
        loop {
            let buffer = match spare.take() {
                Some(buffer) => buffer,
                None => match buffers.recv().await {
                    Ok(buffer) => buffer,
                    // The disk side has failed, and says why.
                    Err(_) => return Ok(()),
                },
            };
            let mut frame = next_frame(&mut reader, pace, buffer).await?;
            let step = answer.handle_frame(&mut frame)?;
            if let Step::Data(data) = step {
                // If nobody takes it, the disk side has failed.
                let _ = received.send(data).await;
                continue;
            }
            spare = Some(frame.body);
            match step {
                Step::Begun { partial: true } => outcome = outcome.and(Err(FetchError::NotFound)),
                Step::Refused(reply) => {
                    // A damaged place says nothing about the rest of the blob; else more requests would be in vain.
                    if reply.code != ErrorCode::Damaged {
                        answers.close();
                    }
                    outcome = outcome.and(Err(FetchError::refused(reply)));
                    break;
                }
                Step::End => break,
                Step::Begun { partial: false } | Step::Data(_) => {}
            }
        }
    }
    outcome
}

/// Reads the next frame of an answer, into the memory of `buffer`.
pub(super) async fn next_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    pace: &mut Pace,
    buffer: Vec<u8>,
) -> Result<Frame, FetchError> {
    let read = limiter::read_frame(reader, pace, Reply::MAX_BYTES, buffer).await;
    let frame = read.ok_or(FetchError::TooSlow)??;
    let frame = frame.ok_or_else(|| FetchError::Io(io::ErrorKind::UnexpectedEof.into()))?;
    pace.count_frame(frame.body.len());
    Ok(frame)
}

/// Verifies and writes what was received, off the executor, and gives the buffers back.
async fn write(
    mut download: Download,
    to_write: Receiver<Data>,
    written: Sender<Vec<u8>>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> (Download, Result<(), FetchError>) {
    let mut checkpoint_at = clock::now();
    let mut batch = Vec::with_capacity(FRAMES_IN_MEMORY);
    while let Ok(data) = to_write.recv().await {
        batch.push(data);
        batch.extend(std::iter::from_fn(|| to_write.try_recv().ok()));
        let result;
        let checkpoint_is_due = clock::now() - checkpoint_at >= Duration::from_millis(CHECKPOINT_MS);
        if checkpoint_is_due {
            checkpoint_at = clock::now();
        }
        (download, batch, result) = smol::unblock(move || {
            let result = write_batch(&download, &batch, checkpoint_is_due);
            (download, batch, result)
        })
        .await;
        progress(download.verified_bytes());
        if let Err(error) = result {
            return (download, Err(error.into()));
        }
        for data in batch.drain(..) {
            // The receiving side may be done already.
            let _ = written.try_send(data.into_buffer());
        }
    }
    (download, Ok(()))
}

fn write_batch(download: &Download, batch: &[Data], checkpoint_is_due: bool) -> Result<(), WriteError> {
    for data in batch {
        let range = data.range();
        download.write(range.start..range.start + range.len, data.encoded())?;
    }
    if checkpoint_is_due || download.needs_checkpoint() {
        download.checkpoint()?;
    }
    Ok(())
}
