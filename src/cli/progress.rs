//! A progress bar on a terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    Failure,
    out::{Out, count, printable},
    session,
};
use crate::{
    config::Config,
    node::control::{Reply, Request},
};

const KNOWN: &str = "{bar:24} {percent:>3} %  {decimal_bytes_per_sec:>12}  {wide_msg}";
const UNKNOWN: &str = "{decimal_bytes:>10}  {decimal_bytes_per_sec:>12}  {wide_msg}";

/// Has a request performed that reads files: shows what is being read, and has all else told.
///
/// # Errors
/// Those of [`session::perform`].
pub(super) fn perform(
    config: &Config,
    request: Request,
    out: &mut Out,
    tell: &mut dyn FnMut(Reply, &mut Out) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let progress = Progress::new(out);
    session::perform(config, request, &mut |reply| match reply {
        Reply::Reading { path, files, bytes, total_bytes } if !out.is_json() => {
            progress.show(&path, files, bytes, total_bytes);
            Ok(())
        }
        // Nothing to tell of what is as it should be.
        Reply::Verified { fault: None, .. } if !out.is_json() => Ok(()),
        reply => progress.0.suspend(|| tell(reply, out)),
    })
}

/// One bar for all that a command reads or writes. It goes when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Progress {
    pub(super) fn new(out: &Out) -> Self {
        let target = if out.is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self(ProgressBar::with_draw_target(None, target).with_style(style(UNKNOWN)))
    }

    /// Shows the bytes that are done, of a total if that is known, and what is being done now.
    pub(super) fn show(&self, path: &str, files: u64, bytes: u64, total_bytes: Option<u64>) {
        if let (Some(total_bytes), None) = (total_bytes, self.0.length()) {
            self.0.set_style(style(KNOWN));
            self.0.set_length(total_bytes);
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        self.0.set_message(printable(&if files == 0 {
            name.to_owned()
        } else {
            format!("{}, {name}", count(files, "file"))
        }));
        self.0.set_position(bytes);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a correct template").progress_chars("█▌░")
}
