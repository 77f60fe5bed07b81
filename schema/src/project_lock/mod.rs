//! Locks of whole projects as values: `pylock.toml` (PEP 751), `uv.lock`, `poetry.lock` and `Pipfile.lock`.
//!
//! Each format has one parser, text → [`ProjectLock`]. Which packages apply to an interpreter is said in one of two
//! ways: by [`Condition`]s on each package (pylock, Pipfile, poetry from 2.0 on), or by a graph that has to be walked
//! from its [`Root`]s (uv, older poetry). Markers stay texts: evaluating them is the builder's business.

mod detect;
mod hashes;
mod pipfile;
mod poetry;
mod poetry_project;
mod pylock;
mod uv;

use std::collections::BTreeSet;

pub use detect::LockFormat;
pub use pipfile::parse_pipfile_lock;
pub use poetry::{parse_poetry_lock, parse_poetry_lock_with};
pub use poetry_project::{PoetryProject, parse_poetry_project};
pub use pylock::parse_pylock;
pub use uv::{parse_uv_default_groups, parse_uv_lock};

use crate::digest::Sha256Digest;
use crate::name::{PackageName, PackageVersion};

/// Most packages of one lock; the largest universal locks have 3,000.
pub const PROJECT_PACKAGES_MAX: usize = 50_000;

/// Most files, dependencies and conditions of one package; the largest project has about 1,100 files in a release.
pub const PACKAGE_PARTS_MAX: usize = 16_384;

/// Why a text is not a lock of its format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ProjectLockError {
    /// The line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// What is wrong, naming the text.
    pub reason: String,
}

impl ProjectLockError {
    pub(crate) fn of_file(reason: impl Into<String>) -> Self {
        Self { line: 0, reason: reason.into() }
    }
}

/// Where a file or folder lies, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A URL, which may hold credentials.
    Url(String),
    /// A path, relative to the lock's folder unless it is absolute.
    Path(String),
}

/// One wheel or sdist that a lock lists for a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// Its file name.
    pub file_name: String,
    /// Where it lies; formats that name only an index say nothing.
    pub place: Option<Place>,
    /// Its SHA-256.
    pub sha256: Option<Sha256Digest>,
    /// Whether there are hashes of other kinds (they are not used).
    pub has_other_hashes: bool,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// When it was uploaded (RFC 3339).
    pub upload_time: Option<String>,
}

/// What a package is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A release of an index: its files are listed, or only their hashes.
    Release {
        /// Wheels and the sdist.
        files: Vec<ProjectFile>,
        /// Hashes of files of which no more is known (Pipfile), sorted.
        hashes: Vec<Sha256Digest>,
    },
    /// One wheel or sdist at a place of its own.
    Archive {
        /// The file.
        file: ProjectFile,
        /// The folder of the project inside it.
        subdirectory: Option<String>,
    },
    /// A commit of a repository.
    VersionControl {
        /// `git`, `hg` …
        kind: String,
        /// The repository: a URL or path.
        place: Place,
        /// The commit.
        commit: Option<String>,
        /// The folder of the project inside it.
        subdirectory: Option<String>,
    },
    /// A folder of this machine.
    Directory {
        /// The folder, relative to the lock's.
        path: String,
        /// Whether it is installed as an editable.
        editable: bool,
        /// The folder of the project inside it.
        subdirectory: Option<String>,
    },
    /// A project that is never installed itself (a workspace's root).
    Virtual,
}

/// When a package applies: its group is asked for and its marker holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The group; `None` applies whatever was asked for.
    pub group: Option<String>,
    /// The marker.
    pub marker: Option<String>,
}

/// A dependency of a package of a graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    /// The project.
    pub name: String,
    /// The version, where several of the project are locked.
    pub version: Option<String>,
    /// The source, where several are locked: as [`ProjectPackage::source`].
    pub source: Option<String>,
    /// Versions that the dependant wants, in poetry's notation; decides among several.
    pub constraint: Option<String>,
    /// Versions of Python for which it counts, in poetry's notation.
    pub python: Option<String>,
    /// When it counts.
    pub marker: Option<String>,
    /// The dependency's extras that are wanted.
    pub extras: Vec<String>,
    /// Extras of the dependant any of which brings it; empty: always.
    pub needed_by: Vec<String>,
}

