//! Configuration files: TOML; the original pip-accel's INI files are still read.

use std::io;
use std::path::{Path, PathBuf};

use super::{KEYS, Origin, Value, auto_install, links};

/// Largest configuration file read; far more than all settings take.
const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;

/// The tables of single packages are below this one: `[package.NAME]`.
const PACKAGE_TABLES: &str = "package";

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
pub(super) fn read(path: &Path, required: bool) -> Result<Vec<(&'static str, Value)>, ReadConfigError> {
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
    match text.parse::<toml::Table>() {
        Ok(table) => from_toml(path, table),
        Err(error) => match ini_pairs(&text) {
            Some(pairs) => from_ini(path, &pairs),
            None => Err(ReadConfigError::Syntax { path: path.to_owned(), reason: error.message().to_owned() }),
        },
    }
}

fn from_toml(path: &Path, table: toml::Table) -> Result<Vec<(&'static str, Value)>, ReadConfigError> {
    let mut values = Vec::new();
    for (name, value) in table {
        if let (PACKAGE_TABLES, toml::Value::Table(packages)) = (name.as_str(), &value) {
            let items = links::from_tables(packages).map_err(|(key, reason)| match reason {
                Some(reason) => ReadConfigError::Value { path: path.to_owned(), key, reason },
                None => ReadConfigError::UnknownKey { path: path.to_owned(), key },
            })?;
            values.push((links::KEY, Value::List(items)));
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return Err(ReadConfigError::UnknownKey { path: path.to_owned(), key: name });
        };
        let wrong = |reason: String| ReadConfigError::Value { path: path.to_owned(), key: name.clone(), reason };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(_) | toml::Value::Boolean(_) if key.is_list() => {
                return Err(wrong("a list of texts is expected".to_owned()));
            }
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(items) if key.is_list() => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                let texts = texts.ok_or_else(|| wrong("a list of texts is expected".to_owned()))?;
                values.push((key.name, Value::List(texts)));
                continue;
            }
            other => return Err(wrong(format!("a {} is not expected", other.type_str()))),
        };
        let value = key.parse(&text, &Origin::File(path.to_owned())).map_err(|error| wrong(error.to_string()))?;
        values.push((key.name, value));
    }
    Ok(values)
}

/// The pairs of the section `[pip-accel]`, or `None` if this is no such file.
fn ini_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut inside = false;
    let mut seen = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = section.trim() == "pip-accel";
            seen |= inside;
        } else if inside {
            let (key, value) = line.split_once(['=', ':'])?;
            pairs.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    seen.then_some(pairs)
}

/// Settings of the original that mean nothing here: accepted, so that its files stay usable.
const ORIGINAL_ONLY: [&str; 8] = [
    "log-format",
    "log-verbosity",
    "max-retries",
    "on-debian",
    "s3-bucket",
    "s3-prefix",
    "s3-readonly",
    "trust-mod-times",
];

fn from_ini(path: &Path, pairs: &[(String, String)]) -> Result<Vec<(&'static str, Value)>, ReadConfigError> {
    let mut values = Vec::new();
    for (name, text) in pairs {
        match name.as_str() {
            "data-directory" => values.push(("store", Value::Text(text.clone()))),
            "auto-install" => {
                let value = auto_install(text, &Origin::File(path.to_owned())).map_err(|error| {
                    ReadConfigError::Value { path: path.to_owned(), key: name.clone(), reason: error.to_string() }
                })?;
                values.push(("system-packages", value));
            }
            name if ORIGINAL_ONLY.contains(&name) => {}
            _ => return Err(ReadConfigError::UnknownKey { path: path.to_owned(), key: name.clone() }),
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_files_are_read() {
        let pairs =
            ini_pairs("# comment\n[pip-accel]\ndata-directory = /var/x\nauto-install: yes\n").expect("an INI file");
        let values = from_ini(Path::new("x"), &pairs).expect("known keys");
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(values, [("store", text("/var/x")), ("system-packages", text("install"))]);
        assert!(ini_pairs("[other]\na = 1\n").is_none());
        assert!(ini_pairs("store = /x").is_none());
    }
}
