//! What the owner says of an item: its words go over those of the file as long as the item is listed, whatever becomes of the
//! file.

use serde::{Deserialize, Serialize};

use super::{
    Library, LibraryError, Summary,
    apply::Own,
    item::Item,
    metadata::{self, clean, language_tag},
    state::Notes,
};
use crate::{content::CollectionKey, limits::library, wire::Text};

/// Words for an item. What is none is not spoken of; an empty text takes back what was said before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// What it is called.
    pub title: Option<Text<{ library::TITLE_BYTES }>>,
    /// Who made it.
    pub author: Option<Text<{ library::TITLE_BYTES }>>,
    /// RFC 5646 tag of its language.
    pub language: Option<Text<{ library::LANGUAGE_BYTES }>>,
}

impl Words {
    /// As typed. Fails if one is too long, or is no word at all, or if the language has not the form of a tag.
    pub fn new(title: Option<&str>, author: Option<&str>, language: Option<&str>) -> Result<Self, LibraryError> {
        let line = |what, text: Option<&str>| text.map(|text| line(what, text)).transpose();
        let tag = |text: &str| match language_tag(text) {
            tag if tag.is_empty() && !text.trim().is_empty() || text.len() > library::LANGUAGE_BYTES => {
                Err(LibraryError::Language(text.to_owned()))
            }
            tag => Ok(tag),
        };
        let language = language.map(tag).transpose()?;
        Ok(Self { title: line("title", title)?, author: line("author", author)?, language })
    }

    fn add(&mut self, newer: Self) {
        let Self { title, author, language } = newer;
        self.title = title.or(self.title.take());
        self.author = author.or(self.author.take());
        self.language = language.or(self.language.take());
    }

    /// Without what was taken back.
    fn settled(&self) -> Self {
        let Self { title, author, language } = self.clone();
        let (title, author) = (title.filter(|it| !it.is_empty()), author.filter(|it| !it.is_empty()));
        Self { title, author, language: language.filter(|it| !it.is_empty()) }
    }

    /// The item with these words in the place of its own.
    fn over(self, mut item: Item) -> Item {
        item.title = self.title.unwrap_or(item.title);
        item.author = self.author.unwrap_or(item.author);
        item.language = self.language.unwrap_or(item.language);
        item
    }
}

fn line(what: &'static str, text: &str) -> Result<Text<{ library::TITLE_BYTES }>, LibraryError> {
    let cleaned = clean(text);
    match text.len() > library::TITLE_BYTES || cleaned.is_empty() && !text.trim().is_empty() {
        true => Err(LibraryError::Word { what, text: text.to_owned() }),
        false => Ok(cleaned),
    }
}

/// The item with what its owner said of it.
pub(super) fn as_said(notes: &Notes, item: Item) -> Item {
    match notes.words().get(&*item.path) {
        Some(words) => words.settled().over(item),
        None => item,
    }
}

impl Library {
    /// Has the owner's words for an item of this node's own in a new version, and remembers them for its later editions.
    /// Durable when it returns; cut short, or failed on the way, it is completed at the next start, or did not begin.
    pub fn edit(&self, key: &CollectionKey, path: &str, words: Words) -> Result<Summary, LibraryError> {
        let summary = self.summary(key).ok_or(LibraryError::NoCollection)?;
        if !summary.mine {
            return Err(LibraryError::NotMine(summary.name));
        }
        let mut manifest = self.manifest(key)?.ok_or(LibraryError::NoCollection)?;
        let item = manifest.item(path)?.ok_or(LibraryError::NoItem)?;
        if words.settled() != words {
            // Before anything is written down: it may be on a disk that is away.
            self.as_file_says(item)?;
        }
        self.count_work(key, true);
        self.note(key, |notes| {
            notes.record_mut().unfinished = true;
            notes.words_mut().entry(path.to_owned()).or_default().add(words);
        })?;
        let summary = self.publish_words(key, path)?;
        self.set_unfinished(key, false)?;
        Ok(summary)
    }

