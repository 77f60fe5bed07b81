//! `--no-sandbox`: the command of a [`SandboxSpec`] as the user, with nothing hidden. The environment list, the
//! limits on time and output are the same as with a sandbox, and so is that nothing of it is alive afterwards (see
//! [`super::supervisor`]); nothing else is.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::child::{Log, status_of, watch};
use super::supervisor::SUPERVISE;
use super::watch::Watched;
use super::{CancelSignal, OutputSink, SandboxError, SandboxOutcome, SandboxSpec, SandboxStatus};

/// How often the processes of the machine are looked through for those of a run: each round must find one that a process
/// of the round before had started just then. A program that is faster than that many kills is left to the user.
const ROUNDS_MAX: usize = 100;

/// The program that runs, also when its file was replaced or deleted meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Runs `spec` without isolation; returns when nothing of it is alive that can be known to be of it.
///
/// # Errors
/// When the command can't be started or its output can't be kept.
pub(crate) async fn run_unconfined(
    spec: &SandboxSpec,
    sink: &mut (dyn OutputSink + Send),
    cancel: &mut CancelSignal,
) -> Result<SandboxOutcome, SandboxError> {
    let started = Instant::now();
    let (writer, reader) = pipe::pipe().map_err(unstarted)?;
    let mut running = Running::start(spec, writer)?;
    // The supervisor ends when the command has and all that it started.
    let process = Watched::open(running.child.id()).map_err(unstarted)?;
    let mut log = Log::new(reader, spec.limits.log_bytes);
    let stop = watch(&process, &mut log, &spec.limits, started, (sink, cancel)).await;
    let status = running.end().map_err(unstarted)?;
    let stop = stop?;
    log.drain(sink)?;
    let status = stop.or_else(|| log.overflow()).unwrap_or_else(|| ended(status));
    Ok(SandboxOutcome { status, duration: started.elapsed(), log_bytes: log.bytes })
}

fn unstarted(source: io::Error) -> SandboxError {
    SandboxError::Supervise { what: "the command without a sandbox", source }
}

/// The supervisor says how the command ended as bwrap does.
fn ended(status: ExitStatus) -> SandboxStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => status_of(code),
        (None, signal) => SandboxStatus::Signalled { signal: signal.unwrap_or_default() },
    }
}

/// Whoever holds this holds a running command; dropping it ends all that it started.
struct Running {
    child: Child,
    /// A folder that is this run's alone: its processes work in it or have paths below it in their environment.
    private: PathBuf,
    status: Option<ExitStatus>,
}

impl Running {
    fn start(spec: &SandboxSpec, output: pipe::Sender) -> Result<Self, SandboxError> {
        let writer = output.into_blocking_fd().map_err(unstarted)?;
        let second = writer.try_clone().map_err(unstarted)?;
        let invalid = || unstarted(io::ErrorKind::InvalidInput.into());
        let private = spec.working_directory.parent().filter(|folder| folder.parent().is_some()).ok_or_else(invalid)?;
        let child = Command::new(THIS_PROGRAM)
            .arg(SUPERVISE)
            .args(&spec.argv)
            .env_clear()
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&spec.working_directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(second))
            .process_group(0)
            .spawn()
            .map_err(unstarted)?;
        Ok(Self { child, private: private.to_owned(), status: None })
    }

    /// Lets the supervisor end what runs, and waits until it has. Then processes that left it, which takes a build that
    /// killed its supervisor, are looked for until none is found.
    fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        self.status = Some(status);
        for _ in 0..ROUNDS_MAX {
            if kill_processes_of(&self.private) == 0 {
                break;
            }
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Kills what works in `folder` or has a path below it in its environment; how many there were that can be killed.
fn kill_processes_of(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let mut below = folder.as_os_str().as_bytes().to_vec();
    below.push(b'/');
    let own = std::process::id();
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_of_run = |id: &u32| {
        let process = Path::new("/proc").join(id.to_string());
        // Processes of other users can't be looked at, and a zombie has neither.
        let works_there = || fs::read_link(process.join("cwd")).is_ok_and(|place| place.starts_with(folder));
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(below.len()).any(|part| part == below) || works_there()
    };
    let killed = ids.filter(|id| *id != own && is_of_run(id)).filter_map(|id| i32::try_from(id).ok());
    killed.filter(|id| kill(Pid::from_raw(*id), Signal::SIGKILL).is_ok()).count()
}
