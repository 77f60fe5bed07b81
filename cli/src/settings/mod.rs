//! Settings: flag > environment > configuration file > default. Each knows where it comes from.

mod file;
mod keys;
mod links;

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
    #[error("there is no place for the store: neither --store, PIP_ACCEL_STORE nor HOME is set")]
    NoStore,
}

/// The variable of the original pip-accel.
const AUTO_INSTALL: &str = "PIP_ACCEL_AUTO_INSTALL";

/// The policy that `auto-install` of the original means: yes installs without a question, no never does. Its third
/// state, to ask, was that it is not set.
fn auto_install(text: &str, origin: &Origin) -> Result<Value, SettingsError> {
    let word = match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => "install",
        "0" | "false" | "no" | "off" => "refuse",
        _ => {
            return Err(SettingsError::Value {
                key: "auto-install".to_owned(),
                value: text.to_owned(),
                origin: origin.to_string(),
                expected: "true or false",
            });
        }
    };
    Ok(Value::Text(word.to_owned()))
}

/// All settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (Value, Origin)>,
}

impl Settings {
    /// Collects the settings of the environment and the configuration files; flags are added with [`set`](Self::set).
    ///
    /// # Errors
    /// An unreadable file, an unknown key, or a value of the wrong kind.
    pub(crate) fn read(host: &Host, config: Option<&Path>) -> Result<Self, SettingsError> {
        let mut settings = Self { values: BTreeMap::new() };
        for (path, required) in config_files(host, config) {
            for (key, value) in file::read(&path, required)? {
                settings.insert(key, value, Origin::File(path.clone()));
            }
        }
        // The original's word for two of the policies; the own variable wins, below.
        if let Some(text) = host.variable(AUTO_INSTALL) {
            let origin = Origin::Variable(AUTO_INSTALL.to_owned());
            settings.insert("system-packages", auto_install(&text, &origin)?, origin);
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
        Ok(settings)
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

/// The configuration files in rising priority, and whether each must exist.
fn config_files(host: &Host, explicit: Option<&Path>) -> Vec<(PathBuf, bool)> {
    if let Some(path) = explicit {
        return vec![(host.absolute(path), true)];
    }
    if let Some(path) = host.variable("PIP_ACCEL_CONFIG") {
        return vec![(host.absolute(Path::new(&path)), true)];
    }
    let mut files = vec![(PathBuf::from("/etc/pip-accel.conf"), false)];
    files.extend(host.home().map(|home| (home.join(".pip-accel/pip-accel.conf"), false)));
    files
}
