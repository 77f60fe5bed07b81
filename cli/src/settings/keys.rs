//! The settings there are.

use pip_accel_builder::index::SafeUrl;
use url::Url;

use super::{Origin, SettingsError, Value};

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number from this one to the other one.
    Number(u64, u64),
    /// A time, which may be none: seconds, or a number with `s`, `m`, `h` or `d`.
    Duration,
    /// A time that is a limit, and so more than none.
    Limit,
    /// An amount of memory or disk: bytes, or a number with `K`, `M`, `G` or `T` (powers of 1024).
    Size,
    /// `true` or `false`.
    Flag,
    /// Texts, in a variable separated by white space.
    List,
    /// Paths, in a variable separated by colons.
    Paths,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name in a configuration file; in the environment `PIP_ACCEL_` and the name in capitals.
    pub(crate) name: &'static str,
    /// What its value looks like.
    pub(crate) kind: Kind,
    /// What it does.
    pub(crate) help: &'static str,
    /// The default for a reader.
    pub(crate) default: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, help, default }
}

/// The most of anything that is counted: what is larger is a slip of the pen.
const COUNT_MAX: u64 = u32::MAX as u64;

/// All settings, in the order in which they are shown.
pub(crate) const KEYS: &[Key] = &[
    key("store", Kind::Text, "/var/cache/pip-accel for root, else ~/.pip-accel", "directory of the store"),
    key("lower-stores", Kind::Paths, "none", "stores of root or yourself that are read beside your own"),
    key("python", Kind::Text, "the active one", "interpreter: a version, a name or a path"),
    key(
        "link-mode",
        Kind::Word(&["symlink", "hardlink", "reflink", "copy"]),
        "symlink",
        "how files get into environments",
    ),
    key("link", Kind::List, "dirs", "how files of single packages get there: NAME=dirs, files or copy"),
    key("keep-foreign", Kind::Flag, "false", "keep what others installed into an environment"),
    key("generations", Kind::Number(0, COUNT_MAX), "5", "earlier generations that each environment keeps"),
    key("jobs", Kind::Number(1, COUNT_MAX), "number of processors", "builds that run at once"),
    key("build-memory", Kind::Size, "1G", "memory that has to be free for a further build to start"),
    key("offline", Kind::Flag, "false", "never use the network"),
    key("durability", Kind::Word(&["full", "none"]), "full", "whether objects survive a power cut"),
    key(
        "protect",
        Kind::Word(&["auto", "immutable", "none"]),
        "auto, which is none for now",
        "whether folders of objects carry the immutable flag",
    ),
    key("index-url", Kind::Text, "pip's", "package index"),
    key("extra-index-urls", Kind::List, "pip's", "further package indexes"),
    key("find-links", Kind::List, "pip's", "directories and pages with files"),
    key("trusted-hosts", Kind::List, "pip's", "hosts whose certificate is not checked"),
    key("ca-file", Kind::Text, "the system's", "certificates to trust besides the system's"),
    key("client-cert", Kind::Text, "pip's", "your own certificate for indexes, with its key, in one PEM file"),
    key("proxy", Kind::Text, "the environment's", "proxy for all requests"),
    key("netrc", Kind::Text, "~/.netrc", "file with passwords for indexes"),
    key("keyring", Kind::Text, "not used", "program that gives passwords for indexes (`keyring`)"),
    key("timeout", Kind::Limit, "15s", "longest silence of an index"),
    key("retries", Kind::Number(0, COUNT_MAX), "5", "tries after a passing failure of an index"),
    key("connections", Kind::Number(1, COUNT_MAX), "24", "downloads at once"),
    key("uv", Kind::Text, "fetched at a pinned version", "program that resolves build requirements"),
    key("sandbox", Kind::Word(&["bubblewrap", "none"]), "bubblewrap", "isolation of builds"),
    key(
        "system-packages",
        Kind::Word(&["ask", "install", "unpack", "refuse"]),
        "ask",
        "what to do when a build lacks packages of the system",
    ),
    key(
        "system-inputs",
        Kind::Word(&["compatible", "exact"]),
        "compatible",
        "which builds are used again: those that can run here, or those built on what is here",
    ),
    key(
        "system-package-rules",
        Kind::Paths,
        "/etc/pip-accel/deps and ~/.pip-accel/deps",
        "files, or folders of files, that say which packages things are in",
    ),
    key("make-index", Kind::Flag, "true", "make the index of Debian's files when a build fails and there is none"),
    key("trace", Kind::Flag, "true", "watch which files of the system builds read and miss"),
    key("build-timeout", Kind::Limit, "2h", "longest time of one build"),
    key("build-silence-timeout", Kind::Limit, "30m", "longest time a build may print nothing"),
    key("build-log-max-bytes", Kind::Number(1, u64::MAX), "134217728", "most a build may print"),
    key("gc-min-age", Kind::Duration, "1h", "objects younger than this are never deleted"),
    key("gc-older-than", Kind::Duration, "not used", "gc spares what was used since then"),
    key("gc-max-size", Kind::Size, "not used", "gc deletes until the store takes at most so much disk"),
    key("min-free", Kind::Size, "not used", "gc deletes until so much of the disk is free"),
    key("keep-sources", Kind::Flag, "true", "gc keeps the sdists and wheels of what stays"),
    key(
        "log-verbosity",
        Kind::Word(&["debug", "verbose", "info", "notice", "warning", "error", "critical"]),
        "info",
        "how much is said when neither -v nor -q is given",
    ),
    key("s3-bucket", Kind::Text, "none", "not used yet: bucket of a cache in S3"),
    key("s3-prefix", Kind::Text, "none", "not used yet: what its keys begin with"),
    key("s3-readonly", Kind::Flag, "false", "not used yet: never write to it"),
    key("s3-url", Kind::Text, "none", "not used yet: where it is"),
    key("s3-create-bucket", Kind::Flag, "false", "not used yet: make it if it is not there"),
    key("s3-timeout", Kind::Limit, "60s", "not used yet: longest silence of it"),
    key("s3-retries", Kind::Number(0, COUNT_MAX), "5", "not used yet: tries after a passing failure of it"),
];

