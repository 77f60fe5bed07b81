//! `^C` and SIGTERM where nothing is fetched or built: each command says that it was interrupted, ends with 130, and
//! leaves what was there.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use pip_accel_tests::{Running, TestEnv, WheelBuilder};

use crate::bundles::{BUNDLE, assert_nothing_registered, bundle};
use crate::store_lifecycle::wait_while_running;
use crate::support::{env, exit};

/// Name of the lock file beside `.venv`.
pub(crate) const PLACE_LOCK: &str = "..venv.pip-accel.lock";

/// Whether a process has `path`, which somebody else has locked, open and would hear `^C`.
pub(crate) fn waits_with_ears(id: u32, path: &Path) -> bool {
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    files.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == path) && hears(id)
}

/// Whether a process catches `^C`.
fn hears(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    caught.is_some_and(|caught| caught & (1 << (Signal::SIGINT as u64 - 1)) != 0)
}

/// A lock that others wait for as long as it is open.
pub(crate) fn held(path: &Path) -> File {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path).expect("a lock file");
    file.lock().expect("nobody else has it");
    file
}

/// Interrupts `process` once it waits for `lock`.
#[track_caller]
fn interrupt(mut process: Running, lock: &Path, signal: Signal) {
    let id = process.id();
    assert!(wait_while_running(&mut process, || waits_with_ears(id, lock)), "it did not wait");
    process.signal(signal);
    process.wait().fails_with(exit::INTERRUPTED).says("interrupted");
}

fn with_environment() -> TestEnv {
    let env = env();
    env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
    env.realize(&[]).success();
    env
}

/// Whoever waits for another's collection, repair or sharing.
#[test]
fn who_waits_for_a_collector_hears() {
    let env = with_environment();
    let lock = env.store().join("locks/gc");
    for arguments in [&["gc"][..], &["verify"], &["verify", "--repair"], &["verify", "--rebuild-db"], &["optimise"]] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let _held = held(&lock);
            interrupt(env.spawn(arguments), &lock, signal);
        }
    }
    env.verify_clean();
    env.run(["status"]).success();
}

/// Whoever waits for the turn at an environment: with another store at the file beside it, with the same one at a key lock.
#[test]
fn who_waits_for_an_environment_hears() {
    let env = with_environment();
    env.write("empty.lock", "");
    let place = env.project().join(PLACE_LOCK);
    let empty = || {
        let mut command = env.command(["realize", "empty.lock", "--python"]);
        command.arg(env.python());
        env.start(command)
    };
    let held_place = held(&place);
    let mut first = empty();
    let id = first.id();
    assert!(wait_while_running(&mut first, || waits_with_ears(id, &place)), "it did not wait");
    let turn = key_locks_of(id, &env.store().join("locks")).remove(0);
    interrupt(empty(), &turn, Signal::SIGTERM);
    interrupt(env.spawn(["detach", "package"]), &turn, Signal::SIGINT);
    interrupt(first, &place, Signal::SIGINT);
    interrupt(env.spawn(["detach", "package"]), &place, Signal::SIGTERM);
    drop(held_place);
    empty().wait().success();
    let _held = held(&place);
    interrupt(env.spawn(["rollback"]), &place, Signal::SIGINT);
    drop(_held);
    env.run(["rollback"]).success();
    env.python_code("import package").success();
    assert!(!place.exists());
    env.verify_clean();
}

/// The key locks that a process has open.
pub(crate) fn key_locks_of(id: u32, locks: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("it runs").flatten();
    let is_key = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.parent() == Some(locks) && name.starts_with("key-")
    };
    files.filter_map(|entry| std::fs::read_link(entry.path()).ok()).filter(is_key).collect()
}

/// A4: bundles come and go through pipes whose other end does nothing.
#[test]
fn bundles_hear_while_a_pipe_blocks() {
    let env = with_environment();
    let large: String =
        (0..40_000_u64).map(|number| blake3::hash(&number.to_le_bytes()).to_hex().to_string()).collect();
    env.lock(&[&WheelBuilder::simple("large", "1.0").file("large/data.txt", &large).build()]);
    bundle(&env, BUNDLE, &[]).success();
    let whole = std::fs::read(env.project().join(BUNDLE)).unwrap();
    let python = env.python().to_string_lossy().into_owned();
    let pipe = fifo(&env);
    let mut writer = env.spawn(["bundle", "requirements.lock", "-o", "pipe", "--python", &python]);
    let id = writer.id();
    // More than the pipe holds: the rest waits for a reader.
    assert!(wait_while_running(&mut writer, || hears(id) && has_bytes(&pipe)), "it did not write");
    writer.signal(Signal::SIGINT);
    writer.wait().fails_with(exit::INTERRUPTED).says("interrupted");

    let far = crate::support::env();
    let mut pipe = fifo(&far);
    pipe.write_all(&whole[..PIPE_BYTES_MIN]).unwrap();
    let mut reader = far.spawn(["unbundle", "pipe"]);
    let id = reader.id();
    assert!(wait_while_running(&mut reader, || hears(id) && !has_bytes(&pipe)), "it did not read");
    reader.signal(Signal::SIGTERM);
    reader.wait().fails_with(exit::INTERRUPTED).says("interrupted");
    assert_nothing_registered(&far, "the begin of a bundle");
}

/// What every pipe holds.
const PIPE_BYTES_MIN: usize = 4096;

/// A named pipe in the project, open at both ends.
fn fifo(env: &TestEnv) -> File {
    let path = env.project().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a named pipe");
    File::options().read(true).write(true).open(path).expect("the pipe")
}

fn has_bytes(pipe: &File) -> bool {
    let mut descriptors = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut descriptors, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
