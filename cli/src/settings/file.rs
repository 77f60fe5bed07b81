//! Configuration files: TOML, and the original pip-accel's INI files.

use std::io;
use std::path::{Path, PathBuf};

use pip_accel_builder::python::ini::parse_ini;

use super::original::ORIGINALS;
use super::{KEYS, Origin, SettingsError, Value, links};

/// Largest configuration file read; far more than all settings take.
const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

/// The tables of single packages are below this one: `[package.NAME]`.
const PACKAGE_TABLES: &str = "package";

/// A value of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The setting, or an option of the original that has no effect.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) value: Value,
    is_own_name: bool,
}

/// Why a configuration file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadConfigError {
    /// It can't be read.
    #[error("cannot read the configuration file `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is neither TOML nor INI.
    #[error("`{path}` is not a configuration file: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It sets something that does not exist.
    #[error("`{path}` sets `{key}`, which is no setting (`pip-accel config show` lists them)")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A value is of the wrong kind.
    #[error("`{path}` has a wrong value for `{key}`: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// The settings of the file at `path`; none if it may be absent and is.
///
/// # Errors
/// See [`ReadConfigError`].
pub(super) fn read(path: &Path, required: bool) -> Result<Vec<Found>, ReadConfigError> {
    let io_error = |source| ReadConfigError::Io { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(Vec::new()),
        Err(error) => return Err(io_error(error)),
        Ok(metadata) if metadata.len() > CONFIG_FILE_BYTES_MAX => {
            let reason = format!("it is larger than {CONFIG_FILE_BYTES_MAX} bytes");
            return Err(ReadConfigError::Syntax { path: path.to_owned(), reason });
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(io_error)?;
    if is_original(&text) {
        return from_ini(path, &text);
    }
    match text.parse::<toml::Table>() {
        Ok(table) => from_toml(path, table),
        Err(error) => Err(ReadConfigError::Syntax { path: path.to_owned(), reason: error.message().to_owned() }),
    }
}

fn from_toml(path: &Path, table: toml::Table) -> Result<Vec<Found>, ReadConfigError> {
    let mut found = Vec::new();
    for (name, value) in table {
        let own = |key, value| Found { key, value, is_own_name: true };
        if let (PACKAGE_TABLES, toml::Value::Table(packages)) = (name.as_str(), &value) {
            let items = links::from_tables(packages).map_err(|(key, reason)| match reason {
                Some(reason) => ReadConfigError::Value { path: path.to_owned(), key, reason },
                None => ReadConfigError::UnknownKey { path: path.to_owned(), key },
            })?;
            found.push(own(links::KEY, Value::List(items)));
            continue;
        }
        let wrong = |reason: String| ReadConfigError::Value { path: path.to_owned(), key: name.clone(), reason };
        let list = KEYS.iter().find(|key| key.name == name).filter(|key| key.is_list());
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(_) | toml::Value::Boolean(_) if list.is_some() => {
                return Err(wrong("a list of texts is expected".to_owned()));
            }
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(items) if list.is_some() => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                let texts = texts.ok_or_else(|| wrong("a list of texts is expected".to_owned()))?;
                found.extend(list.map(|key| own(key.name, Value::List(texts))));
                continue;
            }
            _ if !is_known(&name) => return Err(ReadConfigError::UnknownKey { path: path.to_owned(), key: name }),
            other => return Err(wrong(format!("a {} is not expected", other.type_str()))),
        };
        found.extend(named(path, &name, &text)?);
    }
    found.sort_by_key(|found| found.is_own_name);
    Ok(found)
}

fn is_known(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name) || ORIGINALS.iter().any(|original| original.name == name)
}

/// The section of the original's files. No setting is called so: who has it, has such a file, whatever else would read
/// it as well.
const ORIGINAL_SECTION: &str = "pip-accel";

fn is_original(text: &str) -> bool {
    let name = |line: &str| Some(line.trim().strip_prefix('[')?.split_once(']')?.0.trim() == ORIGINAL_SECTION);
    text.lines().any(|line| name(line).unwrap_or(false))
}

