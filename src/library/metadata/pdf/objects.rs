//! Finds the objects of a PDF by number, and unpacks their streams (ISO 32000-1, sections 7.3.8 and 7.5).

use std::fs::File;

use super::{
    super::bytes::{inflate_zlib, rfind, window},
    syntax::{Dictionary, Tokens, Value},
    table::{self, Place},
};

/// Bytes of an object that are looked at, without its stream.
const OBJECT_BYTES: usize = 64 * 1024;
/// Bytes of a packed stream.
const STREAM_BYTES: usize = 512 * 1024;
/// Bytes at the end of the file in which the newest table is named.
const END_BYTES: usize = 2048;
/// Tables of one file: it has one for each time that it was changed.
const TABLES: usize = 16;

/// An object behind its `obj`, and where that is in the file.
struct Object {
    at: u64,
    bytes: Vec<u8>,
}

/// The tables of a file, and what they say of the whole.
pub(super) struct Objects<'f> {
    file: &'f File,
    /// Where the tables are, newest first.
    tables: Vec<u64>,
    /// The number of the catalogue.
    pub root: u64,
    /// The number of the information dictionary.
    pub info: Option<u64>,
    pub encrypted: bool,
}

impl<'f> Objects<'f> {
    pub fn open(file: &'f File) -> Option<Self> {
        let len = file.metadata().ok()?.len();
        let end = window(file, len.saturating_sub(END_BYTES as u64), END_BYTES)?;
        let start = rfind(&end, b"startxref")? + b"startxref".len();
        let mut ahead = vec![Tokens::new(&end[start..]).number()?];
        let (mut tables, mut root, mut info, mut encrypted) = (Vec::new(), None, None, false);
        while let Some(at) = ahead.pop().filter(|_| tables.len() < TABLES) {
            if tables.contains(&at) {
                continue;
            }
            tables.push(at);
            let bytes = match table::trailer_at(file, at) {
                Some(at) => window(file, at, OBJECT_BYTES)?,
                None => object_at(file, at, None)?.bytes,
            };
            let trailer = Dictionary::read(&mut Tokens::new(&bytes))?;
            root = root.or_else(|| trailer.reference("Root"));
            info = info.or_else(|| trailer.reference("Info"));
            encrypted |= trailer.value("Encrypt").is_some();
            ahead.extend(trailer.number("Prev"));
            // Looked at before the older tables (section 7.5.8.4).
            ahead.extend(trailer.number("XRefStm"));
        }
        Some(Self { file, tables, root: root?, info, encrypted })
    }

    /// The bytes of the object of this number, behind its `obj`.
    pub fn object(&self, number: u64) -> Option<Vec<u8>> {
        let stream = match self.place(number)? {
            Place::At(at) => return Some(object_at(self.file, at, Some(number))?.bytes),
            Place::Within(stream) => self.outer(stream)?,
        };
        let first = Dictionary::read(&mut Tokens::new(&stream.bytes))?.number("First")?;
        let mut content = unpack(self.file, &stream)?;
        let mut pairs = Tokens::new(&content);
        let offset = loop {
            let (found, offset) = (pairs.number()?, pairs.number()?);
            if found == number {
                break offset;
            }
        };
        let start = usize::try_from(first.checked_add(offset)?).ok().filter(|start| *start <= content.len())?;
        content.drain(..start);
        content.truncate(OBJECT_BYTES);
        Some(content)
    }

    /// The unpacked stream of the object of this number.
    pub fn stream(&self, number: u64) -> Option<Vec<u8>> {
        unpack(self.file, &self.outer(number)?)
    }

    /// An object that has a stream, and so is in none.
    fn outer(&self, number: u64) -> Option<Object> {
        match self.place(number)? {
            Place::At(at) => object_at(self.file, at, Some(number)),
            Place::Within(_) => None,
        }
    }

    fn place(&self, number: u64) -> Option<Place> {
        self.tables.iter().find_map(|at| match table::parts(self.file, *at) {
            Some(parts) => table::place_in_parts(self.file, &parts, number),
            None => {
                let object = object_at(self.file, *at, None)?;
                let rows = unpack(self.file, &object)?;
                table::place_in_rows(&Dictionary::read(&mut Tokens::new(&object.bytes))?, &rows, number)
            }
        })
    }
}

/// The object at this place, which must have this number.
fn object_at(file: &File, at: u64, number: Option<u64>) -> Option<Object> {
    let mut bytes = window(file, at, OBJECT_BYTES)?;
    let mut tokens = Tokens::new(&bytes);
    let found = tokens.number()?;
    if number.is_some_and(|number| number != found) || tokens.number().is_none() || !tokens.is(b"obj") {
        return None;
    }
    let head = bytes.len() - tokens.rest().len();
    bytes.drain(..head);
    Some(Object { at: at + head as u64, bytes })
}

/// The beginning of the object's stream, if it is packed in the one way that everyone uses or not at all.
fn unpack(file: &File, object: &Object) -> Option<Vec<u8>> {
    let mut tokens = Tokens::new(&object.bytes);
    let dictionary = Dictionary::read(&mut tokens)?;
    if !tokens.is(b"stream") {
        return None;
    }
    let content = tokens.rest();
    let content = content.strip_prefix(b"\r").unwrap_or(content);
    let content = content.strip_prefix(b"\n").unwrap_or(content);
    let at = object.at + (object.bytes.len() - content.len()) as u64;
    // A length that is an object of its own is not needed: what is packed knows its end, and so does XML.
    let len = dictionary.number("Length").and_then(|len| len.try_into().ok()).unwrap_or(STREAM_BYTES);
    let content = window(file, at, len.min(STREAM_BYTES))?;
    let filter = match dictionary.value("Filter") {
        None => return Some(content),
        Some(Value::Array(inside)) => only(inside)?,
        Some(filter) => filter.clone(),
    };
    if filter != Value::Name(b"FlateDecode") {
        return None;
    }
    let parameters = match dictionary.value("DecodeParms") {
        Some(Value::Array(inside)) => only(inside)?,
        Some(parameters) => parameters.clone(),
        None => Value::Other,
    };
    let unpacked = inflate_zlib(&content);
    match parameters {
        Value::Dictionary(inside) => table::unpredicted(unpacked, &Dictionary::read_inside(&mut Tokens::new(inside))?),
        _ => Some(unpacked),
    }
}

/// The value that is alone in an array.
fn only(inside: &[u8]) -> Option<Value<'_>> {
    let mut tokens = Tokens::new(inside);
    let value = tokens.value()?;
    tokens.value().is_none().then_some(value)
}
