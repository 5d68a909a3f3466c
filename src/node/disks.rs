//! Disks that are unplugged and come back, and files that turn out to be bad.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    library::{Library, LibraryError},
    limits,
    status::{Notice, NoticeLevel},
};

/// Looks from time to time whether the disks are there, and has the collections counted anew when one came or went or a file
/// turned out to be bad, so that followers fetch it again.
pub(super) async fn watch(library: Arc<Library>) {
    let faults = library.store().faults();
    let look_every = Duration::from_millis(limits::library::LOOK_MS);
    // What was written down as missing before may be back.
    let mut is_news = true;
    loop {
        let at_work = library.clone();
        if let Err(error) = smol::unblock(move || look(&at_work, is_news)).await {
            log::warn!("looking for what is missing: {error}");
        }
        // A disk that is gone gives a fault for every file that anybody asks for, and each look counts all files.
        smol::Timer::after(Duration::from_millis(limits::follow::RECOUNT_MS)).await;
        is_news = clock::within(look_every, faults.recv()).await.is_some();
    }
}

fn look(library: &Library, is_news: bool) -> Result<(), LibraryError> {
    let has_changed = library.look_for_disks()?;
    if is_news && !has_changed {
        library.store().find_again()?;
        library.rescan()?;
    }
    Ok(())
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
