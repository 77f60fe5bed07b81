//! `^C` and SIGTERM, heard for as long as a run lasts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pip_accel_store::Interrupt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::cancel::CancelToken;

/// While it lives, both signals interrupt the token instead of ending the process. Afterwards they do nothing, since the
/// handler of a signal stays: whoever goes on after a run needs a listener of its own.
#[derive(Debug)]
pub struct Interrupts {
    /// Dropped, it ends the thread that listens.
    _stop: oneshot::Sender<()>,
}

impl Interrupts {
    /// Listens from now on, on a thread of its own: linking blocks the caller's.
    ///
    /// # Errors
    /// When the handlers or the thread can't be had.
    pub fn start(cancel: &CancelToken) -> io::Result<Self> {
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

/// Between two looks at the switch while the other end of a pipe is not ready.
const LOOK_MILLISECONDS: u16 = 50;

/// What a pipe that is ready to be written takes without blocking.
const PIPE_BYTES: usize = 4096;

/// A file, pipe or device that stops waiting for its other end when a switch is set: neither reading nor writing is ended
/// by a signal that somebody hears.
#[derive(Debug)]
pub struct Interruptible<F = File> {
    stream: F,
    interrupt: Interrupt,
}

impl<F: AsFd> Interruptible<F> {
    /// `stream` until `interrupt` is set.
    pub fn new(stream: F, interrupt: &Interrupt) -> Self {
        Self { stream, interrupt: interrupt.clone() }
    }

    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        while !self.interrupt.is_set() {
            let mut descriptors = [PollFd::new(self.stream.as_fd(), wanted)];
            match poll(&mut descriptors, PollTimeout::from(LOOK_MILLISECONDS)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                // An error shows when it is read or written.
                _ => return Ok(()),
            }
        }
        // Not the kind `Interrupted`, after which everybody tries again.
        Err(io::Error::other("interrupted"))
    }
}

impl<F: AsFd + Read> Read for Interruptible<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLIN)?;
        self.stream.read(buffer)
    }
}

impl<F: AsFd + Write> Write for Interruptible<F> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLOUT)?;
        self.stream.write(&buffer[..buffer.len().min(PIPE_BYTES)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
