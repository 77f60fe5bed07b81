//! The options that a lock may hold, on lines of their own or after a requirement.

use super::lines::begins_word;
use super::words::split_words;
use super::{FormatSelection, LockOption};
use crate::config_settings::{self, ConfigSettings};
use crate::digest::Sha256Digest;
use crate::requirement::excerpt;

/// Most `--hash` options of one requirement; the largest project has about 1,100 files in a release.
pub const HASHES_PER_REQUIREMENT_MAX: usize = 8192;

/// What an option does with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    IndexUrl,
    ExtraIndexUrl,
    NoIndex,
    FindLinks,
    NoBinary,
    OnlyBinary,
    TrustedHost,
    Include,
    Constraint,
    Editable,
    Hash,
    /// What the backend of one requirement is told.
    ConfigSetting,
    /// What `setup.py` was told once: silently leaving it out would build something else.
    BuildSetting,
    IgnoredFlag,
    IgnoredValue,
}

impl Kind {
    const fn takes_value(self) -> bool {
        !matches!(self, Self::NoIndex | Self::IgnoredFlag)
    }
}

/// Every spelling that pip reads in a requirements file; abbreviations are refused.
const SPELLINGS: [(&str, Kind); 33] = [
    ("-i", Kind::IndexUrl),
    ("--index-url", Kind::IndexUrl),
    ("--pypi-url", Kind::IndexUrl),
    ("--extra-index-url", Kind::ExtraIndexUrl),
    ("--no-index", Kind::NoIndex),
    ("-f", Kind::FindLinks),
    ("--find-links", Kind::FindLinks),
    ("--no-binary", Kind::NoBinary),
    ("--only-binary", Kind::OnlyBinary),
    ("--trusted-host", Kind::TrustedHost),
    ("-r", Kind::Include),
    ("--requirement", Kind::Include),
    ("--requirements", Kind::Include),
    ("-c", Kind::Constraint),
    ("--constraint", Kind::Constraint),
    ("--constraints", Kind::Constraint),
    ("-e", Kind::Editable),
    ("--editable", Kind::Editable),
    ("--hash", Kind::Hash),
    ("-C", Kind::ConfigSetting),
    ("--config-setting", Kind::ConfigSetting),
    ("--config-settings", Kind::ConfigSetting),
    ("--global-option", Kind::BuildSetting),
    ("--install-option", Kind::BuildSetting),
    ("--build-option", Kind::BuildSetting),
    ("--require-hashes", Kind::IgnoredFlag),
    ("--pre", Kind::IgnoredFlag),
    ("--prefer-binary", Kind::IgnoredFlag),
    ("--use-feature", Kind::IgnoredValue),
    ("--use-deprecated", Kind::IgnoredValue),
    ("--all-releases", Kind::IgnoredValue),
    ("--only-final", Kind::IgnoredValue),
    ("--uploaded-prior-to", Kind::IgnoredValue),
];

/// What the option part of a line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LineOptions {
    /// Options that hold for the whole file.
    pub(super) file_wide: Vec<LockOption>,
    /// Locations of `-e`.
    pub(super) editables: Vec<String>,
    /// SHA-256 hashes, sorted, each once.
    pub(super) hashes: Vec<Sha256Digest>,
    /// Whether there were hashes of other algorithms.
    pub(super) has_other_hashes: bool,
    /// Settings for the backend of the requirement.
    pub(super) config_settings: ConfigSettings,
}

/// Where a line's options begin: at the first word with a leading `-`, as in pip.
pub(super) fn split_options(line: &str) -> (&str, &str) {
    match memchr::memchr_iter(b'-', line.as_bytes()).find(|index| begins_word(line, *index)) {
        Some(index) => (line[..index].trim_end(), &line[index..]),
        None => (line, ""),
    }
}

/// Reads the options of a line.
///
/// # Errors
/// A sentence without the line's number.
pub(super) fn parse_options(text: &str) -> Result<LineOptions, String> {
    let mut options = LineOptions::default();
    let mut words = split_words(text)?.into_iter();
    while let Some(word) = words.next() {
        let (spelling, attached) = split_word(&word);
        let Some((_, kind)) = SPELLINGS.iter().find(|(known, _)| *known == spelling) else {
            return Err(match word.starts_with('-') {
                true => format!("pip-accel does not know the option `{}`", excerpt(spelling)),
                false => format!("`{}` is neither an option nor the value of one", excerpt(&word)),
            });
        };
        let value = match (kind.takes_value(), attached) {
            (false, None) => String::new(),
            (false, Some(_)) => return Err(format!("the option `{spelling}` takes no value")),
            (true, Some(value)) => value.to_owned(),
            (true, None) => words.next().ok_or_else(|| format!("the option `{spelling}` needs a value"))?.into_owned(),
        };
        if kind.takes_value() && value.is_empty() {
            return Err(format!("the value of the option `{spelling}` is empty"));
        }
        options.add(*kind, spelling, value)?;
    }
    options.hashes.sort_unstable();
    options.hashes.dedup();
    Ok(options)
}

