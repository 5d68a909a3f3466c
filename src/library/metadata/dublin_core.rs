//! Dublin Core elements in XML: the package file of an EPUB has them bare, XMP has lists of them (ISO 16684-1).

use quick_xml::{Reader, XmlVersion, events::Event};

use super::{Raw, html};

/// Names of authors that are joined; the rest are "et al.".
const AUTHORS: usize = 3;

/// Reads until the end or the first fault.
pub(super) fn read(xml: &str) -> Raw {
    let mut found = Found::default();
    let mut reader = Reader::from_str(xml);
    reader.config_mut().allow_dangling_amp = true;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => found.open(start.name().as_ref()),
            Ok(Event::End(end)) => found.close(end.name().as_ref()),
            Ok(Event::Text(text)) => found.text.push_str(&text),
            Ok(Event::CData(text)) => found.text.push_str(&text),
            Ok(Event::GeneralRef(name)) => found.text.extend(html::character(&name)),
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    found.finish()
}

/// The value of the attribute `attribute` of the first element `element`, whatever its namespace.
pub(super) fn attribute(xml: &str, element: &str, attribute: &str) -> Option<String> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) if start.local_name().as_ref() == element => {
                let value = start.try_get_attribute(attribute).ok()??;
                return Some(value.normalized_value(XmlVersion::default()).ok()?.into_owned());
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Field {
    #[default]
    None,
    Title,
    Creator,
    Language,
}

#[derive(Default)]
struct Found {
    /// The element that we are in.
    field: Field,
    /// Its text since the last tag that matters.
    text: String,
    title: String,
    authors: Vec<String>,
    language: String,
}

impl Found {
    fn open(&mut self, name: &str) {
        let field = field(name);
        if field != Field::None {
            self.field = field;
        }
        if holds_value(name) {
            self.text.clear();
        }
    }

    fn close(&mut self, name: &str) {
        if !holds_value(name) {
            return;
        }
        let text = std::mem::take(&mut self.text);
        if !text.trim().is_empty() {
            match self.field {
                Field::Title if self.title.is_empty() => self.title = text,
                Field::Creator if self.authors.len() <= AUTHORS => self.authors.push(text.trim().to_owned()),
                Field::Language if self.language.is_empty() => self.language = text,
                _ => {}
            }
        }
        if field(name) == self.field {
            self.field = Field::None;
        }
    }

    fn finish(mut self) -> Raw {
        if let Some(more) = self.authors.get_mut(AUTHORS) {
            *more = "et al.".to_owned();
        }
        Raw { title: self.title, author: self.authors.join(", "), language: self.language }
    }
}

/// Whether the text of the element is a value, and not markup within one.
fn holds_value(name: &str) -> bool {
    field(name) != Field::None || name.ends_with(":li")
}

/// Which one an element is, by the prefix that everyone gives the namespace.
fn field(name: &str) -> Field {
    match name.to_ascii_lowercase().as_str() {
        "dc:title" => Field::Title,
        "dc:creator" => Field::Creator,
        "dc:language" => Field::Language,
        _ => Field::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(xml: &str) -> (String, String, String) {
        let Raw { title, author, language } = read(xml);
        (title, author, language)
    }

    #[test]
    fn bare_elements_and_lists_are_read() {
        let bare = "<m><dc:language>en</dc:language><dc:title id=\"a\">Of &amp; <b>&#66;</b><!-- no --><![CDATA[<C>]]></dc:title>\
            <dc:title>Second</dc:title><dc:creator>A</dc:creator><dc:creator/><dc:creator> B </dc:creator></m>";
        assert_eq!(of(bare), ("Of & B<C>".into(), "A, B".into(), "en".into()));
        let lists = "<r><dc:title><rdf:Alt> <rdf:li xml:lang=\"x-default\">T</rdf:li> <rdf:li>U</rdf:li></rdf:Alt></dc:title>\
            <dc:creator>\n<rdf:Seq><rdf:li>A</rdf:li><rdf:li>B</rdf:li><rdf:li>C</rdf:li><rdf:li>D</rdf:li><rdf:li>E</rdf:li>\
            </rdf:Seq></dc:creator><pdf:Producer>P</pdf:Producer></r>";
        assert_eq!(of(lists), ("T".into(), "A, B, C, et al.".into(), String::new()));
    }

    #[test]
    fn what_comes_before_a_fault_counts() {
        assert_eq!(of("<m><dc:title>AT&T</dc:title></x>").0, "AT&T");
        assert_eq!(of("<m><dc:title>T</dc:title><dc:creator").0, "T");
        assert_eq!(of("<m><dc:title>T"), Default::default());
        assert_eq!(of("<title>T</title>"), Default::default());
    }

    #[test]
    fn an_attribute_is_found() {
        let xml = "<c:container><c:rootfile x='1' full-path='a&amp;b.opf'/><rootfile full-path='c'/></c:container>";
        assert_eq!(attribute(xml, "rootfile", "full-path").as_deref(), Some("a&b.opf"));
        assert_eq!(attribute(xml, "rootfile", "none"), None);
        assert_eq!(attribute(xml, "none", "x"), None);
    }
}
