//! One run, from a spec to an outcome.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::host::{HostFacts, Identity};
use super::output::{LastLines, LineBuffer, OutputSink};
use super::ownership::Handover;
use super::spec::{INNER_ID, Limits, SandboxSpec};
use super::trace::{FileTrace, Installer, TraceRefused, Tracer};
use super::watch::{Running, Watched};
use super::{CancelSignal, SandboxError, SandboxOutcome, SandboxStatus, launch, plumbing};

/// Longest set-up of a sandbox, before anything hostile runs. Takes milliseconds; more than this is a broken mount
/// (an automounter, a dead network file system) among the sources.
const SETUP_MAX: Duration = Duration::from_secs(60);
/// How much output is read at once: the capacity of a pipe.
const READ_BYTES: usize = 64 * 1024;
/// Lines kept to explain a failed set-up.
const EXPLANATION_LINES: usize = 20;

/// Runs the spec's command in a sandbox and returns when **every** process in it is dead.
///
/// Standard output and standard error arrive merged at `output`, as they are written. `cancel` kills the sandbox.
/// Dropping the future kills it as well (and waits for its death, a few milliseconds), but as root leaves writable
/// sources in the hands of the user who runs builds.
///
/// # Errors
/// [`SandboxError`] when the run could not be carried out. Failed and killed commands are outcomes.
pub async fn run(
    spec: &SandboxSpec,
    host: &HostFacts,
    output: &mut (dyn OutputSink + Send),
    cancel: &mut CancelSignal,
) -> Result<SandboxOutcome, SandboxError> {
    run_with(spec, host, (output, cancel), None).await
}

/// The same as [`run`], and what the run did with the files of the system.
///
/// A run that can't be traced goes on untraced.
///
/// # Errors
/// As for [`run`].
pub async fn run_traced(
    spec: &SandboxSpec,
    host: &HostFacts,
    output: &mut (dyn OutputSink + Send),
    cancel: &mut CancelSignal,
) -> Result<(SandboxOutcome, Result<FileTrace, TraceRefused>), SandboxError> {
    let (tracer, installer) = match Tracer::start(spec, host) {
        Ok((tracer, installer)) => (Ok(tracer), Some(installer)),
        Err(refused) => (Err(refused), None),
    };
    // The tracer is here for longer than the run: a traced process that is still alive must not lose it.
    let outcome = run_with(spec, host, (output, cancel), installer).await?;
    Ok((outcome, tracer.and_then(Tracer::finish)))
}

async fn run_with(
    spec: &SandboxSpec,
    host: &HostFacts,
    (output, cancel): (&mut (dyn OutputSink + Send), &mut CancelSignal),
    trace: Option<Installer>,
) -> Result<SandboxOutcome, SandboxError> {
    spec.check()?;
    check_sources(spec, host.identity)?;
    let lent = lend(spec, host.identity).await?;
    let result = supervise(spec, host, (output, cancel), trace).await;
    let taken_back = take_back(lent).await;
    let outcome = result?;
    taken_back?;
    Ok(outcome)
}

/// Says which source is unusable before bwrap says something less clear.
fn check_sources(spec: &SandboxSpec, identity: Identity) -> Result<(), SandboxError> {
    for bind in spec.read_only.iter().chain(&spec.writable) {
        let path = bind.source.clone();
        fs::metadata(&bind.source).map_err(|source| SandboxError::Source { path, source })?;
    }
    if identity == Identity::Caller {
        return Ok(());
    }
    for bind in &spec.read_only {
        let path = bind.source.clone();
        let metadata = fs::metadata(&path).map_err(|source| SandboxError::Source { path: path.clone(), source })?;
        let (mode, needed) = (metadata.permissions().mode() & 0o7777, if metadata.is_dir() { 0o005 } else { 0o004 });
        if mode & needed != needed {
            return Err(SandboxError::Unreadable { path, mode });
        }
    }
    Ok(())
}

/// What has to be taken back after a run.
type Lent = Option<(Handover, Vec<PathBuf>)>;

async fn lend(spec: &SandboxSpec, identity: Identity) -> Result<Lent, SandboxError> {
    let Identity::Delegated { id } = identity else { return Ok(None) };
    let mut folders = Vec::new();
    for bind in &spec.writable {
        let path = bind.source.clone();
        // The change of owners follows no link, so the one that names the folder is resolved here.
        folders.push(fs::canonicalize(&path).map_err(|source| SandboxError::Source { path, source })?);
    }
    let back = Handover { from: id, to: 0, linked_files: true };
    change_hands(Handover { from: 0, to: id, linked_files: false }, folders.clone()).await?;
    Ok(Some((back, folders)))
}

