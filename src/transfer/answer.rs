//! What an answer to one request may hold. Pure.

use std::mem;

use thiserror::Error;

use crate::{
    limits::GROUP_BYTES,
    wire::{
        self, ErrorReply, Frame, FrameError, KIND_ERROR,
        blob::{Data, Range, Ranges, Reply},
    },
};

/// What only a faulty or hostile peer does. The stream is unusable afterwards; what was verified before is kept.
#[derive(Debug, Error)]
pub enum Violation {
    /// A frame that is too long, does not parse, or has no place where it came.
    #[error("the peer sent {0}")]
    Frame(#[from] FrameError),
    /// The bytes or hashes do not prove the content that was asked for.
    #[error("the peer sent bytes that are not those of the blob")]
    WrongBytes,
    /// The peer claims another size than the catalogue.
    #[error("the peer says that the blob has {claimed} bytes, expected {expected}")]
    WrongSize { claimed: u64, expected: u64 },
    /// Bytes that were not asked for, not announced, sent before, or no whole groups.
    #[error("the peer sent or announced bytes {start} and {len} on, which have no place there")]
    NotAsked { start: u64, len: u64 },
    /// The answer ended before all that was announced had come.
    #[error("the peer ended its answer {missing_bytes} bytes early")]
    EndedEarly { missing_bytes: u64 },
}

/// An answer that is awaited or arriving.
pub(super) struct Answer {
    size: u64,
    /// What was asked for; once the announcement is there, what of it is still to come.
    left: Ranges,
    announced: bool,
}

/// The next thing in an answer.
pub(super) enum Step {
    /// It has begun. What was asked for and the peer does not have.
    Begun { lacking: Vec<Range> },
    /// Some content, in order.
    Data(Data),
    /// It is over: all that was announced has come.
    End,
    /// It is over: the peer can't or won't.
    Refused(ErrorReply),
}

impl Answer {
    /// The answer to a request for these ranges, all whole groups, of a blob of `size` bytes.
    pub(super) fn new(size: u64, asked: Ranges) -> Self {
        Self { size, left: asked, announced: false }
    }

    /// What is still to come.
    pub(super) fn left(&self) -> &[Range] {
        &self.left
    }

    /// Takes the next frame of this answer, and its memory if it is content.
    pub(super) fn handle_frame(&mut self, frame: &mut Frame) -> Result<Step, Violation> {
        if frame.kind == KIND_ERROR {
            return Ok(Step::Refused(wire::decode(&frame.body)?));
        }
        let kind = frame.kind;
        match Reply::from_frame(frame)? {
            Reply::Blob(blob) if !self.announced => {
                if blob.size != self.size {
                    return Err(Violation::WrongSize { claimed: blob.size, expected: self.size });
                }
                self.announced = true;
                let asked = mem::replace(&mut self.left, blob.ranges);
                self.check_announced(&asked)?;
                Ok(Step::Begun { lacking: self.lacking(&asked) })
            }
            Reply::Data(data) if self.announced => {
                self.take(data.range())?;
                Ok(Step::Data(data))
            }
            Reply::End if self.announced => match self.left.iter().map(|range| range.len).sum() {
                0 => Ok(Step::End),
                missing_bytes => Err(Violation::EndedEarly { missing_bytes }),
            },
            _ => Err(FrameError::Unexpected(kind).into()),
        }
    }

    fn check_announced(&self, asked: &Ranges) -> Result<(), Violation> {
        let mut free = 0;
        for range in &self.left {
            let was_asked = |end| asked.iter().any(|asked| asked.start <= range.start && asked.end() >= Some(end));
            match range.end() {
                Some(end) if range.len > 0 && range.start >= free && was_asked(end) => free = end,
                _ => return Err(not_asked(*range)),
            }
        }
        Ok(())
    }

    /// What was asked for and not announced.
    fn lacking(&self, asked: &Ranges) -> Vec<Range> {
        let mut lacking = Vec::new();
        for asked in asked {
            let (mut start, end) = (asked.start, asked.start + asked.len);
            // What was announced lies in what was asked for.
            for here in self.left.iter().filter(|here| (asked.start..end).contains(&here.start)) {
                lacking.push(Range { start, len: here.start - start });
                start = here.start + here.len;
            }
            lacking.push(Range { start, len: end - start });
        }
        lacking.retain(|range| range.len > 0);
        lacking
    }

    /// Takes the front of what is still to come.
    fn take(&mut self, data: Range) -> Result<(), Violation> {
        let next = self.left.first_mut().ok_or(not_asked(data))?;
        let end = data.start.saturating_add(data.len);
        let whole_groups = end.is_multiple_of(GROUP_BYTES) || end == self.size;
        if data.start != next.start || data.len == 0 || data.len > next.len || !whole_groups {
            return Err(not_asked(data));
        }
        *next = Range { start: end, len: next.len - data.len };
        if next.len == 0 {
            self.left.remove(0);
        }
        Ok(())
    }
}

fn not_asked(range: Range) -> Violation {
    Violation::NotAsked { start: range.start, len: range.len }
}
