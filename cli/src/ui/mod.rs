//! Where words go: data to standard output, talk to standard error.

mod printable;
mod progress;
mod size;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

pub(crate) use progress::Progress;
pub(crate) use size::{bytes, seconds, span};

use crate::host::Host;

/// How much is said, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// `-q` given this often.
    pub(crate) quiet: u8,
    /// `-v` given this often.
    pub(crate) verbose: u8,
    /// `--json`.
    pub(crate) json: bool,
    /// Whether standard error is a terminal that can draw.
    pub(crate) terminal: bool,
    /// Whether colours may be used on standard error.
    pub(crate) color: bool,
}

impl Ui {
    /// Decides by the flags, the streams and `NO_COLOR`, `CI`, `TERM`.
    #[must_use]
    pub(crate) fn new(global: &crate::args::GlobalArgs, host: &Host) -> Self {
        let dumb = host.variable("TERM").is_none_or(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb && host.variable("CI").is_none();
        Self {
            quiet: global.quiet,
            verbose: global.verbose,
            json: global.json,
            terminal,
            color: terminal && host.variable("NO_COLOR").is_none(),
        }
    }

    /// Prints a line of data. A reader that went away ends the output, not the program.
    pub(crate) fn data(&self, line: &str) {
        drop(writeln!(io::stdout().lock(), "{line}"));
    }

    /// Prints the output of a build: to a terminal without escape sequences and control characters, elsewhere byte by
    /// byte.
    ///
    /// # Errors
    /// When standard output can't be written, other than by a reader that went away.
    pub(crate) fn build_log(&self, reader: &mut dyn io::Read) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let copied = if stdout.is_terminal() {
            printable::copy(reader, &mut stdout)
        } else {
            io::copy(reader, &mut stdout).map(drop)
        };
        match copied {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Prints a value as one JSON document.
    pub(crate) fn json(&self, value: &serde_json::Value) {
        self.data(&value.to_string());
    }

    /// Says something that `-q` silences.
    pub(crate) fn note(&self, line: &str) {
        if self.quiet == 0 {
            self.talk(line);
        }
    }

    /// Says something that only `-qq` silences.
    pub(crate) fn warn(&self, line: &str) {
        if self.quiet < 2 {
            self.talk(&format!("{} {line}", self.paint("warning:", "33")));
        }
    }

    /// Says why the program fails.
    pub(crate) fn error(&self, line: &str) {
        self.talk(&format!("{} {line}", self.paint("error:", "31")));
    }

    /// Says what to do next.
    pub(crate) fn hint(&self, line: &str) {
        self.talk(&format!("{} {line}", self.paint("hint:", "36")));
    }

    /// The reporter of a run.
    #[must_use]
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::new(Progress::new(*self))
    }

    pub(crate) fn talk(&self, line: &str) {
        drop(writeln!(io::stderr().lock(), "{line}"));
    }

    fn paint(&self, word: &str, code: &str) -> String {
        if self.color { format!("\u{1b}[1;{code}m{word}\u{1b}[0m") } else { word.to_owned() }
    }
}