async fn take_back(lent: Lent) -> Result<(), SandboxError> {
    match lent {
        Some((handover, folders)) => change_hands(handover, folders).await,
        None => Ok(()),
    }
}

async fn change_hands(handover: Handover, folders: Vec<PathBuf>) -> Result<(), SandboxError> {
    let work = move || folders.iter().try_for_each(|folder| handover.apply(folder));
    let joined = spawn_blocking(work).await;
    joined.map_err(|error| SandboxError::step("a worker thread")(error.into()))?.map_err(SandboxError::from)
}

/// The run itself, without the change of owners.
async fn supervise(
    spec: &SandboxSpec,
    host: &HostFacts,
    (output, cancel): (&mut (dyn OutputSink + Send), &mut CancelSignal),
    trace: Option<Installer>,
) -> Result<SandboxOutcome, SandboxError> {
    let started = Instant::now();
    if cancel.is_cancelled() {
        return Ok(SandboxOutcome { status: SandboxStatus::Cancelled, duration: Duration::ZERO, log_bytes: 0 });
    }
    let (ours, prepared) = plumbing::prepare(spec, host, trace)?;
    let child = launch::spawn(prepared.command).await;
    let child = child.map_err(|source| SandboxError::Start { path: host.bwrap.clone(), source })?;
    drop(prepared.inherited);
    let mut running = Running::new(child).map_err(SandboxError::step("watching bwrap"))?;
    let mut status = BufReader::new(ours.status).lines();
    let mut log = Log::new(ours.output, spec.limits.log_bytes);

    let announced = timeout(SETUP_MAX, init_pid(&mut status)).await;
    let Ok(announced) = announced else {
        return Err(SandboxError::Setup { message: format!("bwrap is not ready after {} s", SETUP_MAX.as_secs()) });
    };
    if let Some(pid) = announced? {
        running.init = Some(Watched::open(pid).map_err(SandboxError::step("watching the sandbox"))?);
        release(pid, host.identity, ours.hold)?;
    }
    let stop = watch(&running.bwrap, &mut log, &spec.limits, started, (output, cancel)).await;
    let ended = running.finish().await.map_err(SandboxError::step("waiting for bwrap"))?;
    let stop = stop?;
    log.drain(output)?;
    let exit_code = exit_code(&mut status).await?;
    let status = match (stop.or_else(|| log.overflow()), exit_code) {
        (Some(stop), _) => stop,
        (None, Some(code)) => status_of(code),
        (None, None) => without_exit_code(ended, &log)?,
    };
    Ok(SandboxOutcome { status, duration: started.elapsed(), log_bytes: log.bytes })
}

/// Reads the first document: the host's id of the sandbox's pid 1. `None` if bwrap gave up before it had one.
async fn init_pid(status: &mut Lines<BufReader<pipe::Receiver>>) -> Result<Option<u32>, SandboxError> {
    number_in(status, "child-pid").await
}

/// Reads what bwrap wrote last. It is dead by now, so the pipe ends.
async fn exit_code(status: &mut Lines<BufReader<pipe::Receiver>>) -> Result<Option<i32>, SandboxError> {
    number_in(status, "exit-code").await
}

async fn number_in<N: TryFrom<i64>>(
    status: &mut Lines<BufReader<pipe::Receiver>>,
    key: &str,
) -> Result<Option<N>, SandboxError> {
    while let Some(line) = status.next_line().await.map_err(SandboxError::step("reading bwrap's status"))? {
        let document: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(number) = document.get(key).and_then(serde_json::Value::as_i64) {
            return Ok(N::try_from(number).ok());
        }
    }
    Ok(None)
}

/// Maps the ids if that is ours to do, and lets the sandbox start.
fn release(pid: u32, identity: Identity, mut hold: io::PipeWriter) -> Result<(), SandboxError> {
    if let Identity::Delegated { id } = identity {
        // bwrap itself needs a root in there for its mounts; the command only ever gets INNER_ID.
        let map = format!("0 0 1\n{INNER_ID} {id} 1\n");
        for kind in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{kind}"), &map).map_err(|error| SandboxError::Setup {
                message: format!("bwrap: setting up {kind} for a user namespace: {error}"),
            })?;
        }
    }
    match hold.write_all(b"1") {
        // bwrap gave up; its words are in the output.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(SandboxError::step("starting the sandbox")),
    }
}