    /// Completes what was cut short of edits, and forgets the words for what is not listed any more.
    pub(super) fn finish_edits(&self, key: &CollectionKey) -> Result<(), LibraryError> {
        let (notes, mut gone) = (self.notes(key)?, Vec::new());
        for path in notes.words().keys() {
            match self.publish_words(key, path) {
                Ok(_) => {}
                Err(LibraryError::NoItem) => gone.push(&**path),
                Err(error) => log::warn!("{path:?} is not listed as its owner said: {error}"),
            }
        }
        self.forget_words(key, gone.into_iter())
    }

    /// Forgets the owner's words for items that are listed no more.
    pub(super) fn forget_words<'a>(
        &self,
        key: &CollectionKey,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<(), LibraryError> {
        self.note(key, |notes| paths.for_each(|path| _ = notes.words_mut().remove(path)))
    }

    /// Publishes a version in which the item of this path is as its owner said, unless it is.
    fn publish_words(&self, key: &CollectionKey, path: &str) -> Result<Summary, LibraryError> {
        let summary = self.summary(key).ok_or(LibraryError::NoCollection)?;
        let item = self.manifest(key)?.map(|mut manifest| manifest.item(path)).transpose()?.flatten();
        let item = item.ok_or(LibraryError::NoItem)?;
        let words = self.notes(key)?.words().get(path).cloned().unwrap_or_default();
        let settled = words.settled();
        // What was taken back makes place for what the file says of itself.
        let item = if settled == words { item } else { self.as_file_says(item)? };
        let own = Own { key: *key, name: Text::cut(&summary.name), folder: summary.folder };
        let summary = self.publish(&own, &[(path.to_owned(), Some(item))].into(), &mut |_| true)?;
        self.note(key, |notes| {
            let words = notes.words_mut();
            words.insert(path.to_owned(), settled);
            words.retain(|_, words| *words != Words::default());
        })?;
        Ok(summary)
    }

