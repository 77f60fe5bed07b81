//! `entry_points.txt` and the rules that script names keep.

use std::collections::BTreeMap;

use pip_accel_schema::link_plan::EntryPoint;

/// Longest `entry_points.txt` that is read, in bytes; the longest known has about 100 KiB.
pub const ENTRY_POINTS_BYTES_MAX: u64 = 4 << 20;

/// Most generated scripts of one package; the most known are about 700.
pub const SCRIPTS_MAX: usize = 10_000;

/// Why `entry_points.txt` or a script is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryPointError {
    /// Not UTF-8.
    #[error("`entry_points.txt` is not UTF-8")]
    Encoding,
    /// A script that could land outside `bin/` or replace the interpreter.
    #[error("script name `{name}` {reason}")]
    Name {
        /// The name, with what can't be printed escaped.
        name: String,
        /// The reason as the end of a sentence.
        reason: &'static str,
    },
    /// Not `module:attribute`.
    #[error("script `{name}` has the entry point `{value}`, which is not `module:attribute`")]
    Value {
        /// The script's name.
        name: String,
        /// What stands right of `=`.
        value: String,
    },
    /// Over [`SCRIPTS_MAX`].
    #[error("there are over {SCRIPTS_MAX} scripts")]
    TooMany,
}

/// The console and GUI scripts of `entry_points.txt`, sorted by name; of two with one name the later counts, as in pip.
///
/// # Errors
/// When a script's name is not safe or its value is not `module:attribute`.
/// Other groups belong to other programs and are not looked at.
pub fn parse_entry_points(content: &[u8]) -> Result<Vec<EntryPoint>, EntryPointError> {
    let text = std::str::from_utf8(content).map_err(|_| EntryPointError::Encoding)?;
    let mut scripts = BTreeMap::new();
    let mut in_scripts = false;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(group) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            in_scripts = matches!(group.trim(), "console_scripts" | "gui_scripts");
            continue;
        }
        if !in_scripts {
            continue;
        }
        // A line without `=` continues the one before it for `configparser`; no known package relies on that.
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        let entry_point = parse_entry_point(name.trim(), value.trim())?;
        scripts.insert(entry_point.name.clone(), entry_point);
        if scripts.len() > SCRIPTS_MAX {
            return Err(EntryPointError::TooMany);
        }
    }
    Ok(scripts.into_values().collect())
}

fn parse_entry_point(name: &str, value: &str) -> Result<EntryPoint, EntryPointError> {
    check_script_name(name)?;
    let error = || EntryPointError::Value { name: name.to_owned(), value: super::archive::printable(value.as_bytes()) };
    // `module:attribute [extras]`: the extras were never looked at by installers.
    let target = match value.split_once('[') {
        Some((target, extras)) if extras.trim_end().ends_with(']') => target,
        Some(_) => return Err(error()),
        None => value,
    };
    let (module, attribute) = target.split_once(':').ok_or_else(error)?;
    let (module, attribute) = (module.trim(), attribute.trim());
    if is_dotted_name(module) && is_dotted_name(attribute) {
        Ok(EntryPoint { name: name.to_owned(), module: module.to_owned(), attribute: attribute.to_owned() })
    } else {
        Err(error())
    }
}

/// Checks the name of a file that goes to `bin/`.
///
/// # Errors
/// [`EntryPointError::Name`] when it could land elsewhere or replace the environment's interpreter.
pub fn check_script_name(name: &str) -> Result<(), EntryPointError> {
    let refused = |reason| Err(EntryPointError::Name { name: super::archive::printable(name.as_bytes()), reason });
    if name.is_empty() {
        return refused("is empty");
    }
    if name.len() > 255 {
        return refused("is too long");
    }
    if name.contains(['/', '\\']) || name == "." || name.contains("..") {
        return refused("leaves its folder");
    }
    if name.contains(char::is_control) {
        return refused("has control characters");
    }
    let version = name.strip_prefix("pythonw").or_else(|| name.strip_prefix("python"));
    if version.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')) {
        return refused("is the interpreter's");
    }
    Ok(())
}

/// Whether `text` is identifiers joined by dots.
#[must_use]
pub fn is_dotted_name(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(is_identifier)
}

/// Whether `text` is an identifier of Python, near enough: letters of any script, digits and `_`, no digit first.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    let starts_well = text.chars().next().is_some_and(|first| first == '_' || first.is_alphabetic());
    starts_well && text.chars().all(|character| character == '_' || character.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_and_other_groups_left_alone() {
        let text = "\u{feff}# comment\r\n[console_scripts]\r\npip = pip._internal.cli.main:main\r\n\
                    old=a.b : c.d [extra1, extra2]\n\n[ gui_scripts ]\n; note\nidle = idlelib:main\n\
                    [flake8.extension]\n../x = y\nnovalue\n";
        let scripts = parse_entry_points(text.as_bytes()).expect("entry points");
        let names: Vec<&str> = scripts.iter().map(|script| script.name.as_str()).collect();
        assert_eq!(names, ["idle", "old", "pip"]);
        assert_eq!((scripts[1].module.as_str(), scripts[1].attribute.as_str()), ("a.b", "c.d"));
    }

    /// D2: an entry point that leaves `bin/`, or that would become code.
    #[test]
    fn escaping_names_and_values_are_refused() {
        for name in ["../x", "a/b", "/x", "a\\b", "..", ".", "a\0b", "a\x1bb", "", "python", "python3", "python3.11"] {
            let text = format!("[console_scripts]\n{name} = m:f\n");
            assert!(parse_entry_points(text.as_bytes()).is_err(), "{name:?}");
        }
        for value in ["", "m", "m:", ":f", "m:f;import os", "m f:g", "m:f(", "m.:f", "m:f [x", "1m:f", "m:f\"'"] {
            let text = format!("[console_scripts]\nx = {value}\n");
            assert!(parse_entry_points(text.as_bytes()).is_err(), "{value:?}");
        }
        assert!(parse_entry_points(b"[console_scripts]\n\xff=a:b").is_err());
        assert!(check_script_name("ipython3").is_ok());
        assert!(check_script_name("python-config").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_every_name_stays_in_its_folder(text in ".{0,300}") {
            if let Ok(scripts) = parse_entry_points(format!("[console_scripts]\n{text}").as_bytes()) {
                for script in scripts {
                    proptest::prop_assert!(!script.name.contains(['/', '\0', '\n']));
                    proptest::prop_assert!(is_dotted_name(&script.module));
                }
            }
        }

        #[test]
        fn no_bytes_panic(content in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse_entry_points(&content);
        }
    }
}
