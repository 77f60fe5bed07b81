//! What the program may know of the world around it; read once, at the start, and passed on as a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, Uid, User, eaccess};

/// Environment, working directory, user.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    variables: BTreeMap<String, OsString>,
    /// The working directory.
    pub(crate) cwd: PathBuf,
    /// Whether the user is root.
    pub(crate) is_root: bool,
    home: Option<PathBuf>,
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
        let variables: BTreeMap<String, OsString> = std::env::vars_os().filter_map(named).collect();
        let user = Uid::effective();
        let home = home(variables.get("HOME").map(Path::new), variables.contains_key(SUDO), user);
        Ok(Self { variables, cwd: std::env::current_dir()?, is_root: user.is_root(), home, now })
    }

    /// A variable that is set, not empty, and UTF-8.
    #[must_use]
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).and_then(|value| value.to_str()).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Names of the variables that begin with `prefix` and are set to something.
    pub(crate) fn variables_with(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let is_meant = move |(name, value): &(&String, &OsString)| name.starts_with(prefix) && !value.is_empty();
        self.variables.iter().filter(is_meant).map(|(name, _)| name.as_str())
    }

    /// The home directory of the user that the program runs as, if there is one: `$HOME`, or, if that is not usable or
    /// somebody else's whom `sudo` came from, that of the user's entry in the system's list.
    #[must_use]
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.home.clone()
    }

    /// The first program of that name on `PATH`.
    #[must_use]
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let path = self.variables.get("PATH")?;
        std::env::split_paths(path).map(|directory| directory.join(name)).find(|program| program.is_file())
    }

    /// `path` relative to the working directory, `~/` relative to the home directory.
    #[must_use]
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => self.cwd.join(path),
        }
    }
}

/// Set by `sudo`, which may leave `HOME` that of whoever called it.
const SUDO: &str = "SUDO_UID";

fn home(named: Option<&Path>, is_sudo: bool, user: Uid) -> Option<PathBuf> {
    let named = named.filter(|path| path.is_absolute());
    if let Some(named) = named.filter(|path| is_home(path, is_sudo.then_some(user))) {
        return Some(named.to_owned());
    }
    let listed = User::from_uid(user).ok().flatten().map(|user| user.dir).filter(|path| path.is_absolute());
    let listed = listed.filter(|path| is_home(path, None));
    // Nothing there is not the same as a place that is closed: what is needed below it can be made.
    listed.or_else(|| named.filter(|path| path.try_exists().is_ok_and(|exists| !exists)).map(Path::to_owned))
}

/// Whether it is a directory that may be entered, and belongs to `owner`, if that matters.
fn is_home(path: &Path, owner: Option<Uid>) -> bool {
    let is_owned = |metadata: &std::fs::Metadata| owner.is_none_or(|owner| metadata.uid() == owner.as_raw());
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_dir() && is_owned(&metadata))
        && eaccess(path, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_that_is_not_usable_is_that_of_the_users_entry() {
        let user = Uid::effective();
        let listed = User::from_uid(user).expect("a list of users").map(|user| user.dir).filter(|dir| dir.is_dir());
        let folder = tempfile::tempdir().expect("a folder");
        let (mine, missing, file) = (folder.path(), folder.path().join("missing"), folder.path().join("file"));
        std::fs::write(&file, "").expect("a file");
        assert_eq!(home(Some(mine), false, user).as_deref(), Some(mine));
        assert_eq!(home(Some(mine), true, user).as_deref(), Some(mine));
        assert_eq!(home(Some(&missing), false, user), listed.clone().or(Some(missing)));
        for unusable in [None, Some(Path::new("relative")), Some(&file)] {
            assert_eq!(home(unusable, false, user), listed, "{unusable:?}");
        }
        // Somebody without an entry, for whom sudo left another one's.
        let nobody = Uid::from_raw(4_242_424);
        assert_eq!(home(Some(mine), true, nobody), None);
        assert_eq!(home(Some(mine), false, nobody).as_deref(), Some(mine));
    }
}
