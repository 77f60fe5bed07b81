//! One process that compiles.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use pip_accel_schema::link_plan::SITE_FOLDER;
use pip_accel_schema::manifest::EntryPath;

use super::{BytecodeError, BytecodeOptions, START_TIMEOUT, SkipReason};

/// The program that the interpreter runs.
pub(super) const SCRIPT: &str = include_str!("../compile_worker.py");

/// Longest line that a process may write, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// A running process.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    received: Vec<u8>,
    /// `None` for Python 2, whose bytecode lies beside the source.
    cache_tag: Option<String>,
    python: std::path::PathBuf,
}

/// What a process said about a batch.
#[derive(Debug)]
pub(super) struct Run {
    /// For each file, in order, whether its bytecode was written; fewer than files if the batch ended early.
    pub(super) answers: Vec<bool>,
    pub(super) end: RunEnd,
}

/// How a batch ended.
#[derive(Debug)]
pub(super) enum RunEnd {
    /// All files are answered.
    Done,
    /// The file after the last answer was too much.
    Died {
        reason: SkipReason,
        /// Whether the process itself goes on.
        process_is_whole: bool,
    },
}

enum Line {
    Text(String),
    End,
    Timeout,
}

impl Worker {
    /// Starts a process and checks what it is.
    pub(super) fn start(python: &Path, options: &BytecodeOptions) -> Result<Self, BytecodeError> {
        let start_error = |source| BytecodeError::Start { python: python.to_owned(), source };
        let mut child = Command::new(python)
            // No -E or -I: they would ignore PYTHONHASHSEED, and nothing else is in the environment.
            .args(["-s", "-S", "-B", "-W", "ignore", "-c", SCRIPT])
            .env_clear()
            .env("PYTHONHASHSEED", "0")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(start_error)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(start_error(io::ErrorKind::BrokenPipe.into()));
        };
        let mut worker =
            Self { child, stdin, stdout, received: Vec::new(), cache_tag: None, python: python.to_owned() };
        let line = match worker.read_line(START_TIMEOUT).map_err(start_error)? {
            Line::Text(line) => line,
            Line::End => return Err(worker.protocol("it ends at once")),
            Line::Timeout => return Err(worker.protocol("it says nothing")),
        };
        let fields: Vec<&str> = line.split(' ').collect();
        let [tag, magic, _] = fields.as_slice() else { return Err(worker.protocol("it says something else")) };
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if tag.is_empty() || !tag.bytes().all(safe) {
            return Err(worker.protocol("its cache tag is no file name"));
        }
        if let Some(expected) = options.bytecode_tag.as_ref().filter(|expected| !expected.ends_with(*magic)) {
            let found = format!("{tag}-{magic}");
            return Err(BytecodeError::OtherBytecode { python: python.to_owned(), expected: expected.clone(), found });
        }
        worker.cache_tag = (*tag != "-").then(|| (*tag).to_owned());
        Ok(worker)
    }

    fn protocol(&self, reason: &str) -> BytecodeError {
        BytecodeError::Protocol { python: self.python.clone(), reason: reason.to_owned() }
    }

    /// Where the bytecode of `source` goes.
    pub(super) fn bytecode_path(&self, source: &EntryPath) -> Result<EntryPath, BytecodeError> {
        let folder = source.parent().unwrap_or(SITE_FOLDER);
        let stem = source.file_name();
        let stem = stem.strip_suffix(".py").unwrap_or(stem);
        let path = match &self.cache_tag {
            Some(tag) => format!("{folder}/__pycache__/{stem}.{tag}.pyc"),
            None => format!("{source}c"),
        };
        EntryPath::parse(&path).map_err(|error| self.protocol(&error.to_string()))
    }

    /// Compiles `files` of the tree at `root`, as far as the process gets.
    pub(super) fn compile(
        &mut self,
        root: &Path,
        files: &[EntryPath],
        file_timeout: Duration,
    ) -> Result<Run, BytecodeError> {
        let mut message = Vec::new();
        for file in files {
            let shown = file.as_str().strip_prefix(SITE_FOLDER).unwrap_or_default().trim_start_matches('/');
            for path in [root.join(file.as_str()), root.join(self.bytecode_path(file)?.as_str())] {
                message.extend(path.as_os_str().as_encoded_bytes());
                message.push(0);
            }
            message.extend(shown.as_bytes());
            message.push(0);
        }
        let mut answers = Vec::with_capacity(files.len());
        let died = |reason, process_is_whole| RunEnd::Died { reason, process_is_whole };
        let header = format!("{} {}\n", files.len(), message.len());
        let sent = self.stdin.write_all(header.as_bytes()).and_then(|()| self.stdin.write_all(&message));
        if sent.and_then(|()| self.stdin.flush()).is_err() {
            return Ok(Run { answers, end: died(SkipReason::Crash, false) });
        }
        loop {
            let line = self.read_line(file_timeout);
            let end = match line.map_err(|source| BytecodeError::Start { python: self.python.clone(), source })? {
                Line::Text(line) if line == "1" || line == "0" => {
                    answers.push(line == "1");
                    continue;
                }
                Line::Text(line) if line == "." && answers.len() == files.len() => RunEnd::Done,
                Line::Text(line) if line == "!" && answers.len() <= files.len() => died(SkipReason::Crash, true),
                Line::Text(line) => return Err(self.file_error(&line, files.get(answers.len()))),
                Line::End => died(SkipReason::Crash, false),
                Line::Timeout => died(SkipReason::Timeout, false),
            };
            return Ok(Run { answers, end });
        }
    }

    /// What `line`, which is no answer, says about `file`.
    fn file_error(&self, line: &str, file: Option<&EntryPath>) -> BytecodeError {
        match (line.strip_prefix("e ").and_then(|number| number.parse().ok()), file) {
            (Some(number), Some(file)) => {
                BytecodeError::File { path: file.to_string(), source: io::Error::from_raw_os_error(number) }
            }
            _ => self.protocol("it says something else"),
        }
    }

    /// Removes what a compiler that died may have written of the bytecode of `source`.
    pub(super) fn remove_partial(&mut self, root: &Path, source: &EntryPath) -> Result<(), BytecodeError> {
        let path = self.bytecode_path(source)?;
        match std::fs::remove_file(root.join(path.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BytecodeError::Start { python: self.python.clone(), source: error })
            }
            _ => Ok(()),
        }
    }

    fn read_line(&mut self, timeout: Duration) -> io::Result<Line> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(Line::Text(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.received.len() > LINE_BYTES_MAX {
                return Ok(Line::Text(String::new()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that the last turn does not spin.
            let milliseconds = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, milliseconds) {
                Ok(0) if Instant::now() >= deadline => return Ok(Line::Timeout),
                Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let mut buffer = [0; 1024];
            match self.stdout.read(&mut buffer) {
                Ok(0) => return Ok(Line::End),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The group holds the process and the child that compiles; it exists until the process is waited for.
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
