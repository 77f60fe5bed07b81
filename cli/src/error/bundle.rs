//! What to say of bundles that can't be made or taken in.

use std::path::Path;

use pip_accel_builder::realize::bundle::MakeBundleError;
use pip_accel_store::BundleError;

use super::{Failure, full, is_full, sentence, store_failure};
use crate::exit_code::Exit;

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        if let BundleError::Store(error) = &error {
            return store_failure(error);
        }
        let failure = Self::new(Exit::Error, sentence(&error));
        match &error {
            BundleError::Store(error) => store_failure(error),
            BundleError::Read(_) => failure.hint("check the file and the disk it is on, and repeat the command"),
            BundleError::Write(_) if is_full(&error) => full(&error),
            BundleError::Write(_) => failure.hint("name another place: -o FILE.tar"),
            BundleError::Foreign => failure.hint("name a file that `pip-accel bundle` wrote"),
            BundleError::NewerFormat { .. } => failure.hint("use the newer pip-accel that wrote it"),
            BundleError::CutOff | BundleError::Corrupt(_) | BundleError::TooLarge { .. } => failure.hint(
                "nothing of it was kept; copy it again and compare its SHA-256 with the one that `bundle` printed",
            ),
            BundleError::NoRoom { .. } => {
                failure.hint("free some space, for instance with `pip-accel gc`, and repeat the command")
            }
            BundleError::MissingBase { .. } => {
                failure.hint("unbundle the one that it was made `--since` first, or make one without --since")
            }
            BundleError::Damaged { .. } => failure.hint("check the store: pip-accel verify"),
        }
    }
}

impl From<MakeBundleError> for Failure {
    fn from(error: MakeBundleError) -> Self {
        match error {
            MakeBundleError::Realize(error) => error.into(),
            MakeBundleError::Bundle(error) => error.into(),
            MakeBundleError::Unpacked { .. } => Self::new(Exit::Error, sentence(&error)).hint(
                "install these packages here and on the other machine, build it in another store, and bundle that",
            ),
            MakeBundleError::Output { .. } if is_full(&error) => full(&error),
            MakeBundleError::Output { ref path, .. } => {
                let folder = path.parent().unwrap_or(Path::new("/")).display();
                Self::new(Exit::Error, sentence(&error))
                    .hint(&format!("name another place than `{folder}`: -o FILE.tar"))
            }
        }
    }
}
