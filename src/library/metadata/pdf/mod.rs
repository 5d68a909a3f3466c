//! The information dictionary and the XMP of a PDF of any size (ISO 32000-1, section 14.3).
//!
//! The file's own tables lead to both. Where they are damaged, its beginning and its end are searched.

mod objects;
mod syntax;
mod table;
#[cfg(test)]
mod tests;

use std::fs::File;

use self::{
    objects::Objects,
    syntax::{Dictionary, Tokens, Value},
};
use super::{
    Raw,
    bytes::{find, rfind, text, window},
    dublin_core,
};

/// Bytes in which a PDF has its head.
const HEAD_BYTES: usize = 1024;
/// Bytes at the beginning and at the end that are searched.
const SEARCHED_BYTES: usize = 256 * 1024;
/// Objects that are looked at in a search, and the bytes of each.
const SEARCHED_OBJECTS: usize = 4096;
const SEARCHED_OBJECT_BYTES: usize = 8 * 1024;
/// What an information dictionary may have (table 317).
const INFO_KEYS: [&str; 8] =
    ["Title", "Author", "Subject", "Keywords", "Creator", "Producer", "CreationDate", "ModDate"];
/// Where what matters of XMP begins and ends.
const XMP_START: &[u8] = b"<rdf:RDF";
const XMP_END: &[u8] = b"</rdf:RDF";

pub(super) fn read(file: &File) -> Option<Raw> {
    find(&window(file, 0, HEAD_BYTES)?, b"%PDF-")?;
    match Objects::open(file) {
        // Its texts are encrypted, too.
        Some(objects) if objects.encrypted => None,
        Some(objects) => follow(&objects).or_else(|| search(file)),
        None => search(file),
    }
}

/// Nothing if the tables do not lead to the catalogue.
fn follow(objects: &Objects) -> Option<Raw> {
    let catalogue = objects.object(objects.root)?;
    let catalogue = Dictionary::read(&mut Tokens::new(&catalogue))?;
    catalogue.reference("Pages")?;
    let resolved = |value: Option<&Value>| match value {
        Some(Value::Reference(number)) => {
            let object = objects.object(*number);
            string(object.as_ref().and_then(|object| Tokens::new(object).value()).as_ref())
        }
        value => string(value),
    };
    let mut info = Raw { language: resolved(catalogue.value("Lang")), ..Raw::default() };
    if let Some(object) = objects.info.and_then(|number| objects.object(number))
        && let Some(dictionary) = Dictionary::read(&mut Tokens::new(&object))
    {
        info.title = resolved(dictionary.value("Title"));
        info.author = resolved(dictionary.value("Author"));
    }
    let xmp = catalogue.reference("Metadata").and_then(|number| objects.stream(number));
    Some(best(info, xmp.map(|bytes| read_xmp(&bytes)).unwrap_or_default()))
}

fn search(file: &File) -> Option<Raw> {
    let len = file.metadata().ok()?.len();
    let end_at = len.saturating_sub(SEARCHED_BYTES as u64).max(SEARCHED_BYTES as u64);
    // What was written last counts.
    let windows = [window(file, end_at, SEARCHED_BYTES)?, window(file, 0, SEARCHED_BYTES)?];
    if windows.iter().any(|bytes| find(bytes, b"/Encrypt").is_some()) {
        return None;
    }
    let info = windows.iter().find_map(|bytes| search_info(bytes)).unwrap_or_default();
    let xmp = windows.iter().find(|bytes| find(bytes, XMP_START).is_some());
    Some(best(info, xmp.map(|bytes| read_xmp(bytes)).unwrap_or_default()))
}

/// Reads the last XMP in these bytes.
fn read_xmp(bytes: &[u8]) -> Raw {
    let packet = &bytes[rfind(bytes, XMP_START).unwrap_or(0)..];
    let end = find(packet, XMP_END).unwrap_or(packet.len());
    dublin_core::read(&text(&packet[..end]))
}

/// The last object that looks like an information dictionary.
fn search_info(bytes: &[u8]) -> Option<Raw> {
    let objects = bytes.windows(4).enumerate().rev().filter(|(_, window)| *window == b" obj").take(SEARCHED_OBJECTS);
    objects.map(|(at, _)| &bytes[at + 4..]).find_map(|object| {
        let object = &object[..object.len().min(SEARCHED_OBJECT_BYTES)];
        let dictionary = Dictionary::read(&mut Tokens::new(object))?;
        let known = INFO_KEYS.iter().filter(|key| dictionary.value(key).is_some()).count();
        // Bookmarks have titles and parents.
        let is_info = known >= 2 && dictionary.value("Parent").is_none();
        is_info.then(|| Raw {
            title: string(dictionary.value("Title")),
            author: string(dictionary.value("Author")),
            language: String::new(),
        })
    })
}

fn string(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(bytes)) => text(bytes),
        _ => String::new(),
    }
}

/// Each from the information dictionary, or else from the XMP.
fn best(info: Raw, xmp: Raw) -> Raw {
    let either = |info: String, xmp: String| if info.trim().is_empty() { xmp } else { info };
    Raw {
        title: either(real_title(&info.title), real_title(&xmp.title)),
        author: either(info.author, xmp.author),
        language: either(info.language, xmp.language),
    }
}

/// The title, unless a program put the name of its own file or nothing at all there.
fn real_title(title: &str) -> String {
    let title = title.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let printed = ["Microsoft Word - ", "Microsoft PowerPoint - ", "Microsoft Excel - "];
    let title = printed.iter().find_map(|prefix| title.strip_prefix(prefix)).unwrap_or(title);
    let lower = title.to_ascii_lowercase();
    let file_name = lower.rsplit_once('.').is_some_and(|(_, extension)| {
        let extensions =
            "ai cdr doc docx dvi eps fm html indd md odp odt p65 pdf pmd ppt pptx ps qxd qxp rtf tex txt xls xlsx";
        extensions.split(' ').any(|known| known == extension)
    });
    let nothing = lower.starts_with("untitled") || !title.contains(char::is_alphanumeric);
    if file_name || nothing { String::new() } else { title.to_owned() }
}
