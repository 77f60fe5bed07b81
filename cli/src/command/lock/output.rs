//! Where a lock goes: a file that is replaced as a whole, or standard output.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Context, format};
use crate::args::{LockArgs, LockFormat};
use crate::error::Failure;
use crate::exit_code::Exit;

/// The place of a lock.
#[derive(Debug)]
pub(super) struct Output {
    /// Absent for standard output.
    path: Option<PathBuf>,
    folder: PathBuf,
    shown: String,
}

impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl Output {
    pub(super) fn of(context: &Context<'_>, args: &LockArgs) -> Result<Self, Failure> {
        let host = &context.host;
        let usual = match format(args) {
            LockFormat::Requirements => "requirements.lock",
            LockFormat::Pylock => "pylock.toml",
        };
        let named = args.output.clone().unwrap_or_else(|| usual.into());
        if named.as_os_str() == "-" {
            return Ok(Self { path: None, folder: host.cwd.clone(), shown: "standard output".to_owned() });
        }
        let path = host.absolute(&named);
        let folder = path.parent().map_or_else(|| host.cwd.clone(), Path::to_owned);
        if !folder.is_dir() {
            let text = format!("there is no folder `{}` for the lock", folder.display());
            return Err(Failure::new(Exit::Usage, text).hint("make it, or name another place: -o FILE"));
        }
        Ok(Self { path: Some(path), folder, shown: format!("`{}`", named.display()) })
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The folder from which the lock sees local files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn is_same_file(&self, other: &Path) -> bool {
        let Some(path) = &self.path else { return false };
        match (path.canonicalize(), other.canonicalize()) {
            (Ok(path), Ok(other)) => path == other,
            _ => path == other,
        }
    }

    /// The lock that is there.
    pub(super) fn read(&self) -> Result<Option<String>, Failure> {
        let Some(path) = &self.path else { return Ok(None) };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let text = format!("the lock {self} that is there can't be read: {error}");
                Err(Failure::new(Exit::Error, text).hint("name another place for the lock: -o FILE"))
            }
        }
    }

    /// Puts `text` in the place of what is there, in one step.
    pub(super) fn write(&self, context: &Context<'_>, text: &str) -> Result<(), Failure> {
        let Some(path) = &self.path else {
            context.ui.text(text.trim_end());
            return Ok(());
        };
        replace(path, text).map_err(|error| {
            let text = format!("the lock {self} can't be written: {error}");
            Failure::new(Exit::Error, text).hint("check the folder and its disk; the old lock is untouched")
        })
    }
}

/// The file behind a link is replaced, not the link.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        let mut file = File::options().write(true).create_new(true).open(&beside)?;
        if let Ok(old) = path.metadata() {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    };
    let written = write();
    if written.is_err() && beside.exists() {
        drop(std::fs::remove_file(&beside));
    }
    written
}
