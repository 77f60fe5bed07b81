//! `^C` and SIGTERM, heard for as long as a run lasts.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::cancel::CancelToken;

/// While it lives, both signals interrupt the token instead of ending the process. Afterwards they do nothing: the
/// handler of a signal stays, and the process is about to end.
pub(crate) struct Listener {
    /// Dropped, it ends the thread that listens.
    _stop: oneshot::Sender<()>,
}

impl Listener {
    /// Listens from now on, on a thread of its own: linking blocks the caller's.
    ///
    /// # Errors
    /// When the handlers or the thread can't be had.
    pub(crate) fn start(cancel: &CancelToken) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (stop, mut stopped) = oneshot::channel();
        let cancel = cancel.clone();
        let listen = async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = &mut stopped => return,
                }
                cancel.interrupt();
            }
        };
        std::thread::Builder::new().name("interrupts".to_owned()).spawn(move || runtime.block_on(listen))?;
        Ok(Self { _stop: stop })
    }
}
