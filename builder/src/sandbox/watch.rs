//! The two processes of a sandbox that we hold on to: bwrap, and the sandbox's pid 1.

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::launch::ProcessHandle;

/// How long bwrap may take to notice that its sandbox is dead. It has nothing else to do; then it is killed too.
const BWRAP_EXIT_MAX: Duration = Duration::from_secs(5);
/// How long a dropped run waits for the death of its processes: dropping must not hang on a broken disk.
const DROP_WAIT_MILLISECONDS: u16 = 5000;

/// A process whose end can be awaited.
#[derive(Debug)]
pub(super) struct Watched(AsyncFd<ProcessHandle>);

impl Watched {
    /// Watches a process that is alive or not yet waited for.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        Ok(Self(ProcessHandle::open(pid)?.watch()?))
    }

    /// Resolves when the process is dead; at once if it is. For a pid 1: when all of its namespace are dead.
    pub(super) async fn ended(&self) {
        // An error means that the runtime shuts down; the guard below then waits in its own way.
        let _ = self.0.readable().await;
    }

    /// Sends SIGKILL.
    pub(super) fn kill(&self) {
        self.0.get_ref().kill();
    }

    fn wait_blocking(&self) {
        let mut descriptors = [PollFd::new(self.0.get_ref().as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut descriptors, PollTimeout::from(DROP_WAIT_MILLISECONDS));
    }
}

/// Whoever holds this holds a running sandbox; dropping it kills everything inside.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// bwrap itself.
    pub(super) bwrap: Watched,
    /// The pid 1 inside, as soon as it is known. Dead means: all dead.
    pub(super) init: Option<Watched>,
    finished: bool,
}

impl Running {
    /// Takes charge of a bwrap that was just started.
    pub(super) fn new(mut child: Child) -> io::Result<Self> {
        match Watched::open(child.id()) {
            Ok(bwrap) => Ok(Self { child, bwrap, init: None, finished: false }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Kills what is left and returns when every process is dead: first the pid namespace, then bwrap, which
    /// collects its pid 1 so that no zombie is left to whoever is the host's pid 1.
    pub(super) async fn finish(&mut self) -> io::Result<ExitStatus> {
        match &self.init {
            Some(init) => {
                init.kill();
                init.ended().await;
                if timeout(BWRAP_EXIT_MAX, self.bwrap.ended()).await.is_err() {
                    self.bwrap.kill();
                }
            }
            None => self.bwrap.kill(),
        }
        self.bwrap.ended().await;
        let status = self.child.wait()?;
        self.finished = true;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Some(init) = &self.init {
            init.kill();
            init.wait_blocking();
        }
        self.bwrap.kill();
        let _ = self.child.wait();
    }
}
