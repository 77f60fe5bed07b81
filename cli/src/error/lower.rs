//! Why a lower store is not read.

use pip_accel_store::{LowerError, OpenError};

use super::{Failure, sentence};
use crate::exit_code::Exit;

impl From<LowerError> for Failure {
    fn from(error: LowerError) -> Self {
        let failure = Self::new(Exit::Error, sentence(&error));
        match &error {
            LowerError::Open(OpenError::NewerFormat { .. }) => {
                failure.hint("use the newer pip-accel that wrote it, or take it from `lower-stores`")
            }
            LowerError::Open(OpenError::Store(pip_accel_store::StoreError::ReadOnly { root, .. })) => failure.hint(
                &format!("let its owner bring it to the present format: pip-accel --store {} gc", root.display()),
            ),
            LowerError::Open(OpenError::DatabaseLost { root }) => failure
                .hint(&format!("let its owner make it anew: pip-accel --store {} verify --rebuild-db", root.display())),
            LowerError::NoUsers { root } => {
                failure.hint(&format!("let its owner make it: pip-accel --store {} gc", root.display()))
            }
            LowerError::WritableByOthers { path } => {
                failure.hint(&format!("let its owner forbid it: chmod go-w {}", path.display()))
            }
            LowerError::ForeignOwner { .. } | LowerError::Open(_) => failure.hint("take it from `lower-stores`"),
        }
    }
}
