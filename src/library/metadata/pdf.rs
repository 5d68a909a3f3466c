//! The information dictionary of a PDF (ISO 32000-1, section 14.3.3).

use std::{
    fs::File,
    io::{Read, Seek},
};

use lopdf::Document;

use super::Raw;

/// Bytes of the longest file that is looked into: the parser wants all of it in memory.
const PDF_BYTES: u64 = 8 * 1024 * 1024;

pub(super) fn read(mut file: File) -> Option<Raw> {
    if file.metadata().ok()?.len() > PDF_BYTES {
        return None;
    }
    // The parser searches all of a file for its head; a PDF has it in its first bytes.
    let mut head = [0; 1024];
    let len = file.read(&mut head).ok()?;
    if !head[..len].windows(5).any(|window| window == b"%PDF-") {
        return None;
    }
    file.rewind().ok()?;
    let metadata = Document::load_metadata_from(file.take(PDF_BYTES)).ok()?;
    Some(Raw {
        title: metadata.title.filter(|title| !is_file_name(title)).unwrap_or_default(),
        author: metadata.author.unwrap_or_default(),
        language: String::new(),
    })
}

/// Programs that print to PDF put the name of their own file where the title belongs.
fn is_file_name(title: &str) -> bool {
    let lower = title.to_ascii_lowercase();
    lower.starts_with("microsoft word")
        || lower.starts_with("untitled")
        || [".doc", ".docx", ".odt", ".dvi", ".tex", ".indd", ".qxd", ".rtf", ".pdf", ".ps"]
            .iter()
            .any(|extension| lower.ends_with(extension))
}
