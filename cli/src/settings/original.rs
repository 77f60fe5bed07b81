//! The options of the original pip-accel that have another name here, or none: what each means. Those whose name and
//! meaning are the same (`log-verbosity`, `s3-…`) are settings like any other.

use super::{Origin, SettingsError, Value};

/// One option of the original.
#[derive(Debug)]
pub(super) struct Original {
    /// Its name in a configuration file; its variable is `PIP_ACCEL_` and this in capitals.
    pub(super) name: &'static str,
    /// The setting that it is here.
    pub(super) key: Option<&'static str>,
    /// Its value as that setting's, or `None` when it is no value of it.
    read: fn(&str) -> Option<Value>,
    /// What it has to be.
    expected: &'static str,
    /// Why it has no effect, when somebody could wait for one.
    pub(super) without_effect: Option<&'static str>,
}

/// All of them.
pub(super) const ORIGINALS: [Original; 6] = [
    Original {
        name: "data-directory",
        key: Some("store"),
        read: |text| Some(Value::Text(text.to_owned())),
        expected: "a path",
        without_effect: None,
    },
    // Its third state, to ask, was that it is not set.
    Original {
        name: "auto-install",
        key: Some("system-packages"),
        read: |text| Some(Value::Text(if flag(text)? { "install" } else { "refuse" }.to_owned())),
        expected: "true or false",
        without_effect: None,
    },
    // It counts attempts; the setting counts what comes after the first one.
    Original {
        name: "max-retries",
        key: Some("retries"),
        read: |text| Some(Value::Number(u64::from(text.trim().parse::<u32>().ok()?.checked_sub(1)?))),
        expected: "a whole number of 1 or more (of attempts)",
        without_effect: None,
    },
    // Content decides here, so that either value is kept: nothing changed is overlooked, nothing unchanged is rebuilt.
    Original {
        name: "trust-mod-times",
        key: None,
        read: |text| flag(text).map(Value::Flag),
        expected: "true or false",
        without_effect: None,
    },
    Original {
        name: "log-format",
        key: None,
        read: |text| Some(Value::Text(text.to_owned())),
        expected: "a text",
        without_effect: Some("what is said here has no format; `--json` is for programs"),
    },
    // Only ever a variable, and there is no boto that could be loud.
    Original {
        name: "silence-boto",
        key: None,
        read: |text| flag(text).map(Value::Flag),
        expected: "true or false",
        without_effect: None,
    },
];

impl Original {
    /// Its variable.
    pub(super) fn variable(&self) -> String {
        format!("PIP_ACCEL_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// Its value as that of the setting it is here.
    ///
    /// # Errors
    /// When it is no value of it.
    pub(super) fn parse(&self, text: &str, origin: &Origin) -> Result<Value, SettingsError> {
        (self.read)(text).ok_or_else(|| SettingsError::Value {
            key: self.name.to_owned(),
            value: text.to_owned(),
            origin: origin.to_string(),
            expected: self.expected,
        })
    }
}

/// What the original took for yes and no.
fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Option<Value> {
        let original = ORIGINALS.iter().find(|original| original.name == name).expect("an option");
        original.parse(text, &Origin::Default).ok()
    }

    #[test]
    fn the_values_of_the_original_become_those_of_the_settings() {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        assert_eq!(parse("auto-install", "Yes"), text("install"));
        assert_eq!(parse("auto-install", "off"), text("refuse"));
        assert_eq!(parse("auto-install", "ask"), None);
        assert_eq!(parse("max-retries", "3"), Some(Value::Number(2)));
        assert_eq!(parse("max-retries", "1"), Some(Value::Number(0)));
        for bad in ["0", "-1", "many", "", "5000000000"] {
            assert_eq!(parse("max-retries", bad), None, "{bad}");
        }
        assert_eq!(parse("trust-mod-times", "no"), Some(Value::Flag(false)));
        assert_eq!(parse("trust-mod-times", "perhaps"), None);
    }
}
