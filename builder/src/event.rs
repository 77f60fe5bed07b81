//! What happens while an environment is realized; the only thing that reporters see.

use std::time::Duration;

use pip_accel_schema::name::{PackageName, PackageVersion};

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildEnd {
    /// It gave a wheel.
    Built,
    /// It failed.
    Failed,
    /// It was stopped: by the user, or since another package failed.
    Stopped,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The lock was compared with the store.
    Planned {
        /// Packages in all.
        packages: usize,
        /// Packages whose object is in the store.
        in_store: usize,
    },
    /// The download of a file began.
    FetchStarted {
        /// The file's published name.
        file_name: String,
        /// Its length in bytes, if the index says so.
        size_bytes: Option<u64>,
    },
    /// Bytes of a download arrived.
    FetchProgress {
        /// The file's published name.
        file_name: String,
        /// Bytes since the last event of this file.
        bytes: u64,
    },
    /// A download ended well and is in the store.
    Fetched {
        /// The file's published name.
        file_name: String,
    },
    /// The disk was getting full, and what nothing needed was deleted.
    Collected {
        /// Objects that went.
        objects: usize,
        /// Bytes of disk that this freed.
        freed_bytes: u64,
        /// What should be free and is not; 0 when there is room again.
        missing_bytes: u64,
    },
    /// A build began.
    BuildStarted {
        /// The project.
        name: PackageName,
        /// Its version.
        version: PackageVersion,
    },
    /// A line that a build printed.
    BuildOutput {
        /// The project.
        name: PackageName,
        /// The line without its end.
        line: String,
    },
    /// A build ended.
    BuildFinished {
        /// The project.
        name: PackageName,
        /// Its version.
        version: PackageVersion,
        /// How long it took.
        duration: Duration,
        /// How it ended.
        end: BuildEnd,
    },
    /// The tree of a package is in the store.
    Stored {
        /// The project.
        name: PackageName,
        /// Its version.
        version: PackageVersion,
    },
    /// Linking of the environment begins.
    Linking {
        /// Packages to link.
        packages: usize,
    },
    /// Another process holds what is needed.
    Waiting {
        /// What is waited for and who has it, as a sentence fragment.
        what: String,
    },
    /// Something that takes time, or took it, and is no warning.
    Note(String),
    /// Something the user should know and that stops nothing.
    Warning(String),
}

/// An error and what is behind it, for a sentence of an event.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// Receives events, from any thread, in the order in which they happen.
pub trait Reporter: Send + Sync {
    /// Takes one event; must return at once.
    fn event(&self, event: Event);
}

/// A reporter that drops everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _: Event) {}
}
