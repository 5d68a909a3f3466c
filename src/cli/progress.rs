//! A progress bar on a terminal; nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::{Out, printable};

/// One bar for one file after the other. It goes when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Progress {
    pub(super) fn new(out: &Out) -> Self {
        let target = if out.is_watched() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let template = "{bar:24} {percent:>3} %  {decimal_bytes_per_sec:>12}  {wide_msg}";
        let style = ProgressStyle::with_template(template).expect("a correct template").progress_chars("█▌░");
        Self(ProgressBar::with_draw_target(Some(0), target).with_style(style))
    }

    /// Shows how far the current file is.
    pub(super) fn show(&self, what: &str, done_bytes: u64, size_bytes: u64) {
        if self.0.is_hidden() {
            return;
        }
        if done_bytes < self.0.position() {
            self.0.reset();
        }
        self.0.set_length(size_bytes);
        self.0.set_message(printable(what));
        self.0.set_position(done_bytes);
    }

    /// Does this without the bar in the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}
