//! Paths and queries of addresses, in and out.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, with the slashes of a path left alone.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// Decodes a path. None if an escape is broken, or if what comes out is no UTF-8 or has control characters: no item is
/// called so.
pub fn decode_path(text: &str) -> Option<String> {
    let decoded = decode(text, false)?;
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

/// The value of `name` in a query as HTML forms write it. The first one counts; none if it is missing or broken.
pub fn query_value(query: &str, name: &str) -> Option<String> {
    let is_it = |pair: &str| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    decode(&query.split('&').find_map(is_it)?, true)
}

fn decode(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || (rest.next()? as char).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            b'+' if form => b' ',
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The address of an item's page or, under `/c`, of its bytes.
pub fn item_url(under: &str, folder: &str, path: &str) -> String {
    format!("{under}/{}/{}", encode(folder), utf8_percent_encode(path, PATH))
}

/// A text as one segment of a path, or as a value in a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Whether the character forces the direction of the text after it (Unicode Standard Annex 9, explicit formatting).
pub fn is_turn(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A `Content-Disposition` that has browsers save a file under its name (RFC 6266; the name in UTF-8 per RFC 8187, and once
/// more in ASCII for those that know no better).
pub fn attachment(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path).replace(is_turn, "_");
    let plain = |c: char| if c.is_ascii_graphic() && !"\"\\%/".contains(c) || c == ' ' { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", encode(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_strictly() {
        for (text, expected) in [
            ("a/b.html", Some("a/b.html")),
            ("a%20b+c", Some("a b+c")),
            ("%D9%83%D8%AA%D8%A7%D8%A8", Some("كتاب")),
            ("caf%C3%a9", Some("café")),
            ("%2e%2e/%2F", Some("..//")),
            ("100%25", Some("100%")),
            ("", Some("")),
            ("%", None),
            ("%2", None),
            ("%zz", None),
            ("%+1", None),
            ("%00", None),
            ("a%0Ab", None),
            ("%C2%85", None),
            ("%ff", None),
            ("%C0%AE", None),
            ("%ED%A0%80", None),
        ] {
            assert_eq!(decode_path(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn queries_are_read_as_forms_write_them() {
        assert_eq!(query_value("q=two+words&page=3", "q").as_deref(), Some("two words"));
        assert_eq!(query_value("q=two+words&page=3", "page").as_deref(), Some("3"));
        assert_eq!(query_value("q=a%26b%3Dc=d", "q").as_deref(), Some("a&b=c=d"));
        assert_eq!(query_value("q=", "q").as_deref(), Some(""));
        for query in ["", "q", "Q=1", "q=%", "q=%ff&q=1", "xq=1"] {
            assert_eq!(query_value(query, "q"), None, "{query}");
        }
    }

    #[test]
    fn any_name_survives_its_address() {
        for path in ["a b/c?d#e.html", "100%/\"<>&'", "كتاب/书.epub", "..", "a\\b;c=d,e:f@g+h"] {
            let url = item_url("/c", "folder / 1", path);
            let rest = url.strip_prefix("/c/folder%20%2F%201/").unwrap();
            assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte)), "{url}");
            assert_eq!(decode_path(rest).as_deref(), Some(path));
        }
    }

    #[test]
    fn saved_names() {
        for (path, expected) in [
            ("dir/book.epub", "attachment; filename=\"book.epub\"; filename*=UTF-8''book.epub"),
            ("a \"b\"\\c;d.txt", "attachment; filename=\"a _b__c;d.txt\"; filename*=UTF-8''a%20%22b%22%5Cc%3Bd.txt"),
            (
                "naïve 书%41.pdf",
                "attachment; filename=\"na_ve __41.pdf\"; filename*=UTF-8''na%C3%AFve%20%E4%B9%A6%2541.pdf",
            ),
        ] {
            assert_eq!(attachment(path), expected);
        }
    }
}
