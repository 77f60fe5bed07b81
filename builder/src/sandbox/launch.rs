//! Starting bwrap with the right descriptors and limits, and process descriptors: the only unsafe code here.
#![expect(unsafe_code, reason = "fork-time set-up and pidfd system calls have no safe interface in std or nix")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::overlay::OverlayMount;
use super::spec::{Limits, OPEN_FILES_HARD};
use super::trace::Installer;

/// A limit as the child gets it: resource, soft, hard.
type ResourceLimit = (Resource, u64, u64);

/// Makes the command start with these descriptors open and no others but the standard streams, `umask 022` and the
/// resource limits.
///
/// Whoever started this tool may have left descriptors open in it: a folder of the host among them would be a way past
/// every mount. All are closed at exec, then ours are taken out. They stay close-on-exec in this process, so no other
/// child started at the same moment inherits them (it would keep pipes open).
///
/// The limits are set between fork and exec instead of through `prlimit(1)` or a shell: nothing more to run, and they
/// already hold for bwrap. So does the filter of a traced run: it comes last, because from then on calls wait.
pub(super) fn prepare(
    command: &mut Command,
    inherited: Vec<RawFd>,
    limits: &Limits,
    (overlay, trace): (Option<OverlayMount>, Option<Installer>),
) -> io::Result<()> {
    let limits = resource_limits(limits)?;
    let (_, descriptors_max) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    let descriptors_max = RawFd::try_from(descriptors_max).unwrap_or(RawFd::MAX).min(DESCRIPTORS_CLOSED_MAX);
    let set_up = move || {
        // First: the identity maps of a user namespace are written through /proc, which the trace would see.
        overlay.as_ref().map_or(Ok(()), OverlayMount::mount)?;
        // SAFETY: umask, setrlimit, close_range and fcntl are async-signal-safe and touch nothing but the new process.
        unsafe {
            libc::umask(0o022);
            if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
                // Before Linux 5.11. Numbers that are not open are no error here.
                for descriptor in 3..descriptors_max {
                    libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
            for descriptor in &inherited {
                if libc::fcntl(*descriptor, libc::F_SETFD, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            for (resource, soft, hard) in &limits {
                let limit = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
                if libc::setrlimit(*resource as _, &raw const limit) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        trace.as_ref().map_or(Ok(()), Installer::install)
    };
    // SAFETY: the closure allocates nothing and takes no locks; its vectors were made before the fork.
    unsafe { command.pre_exec(set_up) };
    Ok(())
}

/// Where the search for open descriptors ends on old kernels: the usual ceiling of the hard limit (`fs.nr_open`).
const DESCRIPTORS_CLOSED_MAX: RawFd = 1 << 20;

/// Never above what the caller itself is held to: only root could raise that, and should not want to.
fn resource_limits(limits: &Limits) -> io::Result<Vec<ResourceLimit>> {
    let mut wanted = vec![
        // A crash in a configure check is normal, and core_pattern may name a program on the host.
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (Resource::RLIMIT_NOFILE, limits.open_files, OPEN_FILES_HARD.max(limits.open_files)),
        (Resource::RLIMIT_NPROC, limits.processes, limits.processes),
    ];
    wanted.extend(limits.address_space_bytes.map(|bytes| (Resource::RLIMIT_AS, bytes, bytes)));
    wanted
        .into_iter()
        .map(|(resource, soft, hard)| {
            let (_, own) = getrlimit(resource).map_err(io::Error::from)?;
            Ok((resource, soft.min(own), hard.min(own)))
        })
        .collect()
}

/// Starts the command on a thread that lives as long as this process.
///
/// `--die-with-parent` is delivered when the **thread** that started bwrap ends, and threads of an async runtime may
/// end at any time. With this one the signal means what its name says.
pub(super) async fn spawn(mut command: Command) -> io::Result<Child> {
    type Job = Box<dyn FnOnce() + Send>;
    static SPAWNER: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        let work = move || jobs.into_iter().for_each(|job| job());
        thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(work).ok().map(|_| sender)
    });
    let Some(spawner) = spawner else { return command.spawn() };
    let (answer, started) = oneshot::channel();
    let job: Job = Box::new(move || {
        // Nobody waits any more: the run was dropped, so what was started must not stay.
        if let Err(Ok(mut child)) = answer.send(command.spawn()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    });
    let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    spawner.send(job).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    started.await.map_err(gone)?
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug)]
pub(super) struct ProcessHandle(OwnedFd);

impl ProcessHandle {
    /// Opens the process; it must be alive or not yet waited for.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let flags: libc::c_uint = 0;
        let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: pidfd_open takes two integers; the result is checked below.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        let descriptor = RawFd::try_from(descriptor).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // SAFETY: the kernel just made this descriptor for us, close-on-exec, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Registers the process with the runtime: it becomes readable when the process is dead.
    pub(super) fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by the handle, private, and open until the handle is dropped.
        Ok(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?)
    }

    /// Sends SIGKILL. A process that is already dead is fine.
    pub(super) fn kill(&self) {
        let flags: libc::c_uint = 0;
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a valid descriptor, a valid signal, and a null siginfo, which the call allows.
        let _ = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), libc::SIGKILL, info, flags) };
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for ProcessHandle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
