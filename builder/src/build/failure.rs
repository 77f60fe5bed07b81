//! A build that failed is a result: status, reason, last lines, the log.

use std::path::PathBuf;
use std::sync::Arc;

use pip_accel_schema::name::{PackageName, PackageVersion};

use crate::sandbox::{MissedPath, SandboxStatus};
use crate::system_packages::Explanation;

/// Lines of the log that are shown with a failure.
pub(super) const LOG_TAIL_LINES: usize = 25;

/// How a failed build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStatus {
    /// The hook failed, or was ended by a limit.
    Ended(SandboxStatus),
    /// It ended well but its result can't be used.
    BadResult,
}

/// How `who` ended, as the end of a sentence: `the build backend exited with status 1`.
pub(crate) fn ending(status: &SandboxStatus, who: &str) -> String {
    match status {
        SandboxStatus::Exited { code } => format!("{who} exited with status {code}"),
        SandboxStatus::Signalled { signal } => format!("signal {signal} ended {who}"),
        SandboxStatus::TimedOut { limit } => format!("it ran longer than {} s (build-timeout)", limit.as_secs()),
        SandboxStatus::Silent { limit } => {
            format!("it printed nothing for {} s (build-silence-timeout)", limit.as_secs())
        }
        SandboxStatus::LogTooLong { limit } => format!("it printed more than {limit} bytes (build-log-max-bytes)"),
        SandboxStatus::Cancelled => format!("{who} was cancelled"),
    }
}

/// One failed build.
#[derive(Debug, Clone)]
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
    /// Paths of the system that it looked for in vain, the last ones last; empty when it was not traced.
    pub missed: Arc<[MissedPath]>,
    /// What it lacks; `None` for a build that was ended, or gave something that can't be used.
    pub explanation: Option<Arc<Explanation>>,
}

impl BuildFailure {
    /// The Debian packages that would let it go on; empty if none is known to.
    #[must_use]
    pub fn missing_packages(&self) -> &[String] {
        self.explanation.as_ref().map_or(&[], |explanation| &explanation.finding.packages)
    }
}
