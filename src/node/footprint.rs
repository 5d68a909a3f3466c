//! What keeps the process small where memory is: the system's allocator and the pool of blocking threads are made for
//! machines with more of it.

use std::{sync::Arc, time::Duration};

use smol::Timer;

use super::state::State;

/// Threads for blocking work. A board has few cores and one disk; the pool's default is 500.
const BLOCKING_THREADS: &str = "4";
/// How often freed memory is given back, if anything has happened.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// Bounds the pool of blocking threads and the arenas of the allocator.
///
/// # Safety
/// No other thread may run yet: the environment is changed.
#[expect(unsafe_code, reason = "the pool is only told by its environment, the allocator only by C functions")]
pub unsafe fn bound_threads_and_arenas() {
    const VARIABLE: &str = "BLOCKING_MAX_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the caller promises that nobody reads the environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, BLOCKING_THREADS) };
    }
    // One arena for all threads: what one has freed another can use. Of the time, hashing and encryption take most.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function has no preconditions; a value that it refuses changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1)
    };
}

/// Gives freed memory back to the system from time to time, while anything happens.
pub(super) async fn trim(state: Arc<State>) {
    let mut seen = 0;
    loop {
        Timer::after(TRIM_INTERVAL).await;
        let activity = state.activity();
        if activity != seen {
            seen = activity;
            smol::unblock(give_back).await;
        }
    }
}

#[expect(unsafe_code, reason = "only the C library can do this")]
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function has no preconditions.
    unsafe {
        libc::malloc_trim(0)
    };
}
