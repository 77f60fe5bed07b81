//! Settings for the backend of one build (PEP 517): `--config-settings KEY=VALUE`, declared and part of the recipe.

use std::collections::BTreeMap;

use crate::requirement::excerpt;

/// Settings by their keys; the values of a key that was given several times stand a line each ([`values`]).
pub type ConfigSettings = BTreeMap<String, String>;

/// Most settings of one build; the longest lists of options of known projects have some thirty.
pub const CONFIG_SETTINGS_MAX: usize = 1000;

/// What stands between several values of a key. No value holds it: see [`add`].
const SEPARATOR: char = '\n';

/// Why a text is no setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigSettingError {
    /// There is no key before `=`, or no `=`.
    #[error("`{0}` is no setting: `KEY=VALUE` is expected")]
    Form(String),
    /// A lock could not hold it: a line ends at a control character, and a comment begins at ` #`.
    #[error("the setting `{0}` has a control character, or a `#` after white space")]
    Characters(String),
    /// More than [`CONFIG_SETTINGS_MAX`].
    #[error("there are more than {CONFIG_SETTINGS_MAX} settings")]
    TooMany,
}

/// Adds the setting `KEY=VALUE`; a key that is there gets one more value, as in pip.
///
/// # Errors
/// See [`ConfigSettingError`].
pub fn add(settings: &mut ConfigSettings, text: &str) -> Result<(), ConfigSettingError> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.trim().is_empty())
        .ok_or_else(|| ConfigSettingError::Form(excerpt(text)))?;
    let begins_comment = text.char_indices().any(|(at, part)| part == '#' && text[..at].ends_with(char::is_whitespace));
    if begins_comment || text.contains(char::is_control) {
        return Err(ConfigSettingError::Characters(excerpt(&text.replace(char::is_control, "?"))));
    }
    let count: usize = settings.values().map(|value| values(value).count()).sum();
    if count >= CONFIG_SETTINGS_MAX {
        return Err(ConfigSettingError::TooMany);
    }
    let known = settings.entry(key.to_owned());
    known
        .and_modify(|known| {
            known.push(SEPARATOR);
            known.push_str(value);
        })
        .or_insert_with(|| value.to_owned());
    Ok(())
}

/// The values of a key, in their order.
pub fn values(value: &str) -> impl Iterator<Item = &str> {
    value.split(SEPARATOR)
}

/// The settings as the options of a requirement in a lock: ` --config-settings="KEY=VALUE"` each.
#[must_use]
pub fn as_options(settings: &ConfigSettings) -> Vec<String> {
    let option = |key: &str, value: &str| {
        let text = format!("{key}={value}").replace('\\', "\\\\").replace('"', "\\\"");
        format!("--config-settings=\"{text}\"")
    };
    settings.iter().flat_map(|(key, value)| values(value).map(move |value| option(key, value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_in_pip() {
        let mut settings = ConfigSettings::new();
        for text in ["a=1", "b=x=y", "a=2", "--build-option=--fast", "empty="] {
            add(&mut settings, text).expect(text);
        }
        assert_eq!(values(&settings["a"]).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(settings["b"], "x=y");
        assert_eq!(settings["--build-option"], "--fast");
        assert_eq!(settings["empty"], "");
        for text in ["a", "=a", " =a", "a=b\nc", "a=b #c"] {
            assert!(add(&mut settings, text).is_err(), "{text:?}");
        }
        for number in 0..CONFIG_SETTINGS_MAX - 5 {
            add(&mut settings, &format!("k{number}=")).expect("room");
        }
        assert_eq!(add(&mut settings, "x=y"), Err(ConfigSettingError::TooMany));
    }

    #[test]
    fn a_lock_keeps_them() {
        let mut settings = ConfigSettings::new();
        for text in ["a=1", "a=with space", "b=\"quoted\" \\ ${HOME} 'x'", "c=#no comment"] {
            add(&mut settings, text).expect(text);
        }
        let line = format!("demo==1 {}", as_options(&settings).join(" "));
        let items = crate::lock_file::parse(&line).expect("a lock");
        let [crate::lock_file::LockItem::Requirement(read)] = items.as_slice() else { panic!("{items:?}") };
        assert_eq!(read.config_settings, settings);
    }
}
