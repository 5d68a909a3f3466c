//! Reading a configuration from all its sources.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError, KEYS, Place, Problem, keys::Key, places, value::Raw};
use crate::limits;

const PREFIX: &str = "ALLIBRARY_";
const CONFIG_VARIABLE: &str = "ALLIBRARY_CONFIG";

/// Where a configuration is read from.
#[derive(Default)]
pub struct Sources {
    /// The file; without it, `ALLIBRARY_CONFIG` or the usual places.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Flags, which override all else.
    pub flags: Vec<Flag>,
}

/// A flag of the command line that sets a key.
pub struct Flag {
    /// What the user typed: `--listen`.
    pub name: &'static str,
    /// The key of [`KEYS`].
    pub key: &'static str,
    /// One value, or several for a list.
    pub values: Vec<OsString>,
}

/// The environment, for looking up.
pub(super) struct Variables<'a>(&'a [(OsString, OsString)]);

impl Variables<'_> {
    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_os_str())
    }
}

impl Config {
    /// Reads all sources, checks every value, and fills in the usual places and the host's name.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        let variables = Variables(&sources.variables);
        match find_file(sources.file.as_deref(), &variables) {
            Ok(Some((file, text))) => read_file(&mut config, &file, &text, &mut problems),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
        read_variables(&mut config, &sources.variables, &mut problems);
        for flag in &sources.flags {
            let key = KEYS.iter().find(|key| key.name == flag.key).expect("flags name keys of the table");
            set(&mut config, key, Raw::Flag(&flag.values), |_| Place::Flag(flag.name), &mut problems);
        }
        if config.data.as_os_str().is_empty() {
            match places::data_folder(&variables) {
                Some(folder) => config.data = folder,
                None => problems.push(Problem::NoHome),
            }
        }
        if config.mirror.folder.as_os_str().is_empty() {
            config.mirror.folder = config.data.join("library");
        }
        if config.name.is_empty() {
            config.name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }
}

/// The file and its text; none if none is named and none is in the usual places.
fn find_file(named: Option<&Path>, variables: &Variables) -> Result<Option<(PathBuf, String)>, Problem> {
    if let Some(file) = named.or(variables.value(CONFIG_VARIABLE).map(Path::new)) {
        return read_text(file).map(|text| Some((file.to_owned(), text)));
    }
    for file in places::config_files(variables) {
        match read_text(&file) {
            Ok(text) => return Ok(Some((file, text))),
            Err(Problem::Read { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(None)
}

fn read_text(file: &Path) -> Result<String, Problem> {
    let max_bytes = limits::config::FILE_BYTES;
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| opened.take(max_bytes + 1).read_to_string(&mut text))
        .map_err(|error| Problem::Read { file: file.to_owned(), error })?;
    if text.len() as u64 > max_bytes {
        return Err(Problem::TooLong { file: file.to_owned(), max_bytes });
    }
    Ok(text)
}

pub(super) fn read_file(config: &mut Config, file: &Path, text: &str, problems: &mut Vec<Problem>) {
    let place = |offset: usize| {
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place::File {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let place = place(error.span().map_or(0, |span| span.start));
            // The message may have several lines; a problem has one.
            problems.push(Problem::Syntax { place, message: error.message().replace('\n', ", ") });
            return;
        }
    };
    let mut entries = Vec::new();
    for (name, value) in table.get_ref() {
        let is_section = KEYS.iter().any(|key| key.name.split_once('.').is_some_and(|(s, _)| s == name.get_ref()));
        match value.get_ref() {
            DeValue::Table(section) if is_section => {
                entries.extend(section.iter().map(|(key, value)| (Some(name.get_ref()), key, value)));
            }
            _ => entries.push((None, name, value)),
        }
    }
    // In the order of the file, as a person reads it.
    entries.sort_by_key(|(_, key, _)| key.span().start);
    for (section, name, value) in entries {
        let known = KEYS.iter().find(|key| match (section, key.name.split_once('.')) {
            (Some(section), Some((known, rest))) => section == known && name.get_ref() == rest,
            (None, None) => name.get_ref() == key.name,
            _ => false,
        });
        match known {
            Some(key) => {
                let of_value = |raw| if let Raw::Toml(value) = raw { place(value.span().start) } else { place(0) };
                set(config, key, Raw::Toml(value), of_value, problems);
            }
            None => {
                let key = section.map_or(name.get_ref().to_string(), |section| format!("{section}.{}", name.get_ref()));
                let nearest = nearest_key(section.is_some(), &key);
                problems.push(Problem::UnknownKey { place: place(name.span().start), key, nearest });
            }
        }
    }
}

fn read_variables(config: &mut Config, variables: &[(OsString, OsString)], problems: &mut Vec<Problem>) {
    let ours = variables.iter().filter_map(|(name, value)| {
        let name = name.to_str().filter(|name| name.starts_with(PREFIX) && *name != CONFIG_VARIABLE)?;
        // Set to nothing is not set, as is the custom.
        (!value.is_empty()).then_some((name, value))
    });
    for (name, value) in ours {
        let place = || Place::Variable(name.to_owned());
        match KEYS.iter().find(|key| key.variable() == name) {
            Some(key) => set(config, key, Raw::Variable(value), |_| place(), problems),
            None => {
                let nearest = nearest_variable(name);
                problems.push(Problem::UnknownKey { place: place(), key: name.to_owned(), nearest });
            }
        }
    }
}

/// Sets a key; `place` tells where a value, or the wrong entry of one, was written.
fn set<'a>(
    config: &mut Config,
    key: &Key,
    raw: Raw<'a>,
    place: impl Fn(Raw<'a>) -> Place,
    problems: &mut Vec<Problem>,
) {
    if let Err(wrong) = key.set(config, raw, place(raw)) {
        let (place, value) = (place(wrong), wrong.to_string());
        problems.push(Problem::Value { place, key: key.name, value, allowed: key.allowed });
    }
}

fn nearest_key(in_section: bool, name: &str) -> Option<String> {
    let keys = || KEYS.iter().map(|key| key.name);
    if !in_section {
        let (sections, top): (Vec<_>, Vec<_>) = keys().partition(|key| key.contains('.'));
        let sections = sections.iter().filter_map(|key| key.split('.').next());
        let nearest = nearest_of(name, top.into_iter().chain(sections).map(str::to_owned))?;
        let is_section = keys().all(|key| key != nearest);
        return Some(if is_section { format!("[{nearest}]") } else { nearest });
    }
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let in_wrong_section = keys().find(|key| last(key) == last(name)).map(str::to_owned);
    in_wrong_section.or_else(|| nearest_of(name, keys().filter(|key| key.contains('.')).map(str::to_owned)))
}

fn nearest_variable(name: &str) -> Option<String> {
    // The prefix, which all share, makes none of them nearer.
    let name = name[PREFIX.len()..].to_lowercase();
    let keys = || KEYS.iter().map(|key| key.name.replace('.', "_"));
    let without_section = keys().find(|key| key.ends_with(&format!("_{name}")));
    let nearest = without_section.or_else(|| nearest_of(&name, keys()))?;
    Some(format!("{PREFIX}{}", nearest.to_uppercase()))
}

/// The known name that most likely was meant: the closest one, if it is close.
fn nearest_of(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let (distance, nearest) = known.map(|known| (edit_distance(name, &known), known)).min()?;
    (distance <= 2.max(name.chars().count() / 3)).then_some(nearest)
}

/// Levenshtein distance. Names longer than any key are as far away as can be.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 2 * b.len() {
        return a.len();
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
