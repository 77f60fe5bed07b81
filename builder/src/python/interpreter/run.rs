//! Runs a short script under an interpreter, with a time limit, and gives back what it printed.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// Longest time for one script; a first start from a cold disk takes seconds.
pub const SCRIPT_TIME_MAX: Duration = Duration::from_secs(60);

/// Most bytes read from a script; the longest answer has 40 kB.
pub const SCRIPT_OUTPUT_BYTES_MAX: u64 = 4 << 20;

/// Why a script gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The program could not be started.
    #[error("the program can't be started")]
    Start(#[source] io::Error),
    /// It ended with an error.
    #[error("it ended with {status}: {message}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The last line it wrote to its standard error.
        message: String,
    },
    /// It took too long and was killed.
    #[error("it gave no answer within {} seconds", SCRIPT_TIME_MAX.as_secs())]
    TimedOut,
    /// It printed too much, or no UTF-8.
    #[error("its answer is longer than {SCRIPT_OUTPUT_BYTES_MAX} bytes or not text")]
    Unreadable,
}

/// A script and the interpreter's own options for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script<'a> {
    /// Options before `-c`: `-E`, `-s`, `-S`.
    pub(crate) options: &'a [&'a str],
    pub(crate) text: &'a str,
    pub(crate) arguments: &'a [&'a str],
}

/// Runs `script` in `/` with no input and returns its standard output.
pub(crate) fn run_script(executable: &Path, script: Script<'_>) -> Result<String, ScriptError> {
    run_script_within(executable, script, SCRIPT_TIME_MAX)
}

fn run_script_within(executable: &Path, script: Script<'_>, limit: Duration) -> Result<String, ScriptError> {
    let mut child = Command::new(executable)
        .args(script.options)
        .args(["-B", "-c", script.text])
        .args(script.arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ScriptError::Start)?;
    let output = child.stdout.take().map(collect);
    let errors = child.stderr.take().map(collect);
    let in_time = wait_for_end(&child, limit);
    // The child is not reaped yet, so its number still names its group: nothing it started outlives it.
    let _ = killpg(process_id(&child), Signal::SIGKILL);
    let status = child.wait().map_err(ScriptError::Start)?;
    let (output, errors) = (finish(output), finish(errors));
    if !in_time {
        return Err(ScriptError::TimedOut);
    }
    if !status.success() {
        let errors = String::from_utf8_lossy(&errors).into_owned();
        let message = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message");
        return Err(ScriptError::Failed { status, message: message.trim().chars().take(300).collect() });
    }
    if output.len() as u64 > SCRIPT_OUTPUT_BYTES_MAX {
        return Err(ScriptError::Unreadable);
    }
    String::from_utf8(output).map_err(|_| ScriptError::Unreadable)
}

fn process_id(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process numbers of Linux have 22 bits"))
}

/// Waits for the child's end without reaping it; false if the time is over.
fn wait_for_end(child: &Child, limit: Duration) -> bool {
    let (sender, receiver) = mpsc::channel();
    let process = process_id(child);
    // The thread ends with the child, which is killed below at the latest.
    std::thread::spawn(move || {
        let _ = waitid(Id::Pid(process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let _ = sender.send(());
    });
    receiver.recv_timeout(limit).is_ok()
}

fn collect(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.by_ref().take(SCRIPT_OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
        // A script that writes on must not block on a full pipe.
        let _ = io::copy(&mut stream, &mut io::sink());
        bytes
    })
}

fn finish(stream: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    stream.and_then(|thread| thread.join().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for an interpreter: runs the script with `sh`.
    fn shell(script: &str, limit: Duration) -> Result<String, ScriptError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("python");
        std::fs::write(&path, "#!/bin/sh\nshift\nexec /bin/sh \"$@\"\n").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        run_script_within(&path, Script { options: &[], text: script, arguments: &[] }, limit)
    }

    #[test]
    fn answers_and_errors_come_back() {
        let limit = Duration::from_secs(30);
        assert_eq!(shell("echo hello", limit).expect("an answer"), "hello\n");
        let error = shell("echo one >&2; echo two >&2; exit 3", limit).expect_err("an error");
        assert_eq!(error.to_string(), "it ended with exit status: 3: two");
        assert!(matches!(shell("printf '\\377'", limit), Err(ScriptError::Unreadable)));
        let missing = run_script(Path::new("/does/not/exist"), Script { options: &[], text: "", arguments: &[] });
        assert!(matches!(missing, Err(ScriptError::Start(_))));
    }

    #[test]
    fn a_script_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
        // Both shells block on the fifo, which nobody writes to; `exec 3<>` would not block.
        let script = format!("cat '{0}' & cat '{0}'", fifo.display());
        assert!(matches!(shell(&script, Duration::from_millis(200)), Err(ScriptError::TimedOut)));
    }

    #[test]
    fn a_flood_of_output_is_cut_off() {
        let script = "head -c 6000000 /dev/zero";
        assert!(matches!(shell(script, Duration::from_secs(30)), Err(ScriptError::Unreadable)));
    }
}
