//! `tests/SEEDS.md` says what was asked for and which test shows it: here it is held to that.

use std::{collections::BTreeMap, fs, path::Path};

/// Rows of each section, at least: as many as the documents have items.
const ITEMS: [(&str, usize); 20] = [
    ("Phase 2A.1: Minimal libp2p Setup", 12),
    ("Phase 2A.2: Two-Node Connection", 14),
    ("Phase 2A.3: Ping/Heartbeat Protocol", 14),
    ("Phase 2A.4: Peer State Tracking", 14),
    ("Phase 2A.5: Basic Peer Authentication", 15),
    ("Phase 2A.6: Peer Discovery from Config", 15),
    ("Phase 2A.7: Unresponsive Peer Detection", 14),
    ("Phase 2A.8: Basic Reconnection Logic", 15),
    ("Phase 2A.9: PeerManager Integration", 14),
    ("Phase 2A.10: Multi-Node Integration Test", 15),
    ("Phase 2A, Unit Tests", 5),
    ("Phase 2A, Integration Tests", 5),
    ("Phase 2A, Manual Testing", 5),
    ("Phase 2A, Performance Testing", 5),
    ("Phase 2A, Test Infrastructure", 15),
    ("Phase 2A, Success Metrics", 15),
    ("Phase 3, Objectives", 22),
    ("Phase 3, Success Criteria", 12),
    ("Phase 3, Security Considerations", 5),
    ("Phase 3, Performance Targets", 5),
];

/// The rows of a section: what is asked for, and what shows it.
fn sections() -> BTreeMap<String, Vec<(String, String)>> {
    let mut sections: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut title = String::new();
    for line in include_str!("SEEDS.md").lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading.to_owned();
        } else if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
            let (asked, shown) = row.split_once(" | ").expect("a row has two cells");
            if asked != "asked for" {
                sections.entry(title.clone()).or_default().push((asked.to_owned(), shown.to_owned()));
            }
        }
    }
    sections
}

/// Whether there is such a target, test, or measurement.
fn exists(reference: &str) -> bool {
    let Some((path, name)) = reference.split_once("::") else { return false };
    let Ok(text) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)) else { return false };
    if path == "Makefile" {
        return text.contains(&format!("\n{name}:"));
    }
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let start = |line: &&str| line.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{name}(")));
    let Some(at) = lines.iter().position(start) else { return false };
    // A measurement is a function of its benchmark.
    path.starts_with("benches/")
        || lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).any(|line| *line == "#[test]")
}

#[test]
fn every_item_has_its_row() {
    let sections = sections();
    assert_eq!(sections.len(), ITEMS.len(), "{:?}", sections.keys());
    for (section, items) in ITEMS {
        let rows = sections.get(section).map_or(0, Vec::len);
        assert!(rows >= items, "{section} has {rows} rows for {items} items");
    }
}

#[test]
fn every_row_names_what_exists_or_a_reason() {
    let mut wrong = Vec::new();
    for (asked, shown) in sections().into_values().flatten() {
        let references: Vec<_> = shown.split('`').skip(1).step_by(2).filter(|text| text.contains("::")).collect();
        let missing: Vec<_> = references.iter().filter(|reference| !exists(reference)).collect();
        if !missing.is_empty() || (references.is_empty() && !shown.starts_with("Instead: ")) {
            wrong.push(format!("{asked}: {missing:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_does_not_exist_is_noticed() {
    for reference in
        ["tests/seeds.rs::no_such_test", "tests/seeds.rs::exists", "tests/none.rs::exists", "Makefile::seeds", "seeds"]
    {
        assert!(!exists(reference), "{reference}");
    }
    assert!(exists("tests/seeds.rs::what_does_not_exist_is_noticed") && exists("Makefile::check"));
}
