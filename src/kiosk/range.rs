//! Which part of a file a request is answered with: conditions and ranges of RFC 9110, sections 13 and 14. Pure.

use std::ops::Range;

use hyper::{
    HeaderMap, Method,
    header::{self, HeaderName, HeaderValue},
};

/// What a request for a file is to be answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200 with all of it.
    Full,
    /// 206 with these bytes; never empty.
    Partial(Range<u64>),
    /// 304: the client has it.
    NotModified,
    /// 412: the client wants what this no longer is.
    PreconditionFailed,
    /// 416: no byte of the range exists.
    Unsatisfiable,
}

/// Evaluates the conditions in the order of RFC 9110, section 13.2.2. `tag` is the strong entity tag with its quotes, of a
/// file that exists. Dates are not looked at: no file here has one.
pub fn evaluate(method: &Method, headers: &HeaderMap, tag: &str, size: u64) -> Answer {
    if headers.contains_key(header::IF_MATCH) && !any_tag(headers, header::IF_MATCH, |found| found == tag) {
        return Answer::PreconditionFailed;
    }
    if any_tag(headers, header::IF_NONE_MATCH, |found| found.strip_prefix("W/").unwrap_or(found) == tag) {
        return Answer::NotModified;
    }
    // Ranges are defined for GET alone (section 14.2), and a file that changed is sent whole (section 13.1.5).
    let same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == tag.as_bytes());
    if *method != Method::GET || !same || size == 0 {
        return Answer::Full;
    }
    let mut values = headers.get_all(header::RANGE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            value.to_str().ok().and_then(single_range).map_or(Answer::Full, |spec| spec.within(size))
        }
        _ => Answer::Full,
    }
}

/// Whether the header holds `*` or a tag that `matches`.
fn any_tag(headers: &HeaderMap, name: HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    let is_match =
        |value: &HeaderValue| value.to_str().is_ok_and(|text| text.trim() == "*" || tags(text).any(&matches));
    headers.get_all(name).iter().any(is_match)
}

/// The entity tags of a list, with quotes and `W/`; ends at the first thing that is none. A tag may hold commas.
fn tags(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let open = if rest.starts_with("W/") { 2 } else { 0 };
        let inner = rest[open..].strip_prefix('"')?;
        let (tag, after) = rest.split_at(open + 1 + inner.find('"')? + 1);
        rest = after;
        Some(tag)
    })
}

/// One range as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    From { first: u64, last: Option<u64> },
    Suffix { len: u64 },
}

impl Spec {
    fn within(self, size: u64) -> Answer {
        let range = match self {
            Self::From { first, last } => first..last.map_or(size, |last| last.saturating_add(1).min(size)),
            Self::Suffix { len } => size.saturating_sub(len)..size,
        };
        if range.is_empty() { Answer::Unsatisfiable } else { Answer::Partial(range) }
    }
}

/// The only range of a `Range` header. None where there are several, where the unit is unknown, or where the syntax is
/// wrong: a server may ignore all of these, and the client then gets the whole file.
fn single_range(header: &str) -> Option<Spec> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut ranges = set.split(',').map(|range| range.trim_matches([' ', '\t'])).filter(|range| !range.is_empty());
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
    let (first, last) = range.split_once('-')?;
    match (first, last) {
        ("", len) => Some(Spec::Suffix { len: number(len)? }),
        (first, "") => Some(Spec::From { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From { first, last: Some(last) })
        }
    }
}

