//! Why nothing was installed; what was there before is there still.

use std::path::PathBuf;

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_store::StoreError;

use crate::environment::EnvironmentError;
use crate::python::interpreter::ScriptError;
use crate::realize::error::RealizeError;
use crate::resolve::project::ProjectError;

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No versions could be chosen.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A package could not be had, or the environment not be made.
    #[error(transparent)]
    Realize(#[from] RealizeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A distribution that would be replaced, and nobody wrote down its files.
    #[error("{name} {version} is installed without a list of its files, so that it can't be replaced")]
    Untracked {
        /// The project.
        name: PackageName,
        /// The version that is installed.
        version: PackageVersion,
    },
    /// The store has lost an object of the environment.
    #[error("the store has no `{package}` any more, which is in the environment")]
    NotInStore {
        /// The package.
        package: PackageName,
    },
    /// A folder can't be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The interpreter does not say where packages go.
    #[error("the interpreter {} does not tell where packages go", path.display())]
    Scheme {
        /// The interpreter.
        path: PathBuf,
        /// Why.
        source: ScriptError,
    },
    /// It says something else.
    #[error("the interpreter {} tells nothing that can be understood of where packages go", path.display())]
    SchemeAnswer {
        /// The interpreter.
        path: PathBuf,
        /// What can't be read.
        source: serde_json::Error,
    },
}

impl From<EnvironmentError> for InstallError {
    fn from(error: EnvironmentError) -> Self {
        Self::Realize(RealizeError::Environment(error))
    }
}

impl InstallError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
