//! Cross-reference tables in both forms: lines of text, and rows of a stream (ISO 32000-1, sections 7.5.4 and 7.5.8).

use std::fs::File;

use super::{
    super::bytes::window,
    syntax::{Dictionary, Tokens},
};

/// Bytes of a line of a table.
const LINE_BYTES: u64 = 20;
/// Bytes in which the head of a part is looked for.
const HEAD_BYTES: usize = 128;
/// Parts of one table.
const PARTS: usize = 1024;

/// Where an object is.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    At(u64),
    /// In the object stream of this number.
    Within(u64),
}

/// Lines of consecutive objects.
pub(super) struct Part {
    first: u64,
    count: u64,
    at: u64,
}

/// Where the trailer's dictionary is, if there is a table of text.
pub(super) fn trailer_at(file: &File, at: u64) -> Option<u64> {
    Some(read(file, at)?.1)
}

/// The parts of the table of text, if there is one.
pub(super) fn parts(file: &File, at: u64) -> Option<Vec<Part>> {
    Some(read(file, at)?.0)
}

fn read(file: &File, at: u64) -> Option<(Vec<Part>, u64)> {
    let head = window(file, at, HEAD_BYTES)?;
    let mut tokens = Tokens::new(&head);
    if !tokens.is(b"xref") {
        return None;
    }
    let mut at = at + (head.len() - tokens.rest().len()) as u64;
    let mut parts = Vec::new();
    while parts.len() < PARTS {
        let head = window(file, at, HEAD_BYTES)?;
        let mut tokens = Tokens::new(&head);
        let behind = |tokens: &Tokens| at + (head.len() - tokens.rest().len()) as u64;
        let mut ahead = tokens.clone();
        if ahead.is(b"trailer") {
            return Some((parts, behind(&ahead)));
        }
        let (first, count) = (tokens.number()?, tokens.number()?);
        tokens.skip_space();
        let lines = behind(&tokens);
        parts.push(Part { first, count, at: lines });
        at = lines.checked_add(count.checked_mul(LINE_BYTES)?)?;
    }
    None
}

pub(super) fn place_in_parts(file: &File, parts: &[Part], number: u64) -> Option<Place> {
    let part = parts.iter().find(|part| number.checked_sub(part.first).is_some_and(|line| line < part.count))?;
    // No overflow: the whole part was added up before.
    let line = window(file, part.at + LINE_BYTES * (number - part.first), LINE_BYTES as usize)?;
    let mut tokens = Tokens::new(&line);
    let (at, _generation) = (tokens.number()?, tokens.number()?);
    tokens.is(b"n").then_some(Place::At(at))
}

/// Looks the object up in the unpacked rows of a stream that has this dictionary.
pub(super) fn place_in_rows(dictionary: &Dictionary, rows: &[u8], number: u64) -> Option<Place> {
    let [kind_len, second_len, third_len] = dictionary.numbers("W").try_into().ok()?;
    if [kind_len, second_len, third_len].iter().any(|len| *len > 8) || kind_len + second_len + third_len == 0 {
        return None;
    }
    let index = match dictionary.numbers("Index") {
        index if index.is_empty() => vec![0, dictionary.number("Size")?],
        index => index,
    };
    let mut before = 0_u64;
    for [first, count] in index.as_chunks().0 {
        match number.checked_sub(*first).filter(|row| row < count) {
            Some(row) => {
                before = before.checked_add(row)?;
                let row =
                    rows.chunks_exact((kind_len + second_len + third_len) as usize).nth(before.try_into().ok()?)?;
                let (kind, rest) = row.split_at(kind_len as usize);
                let second = big_endian(&rest[..second_len as usize]);
                // Without a kind, all are of the first one.
                return match if kind.is_empty() { 1 } else { big_endian(kind) } {
                    1 => Some(Place::At(second)),
                    2 => Some(Place::Within(second)),
                    _ => None,
                };
            }
            None => before = before.checked_add(*count)?,
        }
    }
    None
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Takes back what was done to rows to pack them better (section 7.4.4.4), for the kinds that are used for rows of bytes.
pub(super) fn unpredicted(bytes: Vec<u8>, parameters: &Dictionary) -> Option<Vec<u8>> {
    match parameters.number("Predictor") {
        None | Some(1) => return Some(bytes),
        Some(10..=15) => {}
        _ => return None,
    }
    let columns = usize::try_from(parameters.number("Columns").unwrap_or(1)).ok().filter(|columns| *columns > 0)?;
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    for row in bytes.chunks_exact(columns.checked_add(1)?) {
        let start = out.len();
        for (at, byte) in row[1..].iter().enumerate() {
            let left = if at == 0 { 0 } else { out[start + at - 1] };
            let above = if start == 0 { 0 } else { out[start + at - columns] };
            out.push(match row[0] {
                0 => *byte,
                1 => byte.wrapping_add(left),
                2 => byte.wrapping_add(above),
                _ => return None,
            });
        }
    }
    Some(out)
}
