//! Word that something changed, for any number of listeners.

use std::sync::Mutex;

use smol::channel::{Receiver, Sender, bounded};

/// Those who want to hear of changes.
#[derive(Default)]
pub(super) struct Listeners(Mutex<Vec<Sender<()>>>);

/// Resolves after changes; several at once are one.
pub struct Changes(Receiver<()>);

impl Listeners {
    pub fn subscribe(&self) -> Changes {
        let (sender, receiver) = bounded(1);
        self.lock().push(sender);
        Changes(receiver)
    }

    pub fn tell(&self) {
        // A full channel has the news already; a closed one has nobody left.
        self.lock().retain(|sender| !matches!(sender.try_send(()), Err(smol::channel::TrySendError::Closed(()))));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sender<()>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Changes {
    /// Waits for the next change after the last one told. Pending for ever once the library is gone.
    pub async fn changed(&mut self) {
        if self.0.recv().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
