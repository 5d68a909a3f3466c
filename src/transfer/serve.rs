//! Answering the requests of one stream.

use std::{
    future, io, mem,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::join, io::BufReader, io::BufWriter};
use smol::channel::{self, Receiver, Sender};
use thiserror::Error;

use super::{
    at_pace, limiter,
    pace::{PACE, Pace},
    source::{Asked, Outgoing, Source},
    uploads::{Slot, Uploads},
};
use crate::{
    clock::{self, within},
    limits::{
        transfer::{PACE_BYTES, SLOT_IDLE_MS, STREAM_IDLE_MS},
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
/// A stream takes an upload slot with a request for content and keeps it while more come; without one it answers "busy". Who
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
        idle_at: None,
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
    /// When the slot is given back, if it is not used.
    idle_at: Option<Instant>,
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
                self.send(&ready).await?;
                source.reuse(mem::take(&mut ready));
                at_pace(&mut self.pace, self.writer.flush()).await.ok_or(ServeError::TooSlow)??;
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
            // An answer that was begun is sent to its end.
            self.slot = self.slot.take().filter(|slot| source.is_answering() || !slot.is_over());
            if source.needs_slot() {
                self.idle_at = None;
                self.slot = self.slot.take().or_else(|| self.uploads.take());
            }
            let busy = self.slot.is_none();
            let prepare = smol::unblock(move || {
                let frames = source.prepare(busy);
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

    /// Waits for something to do; gives the slot and the open blob back if no request comes soon. None: there will be no more.
    async fn next(&mut self, source: &mut Source) -> Option<Next> {
        let asked = async { self.asked.recv().await.ok().map(Next::Asked) };
        let is_watching = source.watching.is_some();
        let more = async {
            match &mut source.watching {
                Some(watching) => watching.due().await,
                None => future::pending().await,
            }
            Some(Next::More)
        };
        let mut next = pin!(smol::future::or(asked, more));
        if self.slot.is_some() && !self.uploads.is_throttled() {
            let idle_at = *self.idle_at.get_or_insert_with(|| clock::now() + Duration::from_millis(SLOT_IDLE_MS));
            if let Some(next) = within(idle_at.saturating_duration_since(clock::now()), next.as_mut()).await {
                return next;
            }
            self.slot = None;
        }
        self.slot = None;
        source.blob = None;
        match is_watching {
            true => next.await,
            false => within(Duration::from_millis(STREAM_IDLE_MS), next).await?,
        }
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
