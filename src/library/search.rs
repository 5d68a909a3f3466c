//! Search over all that is listed.

use super::{Library, LibraryError, SearchPage, catalogue::Hit, words::Query};
use crate::content::CollectionKey;

impl Library {
    /// The items that have all the words, each the start of a word in title, author or path, in any case and accent:
    /// at most `limit` from number `offset` on. No words find nothing.
    pub fn search(
        &self,
        words: &str,
        within: Option<&CollectionKey>,
        offset: u64,
        limit: usize,
    ) -> Result<SearchPage, LibraryError> {
        let mut query = Query::new(words);
        let mut page = SearchPage { hits: Vec::new(), total: 0 };
        if query.is_empty() {
            return Ok(page);
        }
        let collections = self.collections().into_iter().filter(|summary| within.is_none_or(|key| *key == summary.key));
        for summary in collections {
            for found in self.all_items(&summary.key)? {
                let (item, offered) = found?;
                if query.matches([&item.title, &item.author, &item.path]) {
                    if page.total >= offset && page.hits.len() < limit {
                        let entry = self.entry(item, offered)?;
                        page.hits.push(Hit { collection: summary.key, folder: summary.folder.clone(), entry });
                    }
                    page.total += 1;
                }
            }
        }
        Ok(page)
    }
}
