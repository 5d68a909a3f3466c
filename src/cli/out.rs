//! What a command prints: tables and sentences for people, or one JSON object per line.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Stdout, Write as _},
    process::ExitCode,
};

use serde::Serialize;

use super::failure::{Failure, of_output};

/// Standard output, which survives a reader that goes away.
pub(super) struct Out {
    json: bool,
    stdout: Stdout,
    skips_when_full: bool,
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        Self { json, stdout: io::stdout(), skips_when_full: false }
    }

    /// From here on, lines may get lost in a file on a full disk: what tells them has more to do.
    pub(super) fn skip_when_full(&mut self) {
        self.skips_when_full = true;
    }

    /// Whether a program reads this.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches: progress may be drawn, on standard error.
    pub(super) fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// A line for people.
    pub(super) fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        let written = writeln!(self.stdout, "{text}");
        self.check(written)
    }

    /// A line for people that holds texts from elsewhere.
    pub(super) fn text(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        self.line(printable(&text.to_string()))
    }

    /// A remark for people, on standard error.
    pub(super) fn note(&self, text: impl fmt::Display) {
        // If nobody hears it, the result still stands.
        let _ = writeln!(io::stderr(), "{}", printable(&text.to_string()));
    }

    /// A line for programs: written at once, so that none of another thread comes in between.
    pub(super) fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| of_output(error.into()))?;
        self.line(text)
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(of_output)
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.stdout.flush();
        self.check(flushed)
    }

    fn check(&self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(error) if self.skips_when_full && error.kind() == io::ErrorKind::StorageFull => Ok(()),
            other => other.map_err(of_output),
        }
    }

    /// Tells what went wrong; the exit code.
    pub(super) fn fail(&mut self, failure: Failure) -> ExitCode {
        let Failure::Told { exit, message } = failure else { return ExitCode::SUCCESS };
        // What was printed so far comes first. If that fails too, there is nothing better to tell.
        let _ = self.flush();
        if self.json {
            let _ = self.object(&serde_json::json!({ "event": "failed", "exit": exit as u8, "message": message }));
            let _ = self.flush();
        }
        for line in message.lines() {
            let _ = writeln!(io::stderr(), "allibrary: {}", printable(line));
        }
        ExitCode::from(exit as u8)
    }
}

/// Rows of aligned columns. The last one is not padded: it is the place for titles and paths of any width.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// With these headings; columns named in `right` are aligned to the right.
    pub(super) fn new(headings: &[&str], right: &'static [usize]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()], right }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    pub(super) fn print(&self, out: &mut Out) -> Result<(), Failure> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let written = match widths[column] {
                    _ if column + 1 == row.len() && !self.right.contains(&column) => write!(line, "{cell}"),
                    width if self.right.contains(&column) => write!(line, "{cell:>width$}  "),
                    width => write!(line, "{cell:<width$}  "),
                };
                written.expect("a String takes everything");
            }
            out.line(line.trim_end())?;
        }
        Ok(())
    }
}

/// A text from elsewhere, without the characters that move a terminal's cursor or turn its text around.
pub(super) fn printable(text: &str) -> String {
    let is_unsafe = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect()
}

/// A number of bytes for people, in decimal units.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    // 999.95 would be rounded to 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A duration for people.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// "1 file", "2 files".
pub(super) fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_for_people() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "18446.7 PB");
        let durations = [(59, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (90_000, "1 d 1 h")];
        for (seconds, text) in durations {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!((count(1, "file"), count(0, "file")), ("1 file".into(), "0 files".into()));
    }

    #[test]
    fn hostile_titles_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\rc\u{9b}d\u{202e}e"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e");
        assert_eq!(printable("Ελληνικά 中文 é"), "Ελληνικά 中文 é");
    }
}
