//! What keeps the process small where memory is: the system's allocator and the pool of blocking threads are made for
//! machines with more of it.

use std::{env, os::unix::process::CommandExt, process::Command, sync::Arc, time::Duration};

use smol::Timer;

use super::state::State;

/// What the pool of blocking threads and the C library read from the environment, the latter before `main`.
const SETTINGS: &[(&str, &str)] = &[
    // A board has few cores and one disk; the pool's default is 500.
    ("BLOCKING_MAX_THREADS", "4"),
    // One arena for all threads: what one has freed another can use. No caches of freed memory for each thread: they held
    // 3 MB after many small files. Of the time, hashing and encryption take most.
    #[cfg(target_env = "gnu")]
    ("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"),
];
/// How often freed memory is given back, if anything has happened.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// Starts this program over with `SETTINGS` in its environment, in the same process. What the user has set is kept.
///
/// Returns if all of them are there, or if the system does not let a program start itself: larger, it works as well.
pub fn restart_with_settings() {
    let missing: Vec<_> = SETTINGS.iter().filter(|(name, _)| env::var_os(name).is_none()).copied().collect();
    if missing.is_empty() {
        return;
    }
    // Not /proc/self/exe, which would be the name that `ps` shows.
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let _why_not = Command::new(program).arg0(name).args(arguments).envs(missing).exec();
}

/// Gives freed memory back to the system from time to time, while anything happens.
pub(super) async fn trim(state: Arc<State>) {
    let mut seen = 0;
    loop {
        Timer::after(TRIM_INTERVAL).await;
        let state = state.clone();
        // Counting waits for what the store is writing.
        seen = smol::unblock(move || {
            let activity = state.activity();
            if activity != seen {
                give_back();
            }
            activity
        })
        .await;
    }
}

#[cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "only the C library can do this"))]
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function has no preconditions.
    unsafe {
        libc::malloc_trim(0)
    };
}
