//! The switch that stops what takes long: waiting for others, collecting, verifying, sharing, bundles.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::StoreError;
use crate::store::Store;

/// First and longest pause between two looks at a lock that somebody holds. `flock` itself would wait without a look at
/// the switch: a signal handler does not end it.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// A switch that is shared by whoever hears a signal and whoever works. Once set it stays set.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Stops everything that looks at this switch.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// An error once it is set.
    pub(crate) fn go_on(&self) -> Result<(), StoreError> {
        if self.is_set() { Err(StoreError::Interrupted) } else { Ok(()) }
    }

    /// Asks until the answer is yes, or the switch is set.
    pub(crate) fn wait_until(&self, mut ask: impl FnMut() -> Result<bool, StoreError>) -> Result<(), StoreError> {
        let mut pause = LOOK_PAUSE_MIN;
        while !ask()? {
            self.go_on()?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
        Ok(())
    }
}

impl Store {
    /// The switch that ends what takes long in this store, with [`StoreError::Interrupted`]: waiting for a lock that
    /// others hold, collections, verifying, repairs, sharing, bundles. What is short ends as it would have.
    #[must_use]
    pub fn interrupt(&self) -> &Interrupt {
        &self.shared.interrupt
    }
}
