//! What pip was told for every run: its configuration files and its `PIP_*` variables, in pip's order of precedence.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pip_accel_schema::lock_file::{FormatSelection, LockItem, LockOption, parse};
use pip_accel_schema::requirement::{excerpt, has_scheme};

use super::ini::parse_ini;
use crate::lock::{Environment, FindLinks, FormatControl, SourceUrl};

/// Longest configuration file read, in bytes.
pub const PIP_CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The sections that count, the later over the earlier: what pip itself reads for `pip install`.
const SECTIONS: [&str; 2] = ["global", "install"];

/// The settings that are used, by pip's names of them. Others are pip's own business.
const KEYS: [&str; 18] = [
    "index-url",
    "extra-index-url",
    "no-index",
    "find-links",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "no-binary",
    "only-binary",
    "keyring-provider",
    "pre",
    "prefer-binary",
    "require-hashes",
    "constraint",
];

/// Why pip's configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PipSettingsError {
    /// A file can't be read, or is too long.
    #[error("pip's configuration {} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not that of an INI file.
    #[error("{}:{line} can't be read: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value means nothing.
    #[error("pip's setting `{key}` in {place} is `{value}`, which is {reason}")]
    Value {
        /// pip's name of it.
        key: &'static str,
        /// The file or variable.
        place: String,
        /// The value, without credentials.
        value: String,
        /// What it is not.
        reason: &'static str,
    },
}

/// Where pip looks for configuration, the later over the earlier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipConfigFiles {
    /// All files that may exist.
    pub files: Vec<PathBuf>,
}

impl PipConfigFiles {
    /// The files that pip would read: of the machine, of the user, of the environment with this `sys.prefix`, and
    /// `PIP_CONFIG_FILE`, which replaces the user's if it exists and switches all off if it is `/dev/null`.
    #[must_use]
    pub fn locate(environment: &Environment<'_>, prefix: Option<&Path>) -> Self {
        let variable = |name| environment(name).filter(|value| !value.is_empty());
        let named = variable("PIP_CONFIG_FILE").map(PathBuf::from);
        if named.as_deref() == Some(Path::new("/dev/null")) {
            return Self::default();
        }
        let shared = variable("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".to_owned());
        let mut files: Vec<PathBuf> =
            std::env::split_paths(&shared).map(|folder| folder.join("pip/pip.conf")).collect();
        files.push("/etc/pip.conf".into());
        if !named.as_deref().is_some_and(Path::exists) {
            let home = variable("HOME").map(PathBuf::from);
            files.extend(home.as_ref().map(|home| home.join(".pip/pip.conf")));
            let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home?.join(".config")));
            files.extend(folder.map(|folder| folder.join("pip/pip.conf")));
        }
        files.extend(prefix.map(|prefix| prefix.join("pip.conf")));
        files.extend(named);
        Self { files }
    }
}

/// pip's settings. What is absent was not set anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipSettings {
    /// `index-url`.
    pub index_url: Option<SourceUrl>,
    /// `extra-index-url`.
    pub extra_index_urls: Vec<SourceUrl>,
    /// `no-index`.
    pub no_index: bool,
    /// `find-links`; relative paths are from the working directory.
    pub find_links: Vec<FindLinks>,
    /// `trusted-host`.
    pub trusted_hosts: Vec<String>,
    /// `cert`: a file of certificate authorities.
    pub cert: Option<PathBuf>,
    /// `client-cert`: a file with certificate and key.
    pub client_cert: Option<PathBuf>,
    /// `proxy`.
    pub proxy: Option<SourceUrl>,
    /// `timeout`: longest silence of a connection.
    pub timeout: Option<Duration>,
    /// `retries`.
    pub retries: Option<u32>,
    /// `no-binary` and `only-binary`.
    pub formats: FormatControl,
    /// `keyring-provider`: `auto`, `disabled`, `import`, `subprocess`.
    pub keyring_provider: Option<String>,
    /// `pre`: prereleases may be chosen. Like the next ones, for who chooses releases; a lock has chosen.
    pub pre: bool,
    /// `prefer-binary`: a wheel of an older release rather than an sdist of a newer one.
    pub prefer_binary: bool,
    /// `require-hashes`: nothing without a hash.
    pub require_hashes: bool,
    /// `constraint`: paths, relative ones from the working directory, or URLs of files of constraints.
    pub constraints: Vec<SourceUrl>,
}

