//! What kind of file it is, by the ending of its name.

use std::borrow::Cow;

/// What a browser does with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Shows it as a page of its own.
    Read,
    /// Shows it within a page.
    Picture,
    /// Plays it.
    Audio,
    /// Plays it.
    Video,
    /// Hands it to some other program.
    Save,
}

/// What is known of a file by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The value of `Content-Type`.
    pub content_type: Cow<'static, str>,
    /// A short name for people: "PDF".
    pub label: String,
    /// What to offer.
    pub usage: Use,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Types that the table of `mime_guess` lacks, or has otherwise than browsers and e-readers want them. Pages say themselves
/// how they are encoded, so nothing is said for them; plain text can't, and is UTF-8 these days.
const TYPES: &[(&str, &str)] = &[
    ("azw3", "application/vnd.amazon.ebook"),
    ("cbr", "application/vnd.comicbook-rar"),
    ("cbz", "application/vnd.comicbook+zip"),
    ("djvu", "image/vnd.djvu"),
    ("epub", "application/epub+zip"),
    ("fb2", "application/x-fictionbook+xml"),
    ("flac", "audio/flac"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("mobi", "application/x-mobipocket-ebook"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg; codecs=opus"),
    ("svgz", "application/gzip"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("xhtml", "application/xhtml+xml"),
    ("zim", "application/x-zim"),
];

/// Endings of plain text, beside what is `text/plain` anyway.
const TEXTS: &[&str] = &[
    "adoc", "c", "cfg", "conf", "cpp", "csv", "diff", "go", "h", "ini", "java", "json", "log", "md", "patch", "pl",
    "py", "rs", "rst", "sh", "sql", "tex", "toml", "tsv", "txt", "yaml", "yml",
];

/// Names of plain text that go without an ending.
const TEXT_NAMES: &[&str] = &[
    "authors",
    "changelog",
    "changes",
    "contributors",
    "copying",
    "copyright",
    "faq",
    "install",
    "license",
    "news",
    "notice",
    "readme",
    "thanks",
    "todo",
];

/// What the file with this path is.
pub fn of(path: &str) -> Media {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let (stem, ending) = name.rsplit_once('.').unwrap_or((&name, ""));
    let content_type = content_type(stem, ending);
    let is_label = !ending.is_empty() && ending.len() <= 5 && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let usage = usage(&content_type);
    let label = match usage {
        _ if is_label => ending.to_ascii_uppercase(),
        Use::Read => "TEXT".to_owned(),
        _ => "FILE".to_owned(),
    };
    Media { content_type, label, usage }
}

fn content_type(stem: &str, ending: &str) -> Cow<'static, str> {
    if let Ok(at) = TYPES.binary_search_by_key(&ending, |(ending, _)| ending) {
        return TYPES[at].1.into();
    }
    if TEXTS.contains(&ending) || ending.is_empty() && TEXT_NAMES.contains(&stem) {
        return TEXT.into();
    }
    match mime_guess::from_ext(ending).first_raw() {
        Some("text/plain") => TEXT.into(),
        Some(known) => known.into(),
        None => "application/octet-stream".into(),
    }
}

fn usage(content_type: &str) -> Use {
    match content_type {
        TEXT | "text/html" | "application/xhtml+xml" | "application/pdf" => Use::Read,
        "image/svg+xml" | "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "image/avif" | "image/bmp" => {
            Use::Picture
        }
        "audio/ogg; codecs=opus"
        | "audio/ogg"
        | "audio/mpeg"
        | "audio/mp4"
        | "audio/aac"
        | "audio/flac"
        | "audio/wav" => Use::Audio,
        "video/mp4" | "video/webm" | "video/ogg" => Use::Video,
        _ => Use::Save,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(TYPES.is_sorted());
    }

    #[test]
    fn types() {
        for (path, content_type, label, usage) in [
            ("a/Book.EPUB", "application/epub+zip", "EPUB", Use::Save),
            ("wikipedia.zim", "application/x-zim", "ZIM", Use::Save),
            ("x.mobi", "application/x-mobipocket-ebook", "MOBI", Use::Save),
            ("x.azw3", "application/vnd.amazon.ebook", "AZW3", Use::Save),
            ("song.opus", "audio/ogg; codecs=opus", "OPUS", Use::Audio),
            ("song.mp3", "audio/mpeg", "MP3", Use::Audio),
            ("film.webm", "video/webm", "WEBM", Use::Video),
            ("film.ogv", "video/ogg", "OGV", Use::Video),
            ("film.mp4", "video/mp4", "MP4", Use::Video),
            ("film.vtt", "text/vtt; charset=utf-8", "VTT", Use::Save),
            ("index.html", "text/html", "HTML", Use::Read),
            ("style.css", "text/css", "CSS", Use::Save),
            ("x.png", "image/png", "PNG", Use::Picture),
            ("x.pdf", "application/pdf", "PDF", Use::Read),
            ("notes.md", TEXT, "MD", Use::Read),
            ("doc/README", TEXT, "TEXT", Use::Read),
            ("x.txt", TEXT, "TXT", Use::Read),
            ("changelog.gz", "application/gzip", "GZ", Use::Save),
            ("dir.html/program", "application/octet-stream", "FILE", Use::Save),
            ("x.<b>", "application/octet-stream", "FILE", Use::Save),
            ("", "application/octet-stream", "FILE", Use::Save),
        ] {
            assert_eq!(of(path), Media { content_type: content_type.into(), label: label.into(), usage }, "{path}");
        }
    }
}