/// A number of any length: one past `u64` is as good as the end of everything.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Answer::*, *};

    fn answer(method: Method, headers: &[(HeaderName, &str)], size: u64) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        evaluate(&method, &map, "\"abc\"", size)
    }

    fn ranged(value: &str) -> Answer {
        answer(Method::GET, &[(header::RANGE, value)], 1000)
    }

    #[test]
    fn single_ranges() {
        for (value, expected) in [
            ("bytes=0-0", Partial(0..1)),
            ("bytes=0-499", Partial(0..500)),
            ("bytes=500-", Partial(500..1000)),
            ("bytes=999-999", Partial(999..1000)),
            ("bytes=0-1000000", Partial(0..1000)),
            ("bytes=-1", Partial(999..1000)),
            ("bytes=-1000", Partial(0..1000)),
            ("bytes=-5000", Partial(0..1000)),
            ("Bytes=1-2", Partial(1..3)),
            ("bytes= 1-2 ", Partial(1..3)),
            ("bytes=,1-2,", Partial(1..3)),
            ("bytes=0000000000000000000000000000001-2", Partial(1..3)),
            ("bytes=1-99999999999999999999999999", Partial(1..1000)),
            ("bytes=0-18446744073709551615", Partial(0..1000)),
        ] {
            assert_eq!(ranged(value), expected, "{value}");
        }
    }

    #[test]
    fn ranges_without_a_byte() {
        for value in ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(ranged(value), Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn what_is_wrong_or_several_gets_everything() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=1 -2",
            "bytes=+1-2",
            "bytes=1-2x",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=0x1-2",
            "items=0-1",
            "bytes=0-1,5-6",
            "bytes 0-1",
            "bytes=0-1;q=1",
        ] {
            assert_eq!(ranged(value), Full, "{value}");
        }
        assert_eq!(answer(Method::GET, &[(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=2-3")], 9), Full);
    }

    #[test]
    fn no_ranges_in_head_and_in_empty_files() {
        assert_eq!(answer(Method::HEAD, &[(header::RANGE, "bytes=0-1")], 1000), Full);
        assert_eq!(answer(Method::GET, &[(header::RANGE, "bytes=0-1")], 0), Full);
        assert_eq!(answer(Method::GET, &[(header::RANGE, "bytes=-1")], 0), Full);
    }

    #[test]
    fn if_range_compares_strongly() {
        for (tag, expected) in [
            ("\"abc\"", Partial(0..2)),
            ("\"other\"", Full),
            ("W/\"abc\"", Full),
            ("abc", Full),
            ("Sat, 29 Oct 1994 19:43:31 GMT", Full),
        ] {
            let headers = [(header::RANGE, "bytes=0-1"), (header::IF_RANGE, tag)];
            assert_eq!(answer(Method::GET, &headers, 1000), expected, "{tag}");
        }
        // The part that the client has is of another file: its range may well be past the end of this one.
        assert_eq!(answer(Method::GET, &[(header::RANGE, "bytes=5000-"), (header::IF_RANGE, "\"old\"")], 1000), Full);
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (tags, expected) in [
            ("\"abc\"", NotModified),
            ("W/\"abc\"", NotModified),
            ("*", NotModified),
            ("\"x\", \"abc\"", NotModified),
            ("\"x,y\",W/\"abc\"", NotModified),
            (", ,\"abc\"", NotModified),
            ("\"x\"", Full),
            ("\"abc", Full),
            ("abc", Full),
            ("", Full),
            ("w/\"abc\"", Full),
            ("\"x\" junk \"abc\"", Full),
        ] {
            assert_eq!(answer(Method::GET, &[(header::IF_NONE_MATCH, tags)], 1000), expected, "{tags}");
            assert_eq!(answer(Method::HEAD, &[(header::IF_NONE_MATCH, tags)], 1000), expected, "HEAD {tags}");
        }
        assert_eq!(
            answer(Method::GET, &[(header::IF_NONE_MATCH, "\"x\""), (header::IF_NONE_MATCH, "\"abc\"")], 1),
            NotModified
        );
    }

    #[test]
    fn if_match_compares_strongly_and_comes_first() {
        for (tags, expected) in [
            ("\"abc\"", Full),
            ("*", Full),
            ("\"x\", \"abc\"", Full),
            ("W/\"abc\"", PreconditionFailed),
            ("\"x\"", PreconditionFailed),
            ("", PreconditionFailed),
        ] {
            assert_eq!(answer(Method::GET, &[(header::IF_MATCH, tags)], 1000), expected, "{tags}");
        }
        let both = [(header::IF_NONE_MATCH, "\"abc\""), (header::IF_MATCH, "\"x\""), (header::RANGE, "bytes=5000-")];
        assert_eq!(answer(Method::GET, &both, 1000), PreconditionFailed);
        assert_eq!(answer(Method::GET, &[both[0].clone(), both[2].clone()], 1000), NotModified);
    }
}
