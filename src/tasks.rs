//! Where the program's tasks run: all on one thread, as boards have few cores and the work that takes long is on threads of its
//! own.
//!
//! It is smol's executor, without smol's threads. Those look after sockets and timers themselves whenever they have nothing to
//! do, in turns with async-io's thread, which was a third of what an idle node with 100 peers took of the processor: after each
//! packet that thread woke ten times more to look whether it is needed. It is alone with them here, and wakes this one.

use std::{
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
    thread,
};

use smol::{Executor, Task, future::block_on};

static EXECUTOR: Executor<'static> = Executor::new();
static THREAD: Once = Once::new();

/// Runs a future beside others, from now on. It ends early when the task is dropped.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    THREAD.call_once(|| {
        // A task that panics has its panic told by the thread; the others go on.
        let run = || while catch_unwind(AssertUnwindSafe(|| block_on(EXECUTOR.run(pending::<()>())))).is_err() {};
        thread::Builder::new().name("tasks".into()).spawn(run).expect("a process may have a few threads");
    });
    EXECUTOR.spawn(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_panics_takes_no_other_with_it() {
        let (sender, receiver) = smol::channel::bounded::<()>(1);
        let other = spawn(async move { receiver.recv().await });
        let bad = spawn(async { panic!("as one may") });
        let bad = catch_unwind(AssertUnwindSafe(|| block_on(bad)));
        assert!(bad.is_err());
        sender.try_send(()).unwrap();
        assert_eq!(block_on(other), Ok(()));
    }
}
