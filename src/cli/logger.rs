//! The log: to standard error, and around the progress bars that are drawn there.

use std::io;

use indicatif::MultiProgress;
use log::{LevelFilter, Log, Metadata, Record};

/// Begins to log. The level is that of [`log::max_level`] from then on, which may change.
pub(super) fn start(level: LevelFilter, bars: Option<&MultiProgress>) {
    let mut builder = env_logger::Builder::new();
    // What comes through here has been chosen.
    builder.filter_level(LevelFilter::Trace);
    if let Some(bars) = bars {
        builder.target(env_logger::Target::Pipe(Box::new(AroundBars(bars.clone()))));
    }
    // A second one would be a mistake without consequences.
    if log::set_boxed_logger(Box::new(Chosen(builder.build()))).is_ok() {
        log::set_max_level(level);
    }
}

/// Other crates are heard of only when something is wrong, or when everything is logged.
struct Chosen(env_logger::Logger);

impl Log for Chosen {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = log::max_level();
        let is_ours = metadata.target().split("::").next() == Some("allibrary");
        metadata.level() <= if is_ours || level == LevelFilter::Trace { level } else { level.min(LevelFilter::Warn) }
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

struct AroundBars(MultiProgress);

impl io::Write for AroundBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
