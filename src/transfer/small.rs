//! Fetching many small blobs from one peer.

use std::{mem, pin::pin, sync::Arc};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
    future::{Either, select},
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
    store::{LibraryPath, PutOutcome, SmallBlob, Store, StoreError, content_of},
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

/// Fetches small blobs from the peer at the other end of `stream`, in batches: while one is written, the next arrives. `pace`
/// is that of the stream.
///
/// The outcomes have the order of `wants`. `progress` hears how many bytes of them are kept. After an error, batches that
/// were complete are kept: ask the store.
///
/// # Panics
/// If a want is larger than [`SMALL_BYTES`]: those are for [`fetch`](super::fetch()).
pub async fn fetch_small<S: AsyncRead + AsyncWrite + Unpin + Send>(
    (stream, pace): (&mut S, &mut Pace),
    store: &Arc<Store>,
    wants: Vec<SmallWant>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Vec<SmallOutcome>, FetchError> {
    assert!(wants.iter().all(|want| want.size <= SMALL_BYTES), "larger blobs are fetched one by one");
    let requests = wants.iter().filter(|want| want.size > 0).map(|want| {
        let ranges = Ranges::from_iter([Range { start: 0, len: want.size }]);
        (Get { id: want.id, ranges }, want.size)
    });
    let (reader, writer) = stream.split();
    let (open, answers) = channel::bounded(PIPELINED_REQUESTS - 1);
    let (received, to_write) = channel::bounded(1);
    let (taken, go) = channel::bounded(1);
    let network = pin!(async {
        let receive = receive(BufReader::new(reader), pace, &wants, answers, (received, go));
        futures::try_join!(ask(writer, requests, open), receive).map(|_| ())
    });
    let disk = pin!(write(store, &wants, (to_write, taken), progress));
    match select(network, disk).await {
        Either::Left((network, disk)) => {
            let outcomes = disk.await?;
            network.map(|()| outcomes)
        }
        Either::Right((disk, network)) => {
            let outcomes = disk?;
            network.await.map(|()| outcomes)
        }
    }
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
    let (mut batch, mut batch_bytes) = (Batch::new(), 0);
    let mut busy_ms = None;
    let mut outcome = Ok(());
    for want in wants {
        let bytes = if want.size == 0 {
            Ok(Vec::new())
        } else if let Ok(answer) = answers.recv().await {
            match read_answer(&mut reader, pace, answer, want).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        } else {
            // No more was asked for, because the peer is busy.
            Err(FetchError::Busy { retry_ms: busy_ms.unwrap_or_default() })
        };
        if let Err(FetchError::Busy { retry_ms }) = &bytes {
            busy_ms = Some(*retry_ms);
            answers.close();
        }
        batch_bytes += want.size;
        batch.push(bytes);
        if batch.len() == SMALL_FILES_PER_SYNC || batch_bytes > SMALL_BATCH_BYTES - SMALL_BYTES {
            batch_bytes = 0;
            if received.send(mem::take(&mut batch)).await.is_err() || go.recv().await.is_err() {
                return Ok(());
            }
        }
    }
    // If nobody takes it, the disk side has failed, and says why.
    let _ = received.send(batch).await;
    outcome
}

/// The bytes of one answer, not verified, or why there are none. The outer error ends the stream.
async fn read_answer<R: AsyncRead + Unpin>(
    reader: &mut R,
    pace: &mut Pace,
    mut answer: Answer,
    want: &SmallWant,
) -> Result<Result<Vec<u8>, FetchError>, FetchError> {
    let mut bytes = Vec::new();
    let mut outcome = Ok(());
    pace.expect_answer();
    loop {
        match answer.handle_frame(&mut next_frame(reader, pace, Vec::new()).await?)? {
            Step::Begun { lacking } if !lacking.is_empty() => outcome = Err(FetchError::NotFound),
            Step::Begun { .. } => {}
            // They come in order, and the hashes between them are not needed: all is verified before it is written.
            Step::Data(data) => {
                let Range { start, len } = data.range();
                let content = content_of(want.size, &(start..start + len), data.encoded());
                bytes.extend(content.ok_or(Violation::WrongBytes)?);
            }
            Step::End => return Ok(outcome.map(|()| bytes)),
            Step::Refused(reply) => {
                return Ok(Err(FetchError::refused(reply)));
            }
        }
    }
}

/// Verifies and writes batches, off the executor. While the files of one batch get their names, the next is written.
async fn write(
    store: &Arc<Store>,
    wants: &[SmallWant],
    (to_write, taken): (Receiver<Batch>, Sender<()>),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Vec<SmallOutcome>, FetchError> {
    let mut outcomes = Vec::with_capacity(wants.len());
    let mut kept_bytes = 0;
    let mut placing: Option<Placing> = None;
    while let Ok(batch) = to_write.recv().await {
        // After the last batch nobody waits for it.
        let _ = taken.try_send(());
        let (mut blobs, mut places) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for result in batch {
            let want = &wants[outcomes.len()];
            outcomes.push(result.map(|bytes| {
                places.push(outcomes.len());
                blobs.push(SmallBlob { id: want.id, bytes, to: want.to.clone() });
            }));
        }
        let store = Arc::clone(store);
        let written = smol::unblock(move || store.write_small(blobs)).await;
        // In their order, and all that was written before an error.
        if let Some(placing) = placing.take() {
            placing.end(wants, &mut outcomes, &mut kept_bytes).await?;
            progress(kept_bytes);
        }
        let written = written?;
        placing = Some(Placing { places, task: smol::unblock(move || written.place()) });
    }
    if let Some(placing) = placing {
        placing.end(wants, &mut outcomes, &mut kept_bytes).await?;
        progress(kept_bytes);
    }
    Ok(outcomes)
}

/// A batch whose files get their names.
struct Placing {
    /// Where they are among the wants.
    places: Vec<usize>,
    task: Task<Result<Vec<PutOutcome>, StoreError>>,
}

impl Placing {
    async fn end(
        self,
        wants: &[SmallWant],
        outcomes: &mut [SmallOutcome],
        kept_bytes: &mut u64,
    ) -> Result<(), StoreError> {
        for (at, put) in self.places.into_iter().zip(self.task.await?) {
            match put {
                PutOutcome::Stored => *kept_bytes += wants[at].size,
                PutOutcome::Corrupt => outcomes[at] = Err(Violation::WrongBytes.into()),
                PutOutcome::Failed(error) => outcomes[at] = Err(error.into()),
            }
        }
        Ok(())
    }
}
