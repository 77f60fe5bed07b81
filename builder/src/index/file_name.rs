//! File names of distributions: which project, which version.

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::wheel::WheelFileName;
use uv_pep440::Version;

/// Suffixes of sdists, best first: the one that PEP 625 names, then those of the past.
pub const SDIST_SUFFIXES: [&str; 5] = [".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip"];

/// A file name split into its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DistributionFile<'a> {
    /// A wheel.
    Wheel(WheelFileName),
    /// An sdist: `name-version.tar.gz`. Where the name ends is not written, so the project must be known.
    Sdist {
        /// `name-version`.
        stem: &'a str,
        /// Index of its suffix in [`SDIST_SUFFIXES`].
        suffix_rank: usize,
    },
}

impl<'a> DistributionFile<'a> {
    /// The parts of `file_name`, or `None` for files of other kinds (eggs, installers, signatures).
    #[must_use]
    pub fn parse(file_name: &'a str) -> Option<Self> {
        if file_name.ends_with(".whl") {
            return file_name.parse().ok().map(Self::Wheel);
        }
        SDIST_SUFFIXES.iter().enumerate().find_map(|(suffix_rank, suffix)| {
            let stem = file_name.strip_suffix(suffix)?;
            Some(Self::Sdist { stem, suffix_rank })
        })
    }

    /// The version that this file of the project `name` has, as written; `None` if it is another project's.
    ///
    /// Of the places where an sdist's name may end, the one counts whose rest is a version: `a-b-1.0` is
    /// version `1.0` of `a-b` and no file of `a`.
    #[must_use]
    pub fn version_for(&self, name: &PackageName) -> Option<&str> {
        match self {
            Self::Wheel(wheel) => (wheel.name == *name).then(|| wheel.version.as_str()),
            Self::Sdist { stem, .. } => stem.match_indices('-').find_map(|(dash, _)| {
                let version = &stem[dash + 1..];
                let is_project = stem[..dash].parse::<PackageName>().is_ok_and(|project| project == *name);
                (is_project && looks_like_version(version)).then_some(version)
            }),
        }
    }
}

/// Project and version of an sdist's file name, as PEP 625 wants it: the last `-` is before the version.
///
/// `None` for names that do not end like an sdist or whose end is no version.
#[must_use]
pub fn parse_sdist_file_name(file_name: &str) -> Option<(PackageName, PackageVersion)> {
    let stem = SDIST_SUFFIXES.iter().find_map(|suffix| file_name.strip_suffix(suffix))?;
    let (name, version) = stem.rsplit_once('-')?;
    looks_like_version(version).then(|| Some((name.parse().ok()?, version.parse().ok()?))).flatten()
}

/// Whether the file belongs to the project `name`.
pub(super) fn belongs_to(name: &PackageName, file_name: &str) -> bool {
    DistributionFile::parse(file_name).is_some_and(|file| file.version_for(name).is_some())
}

/// A pinned version, ready to be compared with what files say.
#[derive(Debug)]
pub(super) struct PinnedVersion {
    text: String,
    parsed: Option<Version>,
}

/// How a file's version relates to the pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionMatch {
    /// Equal under PEP 440 (`1.0` and `1.0.0`), or the same text for versions older than the standard.
    Equal,
    /// The pin with a local part (`1.0` and `1.0+cpu`): what `==` allows, but another build.
    LocalBuild,
    /// Another version.
    Other,
}

impl PinnedVersion {
    pub(super) fn new(version: &PackageVersion) -> Self {
        Self { text: version.as_str().to_owned(), parsed: version.as_str().parse().ok() }
    }

    pub(super) fn compare(&self, written: &str) -> VersionMatch {
        if written == self.text {
            return VersionMatch::Equal;
        }
        match (&self.parsed, written.parse::<Version>()) {
            (Some(pinned), Ok(version)) if *pinned == version => VersionMatch::Equal,
            (Some(pinned), Ok(version)) if !pinned.is_local() && *pinned == version.clone().without_local() => {
                VersionMatch::LocalBuild
            }
            _ => VersionMatch::Other,
        }
    }
}

/// Versions of the time before PEP 440 (`2004d`) count too if they begin with a digit.
fn looks_like_version(text: &str) -> bool {
    text.starts_with(|character: char| character.is_ascii_digit()) || text.parse::<Version>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_of(name: &str, file_name: &str) -> Option<String> {
        let name: PackageName = name.parse().expect("a name");
        DistributionFile::parse(file_name)?.version_for(&name).map(str::to_owned)
    }

    #[test]
    fn sdists_are_split_where_the_project_ends() {
        for (name, file_name, version) in [
            ("zope-interface", "zope.interface-5.0.tar.gz", Some("5.0")),
            ("zope-interface", "zope_interface-5.0.zip", Some("5.0")),
            ("a-b", "a-b-1.0-1.tar.bz2", Some("1.0-1")),
            ("a", "a-b-1.0.tar.gz", None),
            ("a-2", "a-2-1.0.tgz", Some("1.0")),
            ("pytz", "pytz-2004d.tar.xz", Some("2004d")),
            ("a", "A-v1.0.tar.gz", Some("v1.0")),
            ("a", "a-1.0.tar.gz.asc", None),
            ("a", "a-1.0-py3.8.egg", None),
            ("a", "-1.0.tar.gz", None),
            ("a", "a_b-1.0-py3-none-any.whl", None),
            ("a-b", "a_b-1.0-py3-none-any.whl", Some("1.0")),
        ] {
            assert_eq!(version_of(name, file_name).as_deref(), version, "{file_name}");
        }
    }

    #[test]
    fn versions_are_compared_as_pep_440_says() {
        let compare = |pin: &str, written: &str| PinnedVersion::new(&pin.parse().expect("a version")).compare(written);
        for equal in [("1.0", "1.0.0"), ("1.0rc1", "1.0.RC.1"), ("1.0", "v1"), ("2004d", "2004d"), ("1+a.1", "1.0+a-1")]
        {
            assert_eq!(compare(equal.0, equal.1), VersionMatch::Equal, "{equal:?}");
        }
        assert_eq!(compare("1.0", "1.0+cpu"), VersionMatch::LocalBuild);
        for other in [("1.0+cpu", "1.0"), ("1.0", "1.0.1"), ("1.0", "1.0rc1"), ("2004d", "2004e"), ("1.0", "x")] {
            assert_eq!(compare(other.0, other.1), VersionMatch::Other, "{other:?}");
        }
    }
}