/// Where the walk through a graph begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Only when this group is asked for.
    pub group: Option<String>,
    /// Only when this extra is asked for.
    pub extra: Option<String>,
    /// What is wanted then.
    pub edge: Edge,
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectPackage {
    /// The line where it begins, from 1; 0 if not known.
    pub line: usize,
    /// The project.
    pub name: PackageName,
    /// The version; folders and repositories may not tell.
    pub version: Option<PackageVersion>,
    /// Extras as written, sorted (Pipfile).
    pub extras: Vec<String>,
    /// Versions of Python that the package wants, where a lock demands them.
    pub requires_python: Option<String>,
    /// What it is made from.
    pub origin: Origin,
    /// Its source as a text that [`Edge::source`] repeats.
    pub source: Option<String>,
    /// Any of which makes it apply; empty in graphs.
    pub conditions: Vec<Condition>,
    /// What it depends on; empty without a graph.
    pub edges: Vec<Edge>,
    /// Whether it is (a member of) the locked project itself.
    pub is_project: bool,
}

/// A lock of any format.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectLock {
    /// Versions of Python that the lock is for.
    pub requires_python: Option<String>,
    /// Markers, one of which must hold; none: all do.
    pub environments: Vec<String>,
    /// The packages, in the order of the file.
    pub packages: Vec<ProjectPackage>,
    /// Where the walk begins; `None`: there is no graph, conditions decide.
    pub roots: Option<Vec<Root>>,
    /// Extras that may be asked for, normalised.
    pub extras: BTreeSet<String>,
    /// Groups that may be asked for, normalised.
    pub groups: BTreeSet<String>,
    /// Groups that count without being asked for.
    pub default_groups: BTreeSet<String>,
    /// The name of the project, by which uv's markers speak of its extras.
    pub project: Option<String>,
    /// Whether markers speak of extras in uv's form: `extra == 'extra-7-project-name'`.
    pub has_encoded_extras: bool,
    /// Indexes in their order; empty: those of the user.
    pub indexes: Vec<String>,
    /// Whether the first of `indexes` takes the place of the user's own.
    pub replaces_index: bool,
    /// Sentences about what was passed over.
    pub warnings: Vec<String>,
}

/// The line of a byte offset, from 1.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + memchr::memchr_iter(b'\n', before).count()
}

/// Counts lines of rising offsets, each byte once.
pub(crate) struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1 }
    }

    pub(crate) fn at(&mut self, offset: usize) -> usize {
        if offset < self.offset {
            return line_at(self.text, offset);
        }
        let between = self.text.as_bytes().get(self.offset..offset).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', between).count();
        self.offset = offset;
        self.line
    }
}

/// Reads TOML; the first fault with its line.
pub(crate) fn from_toml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ProjectLockError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| line_at(text, span.start));
        let reason = error.message().lines().next().unwrap_or("it is not TOML").to_owned();
        ProjectLockError { line, reason }
    })
}

pub(crate) fn check_count(count: usize) -> Result<(), ProjectLockError> {
    if count > PROJECT_PACKAGES_MAX {
        return Err(ProjectLockError::of_file(format!("it has more than {PROJECT_PACKAGES_MAX} packages")));
    }
    Ok(())
}

pub(crate) fn check_parts(line: usize, name: &str, count: usize) -> Result<(), ProjectLockError> {
    if count > PACKAGE_PARTS_MAX {
        let name = crate::requirement::excerpt(name);
        let reason = format!("`{name}` has more than {PACKAGE_PARTS_MAX} files or dependencies");
        return Err(ProjectLockError { line, reason });
    }
    Ok(())
}

/// A name of a project, an extra or a group in its normal form; what is no name stays as it is and equals nothing.
pub(crate) fn normal(name: &str) -> String {
    name.parse::<PackageName>().map_or_else(|_| name.to_owned(), |name| name.as_str().to_owned())
}

/// Name and version of a package, or what is wrong with them.
pub(crate) fn identity(
    line: usize,
    (name, version): (&str, Option<&str>),
) -> Result<(PackageName, Option<PackageVersion>), ProjectLockError> {
    let at_line = |error: crate::name::ParseNameError| ProjectLockError { line, reason: error.to_string() };
    Ok((name.parse().map_err(at_line)?, version.map(str::parse).transpose().map_err(at_line)?))
}

/// The last part of a URL or path, percent signs as they are.
pub(crate) fn last_part(place: &str) -> &str {
    let path = place.split(['?', '#']).next().unwrap_or(place);
    path.rsplit('/').next().unwrap_or(path)
}

/// `%2B` → `+`; a text that gives no UTF-8 stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digit = |index: usize| tail.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (*first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
