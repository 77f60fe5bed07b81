//! Downloads that were begun and are not in the store: what a full disk lacks room for, at least.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pip_accel_schema::manifest::Provenance;
use pip_accel_store::NewObject;

/// Lengths by file name.
#[derive(Debug, Default)]
pub(crate) struct Unfinished(Mutex<HashMap<String, u64>>);

impl Unfinished {
    /// A download has begun.
    pub(crate) fn begin(&self, file_name: &str, bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(file_name.to_owned(), bytes);
    }

    /// Its file is in the store.
    pub(crate) fn end(&self, file_name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(file_name);
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        let lengths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lengths.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

/// The published file that an object is.
pub(crate) fn source_name(object: &NewObject) -> Option<String> {
    match &object.provenance {
        Provenance::Source { file_name, .. } => Some(file_name.clone()),
        Provenance::Wheel { .. } | Provenance::Build { .. } | Provenance::Layer { .. } => None,
    }
}
