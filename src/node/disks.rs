//! Disks that are unplugged and come back, and files that turn out to be bad.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    library::{Library, LibraryError},
    limits::{follow::RECOUNT_MS, library::LOOK_MS},
    status::{Notice, NoticeLevel},
};

/// Looks from time to time whether the disks are there, and has the collections counted anew when one came or went or a file
/// turned out to be bad, so that followers fetch it again.
pub(super) async fn watch(library: Arc<Library>) {
    let faults = library.store().faults();
    // What was written down as missing before may be back.
    let find_again = |library: &Library| if library.store().find_again()? { library.rescan() } else { Ok(()) };
    perform(&library, find_again).await;
    loop {
        let is_fault = clock::within(Duration::from_millis(LOOK_MS), faults.recv()).await.is_some();
        let look = move |library: &Library| {
            if !library.look_for_disks()? && is_fault { library.rescan() } else { Ok(()) }
        };
        perform(&library, look).await;
        if is_fault {
            // A disk that is gone gives a fault for every file that anybody asks for, and each look counts all files.
            smol::Timer::after(Duration::from_millis(RECOUNT_MS)).await;
        }
    }
}

async fn perform(library: &Arc<Library>, look: impl FnOnce(&Library) -> Result<(), LibraryError> + Send + 'static) {
    let library = library.clone();
    if let Err(error) = smol::unblock(move || look(&library)).await {
        log::warn!("looking for what is missing: {error}");
    }
}

/// What a person should know.
pub(super) fn notices(library: &Library) -> Vec<Notice> {
    let mut notices = Vec::new();
    if let Err(error) = library.store().check_library() {
        let text = format!("{error}. Until then its files are not available, and nothing is copied");
        notices.push(Notice { level: NoticeLevel::Error, text });
    }
    notices.extend(library.away().into_iter().map(|away| {
        let text = format!(
            "{}: nothing that was shared from {} is there: its files are not available. Plug its disk in again; if it is at \
             another place now, `allibrary add` it there",
            away.collection,
            away.path.display()
        );
        Notice { level: NoticeLevel::Warning, text }
    }));
    notices
}
