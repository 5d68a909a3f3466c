//! Fetching many small blobs from one peer.

use std::{io, mem, sync::Arc};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
    io::{BufReader, BufWriter},
};
use smol::{
    Task,
    channel::{self, Receiver, Sender, TrySendError},
};

use super::{
    answer::{Answer, Step, Violation},
    error::FetchError,
    exchange::next_frame,
    pace::Pace,
};
use crate::{
    content::ContentId,
    limits::{
        store::SMALL_FILES_PER_SYNC,
        transfer::{SMALL_BATCH_BYTES, SMALL_BYTES},
        wire::PIPELINED_REQUESTS,
    },
    store::{LibraryPath, PutOutcome, SmallBlob, Store, StoreError, append_content},
    wire::{
        blob::{Get, Range, Ranges, Request},
        write_frame,
    },
};

/// A small blob, and where it shall stand.
#[derive(Debug, Clone)]
pub struct SmallWant {
    pub id: ContentId,
    /// At most [`SMALL_BYTES`].
    pub size: u64,
    pub to: LibraryPath,
}

/// What became of a [`SmallWant`]: it is here, verified, and stands in the library; or why not, though the rest went on. Apart
/// from refusals by the peer, that is a violation for wrong bytes, or this node's store.
pub type SmallOutcome = Result<(), FetchError>;

/// The outcomes of those wants that came or were refused, in their order; and the error of the store with which the rest was
/// given up.
pub type SmallWritten = (Vec<SmallOutcome>, Result<(), StoreError>);

/// Fetches small blobs from the peer at the other end of `stream`, in batches: while one is written, the next arrives. `pace`
/// is that of the stream. Returns two futures, to be run beside each other:
///
/// - The first receives, and the stream is free when it ends. It says why not all was asked for or came, if so: the stream can be
///   used again after [`FetchError::Busy`] alone. What came before is written all the same. If it is the store that failed, the
///   second future says why.
/// - The second writes, and ends when all that came is written or given up, also if the first is dropped. `progress` hears how
///   many bytes are kept.
///
/// # Panics
/// If a want is larger than [`SMALL_BYTES`]: those are for [`fetch`](super::fetch()).
pub fn fetch_small<'a, S: AsyncRead + AsyncWrite + Unpin + Send, P: FnMut(u64) + Send + 'static>(
    (stream, pace): (&'a mut S, &'a mut Pace),
    store: &Arc<Store>,
    wants: Vec<SmallWant>,
    progress: P,
) -> (
    impl Future<Output = Result<(), FetchError>> + Send + use<'a, S, P>,
    impl Future<Output = SmallWritten> + Send + 'static + use<S, P>,
) {
    assert!(wants.iter().all(|want| want.size <= SMALL_BYTES), "larger blobs are fetched one by one");
    let wants: Arc<[SmallWant]> = wants.into();
    let (received, to_write) = channel::bounded(1);
    let (taken, go) = channel::bounded(1);
    let writing = Writing {
        store: Arc::clone(store),
        wants: Arc::clone(&wants),
        outcomes: Vec::with_capacity(wants.len()),
        kept_bytes: 0,
        progress,
    };
    (exchange(stream, pace, wants, (received, go)), writing.run(to_write, taken))
}

/// Asks for all of them and receives what comes.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    pace: &mut Pace,
    wants: Arc<[SmallWant]>,
    batches: (Sender<Batch>, Receiver<()>),
) -> Result<(), FetchError> {
    let requests = wants.iter().filter(|want| want.size > 0).map(|want| {
        let ranges = Ranges::from_iter([Range { start: 0, len: want.size }]);
        (Get { id: want.id, ranges }, want.size)
    });
    let (reader, writer) = stream.split();
    let (open, answers) = channel::bounded(PIPELINED_REQUESTS - 1);
    let receive = receive(BufReader::new(reader), pace, &wants, answers, batches);
    futures::try_join!(ask(writer, requests, open), receive).map(|_| ())
}

