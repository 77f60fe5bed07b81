//! One switch that stops a run: `^C`, or the first failure.

use std::sync::Arc;

use pip_accel_store::{Interrupt, Store};

use crate::sandbox::{CancelSignal, Canceller};

/// Shared by everything that may have to stop early.
#[derive(Debug, Clone)]
pub struct CancelToken {
    canceller: Arc<Canceller>,
    signal: CancelSignal,
    interrupted: Interrupt,
}

impl Default for CancelToken {
    fn default() -> Self {
        let (canceller, signal) = Canceller::new();
        Self { canceller: Arc::new(canceller), signal, interrupted: Interrupt::default() }
    }
}

impl CancelToken {
    /// A token for work with `store`: whatever waits or works long in there ends with it when it is interrupted.
    #[must_use]
    pub fn of(store: &Store) -> Self {
        Self::with(store.interrupt())
    }

    /// A token that sets `interrupt` when it is interrupted.
    #[must_use]
    pub fn with(interrupt: &Interrupt) -> Self {
        Self { interrupted: interrupt.clone(), ..Self::default() }
    }

    /// Stops everything that waits on this token or looks at it.
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// Stops everything because the user or the system asks for it.
    pub fn interrupt(&self) {
        self.interrupted.set();
        self.cancel();
    }

    /// Whether [`interrupt`](Self::interrupt) was called.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.is_set()
    }

    /// Whether the run was stopped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// An ear for a sandboxed run.
    #[must_use]
    pub fn signal(&self) -> CancelSignal {
        self.signal.clone()
    }

    /// Returns once the token is cancelled; safe to drop and to call again.
    pub async fn cancelled(&self) {
        self.signal.clone().cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_sees_a_cancel_from_before_and_after() {
        let token = CancelToken::default();
        let waiter = tokio::spawn({
            let token = token.clone();
            async move { token.cancelled().await }
        });
        token.cancel();
        waiter.await.expect("the waiter ends");
        token.cancelled().await;
        assert!(token.is_cancelled() && !token.is_interrupted());
    }
}
