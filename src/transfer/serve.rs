//! Answering the requests of one stream.

use std::{
    collections::VecDeque,
    future, io, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::join, io::BufReader, io::BufWriter};
use smol::channel::{self, Receiver, Sender};
use thiserror::Error;

use super::{
    at_pace, limiter,
    limiter::{Limiter, Meter},
    pace::{PACE, Pace},
    plan,
    throttle::Priority,
};
use crate::{
    clock::within,
    content::NodeId,
    limits::{
        transfer::{BUSY_RETRY_MS, PACE_BYTES, SLOT_IDLE_MS, STREAM_IDLE_MS},
        wire::{DATA_BYTES, PIPELINED_REQUESTS, REQUEST_BYTES},
    },
    store::{Blob, ReadError, Store},
    wire::{
        ErrorCode, ErrorReply, Frame, FrameError,
        blob::{self, Data, Get, Ranges, Reply, Request},
        read_frame,
    },
};

/// The upload slots of a node, and what it has sent: one for all blob streams. Clones share the slots.
#[derive(Clone)]
pub struct Uploads {
    shared: Arc<Shared>,
    /// Who gets what is sent.
    peer: NodeId,
    /// Slots that may be taken when one more is.
    within: usize,
    /// A slot is given back with each pause.
    is_throttled: bool,
}

struct Shared {
    slots: usize,
    taken: AtomicUsize,
    sent_bytes: AtomicU64,
    limiter: Limiter,
}

/// One of them, given back when it is dropped.
pub(super) struct Slot(Arc<Shared>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

impl Uploads {
    /// At most `slots` streams are sent content at a time, normally
    /// [`UPLOAD_SLOTS`](crate::limits::transfer::UPLOAD_SLOTS).
    pub fn new(slots: usize) -> Self {
        let limiter = Limiter::default();
        let shared = Shared { slots, taken: AtomicUsize::new(0), sent_bytes: AtomicU64::new(0), limiter };
        Self { shared: Arc::new(shared), peer: NodeId([0; 32]), within: slots, is_throttled: false }
    }

    /// The same slots, for a stream of this peer.
    pub fn of(&self, peer: NodeId) -> Self {
        Self { peer, ..self.clone() }
    }

    /// The same slots, for a peer that gets one only while others leave more than half of them.
    pub fn throttled(self) -> Self {
        Self { within: self.shared.slots / 2, is_throttled: true, ..self }
    }

    /// What bounds the rate of all that is sent.
    pub fn limiter(&self) -> &Limiter {
        &self.shared.limiter
    }

    /// Those who are served after all others get less of a limited rate, too.
    fn meter(&self) -> Meter {
        self.limiter().meter(self.peer, if self.is_throttled { Priority::Low } else { Priority::Normal })
    }

    /// Bytes of content, without hashes and heads, that were sent since the start.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Relaxed)
    }

    pub(super) fn take(&self) -> Option<Slot> {
        let one_more = |taken: usize| (taken < self.within).then_some(taken + 1);
        self.shared.taken.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Slot(self.shared.clone()))
    }
}

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
/// A stream takes an upload slot with a request and keeps it while more requests come; without one it answers "busy".
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
        stats: ServeStats::default(),
    };
    smol::future::or(answering.run(Source::new(store)), reading).await
}

/// What stands in the queue of a stream.
enum Asked {
    Get(Box<Get>),
    /// A kind of a later version.
    Unknown,
    /// No request, or no stream any more: the last entry.
    Broken(FrameError),
}

