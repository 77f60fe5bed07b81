//! Errors about system packages.

use pip_accel_builder::system_packages::index::{AptError, IndexError, UpdateError};

use super::{Failure, sentence};
use crate::exit_code::Exit;

const UPDATE: &str = "make it anew: pip-accel index update";

impl From<&IndexError> for Failure {
    fn from(error: &IndexError) -> Self {
        Self::new(Exit::Error, sentence(error)).hint(UPDATE)
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self::from(&error)
    }
}

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        let failure = Self::new(Exit::Error, sentence(&error));
        match error {
            UpdateError::Apt(AptError::Start { .. }) => failure.hint("this works where Debian's apt is"),
            UpdateError::Apt(AptError::NoContents { .. }) => {
                failure.hint("check the package sources: apt-get update; some mirrors leave the Contents files out")
            }
            UpdateError::Apt(_) => failure.hint("check the package sources: apt-get update"),
            UpdateError::Index(_) | UpdateError::Write { .. } => failure,
        }
    }
}
