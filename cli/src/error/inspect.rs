//! Errors of the commands that look into the store, pin and roll back.

use pip_accel_builder::build::WhyRebuildError;
use pip_accel_builder::realize::PinError;
use pip_accel_builder::realize::error::RealizeError;
use pip_accel_builder::realize::generations::RollbackError;

use super::{Failure, sentence};
use crate::exit_code::Exit;

impl From<PinError> for Failure {
    fn from(error: PinError) -> Self {
        match error {
            PinError::NotInStore { .. } => {
                Self::new(Exit::Offline, sentence(&error)).hint("make them first: pip-accel realize LOCK")
            }
            PinError::Realize(error) => error.into(),
            PinError::Store(error) => error.into(),
        }
    }
}

impl From<WhyRebuildError> for Failure {
    fn from(error: WhyRebuildError) -> Self {
        match error {
            WhyRebuildError::NotLocked { .. } => {
                Self::new(Exit::Error, sentence(&error)).hint("name a release of the lock, or leave the lock out")
            }
            WhyRebuildError::Realize(error) => error.into(),
            WhyRebuildError::Store(error) => error.into(),
        }
    }
}

impl From<RollbackError> for Failure {
    fn from(error: RollbackError) -> Self {
        let failure = Self::new(Exit::Error, sentence(&error));
        match error {
            RollbackError::NoEnvironment(_) => failure.hint("make it: pip-accel realize requirements.lock"),
            RollbackError::NoEarlier(_) | RollbackError::NoGeneration { .. } => {
                failure.hint("list what is kept: pip-accel generations --venv DIR")
            }
            RollbackError::NotInStore { .. } => {
                failure.hint("make it from its lock: pip-accel realize requirements.lock")
            }
            RollbackError::Environment(error) => error.into(),
            RollbackError::Realize(RealizeError::Detached { .. }) => {
                failure.hint("save what was edited there and add --reattach, which links it again")
            }
            RollbackError::Realize(error) => error.into(),
            RollbackError::Store(error) => error.into(),
        }
    }
}
