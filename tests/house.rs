//! The rules of the house that no compiler checks. ARCHITECTURE.md says why they are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// From the roof to the ground: imports run downwards in this list.
const PARTS: [&str; 17] = [
    "main", "cli", "node", "kiosk", "library", "transfer", "network", "store", "peers", "wire", "config", "status",
    "clock", "content", "groups", "limits", "tasks",
];

/// Crates that only one part may name.
const AT_HOME: [(&str, &str); 7] = [
    ("libp2p", "network"),
    ("libp2p_tls", "network"),
    ("quinn_proto", "network"),
    ("quinn_udp", "network"),
    ("simple_dns", "network"),
    ("sled", "store"),
    ("hyper", "kiosk"),
];

/// Files and folders of pure logic: it is told the time, and waits for nothing.
const PURE: [&str; 22] = [
    "config/hours.rs",
    "content.rs",
    "library/follow/policy.rs",
    "groups.rs",
    "limits",
    "limits.rs",
    "network/mdns/cache.rs",
    "network/mdns/engine.rs",
    "network/mdns/link.rs",
    "network/mdns/packet.rs",
    "network/mdns/zone.rs",
    "node/controls/said.rs",
    "node/scrub/pace.rs",
    "peers",
    "status",
    "transfer/answer.rs",
    "transfer/pace.rs",
    "transfer/plan",
    "transfer/rate.rs",
    "transfer/slots.rs",
    "transfer/throttle.rs",
    "wire",
];

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

struct Source {
    path: PathBuf,
    /// The part that it belongs to.
    part: String,
    /// Its lines without comments at their beginning, and without its tests.
    lines: Vec<String>,
}

/// The program's files, without those that hold tests alone.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut sources, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" && name != "lib" {
                let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
                let part = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
                sources.push(Source { part, lines: lines_without_tests(&path), path });
            }
        }
    }
    assert!(sources.len() > 30, "the program's files are found");
    sources
}

fn lines_without_tests(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    // Tests stand at the end of a file.
    let program = text.split("\n#[cfg(test)]\nmod tests {\n").next().unwrap();
    program.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

fn rank(part: &str) -> usize {
    PARTS
        .iter()
        .position(|known| *known == part)
        .unwrap_or_else(|| panic!("{part} is no part of the house: name its place"))
}

/// The parts that a text names after `crate::`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if !rest.starts_with('{') {
            found.insert(identifier(rest));
            continue;
        }
        let (mut depth, mut is_start) = (0, false);
        for (at, character) in rest.char_indices() {
            match character {
                '{' => (depth, is_start) = (depth + 1, depth == 0),
                '}' => depth -= 1,
                ',' => is_start = depth == 1,
                _ if character.is_whitespace() => {}
                _ if is_start => {
                    found.insert(identifier(&rest[at..]));
                    is_start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_are_understood() {
    let text =
        "use crate::{\n    config::{self, Config},\n    limits,\n    wire::Text,\n};\nfn x() { crate::store::y(); }";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["config", "limits", "store", "wire"]);
}

#[test]
fn imports_run_downwards() {
    let mut wrong = Vec::new();
    for source in sources() {
        for import in imports(&source.lines.join("\n")) {
            if import != source.part && rank(&import) <= rank(&source.part) {
                wrong.push(format!("{}: {} must not know {import}", source.path.display(), source.part));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn some_crates_are_named_in_one_part_alone() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, home) in AT_HOME {
            let names = |line: &String| line.contains(&format!("{name}::")) || line.contains(&format!("use {name};"));
            if source.part != home && source.lines.iter().any(names) {
                wrong.push(format!("{}: only {home} may name {name}", source.path.display()));
            }
        }
        if source.lines.iter().any(|line| line.contains("tokio::")) {
            wrong.push(format!("{}: the program runs on smol", source.path.display()));
        }
        // They bring smol's own threads, which would wake each other.
        if source.lines.iter().any(|line| line.contains("smol::spawn(") || line.contains("smol::block_on(")) {
            wrong.push(format!("{}: tasks::spawn runs tasks, smol::future::block_on waits", source.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_logic_reads_no_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_pure = |source: &Source| PURE.iter().any(|pure| source.path.starts_with(root.join(pure)));
    let sources = sources();
    let pure: Vec<_> = sources.iter().filter(|source| is_pure(source)).collect();
    assert!(pure.len() >= PURE.len(), "what is pure is found");
    let mut wrong = Vec::new();
    for source in pure {
        for word in ["clock", "Instant::now", "SystemTime", ".elapsed()", "Timer", "smol", "async_io"] {
            if source.lines.iter().any(|line| line.contains(word)) {
                wrong.push(format!("{}: pure logic must not know {word}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_part_says_what_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for part in PARTS {
        let (folder, file) = (root.join(part).join("mod.rs"), root.join(format!("{part}.rs")));
        let path = if folder.exists() { folder } else { file };
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.starts_with("//! "), "{} does not begin with what it is for", path.display());
    }
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        let all = fs::read_to_string(&source.path).unwrap();
        let lines = all.split("\n#[cfg(test)]\nmod tests {\n").next().unwrap().lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{}: {lines} lines ask for a second room", source.path.display()));
        }
        for (start, line) in source.lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_function = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(super) fn ", "pub(crate) fn "]
                .iter()
                .any(|start| line.trim_start().starts_with(start));
            // The code is formatted: a function ends with a brace in the column in which it began.
            let end = format!("{}}}", " ".repeat(indent));
            let length = source.lines[start..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
            if is_function && !line.ends_with([';', '}']) && length > FUNCTION_LINES {
                wrong.push(format!("{}: {length} lines ask for a second name: {line}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every `make something` that the texts tell people to type.
#[test]
fn what_the_texts_tell_to_type_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    let mut found = 0;
    for name in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root.join(name)).unwrap();
        for (at, _) in text.match_indices("make ") {
            let starts_command = text[..at].ends_with(['`', '\n', ' ']) && !text[..at].ends_with("  ");
            let target: String = text[at + 5..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            let is_code = text[..at].ends_with('`') || text[..at].ends_with("\n") || text[..at].ends_with("$ ");
            if starts_command && is_code {
                assert!(
                    makefile.contains(&format!("\n{target}:")),
                    "{name} says `make {target}`, the Makefile does not"
                );
                found += 1;
            }
        }
    }
    assert!(found >= 4, "the texts tell what to type");
}

#[test]
fn the_readme_knows_the_exit_codes() {
    let help = Command::new(env!("CARGO_BIN_EXE_allibrary")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let codes = help.split("Exit codes:\n").nth(1).unwrap();
    assert!(codes.lines().count() >= 10);
    for line in codes.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "the README lacks: {line}");
    }
}
