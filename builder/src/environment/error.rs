//! What can go wrong between a request and an environment.

use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::name::PackageName;

/// Why an environment was not made, read or checked. Whatever stood at the destination before still stands there.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The destination cannot hold a virtualenv, whatever is there.
    #[error("`{}` can't hold an environment: the path {reason}", path.display())]
    Destination {
        /// The destination of the request.
        path: PathBuf,
        /// The reason as the end of a sentence: `is not absolute`.
        reason: &'static str,
    },
    /// Something that this program did not make is at the destination.
    #[error("`{}` is not an environment made by pip-accel ({found}); it was left alone", path.display())]
    NotOurs {
        /// The destination of the request.
        path: PathBuf,
        /// What is there, for a reader: `a directory with Cargo.toml, src and 3 more`.
        found: String,
        /// Whether it is a virtualenv that [`Replace::Virtualenv`](super::Replace::Virtualenv) would replace.
        is_virtualenv: bool,
    },
    /// The destination is a mount point or another program keeps it from being renamed.
    #[error("`{}` can't be replaced because it is a mount point; give a path below it", path.display())]
    MountPoint {
        /// The destination of the request.
        path: PathBuf,
        /// The refusal of the operating system.
        source: io::Error,
    },
    /// Something is mounted inside the environment.
    #[error("`{}` can't be replaced because something is mounted in it, at `{}`", path.display(), mount.display())]
    MountInside {
        /// The destination of the request.
        path: PathBuf,
        /// Where.
        mount: PathBuf,
    },
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// One project was asked for twice.
    #[error("`{0}` is in the request more than once")]
    Duplicate(PackageName),
    /// A link plan holds what no environment can hold.
    #[error("the link plan of `{package}` can't be used: {what} `{text}` {reason}")]
    Plan {
        /// The package.
        package: PackageName,
        /// The part of the plan: `the script name`.
        what: &'static str,
        /// The refused text, shortened.
        text: String,
        /// The reason as the end of a sentence.
        reason: &'static str,
    },
    /// A path that must be written into text files is not UTF-8.
    #[error("`{}` is not UTF-8 and can't be written into an environment", .0.display())]
    NotUtf8(PathBuf),
    /// The base interpreter lacks what an environment needs of it.
    #[error("`{}` can't be the base of an environment: {reason}", path.display())]
    Interpreter {
        /// The interpreter.
        path: PathBuf,
        /// The reason as a clause.
        reason: String,
    },
    /// The manifest is not one.
    #[error("`{}` is damaged", path.display())]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A newer version of the program made the environment.
    #[error("`{}` has format {format}; this version reads up to {}", path.display(), pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FORMAT)]
    NewerManifest {
        /// The manifest's path.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// The file system refused.
    #[error("can't {action} `{}`", path.display())]
    Io {
        /// What was tried: `create the folder`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

impl EnvironmentError {
    /// An adapter for `map_err`: `action` on `path` failed.
    pub(super) fn io<E: Into<io::Error>>(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, path: path.as_ref().to_owned(), source: source.into() }
    }
}
