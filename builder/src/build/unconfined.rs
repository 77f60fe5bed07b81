//! `--no-sandbox`: the command of a [`SandboxSpec`] as the user, with nothing hidden. The environment list, the
//! limits on time and output and the end of the process group are the same as with a sandbox; nothing else is.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Command;

use crate::sandbox::{CancelSignal, OutputSink, SandboxError, SandboxOutcome, SandboxSpec, SandboxStatus};

/// Bytes read from the command's output at a time.
const READ_BYTES: usize = 64 << 10;

/// Runs `spec` without isolation.
///
/// # Errors
/// When the command can't be started or its output can't be kept.
pub(super) async fn run(
    spec: &SandboxSpec,
    sink: &mut (dyn OutputSink + Send),
    cancel: &mut CancelSignal,
) -> Result<SandboxOutcome, SandboxError> {
    let started = Instant::now();
    let (writer, reader) = pipe::pipe().map_err(unstarted)?;
    let writer = writer.into_blocking_fd().map_err(unstarted)?;
    let second = writer.try_clone().map_err(unstarted)?;
    let Some((program, arguments)) = spec.argv.split_first() else {
        return Err(unstarted(io::ErrorKind::InvalidInput.into()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.working_directory)
        .stdin(Stdio::null())
        .stdout(Stdio::from(writer))
        .stderr(Stdio::from(second))
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(unstarted)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let stopped = watch(spec, (reader, sink), started, cancel).await;
    if let Some(group) = group {
        match killpg(group, Signal::SIGKILL) {
            // ESRCH: the group is gone already, which is what is wanted.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::warn!(%error, "the processes of a build could not be ended"),
        }
    }
    let status = child.wait().await.map_err(unstarted)?;
    let (stopped, written) = stopped?;
    let status = stopped.unwrap_or_else(|| ended(status));
    Ok(SandboxOutcome { status, duration: started.elapsed(), log_bytes: written })
}

fn unstarted(source: io::Error) -> SandboxError {
    SandboxError::Supervise { what: "the command without a sandbox", source }
}

fn ended(status: ExitStatus) -> SandboxStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => SandboxStatus::Exited { code },
        (None, signal) => SandboxStatus::Signalled { signal: signal.unwrap_or_default() },
    }
}

/// Reads the output to its end; `Some` when a limit or a cancel ends the run before.
async fn watch(
    spec: &SandboxSpec,
    (mut reader, sink): (pipe::Receiver, &mut (dyn OutputSink + Send)),
    started: Instant,
    cancel: &mut CancelSignal,
) -> Result<(Option<SandboxStatus>, u64), SandboxError> {
    let mut buffer = vec![0; READ_BYTES];
    let mut written = 0_u64;
    loop {
        let left = spec.limits.wall_clock.saturating_sub(started.elapsed());
        let wait: Duration = left.min(spec.limits.silence);
        let count = tokio::select! {
            () = cancel.cancelled() => return Ok((Some(SandboxStatus::Cancelled), written)),
            read = tokio::time::timeout(wait, reader.read(&mut buffer)) => match read {
                Ok(count) => count.map_err(unstarted)?,
                Err(_) if started.elapsed() >= spec.limits.wall_clock => {
                    return Ok((Some(SandboxStatus::TimedOut { limit: spec.limits.wall_clock }), written));
                }
                Err(_) => return Ok((Some(SandboxStatus::Silent { limit: spec.limits.silence }), written)),
            },
        };
        if count == 0 {
            return Ok((None, written));
        }
        written += count as u64;
        if written > spec.limits.log_bytes {
            return Ok((Some(SandboxStatus::LogTooLong { limit: spec.limits.log_bytes }), written));
        }
        sink.write_lines(&buffer[..count]).map_err(|source| SandboxError::Sink { source })?;
    }
}
