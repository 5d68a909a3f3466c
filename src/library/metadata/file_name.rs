//! "Author - Title (1999).ext" and what else people make of file names.

use super::Raw;

/// What a file name tells.
pub(super) fn read(name: &str) -> Raw {
    let stem = match name.rsplit_once('.') {
        Some((stem, extension))
            if !stem.is_empty()
                && (1..=8).contains(&extension.len())
                && extension.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            stem
        }
        _ => name,
    };
    let spaced = stem.replace('_', " ");
    let spaced = without_year(spaced.trim());
    let (author, title) = match spaced.split_once(" - ") {
        // "01 - Title" is a number, not an author.
        Some((number, title)) if number.chars().all(|c| !c.is_alphabetic()) => ("", title),
        Some((author, title)) => (author, title),
        None => ("", spaced),
    };
    let title = if title.trim().is_empty() { spaced } else { title };
    Raw { title: title.trim().to_owned(), author: author.trim().to_owned(), language: String::new() }
}

/// The text without a year in brackets at its end.
fn without_year(text: &str) -> &str {
    let bracketed = |open: char, close: char| {
        let (before, year) = text.strip_suffix(close)?.rsplit_once(open)?;
        (year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) && !before.trim().is_empty())
            .then_some(before.trim())
    };
    bracketed('(', ')').or_else(|| bracketed('[', ']')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_author_and_title() {
        for (name, author, title) in [
            ("Jane Austen - Emma.epub", "Jane Austen", "Emma"),
            ("Jane_Austen_-_Emma_(1815).epub", "Jane Austen", "Emma"),
            ("Emma [1815].txt", "", "Emma"),
            ("01 - Introduction.mp4", "", "Introduction"),
            ("1984.epub", "", "1984"),
            ("(1984).epub", "", "(1984)"),
            ("Vol. 2", "", "Vol. 2"),
            ("README", "", "README"),
            ("A - B - C.pdf", "A", "B - C"),
            ("Ωμέγα.pdf", "", "Ωμέγα"),
            ("Ann - .pdf", "", "Ann -"),
            ("", "", ""),
        ] {
            let raw = read(name);
            assert_eq!((raw.author.as_str(), raw.title.as_str()), (author, title), "{name}");
        }
    }
}
