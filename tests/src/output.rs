//! What a run of a program gave: exit code and both streams, with assertions that show all of it when they fail.

use std::os::unix::process::ExitStatusExt as _;

use crate::filters;

/// Exit code and streams of one finished run.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; 128 plus the signal's number when a signal ended it.
    pub code: i32,
    /// Standard output, undecodable bytes replaced.
    pub stdout: String,
    /// Standard error, undecodable bytes replaced.
    pub stderr: String,
    /// What stands for the paths of the environment in snapshots.
    pub replacements: Vec<(String, String)>,
}

impl Output {
    /// Takes over the result of [`std::process::Command::output`].
    #[must_use]
    pub fn new(command: String, output: &std::process::Output, replacements: Vec<(String, String)>) -> Self {
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self {
            command,
            code: code.expect("a finished process has a code or a signal"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            replacements,
        }
    }

    /// Asserts exit code 0.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn success(self) -> Self {
        self.fails_with(0)
    }

    /// Asserts an exact exit code.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "wrong exit code\n{}", self.report());
        self
    }

    /// Asserts that stderr holds `text`, letter case ignored.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.to_lowercase().contains(&text.to_lowercase()), "stderr lacks `{text}`\n{}", self.report());
        self
    }

    /// Asserts that stdout holds `text`.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "stdout lacks `{text}`\n{}", self.report());
        self
    }

    /// Asserts that neither stream holds `text`.
    ///
    /// # Panics
    /// When one does.
    #[track_caller]
    pub fn never_mentions(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "`{text}` appears\n{}", self.report());
        self
    }

    /// Asserts the shape of every error: one short sentence and a remedy, no panic, no Rust debug text.
    ///
    /// # Panics
    /// When the message has another shape.
    #[track_caller]
    pub fn explains(self) -> Self {
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        assert!(lines.iter().any(|line| line.starts_with("error:")), "no line starts with `error:`\n{}", self.report());
        assert!(lines.iter().any(|line| line.trim_start().starts_with("hint:")), "no hint\n{}", self.report());
        for bad in ["panicked", "RUST_BACKTRACE", "Err(", "Some(", "Os {"] {
            assert!(!self.stderr.contains(bad), "`{bad}` in a message\n{}", self.report());
        }
        self
    }

    /// The whole of stdout as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("stdout is not JSON: {error}\n{}", self.report()),
        }
    }

    /// Code and streams in one text for a snapshot, with everything that changes from run to run replaced.
    #[must_use]
    pub fn snapshot(&self) -> String {
        let text = format!("exit code: {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr);
        filters::normalize(&text, &self.replacements)
    }

    /// Standard output alone, with everything that changes from run to run replaced.
    #[must_use]
    pub fn printed(&self) -> String {
        filters::normalize(&self.stdout, &self.replacements)
    }

    fn report(&self) -> String {
        format!(
            "$ {}\nexit code: {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}