/// Writes the requests, as many ahead of their answers as `open` has room for. It ends early when `open` is closed.
async fn ask<W: AsyncWrite + Unpin>(
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

/// What arrived, in the order of the wants.
type Batch = Vec<Result<Vec<u8>, FetchError>>;

/// Reads all answers and hands them on in batches, those before an error too. The next batch begins when one was taken, so
/// that there are never more than two in memory.
async fn receive<R: AsyncRead + Unpin>(
    mut reader: R,
    pace: &mut Pace,
    wants: &[SmallWant],
    answers: Receiver<Answer>,
    (received, go): (Sender<Batch>, Receiver<()>),
) -> Result<(), FetchError> {
    let (mut batch, mut batch_bytes, mut buffer) = (Batch::new(), 0, Vec::new());
    let mut outcome = Ok(());
    for want in wants {
        if batch.len() == SMALL_FILES_PER_SYNC || batch_bytes + want.size > SMALL_BATCH_BYTES {
            batch_bytes = 0;
            if received.send(mem::take(&mut batch)).await.is_err() || go.recv().await.is_err() {
                return Err(FetchError::Io(io::Error::other("what comes can't be written")));
            }
        }
        let bytes = if want.size == 0 {
            Ok(Vec::new())
        } else {
            // No more was asked for if the peer is busy.
            let Ok(answer) = answers.recv().await else { break };
            match read_answer(&mut reader, (pace, &mut buffer), answer, want).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        };
        if let Err(FetchError::Busy { retry_ms }) = &bytes {
            outcome = Err(FetchError::Busy { retry_ms: *retry_ms });
            answers.close();
        }
        batch_bytes += want.size;
        batch.push(bytes);
    }
    // If nobody takes it, the disk side has failed, and says why.
    let _ = received.send(batch).await;
    outcome
}

/// The bytes of one answer, not verified, or why there are none. The outer error ends the stream. Frames have the memory of
/// `buffer`.
async fn read_answer<R: AsyncRead + Unpin>(
    reader: &mut R,
    (pace, buffer): (&mut Pace, &mut Vec<u8>),
    mut answer: Answer,
    want: &SmallWant,
) -> Result<Result<Vec<u8>, FetchError>, FetchError> {
    let mut bytes = Vec::new();
    let mut outcome = Ok(());
    pace.expect_answer();
    loop {
        let mut frame = next_frame(reader, pace, mem::take(buffer)).await?;
        let step = answer.handle_frame(&mut frame)?;
        *buffer = frame.body;
        match step {
            Step::Begun { lacking } if !lacking.is_empty() => outcome = Err(FetchError::NotFound),
            Step::Begun { .. } => bytes.reserve_exact(want.size as usize),
            // They come in order, and the hashes between them are not needed: all is verified before it is written.
            Step::Data(data) => {
                let Range { start, len } = data.range();
                let content = append_content(want.size, &(start..start + len), data.encoded(), &mut bytes);
                content.ok_or(Violation::WrongBytes)?;
                *buffer = data.into_buffer();
            }
            Step::End => return Ok(outcome.map(|()| bytes)),
            Step::Refused(reply) => {
                return Ok(Err(FetchError::refused(reply)));
            }
        }
    }
}

/// Verifies and writes batches, off the executor. While the files of one batch get their names, the next is written.
struct Writing<P> {
    store: Arc<Store>,
    wants: Arc<[SmallWant]>,
    /// Of the wants that are done with.
    outcomes: Vec<SmallOutcome>,
    kept_bytes: u64,
    progress: P,
}

/// A batch whose files get their names.
struct Placing {
    /// Why there are no bytes; of those that are placed, nothing yet.
    outcomes: Vec<SmallOutcome>,
    task: Task<Result<Vec<PutOutcome>, StoreError>>,
}

impl<P: FnMut(u64)> Writing<P> {
    async fn run(mut self, to_write: Receiver<Batch>, taken: Sender<()>) -> SmallWritten {
        let written = self.write(to_write, taken).await;
        (self.outcomes, written)
    }

    async fn write(&mut self, to_write: Receiver<Batch>, taken: Sender<()>) -> Result<(), StoreError> {
        let (mut placing, mut arrived) = (None, 0);
        while let Ok(batch) = to_write.recv().await {
            // After the last batch nobody waits for it.
            let _ = taken.try_send(());
            let (mut outcomes, mut blobs) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for (bytes, want) in batch.into_iter().zip(&self.wants[arrived..]) {
                outcomes.push(bytes.map(|bytes| blobs.push(SmallBlob { id: want.id, bytes, to: want.to.clone() })));
            }
            arrived += outcomes.len();
            let store = Arc::clone(&self.store);
            let written = smol::unblock(move || store.write_small(blobs)).await;
            // In their order, and all that was written before an error.
            if let Some(placing) = placing.take() {
                self.end(placing).await?;
            }
            let written = written?;
            placing = Some(Placing { outcomes, task: smol::unblock(move || written.place()) });
        }
        match placing {
            Some(placing) => self.end(placing).await,
            None => Ok(()),
        }
    }

    async fn end(&mut self, Placing { mut outcomes, task }: Placing) -> Result<(), StoreError> {
        let placed = task.await?;
        for (outcome, put) in outcomes.iter_mut().filter(|outcome| outcome.is_ok()).zip(placed) {
            *outcome = match put {
                PutOutcome::Stored => Ok(()),
                PutOutcome::Corrupt => Err(Violation::WrongBytes.into()),
                PutOutcome::Failed(error) => Err(error.into()),
            };
        }
        let kept = self.wants[self.outcomes.len()..].iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        self.kept_bytes += kept.map(|(want, _)| want.size).sum::<u64>();
        self.outcomes.extend(outcomes);
        (self.progress)(self.kept_bytes);
        Ok(())
    }
}
