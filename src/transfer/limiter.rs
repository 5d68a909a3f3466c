//! Keeping streams to the rates of a [`Throttle`]: the reader of a stream that reads slower makes the flow control of the
//! connection slow its sender.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    at_pace,
    pace::Pace,
    throttle::{Flow, Priority, Rates, Throttle},
};
use crate::{
    clock,
    content::NodeId,
    limits::{GROUP_BYTES, transfer::LIMIT_LOOK_MS},
    wire::{self, Frame, FrameError, Head},
};

/// What a node may send, or receive. Clones are the same.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether there are any limits: without, nothing is locked or counted.
    is_on: AtomicBool,
    throttle: Mutex<Throttle>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self(Arc::new(Shared { is_on: AtomicBool::new(false), throttle: Mutex::new(Throttle::new(clock::now())) }))
    }
}

impl Limiter {
    /// These rates hold from now on, for streams under way too: within [`LIMIT_LOOK_MS`].
    pub fn set_rates(&self, rates: Rates) {
        let mut throttle = self.lock();
        throttle.set_rates(clock::now(), rates);
        self.0.is_on.store(rates != Rates::default(), Relaxed);
    }

    /// For a stream with this peer.
    pub fn meter(&self, peer: NodeId, priority: Priority) -> Meter {
        let mut flow = self.lock().open(clock::now(), peer);
        flow.set_priority(priority);
        Meter { limiter: self.clone(), flow }
    }

    fn lock(&self) -> MutexGuard<'_, Throttle> {
        self.0.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's share.
#[derive(Debug)]
pub struct Meter {
    limiter: Limiter,
    flow: Flow,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.limiter.lock().close(&mut self.flow);
    }
}

impl Meter {
    fn is_on(&self) -> bool {
        self.limiter.0.is_on.load(Relaxed)
    }

    /// Waits until something of so many bytes, which are not none, may pass; returns how many.
    async fn pass(&mut self, bytes: usize) -> usize {
        loop {
            let granted = self.limiter.lock().grant(clock::now(), &mut self.flow, bytes as u64);
            match granted {
                Ok(granted) => return usize::try_from(granted).map_or(bytes, |granted| granted.min(bytes)),
                Err(wait) => _ = smol::Timer::after(wait.min(Duration::from_millis(LIMIT_LOOK_MS))).await,
            }
        }
    }
}

impl Pace {
    /// The stream gets more or less of a limited rate than others, from now on.
    pub fn set_priority(&mut self, priority: Priority) {
        if let Some(meter) = &mut self.meter {
            meter.flow.set_priority(priority);
        }
    }

    /// Whether limits do not count now: somebody waits for what comes.
    pub(super) fn set_unmetered(&mut self, is_unmetered: bool) {
        self.is_unmetered = is_unmetered;
    }

    /// Whether there are limits now.
    fn is_limited(&self) -> bool {
        !self.is_unmetered && self.meter.as_ref().is_some_and(Meter::is_on)
    }

    /// Waits until something of so many bytes, which are not none, may pass; returns how many.
    async fn pass(&mut self, bytes: usize) -> usize {
        match &mut self.meter {
            Some(meter) => meter.pass(bytes).await,
            None => bytes,
        }
    }
}

/// [`wire::read_frame_into`], at the pace of the stream and within its limits; none if the peer is too slow. What the limits
/// delay is not the peer's fault.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(
    reader: &mut R,
    pace: &mut Pace,
    max: usize,
    mut body: Vec<u8>,
) -> Option<Result<Option<Frame>, FrameError>> {
    if !pace.is_limited() {
        return at_pace(pace, wire::read_frame_into(reader, max, body)).await;
    }
    let Head { kind, len } = match at_pace(pace, wire::read_head(reader, max)).await? {
        Ok(Some(head)) => head,
        Ok(None) => return Some(Ok(None)),
        Err(error) => return Some(Err(error)),
    };
    let mut read = 0;
    while read < len {
        // Memory grows with what arrives, not with what is announced.
        let piece = pace.pass((len - read).min(GROUP_BYTES as usize)).await;
        wire::grow(&mut body, read + piece);
        if let Err(error) = at_pace(pace, reader.read_exact(&mut body[read..read + piece])).await? {
            return Some(Err(error.into()));
        }
        read += piece;
    }
    body.truncate(len);
    Some(Ok(Some(Frame { kind, body })))
}

