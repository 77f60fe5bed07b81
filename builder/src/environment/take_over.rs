//! Taking over a virtualenv that another program made: its own files stay what they are.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::error::EnvironmentError;
use super::merge::Own;
use super::skeleton::Skeleton;

/// Longest text of a virtualenv's own that is read, in bytes; larger files are programs, which are copied.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Files of distributions that give way to new ones, and the bytecode of these files.
pub(super) struct Replaced<'a> {
    paths: Option<&'a BTreeSet<String>>,
}

impl<'a> Replaced<'a> {
    /// Of the paths, relative to the environment's root.
    pub(super) const fn new(paths: Option<&'a BTreeSet<String>>) -> Self {
        Self { paths }
    }

    /// Whether the file at `path` is one of them.
    pub(super) fn has(&self, path: &str) -> bool {
        let Some(paths) = self.paths.filter(|paths| !paths.is_empty()) else { return false };
        paths.contains(path) || source_of(path).is_some_and(|source| paths.contains(&source))
    }

    /// Whether one of them is in the folder at `path`.
    pub(super) fn is_below(&self, path: &str) -> bool {
        let Some(paths) = self.paths else { return false };
        let folder = format!("{path}/");
        paths.range(folder.clone()..).next().is_some_and(|first| first.starts_with(&folder))
    }
}

/// `a/b.py` of `a/__pycache__/b.cpython-311.pyc`.
fn source_of(path: &str) -> Option<String> {
    let (folder, name) = path.strip_suffix(".pyc")?.rsplit_once('/')?;
    let folder = folder.strip_suffix("__pycache__")?;
    let module = name.split('.').next()?;
    Some(format!("{folder}{module}.py"))
}

/// Makes the files of `skeleton` those that the virtualenv `old` has, whose path is `path`; what it lacks is left out.
pub(super) fn inherit(skeleton: &mut Skeleton, old: BorrowedFd<'_>, path: &Path) -> Result<(), EnvironmentError> {
    let mut files = Vec::with_capacity(skeleton.files.len());
    for (name, _) in std::mem::take(&mut skeleton.files) {
        let error = |error: std::io::Error| EnvironmentError::io("read", path.join(&name))(error);
        let status = match fstatat(old, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
            Err(errno) => return Err(error(errno.into())),
        };
        let own = match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFLNK => {
                let target = readlinkat(old, name.as_str()).map_err(|errno| error(errno.into()))?;
                Own::Link(target.into_string().map_err(|text| EnvironmentError::NotUtf8(text.into()))?)
            }
            SFlag::S_IFREG if u64::try_from(status.st_size).is_ok_and(|size| size > TEXT_BYTES_MAX) => {
                let whole = path.join(&name);
                Own::CopyOf(whole.to_str().map(str::to_owned).ok_or(EnvironmentError::NotUtf8(whole))?)
            }
            SFlag::S_IFREG => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = openat(old, name.as_str(), flags, Mode::empty()).map_err(|errno| error(errno.into()))?;
                let mut content = Vec::new();
                File::from(file).take(TEXT_BYTES_MAX).read_to_end(&mut content).map_err(error)?;
                Own::File { content: Cow::Owned(content), executable: status.st_mode & 0o100 != 0 }
            }
            _ => continue,
        };
        files.push((name, own));
    }
    skeleton.files = files;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytecode_goes_with_its_source() {
        let paths: BTreeSet<String> = ["lib/a/b.py", "bin/x"].map(str::to_owned).into();
        let replaced = Replaced::new(Some(&paths));
        for (path, expected) in [
            ("lib/a/b.py", true),
            ("lib/a/__pycache__/b.cpython-311.pyc", true),
            ("lib/a/__pycache__/c.cpython-311.pyc", false),
            ("lib/a/b", false),
            ("bin/x", true),
        ] {
            assert_eq!(replaced.has(path), expected, "{path}");
        }
        assert!(replaced.is_below("lib/a") && replaced.is_below("lib") && !replaced.is_below("lib/a/b"));
        assert!(!Replaced::new(None).has("bin/x"));
    }
}
