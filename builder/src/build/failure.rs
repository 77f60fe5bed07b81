//! A build that failed is a result: status, reason, last lines, the log.

use std::path::PathBuf;
use std::time::Duration;

use pip_accel_schema::name::{PackageName, PackageVersion};
use serde::Serialize;

/// Lines of the log that are shown with a failure.
pub(super) const LOG_TAIL_LINES: usize = 25;

/// How a failed build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum BuildStatus {
    /// The hook ended with this exit code.
    Exited {
        /// The code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It ran longer than allowed.
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// It printed nothing for longer than allowed.
    Silent {
        /// The limit.
        limit: Duration,
    },
    /// It printed more than allowed.
    LogTooLong {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// It ended well but its result can't be used.
    BadResult,
}

/// One failed build.
#[derive(Debug, Clone, Serialize)]
pub struct BuildFailure {
    /// The project.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// How it ended.
    pub status: BuildStatus,
    /// The same as the end of a sentence: `the build backend exited with status 1`.
    pub reason: String,
    /// The last lines it printed, at most 25.
    pub tail: Vec<String>,
    /// The whole log.
    pub log: PathBuf,
}
