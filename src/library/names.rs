//! From an item's path to where its file may stand: hostile names never leave the collection's folder, and two items
//! never share a file, on any file system.
//!
//! The rule is a function of the path alone. A path that needs no change keeps its name; any other gets a piece of its
//! hash into its last component, so that whatever two paths are changed to, they stay apart. That a name is taken is the
//! caller's to notice: he asks for [`spare_path`].

use crate::limits;

/// Bytes of one file name that every file system takes.
const COMPONENT_BYTES: usize = 255;
/// Bytes of a path below its collection's folder.
const PATH_BYTES: usize = limits::library::PATH_BYTES;
/// Bytes of a folder's name before the number that tells it from others.
const FOLDER_BYTES: usize = 200;
/// Components of a path; deeper ones are joined.
const COMPONENTS: usize = 32;
/// Hexadecimal digits of the hash that keeps changed names apart.
const HASH_DIGITS: usize = 12;

/// Whether a file of this name is one that no FAT, NTFS or web client trips over, and no terminal lies about.
fn is_plain(component: &str) -> bool {
    !component.is_empty()
        && component.len() <= COMPONENT_BYTES
        && !component.starts_with('.')
        && !component.starts_with(' ')
        && !component.ends_with(['.', ' '])
        && !component.contains(is_unsafe)
        && !component.contains(MARK)
        && !is_reserved(component)
}

/// Stands before the hash in a changed name; a path that has it by itself is changed too, so none can pose as another's.
const MARK: char = '~';

/// Characters that are special somewhere, invisible, or that turn the reading direction.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*'
            | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Names of devices on Windows, with any extension.
fn is_reserved(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or(component).trim_end().to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        _ => {
            let number = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
            matches!(number, Some("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"))
        }
    }
}

/// The component without what is unsafe in it; never empty, and plain but for its length.
fn cleaned(component: &str) -> String {
    let name: String = component.chars().map(|c| if is_unsafe(c) || c == MARK { '_' } else { c }).collect();
    let name = name.trim_matches(['.', ' ']);
    if name.is_empty() || is_reserved(name) { format!("_{name}") } else { name.to_owned() }
}

/// The longest start of `text` within `max` bytes.
fn start(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Name and extension with its dot, if it is one that tells the kind of a file.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && (2..=16).contains(&(name.len() - at)) => name.split_at(at),
        _ => (name, ""),
    }
}

/// The file, below its collection's folder, in which an item of this path is kept.
pub(super) fn file_path(path: &str) -> String {
    let mut components = path.split('/');
    let plain = path.len() <= PATH_BYTES && components.clone().count() <= COMPONENTS && components.all(is_plain);
    if plain { path.to_owned() } else { changed(path, path.as_bytes()) }
}

/// A file for the same item that is neither [`file_path`] nor one of another `reason`, even where case is ignored. It is in no
/// folder, so that nothing can be in its way.
pub(super) fn apart_path(path: &str, reason: &str) -> String {
    changed(&path.replace('/', "_"), &[path.as_bytes(), b"\0", reason.as_bytes()].concat())
}

/// Where a file goes whose name is taken: by one that differs in case alone, where case is ignored, or by a folder, or as there
/// is a file where its folder would be.
pub(super) fn spare_path(path: &str) -> String {
    apart_path(path, "spare")
}

/// The path made safe, with a hash of `of` in its last component.
fn changed(path: &str, of: &[u8]) -> String {
    let components: Vec<&str> = path.split('/').collect();
    let (last, folders) = components.split_last().expect("split gives at least one");
    let mut out = String::new();
    for folder in folders.iter().take(COMPONENTS - 1) {
        let folder = cleaned(folder);
        let folder = start(&folder, COMPONENT_BYTES).trim_end_matches(['.', ' ']);
        if out.len() + folder.len() + 1 + COMPONENT_BYTES > PATH_BYTES {
            break;
        }
        out.push_str(folder);
        out.push('/');
    }
    let last = cleaned(last);
    let (stem, extension) = split_extension(&last);
    let stem = start(stem, COMPONENT_BYTES - HASH_DIGITS - 1 - extension.len());
    let hash = blake3::hash(of).to_hex();
    out + stem + MARK.encode_utf8(&mut [0; 4]) + &hash[..HASH_DIGITS] + extension
}

/// A folder name for a collection of this name: one component, safe everywhere, not yet `taken` in any case.
pub(super) fn folder_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let clean = cleaned(name);
    let clean = start(&clean, FOLDER_BYTES).trim_end_matches(['.', ' ']);
    let mut folder = clean.to_owned();
    for number in 2.. {
        if !taken(&folder) {
            break;
        }
        folder = format!("{clean} ({number})");
    }
    folder
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_stay() {
        for path in ["a.txt", "Bücher/Ωμέγα — 三国演义.epub", "a b/c (2).pdf", "index.html", "x/y/z"] {
            assert_eq!(file_path(path), path);
        }
    }

    #[test]
    fn hostile_names_are_made_safe() {
        for (path, start, end) in [
            ("../../etc/passwd", "_/_/etc/passwd~", ""),
            ("/etc/passwd", "_/etc/passwd~", ""),
            ("a//b", "a/_/b~", ""),
            (".bashrc", "bashrc~", ""),
            ("a/.hidden/b.txt", "a/hidden/b~", ".txt"),
            ("CON", "_CON~", ""),
            ("aux.txt", "_aux~", ".txt"),
            ("what? now.txt", "what_ now~", ".txt"),
            ("evil\u{202e}fdp.exe", "evil_fdp~", ".exe"),
            ("dots...", "dots~", ""),
            ("c:\\windows", "c__windows~", ""),
        ] {
            let file = file_path(path);
            assert!(file.starts_with(start) && file.ends_with(end), "{path:?} became {file:?}");
        }
    }

    #[test]
    fn folders_of_equal_names_are_told_apart() {
        assert_eq!(folder_name("Books", |_| false), "Books");
        assert_eq!(folder_name("Books", |name| name == "Books"), "Books (2)");
        assert_eq!(folder_name("../..", |_| false), "_");
        assert_eq!(folder_name("", |_| false), "_");
    }

    fn check(file: &str) -> Result<(), TestCaseError> {
        prop_assert!(file.len() <= PATH_BYTES);
        for component in file.split('/') {
            prop_assert!(!matches!(component, "" | "." | ".."));
            prop_assert!(component.len() <= COMPONENT_BYTES, "{component:?}");
            prop_assert!(!component.contains(is_unsafe) && !is_reserved(component), "{component:?}");
            prop_assert!(!component.ends_with(['.', ' ']) && !component.starts_with('.'), "{component:?}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_name_escapes(path in any::<String>()) {
            check(&file_path(&path))?;
            check(&apart_path(&path, "x"))?;
            prop_assert!(!apart_path(&path, "x").contains('/'));
        }

        #[test]
        fn no_hostile_name_escapes(path in "([./ ~:A-Ca-c\\\\]|CON|\u{202e}|é{1,200}){1,40}") {
            check(&file_path(&path))?;
            check(&apart_path(&path, "x"))?;
                check(&folder_name(&path, |_| false))?;
        }

        #[test]
        fn two_paths_never_share_a_file(a in "([./ ~:ab\\\\]|CON){1,6}", b in "([./ ~:ab\\\\]|CON){1,6}") {
            prop_assume!(a != b);
            let files = [file_path(&a), apart_path(&a, "x"), apart_path(&a, "y"), file_path(&b), apart_path(&b, "x")];
            let different: std::collections::HashSet<&String> = files.iter().collect();
            prop_assert_eq!(different.len(), files.len());
        }
    }
}
