//! The only place that asks what time it is.
//!
//! It is for what does I/O. Pure logic is told the time, and must never name this.

use std::{
    future::Future,
    time::{Duration, Instant, SystemTime},
};

/// Now. Monotonic: a board without a clock chip has nothing else to go by.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> Instant {
    Instant::now()
}

/// Microseconds of the monotonic clock, for other programs of this machine.
pub fn monotonic_us() -> u64 {
    let rustix::time::Timespec { tv_sec, tv_nsec } = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It begins at nought with the machine; both have other types on other boards.
    u64::try_from(tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(tv_nsec).unwrap_or(0) / 1_000
}

/// What the wall clock says, which on some boards begins at 1970 with each start: for people, and for what is better roughly
/// right than not known.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The minute of the day where this machine is; none if its clock was never set.
#[expect(unsafe_code, reason = "only the C library knows the time zone")]
pub fn minute_of_day() -> Option<u16> {
    /// 2020 began then: before that there was no such program.
    const LONG_AGO_S: u64 = 1_577_836_800;
    let seconds = wall().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    // The type of the crate is half as wide as that of musl on 32-bit boards. Eight bytes are right for either: all boards are
    // little-endian.
    let time = i64::try_from(seconds).ok().filter(|_| seconds >= LONG_AGO_S)?;
    let mut local = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are good during the call; it fills what the second points to, or returns none.
    let local = unsafe { libc::localtime_r((&raw const time).cast(), local.as_mut_ptr()).as_ref() }?;
    u16::try_from(local.tm_hour * 60 + local.tm_min).ok()
}

/// The future's output, or none if it takes longer than `limit`.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    smol::future::or(async { Some(future.await) }, async {
        smol::Timer::after(limit).await;
        None
    })
    .await
}
