//! How a value is read, whether it stands in a file, in the environment or on the command line.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    slice,
    str::FromStr,
};

use toml::{
    Spanned, Value,
    de::{DeInteger, DeValue},
};

use super::{Auth, BootstrapPeer, Ciphers, Hours, QuicAddress, Shape};
use crate::content::NodeId;

/// A value as someone wrote it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    /// In the file.
    Toml(&'a Spanned<DeValue<'a>>),
    /// In an environment variable; the entries of a list are separated by commas.
    Variable(&'a OsStr),
    /// As a flag, which may be repeated for a list.
    Flag(&'a [OsString]),
}

impl<'a> Raw<'a> {
    fn os_text(self) -> Option<&'a OsStr> {
        match self {
            Self::Toml(value) => value.get_ref().as_str().map(OsStr::new),
            Self::Variable(text) => Some(text),
            Self::Flag([text]) => Some(text),
            Self::Flag(_) => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        self.os_text()?.to_str()
    }

    fn integer(self) -> Option<u64> {
        match self {
            Self::Toml(value) => value.get_ref().as_integer().and_then(read_integer),
            _ => self.text()?.parse().ok(),
        }
    }

    fn list(self) -> Option<Vec<Self>> {
        Some(match self {
            Self::Toml(value) => value.get_ref().as_array()?.iter().map(Self::Toml).collect(),
            Self::Variable(text) => {
                text.to_str()?.split(',').map(|entry| Self::Variable(OsStr::new(entry.trim()))).collect()
            }
            Self::Flag(texts) => texts.iter().map(|text| Self::Flag(slice::from_ref(text))).collect(),
        })
    }
}

fn read_integer(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Toml(value) => match value.get_ref() {
                DeValue::String(text) => format!("{text:?}"),
                DeValue::Integer(number) => number.as_str().to_owned(),
                DeValue::Float(number) => number.as_str().to_owned(),
                DeValue::Boolean(value) => value.to_string(),
                DeValue::Array(entries) => {
                    // As many as there is room for.
                    let shown = entries.iter().take(8).map(|entry| Self::Toml(entry).to_string());
                    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
                }
                other => format!("a {}", other.type_str()),
            },
            Self::Variable(text) => format!("{text:?}"),
            Self::Flag([text]) => format!("{text:?}"),
            Self::Flag(texts) => format!("{texts:?}"),
        };
        // A value of any length is shown by its beginning.
        match text.char_indices().nth(80) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// Reads it; what it could not read is the error.
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>>;
    /// What would read as this.
    fn write(&self) -> Value;
}

impl Setting for bool {
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
        match raw {
            Raw::Toml(value) => value.get_ref().as_bool(),
            _ => raw.text().and_then(|text| text.parse().ok()),
        }
        .ok_or(raw)
    }

    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for u64 {
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
        raw.integer().ok_or(raw)
    }

    fn write(&self) -> Value {
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Setting for u32 {
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
        raw.integer().and_then(|number| number.try_into().ok()).ok_or(raw)
    }

    fn write(&self) -> Value {
        Value::Integer((*self).into())
    }
}

impl Setting for PathBuf {
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
        let text = raw.os_text().ok_or(raw)?;
        let path = Path::new(text);
        if let Ok(rest) = path.strip_prefix("~") {
            return Ok(std::env::home_dir().ok_or(raw)?.join(rest));
        }
        match raw {
            _ if text.is_empty() || path.is_absolute() => Ok(path.to_owned()),
            // Where a file is read from must not decide what it means.
            Raw::Toml(_) => Err(raw),
            _ => std::path::absolute(path).map_err(|_| raw),
        }
    }

    fn write(&self) -> Value {
        Value::String(self.to_string_lossy().into_owned())
    }
}

/// What is written as a text.
macro_rules! setting_of_text {
    ($($type:ty),*) => { $(
        impl Setting for $type {
            fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
                raw.text().and_then(|text| text.parse().ok()).ok_or(raw)
            }

            fn write(&self) -> Value {
                Value::String(self.to_string())
            }
        }
    )* };
}

setting_of_text!(String, SocketAddr, NodeId, QuicAddress, BootstrapPeer, Auth, Ciphers, Hours, Shape);

impl Setting for log::LevelFilter {
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
        raw.text().and_then(|text| text.parse().ok()).ok_or(raw)
    }

    fn write(&self) -> Value {
        Value::String(self.to_string().to_lowercase())
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
        raw.list().ok_or(raw)?.into_iter().map(T::read).collect()
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(T::write).collect())
    }
}

/// What is one of a few words.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),* }) => {
        impl FromStr for $type {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(()),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }
    };
}

words!(Auth { Open = "open", Learn = "learn", Allowlist = "allowlist" });
words!(Ciphers { Auto = "auto", Aes256 = "aes-256", ChaCha20 = "chacha20" });
words!(Shape { Auto = "auto", Mesh = "mesh", Hubs = "hubs", Tree = "tree" });

/// A number of bytes, written as a number or with a unit: `500 MB`, `2 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let number: u64 = number.parse().map_err(|_| ())?;
        let factor = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => return Err(()),
        };
        number.checked_mul(factor).map(Self).ok_or(())
    }
}

impl fmt::Display for Bytes {
    /// Exact: the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = || UNITS.iter().filter(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        let (name, factor) = units().max_by_key(|(_, factor)| factor).unwrap_or(&("B", 1));
        write!(f, "{} {name}", self.0 / factor)
    }
}

impl Setting for Bytes {
    fn read(raw: Raw<'_>) -> Result<Self, Raw<'_>> {
        let number = raw.integer().map(Self);
        number.or_else(|| raw.text().and_then(|text| text.parse().ok())).ok_or(raw)
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}
