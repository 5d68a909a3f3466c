//! Answering the requests of one stream.

use std::{future, io, mem, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::join, io::BufReader, io::BufWriter};
use smol::channel::{self, Receiver, Sender};
use thiserror::Error;

use super::{
    at_pace, limiter,
    pace::{PACE, Pace},
    source::{Asked, May, Outgoing, Source},
    uploads::{Slot, Uploads, Waiting},
};
use crate::{
    clock::within,
    limits::{
        transfer::{PACE_BYTES, STREAM_IDLE_MS},
        wire::{PIPELINED_REQUESTS, REQUEST_BYTES},
    },
    store::Store,
    wire::{FrameError, blob::Request, read_frame},
};

/// What one stream was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServeStats {
    /// Requests answered, with errors too.
    pub requests: u64,
    /// Bytes of content, without hashes and heads.
    pub bytes: u64,
}

/// Why a stream was not served to its end. The store is unharmed.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The connection failed.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer sent what is no request.
    #[error("the peer sent {0}")]
    Violation(FrameError),
    /// The peer takes nothing, or too little: see [`PACE_MS`](crate::limits::transfer::PACE_MS).
    #[error("the peer took less than {} KiB in {} s", PACE_BYTES / 1024, PACE.as_secs())]
    TooSlow,
}

impl ServeError {
    /// Whether only a faulty or hostile peer brings this about.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }
}

/// Answers the requests on `stream` until the peer ends it, or for
/// [`STREAM_IDLE_MS`] asks nothing.
///
/// A request for content waits for an upload slot, if none is free, and hears "busy" if it waits in vain; so do all that follow
/// it on the stream without a pause. Where others wait, a stream has a slot for one answer, or a short turn of a long one. Who
/// watches a blob needs none, and may ask for nothing as long as there is more to come.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    store: Arc<Store>,
    uploads: &Uploads,
) -> Result<ServeStats, ServeError> {
    let (reader, writer) = stream.split();
    let (queue, asked) = channel::bounded(PIPELINED_REQUESTS / 2);
    let reading = async {
        read_requests(BufReader::with_capacity(1024, reader), queue).await;
        future::pending().await
    };
    let answering = Answering {
        writer: BufWriter::with_capacity(16 * 1024, writer),
        pace: Pace::limited(uploads.meter()),
        asked,
        uploads,
        slot: None,
        waiting: None,
        is_refused: false,
        stats: ServeStats::default(),
    };
    smol::future::or(answering.run(Source::new(store)), reading).await
}

/// Queues requests until the stream ends; a full queue leaves the rest in the connection.
async fn read_requests<R: AsyncRead + Unpin>(mut reader: R, queue: Sender<Asked>) {
    loop {
        let asked = match read_frame(&mut reader, REQUEST_BYTES).await {
            Ok(None) => return,
            Ok(Some(frame)) => match Request::from_frame(&frame) {
                Ok(Request::Get(get)) => Asked::Get(Box::new(get)),
                Ok(Request::Watch(watch)) => Asked::Watch(watch.id),
                Err(FrameError::Unexpected(_)) => Asked::Unknown,
                Err(error) => Asked::Broken(error),
            },
            Err(error) => Asked::Broken(error),
        };
        let last = matches!(asked, Asked::Broken(_));
        if queue.send(asked).await.is_err() || last {
            return;
        }
    }
}

/// The sending side of a stream: one set of frames is sent while the next is prepared.
struct Answering<'a, W> {
    writer: BufWriter<W>,
    pace: Pace,
    asked: Receiver<Asked>,
    uploads: &'a Uploads,
    slot: Option<Slot>,
    waiting: Option<Waiting>,
    /// It waited for a slot in vain. What was asked in the same breath is refused as well.
    is_refused: bool,
    stats: ServeStats,
}

