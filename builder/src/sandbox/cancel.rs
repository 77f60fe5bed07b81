//! Telling a run to stop.

use tokio::sync::watch;

/// The hand that stops: dropped without [`Canceller::cancel`] it stops nothing.
#[derive(Debug)]
pub struct Canceller(watch::Sender<bool>);

/// The ear: clone one for each run that shall stop together.
#[derive(Clone, Debug)]
pub struct CancelSignal(Option<watch::Receiver<bool>>);

impl Canceller {
    /// A canceller and its signal.
    pub fn new() -> (Self, CancelSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), CancelSignal(Some(receiver)))
    }

    /// Stops every run that listens, now and later.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl CancelSignal {
    /// A signal that never comes.
    pub fn never() -> Self {
        Self(None)
    }

    /// Whether the stop was already given.
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|receiver| *receiver.borrow())
    }

    /// Resolves when the stop is given, at once if it already was; never otherwise. Safe to drop and call again.
    pub async fn cancelled(&mut self) {
        if let Some(receiver) = &mut self.0
            && receiver.wait_for(|stop| *stop).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}
