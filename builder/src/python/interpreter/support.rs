//! What is supported on which interpreter. The table for users is `docs/interpreters.md`.

use pip_accel_schema::interpreter::{Implementation, Interpreter};

/// Oldest Python 3 that can be used at all.
const OLDEST_MINOR: u8 = 6;

/// Why something is not done for an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Too old for anything.
    #[error("{label} is too old: CPython 2.7, CPython 3.6 or later, or PyPy 3 is needed")]
    TooOld {
        /// The interpreter.
        label: String,
    },
    /// Neither CPython nor PyPy.
    #[error("{implementation} is not supported: CPython or PyPy is needed")]
    Implementation {
        /// What it calls itself.
        implementation: String,
    },
}

/// Whether environments can be made and sdists be built for an interpreter.
///
/// # Errors
/// [`Unsupported::TooOld`].
pub fn supports_environments(interpreter: &Interpreter) -> Result<(), Unsupported> {
    let version = interpreter.version;
    let supported = match interpreter.implementation {
        Implementation::CPython => {
            (version.major, version.minor) == (2, 7) || version.major > 3 || is_at_least(interpreter, OLDEST_MINOR)
        }
        Implementation::PyPy => is_at_least(interpreter, OLDEST_MINOR),
    };
    if supported { Ok(()) } else { Err(Unsupported::TooOld { label: interpreter.label() }) }
}

fn is_at_least(interpreter: &Interpreter, minor: u8) -> bool {
    interpreter.version.major == 3 && interpreter.version.minor >= minor
}
