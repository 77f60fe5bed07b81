//! The program under test, built by this package so that cargo always builds it before the tests and hands them its path.
//! It is the installed program with a clock that tests can set, and with checkpoints at which it tells or dies.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The clock, in seconds since 1970.
const NOW: &str = "PIP_ACCEL_TEST_NOW";
/// A file that gets the name of each checkpoint that is reached, a line each.
const CHECKPOINTS: &str = "PIP_ACCEL_TEST_CHECKPOINTS";
/// `NAME:N`: the process is killed when it reaches this checkpoint for the n-th time; `*` is any checkpoint.
const KILL_AT: &str = "PIP_ACCEL_TEST_KILL_AT";

/// `NAME`: the process stops itself (`SIGSTOP`) when it reaches this checkpoint for the first time.
const STOP_AT: &str = "PIP_ACCEL_TEST_STOP_AT";

#[expect(clippy::disallowed_methods, reason = "the installed program must not have these variables")]
fn main() -> std::process::ExitCode {
    let now = std::env::var(NOW).ok().and_then(|text| text.parse().ok());
    let record =
        std::env::var_os(CHECKPOINTS).and_then(|path| File::options().append(true).create(true).open(path).ok());
    let (kill_at, stop_at) = (std::env::var(KILL_AT).ok(), std::env::var(STOP_AT).ok());
    if record.is_some() || kill_at.is_some() || stop_at.is_some() {
        watch_checkpoints(record, kill_at, stop_at);
    }
    pip_accel_cli::main_at(now)
}

fn watch_checkpoints(record: Option<File>, kill_at: Option<String>, stop_at: Option<String>) {
    let (name, times) = match kill_at.as_deref().and_then(|text| text.rsplit_once(':')) {
        Some((name, times)) => (Some(name.to_owned()), times.parse().unwrap_or(1)),
        None => (None, 0),
    };
    let seen = AtomicUsize::new(0);
    let is_stopped = AtomicBool::new(false);
    pip_accel_store::testing::set_hook(Arc::new(move |reached| {
        if let Some(mut record) = record.as_ref() {
            // One call for one line: threads may get here at once.
            drop(record.write_all(format!("{reached}\n").as_bytes()));
        }
        if stop_at.as_deref() == Some(reached) && !is_stopped.swap(true, Ordering::SeqCst) {
            kill(Pid::this(), Signal::SIGSTOP).expect("a process may stop itself");
        }
        if (name.as_deref() == Some(reached) || name.as_deref() == Some("*"))
            && seen.fetch_add(1, Ordering::SeqCst) + 1 == times
        {
            kill(Pid::this(), Signal::SIGKILL).expect("a process may end itself");
        }
    }));
}
