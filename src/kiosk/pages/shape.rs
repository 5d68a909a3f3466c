//! Numbers and names as people read them.

use maud::{Markup, html};

use crate::kiosk::address::is_turn;

/// Bytes in decimal units: "3.4 MB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return count(bytes, "byte");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded up to 1000 is 1.0 of the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.95 { 1 } else { 0 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// "1 title", "1,204 titles".
pub fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// Digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time span in its two largest units at most: "2 h 5 min".
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} {} h", count(days, "day"), hours % 24),
    }
}

/// A text of somebody else: set apart, whatever its direction, and marked with its language where that is known.
pub fn foreign(text: &str, language: &str) -> Markup {
    let language = is_language(language).then_some(language);
    html! { bdi lang=[language] { (unturned(text)) } }
}

/// The text without the characters that force its direction: they make `gnp.exe` read `exe.png`.
pub fn unturned(text: &str) -> String {
    text.replace(is_turn, "")
}

/// Whether this looks like a language tag (RFC 5646) and not like something worse.
fn is_language(tag: &str) -> bool {
    tag.starts_with(|c: char| c.is_ascii_alphabetic())
        && tag
            .split('-')
            .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (9949, "9.9 kB"),
            (9950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (5_368_709_120, "5.4 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn counts_and_spans() {
        assert_eq!(count(1, "title"), "1 title");
        assert_eq!(count(1_234_567, "title"), "1,234,567 titles");
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (7500, "2 h 5 min"),
            (86_400, "1 day 0 h"),
            (1_000_000, "11 days 13 h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn languages_are_tags_or_nothing() {
        for (tag, expected) in
            [("en", true), ("zh-Hant-TW", true), ("", false), ("en\"", false), ("9a", false), ("en--us", false)]
        {
            assert_eq!(is_language(tag), expected, "{tag}");
        }
        assert_eq!(foreign("<b>", "en\" onclick=").into_string(), "<bdi>&lt;b&gt;</bdi>");
        assert_eq!(foreign("a\u{202e}gnp.exe", "ar").into_string(), "<bdi lang=\"ar\">agnp.exe</bdi>");
    }
}