/// [`wire::write_frame`], in the same way.
pub(super) async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    pace: &mut Pace,
    frame: &Frame,
) -> Option<io::Result<()>> {
    if !pace.is_limited() {
        return at_pace(pace, wire::write_frame(writer, frame.kind, &frame.body)).await;
    }
    let mut written = at_pace(pace, wire::write_head(writer, frame.kind, frame.body.len())).await?;
    let mut rest = &frame.body[..];
    while written.is_ok() && !rest.is_empty() {
        let piece = rest.split_off(..pace.pass(rest.len()).await).unwrap_or_default();
        written = at_pace(pace, writer.write_all(piece)).await?;
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use futures::future::join;
    use smol::{block_on, net::unix::UnixStream};

    use super::*;
    use crate::transfer::pace::PACE;

    const FRAME: usize = 256 * 1024;

    fn limited(bytes_s: u64) -> (Limiter, Pace) {
        let limiter = Limiter::default();
        limiter.set_rates(Rates { total: NonZeroU64::new(bytes_s), per_peer: None });
        let pace = Pace::limited(limiter.meter(NodeId([1; 32]), Priority::Normal));
        (limiter, pace)
    }

    /// Bytes that may have passed in so long, at this rate.
    fn at_most(bytes_s: u64, time: Duration) -> f64 {
        bytes_s as f64 * (time.as_secs_f64() + 0.064)
    }

    #[test]
    fn what_a_limit_delays_is_not_the_peers_fault() {
        // Slower than the slowest peer that is put up with, either way.
        let rate = FRAME as u64 * 1000 * 2 / 3 / PACE.as_millis() as u64;
        let frame = Frame { kind: 7, body: (0..FRAME + 1000).map(|at| at as u8).collect() };
        let (near, far) = UnixStream::pair().unwrap();
        let begun = clock::now();
        let write = async {
            let (mut far, (_limiter, mut pace)) = (far, limited(rate));
            write_frame(&mut far, &mut pace, &frame).await.expect("nobody is too slow").unwrap();
        };
        let read = async {
            let (mut near, mut read) = (near, Vec::new());
            near.read_to_end(&mut read).await.unwrap();
            read
        };
        let ((), written) = block_on(join(write, read));
        assert!(written.len() as f64 <= at_most(rate, begun.elapsed()));

        let (_limiter, mut pace) = limited(rate);
        let begun = clock::now();
        let read = block_on(read_frame(&mut &written[..], &mut pace, FRAME + 1000, vec![9; 70_000]));
        assert!(read.expect("nobody is too slow").unwrap() == Some(frame));
        assert!(written.len() as f64 <= at_most(rate, begun.elapsed()));
        assert!(begun.elapsed() > PACE);
    }

    #[test]
    fn hostile_frames_are_refused_under_a_limit_too() {
        let (_limiter, mut pace) = limited(1 << 30);
        let mut read = |bytes: &[u8]| block_on(read_frame(&mut &*bytes, &mut pace, 10, vec![])).expect("not slow");
        assert!(read(&[1, 11, 0, 0, 0]).is_err_and(|error| error.is_violation()));
        assert!(read(&[1, 2, 0, 0, 0, 7]).is_err_and(|error| !error.is_violation()));
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[1, 0, 0, 0, 0]).unwrap(), Some(Frame { kind: 1, body: vec![] }));
    }

    #[test]
    fn a_limit_that_is_taken_away_lets_who_waits_go_on() {
        let (limiter, mut pace) = limited(1);
        let end = async {
            smol::Timer::after(Duration::from_millis(10)).await;
            limiter.set_rates(Rates::default());
        };
        let (passed, ()) = block_on(join(pace.pass(FRAME), end));
        assert_eq!(passed, FRAME);
        assert!(!pace.is_limited());
    }
}
