use std::{
    io::{Seek, SeekFrom, Write},
    time::Duration,
};

use miniz_oxide::deflate::compress_to_vec_zlib;
use proptest::prelude::*;

use super::*;

/// A PDF with these objects, numbered from 1, and a table of text. The catalogue is object 1, the information object 2.
fn classic(objects: &[&[u8]], trailer: &str) -> Vec<u8> {
    let (mut out, at) = body(objects);
    let table = out.len();
    let lines: String = at.iter().map(|at| format!("{at:010} 00000 n \n")).collect();
    let count = objects.len() + 1;
    write!(out, "xref\n0 1\n0000000000 65535 f \n1 {}\n{lines}", objects.len()).unwrap();
    write!(out, "trailer\n<</Size {count}/Root 1 0 R/Info 2 0 R{trailer}>>\nstartxref\n{table}\n%%EOF\n").unwrap();
    out
}

fn body(objects: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    let mut out = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut at = Vec::new();
    for (number, object) in objects.iter().enumerate() {
        at.push(out.len());
        writeln!(out, "{} 0 obj", number + 1).unwrap();
        out.extend_from_slice(object);
        out.extend_from_slice(b"\nendobj\n");
    }
    (out, at)
}

const CATALOGUE: &[u8] = b"<</Type/Catalog/Pages 9 0 R/Lang(de)>>";

fn stream(dictionary: &str, content: &[u8], pack: bool) -> Vec<u8> {
    let content = if pack { compress_to_vec_zlib(content, 6) } else { content.to_vec() };
    let filter = if pack { "/Filter/FlateDecode" } else { "" };
    let mut out = format!("<<{dictionary}{filter}/Length {}>>stream\r\n", content.len()).into_bytes();
    out.extend_from_slice(&content);
    out.extend_from_slice(b"\nendstream");
    out
}

/// A PDF whose catalogue and information dictionary are packed in an object stream, found by rows that are predicted
/// from the row above if `predict`.
fn packed(info: &[u8], predict: bool) -> Vec<u8> {
    let mut content = format!("1 0 2 {} ", CATALOGUE.len()).into_bytes();
    let first = content.len();
    content.extend_from_slice(CATALOGUE);
    content.extend_from_slice(info);
    let of_objects = stream(&format!("/Type/ObjStm/N 2/First {first}"), &content, true);
    let (mut out, _) = body(&[]);
    let at = out.len() as u16;
    write!(out, "3 0 obj").unwrap();
    out.extend_from_slice(&of_objects);
    let table = out.len();
    let [high, low] = at.to_be_bytes();
    // Objects 1 to 3.
    let rows = [[2, 0, 3, 0], [2, 0, 3, 1], [1, high, low, 0]];
    let mut bytes = Vec::new();
    let mut above = [0; 4];
    for row in rows {
        if predict {
            bytes.push(2);
        }
        let change = |at: usize| if predict { u8::wrapping_sub(row[at], above[at]) } else { row[at] };
        bytes.extend((0..4).map(change));
        above = row;
    }
    let parameters = if predict { "/DecodeParms<</Predictor 12/Columns 4>>" } else { "" };
    let dictionary = format!("/Type/XRef/W[1 2 1]/Index[1 3]/Size 4/Root 1 0 R/Info 2 0 R{parameters}");
    write!(out, "\n4 0 obj").unwrap();
    out.extend_from_slice(&stream(&dictionary, &bytes, true));
    write!(out, "\nstartxref\n{table}\n%%EOF").unwrap();
    out
}

fn xmp(title: &str) -> String {
    format!(
        "<?xpacket begin='\u{feff}'?><x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description><dc:title><rdf:Alt>\
        <rdf:li xml:lang='x-default'>{title}</rdf:li></rdf:Alt></dc:title><dc:creator><rdf:Seq><rdf:li>Ann</rdf:li>\
        <rdf:li>Bob</rdf:li></rdf:Seq></dc:creator><dc:language><rdf:Bag><rdf:li>fr</rdf:li></rdf:Bag></dc:language>\
        </rdf:Description></rdf:RDF></x:xmpmeta>"
    )
}

fn of(bytes: &[u8]) -> Option<(String, String, String)> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    read(&file).map(|Raw { title, author, language }| (title, author, language))
}

fn expect(title: &str, author: &str, language: &str) -> Option<(String, String, String)> {
    Some((title.into(), author.into(), language.into()))
}

const INFO: &[u8] = b"<</Title<FEFF00C900740075006400650073>/Author(A \\(B\\) (C))/Producer(P)>>";

#[test]
fn the_tables_lead_to_the_information() {
    let expected = expect("Études", "A (B) (C)", "de");
    assert_eq!(of(&classic(&[CATALOGUE, INFO], "")), expected);
    assert_eq!(of(&packed(INFO, false)), expected);
    assert_eq!(of(&packed(INFO, true)), expected);
    let elsewhere: [&[u8]; 3] = [CATALOGUE, b"<</Title 3 0 R>>", b"(There)"];
    assert_eq!(of(&classic(&elsewhere, "")), expect("There", "", "de"));
}

#[test]
fn a_change_adds_to_the_older_table() {
    let mut bytes = classic(&[CATALOGUE, INFO], "");
    let older = bytes.len() - bytes.iter().rev().skip(7).position(|byte| *byte == b'\n').unwrap() - 7;
    let older: usize = str::from_utf8(&bytes[older..bytes.len() - 7]).unwrap().trim().parse().unwrap();
    let at = bytes.len();
    bytes.extend_from_slice(b"2 0 obj<</Title(Newer)/Producer(P)>>endobj ");
    let table = bytes.len();
    write!(bytes, "xref\n2 1\n{at:010} 00000 n \ntrailer<</Root 1 0 R/Info 2 0 R/Prev {older}>>startxref {table}")
        .unwrap();
    assert_eq!(of(&bytes), expect("Newer", "", "de"));
    // Tables that lead to each other have an end.
    let looped = String::from_utf8_lossy(&bytes[table..]).replace(&format!("/Prev {older}"), &format!("/Prev {table}"));
    bytes.truncate(table);
    bytes.extend_from_slice(looped.as_bytes());
    assert_eq!(of(&bytes), expect("Newer", "", ""));
}

