//! Why a bundle can't be written or taken in.

use std::io;

use crate::error::StoreError;

/// What is wrong with a bundle, and at which of its parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{what}` {reason}")]
pub struct BundleFault {
    /// The object or member, with what can't be printed escaped.
    pub what: String,
    /// The reason as the end of a sentence.
    pub reason: String,
}

impl BundleFault {
    /// A fault of `what`; texts come from the bundle and may hold anything.
    #[must_use]
    pub fn new(what: &str, reason: impl Into<String>) -> Self {
        Self { what: what.chars().take(200).flat_map(char::escape_debug).collect(), reason: reason.into() }
    }
}

/// Why a bundle could not be written or taken in. Nothing is registered then.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file or stream can't be read.
    #[error("the bundle can't be read")]
    Read(#[source] io::Error),
    /// The file or stream can't be written.
    #[error("the bundle can't be written")]
    Write(#[source] io::Error),
    /// It does not begin with a manifest.
    #[error("this is not a bundle of pip-accel")]
    Foreign,
    /// A newer program wrote it.
    #[error("the bundle has format {found}, this program reads up to format {supported}")]
    NewerFormat {
        /// What it says.
        found: u32,
        /// What this program knows.
        supported: u32,
    },
    /// It ends too early.
    #[error("the bundle is cut off")]
    CutOff,
    /// It is not what its manifest or its checksums say, or holds what no bundle may hold.
    #[error("the bundle is corrupt: {0}")]
    Corrupt(BundleFault),
    /// It exceeds a limit.
    #[error("the bundle is refused: it has {what}, over the limit of {limit}")]
    TooLarge {
        /// Of what it has too much.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// What it unpacks to has no place on the disk.
    #[error("the bundle unpacks to {needed} bytes, and {free} are free")]
    NoRoom {
        /// Bytes that have to be written.
        needed: u64,
        /// Bytes that may be written.
        free: u64,
    },
    /// It was made for a store that has more.
    #[error("the bundle needs {} that this store does not have: {}", count(.missing), shown(.missing))]
    MissingBase {
        /// Directory names of what is missing, sorted.
        missing: Vec<String>,
    },
    /// An object of the store is not what its record says.
    #[error("`{path}` of `{object}` is damaged")]
    Damaged {
        /// The object's directory name.
        object: String,
        /// The file.
        path: String,
    },
}

/// Objects that a message names.
const SHOWN_MAX: usize = 10;

fn count(missing: &[String]) -> String {
    match missing.len() {
        1 => "an object".to_owned(),
        number => format!("{number} objects"),
    }
}

fn shown(missing: &[String]) -> String {
    let more = missing.len().saturating_sub(SHOWN_MAX);
    let mut text = missing.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

impl From<BundleFault> for BundleError {
    fn from(fault: BundleFault) -> Self {
        Self::Corrupt(fault)
    }
}
