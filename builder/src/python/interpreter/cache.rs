//! Remembers answers of interpreters by the stamps of every file that they depend on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pip_accel_schema::encode::Encoder;

use super::base::venv_file;
use super::libc::{LOADERS, refresh_kernel};
use super::{InterpreterError, PythonInstallation, query};

/// Namespace of the remembered answers; a change of [`PythonInstallation`] or of the script is a new one.
pub const INTERPRETER_NAMESPACE: &str = "interpreter/2";

/// Namespace and key → value.
pub type MemoGet<'a> = dyn Fn(&str, &[u8]) -> Option<Vec<u8>> + 'a;

/// Namespace, key, value.
pub type MemoPut<'a> = dyn Fn(&str, &[u8], &[u8]) + 'a;

/// Where answers are remembered: `store.memo_get` and `memo_put` with a namespace. A failing store only costs time.
#[derive(Clone, Copy)]
pub struct Memo<'a> {
    /// Looks up.
    pub get: &'a MemoGet<'a>,
    /// Remembers.
    pub put: &'a MemoPut<'a>,
}

impl std::fmt::Debug for Memo<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Memo")
    }
}

/// [`query`], remembered by path, inode, modification time and size of the executable, of its `pyvenv.cfg` and of the
/// host's C library.
///
/// # Errors
/// As [`query`].
pub fn query_remembered(path: &Path, memo: Memo<'_>) -> Result<PythonInstallation, InterpreterError> {
    let key = stamp_key(path)?;
    if let Some(mut known) = (memo.get)(INTERPRETER_NAMESPACE, &key).as_deref().and_then(decode) {
        refresh_kernel(&mut known.interpreter.markers);
        return Ok(known);
    }
    let installation = query(path)?;
    if let Ok(value) = serde_json::to_vec(&installation) {
        (memo.put)(INTERPRETER_NAMESPACE, &key, &value);
    }
    Ok(installation)
}

/// The remembered answer, unless a package it speaks of has come or gone since.
fn decode(value: &[u8]) -> Option<PythonInstallation> {
    let known: PythonInstallation = serde_json::from_slice(value).ok()?;
    let wheel_is_there = match &known.ensurepip_wheel {
        Some(wheel) => wheel.exists(),
        // Debian installs it apart from the interpreter, without touching the interpreter's files.
        None => !known.is_debian,
    };
    (known.executable.exists() && wheel_is_there).then_some(known)
}

/// The key under which the answer for `path` is remembered.
pub(in crate::python) fn stamp_key(path: &Path) -> Result<[u8; 32], InterpreterError> {
    let missing = |source| InterpreterError::Missing { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(missing)?;
    let canonical = fs::canonicalize(&absolute).map_err(missing)?;
    let mut encoder = Encoder::for_domain("pip-accel/interpreter-key/1");
    stamp(&mut encoder, &canonical);
    match venv_file(&absolute) {
        // The path inside the virtualenv matters only here: it decides which base is found.
        Some(file) => stamp(encoder.bytes(absolute.as_os_str().as_encoded_bytes()), &file),
        None => drop(encoder.number(0)),
    }
    for loader in LOADERS {
        stamp(&mut encoder, Path::new(loader));
    }
    Ok(encoder.finish())
}

fn stamp(encoder: &mut Encoder, path: &Path) {
    encoder.bytes(path.as_os_str().as_encoded_bytes());
    match fs::metadata(path) {
        Err(_) => encoder.number(0),
        Ok(metadata) => encoder
            .number(1)
            .number(metadata.dev())
            .number(metadata.ino())
            .number(metadata.size())
            .number(metadata.mtime().cast_unsigned())
            .number(metadata.mtime_nsec().cast_unsigned()),
    };
}
