//! Title, author and language of a file, as well as the file itself or its name tells them.
//!
//! It may use the ground and the parsers of the formats, and must never know collections or the store. Nothing here fails:
//! a damaged file is known by its name. One file is looked at at a time, and no more of it than is bounded here.

mod bytes;
mod dublin_core;
mod epub;
mod file_name;
mod html;
mod pdf;
mod zip;

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use crate::{limits::library, wire::Text};

/// What is known of a file; empty texts for what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub title: Text<{ library::TITLE_BYTES }>,
    pub author: Text<{ library::TITLE_BYTES }>,
    pub language: Text<{ library::LANGUAGE_BYTES }>,
}

/// What a format says, before it is cleaned.
#[derive(Default)]
struct Raw {
    title: String,
    author: String,
    language: String,
}

/// Looks into the file at `path`, whose name for people is `name`.
pub(super) fn read(path: &Path, name: &str) -> Metadata {
    let extension = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let parse: fn(&File) -> Option<Raw> = match extension.as_str() {
        "epub" => epub::read,
        "pdf" => pdf::read,
        "html" | "htm" | "xhtml" => html::read,
        _ => |_| None,
    };
    // The parsers are other people's code on other people's bytes.
    let inside = File::open(path).ok().and_then(|file| catch_unwind(AssertUnwindSafe(|| parse(&file))).ok().flatten());
    let inside = inside.unwrap_or_default();
    let mut metadata = Metadata {
        title: clean(&inside.title),
        author: clean(&inside.author),
        language: language_tag(&inside.language),
    };
    if metadata.title.is_empty() {
        let named = file_name::read(name);
        metadata.title = clean(&named.title);
        if metadata.author.is_empty() {
            metadata.author = clean(&named.author);
        }
    }
    metadata
}

/// One line of printable text: white space runs are one space, what turns the reading direction is gone.
pub(super) fn clean(text: &str) -> Text<{ library::TITLE_BYTES }> {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    let line: String =
        line.chars().filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')).collect();
    Text::cut(line.trim())
}

/// The tag, if it has the form of one (RFC 5646, section 2.1).
pub(super) fn language_tag(text: &str) -> Text<{ library::LANGUAGE_BYTES }> {
    let tag = text.trim();
    let plausible =
        tag.split('-').all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
            && tag.split('-').next().is_some_and(|part| part.len() >= 2);
    if plausible { Text::cut(tag) } else { Text::default() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(name: &str, content: &[u8]) -> (String, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let metadata = read(&path, name);
        (metadata.title.into_string(), metadata.author.into_string(), metadata.language.into_string())
    }

    fn expect(title: &str, author: &str, language: &str) -> (String, String, String) {
        (title.into(), author.into(), language.into())
    }

    const PDF: &str = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n\
        3 0 obj<</Title(A Short  History)/Author(Ann Writer)>>endobj\n";

    fn pdf() -> Vec<u8> {
        let mut bytes = PDF.as_bytes().to_vec();
        let at = |what: &str| PDF.find(what).unwrap();
        let xref = bytes.len();
        let offsets = [at("1 0 obj"), at("2 0 obj"), at("3 0 obj")];
        let lines: String = offsets.iter().map(|offset| format!("{offset:010} 00000 n \n")).collect();
        bytes.extend_from_slice(format!("xref\n0 4\n0000000000 65535 f \n{lines}").as_bytes());
        bytes.extend_from_slice(
            format!("trailer<</Size 4/Root 1 0 R/Info 3 0 R>>\nstartxref\n{xref}\n%%EOF").as_bytes(),
        );
        bytes
    }

    #[test]
    fn a_pdf_says_what_it_is() {
        assert_eq!(of("x.pdf", &pdf()), expect("A Short History", "Ann Writer", ""));
    }

    #[test]
    fn an_epub_says_what_it_is() {
        let book = epub::tests::book(
            "<dc:title>三国演义</dc:title><dc:creator>罗贯中</dc:creator><dc:language>zh</dc:language>",
        );
        assert_eq!(of("x.epub", &book), expect("三国演义", "罗贯中", "zh"));
    }

    #[test]
    fn a_web_page_says_what_it_is() {
        let page = b"<!doctype html><html lang=\"de-CH\"><head><TITLE>\n Bl&auml;tter &amp; &#65; B\xc3\xa4ume</title>";
        assert_eq!(of("x.html", page), expect("Bl&auml;tter & A Bäume", "", "de-CH"));
    }

    #[test]
    fn damaged_files_are_known_by_their_names() {
        let whole = pdf();
        for content in [&b""[..], b"%PDF-1.4", &whole[..60], &[0xff; 1000]] {
            assert_eq!(of("Ann_Writer_-_A_Book.pdf", content), expect("A Book", "Ann Writer", ""));
            assert_eq!(of("Ann_Writer_-_A_Book.epub", content), expect("A Book", "Ann Writer", ""));
            assert_eq!(of("Ann_Writer_-_A_Book.html", content), expect("A Book", "Ann Writer", ""));
        }
    }

    #[test]
    fn hostile_titles_are_cut_and_cleaned() {
        assert_eq!(&*clean(" a\u{202e}b\n\tc\0d  "), "ab c d");
        assert_eq!(clean(&"é".repeat(1000)).len(), library::TITLE_BYTES);
        assert_eq!(&*language_tag("<script>"), "");
        assert_eq!(&*language_tag("en-US"), "en-US");
    }
}
