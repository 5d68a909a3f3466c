//! Words as a reader means them: whatever their case, accents and ligatures.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Words of one query.
const WORDS: usize = 16;

/// The text in the form that is compared: compatibility characters replaced, marks stripped (but not the Japanese voicing
/// marks, which make other letters), small letters.
fn fold_into(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.extend(text.chars().map(|c| c.to_ascii_lowercase()));
        return;
    }
    let stripped = text.nfkd().filter(|c| !is_combining_mark(*c) || matches!(c, '\u{3099}' | '\u{309a}'));
    // Composed again, so that a Hangul syllable is not the start of another.
    for c in stripped.nfc().flat_map(char::to_lowercase) {
        match c {
            'ß' => out.push_str("ss"),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'ø' => out.push('o'),
            'ł' => out.push('l'),
            'đ' => out.push('d'),
            'ı' => out.push('i'),
            c => out.push(c),
        }
    }
}

/// Scripts that put no space between words: there a query is found anywhere.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// What is searched for: all words, each the start of a word of the text.
pub(super) struct Query {
    words: Vec<String>,
    /// Reused from text to text.
    folded: String,
}

impl Query {
    pub fn new(text: &str) -> Self {
        let mut folded = String::new();
        fold_into(text, &mut folded);
        let words = words(&folded).take(WORDS).map(str::to_owned).collect();
        Self { words, folded }
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether these texts together have all the words.
    pub fn matches(&mut self, texts: [&str; 3]) -> bool {
        self.folded.clear();
        for text in texts {
            fold_into(text, &mut self.folded);
            self.folded.push(' ');
        }
        let folded = &self.folded;
        self.words.iter().all(|wanted| match wanted.chars().next() {
            Some(first) if is_unspaced(first) => folded.contains(wanted.as_str()),
            _ => words(folded).any(|word| word.starts_with(wanted.as_str())),
        })
    }
}

fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_however_they_are_written() {
        for (query, text) in [
            ("emma", "Emma"),
            ("JANE emm", "Emma, by Jane Austen"),
            ("osterreich", "Österreich"),
            ("ÖSTERREICH", "o\u{308}sterreich"),
            ("strasse", "Straße"),
            ("lodz", "Łódź"),
            ("resume", "le résumé.pdf"),
            ("ﬁnance", "finance"),
            ("演义", "三国演义"),
            ("war peace", "war_and_peace.txt"),
            ("ΩΜΕΓΑ", "ωμέγα"),
            ("2nd", "The 2nd edition"),
        ] {
            assert!(Query::new(query).matches([text, "", ""]), "{query:?} in {text:?}");
        }
    }

    #[test]
    fn other_words_are_not_found() {
        for (query, text) in [("mma", "Emma"), ("emma bovary", "Emma"), ("か", "が"), ("가", "각"), ("x", "")] {
            assert!(!Query::new(query).matches([text, "", ""]), "{query:?} in {text:?}");
        }
        assert!(Query::new(" -- \u{301}").is_empty());
    }

    #[test]
    fn all_texts_count_together() {
        assert!(Query::new("emma austen epub").matches(["Emma", "Jane Austen", "books/emma.epub"]));
    }
}
