//! Settings: flag > environment > configuration file > default. Each knows where it comes from.

mod file;
mod keys;
mod links;
mod original;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pip_accel_schema::environment::PackageLink;
use pip_accel_schema::name::PackageName;
use serde::Serialize;

pub(crate) use file::ReadConfigError;
pub(crate) use keys::{KEYS, Key, parse_duration, parse_size};
pub(crate) use links::package_links;
use original::ORIGINALS;

use crate::host::Host;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Variable(String),
    /// A configuration file.
    File(PathBuf),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => formatter.write_str("command line"),
            Self::Variable(name) => write!(formatter, "${name}"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// One value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    /// A text or path.
    Text(String),
    /// A number, a time in seconds or a size in bytes.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Texts.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Flag(flag) => write!(formatter, "{flag}"),
            Self::List(list) => formatter.write_str(&list.join(" ")),
        }
    }
}

/// Why a setting can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The configuration file can't be used.
    #[error(transparent)]
    File(#[from] ReadConfigError),
    /// A value is not of its kind.
    #[error("`{value}` is not a value for `{key}` ({origin}): {expected} is expected")]
    Value {
        /// The setting.
        key: String,
        /// The refused text.
        value: String,
        /// Where it comes from.
        origin: String,
        /// What is expected.
        expected: &'static str,
    },
    /// There is neither a home directory nor another place for the store.
    #[error(
        "there is no place for the store: you have no home directory, and neither --store nor PIP_ACCEL_STORE is set"
    )]
    NoStore,
}

/// All settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// What was set and has no effect, as sentences.
    without_effect: Vec<String>,
}

impl Settings {
    /// Collects the settings of the environment and the configuration files; flags are added with [`set`](Self::set).
    ///
    /// # Errors
    /// An unreadable file, an unknown key, or a value of the wrong kind.
    pub(crate) fn read(host: &Host, config: Option<&Path>) -> Result<Self, SettingsError> {
        let mut settings = Self { values: BTreeMap::new(), without_effect: Vec::new() };
        for (path, required) in config_files(host, config) {
            for found in file::read(&path, required)? {
                settings.insert(found.key, found.value, Origin::File(path.clone()));
            }
        }
        // The own variable wins, below.
        for original in &ORIGINALS {
            let name = original.variable();
            if let Some(text) = host.variable(&name) {
                let origin = Origin::Variable(name);
                let value = original.parse(&text, &origin)?;
                settings.insert(original.key.unwrap_or(original.name), value, origin);
            }
        }
        for key in KEYS {
            for name in key.variables() {
                if let Some(text) = host.variable(&name) {
                    let origin = Origin::Variable(name);
                    settings.insert(key.name, key.parse(&text, &origin)?, origin);
                    break;
                }
            }
        }
        settings.note_what_has_no_effect(host);
        Ok(settings)
    }

    fn note_what_has_no_effect(&mut self, host: &Host) {
        for original in ORIGINALS.iter().filter(|original| original.key.is_none()) {
            if let (Some((_, origin)), Some(reason)) = (self.values.remove(original.name), original.without_effect) {
                self.without_effect.push(format!("`{}` ({origin}) has no effect: {reason}", original.name));
            }
        }
        for name in host.variables_with(PREFIX).filter(|name| !is_known_variable(name)) {
            self.without_effect.push(format!("`${name}` has no effect: there is no such setting"));
        }
    }

    /// What was set and has no effect, as sentences.
    pub(crate) fn without_effect(&self) -> &[String] {
        &self.without_effect
    }

    /// Sets a value from the command line.
    pub(crate) fn set(&mut self, key: &'static str, value: Option<Value>) {
        if let Some(value) = value {
            self.insert(key, value, Origin::Flag);
        }
    }

    /// The later source wins; what is said of single packages adds up, and the later word on a package wins.
    fn insert(&mut self, key: &'static str, value: Value, origin: Origin) {
        let value = match (self.values.remove(key), value) {
            (Some((Value::List(earlier), _)), Value::List(later)) if key == links::KEY => {
                Value::List([earlier, later].concat())
            }
            (_, value) => value,
        };
        self.values.insert(key, (value, origin));
    }

