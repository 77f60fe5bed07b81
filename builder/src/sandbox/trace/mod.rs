//! The file trace: which files of the system a build read, and which it looked for in vain.
//!
//! 1. [`kernel::Installer`] installs a second system call filter in the process that becomes bwrap, between fork and exec,
//!    and sends its listener to a thread here through a socket. Everything in the sandbox inherits the filter: nothing is
//!    needed inside, whatever the interpreter is, and nothing inside can reach the listener.
//! 2. A traced call ([`calls`]: `open`, `exec`, `stat`, `access`) waits. The thread reads its path from the caller's memory,
//!    a relative one's folder from `/proc`, and lets the call go on: the kernel carries it out as if nobody had looked.
//! 3. A second thread ([`clerk`]) looks at the path in the sandbox's own root ([`root`]) and notes what it finds ([`notes`]):
//!    a build waits for the reading of its paths, and not for what is noted of them.
//!
//! What a build reads is its own claim: a hostile one can change a path after it was read here. It deceives only the
//! record of itself. It can neither block nor mislead this thread into opening anything: paths are looked at
//! (`O_PATH`), never opened, and everything has a limit.
//!
//! A closed listener would let every traced call fail, so the thread keeps it open until the run is over and every process is
//! dead, whatever goes wrong with the notes.

mod calls;
mod clerk;
mod kernel;
mod notes;
mod root;

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::calls::Use;
use self::clerk::Clerk;
pub(super) use self::kernel::Installer;
use self::kernel::{Installed, Listener, Notification};
use self::notes::Notes;
use self::root::Root;
use super::host::HostFacts;
use super::spec::SandboxSpec;

/// How long the notes may take after the last process is dead: only a file system that does not answer needs any of it.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// Folders of every sandbox that hold nothing of the system that a package has.
const OWN: [&str; 4] = ["/proc", "/dev", "/tmp", "/etc"];

/// A path that was looked for and is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedPath {
    /// Absolute, as seen in the sandbox; links of its folders are resolved as far as they are there.
    pub path: PathBuf,
    /// How often it was asked for.
    pub count: u32,
}

/// What a run did with the files of the system: those outside what its spec shows or lets it write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileTrace {
    /// Regular files that were opened or run, each under its one name without links.
    pub read: BTreeSet<PathBuf>,
    /// Paths that are not there, the last ones asked for last.
    pub missed: Vec<MissedPath>,
    /// The names of all files that were found, wherever they are and whatever was done with them: what was missed in one
    /// folder and found in another was not missed.
    pub names: HashSet<OsString>,
    /// Whether nothing was left out; limits and processes whose memory can't be read leave gaps.
    pub complete: bool,
}

