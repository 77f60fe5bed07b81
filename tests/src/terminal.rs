//! A pseudo-terminal that a program under test talks to.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::pty::openpty;

use crate::output::Output;

/// What is typed when the terminal shows something.
#[derive(Debug, Clone, Copy)]
pub enum Typed<'a> {
    /// These characters.
    Text(&'a str),
    /// The signal that `^C` is, sent to the program alone.
    Interrupt,
}

/// Runs `command` with standard input and standard error on a terminal. Each time the terminal shows the next text of
/// `script`, what stands beside it is typed. Standard error of the result is all that the terminal showed.
///
/// # Panics
/// When there are no terminals here, the program can't be started, or it ends before the script does.
#[must_use]
pub fn talk(mut command: Command, script: &[(&str, Typed<'_>)]) -> Output {
    let text = format!("{command:?}");
    let pair = openpty(None, None).expect("there are pseudo-terminals");
    let other: OwnedFd = pair.slave.try_clone().expect("a descriptor is free");
    command.stdin(pair.slave).stderr(other).stdout(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot run {text}: {error}"));
    // The terminal ends when nobody has its other end.
    drop(command);
    let mut terminal = File::from(pair.master);
    let mut shown = String::new();
    let mut from = 0;
    for (expected, typed) in script {
        while !shown[from..].contains(expected) {
            assert!(read_more(&mut terminal, &mut shown), "the terminal never showed `{expected}`:\n{shown}");
        }
        from = shown.len();
        answer(&mut terminal, &child, *typed);
    }
    while read_more(&mut terminal, &mut shown) {}
    finish(child, (text, shown))
}

fn finish(child: Child, (command, shown): (String, String)) -> Output {
    let mut output = child.wait_with_output().expect("the program is ours");
    output.stderr = shown.replace('\r', "").into_bytes();
    Output::new(command, &output, Vec::new())
}

fn answer(terminal: &mut File, child: &Child, typed: Typed<'_>) {
    match typed {
        Typed::Text(text) => terminal.write_all(text.as_bytes()).expect("the terminal is open"),
        Typed::Interrupt => {
            let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("process ids are small"));
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("the program is ours");
        }
    }
}

/// Whether there was more; a terminal without another end gives an error.
fn read_more(terminal: &mut File, shown: &mut String) -> bool {
    let mut buffer = [0; 4096];
    match terminal.read(&mut buffer) {
        Ok(length) if length > 0 => {
            shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
            true
        }
        _ => false,
    }
}