impl<W: AsyncWrite + Unpin> Answering<'_, W> {
    async fn run(mut self, mut source: Source) -> Result<ServeStats, ServeError> {
        let mut ready = Vec::new();
        loop {
            while source.waiting.len() < PIPELINED_REQUESTS / 2
                && let Ok(asked) = self.asked.try_recv()
            {
                source.waiting.push_back(asked);
            }
            if source.is_idle() {
                self.flush(&mut source, mem::take(&mut ready)).await?;
                if let Some(error) = source.broken {
                    return Err(match error {
                        FrameError::Io(error) => ServeError::Io(error),
                        error => ServeError::Violation(error),
                    });
                }
                match self.next(&mut source).await {
                    Some(Next::Asked(asked)) => source.waiting.push_back(asked),
                    Some(Next::More) => {}
                    None => break,
                }
            }
            if self.slot.as_mut().is_some_and(|slot| slot.is_over(source.is_answering())) {
                // What was prepared takes memory until it is sent.
                self.flush(&mut source, mem::take(&mut ready)).await?;
                self.slot = None;
            }
            let may = self.may_send(&mut source, &mut ready).await?;
            let prepare = smol::unblock(move || {
                let frames = source.prepare(may);
                (source, frames)
            });
            let (sent, prepared) = join(self.send(&ready), prepare).await;
            sent?;
            let sent = mem::replace(&mut ready, prepared.1);
            source = prepared.0;
            source.reuse(sent);
        }
        at_pace(&mut self.pace, self.writer.close()).await.ok_or(ServeError::TooSlow)??;
        Ok(self.stats)
    }

    /// Gets a slot if one is needed, or waits until there is something to be told.
    async fn may_send(&mut self, source: &mut Source, ready: &mut Vec<Outgoing>) -> Result<May, ServeError> {
        if self.slot.is_none() && !self.is_refused && source.needs_slot() {
            let waiting = match self.waiting.take() {
                Some(waiting) => Err(Some(waiting)),
                None => self.uploads.take(),
            };
            match waiting {
                Ok(slot) => self.slot = Some(slot),
                Err(None) => self.is_refused = true,
                Err(Some(waiting)) => {
                    self.flush(source, mem::take(ready)).await?;
                    if !source.is_answering() {
                        source.blob = None;
                    }
                    let slot = async { Some(waiting.slot().await) };
                    let told = async {
                        source.more().await;
                        None
                    };
                    match smol::future::or(slot, told).await {
                        Some(slot) => (self.is_refused, self.slot) = (slot.is_none(), slot),
                        None => self.waiting = Some(waiting),
                    }
                }
            }
        }
        // It may have changed.
        self.pace.set_priority(self.uploads.priority());
        Ok(match self.slot {
            Some(_) => May::All,
            None if self.is_refused => May::Refuse,
            None => May::Tell,
        })
    }

    /// Waits for something to do. None: there will be no more.
    async fn next(&mut self, source: &mut Source) -> Option<Next> {
        (self.slot, source.blob, self.is_refused) = (None, None, false);
        let asked = async { self.asked.recv().await.ok().map(Next::Asked) };
        if source.watching.is_none() {
            return within(Duration::from_millis(STREAM_IDLE_MS), asked).await?;
        }
        smol::future::or(asked, async {
            source.more().await;
            Some(Next::More)
        })
        .await
    }

    /// Sends what was prepared, to its last byte.
    async fn flush(&mut self, source: &mut Source, frames: Vec<Outgoing>) -> Result<(), ServeError> {
        self.send(&frames).await?;
        source.reuse(frames);
        at_pace(&mut self.pace, self.writer.flush()).await.ok_or(ServeError::TooSlow)??;
        Ok(())
    }

    async fn send(&mut self, frames: &[Outgoing]) -> Result<(), ServeError> {
        for Outgoing { frame, content_bytes, ends_answer } in frames {
            let written = limiter::write_frame(&mut self.writer, &mut self.pace, frame).await;
            written.ok_or(ServeError::TooSlow)??;
            self.pace.count_frame(frame.body.len());
            self.stats.bytes += content_bytes;
            self.stats.requests += u64::from(*ends_answer);
            self.uploads.count_sent(*content_bytes);
        }
        Ok(())
    }
}

/// What there is to do.
enum Next {
    Asked(Asked),
    /// There may be more of the blob that is watched.
    More,
}
