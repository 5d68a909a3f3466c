//! Where the program's tasks run: all on one thread, as boards have few cores and the work that takes long is on threads of its
//! own.
//!
//! It is smol's executor, without smol's threads. Those look after sockets and timers themselves whenever they have nothing to
//! do, in turns with async-io's thread, which was a third of what an idle node with 100 peers took of the processor: after each
//! packet that thread woke ten times more to look whether it is needed. It is alone with them here, and wakes this one.

use std::{
    future::{Future, pending},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
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

/// The same, but it goes on to its own end whoever waits for it.
pub fn spawn_lasting<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Lasting<T> {
    Lasting(Some(spawn(future)))
}

/// A task that dropping this does not end.
pub struct Lasting<T>(Option<Task<T>>);

impl<T> Future for Lasting<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().map_or(Poll::Pending, |task| Pin::new(task).poll(context))
    }
}

impl<T> Drop for Lasting<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
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

    #[test]
    fn a_lasting_task_ends_by_itself() {
        let [(begin, begun), (end, ended)] = std::array::from_fn(|_| smol::channel::bounded::<()>(1));
        let work = || {
            let (begun, end) = (begun.clone(), end.clone());
            async move {
                begun.recv().await.unwrap();
                end.send(()).await.unwrap();
            }
        };
        let [mut lasting, dropped] = [spawn_lasting(work()), spawn_lasting(work())];
        drop(dropped);
        assert!(block_on(smol::future::poll_once(&mut lasting)).is_none());
        for _ in 0..2 {
            begin.send_blocking(()).unwrap();
            ended.recv_blocking().unwrap();
        }
        block_on(lasting);
    }
}
