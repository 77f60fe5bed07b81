//! One question on the terminal.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{FlushArg, tcflush};

use super::printable;

/// How often a waiting question looks whether the run was interrupted, in milliseconds.
const LOOK_MILLISECONDS: u16 = 100;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `y`.
    Yes,
    /// Anything else, nothing, or the end of the input.
    No,
    /// `^C`.
    Interrupted,
}

/// Whether somebody can be asked: both ends of the talk are a terminal.
#[must_use]
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question that is answered by `y` or not at all.
pub(crate) fn ask(question: &str, is_interrupted: &dyn Fn() -> bool) -> Answer {
    let stdin = io::stdin();
    // What was typed before the question was there is no answer to it.
    let _flushed = tcflush(stdin.as_fd(), FlushArg::TCIFLUSH);
    let mut stderr = io::stderr().lock();
    drop(write!(stderr, "{} [y/N] ", printable::line(question)));
    drop(stderr.flush());
    loop {
        let mut ears = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let heard = poll(&mut ears, PollTimeout::from(LOOK_MILLISECONDS));
        if is_interrupted() {
            drop(writeln!(stderr));
            return Answer::Interrupted;
        }
        match heard {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => break,
            Err(_) => return Answer::No,
        }
    }
    let mut line = String::new();
    match stdin.read_line(&mut line) {
        Ok(length) if length > 0 && ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) => Answer::Yes,
        Ok(0) | Err(_) => {
            drop(writeln!(stderr));
            Answer::No
        }
        Ok(_) => Answer::No,
    }
}
