//! Where answers come from.

use std::{collections::VecDeque, future, sync::Arc};

use super::{plan, watch::Watching};
use crate::{
    content::ContentId,
    limits::{transfer::BUSY_RETRY_MS, wire::DATA_BYTES},
    store::{Blob, ReadError, Store},
    wire::{
        ErrorCode, ErrorReply, Frame, FrameError,
        blob::{self, Data, Get, Ranges, Reply},
    },
};

/// What stands in the queue of a stream.
pub(super) enum Asked {
    Get(Box<Get>),
    Watch(ContentId),
    /// A kind of a later version.
    Unknown,
    /// No request, or no stream any more: the last entry.
    Broken(FrameError),
}

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Everything that was asked for.
    All,
    /// No content yet: requests for it wait.
    Tell,
    /// No content: requests for it are refused.
    Refuse,
}

/// A frame ready for sending.
pub(super) struct Outgoing {
    pub frame: Frame,
    pub content_bytes: u64,
    pub ends_answer: bool,
}

/// Where answers come from: requests, and the blob that is being read for them. Its work blocks.
pub(super) struct Source {
    store: Arc<Store>,
    pub waiting: VecDeque<Asked>,
    /// Kept for the next request, which is often for the same blob.
    pub blob: Option<Blob>,
    blob_is_whole: bool,
    /// What of the blob has been announced and is still to be sent.
    left: Option<Ranges>,
    pub watching: Option<Watching>,
    pub broken: Option<FrameError>,
    /// Memory of `Data` frames that were sent.
    buffers: Vec<Vec<u8>>,
}

impl Source {
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            waiting: VecDeque::new(),
            blob: None,
            blob_is_whole: false,
            left: None,
            watching: None,
            broken: None,
            buffers: Vec::new(),
        }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.left.is_none()
    }

    /// Whether an answer was begun.
    pub fn is_answering(&self) -> bool {
        self.left.is_some()
    }

    /// Whether content was asked for.
    pub fn needs_slot(&self) -> bool {
        self.left.is_some() || self.waiting.iter().any(|asked| matches!(asked, Asked::Get(_)))
    }

    /// Waits until there may be more of the blob that is watched: for ever, if none is.
    pub async fn more(&mut self) {
        match &mut self.watching {
            Some(watching) => watching.due().await,
            None => future::pending().await,
        }
    }

    /// Takes back what was sent. One buffer is on its way while one is filled.
    pub fn reuse(&mut self, sent: Vec<Outgoing>) {
        let large = sent.into_iter().map(|outgoing| outgoing.frame.body).filter(|body| body.len() as u64 >= DATA_BYTES);
        self.buffers.extend(large.take(2 - self.buffers.len()));
    }

    /// Frames for about [`DATA_BYTES`]: one large `Data`, or the answers to many requests for small blobs.
    pub fn prepare(&mut self, may: May) -> Vec<Outgoing> {
        let (mut frames, mut free) = (Vec::new(), DATA_BYTES);
        let told = self.look();
        frames.extend(told.map(|frame| Outgoing { frame, content_bytes: 0, ends_answer: false }));
        if may == May::Refuse && self.left.take().is_some() {
            self.blob = None;
            frames.push(Outgoing { frame: busy().to_frame(), content_bytes: 0, ends_answer: true });
        }
        loop {
            if may == May::Tell && (self.left.is_some() || matches!(self.waiting.front(), Some(Asked::Get(_)))) {
                return frames;
            }
            let Some(left) = &mut self.left else {
                match self.waiting.pop_front() {
                    Some(asked) => frames.push(self.begin(asked, may)),
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
    fn begin(&mut self, asked: Asked, may: May) -> Outgoing {
        let refused = match asked {
            Asked::Get(_) if may == May::Refuse => busy(),
            Asked::Get(get) => match self.open(&get) {
                Ok((size, ranges)) => {
                    self.left = Some(ranges.clone());
                    let frame = Reply::Blob(blob::Blob { size, ranges }).into_frame();
                    return Outgoing { frame, content_bytes: 0, ends_answer: false };
                }
                Err(error) => self.refusal(error),
            },
            Asked::Watch(id) => {
                self.watching = Some(Watching::new(&self.store, id));
                match self.look() {
                    Some(frame) => return Outgoing { frame, content_bytes: 0, ends_answer: true },
                    None => ErrorReply::new(ErrorCode::Internal, "this node's store failed"),
                }
            }
            Asked::Unknown => ErrorReply::new(ErrorCode::UnknownKind, "this version knows no such request"),
            Asked::Broken(error) => {
                let refused = ErrorReply::new(ErrorCode::BadRequest, &error.to_string());
                self.broken = Some(error);
                refused
            }
        };
        Outgoing { frame: refused.to_frame(), content_bytes: 0, ends_answer: true }
    }

    /// What is to be told now of the blob that is watched.
    fn look(&mut self) -> Option<Frame> {
        let watching = self.watching.as_mut()?;
        let told = watching.look();
        if watching.is_over() || told.is_err() {
            self.watching = None;
        }
        told.unwrap_or_else(|error| {
            log::warn!("not told: {error}");
            None
        })
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

fn busy() -> ErrorReply {
    ErrorReply::busy(BUSY_RETRY_MS)
}