/// A value and where it was found.
#[derive(Debug, Clone)]
struct Setting {
    text: String,
    place: String,
}

impl PipSettings {
    /// Reads `files` and the `PIP_*` variables.
    ///
    /// # Errors
    /// A file that exists can't be read, or a value means nothing.
    pub fn read(files: &PipConfigFiles, environment: &Environment<'_>) -> Result<Self, PipSettingsError> {
        let settings = collect(files, environment, &KEYS)?;
        let home = environment("HOME").map(PathBuf::from);
        Lookup { settings, home }.settings()
    }
}

/// One option of pip that its configuration sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipOptionValue {
    /// Its long name without dashes.
    pub key: &'static str,
    /// Its value as written.
    pub text: String,
    /// The file or variable that sets it.
    pub place: String,
}

/// What pip's configuration says for these options of `pip install`, each by its long name without dashes.
///
/// # Errors
/// A file that exists can't be read.
pub fn pip_option_values(
    files: &PipConfigFiles,
    environment: &Environment<'_>,
    keys: &[&'static str],
) -> Result<Vec<PipOptionValue>, PipSettingsError> {
    let settings = collect(files, environment, keys)?;
    Ok(settings.into_iter().map(|(key, Setting { text, place })| PipOptionValue { key, text, place }).collect())
}

/// The settings of `keys` in pip's order of precedence.
fn collect(
    files: &PipConfigFiles,
    environment: &Environment<'_>,
    keys: &[&'static str],
) -> Result<BTreeMap<&'static str, Setting>, PipSettingsError> {
    let mut in_files: BTreeMap<(usize, &'static str), Setting> = BTreeMap::new();
    for path in &files.files {
        read_file(path, keys, &mut in_files)?;
    }
    // Ordered by section first: `[install]` beats `[global]` whatever file it stands in, variables beat both.
    let mut settings: BTreeMap<&'static str, Setting> = BTreeMap::new();
    for ((_, key), setting) in in_files {
        settings.insert(key, setting);
    }
    for key in keys {
        let name = format!("PIP_{}", key.to_uppercase().replace('-', "_"));
        if let Some(text) = environment(&name).filter(|text| !text.is_empty()) {
            settings.insert(key, Setting { text, place: name });
        }
    }
    Ok(settings)
}

fn read_file(
    path: &Path,
    keys: &[&'static str],
    settings: &mut BTreeMap<(usize, &'static str), Setting>,
) -> Result<(), PipSettingsError> {
    let error = |source| PipSettingsError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    match File::open(path) {
        Err(source) if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(source) => return Err(error(source)),
        Ok(file) => file.take(PIP_CONFIG_BYTES_MAX + 1).read_to_string(&mut text).map_err(error)?,
    };
    if text.len() as u64 > PIP_CONFIG_BYTES_MAX {
        return Err(error(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let sections =
        parse_ini(&text).map_err(|(line, reason)| PipSettingsError::Syntax { path: path.to_owned(), line, reason })?;
    for (rank, section) in SECTIONS.iter().enumerate() {
        for (key, value) in sections.get(*section).into_iter().flatten() {
            let normal = key.replace('_', "-");
            let normal = normal.strip_prefix("--").unwrap_or(&normal);
            if let Some(key) = keys.iter().find(|known| **known == normal) {
                let setting = Setting { text: value.clone(), place: path.display().to_string() };
                if setting.text.is_empty() {
                    settings.remove(&(rank, *key));
                } else {
                    settings.insert((rank, *key), setting);
                }
            }
        }
    }
    Ok(())
}

struct Lookup {
    settings: BTreeMap<&'static str, Setting>,
    home: Option<PathBuf>,
}

impl Lookup {
    fn settings(&self) -> Result<PipSettings, PipSettingsError> {
        let url = |text: &str| SourceUrl::new(text.to_owned());
        let mut formats = FormatControl::default();
        for selection in self.selections("no-binary", "is not a list of projects")? {
            formats.apply_no_binary(&selection);
        }
        for selection in self.selections("only-binary", "is not a list of projects")? {
            formats.apply_only_binary(&selection);
        }
        Ok(PipSettings {
            index_url: self.text("index-url").map(url),
            extra_index_urls: self.words("extra-index-url").map(url).collect(),
            no_index: self.switch("no-index")?,
            find_links: self.words("find-links").map(|text| self.find_links(text)).collect(),
            trusted_hosts: self.words("trusted-host").map(str::to_owned).collect(),
            cert: self.text("cert").map(|text| self.path(text)),
            client_cert: self.text("client-cert").map(|text| self.path(text)),
            proxy: self.text("proxy").map(url),
            timeout: match self.parsed("timeout", "no number of seconds", parse_seconds)? {
                None => self.parsed("default-timeout", "no number of seconds", parse_seconds)?,
                timeout => timeout,
            },
            retries: self.parsed("retries", "no number", |text| text.parse().ok())?,
            formats,
            keyring_provider: self.text("keyring-provider").map(str::to_owned),
            pre: self.switch("pre")?,
            prefer_binary: self.switch("prefer-binary")?,
            require_hashes: self.switch("require-hashes")?,
            constraints: self.words("constraint").map(|text| self.place(text)).collect(),
        })
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|setting| setting.text.trim())
    }

    fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        self.text(key).unwrap_or_default().split_whitespace()
    }

    fn parsed<T>(
        &self,
        key: &'static str,
        reason: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, PipSettingsError> {
        let Some(setting) = self.settings.get(key) else { return Ok(None) };
        let value = setting.text.trim();
        let error = || PipSettingsError::Value { key, place: setting.place.clone(), value: excerpt(value), reason };
        parse(value).map(Some).ok_or_else(error)
    }

    fn switch(&self, key: &'static str) -> Result<bool, PipSettingsError> {
        Ok(self.parsed(key, "neither true nor false", parse_bool)?.unwrap_or(false))
    }

    /// The selections of a format option, read as in a lock.
    fn selections(&self, key: &'static str, reason: &'static str) -> Result<Vec<FormatSelection>, PipSettingsError> {
        let read = |text: &str| {
            let names = text.split_whitespace().collect::<Vec<_>>().join(",");
            let items = parse(&format!("--{key} {names}")).ok()?;
            let selection = |item| match item {
                LockItem::Option(_, LockOption::NoBinary(selection) | LockOption::OnlyBinary(selection)) => {
                    Some(selection)
                }
                _ => None,
            };
            items.into_iter().map(selection).collect::<Option<Vec<_>>>()
        };
        Ok(self.parsed(key, reason, read)?.unwrap_or_default())
    }

    fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(text),
        }
    }

    fn place(&self, text: &str) -> SourceUrl {
        SourceUrl::new(if has_scheme(text) { text.to_owned() } else { self.path(text).to_string_lossy().into_owned() })
    }

    fn find_links(&self, text: &str) -> FindLinks {
        match text.strip_prefix("file://") {
            Some(path) => FindLinks::Path(PathBuf::from(path)),
            None if has_scheme(text) => FindLinks::Url(SourceUrl::new(text.to_owned())),
            None => FindLinks::Path(self.path(text)),
        }
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn parse_seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn read(files: &[&str], pairs: &[(&str, &str)]) -> Result<PipSettings, PipSettingsError> {
        let folder = tempfile::tempdir().expect("a folder");
        let paths: Vec<PathBuf> = (0..files.len()).map(|index| folder.path().join(format!("{index}.conf"))).collect();
        for (path, text) in paths.iter().zip(files) {
            fs::write(path, text).expect("a file");
        }
        let mut all = vec![folder.path().join("missing.conf")];
        all.extend(paths);
        PipSettings::read(&PipConfigFiles { files: all }, &environment(pairs))
    }

    #[test]
    fn later_files_sections_and_variables_win() {
        let machine =
            "[global]\nindex-url = https://machine\ntimeout = 5\nretries = 1\n[install]\nproxy = http://install\n";
        let user =
            "[global]\nindex_url = https://user:pw@user\nproxy = http://global\n--timeout = 7.5\n[list]\nretries = 9\n";
        let settings = read(&[machine, user], &[("PIP_RETRIES", "3"), ("PIP_PROXY", "")]).expect("settings");
        assert_eq!(settings.index_url.as_ref().map(SourceUrl::expose), Some("https://user:pw@user"));
        assert_eq!(settings.proxy.as_ref().map(SourceUrl::expose), Some("http://install"));
        assert_eq!(settings.timeout, Some(Duration::from_millis(7500)));
        assert_eq!(settings.retries, Some(3));
        assert!(!format!("{settings:?}").contains("pw"));
        let settings =
            read(&[machine], &[("PIP_INDEX_URL", "https://env"), ("PIP_DEFAULT_TIMEOUT", "180")]).expect("settings");
        assert_eq!(settings.index_url.as_ref().map(SourceUrl::expose), Some("https://env"));
        assert_eq!(settings.timeout, Some(Duration::from_secs(5)));
    }

    const CHOICES: &str = "[global]\nrequire-hashes = on\nconstraint = ~/c.txt other.txt\n  https://h/c.txt\n\
                           [install]\npre = yes\n[list]\nprefer-binary = no\npre = no\n";

    #[test]
    fn lists_paths_and_switches() {
        let choices = read(&[CHOICES], &[("HOME", "/home/me"), ("PIP_PREFER_BINARY", "1")]).expect("settings");
        assert!(choices.pre && choices.prefer_binary && choices.require_hashes);
        let constraints: Vec<_> = choices.constraints.iter().map(SourceUrl::expose).collect();
        assert_eq!(constraints, ["/home/me/c.txt", "other.txt", "https://h/c.txt"]);
        let file = "[global]\nextra-index-url =\n    https://a\n    https://b\nfind-links = ~/wheels https://h/x\n\
                    trusted-host = h:80 i\ncert = ~/ca.pem\nno-index = yes\nno-binary = :all:\nonly-binary = a,b\n";
        let settings = read(&[file], &[("HOME", "/home/me")]).expect("settings");
        assert_eq!(
            settings.extra_index_urls.iter().map(SourceUrl::expose).collect::<Vec<_>>(),
            ["https://a", "https://b"]
        );
        assert_eq!(
            settings.find_links,
            [FindLinks::Path("/home/me/wheels".into()), FindLinks::Url(SourceUrl::new("https://h/x".to_owned()))]
        );
        assert_eq!(settings.trusted_hosts, ["h:80", "i"]);
        assert_eq!(settings.cert.as_deref(), Some(Path::new("/home/me/ca.pem")));
        assert!(settings.no_index);
        assert!(settings.formats.allowed(&"a".parse().expect("a name")).wheels);
        assert!(!settings.formats.allowed(&"c".parse().expect("a name")).wheels);
        assert_eq!(read(&[], &[]).expect("settings"), PipSettings::default());
    }

    #[test]
    fn what_means_nothing_is_named_with_its_place() {
        let error = read(&["[global]\ntimeout = soon\n"], &[]).expect_err("an error").to_string();
        assert!(
            error.starts_with("pip's setting `timeout` in /") && error.ends_with("which is no number of seconds"),
            "{error}"
        );
        let error = read(&[], &[("PIP_NO_INDEX", "perhaps")]).expect_err("an error").to_string();
        assert_eq!(error, "pip's setting `no-index` in PIP_NO_INDEX is `perhaps`, which is neither true nor false");
        assert!(matches!(read(&["index-url = x\n"], &[]), Err(PipSettingsError::Syntax { line: 1, .. })));
        assert!(read(&["[global]\ntimeout = nan\n"], &[]).is_err());
        assert!(read(&["[global]\nno-binary = -\n"], &[]).is_err());
    }

    #[test]
    fn files_are_those_of_pip() {
        let locate =
            |pairs: &[(&str, &str)]| PipConfigFiles::locate(&environment(pairs), Some(Path::new("/venv"))).files;
        assert_eq!(
            locate(&[("HOME", "/h")]),
            ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", "/h/.pip/pip.conf", "/h/.config/pip/pip.conf", "/venv/pip.conf"]
                .map(PathBuf::from)
        );
        assert_eq!(
            locate(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x"), ("XDG_CONFIG_DIRS", "/a:/b")])[..4],
            ["/a/pip/pip.conf", "/b/pip/pip.conf", "/etc/pip.conf", "/h/.pip/pip.conf"].map(PathBuf::from)
        );
        assert_eq!(locate(&[("PIP_CONFIG_FILE", "/dev/null"), ("HOME", "/h")]), Vec::<PathBuf>::new());
        let named = tempfile::NamedTempFile::new().expect("a file");
        let path = named.path().to_str().expect("UTF-8");
        let files = locate(&[("PIP_CONFIG_FILE", path), ("HOME", "/h")]);
        assert_eq!(files.last().map(PathBuf::as_path), Some(named.path()));
        assert!(!files.iter().any(|file| file.starts_with("/h")));
    }
}