/// `--name=value` and `-nvalue` into their parts; a short option's value has no `=`.
fn split_word(word: &str) -> (&str, Option<&str>) {
    if word.starts_with("--") {
        return word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    }
    match word.char_indices().nth(2) {
        Some((end, _)) if word.starts_with('-') => (&word[..end], Some(&word[end..])),
        _ => (word, None),
    }
}

impl LineOptions {
    fn add(&mut self, kind: Kind, spelling: &str, value: String) -> Result<(), String> {
        let option = match kind {
            Kind::IndexUrl => LockOption::IndexUrl(value),
            Kind::ExtraIndexUrl => LockOption::ExtraIndexUrl(value),
            Kind::NoIndex => LockOption::NoIndex,
            Kind::FindLinks => LockOption::FindLinks(value),
            Kind::TrustedHost => LockOption::TrustedHost(value),
            Kind::Include => LockOption::Include(value),
            Kind::Constraint => LockOption::Constraint(value),
            Kind::IgnoredFlag | Kind::IgnoredValue => LockOption::Ignored(spelling.to_owned()),
            Kind::NoBinary => {
                self.file_wide.extend(format_selections(&value)?.into_iter().map(LockOption::NoBinary));
                return Ok(());
            }
            Kind::OnlyBinary => {
                self.file_wide.extend(format_selections(&value)?.into_iter().map(LockOption::OnlyBinary));
                return Ok(());
            }
            Kind::Editable => {
                self.editables.push(value);
                return Ok(());
            }
            Kind::Hash => return self.add_hash(&value),
            Kind::ConfigSetting => {
                return config_settings::add(&mut self.config_settings, &value).map_err(|error| error.to_string());
            }
            Kind::BuildSetting => {
                return Err(format!(
                    "the option `{spelling}` of one requirement is not supported; use --config-settings, or build that wheel apart"
                ));
            }
        };
        self.file_wide.push(option);
        Ok(())
    }

    fn add_hash(&mut self, value: &str) -> Result<(), String> {
        let (algorithm, hex) =
            value.split_once(':').ok_or_else(|| format!("`{}` is not of the form `sha256:…`", excerpt(value)))?;
        match parse_hash(algorithm, hex)? {
            Some(digest) => self.hashes.push(digest),
            None => self.has_other_hashes = true,
        }
        if self.hashes.len() > HASHES_PER_REQUIREMENT_MAX {
            return Err(format!("the requirement has more than {HASHES_PER_REQUIREMENT_MAX} hashes"));
        }
        Ok(())
    }
}

/// A SHA-256 digest, or `None` for a well-formed hash of the other algorithms that pip accepts.
pub(super) fn parse_hash(algorithm: &str, hex: &str) -> Result<Option<Sha256Digest>, String> {
    let digits = match algorithm {
        "sha256" => {
            return hex.parse().map(Some).map_err(|_| format!("`{}` is not a SHA-256 of 64 digits", excerpt(hex)));
        }
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(format!("hashes of the kind `{}` prove nothing; use sha256", excerpt(algorithm))),
    };
    if hex.len() == digits && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(None)
    } else {
        Err(format!("`{}` is not a {algorithm} digest of {digits} digits", excerpt(hex)))
    }
}

/// `a,b`, `:all:`, `:none:,a` as selections to apply in turn.
fn format_selections(value: &str) -> Result<Vec<FormatSelection>, String> {
    let mut selections = Vec::new();
    let mut packages = Vec::new();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let special = match part {
            ":all:" => FormatSelection::All,
            ":none:" => FormatSelection::None,
            name => {
                packages.push(name.parse().map_err(|error: crate::name::ParseNameError| error.to_string())?);
                continue;
            }
        };
        if !packages.is_empty() {
            selections.push(FormatSelection::Packages(std::mem::take(&mut packages)));
        }
        selections.push(special);
    }
    if !packages.is_empty() {
        selections.push(FormatSelection::Packages(packages));
    }
    Ok(selections)
}