/// Why a run was not traced. It went on all the same.
#[derive(Debug, thiserror::Error)]
pub enum TraceRefused {
    /// No call numbers for this machine.
    #[error("there are no system call numbers for this processor architecture")]
    Architecture,
    /// A bwrap that gains rights at exec would not gain them.
    #[error("`{0}` is installed setuid")]
    Setuid(PathBuf),
    /// Before Linux 5.19, or where another supervisor is first.
    #[error("the kernel refuses the filter (Linux 5.19 or later is needed, and no other tracer around)")]
    Kernel(#[source] io::Error),
    /// No socket or thread could be had, or the sandbox never started.
    #[error("it could not be started")]
    Start(#[source] io::Error),
}

/// A running trace; dropping it lets the thread end.
#[derive(Debug)]
pub(super) struct Tracer {
    /// Its end is the end of the run.
    stop: UnixStream,
    result: mpsc::Receiver<Result<FileTrace, TraceRefused>>,
}

impl Tracer {
    /// Starts the thread. The installer goes to the child, the tracer must outlive every process of the run.
    ///
    /// # Errors
    /// When this run can't be traced.
    pub(super) fn start(spec: &SandboxSpec, host: &HostFacts) -> Result<(Self, Installer), TraceRefused> {
        let program = calls::program().ok_or(TraceRefused::Architecture)?;
        let mode = std::fs::metadata(&host.bwrap).map(|metadata| metadata.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o4000 != 0) {
            return Err(TraceRefused::Setuid(host.bwrap.clone()));
        }
        let (ours, theirs) = UnixStream::pair().map_err(TraceRefused::Start)?;
        let installer = Installer::new(program, theirs, &ours);
        let (stop, stopped) = UnixStream::pair().map_err(TraceRefused::Start)?;
        let (sender, result) = mpsc::channel();
        let own = OWN.iter().map(PathBuf::from);
        let own = own.chain(spec.read_only.iter().chain(&spec.writable).map(|bind| bind.target.clone()));
        let own = own.chain(spec.tmpfs.iter().map(|mount| mount.target.clone()));
        let mut supervisor = Supervisor {
            clerk: Clerk::start(Notes::new(own.collect())).map_err(TraceRefused::Start)?,
            command: spec.argv.first().map(|program| program.as_bytes().to_vec()).unwrap_or_default(),
            has_root: false,
        };
        let work = move || {
            let outcome = match kernel::receive(&ours) {
                Installed::Listener(listener) => {
                    supervisor.serve(&listener, &stopped);
                    Ok(supervisor.clerk.finish())
                }
                Installed::Refused(source) => Err(TraceRefused::Kernel(source)),
                Installed::Nothing => Err(TraceRefused::Start(io::ErrorKind::BrokenPipe.into())),
            };
            let _ = sender.send(outcome);
        };
        thread::Builder::new().name("file-trace".to_owned()).spawn(work).map_err(TraceRefused::Start)?;
        Ok((Self { stop, result }, installer))
    }

    /// The notes. Every process of the run must be dead.
    pub(super) fn finish(self) -> Result<FileTrace, TraceRefused> {
        drop(self.stop);
        let late = |_| TraceRefused::Start(io::ErrorKind::TimedOut.into());
        self.result.recv_timeout(FINISH_MAX).map_err(late)?
    }
}

/// What the thread knows.
struct Supervisor {
    clerk: Clerk,
    /// The program that the spec names: what runs before it is bwrap and `setpriv`, and no part of the run.
    command: Vec<u8>,
    /// Whether that program was started: the clerk has the sandbox's root since then.
    has_root: bool,
}

impl Supervisor {
    /// Answers every call until the run is over.
    fn serve(&mut self, listener: &Listener, stopped: &UnixStream) {
        loop {
            let mut events =
                [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
            if poll(&mut events, PollTimeout::NONE).is_err() {
                continue;
            }
            let [calls, end] = events.map(|event| event.revents().unwrap_or(PollFlags::empty()));
            if calls.contains(PollFlags::POLLIN) {
                if let Some(notification) = listener.next() {
                    self.answer(listener, &notification);
                }
            } else if !end.is_empty() {
                return;
            } else if calls.contains(PollFlags::POLLHUP) {
                // Nobody is left who could call; the end is near, and polling the listener would spin.
                let _ = poll(&mut [PollFd::new(stopped.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                return;
            }
        }
    }

    /// Reads what has to be read while the caller waits, lets it go, then hands on what it wanted.
    fn answer(&mut self, listener: &Listener, notification: &Notification) {
        let wanted = self.wanted(notification);
        // A caller that is gone may have been followed by another process of the same number while it was looked at.
        if !listener.let_go(notification) {
            return;
        }
        match wanted {
            Wanted::Path(purpose, path) if self.has_root => self.clerk.path(purpose, path),
            Wanted::Gap if self.has_root => self.clerk.gap(),
            _ => {}
        }
    }

    fn wanted(&mut self, notification: &Notification) -> Wanted {
        let Some(call) = calls::call(notification.number) else { return Wanted::Nothing };
        let thread = notification.thread;
        if !self.has_root && call.purpose != Use::Execute {
            return Wanted::Nothing;
        }
        if !self.clerk.has_room() {
            return Wanted::Gap;
        }
        let Some(path) = kernel::text_at(thread, notification.arguments[call.path]) else {
            return Wanted::unread(thread);
        };
        if !self.has_root {
            if !is_command(&path, &self.command) {
                return Wanted::Nothing;
            }
            let Some(root) = Root::of(thread) else { return Wanted::Nothing };
            self.clerk.root(root);
            self.has_root = true;
        }
        if path.is_empty() {
            // The kernel says that there is no such file, and there is none that it could be.
            return Wanted::Nothing;
        }
        if path.starts_with(b"/") {
            return Wanted::Path(call.purpose, path);
        }
        // Descriptors are ints: what is in the upper half of the argument is nobody's business.
        let folder = call.directory.map(|position| notification.arguments[position] as i32);
        match root::folder_of(thread, folder) {
            Some(folder) => {
                Wanted::Path(call.purpose, folder.join(OsStr::from_bytes(&path)).into_os_string().into_vec())
            }
            None => Wanted::Nothing,
        }
    }
}

/// What a call wants.
enum Wanted {
    /// This path, absolute.
    Path(Use, Vec<u8>),
    /// Nothing that could be noted.
    Nothing,
    /// Something that can't be noted.
    Gap,
}

impl Wanted {
    /// An address that can't be read: the kernel can't read it either, unless the process shows its memory to nobody.
    fn unread(thread: u32) -> Self {
        // Looking through this link needs the same right as reading memory.
        let readable = std::fs::metadata(format!("/proc/{thread}/cwd")).is_ok();
        if readable { Self::Nothing } else { Self::Gap }
    }
}

/// Whether `path` is the program `command`: itself, or found on `PATH` if it is a plain name.
fn is_command(path: &[u8], command: &[u8]) -> bool {
    let is_name = !command.contains(&b'/');
    path == command || (is_name && path.strip_suffix(command).is_some_and(|folder| folder.ends_with(b"/")))
}
