//! Builds that lack packages of the system are tried once a run: they lack them for everybody who wants their trees.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::engine::{Engine, Obtained};
use super::error::ObtainError;
use super::pin::{Pin, PinKey};

/// What failed so, by pin; that of whoever wanted such a tree as well.
#[derive(Debug, Default)]
pub(super) struct Lacking(Mutex<HashMap<PinKey, ObtainError>>);

impl Engine {
    /// The tree of `pin`, unless it is known to lack something.
    pub(super) async fn obtain_unless_known(
        self: &Arc<Self>,
        pin: &Pin,
        key: &PinKey,
        for_build: bool,
    ) -> Result<Obtained, ObtainError> {
        let failed = || self.lacking.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = failed().get(key) {
            return Err(failure.clone());
        }
        let result = self.obtain(pin, key, for_build).await;
        if let Err(failure) = &result
            && failure.lacks_packages()
        {
            failed().insert(*key, failure.clone());
        }
        result
    }
}
