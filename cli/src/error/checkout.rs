//! Commits, directories and editables that can't be had, as sentences.

use pip_accel_builder::checkout::CheckoutError;

use super::Failure;
use crate::exit_code::Exit;

/// What to do about a checkout that can't be had; `text` says what happened.
pub(super) fn checkout(error: &CheckoutError, text: String) -> Failure {
    match error {
        CheckoutError::NoGit(_) => Failure::new(Exit::Error, text).hint("install it: apt-get install git"),
        CheckoutError::Revision { .. } => Failure::new(Exit::LockRefused, text).hint(
            "lock a commit that the repository has; a branch may have been rewritten, or the commit never pushed",
        ),
        CheckoutError::Subdirectory(_) => {
            Failure::new(Exit::LockRefused, text).hint("mend `subdirectory=` in that line of the lock")
        }
        CheckoutError::TooLarge { .. } | CheckoutError::TooLargeCommit => Failure::new(Exit::Error, text)
            .hint("move data out of the project, or build a wheel of it and name that: python -m build --wheel"),
        CheckoutError::Changed { .. } => Failure::new(Exit::Error, text).hint("repeat the command"),
        CheckoutError::Git { .. } | CheckoutError::Endless => Failure::new(Exit::Error, text).hint(
            "check that `git ls-remote` can read the repository; no password is asked for, see docs/checkouts.md",
        ),
        CheckoutError::Answer { .. } => Failure::new(Exit::Error, text).hint("check the program: git --version"),
        CheckoutError::Entry { .. } | CheckoutError::Submodule { .. } | CheckoutError::Submodules => {
            Failure::new(Exit::Error, text)
                .hint("nothing of it was kept; report it to the project, or lock another commit")
        }
        CheckoutError::OtherCommit { path, wanted, .. } => Failure::new(Exit::Error, text)
            .hint(&format!("git -C {} checkout {wanted}", path.display()))
            .hint("or move the clone away: it is made anew"),
        CheckoutError::Occupied { path } => {
            Failure::new(Exit::Error, text).hint(&format!("move `{}` away", path.display()))
        }
        CheckoutError::EditablePlace { .. } => Failure::new(Exit::Error, text)
            .hint("move the project elsewhere, or build it without isolation, if you trust it: --no-sandbox"),
        CheckoutError::Io { .. } => {
            Failure::new(Exit::Error, text).hint("check that the path is right and can be read")
        }
        CheckoutError::Offline => Failure::new(Exit::Offline, text).hint("repeat the command without --offline"),
        CheckoutError::Cancelled => Failure::new(Exit::Interrupted, text),
    }
}
