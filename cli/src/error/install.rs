//! What can go wrong with an installation.

use pip_accel_builder::install::error::InstallError;
use pip_accel_builder::realize::error::RealizeError;

use super::{Failure, environment_failure, sentence, store_failure};
use crate::command::rounds::Failing;
use crate::exit_code::Exit;

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Project(error) => Self::from(error).of_install(),
            InstallError::Realize(RealizeError::Environment(error)) => environment_failure(&error),
            InstallError::Realize(error) => error.into(),
            InstallError::Store(error) => store_failure(&error),
            InstallError::Untracked { ref name, .. } => Self::new(Exit::Error, sentence(&error)).hint(&format!(
                "remove it with the program that installed it, or install beside it: --ignore-installed {name}"
            )),
            InstallError::NotInStore { ref package } => Self::new(Exit::Error, sentence(&error))
                .hint(&format!("install it again: pip-accel install --force-reinstall {package}")),
            InstallError::Io { .. } => Self::new(Exit::Error, sentence(&error))
                .hint("is it yours? use a virtualenv (--venv DIR) or your own folders (--user)"),
            InstallError::Scheme { .. } | InstallError::SchemeAnswer { .. } => {
                Self::new(Exit::Error, sentence(&error)).hint("use another interpreter: --python VERSION|PATH")
            }
        }
    }
}

impl Failing for InstallError {
    fn realize_error(&self) -> Option<&RealizeError> {
        match self {
            Self::Realize(error) => Some(error),
            _ => None,
        }
    }
}

impl Failure {
    /// The same for who installs: hints that speak of locks speak of something else.
    pub(crate) fn of_install(mut self) -> Self {
        for hint in &mut self.hints {
            *hint = hint.replace("pip-accel lock requirements.in", "pip-accel install -r requirements.txt");
            *hint =
                hint.replace(", or take another release: -P NAME, --upgrade", ", or take newer releases: --upgrade");
            *hint = hint.replace("--pre and --exclude-newer of `pip-accel lock`", "--pre and --uploaded-prior-to");
        }
        self
    }
}
