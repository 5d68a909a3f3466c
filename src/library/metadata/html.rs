//! The title and language of a web page, from its first bytes.

use std::{fs::File, io::Read};

use super::Raw;

/// Bytes at the start of a page in which its title is looked for.
const HEAD_BYTES: u64 = 16 * 1024;

pub(super) fn read(file: &File) -> Option<Raw> {
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    Some(parse(&String::from_utf8_lossy(&head)))
}

fn parse(head: &str) -> Raw {
    // Same length as `head`, so that places found in one are places in the other.
    let lower = head.to_ascii_lowercase();
    let mut raw = Raw::default();
    if let Some(open) = lower.find("<title")
        && let Some(start) = lower[open..].find('>').map(|at| open + at + 1)
        && let Some(len) = lower[start..].find("</title")
    {
        raw.title = unescape(&head[start..start + len]);
    }
    if let Some(open) = lower.find("<html")
        && let Some(tag) = lower[open..].find('>').map(|len| &head[open..open + len])
        && let Some(value) = tag.split(" lang=").nth(1)
    {
        let value = value.trim_start_matches(['"', '\'']);
        raw.language = value.split(['"', '\'', ' ']).next().unwrap_or_default().to_owned();
    }
    raw
}

/// Character references that titles have in practice.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = rest.find(';').filter(|end| *end <= 10).and_then(|end| Some((character(&rest[1..end])?, end + 1)));
        let (character, len) = known.unwrap_or(('&', 1));
        out.push(character);
        rest = &rest[len..];
    }
    out + rest
}

/// The character that a reference names, without `&` and `;`.
pub(super) fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)
        }
    }
}
