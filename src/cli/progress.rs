//! A progress bar on a terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::{Out, count, printable};

const KNOWN: &str = "{bar:24} {percent:>3} %  {decimal_bytes_per_sec:>12}  {wide_msg}";
const UNKNOWN: &str = "{decimal_bytes:>10}  {decimal_bytes_per_sec:>12}  {wide_msg}";

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

    /// Does this without the bar in the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a correct template").progress_chars("█▌░")
}
