//! [`GitServer`]: repositories over HTTP with a password, by git's own server program.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::host;

/// The server; needs nothing but the standard library.
const PROGRAM: &str = include_str!("git_server.py");

/// A running server; it ends when the value is dropped.
#[derive(Debug)]
pub struct GitServer {
    child: Child,
    port: u16,
}

impl GitServer {
    /// Serves the repositories of `directory` for one user (`user:password`).
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(directory: &Path, login: &str) -> Self {
        let mut command = Command::new(host::default_python());
        command.args(["-c", PROGRAM]).arg(directory).arg(login);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the interpreter starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server tells its port");
        let port = line.trim().parse().expect("a port");
        Self { child, port }
    }

    /// Its port on the loopback device.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // Ours alone, and it holds nothing that could be lost.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