#[test]
fn xmp_says_what_the_information_does_not() {
    let catalogue: &[u8] = b"<</Pages 9 0 R/Metadata 3 0 R>>";
    for pack in [false, true] {
        let xmp = stream("/Type/Metadata/Subtype/XML", xmp("Émile").as_bytes(), pack);
        let none: &[u8] = b"<</Title(Microsoft Word - x.doc)/Author()>>";
        assert_eq!(of(&classic(&[catalogue, none, &xmp], "")), expect("Émile", "Ann, Bob", "fr"));
        assert_eq!(of(&classic(&[catalogue, INFO, &xmp], "")), expect("Études", "A (B) (C)", "fr"));
    }
}

#[test]
fn damaged_files_are_searched() {
    let whole = classic(&[CATALOGUE, b"<</Title(Chapter)/Parent 4 0 R/Author()>>", INFO], "");
    let cut = &whole[..find(&whole, b"xref").unwrap()];
    assert_eq!(of(cut), expect("Études", "A (B) (C)", ""));
    let xmp = stream("", xmp("Émile").as_bytes(), false);
    let whole = classic(&[CATALOGUE, b"null", &xmp], "");
    let mut misled = whole[..rfind(&whole, b"startxref").unwrap()].to_vec();
    misled.extend_from_slice(b"startxref\n1\n%%EOF\xff\xff");
    assert_eq!(of(&misled), expect("Émile", "Ann, Bob", "fr"));
}

#[test]
fn encrypted_and_other_files_say_nothing() {
    let encrypted = classic(&[CATALOGUE, INFO], "/Encrypt 5 0 R");
    assert_eq!(of(&encrypted), None);
    assert_eq!(of(&encrypted[..encrypted.len() - 20]), None);
    assert_eq!(of(b"PK and then (Title)"), None);
    assert_eq!(of(b""), None);
    assert_eq!(of(b"%PDF-1.4\nstartxref 18446744073709551615"), expect("", "", ""));
}

#[test]
fn a_bomb_is_unpacked_no_further_than_allowed() {
    let catalogue: &[u8] = b"<</Pages 9 0 R/Metadata 3 0 R>>";
    let mut bomb = xmp("Émile").into_bytes();
    bomb.resize(64 * 1024 * 1024, b' ');
    let bomb = stream("", &bomb, true);
    assert_eq!(of(&classic(&[catalogue, b"null", &bomb], "")), expect("Émile", "Ann, Bob", "fr"));
}

/// Far more than a busy machine needs, and far less than a search without bounds would take.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_long_file_is_read_as_quickly_as_a_short_one() {
    let mut file = tempfile::tempfile().unwrap();
    let (head, at) = body(&[CATALOGUE, INFO]);
    file.write_all(&head).unwrap();
    let far = 3_u64 << 30;
    file.seek(SeekFrom::Start(far)).unwrap();
    let lines: String = at.iter().map(|at| format!("{at:010} 00000 n \n")).collect();
    write!(file, "xref\n1 2\n{lines}trailer<</Root 1 0 R/Info 2 0 R>>startxref {far} %%EOF").unwrap();
    let start = crate::clock::now();
    assert_eq!(read(&file).unwrap().title, "Études");
    // The same without its table.
    file.set_len(far).unwrap();
    assert_eq!(read(&file).unwrap().title, "Études");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn many_broken_objects_are_given_up() {
    for piece in [&b" obj<</A["[..], b" obj<</A(", b" obj<<", b" obj<</A 1 ", b" obj<</Title(x)/Author(y)/Parent 1>>"] {
        let mut bytes = b"%PDF-1.4".to_vec();
        bytes.extend(piece.iter().copied().cycle().take(600_000));
        let start = crate::clock::now();
        assert_eq!(of(&bytes), expect("", "", ""));
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }
}

#[test]
fn titles_that_are_none_are_known() {
    for (title, real) in [
        ("Microsoft Word - thesis.doc", ""),
        ("Microsoft Word - My Thesis", "My Thesis"),
        ("Untitled-1", ""),
        ("book.indd", ""),
        ("report final.PDF", ""),
        ("---", ""),
        ("\0 \0", ""),
        ("Node.js", "Node.js"),
        ("Vol. 2", "Vol. 2"),
        ("三国演义", "三国演义"),
    ] {
        assert_eq!(real_title(title), real, "{title}");
    }
}

proptest! {
    #[test]
    fn damage_is_survived(
        kind in 0..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = match kind {
            0 => classic(&[b"<</Pages 9 0 R/Metadata 3 0 R>>", INFO, &stream("", xmp("T").as_bytes(), true)], ""),
            1 => packed(INFO, false),
            _ => packed(INFO, true),
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        of(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        of(&bytes);
    }

    #[test]
    fn garbage_is_survived(garbage in prop::collection::vec(any::<u8>(), 0..2000), words in "[ <>\\[\\]()/%0-9a-zA-Z\\\\\n]{0,200}") {
        let mut bytes = b"%PDF-1.4\n1 0 obj<<".to_vec();
        bytes.extend_from_slice(words.as_bytes());
        bytes.extend_from_slice(&garbage);
        of(&bytes);
        write!(bytes, " obj<<{words}>> startxref 9").unwrap();
        of(&bytes);
    }
}
