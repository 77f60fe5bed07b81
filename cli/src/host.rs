//! What the program may know of the world around it; read once, at the start, and passed on as a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Environment, working directory, user.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    variables: BTreeMap<String, OsString>,
    /// The working directory.
    pub(crate) cwd: PathBuf,
    /// Whether the user is root.
    pub(crate) is_root: bool,
    /// The moment to take for now, in seconds since 1970; only tests have one.
    pub(crate) now: Option<i64>,
}

impl Host {
    /// Reads the process's own surroundings, all but the clock of tests.
    ///
    /// # Errors
    /// When the working directory is gone.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub(crate) fn read(now: Option<i64>) -> std::io::Result<Self> {
        let named = |(key, value): (OsString, OsString)| key.into_string().ok().map(|key| (key, value));
        Ok(Self {
            variables: std::env::vars_os().filter_map(named).collect(),
            cwd: std::env::current_dir()?,
            is_root: nix::unistd::Uid::effective().is_root(),
            now,
        })
    }

    /// A variable that is set, not empty, and UTF-8.
    #[must_use]
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).and_then(|value| value.to_str()).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// The user's home directory, if there is one.
    #[must_use]
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.variables.get("HOME").filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The first program of that name on `PATH`.
    #[must_use]
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.variables.get("PATH")?;
        std::env::split_paths(path).map(|directory| directory.join(name)).find(|program| program.is_file())
    }

    /// `path` relative to the working directory, `~/` relative to the home directory.
    #[must_use]
    pub(crate) fn absolute(&self, path: &std::path::Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => self.cwd.join(path),
        }
    }
}
