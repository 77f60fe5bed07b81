//! What the machine offers to the tests; the only file of this package that reads the environment.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One installed Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterpreter {
    /// The program, links resolved.
    pub path: PathBuf,
    /// `CPython` or `PyPy`.
    pub implementation: String,
    /// Major, minor and micro number of the language version.
    pub version: (u32, u32, u32),
}

impl HostInterpreter {
    /// Whether today's build tools know it (3.8 and newer).
    #[must_use]
    pub fn is_fully_supported(&self) -> bool {
        self.version >= (3, 8, 0)
    }

    /// `3.11`, as `--python` takes it.
    #[must_use]
    pub fn short_version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }
}

/// A variable of the test run itself; programs under test get a cleared environment.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests' own settings; nothing else of this package reads the environment"
)]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The uv to use: `PIP_ACCEL_TEST_UV`, else the first on PATH.
#[must_use]
pub fn uv() -> Option<PathBuf> {
    variable("PIP_ACCEL_TEST_UV").map(PathBuf::from).filter(|path| path.is_file()).or_else(|| program("uv"))
}

/// A directory of wheels for offline builds and for pip itself: `PIP_ACCEL_TEST_WHEELS`, filled by `make setup`.
#[must_use]
pub fn wheels() -> Option<PathBuf> {
    variable("PIP_ACCEL_TEST_WHEELS").map(PathBuf::from).filter(|path| path.is_dir())
}

/// Wheels of the last setuptools and wheel for Python 2.7, 3.6 and 3.7, filled by `make setup`; empty without.
#[must_use]
pub fn legacy_wheels() -> Vec<PathBuf> {
    let Some(entries) = wheels().and_then(|wheels| std::fs::read_dir(wheels.join("legacy")).ok()) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "whl"));
    found.sort();
    found
}

/// The newest wheel of `project` (normalised, `_` for `-`) in [`wheels`].
#[must_use]
pub fn wheel_of(project: &str) -> Option<PathBuf> {
    let prefix = format!("{}-", project.to_lowercase().replace('-', "_"));
    let mut found: Vec<PathBuf> = std::fs::read_dir(wheels()?)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            name.starts_with(&prefix) && name.ends_with(".whl")
        })
        .collect();
    found.sort();
    found.pop()
}

/// A program on PATH.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says that a test (or a part of it) was left out and why. With `PIP_ACCEL_TEST_NO_SKIP` set, fails instead.
///
/// # Panics
/// When `PIP_ACCEL_TEST_NO_SKIP` is set: a machine that was set up for it must run everything.
pub fn skip(reason: &str) {
    assert!(variable("PIP_ACCEL_TEST_NO_SKIP").is_none(), "must not be skipped here, but: {reason}");
    // Nothing can be done about a stderr that is closed.
    drop(writeln!(std::io::stderr(), "skipped: {reason}"));
}

/// All Pythons of the machine, oldest first: pyenv's, the system's, PyPy's.
#[must_use]
pub fn interpreters() -> Vec<HostInterpreter> {
    let mut candidates = Vec::new();
    let pyenv = variable("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".pyenv")))
        .map(|root| root.join("versions"));
    if let Some(entries) = pyenv.and_then(|versions| std::fs::read_dir(versions).ok()) {
        candidates.extend(entries.flatten().map(|entry| entry.path().join("bin/python")));
    }
    for directory in ["/usr/bin", "/usr/local/bin"] {
        let Ok(entries) = std::fs::read_dir(directory) else { continue };
        candidates.extend(entries.flatten().map(|entry| entry.path()).filter(|path| is_python_name(path)));
    }
    let mut found: Vec<HostInterpreter> = Vec::new();
    for candidate in candidates {
        let Ok(path) = candidate.canonicalize() else { continue };
        if found.iter().all(|known| known.path != path)
            && let Some(interpreter) = query(path)
        {
            found.push(interpreter);
        }
    }
    found.sort_by(|a, b| (a.version, &a.path).cmp(&(b.version, &b.path)));
    found
}

/// The interpreter that tests use when they do not care: the system's `python3`, else the newest supported one.
///
/// # Panics
/// On a machine without any Python: nothing here can be tested there.
#[must_use]
pub fn default_python() -> PathBuf {
    let system = Path::new("/usr/bin/python3");
    if system.is_file() {
        return system.to_owned();
    }
    let supported = interpreters().into_iter().rev().find(HostInterpreter::is_fully_supported);
    supported.expect("`make setup` installs a Python").path
}

fn is_python_name(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let rest = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn query(path: PathBuf) -> Option<HostInterpreter> {
    let script =
        "import platform, sys; print(platform.python_implementation()); print('%d %d %d' % sys.version_info[:3])";
    let output =
        Command::new(&path).args(["-c", script]).env_clear().output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (implementation, version) = text.trim().split_once('\n')?;
    let mut numbers = version.split(' ').map_while(|number| number.trim().parse().ok());
    let version = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some(HostInterpreter { path, implementation: implementation.trim().to_owned(), version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_system_interpreter_once() {
        let found = interpreters();
        let mut paths: Vec<_> = found.iter().map(|interpreter| interpreter.path.clone()).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), found.len());
        let default = default_python().canonicalize().unwrap();
        assert!(paths.contains(&default), "{default:?} is not among {paths:?}");
    }
}
