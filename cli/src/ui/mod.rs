//! Where words go: data to standard output, talk to standard error.

mod ask;
mod printable;
mod progress;
mod size;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

pub(crate) use ask::{Answer, ask, can_ask};
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
    /// Decides by the flags, the streams and `NO_COLOR`, `CI`, `TERM`. Flags count from `verbosity`: more than 0 is as
    /// many `-v`, less as many `-q`; each of one takes one of the other back.
    #[must_use]
    pub(crate) fn new(global: &crate::args::GlobalArgs, host: &Host, verbosity: i16) -> Self {
        let verbosity = (verbosity + i16::from(global.verbose) - i16::from(global.quiet)).clamp(-255, 255);
        let dumb = host.variable("TERM").is_none_or(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb && host.variable("CI").is_none();
        Self {
            quiet: u8::try_from(-verbosity).unwrap_or(0),
            verbose: u8::try_from(verbosity).unwrap_or(0),
            json: global.json,
            terminal: global.progress.unwrap_or(terminal),
            color: terminal && host.variable("NO_COLOR").is_none() && !global.no_color,
        }
    }

    /// What is said before the flags are known.
    #[must_use]
    pub(crate) const fn plain() -> Self {
        Self { quiet: 0, verbose: 0, json: false, terminal: false, color: false }
    }

    /// Prints a line of data: one line, whatever file names are in it. A reader that went away ends the output, not
    /// the program.
    pub(crate) fn data(&self, line: &str) {
        self.text(&one_line(line));
    }

    /// Prints data of several lines.
    pub(crate) fn text(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        let text = for_stream(text, stdout.is_terminal());
        drop(writeln!(stdout, "{text}"));
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

    /// Says something that only `-v` wants to know.
    pub(crate) fn detail(&self, line: &str) {
        if self.verbose > 0 {
            self.talk(line);
        }
    }

    /// Says something that only `-qq` silences.
    pub(crate) fn warn(&self, line: &str) {
        if self.quiet < 2 {
            self.say(&self.paint("warning: ", "33"), &one_line(line));
        }
    }

    /// Says why the program fails. Words of other programs may have several lines; none of them begins where ours do.
    pub(crate) fn error(&self, text: &str) {
        self.say(&self.paint("error: ", "31"), &text.replace('\n', "\n    "));
    }

    /// Says what to do next.
    pub(crate) fn hint(&self, line: &str) {
        self.say(&self.paint("hint: ", "36"), &one_line(line));
    }

    /// The reporter of a run.
    #[must_use]
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::new(Progress::new(*self))
    }

    /// Says one line on standard error.
    pub(crate) fn talk(&self, line: &str) {
        self.say("", &one_line(line));
    }

    /// Says one line that `-q` silences unless it is part of a question.
    pub(crate) fn talk_unless_quiet(&self, line: &str, is_asked: bool) {
        if self.quiet == 0 || is_asked {
            self.talk(line);
        }
    }

    /// Our own words, which may have colours, and a text in which anything may be that an index, an archive or a file
    /// name holds.
    fn say(&self, prefix: &str, text: &str) {
        let mut stderr = io::stderr().lock();
        let text = for_stream(text, stderr.is_terminal());
        drop(writeln!(stderr, "{prefix}{text}"));
    }

    fn paint(&self, word: &str, code: &str) -> String {
        if self.color { format!("\u{1b}[1;{code}m{}\u{1b}[0m ", word.trim_end()) } else { word.to_owned() }
    }
}

/// A message is one line: whatever it quotes can't begin another one.
fn one_line(text: &str) -> String {
    text.trim_end_matches('\n').replace(['\n', '\r'], " ")
}

fn for_stream(text: &str, is_terminal: bool) -> String {
    if is_terminal { printable::line(text) } else { text.to_owned() }
}

/// `1 object`, `3 objects`.
pub(crate) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {noun}{}", number_of(count, "", "s"))
}

/// The form of a word for one thing or for several.
pub(crate) fn number_of(count: u64, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}