/// Queues requests until the stream ends; a full queue leaves the rest in the connection.
async fn read_requests<R: AsyncRead + Unpin>(mut reader: R, queue: Sender<Asked>) {
    loop {
        let asked = match read_frame(&mut reader, REQUEST_BYTES).await {
            Ok(None) => return,
            Ok(Some(frame)) => match Request::from_frame(&frame) {
                Ok(Request::Get(get)) => Asked::Get(Box::new(get)),
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
                    Some(asked) => source.waiting.push_back(asked),
                    None => break,
                }
            }
            if self.slot.is_none() {
                self.slot = self.uploads.take();
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

    /// Waits for a request; gives the slot and the open blob back if none comes soon. None: there will be no more.
    async fn next(&mut self, source: &mut Source) -> Option<Asked> {
        if self.slot.is_some() {
            if self.uploads.is_throttled {
                self.slot = None;
            } else if let Some(asked) = within(Duration::from_millis(SLOT_IDLE_MS), self.asked.recv()).await {
                return asked.ok();
            }
            self.slot = None;
            source.blob = None;
        }
        within(Duration::from_millis(STREAM_IDLE_MS), self.asked.recv()).await?.ok()
    }

    async fn send(&mut self, frames: &[Outgoing]) -> Result<(), ServeError> {
        for Outgoing { frame, content_bytes, ends_answer } in frames {
            let written = limiter::write_frame(&mut self.writer, &mut self.pace, frame).await;
            written.ok_or(ServeError::TooSlow)??;
            self.pace.count_frame(frame.body.len());
            self.stats.bytes += content_bytes;
            self.stats.requests += u64::from(*ends_answer);
            self.uploads.shared.sent_bytes.fetch_add(*content_bytes, Relaxed);
        }
        Ok(())
    }
}

/// A frame ready for sending.
struct Outgoing {
    frame: Frame,
    content_bytes: u64,
    ends_answer: bool,
}

/// Where answers come from: requests, and the blob that is being read for them. Its work blocks.
struct Source {
    store: Arc<Store>,
    waiting: VecDeque<Asked>,
    /// Kept for the next request, which is often for the same blob.
    blob: Option<Blob>,
    blob_is_whole: bool,
    /// What of the blob has been announced and is still to be sent.
    left: Option<Ranges>,
    broken: Option<FrameError>,
    /// Memory of `Data` frames that were sent.
    buffers: Vec<Vec<u8>>,
}

impl Source {
    fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            waiting: VecDeque::new(),
            blob: None,
            blob_is_whole: false,
            left: None,
            broken: None,
            buffers: Vec::new(),
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.left.is_none()
    }

    /// Takes back what was sent. One buffer is on its way while one is filled.
    fn reuse(&mut self, sent: Vec<Outgoing>) {
        let large = sent.into_iter().map(|outgoing| outgoing.frame.body).filter(|body| body.len() as u64 >= DATA_BYTES);
        self.buffers.extend(large.take(2 - self.buffers.len()));
    }

    /// Frames for about [`DATA_BYTES`]: one large `Data`, or the answers to many requests for small blobs.
    fn prepare(&mut self, busy: bool) -> Vec<Outgoing> {
        let (mut frames, mut free) = (Vec::new(), DATA_BYTES);
        loop {
            let Some(left) = &mut self.left else {
                match self.waiting.pop_front() {
                    Some(asked) => frames.push(self.begin(asked, busy)),
                    None => return frames,
                }
                continue;
            };
            let mut rest = left.clone();
            let (frame, content_bytes) = match plan::next_data(&mut rest) {
                None => (Reply::End.into_frame(), 0),
                Some(range) if range.len > free => return frames,
                Some(range) => match self.encode(range) {
                    Ok(data) => (Reply::Data(data).into_frame(), range.len),
                    Err(error) => (self.refusal(error).to_frame(), 0),
                },
            };
            free -= content_bytes;
            let ends_answer = content_bytes == 0;
            self.left = (!ends_answer).then_some(rest);
            frames.push(Outgoing { frame, content_bytes, ends_answer });
        }
    }

    /// The first frame of an answer, perhaps the only one.
    fn begin(&mut self, asked: Asked, busy: bool) -> Outgoing {
        let refused = match asked {
            Asked::Get(_) if busy => ErrorReply::busy(BUSY_RETRY_MS),
            Asked::Get(get) => match self.open(&get) {
                Ok((size, ranges)) => {
                    self.left = Some(ranges.clone());
                    let frame = Reply::Blob(blob::Blob { size, ranges }).into_frame();
                    return Outgoing { frame, content_bytes: 0, ends_answer: false };
                }
                Err(error) => self.refusal(error),
            },
            Asked::Unknown => ErrorReply::new(ErrorCode::UnknownKind, "this version knows no such request"),
            Asked::Broken(error) => {
                let refused = ErrorReply::new(ErrorCode::BadRequest, &error.to_string());
                self.broken = Some(error);
                refused
            }
        };
        Outgoing { frame: refused.to_frame(), content_bytes: 0, ends_answer: true }
    }

    fn open(&mut self, get: &Get) -> Result<(u64, Ranges), ReadError> {
        let blob = match self.blob.take() {
            // More of a partial blob may be here by now.
            Some(blob) if blob.id() == get.id && self.blob_is_whole => blob,
            _ => self.store.blob(&get.id)?,
        };
        let (size, held) = (blob.size(), blob.ranges());
        self.blob_is_whole = held.iter().map(|held| held.end - held.start).sum::<u64>() == size;
        self.blob = Some(blob);
        Ok((size, plan::announce(&get.ranges, &held, size)))
    }

    fn encode(&mut self, range: blob::Range) -> Result<Data, ReadError> {
        let blob = self.blob.as_mut().expect("a blob stays open while ranges of it are left");
        Data::build(range, self.buffers.pop().unwrap_or_default(), |body| {
            body.extend_from_slice(&blob.encode(range.start..range.start + range.len)?);
            Ok(())
        })
    }

    /// What the peer hears of an error here: nothing about paths.
    fn refusal(&mut self, error: ReadError) -> ErrorReply {
        self.blob = None;
        match error {
            ReadError::NotFound(_) | ReadError::Unavailable { .. } => {
                ErrorReply::new(ErrorCode::NotFound, "this node does not have the blob")
            }
            ReadError::Damaged { .. } => {
                log::warn!("not sent: {error}");
                ErrorReply::new(ErrorCode::Damaged, "the blob is damaged on this node's disk")
            }
            ReadError::Range { .. } | ReadError::Store(_) => {
                log::warn!("not sent: {error}");
                ErrorReply::new(ErrorCode::Internal, "this node's store failed")
            }
        }
    }
}