    /// How the files of single packages get into environments.
    ///
    /// # Errors
    /// When an item is not `NAME=dirs|files|copy`.
    pub(crate) fn package_links(&self) -> Result<BTreeMap<PackageName, PackageLink>, SettingsError> {
        match self.values.get(links::KEY) {
            Some((Value::List(items), origin)) => package_links(items, origin),
            _ => Ok(BTreeMap::new()),
        }
    }

    /// Every known setting with its value (`None`: not set) and origin.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static Key, Option<&Value>, Origin)> {
        KEYS.iter().map(|key| match self.values.get(key.name) {
            Some((value, origin)) => (key, Some(value), origin.clone()),
            None => (key, None, Origin::Default),
        })
    }

    /// A text or path.
    #[must_use]
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key) {
            Some((Value::Text(text), _)) => Some(text),
            _ => None,
        }
    }

    /// A number.
    #[must_use]
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some((Value::Number(number), _)) => Some(*number),
            _ => None,
        }
    }

    /// A time.
    #[must_use]
    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        self.number(key).map(Duration::from_secs)
    }

    /// Yes or no; not set is no.
    #[must_use]
    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some((Value::Flag(true), _)))
    }

    /// Texts; not set is none.
    #[must_use]
    pub(crate) fn list(&self, key: &str) -> &[String] {
        match self.values.get(key) {
            Some((Value::List(list), _)) => list,
            _ => &[],
        }
    }

    /// Whether the key is set at all.
    #[must_use]
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// How much is said unless `-v` and `-q` say otherwise: `-v` given so often, or `-q` if it is less than 0.
    #[must_use]
    pub(crate) fn verbosity(&self) -> i16 {
        match self.text("log-verbosity") {
            Some("debug") => 2,
            Some("verbose") => 1,
            Some("warning") => -1,
            Some("error" | "critical") => -2,
            _ => 0,
        }
    }

    /// The stores that are read beside the own one.
    #[must_use]
    pub(crate) fn lower_stores(&self, host: &Host) -> Vec<PathBuf> {
        self.list("lower-stores").iter().map(|path| host.absolute(Path::new(path))).collect()
    }

    /// The store's directory.
    ///
    /// # Errors
    /// When nothing says where it could be.
    pub(crate) fn store(&self, host: &Host) -> Result<PathBuf, SettingsError> {
        if let Some(store) = self.text("store") {
            return Ok(host.absolute(Path::new(store)));
        }
        if host.is_root {
            return Ok(PathBuf::from("/var/cache/pip-accel"));
        }
        host.home().map(|home| home.join(".pip-accel")).ok_or(SettingsError::NoStore)
    }
}

/// What our variables begin with.
const PREFIX: &str = "PIP_ACCEL_";

/// The variable that names a further configuration file.
const CONFIG: &str = "PIP_ACCEL_CONFIG";

/// Whether a variable of ours means something, or belongs to the project's own tests and benches.
fn is_known_variable(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let option = rest.to_ascii_lowercase().replace('_', "-");
    ["CACHE", "CONFIG"].contains(&rest)
        || rest.starts_with("TEST_")
        || rest.starts_with("BENCH_")
        || ORIGINALS.iter().any(|original| original.name == option)
        || KEYS.iter().any(|key| key.name == option)
}

/// The configuration files in rising priority, and whether each must exist.
fn config_files(host: &Host, explicit: Option<&Path>) -> Vec<(PathBuf, bool)> {
    if let Some(path) = explicit {
        return vec![(host.absolute(path), true)];
    }
    let mut files = vec![(PathBuf::from("/etc/pip-accel.conf"), false)];
    files.extend(host.home().map(|home| (home.join(".pip-accel/pip-accel.conf"), false)));
    files.extend(host.variable(CONFIG).map(|path| (host.absolute(Path::new(&path)), true)));
    files
}
