//! From any `python` to the interpreter behind it: virtualenvs lead to what they were made from.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::InterpreterError;

/// Longest `pyvenv.cfg` read, in bytes; they have 300.
const VENV_FILE_BYTES_MAX: u64 = 64 << 10;

/// Most virtualenvs made from virtualenvs that are followed.
const VENV_CHAIN_MAX: usize = 8;

/// The `pyvenv.cfg` that governs an executable: beside it or in the folder above (PEP 405).
pub(super) fn venv_file(executable: &Path) -> Option<PathBuf> {
    let folder = executable.parent()?;
    let candidates = [Some(folder), folder.parent()];
    candidates.into_iter().flatten().map(|folder| folder.join("pyvenv.cfg")).find(|path| path.is_file())
}

/// The base interpreter of `path`, absolute, links resolved.
///
/// # Errors
/// `path` is no file, or a virtualenv whose base is gone.
pub(super) fn base_executable(path: &Path) -> Result<PathBuf, InterpreterError> {
    let mut current =
        std::path::absolute(path).map_err(|source| InterpreterError::Missing { path: path.to_owned(), source })?;
    for _ in 0..VENV_CHAIN_MAX {
        let next = match venv_file(&current) {
            Some(file) => Some(base_of_venv(&current, &file)?),
            None => base_of_old_virtualenv(&current),
        };
        match next {
            Some(next) if next != current => current = next,
            _ => break,
        }
    }
    fs::canonicalize(&current).map_err(|source| InterpreterError::Missing { path: current, source })
}

fn base_of_venv(executable: &Path, file: &Path) -> Result<PathBuf, InterpreterError> {
    let text = read_small(file).unwrap_or_default();
    let value = |key: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case(key)).map(|(_, value)| value.trim()).next_back()
    };
    let home = value("home").map(PathBuf::from);
    let mut candidates: Vec<PathBuf> =
        ["base-executable", "executable"].into_iter().filter_map(value).map(PathBuf::from).collect();
    if let Some(home) = &home {
        let version = value("version").or(value("version_info")).unwrap_or_default();
        let mut parts = version.split('.');
        if let (Some(major), Some(minor)) = (parts.next(), parts.next()) {
            candidates.extend(["python", "pypy"].map(|name| home.join(format!("{name}{major}.{minor}"))));
        }
        candidates.extend(executable.file_name().map(|name| home.join(name)));
        candidates.extend(["python3", "python", "pypy3", "pypy"].map(|name| home.join(name)));
    }
    // An entry that leads back into the same virtualenv says nothing.
    let inside = executable.parent();
    let usable = |path: &PathBuf| path.is_absolute() && path.is_file() && path.parent() != inside;
    candidates.into_iter().find(usable).ok_or_else(|| InterpreterError::BaseGone {
        executable: executable.to_owned(),
        base: home.unwrap_or_else(|| file.to_owned()),
    })
}

/// virtualenv before version 20 left no `pyvenv.cfg` but the old prefix in a file of the library folder.
fn base_of_old_virtualenv(executable: &Path) -> Option<PathBuf> {
    let library = executable.parent()?.parent()?.join("lib");
    let names = ["python2.7", "python3.6", "python3.7", "python3.8"];
    let (name, prefix) = names.into_iter().find_map(|name| {
        let text = read_small(&library.join(name).join("orig-prefix.txt"))?;
        Some((name, text.trim().to_owned()))
    })?;
    Some(Path::new(&prefix).join("bin").join(name)).filter(|path| path.is_absolute() && path.is_file())
}

fn read_small(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(VENV_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}
