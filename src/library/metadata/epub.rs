//! The Dublin Core metadata of an EPUB.

use std::{fs::File, io::BufReader};

use rbook::Epub;

use super::Raw;

/// Names of authors that are joined; the rest are "et al.".
const AUTHORS: usize = 3;

pub(super) fn read(file: File) -> Option<Raw> {
    // Only the metadata: neither contents nor order of the chapters.
    let epub = Epub::options()
        .strict(false)
        .skip_manifest(true)
        .skip_spine(true)
        .skip_toc(true)
        .read(BufReader::new(file))
        .ok()?;
    let metadata = epub.metadata();
    let mut authors: Vec<String> =
        metadata.creators().take(AUTHORS + 1).map(|creator| creator.value().to_owned()).collect();
    if authors.len() > AUTHORS {
        authors[AUTHORS] = "et al.".to_owned();
    }
    Some(Raw {
        title: metadata.title().map(|title| title.value().to_owned()).unwrap_or_default(),
        author: authors.join(", "),
        language: metadata.language().map(|language| language.value().to_owned()).unwrap_or_default(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    /// An EPUB 3 with this metadata and no chapter; its files are stored, not packed.
    pub fn book(metadata: &str) -> Vec<u8> {
        let container = r#"<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="a.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"#;
        let package = format!(
            r#"<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="i">x</dc:identifier>{metadata}</metadata><manifest></manifest><spine></spine></package>"#
        );
        zip(&[
            ("mimetype", b"application/epub+zip"),
            ("META-INF/container.xml", container.as_bytes()),
            ("a.opf", package.as_bytes()),
        ])
    }

    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in files {
            let at = out.len() as u32;
            let (len, name_len) = (content.len() as u32, name.len() as u16);
            let mut head = Vec::new();
            head.extend_from_slice(&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
            head.extend_from_slice(&crc32(content).to_le_bytes());
            head.extend_from_slice(&len.to_le_bytes());
            head.extend_from_slice(&len.to_le_bytes());
            head.extend_from_slice(&name_len.to_le_bytes());
            head.extend_from_slice(&[0, 0]);
            out.extend_from_slice(b"PK\x03\x04");
            out.extend_from_slice(&head);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(content);
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

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