/// Reads output until the command has ended (`None`) or a limit or the caller says stop.
pub(super) async fn watch(
    process: &Watched,
    log: &mut Log,
    limits: &Limits,
    started: Instant,
    (output, cancel): (&mut (dyn OutputSink + Send), &mut CancelSignal),
) -> Result<Option<SandboxStatus>, SandboxError> {
    let mut last_output = started;
    loop {
        tokio::select! {
            () = process.ended() => return Ok(None),
            () = cancel.cancelled() => return Ok(Some(SandboxStatus::Cancelled)),
            () = sleep_until(deadline(started, limits.wall_clock)) => {
                return Ok(Some(SandboxStatus::TimedOut { limit: limits.wall_clock }));
            }
            () = sleep_until(deadline(last_output, limits.silence)) => {
                return Ok(Some(SandboxStatus::Silent { limit: limits.silence }));
            }
            open = log.read(output) => {
                last_output = Instant::now();
                if !open? {
                    // The command closed its output and goes on: only its end and the limits remain.
                    log.closed = true;
                }
                if let Some(stop) = log.overflow() {
                    return Ok(Some(stop));
                }
            }
        }
    }
}

/// A time limit of centuries must not overflow.
fn deadline(since: Instant, limit: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    since + limit.min(FAR)
}

/// bwrap reports the command's end as a shell does.
pub(super) fn status_of(code: i32) -> SandboxStatus {
    match code {
        129..=192 => SandboxStatus::Signalled { signal: code - 128 },
        code => SandboxStatus::Exited { code },
    }
}

/// bwrap ended without saying how the command ended: it never started, or somebody killed bwrap.
fn without_exit_code(ended: ExitStatus, log: &Log) -> Result<SandboxStatus, SandboxError> {
    if let Some(signal) = ended.signal() {
        return Ok(SandboxStatus::Signalled { signal });
    }
    let message = log.last.lines().collect::<Vec<_>>().join("\n");
    if message.contains("bwrap: execvp ") {
        return Ok(SandboxStatus::Exited { code: 127 });
    }
    Err(SandboxError::Setup { message })
}

/// The output as it comes.
pub(super) struct Log {
    pipe: pipe::Receiver,
    lines: LineBuffer,
    last: LastLines,
    buffer: Vec<u8>,
    pub(super) bytes: u64,
    bytes_max: u64,
    overflow: bool,
    closed: bool,
}

impl Log {
    pub(super) fn new(pipe: pipe::Receiver, bytes_max: u64) -> Self {
        let (lines, last) = (LineBuffer::default(), LastLines::new(EXPLANATION_LINES));
        Self { pipe, lines, last, buffer: vec![0; READ_BYTES], bytes: 0, bytes_max, overflow: false, closed: false }
    }

    /// Waits for output and hands it on; false at its end. Never resolves after that. Loses nothing when dropped.
    async fn read(&mut self, sink: &mut (dyn OutputSink + Send)) -> Result<bool, SandboxError> {
        if self.closed {
            std::future::pending::<()>().await;
        }
        let count = self.pipe.read(&mut self.buffer).await.map_err(SandboxError::step("reading the output"))?;
        self.take(count, sink)?;
        Ok(count > 0)
    }

    /// Everything that wrote is dead: what is in the pipe is all there is.
    pub(super) fn drain(&mut self, sink: &mut dyn OutputSink) -> Result<(), SandboxError> {
        while !self.overflow {
            match self.pipe.try_read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => self.take(count, sink)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(SandboxError::step("reading the output")(error)),
            }
        }
        self.lines.finish(&mut Tee(sink, &mut self.last)).map_err(|source| SandboxError::Sink { source })
    }

    fn take(&mut self, count: usize, sink: &mut dyn OutputSink) -> Result<(), SandboxError> {
        let room = usize::try_from(self.bytes_max - self.bytes).unwrap_or(usize::MAX);
        self.overflow |= count > room;
        let taken = count.min(room);
        self.bytes += taken as u64;
        let sink = &mut Tee(sink, &mut self.last);
        self.lines.push(&self.buffer[..taken], sink).map_err(|source| SandboxError::Sink { source })
    }

    pub(super) fn overflow(&self) -> Option<SandboxStatus> {
        self.overflow.then_some(SandboxStatus::LogTooLong { limit: self.bytes_max })
    }
}

/// Writes to two sinks.
struct Tee<'a>(&'a mut dyn OutputSink, &'a mut LastLines);

impl OutputSink for Tee<'_> {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.1.write_lines(lines)?;
        self.0.write_lines(lines)
    }
}
