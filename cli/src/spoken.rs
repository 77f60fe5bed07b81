//! Whose words these are: a command of pip-accel, `install` (ours, with pip's words), or any other command of pip.
//!
//! Our own names win (`show`, `index`, `config` …); `pip-accel pip …` is pip in any case.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;

use crate::args::Cli;

/// Commands of pip that are passed on: those of every pip from 9 to today.
pub(crate) const PIP_COMMANDS: [&str; 17] = [
    "cache",
    "check",
    "completion",
    "config",
    "debug",
    "download",
    "freeze",
    "hash",
    "index",
    "inspect",
    "install",
    "list",
    "lock",
    "search",
    "show",
    "uninstall",
    "wheel",
];

/// What the words ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Nothing was said.
    Nothing,
    /// A command of ours, or words that nobody knows.
    Ours,
    /// `install`: all words but the command itself, those before it first.
    Install(Vec<OsString>),
    /// `help install`.
    InstallHelp,
    /// pip with these words.
    Pip {
        /// `--python` before the command: whose pip.
        python: Option<OsString>,
        /// Everything else, in its order.
        words: Vec<OsString>,
    },
}

/// Options before a command that have a value of their own: ours, then pip's.
const WITH_VALUE: [&str; 13] = [
    "--store",
    "--config",
    "--python",
    "--log",
    "--proxy",
    "--retries",
    "--timeout",
    "--exists-action",
    "--trusted-host",
    "--cert",
    "--client-cert",
    "--cache-dir",
    "--keyring-provider",
];

impl Spoken {
    /// Reads the process's arguments, without the program's own name.
    pub(crate) fn of(arguments: &[OsString]) -> Self {
        if arguments.is_empty() {
            return Self::Nothing;
        }
        let Some(position) = command_position(arguments) else { return Self::Ours };
        let (before, rest) = arguments.split_at(position);
        let Some((command, after)) = rest.split_first() else { return Self::Ours };
        let after = after.to_vec();
        match command.to_str() {
            Some("install") => Self::Install([before, &after].concat()),
            Some("pip") => Self::pip(before, after),
            Some("help") => match after.first().and_then(|word| word.to_str()) {
                Some("install") => Self::InstallHelp,
                Some(word) if is_pips(word) => Self::pip(before, [vec![command.clone()], after].concat()),
                _ => Self::Ours,
            },
            Some(word) if is_pips(word) => Self::pip(before, [vec![command.clone()], after].concat()),
            _ => Self::Ours,
        }
    }

    /// pip with the options that stand before the command; `--python` says whose pip, and is not pip's to read.
    fn pip(before: &[OsString], after: Vec<OsString>) -> Self {
        let mut python = None;
        let mut words = Vec::new();
        let mut rest = before.iter();
        while let Some(word) = rest.next() {
            match word.to_str() {
                Some("--python") => python = rest.next().cloned(),
                Some(text) if text.starts_with("--python=") => python = text.strip_prefix("--python=").map(Into::into),
                _ => words.push(word.clone()),
            }
        }
        words.extend(after);
        Self::Pip { python, words }
    }
}

/// Whether pip has such a command and we have not.
fn is_pips(word: &str) -> bool {
    PIP_COMMANDS.contains(&word) && !Cli::command().get_subcommands().any(|known| known.get_name() == word)
}

/// Where the command stands: the first word that is neither an option nor the value of one.
fn command_position(arguments: &[OsString]) -> Option<usize> {
    let mut position = 0;
    while let Some(word) = arguments.get(position) {
        let is_option = word.as_encoded_bytes().starts_with(b"-") && word.len() > 1;
        if !is_option {
            return Some(position);
        }
        position += 1 + usize::from(WITH_VALUE.iter().any(|known| OsStr::new(known) == word));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(line: &str) -> Spoken {
        Spoken::of(&words(line))
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_first_word_decides() {
        let pip = |python: Option<&str>, line| Spoken::Pip { python: python.map(Into::into), words: words(line) };
        for (line, expected) in [
            ("", Spoken::Nothing),
            ("realize x.lock", Spoken::Ours),
            ("show install", Spoken::Ours),
            ("config show", Spoken::Ours),
            ("--version", Spoken::Ours),
            ("nonsense", Spoken::Ours),
            ("help", Spoken::Ours),
            ("help realize", Spoken::Ours),
            ("help install", Spoken::InstallHelp),
            ("install a", Spoken::Install(words("a"))),
            ("-q --store d install a install", Spoken::Install(words("-q --store d a install"))),
            ("list --outdated", pip(None, "list --outdated")),
            ("help list", pip(None, "help list")),
            ("pip show x", pip(None, "show x")),
            ("pip install x", pip(None, "install x")),
            ("--python 3.12 --isolated freeze", pip(Some("3.12"), "--isolated freeze")),
            ("--python=.venv -v uninstall -y a", pip(Some(".venv"), "-v uninstall -y a")),
            ("download realize", pip(None, "download realize")),
        ] {
            assert_eq!(spoken(line), expected, "{line}");
        }
    }
}
