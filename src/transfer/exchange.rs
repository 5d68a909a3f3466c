//! What is done with one stream on which ranges of a large blob come. While one frame arrives, those before it are verified and
//! written, off the executor and beside those of other peers.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use event_listener::EventListener;
use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
    future::{Either, select},
    io::{BufReader, BufWriter},
};
use smol::channel::{self, Receiver, Sender, TrySendError};

use super::{
    answer::{Answer, Step},
    error::FetchError,
    fetch::Provider,
    limiter, look,
    pace::{PACE, Pace},
    places::{Place, Places},
    plan::Next,
    swarm::{Begun, Member, Swarm},
};
use crate::{
    clock,
    limits::{
        transfer::{FRAMES_IN_MEMORY, LOOKS, PATIENCE_MS, SHARED_BYTES},
        wire::PIPELINED_REQUESTS,
    },
    store::WriteError,
    wire::{
        ErrorCode, Frame,
        blob::{Data, Get, Range, Ranges, Reply, Request},
        write_frame,
    },
};

/// All answers have come, and there is nothing more to ask for.
pub(super) struct Ended {
    /// The peer said of something that it is damaged there.
    pub is_damaged: bool,
}

/// Why it ends before all answers have come.
pub(super) enum Cut {
    Failed(FetchError),
    /// All is here, but for answers that nobody needs.
    Over,
}