    /// The item with the title, author and language that its file tells.
    fn as_file_says(&self, item: Item) -> Result<Item, LibraryError> {
        let paths = self.store().info(&item.id)?.map(|info| info.paths).unwrap_or_default();
        let path = paths.iter().find(|path| path.is_file()).ok_or(LibraryError::NoFile(item.path.to_string()))?;
        let metadata::Metadata { title, author, language } = metadata::read(path, item.file_name());
        Ok(Item { title, author, language, ..item })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::library::{
        AddRequest, Remove,
        tests::{Node, folder, go_on, request},
    };

    fn words(title: Option<&str>, author: Option<&str>, language: Option<&str>) -> Words {
        Words::new(title, author, language).unwrap()
    }

    fn page(title: &str) -> String {
        format!("<html lang=\"en\"><title>{title}</title>")
    }

    fn item(node: &Node, key: &CollectionKey) -> [String; 3] {
        let Item { title, author, language, .. } = node.library.item(key, "a.html").unwrap().unwrap().item;
        [title.into_string(), author.into_string(), language.into_string()]
    }

    #[test]
    fn what_the_owner_says_stays_whatever_becomes_of_the_file() {
        let node = Node::new(1);
        let books = folder(node.folder.path(), "Books", &[("a.html", &page("One")), ("b.txt", "b")]);
        let key = node.add(&books).collection.key;
        assert_eq!(item(&node, &key), ["One", "", "en"]);
        let edited = node.library.edit(&key, "a.html", words(Some(" Emma "), Some("Jane Austen"), None)).unwrap();
        assert_eq!((edited.version, edited.items), (2, 2));
        assert_eq!(item(&node, &key), ["Emma", "Jane Austen", "en"]);
        assert_eq!(node.library.search("austen", None, 0, 10).unwrap().total, 1);
        // The same again is no new version.
        assert_eq!(node.library.edit(&key, "a.html", words(Some("Emma"), None, None)).unwrap().version, 2);
        let node = node.restart();
        fs::write(books.join("a.html"), page("Two").replace("en", "de")).unwrap();
        assert_eq!(node.add(&books).collection.version, 3);
        assert_eq!(item(&node, &key), ["Emma", "Jane Austen", "de"]);
        // An empty text takes it back.
        node.library.edit(&key, "a.html", words(Some(""), None, Some("fr"))).unwrap();
        assert_eq!(item(&node, &key), ["Two", "Jane Austen", "fr"]);
        node.library.edit(&key, "a.html", words(None, Some(""), Some(""))).unwrap();
        assert_eq!(item(&node, &key), ["Two", "", "de"]);
        assert!(node.library.notes(&key).unwrap().words().is_empty());
    }

    #[test]
    fn what_is_removed_is_spoken_of_no_more() {
        let node = Node::new(1);
        let books = folder(node.folder.path(), "Books", &[("a.html", &page("One")), ("b.txt", "b")]);
        let key = node.add(&books).collection.key;
        let edit = || node.library.edit(&key, "a.html", words(Some("Emma"), None, None)).unwrap();
        edit();
        node.library.remove(&key, &Remove::Path("a.html".into())).unwrap();
        node.add(&books);
        assert_eq!(item(&node, &key)[0], "One");
        edit();
        fs::rename(books.join("a.html"), node.folder.path().join("a.html")).unwrap();
        assert_eq!(node.add(&books).removed, 1);
        fs::rename(node.folder.path().join("a.html"), books.join("a.html")).unwrap();
        node.add(&books);
        assert_eq!(item(&node, &key)[0], "One");
    }

    #[test]
    fn an_edit_that_was_cut_short_is_completed() {
        let node = Node::new(1);
        let books = folder(node.folder.path(), "Books", &[("a.html", &page("One"))]);
        let copy = AddRequest { copy: true, ..request(&books) };
        let key = node.library.add(&copy, &mut go_on).unwrap().collection.key;
        node.library.edit(&key, "a.html", words(None, Some("Ann"), None)).unwrap();
        let said = words(Some("Emma"), Some(""), None);
        let cut_short = |notes: &mut Notes| {
            notes.record_mut().unfinished = true;
            notes.words_mut().get_mut("a.html").unwrap().add(said);
            // As if a removal had been cut short too.
            notes.words_mut().insert("gone".into(), words(Some("x"), None, None));
        };
        node.library.note(&key, cut_short).unwrap();
        let node = node.restart();
        assert_eq!(item(&node, &key), ["One", "Ann", "en"]);
        node.library.sweep().unwrap();
        assert_eq!(item(&node, &key), ["Emma", "", "en"]);
        let notes = node.library.notes(&key).unwrap();
        assert!(!notes.record().unfinished);
        assert_eq!(notes.words(), &[("a.html".to_owned(), words(Some("Emma"), None, None))].into());
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let node = Node::new(1);
        let books = folder(node.folder.path(), "Books", &[("a.html", &page("One"))]);
        let key = node.add(&books).collection.key;
        let said = words(Some("Emma"), None, None);
        assert!(matches!(node.library.edit(&key, "b", said.clone()), Err(LibraryError::NoItem)));
        let unknown = CollectionKey { id: crate::content::CollectionId([9; 16]), ..key };
        assert!(matches!(node.library.edit(&unknown, "a.html", said), Err(LibraryError::NoCollection)));
        fs::remove_file(books.join("a.html")).unwrap();
        let back = node.library.edit(&key, "a.html", words(Some(""), None, None));
        assert!(matches!(back, Err(LibraryError::NoFile(_))), "{back:?}");
        assert!(node.library.notes(&key).unwrap().words().is_empty());
        let long = "x".repeat(library::TITLE_BYTES + 1);
        for title in [&long, "\u{202e}", "\0"] {
            assert!(matches!(Words::new(Some(title), None, None), Err(LibraryError::Word { what: "title", .. })));
            assert!(matches!(Words::new(None, Some(title), None), Err(LibraryError::Word { what: "author", .. })));
        }
        for tag in ["e", "en_US", "english language", &"en-".repeat(20)] {
            assert!(matches!(Words::new(None, None, Some(tag)), Err(LibraryError::Language(_))), "{tag}");
        }
        assert_eq!(words(Some(" A\n book "), None, Some("")), words(Some("A book"), None, Some(" ")));
    }
}
