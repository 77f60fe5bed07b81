//! What can be wrong with a lock. Everything that makes it no lock is reported at once, each with its line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::lock_file::LOCK_FILE_BYTES_MAX;
use pip_accel_schema::name::{PackageName, PackageVersion};

use super::read::{INCLUDE_DEPTH_MAX, INCLUDED_FILES_MAX};
use crate::checkout::ParseGitReferenceError;
use crate::python::marker::MarkerError;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}", self.file.display()),
            line => write!(formatter, "{}:{line}", self.file.display()),
        }
    }
}

/// Why a lock can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A file can't be read.
    #[error("the lock {} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is beyond the limit.
    #[error("the lock {} is longer than {LOCK_FILE_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// A file is no text.
    #[error("{}:{line} is not UTF-8; save the lock as UTF-8", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The first line that is not, from 1.
        line: usize,
    },
    /// A file declares an encoding that nobody knows.
    #[error("{} declares the encoding `{name}`, which is not known; save it as UTF-8", path.display())]
    UnknownEncoding {
        /// The file.
        path: PathBuf,
        /// The encoding.
        name: String,
    },
    /// A line can't be read.
    #[error("{span}: {reason}")]
    Syntax {
        /// Where.
        span: Span,
        /// What is wrong, naming the text.
        reason: String,
    },
    /// A `-r` or `-c` that can't be followed.
    #[error("{span}: {reason}")]
    Include {
        /// Where it stands.
        span: Span,
        /// Why.
        reason: IncludeProblem,
    },
    /// The file's name promises another format than it has.
    #[error("{} is named like a {named}, but what it holds is a {found}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format of its name, by its usual file name.
        named: &'static str,
        /// The format of its content.
        found: &'static str,
    },
    /// Extras or groups that the lock does not have.
    #[error("{} has no {kind} `{name}` ({available})", path.display())]
    NoSuch {
        /// The file.
        path: PathBuf,
        /// `extra` or `group`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is, as the end of a sentence.
        available: String,
    },
    /// Entries that are not locked, or contradict each other.
    #[error("{}", describe(problems))]
    Refused {
        /// Each of them, in the order of the files.
        problems: Vec<LockProblem>,
    },
}

/// Why a `-r` or `-c` can't be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IncludeProblem {
    /// The file includes itself, by itself or through others.
    #[error("`{0}` includes itself")]
    Cycle(String),
    /// Too deep or too many.
    #[error("more than {INCLUDE_DEPTH_MAX} files deep or {INCLUDED_FILES_MAX} files in all are included")]
    TooMany,
    /// It is not there, or can't be read.
    #[error("`{path}` can't be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A URL.
    #[error("`{0}` is not a local file; a lock has all its lines on this machine")]
    Remote(String),
}

/// One entry that makes a file no lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{span}: {kind}")]
pub struct LockProblem {
    /// Where.
    pub span: Span,
    /// What.
    pub kind: ProblemKind,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is, the fields what they name")]
pub enum ProblemKind {
    #[error("`{name}{specifier}` is not pinned to one version")]
    Unpinned { name: PackageName, specifier: String },
    #[error("`{entry}` has no hash{}", if *has_others { " that can be used; pip-accel needs sha256" } else { "" })]
    Unhashed { entry: String, has_others: bool },
    #[error("`{entry}` has no hash; if the file is the right one, add `--hash=sha256:{digest}`")]
    LocalUnhashed { entry: String, digest: Sha256Digest },
    #[error("`-e {location}` names no directory or commit; write `-e ./project` or `-e git+https://…@COMMIT#egg=NAME`")]
    Editable { location: String },
    #[error(
        "`{location}` is a repository of another kind than git; name an archive of that revision, or a git repository \
         that has it"
    )]
    VersionControl { location: String },
    #[error("`{location}` can't be used: {source}")]
    Git { location: String, source: ParseGitReferenceError },
    #[error("`{location}` names no full commit (40 hexadecimal digits), so what it means may change")]
    Revision { location: String },
    #[error("`{entry}` is no file, so no hash can be compared with it; take the hash away")]
    HashOfCheckout { entry: String },
    #[error("`{location}` is neither http(s) nor a local file")]
    Scheme { location: String },
    #[error("`{location}` is a folder without `pyproject.toml` and `setup.py`, so it is no project")]
    Folder { location: String },
    #[error("there is no file `{location}` (looked for at {})", path.display())]
    NoFile { location: String, path: PathBuf },
    #[error("`{location}` is not the file name of a wheel or an sdist")]
    FileName { location: String },
    #[error("{0}")]
    Marker(MarkerError),
    #[error("`{name}` is locked differently at {other}: {there} there, {here} here")]
    Contradiction { name: String, here: String, there: String, other: Span },
    #[error("`{entry}` and {other} have no hash in common")]
    NoCommonHash { entry: String, other: Span },
    #[error("`{name}=={version}` is not what the constraint at {other} allows: `{constraint}`")]
    Constrained { name: PackageName, version: String, constraint: String, other: Span },
    #[error("a constraint must be a name and versions")]
    Constraint,
    #[error(
        "`{location}` is a file or URL, and a `#: build` line takes releases only: `NAME==VERSION --hash=sha256:…`"
    )]
    BuildDirect { location: String },
    #[error("`{name}` is {what}; {remedy}")]
    Origin { name: PackageName, what: String, remedy: &'static str },
    #[error("`{name}` has no hash that can be used in {format}; pip-accel needs sha256")]
    NoUsableHash { name: PackageName, format: &'static str },
    #[error("the lock is for Python {requires}, this is Python {python}")]
    RequiresPython { requires: String, python: String },
    #[error("`{name}` wants Python {requires}, this is Python {python}")]
    PackageRequiresPython { name: PackageName, requires: String, python: String },
    #[error("the lock is for other environments: none of its markers holds here ({markers})")]
    Environments { markers: String },
    #[error("the file `{file_name}` is not one of `{name}`{}", version.as_ref().map_or_else(String::new, |version| format!(" {version}")))]
    FileIdentity { name: PackageName, version: Option<PackageVersion>, file_name: String },
    #[error("`{dependant}` requires `{name}`, which the lock does not have")]
    Dangling { dependant: String, name: String },
    #[error("`{name}` has no version")]
    NoVersion { name: PackageName },
    #[error("`{name}` is locked in more than {max} versions")]
    TooManyForks { name: PackageName, max: usize },
    #[error("`{text}` is no range of versions of Python")]
    Range { text: String },
    #[error("the build of {name} {version} is locked differently at {other}")]
    BuildContradiction { name: PackageName, version: PackageVersion, other: Span },
}

impl ProblemKind {
    /// Whether making the lock anew with hashes cures it.
    const fn is_cured_by_locking(&self) -> bool {
        matches!(self, Self::Unpinned { .. } | Self::Unhashed { .. } | Self::Revision { .. })
    }
}

/// Most problems that a message lists; the rest is counted.
const PROBLEMS_SHOWN_MAX: usize = 50;

fn describe(problems: &[LockProblem]) -> String {
    let mut lines = vec!["the lock is refused:".to_owned()];
    lines.extend(problems.iter().take(PROBLEMS_SHOWN_MAX).map(|problem| format!("  {problem}")));
    if problems.len() > PROBLEMS_SHOWN_MAX {
        lines.push(format!("  … and {} more", problems.len() - PROBLEMS_SHOWN_MAX));
    }
    if problems.iter().any(|problem| problem.kind.is_cured_by_locking()) {
        lines.push("lock it with `pip-accel lock requirements.in -o requirements.lock`".to_owned());
    }
    lines.join("\n")
}
