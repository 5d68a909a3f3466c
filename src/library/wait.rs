//! Waiting without holding up others.

use std::{future::Future, sync::Arc, time::Duration};

use super::Library;

/// Asks the library off the executor.
pub(super) async fn with<T: Send + 'static>(
    library: &Arc<Library>,
    ask: impl FnOnce(&Arc<Library>) -> T + Send + 'static,
) -> T {
    let library = Arc::clone(library);
    smol::unblock(move || ask(&library)).await
}

/// The future's output, or none if it takes longer than `limit`.
pub(super) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    smol::future::or(async { Some(future.await) }, async {
        smol::Timer::after(limit).await;
        None
    })
    .await
}