impl Key {
    /// Environment variables that set it, the winning one first.
    #[must_use]
    pub(crate) fn variables(&self) -> Vec<String> {
        let mut names = vec![format!("PIP_ACCEL_{}", self.name.to_uppercase().replace('-', "_"))];
        if self.name == "store" {
            // The name that the original pip-accel used.
            names.push("PIP_ACCEL_CACHE".to_owned());
        }
        names
    }

    /// The value as it may be shown: URLs without credentials.
    #[must_use]
    pub(crate) fn shown(&self, value: &Value) -> Value {
        match value {
            Value::Text(text) if URL_KEYS.contains(&self.name) => Value::Text(safe_place(text)),
            Value::List(list) if URL_KEYS.contains(&self.name) => {
                Value::List(list.iter().map(|text| safe_place(text)).collect())
            }
            other => other.clone(),
        }
    }

    /// Whether its value is a list.
    #[must_use]
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List | Kind::Paths)
    }

    /// Reads a value from a text.
    ///
    /// # Errors
    /// When the text is not of the setting's kind.
    pub(crate) fn parse(&self, text: &str, origin: &Origin) -> Result<Value, SettingsError> {
        let refuse = |expected| SettingsError::Value {
            key: self.name.to_owned(),
            value: text.to_owned(),
            origin: origin.to_string(),
            expected,
        };
        match self.kind {
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Word(words) if words.contains(&text.to_ascii_lowercase().as_str()) => {
                Ok(Value::Text(text.to_ascii_lowercase()))
            }
            Kind::Word(_) => Err(refuse("one of the words in `pip-accel config show`")),
            Kind::Number(min, max) => match text.parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::Number(number)),
                Ok(0) => Err(refuse("a whole number of 1 or more")),
                _ => Err(refuse("a whole number")),
            },
            Kind::Limit if parse_duration(text) == Some(0) => Err(refuse("a time of 1s or more")),
            Kind::Duration | Kind::Limit => parse_duration(text)
                .map(Value::Number)
                .ok_or_else(|| refuse("a number of seconds, or one with s, m, h or d,")),
            Kind::Size => parse_size(text)
                .map(Value::Number)
                .ok_or_else(|| refuse("a number of bytes, or one with K, M, G or T,")),
            Kind::Flag => match text.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Ok(Value::Flag(true)),
                "0" | "false" | "no" | "off" => Ok(Value::Flag(false)),
                _ => Err(refuse("true or false")),
            },
            Kind::List => Ok(Value::List(text.split_whitespace().map(str::to_owned).collect())),
            Kind::Paths => {
                Ok(Value::List(text.split(':').filter(|path| !path.is_empty()).map(str::to_owned).collect()))
            }
        }
    }
}

/// Settings whose texts may be URLs with a password.
const URL_KEYS: [&str; 5] = ["index-url", "extra-index-urls", "find-links", "proxy", "s3-url"];

/// A URL or path without credentials, also when the URL can't be used.
fn safe_place(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.has_host() => SafeUrl::from(url).to_string(),
        // A path may hold an `@`.
        _ if text.starts_with(['/', '.', '~']) => text.to_owned(),
        // `user:password@proxy:3128` has no scheme, and a password with a slash makes the URL invalid.
        _ => {
            let start = text.find("://").map_or(0, |colon| colon + 3);
            match text[start..].rfind('@') {
                Some(at) => format!("{}****{}", &text[..start], &text[start + at..]),
                None => text.to_owned(),
            }
        }
    }
}

/// Seconds of `90`, `90s`, `15m`, `2h`, `30d`.
#[must_use]
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.len() - text.len().min(usize::from(text.ends_with(['s', 'm', 'h', 'd']))));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 86400,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Bytes of `4096`, `512K`, `100M`, `5G`, `1T`; an `iB` or `B` behind the letter changes nothing.
#[must_use]
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor: u64 = match text[number.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        _ => return None,
    };
    number.trim_end().parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_shown_without_credentials() {
        for (text, shown) in [
            ("https://user:secret@h.example/simple/", "https://****@h.example/simple/"),
            ("https://secret@h.example/a?sig=secret", "https://****@h.example/a?****"),
            ("https://user:sec/ret@h.example/", "https://****@h.example/"),
            ("https:user:secret@h.example/", "https://****@h.example/"),
            ("user:secret@proxy.example:3128", "****@proxy.example:3128"),
            ("socks5://user:secret@proxy.example:1080", "socks5://****@proxy.example:1080"),
            ("proxy.example:3128", "proxy.example:3128"),
            ("https://h.example/simple/", "https://h.example/simple/"),
            ("/srv/wheels@2024", "/srv/wheels@2024"),
            ("file:///srv/wheels", "file:///srv/wheels"),
            ("wheels", "wheels"),
        ] {
            assert_eq!(safe_place(text), shown);
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("4096", 4096), ("512K", 524_288), ("1 MiB", 1_048_576), ("5g", 5_368_709_120), ("0", 0)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "G", "-1", "1P", "1.5G", "16777216T", "G1"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("30d", 2_592_000)] {
            assert_eq!(parse_duration(text), Some(seconds), "{text}");
        }
        for bad in ["", "s", "-1", "1w", "1.5h", "99999999999999999999", "9999999999999999999d"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
