//! `requirements.lock` as a value: a pip requirements file of pins, markers and hashes.
//!
//! The grammar is that of pip's requirements files: one requirement or option a logical line, `\` joins lines,
//! `#` starts a comment at the line's start or after white space. What pip ignores but this tool reads are the
//! comment lines that start with `#:` and lock build requirements:
//!
//! ```text
//! lxml==5.3.0 --hash=sha256:…
//! #: build lxml==5.3.0
//! #:   Cython==3.0.11 --hash=sha256:…
//! #:   setuptools==75.1.0 --hash=sha256:…
//! ```
//!
//! Reading included files (`-r`), expanding variables and evaluating markers need the outside world
//! and are the builder's business; this module turns one text into [`LockItem`]s.

mod lines;
mod options;
mod parse;
#[cfg(test)]
mod tests;
mod words;

pub use lines::LOGICAL_LINE_BYTES_MAX;
pub use options::HASHES_PER_REQUIREMENT_MAX;
pub use parse::{LOCK_ITEMS_MAX, LockSyntaxError, parse};

use crate::config_settings::ConfigSettings;
use crate::digest::Sha256Digest;
use crate::name::{PackageName, PackageVersion};

/// Longest lock file read, in bytes; the largest seen in the wild (1,500 pins with 60 hashes each) has 8 MB.
pub const LOCK_FILE_BYTES_MAX: u64 = 64 << 20;

/// What a requirement points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequirementTarget {
    /// `name==version`.
    Pin {
        /// The project.
        name: PackageName,
        /// The pinned version.
        version: PackageVersion,
    },
    /// `name @ url`, a bare URL, or a local path.
    Direct {
        /// The name before `@`, if given.
        name: Option<PackageName>,
        /// The URL or path as written, variables not expanded, fragment included.
        location: String,
    },
    /// Anything that does not name one version: `name`, `name>=1`, `name==1.*`, two specifiers.
    Unpinned {
        /// The project.
        name: PackageName,
        /// The specifier as written; empty when there is none.
        specifier: String,
    },
    /// `-e …`: can't be locked.
    Editable {
        /// What follows `-e`.
        location: String,
    },
}

/// One requirement of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequirement {
    /// First line of the requirement, from 1.
    pub line: usize,
    /// What it points at.
    pub target: RequirementTarget,
    /// Extras as written, sorted.
    pub extras: Vec<String>,
    /// Text of the marker after `;`.
    pub marker: Option<String>,
    /// SHA-256 digests of `--hash=sha256:…`, sorted, each once.
    pub hashes: Vec<Sha256Digest>,
    /// Whether hashes of other algorithms were given too (they are not used).
    pub has_other_hashes: bool,
    /// What its backend is told when it is built (`--config-settings`).
    pub config_settings: ConfigSettings,
}

/// Which packages a `--no-binary` or `--only-binary` speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatSelection {
    /// `:all:`.
    All,
    /// `:none:`: forget what was said before.
    None,
    /// These projects.
    Packages(Vec<PackageName>),
}

/// One option line of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockOption {
    /// `-i`, `--index-url`.
    IndexUrl(String),
    /// `--extra-index-url`.
    ExtraIndexUrl(String),
    /// `--no-index`.
    NoIndex,
    /// `-f`, `--find-links`.
    FindLinks(String),
    /// `--no-binary`.
    NoBinary(FormatSelection),
    /// `--only-binary`.
    OnlyBinary(FormatSelection),
    /// `--trusted-host`.
    TrustedHost(String),
    /// `-r`, `--requirement`: another file of requirements.
    Include(String),
    /// `-c`, `--constraint`: a file whose pins only constrain.
    Constraint(String),
    /// Options that change nothing here: `--require-hashes`, `--pre`, `--prefer-binary`, `--use-feature`.
    Ignored(String),
}

/// One locked build: `#: build name==version` and the lines below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLock {
    /// First line of the block, from 1.
    pub line: usize,
    /// The project that is built.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// Its build requirements, in the order of the file.
    pub requirements: Vec<LockRequirement>,
}

/// One logical line (or build block) of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockItem {
    /// A requirement.
    Requirement(LockRequirement),
    /// An option and its line, from 1.
    Option(usize, LockOption),
    /// A locked build.
    Build(BuildLock),
}