impl<E: Into<FetchError>> From<E> for Cut {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the parts of one exchange share.
struct Exchange {
    member: Member,
    swarm_size: u64,
    /// Bytes that were asked for, and neither written nor refused.
    owed_bytes: AtomicU64,
    /// The peer can be watched. It is, if somebody asks for it here.
    is_watched: AtomicBool,
    look: Sender<()>,
    looks: AtomicUsize,
    is_damaged: AtomicBool,
    /// Empty buffers.
    buffers: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
}

/// Fetches from one peer until all is here, or it has nothing more that is of use, or fails.
pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send>(
    swarm: &Swarm,
    member: Member,
    Provider { stream: (stream, pace), open, .. }: Provider<'_, S>,
    places: &Places,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> (Result<Ended, Cut>, Member) {
    let (look, looks) = channel::bounded(1);
    let it = Exchange {
        member,
        swarm_size: swarm.size(),
        owed_bytes: AtomicU64::new(0),
        is_watched: AtomicBool::new(swarm.size() >= SHARED_BYTES),
        look,
        looks: AtomicUsize::new(0),
        is_damaged: AtomicBool::new(false),
        buffers: channel::bounded(FRAMES_IN_MEMORY),
    };
    it.fill();
    if it.member.is_alone() || !it.is_watched.load(Relaxed) {
        // Nobody is kept from anything by asking and seeing.
        it.member.handle_whole();
    } else {
        it.look();
    }
    let ended = {
        let (reader, writer) = stream.split();
        let (asked, answers) = channel::bounded(PIPELINED_REQUESTS);
        let (received, to_write) = channel::bounded(FRAMES_IN_MEMORY);
        let network = async {
            let receive = it.receive(BufReader::new(reader), pace, answers, received);
            futures::try_join!(it.ask(writer, places, asked), receive).map(|_| ())
        };
        let watch = async { Err(look::watch(swarm, &it.member, open, looks, &it.is_watched).await.into()) };
        // When one ends the other is dropped: the disk side waits until nothing more can come.
        let network = pin!(async { smol::future::or(network, watch).await });
        let disk = pin!(it.write(to_write, progress));
        match select(network, disk).await {
            Either::Left((ended, disk)) => disk.await.map_err(Cut::Failed).and(ended),
            Either::Right((Err(failed), _)) => Err(Cut::Failed(failed)),
            Either::Right((Ok(()), network)) => network.await,
        }
    };
    (ended.map(|()| Ended { is_damaged: it.is_damaged.load(Relaxed) }), it.member)
}

impl Exchange {
    fn fill(&self) {
        // Memory comes with what arrives.
        while self.buffers.0.try_send(Vec::new()).is_ok() {}
    }

    /// Looks again at what the peer has.
    fn look(&self) {
        let _ = self.look.try_send(());
    }

    /// The peer lacks what it was asked for.
    fn lacks(&self, ranges: &[Range], is_damaged: bool) {
        self.is_damaged.fetch_or(is_damaged, Relaxed);
        self.settle(ranges.iter().map(|range| range.len).sum());
        // One that has told of it often enough is not asked again.
        let looks = !is_damaged && self.is_watched.load(Relaxed) && self.looks.fetch_add(1, Relaxed) < LOOKS;
        self.member.handle_lacking(ranges, !looks);
        if looks {
            self.look();
        }
    }

    fn settle(&self, bytes: u64) {
        self.owed_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Asks for what the plan says, ahead of the answers, until all is here or there is nothing to ask for.
    async fn ask<W: AsyncWrite + Unpin>(&self, writer: W, places: &Places, asked: Sender<Answer>) -> Result<(), Cut> {
        let mut writer = BufWriter::with_capacity(4096, writer);
        let (mut place, mut idle_since): (Option<Place>, _) = (None, clock::now());
        loop {
            let (changed, now) = (self.member.changed(), clock::now());
            let is_idle = self.owed_bytes.load(Relaxed) == 0;
            let is_over = place.as_ref().is_some_and(|place| place.is_over(now, self.member.has_readers()));
            if is_idle && is_over {
                place = None;
            }
            let next = if is_over && !is_idle { Next::Wait { until: None } } else { self.member.next(now) };
            match next {
                Next::Done if is_idle => return Ok(writer.flush().await.map_err(FetchError::Io)?),
                Next::Done => return Err(Cut::Over),
                Next::Ask(ranges) => {
                    place = place.or_else(|| places.try_take());
                    if place.is_none() {
                        self.member.give_back();
                        place = Some(places.take(self.member.has_readers()).await);
                    } else if !self.request(&mut writer, &asked, ranges).await? {
                        return Ok(());
                    }
                }
                Next::Wait { until } => {
                    writer.flush().await.map_err(FetchError::Io)?;
                    let mut until = until;
                    if is_idle {
                        place = None;
                        self.release();
                        let ends_at = idle_since + self.patience();
                        if ends_at <= now {
                            return if self.member.is_known() { Ok(()) } else { Err(FetchError::TooSlow.into()) };
                        }
                        until = Some(until.map_or(ends_at, |until| until.min(ends_at)));
                    } else {
                        idle_since = now;
                    }
                    wait(changed, until).await;
                }
            }
        }
    }

    /// Whether it may be asked for more.
    async fn request<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut BufWriter<W>,
        asked: &Sender<Answer>,
        ranges: Ranges,
    ) -> Result<bool, FetchError> {
        self.owed_bytes.fetch_add(ranges.iter().map(|range| range.len).sum(), Relaxed);
        match asked.try_send(Answer::new(self.swarm_size, ranges.clone())) {
            Ok(()) => {}
            Err(TrySendError::Full(answer)) => {
                writer.flush().await.map_err(FetchError::Io)?;
                if asked.send(answer).await.is_err() {
                    return Ok(false);
                }
            }
            Err(TrySendError::Closed(_)) => return Ok(false),
        }
        let id = self.member.begun().download.id();
        let frame = Request::Get(Get { id, ranges }).to_frame();
        write_frame(writer, frame.kind, &frame.body).await.map_err(FetchError::Io)?;
        Ok(true)
    }

    /// How long the peer is waited for while nothing is asked of it.
    fn patience(&self) -> Duration {
        if !self.member.is_known() {
            PACE
        } else if self.member.held_bytes() == 0 || !self.is_watched.load(Relaxed) {
            // It may have other blobs.
            Duration::ZERO
        } else {
            Duration::from_millis(PATIENCE_MS)
        }
    }

    /// Gives the memory of the buffers back.
    fn release(&self) {
        while self.buffers.1.try_recv().is_ok() {}
        self.fill();
    }

    /// Reads all answers and hands their content on, each frame in one of the buffers.
    async fn receive<R: AsyncRead + Unpin>(
        &self,
        mut reader: R,
        pace: &mut Pace,
        answers: Receiver<Answer>,
        received: Sender<Data>,
    ) -> Result<(), Cut> {
        let mut outcome = Ok(());
        while let Ok(mut answer) = answers.recv().await {
            pace.expect_answer();
            loop {
                let Ok(buffer) = self.buffers.1.recv().await else { return Ok(()) };
                pace.set_unmetered(self.member.has_readers());
                let mut frame = next_frame(&mut reader, pace, buffer).await?;
                let step = answer.handle_frame(&mut frame)?;
                if let Step::Data(data) = step {
                    // If nobody takes it, the disk side has failed, and says why.
                    let _ = received.send(data).await;
                    continue;
                }
                let _ = self.buffers.0.try_send(frame.body);
                match step {
                    Step::Begun { lacking } if !lacking.is_empty() => self.lacks(&lacking, false),
                    Step::Begun { .. } | Step::Data(_) => {}
                    Step::End => break,
                    Step::Refused(reply) if reply.code == ErrorCode::NotFound => {
                        self.lacks(answer.left(), false);
                        break;
                    }
                    // A damaged place says nothing about the rest of the blob.
                    Step::Refused(reply) if reply.code == ErrorCode::Damaged => {
                        self.lacks(answer.left(), true);
                        break;
                    }
                    Step::Refused(reply) => {
                        // More requests would be in vain.
                        answers.close();
                        outcome = outcome.and(Err(FetchError::refused(reply).into()));
                        self.member.give_back();
                        break;
                    }
                }
            }
        }
        outcome
    }

    /// Verifies and writes what was received, off the executor, and gives the buffers back.
    async fn write(
        &self,
        to_write: Receiver<Data>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(), FetchError> {
        let mut batch = Vec::with_capacity(FRAMES_IN_MEMORY);
        while let Ok(data) = to_write.recv().await {
            batch.push(data);
            batch.extend(std::iter::from_fn(|| to_write.try_recv().ok()));
            let (begun, checkpoint_is_due) =
                (Arc::clone(self.member.begun()), self.member.checkpoint_is_due(clock::now()));
            let written;
            (batch, written) = smol::unblock(move || {
                let written = write_batch(&begun, &batch, checkpoint_is_due);
                (batch, written)
            })
            .await;
            let ranges = || batch.iter().take(written.frames).map(Data::range);
            self.settle(ranges().map(|range| range.len).sum());
            self.member.handle_verified(clock::now(), ranges());
            progress(written.new_bytes, self.member.begun().download.verified_bytes());
            written.outcome?;
            for data in batch.drain(..) {
                // The receiving side may be done already.
                let _ = self.buffers.0.try_send(data.into_buffer());
            }
        }
        Ok(())
    }
}

/// What became of a batch.
struct Written {
    /// So many of its frames were verified and are here.
    frames: usize,
    /// What of it was not here before.
    new_bytes: u64,
    outcome: Result<(), WriteError>,
}

fn write_batch(begun: &Begun, batch: &[Data], checkpoint_is_due: bool) -> Written {
    let mut written = Written { frames: 0, new_bytes: 0, outcome: Ok(()) };
    for data in batch {
        let range = data.range();
        match begun.download.write(range.start..range.start + range.len, data.encoded()) {
            Ok(new_bytes) => {
                written.frames += 1;
                written.new_bytes += new_bytes;
            }
            Err(error) => {
                written.outcome = Err(error);
                return written;
            }
        }
    }
    if checkpoint_is_due || begun.download.needs_checkpoint() {
        written.outcome = begun.download.checkpoint().map_err(WriteError::from);
    }
    written
}

/// Waits for an event, or until then.
async fn wait(event: EventListener, until: Option<Instant>) {
    match until {
        None => event.await,
        Some(until) => smol::future::or(event, async { _ = smol::Timer::at(until).await }).await,
    }
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
