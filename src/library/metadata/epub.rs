//! The metadata in the package file of an EPUB (EPUB 3.3, sections 4.2.6.3.1 and 5.5).

use std::fs::File;

use super::{Raw, bytes::text, dublin_core, zip::Zip};

pub(super) fn read(file: &File) -> Option<Raw> {
    let zip = Zip::open(file)?;
    let container = text(&zip.read("META-INF/container.xml")?);
    let package = normal(&dublin_core::attribute(&container, "rootfile", "full-path")?);
    Some(dublin_core::read(&text(&zip.read(&package)?)))
}

/// The path without steps that lead nowhere.
fn normal(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            _ => names.push(name),
        }
    }
    names.join("/")
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use miniz_oxide::deflate::compress_to_vec;
    use proptest::prelude::*;

    use super::*;
    use crate::library::metadata::bytes::UNPACKED_BYTES;

    const CONTAINER: &str = r#"<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="a.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"#;

    /// An EPUB 3 with this metadata and no chapter; its files are stored, not packed.
    pub fn book(metadata: &str) -> Vec<u8> {
        let package = format!(
            r#"<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="i">x</dc:identifier>{metadata}</metadata><manifest></manifest><spine></spine></package>"#
        );
        zip(&[
            ("mimetype", b"application/epub+zip"),
            ("META-INF/container.xml", CONTAINER.as_bytes()),
            ("a.opf", package.as_bytes()),
        ])
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        pack(files, 0)
    }

    /// An archive of these files: 0 stores, 8 deflates. Nobody reads the checksums and unpacked sizes.
    fn pack(files: &[(&str, &[u8])], method: u16) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let content = if method == 8 { compress_to_vec(content, 9) } else { content.to_vec() };
            let at = out.len() as u32;
            let mut head = vec![20, 0, 0, 0];
            head.extend_from_slice(&method.to_le_bytes());
            head.extend_from_slice(&[0; 8]);
            head.extend_from_slice(&(content.len() as u32).to_le_bytes());
            head.extend_from_slice(&u32::MAX.to_le_bytes());
            head.extend_from_slice(&(name.len() as u16).to_le_bytes());
            head.extend_from_slice(&[0, 0]);
            out.extend_from_slice(b"PK\x03\x04");
            out.extend_from_slice(&head);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&content);
            directory.extend_from_slice(b"PK\x01\x02\x14\x00");
            directory.extend_from_slice(&head);
            directory.extend_from_slice(&[0; 10]);
            directory.extend_from_slice(&at.to_le_bytes());
            directory.extend_from_slice(name.as_bytes());
        }
        let (at, len, count) = (out.len() as u32, directory.len() as u32, files.len() as u16);
        out.extend_from_slice(&directory);
        out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&at.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out
    }

    fn title_of(bytes: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read(&file).map(|raw| raw.title)
    }

    const PACKAGE: &[u8] = b"<package><metadata><dc:title>Emma</dc:title></metadata></package>";

    #[test]
    fn packed_books_are_read() {
        let files = [("META-INF/container.xml", CONTAINER.as_bytes()), ("b", b""), ("a.opf", PACKAGE)];
        assert_eq!(title_of(&pack(&files, 8)).as_deref(), Some("Emma"));
        let mut commented = pack(&files, 8);
        let comment = commented.len() - 2;
        commented[comment] = 5;
        commented.extend_from_slice(b"hello");
        assert_eq!(title_of(&commented).as_deref(), Some("Emma"));
        assert_eq!(title_of(&pack(&files, 12)), None);
        assert_eq!(title_of(&pack(&files[..2], 8)), None);
    }

    #[test]
    fn paths_are_followed_and_other_encodings_read() {
        let container = CONTAINER.replace("a.opf", "./OEBPS/x/..//a.opf");
        let mut utf16 = vec![0xff, 0xfe];
        utf16.extend("<p><dc:title>Émma</dc:title></p>".encode_utf16().flat_map(u16::to_le_bytes));
        let files = [("META-INF/container.xml", container.as_bytes()), ("OEBPS/a.opf", &utf16)];
        assert_eq!(title_of(&zip(&files)).as_deref(), Some("Émma"));
        assert_eq!(normal("../../a/./b"), "a/b");
    }

    #[test]
    fn a_bomb_is_unpacked_no_further_than_allowed() {
        let mut package = PACKAGE.to_vec();
        package.resize(64 * UNPACKED_BYTES, b' ');
        let files = [("META-INF/container.xml", CONTAINER.as_bytes()), ("a.opf", &package[..])];
        assert_eq!(title_of(&pack(&files, 8)).as_deref(), Some("Emma"));
        package.rotate_left(PACKAGE.len());
        let files = [("META-INF/container.xml", CONTAINER.as_bytes()), ("a.opf", &package[..])];
        assert_eq!(title_of(&pack(&files, 8)).as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn damage_is_survived(
            method in prop_oneof![Just(0), Just(8)],
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = pack(&[("META-INF/container.xml", CONTAINER.as_bytes()), ("a.opf", PACKAGE)], method);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            title_of(&bytes);
            title_of(&bytes[..cut.index(bytes.len())]);
            title_of(&bytes[cut.index(bytes.len())..]);
        }
    }
}
