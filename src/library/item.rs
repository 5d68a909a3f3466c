//! One title of a collection, as its publisher signed it.

use serde::{Deserialize, Serialize};

use crate::{content::ContentId, limits::library, wire::Text};

/// One title in a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Where it stands in the collection: relative, `/` between components, none of them empty, `.` or `..`. Unique in
    /// the collection, whose items are sorted by the bytes of their paths.
    pub path: Text<{ library::PATH_BYTES }>,
    /// Its bytes.
    pub id: ContentId,
    /// How many they are.
    pub size: u64,
    /// What it is called; empty if unknown.
    pub title: Text<{ library::TITLE_BYTES }>,
    /// Who made it; empty if unknown.
    pub author: Text<{ library::TITLE_BYTES }>,
    /// RFC 5646 tag of its language; empty if unknown.
    pub language: Text<{ library::LANGUAGE_BYTES }>,
}

impl Item {
    /// The last component of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// What to call it in a list: the title, else the file name.
    pub fn label(&self) -> &str {
        if self.title.is_empty() { self.file_name() } else { &self.title }
    }
}

/// Whether a collection may list an item under this path.
pub(super) fn is_item_path(path: &str) -> bool {
    path.len() <= library::PATH_BYTES
        && path.split('/').all(|component| !matches!(component, "" | "." | ".."))
        && !path.chars().any(char::is_control)
}

#[cfg(test)]
pub(super) fn sample(path: &str, content: &[u8]) -> Item {
    Item {
        path: Text::new(path).expect("a sample path"),
        id: ContentId::of(content),
        size: content.len() as u64,
        title: Text::cut(""),
        author: Text::cut(""),
        language: Text::cut(""),
    }
}
