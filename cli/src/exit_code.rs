//! The documented exit codes.

use std::process::ExitCode;

/// How the program ends; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    /// An error of the environment, the index or the store.
    Error,
    /// The command line or the configuration is wrong.
    Usage,
    /// The lock is refused: unpinned, unhashed, or a file does not match.
    LockRefused,
    /// A build failed.
    BuildFailed,
    /// A package of the system is missing and was not granted.
    PackageMissing,
    /// Not in the store, and the network is off.
    Offline,
    /// Verify found something.
    StoreDamaged,
    /// No sandbox is possible.
    NoSandbox,
    /// `^C`.
    Interrupted,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::LockRefused => 3,
            Self::BuildFailed => 4,
            Self::PackageMissing => 5,
            Self::Offline => 6,
            Self::StoreDamaged => 8,
            Self::NoSandbox => 9,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
