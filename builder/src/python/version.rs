//! Versions and specifiers of PEP 440. The only file that names a type of the uv crates.

use std::fmt;
use std::str::FromStr;

use pip_accel_schema::name::PackageVersion;
use pip_accel_schema::requirement::excerpt;

/// Longest specifier read, in bytes; real ones stay under 100.
pub const SPECIFIERS_BYTES_MAX: usize = 4096;

/// Why a text is not a version or a specifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not a version.
    #[error("`{0}` is not a version of PEP 440")]
    Version(String),
    /// Not a specifier.
    #[error("`{0}` is not a version specifier of PEP 440")]
    Specifier(String),
}

/// A version with the order and equality of PEP 440: `1.0` equals `1.0.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(uv_pep440::Version);

impl Version {
    /// Whether it is a pre-release or a development release.
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        self.0.any_prerelease()
    }

    /// The version without its local part: `1.0` of `1.0+cu118`.
    #[must_use]
    pub fn without_local(&self) -> Self {
        Self(self.0.clone().without_local())
    }

    /// Whether it has a local part.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.is_local()
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || VersionError::Version(excerpt(text));
        if text.len() > SPECIFIERS_BYTES_MAX {
            return Err(error());
        }
        text.trim().parse().map(Self).map_err(|_| error())
    }
}

impl TryFrom<&PackageVersion> for Version {
    type Error = VersionError;

    fn try_from(version: &PackageVersion) -> Result<Self, Self::Error> {
        version.as_str().parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Whether two spellings name one version (`1.0` and `1.0.0`); what PEP 440 can't read is compared as text.
#[must_use]
pub fn is_same(left: &PackageVersion, right: &PackageVersion) -> bool {
    left == right
        || match (Version::try_from(left), Version::try_from(right)) {
            (Ok(left), Ok(right)) => left == right,
            _ => false,
        }
}

/// Whether `candidate` is what `==pin` means: equal, and a local part counts only if the pin has one.
#[must_use]
pub fn satisfies_pin(pin: &PackageVersion, candidate: &PackageVersion) -> bool {
    is_same(pin, candidate)
        || match (Version::try_from(pin), Version::try_from(candidate)) {
            (Ok(pin), Ok(candidate)) => !pin.is_local() && pin == candidate.without_local(),
            _ => false,
        }
}

/// Clauses that all must hold: `>=1,<2`; no clause allows every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specifiers(Vec<uv_pep440::VersionSpecifier>);

impl Specifiers {
    /// No clause.
    #[must_use]
    pub const fn any() -> Self {
        Self(Vec::new())
    }

    /// Reads one clause exactly as PEP 440 has it, without the leniency that old projects need.
    pub(super) fn strict_clause(text: &str) -> Option<Self> {
        if text.len() > SPECIFIERS_BYTES_MAX {
            return None;
        }
        text.parse().ok().map(|clause| Self(vec![clause]))
    }

    /// Whether every clause allows `version`. Pre-releases are not left out: what a lock names is meant.
    #[must_use]
    pub fn contains(&self, version: &Version) -> bool {
        self.0.iter().all(|clause| clause.contains(&version.0))
    }

    /// The same for a version as its project wrote it; false if PEP 440 can't read it and there is a clause.
    #[must_use]
    pub fn contains_package(&self, version: &PackageVersion) -> bool {
        self.0.is_empty() || Version::try_from(version).is_ok_and(|version| self.contains(&version))
    }

    /// Whether there is no clause.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Specifiers {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > SPECIFIERS_BYTES_MAX {
            return Err(VersionError::Specifier(excerpt(text)));
        }
        let clauses = text.split(',').map(str::trim).filter(|clause| !clause.is_empty());
        clauses.map(clause).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Specifiers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, clause) in self.0.iter().enumerate() {
            write!(formatter, "{}{clause}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn clause(text: &str) -> Result<uv_pep440::VersionSpecifier, VersionError> {
    if let Ok(specifier) = text.parse() {
        return Ok(specifier);
    }
    // Old projects wrote `>=2.7.*`, which older pips read as `>=2.7`.
    let ordered = text.starts_with(['<', '>']);
    match text.strip_suffix(".*").filter(|_| ordered).map(str::parse) {
        Some(Ok(specifier)) => Ok(specifier),
        _ => Err(VersionError::Specifier(excerpt(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> PackageVersion {
        text.parse().expect("a version")
    }

    #[test]
    fn spellings_of_one_version_are_the_same() {
        for (left, right, same, pinned) in [
            ("1.0", "1.0.0", true, true),
            ("1.0", "v1", true, true),
            ("1.0rc1", "1.0.c1", true, true),
            ("1.0", "1.0+cu118", false, true),
            ("1.0+cu118", "1.0", false, false),
            ("1.0", "1.1", false, false),
            ("2004d", "2004d", true, true),
            ("2004d", "2004e", false, false),
        ] {
            assert_eq!(is_same(&version(left), &version(right)), same, "{left} {right}");
            assert_eq!(satisfies_pin(&version(left), &version(right)), pinned, "{left} {right}");
        }
    }

    #[test]
    fn specifiers_contain_what_they_say() {
        for (specifiers, version, contained) in [
            (">=1,<2", "1.5", true),
            (">=1,<2", "2.0", false),
            ("==1.*", "1.9rc1", true),
            (">=2.7.*", "2.7.1", true),
            ("~=1.4.2", "1.4.9", true),
            ("!=1.0", "1.0.0", false),
            ("", "0", true),
        ] {
            let parsed: Specifiers = specifiers.parse().expect(specifiers);
            assert_eq!(parsed.contains(&version.parse().expect(version)), contained, "{specifiers} {version}");
        }
        for bad in ["=1", "1", ">=x", "==1.*.*", "~=1.*"] {
            assert!(bad.parse::<Specifiers>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_ordered_by_pep_440() {
        let mut sorted: Vec<Version> =
            ["1.0.post1", "1.0", "1.0rc1", "1!0", "1.0.dev1"].map(|text| text.parse().expect(text)).to_vec();
        sorted.sort();
        let texts: Vec<String> = sorted.iter().map(Version::to_string).collect();
        assert_eq!(texts, ["1.0.dev1", "1.0rc1", "1.0", "1.0.post1", "1!0"]);
    }
}
