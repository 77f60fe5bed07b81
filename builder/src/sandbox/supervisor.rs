//! The program between this one and a build without a sandbox: all that the build starts stays below it, whatever it
//! does to its session, its folder and its environment, because the kernel gives orphans to their nearest subreaper.
//!
//! It is this very program, started anew: being a subreaper is a property of a process, and one for all builds of a run
//! could not tell whose the orphans are.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::launch::ProcessHandle;

/// First argument of the program when it is started for this; what follows is the command to run.
pub const SUPERVISE: &str = "__supervise";

/// The command could not be started; the same number as a shell's and as bwrap's.
const NOT_STARTED: u8 = 127;

/// Added to the number of a signal, as a shell does.
const SIGNALLED: i32 = 128;

/// Between two looks at what is still there: killed processes need a moment to be gone.
const ROUND_PAUSE: Duration = Duration::from_millis(1);

/// How often is looked: each round must find one that a process of the round before had started just then. What is
/// faster than that many kills is a fork bomb, which only a sandbox ends.
const ROUNDS_MAX: usize = 5000;

/// Runs a command until it ends, or until standard input does (whoever started this wants it to end, or is dead); then
/// ends everything below this process. Returns the exit code as a shell would say it.
///
/// To be called by a program that does nothing else: every child of the process is taken for the command's.
pub fn supervise(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    // On a kernel without it (before Linux 3.4) daemons escape, as they would without this program.
    let _ = set_child_subreaper(true);
    let Some(program) = arguments.next() else { return NOT_STARTED };
    // A group of its own: what a build sends to its group is not for this process.
    let child = Command::new(&program).args(arguments).stdin(Stdio::null()).process_group(0).spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            drop(writeln!(io::stderr(), "{}: {error}", program.to_string_lossy()));
            return NOT_STARTED;
        }
    };
    wait_for_end(&child);
    let (code, left) = end_all(child.id());
    if left > 0 {
        let is = if left == 1 { "process is" } else { "processes are" };
        drop(writeln!(io::stderr(), "{left} {is} left of what was started here; other users' can't be ended"));
    }
    code
}

/// Returns when the child has ended (it is not waited for) or standard input has.
fn wait_for_end(child: &Child) {
    // Whoever starts this needs process descriptors too (Linux 5.3) and has made sure that there are some.
    let Ok(process) = ProcessHandle::open(child.id()) else { return };
    let input = io::stdin();
    loop {
        let wanted = PollFlags::POLLIN;
        let mut descriptors = [PollFd::new(input.as_fd(), wanted), PollFd::new(process.as_fd(), wanted)];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            // Nobody writes to the input: whatever is there to be read is its end.
            _ => return,
        }
    }
}

/// Kills what is below this process until nothing is. The exit code of `child`, and how many can't be killed.
fn end_all(child: u32) -> (u8, usize) {
    let mut code = u8::MAX;
    let mut left = 0;
    for _ in 0..ROUNDS_MAX {
        let below = descendants(std::process::id());
        left = below.len();
        let killed = below.iter().filter(|id| kill(Pid::from_raw(**id), Signal::SIGKILL).is_ok()).count();
        let childless = collect(child, &mut code);
        if childless {
            return (code, 0);
        }
        if killed == 0 && left > 0 {
            return (code, left);
        }
        thread::sleep(ROUND_PAUSE);
    }
    (code, left)
}

/// Collects dead children. Whether there is no other child.
fn collect(child: u32, code: &mut u8) -> bool {
    let byte = |code: i32| u8::try_from(code).unwrap_or(u8::MAX);
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(id, status)) if id.as_raw().cast_unsigned() == child => *code = byte(status),
            Ok(WaitStatus::Signaled(id, signal, _)) if id.as_raw().cast_unsigned() == child => {
                *code = byte(SIGNALLED + signal as i32);
            }
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

/// The processes below `ancestor` that are not dead.
fn descendants(ancestor: u32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let processes: Vec<(i32, i32, bool)> = ids.filter_map(parent_of).collect();
    let mut found = vec![i32::try_from(ancestor).unwrap_or_default()];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(processes.iter().filter(|(_, of, _)| *of == parent).map(|(id, ..)| *id));
        next += 1;
    }
    let is_alive = |id: &i32| processes.iter().any(|(process, _, alive)| process == id && *alive);
    found.into_iter().skip(1).filter(is_alive).collect()
}

/// A process, its parent, and whether it is alive (a zombie has children as long as nobody adopted them, but can't be
/// killed any more).
fn parent_of(id: i32) -> Option<(i32, i32, bool)> {
    let stat = fs::read(Path::new("/proc").join(id.to_string()).join("stat")).ok()?;
    // The name, in parentheses, may hold anything, parentheses included.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut words = text.split_ascii_whitespace();
    let alive = !matches!(words.next()?, "Z" | "X");
    Some((id, words.next()?.parse().ok()?, alive))
}
