//! Waiting without holding up others.

use std::sync::Arc;

use super::Library;

/// Asks the library off the executor.
pub(super) async fn with<T: Send + 'static>(
    library: &Arc<Library>,
    ask: impl FnOnce(&Arc<Library>) -> T + Send + 'static,
) -> T {
    let library = Arc::clone(library);
    smol::unblock(move || ask(&library)).await
}