/// Reads a file of the original: each option by its old name, or any setting by its own, as a variable would have it.
fn from_ini(path: &Path, text: &str) -> Result<Vec<Found>, ReadConfigError> {
    let sections = parse_ini(text).map_err(|(line, reason)| ReadConfigError::Syntax {
        path: path.to_owned(),
        reason: format!("line {line}: {reason}"),
    })?;
    let mut found = Vec::new();
    for (section, pairs) in &sections {
        if section != ORIGINAL_SECTION {
            return Err(ReadConfigError::UnknownKey { path: path.to_owned(), key: format!("[{section}]") });
        }
        for (name, text) in pairs {
            // As in a variable, nothing is no value.
            if !text.is_empty() {
                found.extend(named(path, name, text)?);
            }
        }
    }
    // The own name of a setting wins over the old one, wherever they stand.
    found.sort_by_key(|found| found.is_own_name);
    Ok(found)
}

/// The setting or option of that name with this value; `None` when it means nothing and nobody would miss it.
fn named(path: &Path, name: &str, text: &str) -> Result<Option<Found>, ReadConfigError> {
    let origin = Origin::File(path.to_owned());
    let wrong = |error: SettingsError| ReadConfigError::Value {
        path: path.to_owned(),
        key: name.to_owned(),
        reason: error.to_string(),
    };
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        let value = key.parse(text, &origin).map_err(wrong)?;
        return Ok(Some(Found { key: key.name, value, is_own_name: true }));
    }
    let Some(original) = ORIGINALS.iter().find(|original| original.name == name) else {
        return Err(ReadConfigError::UnknownKey { path: path.to_owned(), key: name.to_owned() });
    };
    let value = original.parse(text, &origin).map_err(wrong)?;
    let key = match (original.key, original.without_effect) {
        (Some(key), _) => key,
        // Who reads the settings says so.
        (None, Some(_)) => original.name,
        (None, None) => return Ok(None),
    };
    Ok(Some(Found { key, value, is_own_name: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Result<Vec<(&'static str, Value)>, ReadConfigError> {
        assert!(is_original(text), "{text}");
        Ok(from_ini(Path::new("x"), text)?.into_iter().map(|found| (found.key, found.value)).collect())
    }

    #[test]
    fn the_originals_files_are_read() {
        let text = |text: &str| Value::Text(text.to_owned());
        let file = "# comment\n[pip-accel]\nData-Directory = /var/x\nauto-install: yes\nmax-retries = 3\n\
                    trust-mod-times = no\nlog-verbosity = WARNING\nlog-format = %(message)s\ns3-readonly = on\n";
        let expected = [
            ("system-packages", text("install")),
            ("store", text("/var/x")),
            ("log-format", text("%(message)s")),
            ("retries", Value::Number(2)),
            ("log-verbosity", text("warning")),
            ("s3-readonly", Value::Flag(true)),
        ];
        assert_eq!(values(file).expect("known options"), expected);
        // What TOML would read as well is still such a file, and may hold any setting.
        let file = "[pip-accel]\nretries = 7\nmax-retries = 3\njobs = 2\nlink = six=copy a=files\n";
        let found = values(file).expect("known options");
        assert_eq!(found.iter().rfind(|(key, _)| *key == "retries"), Some(&("retries", Value::Number(7))));
        assert!(found.contains(&("jobs", Value::Number(2))));
        assert!(!is_original("[other]\na = 1\n") && !is_original("store = '/x'"));
        for bad in ["[pip-accel]\nnonsense = 1\n", "[pip-accel]\n[other]\n", "[pip-accel]\nmax-retries = 0\n"] {
            assert!(values(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn old_names_count_in_toml_too() {
        let read = |text: &str| from_toml(Path::new("x"), text.parse().expect("TOML"));
        let keys = |text: &str| read(text).map(|found| found.into_iter().map(|found| found.key).collect::<Vec<_>>());
        assert_eq!(keys("data-directory = '/x'\nauto-install = true\n").expect("known"), ["system-packages", "store"]);
        assert_eq!(keys("store = '/y'\ndata-directory = '/x'\n").expect("known"), ["store", "store"]);
        assert!(matches!(read("on-debian = true\n"), Err(ReadConfigError::UnknownKey { .. })));
        assert!(matches!(read("[table]\n"), Err(ReadConfigError::UnknownKey { .. })));
        assert!(matches!(read("jobs = [1]\n"), Err(ReadConfigError::Value { .. })));
    }
}
