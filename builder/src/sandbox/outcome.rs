//! How a run ended, or why it could not be carried out.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::ownership::OwnershipError;
use super::seccomp::FilterError;
use super::spec::SpecError;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxStatus {
    /// By itself. 127 also stands for a command that does not exist in the sandbox.
    Exited {
        /// Its exit code; 0 is success.
        code: i32,
    },
    /// By a signal. bwrap reports it as 128 + signal, so a command that exits with such a code itself looks the same.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// Killed: it took longer than `limit`.
    TimedOut {
        /// [`super::Limits::wall_clock`].
        limit: Duration,
    },
    /// Killed: it wrote nothing for `limit`.
    Silent {
        /// [`super::Limits::silence`].
        limit: Duration,
    },
    /// Killed: it wrote more than `limit` bytes. The sink got exactly that many.
    LogTooLong {
        /// [`super::Limits::log_bytes`].
        limit: u64,
    },
    /// Killed: the caller said so.
    Cancelled,
}

/// A run that was carried out. A failed command is an outcome, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxOutcome {
    /// How it ended.
    pub status: SandboxStatus,
    /// Wall clock from the start of bwrap to the death of the last process.
    pub duration: Duration,
    /// Bytes of output the sink got.
    pub log_bytes: u64,
}

impl SandboxOutcome {
    /// Whether the command ended by itself with exit code 0.
    pub fn success(&self) -> bool {
        self.status == SandboxStatus::Exited { code: 0 }
    }
}

/// A run that could not be carried out. Whatever was started is dead.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The spec contradicts itself.
    #[error("this sandbox cannot be made")]
    Spec(#[from] SpecError),
    /// No system call filter for this machine.
    #[error("no sandbox without a system call filter")]
    Filter(#[from] FilterError),
    /// A source of the spec is missing or unusable.
    #[error("`{path}` cannot be made visible in the sandbox")]
    Source {
        /// The source.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// As root, builds run as another user, who cannot read this.
    #[error("`{path}` is not readable for the user who runs builds (mode {mode:04o}); make it readable: chmod o+rX")]
    Unreadable {
        /// A read-only source.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A writable folder could not be lent to the user who runs builds for root, or taken back.
    #[error("the sandbox's writable folder cannot change hands")]
    Ownership(#[from] OwnershipError),
    /// bwrap could not be started.
    #[error("cannot start `{path}`")]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// bwrap started but could not make the sandbox.
    #[error("no sandbox could be made: {message}")]
    Setup {
        /// What bwrap said, without line end.
        message: String,
    },
    /// The supervision itself failed (no descriptors left, no memory).
    #[error("cannot supervise the sandbox: {what} failed")]
    Supervise {
        /// The step.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The sink did not take the output (a full disk under the log).
    #[error("cannot keep the output of the sandbox")]
    Sink {
        /// What the sink said.
        source: io::Error,
    },
}

impl SandboxError {
    /// For `map_err`: names the step that failed.
    pub(super) fn step(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Supervise { what, source }
    }
}
