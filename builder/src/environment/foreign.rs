//! Entries of an old environment that nobody here made: someone ran pip in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use pip_accel_schema::environment::{EnvironmentEntry, EnvironmentEntryKind};
use pip_accel_schema::name::PackageName;

use super::take_over::Replaced;
use super::write::create_file;

const OPEN_DIRECTORY: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_RDONLY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The entries that every virtualenv has, as the manifest of one that has none.
pub(super) fn bare_virtualenv(site_packages: &str) -> Vec<EnvironmentEntry> {
    let folder = |path: &str| EnvironmentEntry { path: path.to_owned(), kind: EnvironmentEntryKind::Directory };
    let mut entries = vec![folder("bin"), folder("include")];
    for (end, _) in site_packages.match_indices('/') {
        entries.push(folder(&site_packages[..end]));
    }
    entries.push(folder(site_packages));
    entries
}

/// Whether `path` is part of every virtualenv: its scripts, links and notes.
pub(crate) fn is_standard(path: &str) -> bool {
    let is_interpreter = |name: &str| {
        let rest = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
        rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    };
    match path.strip_prefix("bin/") {
        Some(name) => is_interpreter(name) || name.to_ascii_lowercase().starts_with("activate"),
        None => {
            let in_include = path.strip_prefix("include/");
            in_include.is_some_and(is_interpreter)
                || matches!(path, "pyvenv.cfg" | "lib64" | ".gitignore" | "CACHEDIR.TAG")
        }
    }
}

/// Whether `path` is the metadata of a project in `packages`: it would hide what the new environment has.
pub(super) fn is_metadata_of(path: &str, packages: &[&PackageName]) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some(stem) = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info")) else { return false };
    let project = stem.split('-').next().unwrap_or(stem);
    project.parse::<PackageName>().is_ok_and(|project| packages.contains(&&project))
}

/// Links everything at `path` of the old environment into the new one, but for what was `replaced`. What the new one has
/// stays as it is.
/// The old one stays complete; it is removed when the new one is in its place.
///
/// Returns whether all of it got there.
pub(super) fn keep(old: BorrowedFd<'_>, new: BorrowedFd<'_>, path: &str, replaced: &Replaced<'_>) -> io::Result<bool> {
    let (mut old, mut new) = (old.try_clone_to_owned()?, new.try_clone_to_owned()?);
    let mut components = path.split('/').peekable();
    while let Some(component) = components.next() {
        if components.peek().is_none() {
            return carry_named((old.as_fd(), new.as_fd()), component, &At { path, replaced });
        }
        old = openat(&old, component, OPEN_DIRECTORY, Mode::empty())?;
        match folder(new.as_fd(), OsStr::new(component))? {
            Some(child) => new = child,
            None => return Ok(false),
        }
    }
    Ok(false)
}

/// Carries what is called `name`, where a name that is not UTF-8 is known by what is left of it.
fn carry_named((old, new): (BorrowedFd<'_>, BorrowedFd<'_>), name: &str, at: &At<'_>) -> io::Result<bool> {
    if !name.contains(char::REPLACEMENT_CHARACTER) {
        return carry((old, new), OsStr::new(name), at);
    }
    let mut complete = true;
    for entry in Dir::openat(old, ".", OPEN_DIRECTORY, Mode::empty())?.iter() {
        let entry = entry?;
        if entry.file_name().to_string_lossy() == name {
            complete &= carry((old, new), OsStr::from_bytes(entry.file_name().to_bytes()), at)?;
        }
    }
    Ok(complete)
}

/// Where in the old environment something stands, for the question whether it was replaced.
struct At<'a> {
    path: &'a str,
    replaced: &'a Replaced<'a>,
}

/// Links what stands at `path` of the old environment into the folder `new`, under its last component, all of it.
///
/// Returns whether all of it got there; [`io::ErrorKind::NotFound`] when there is nothing.
pub(super) fn carry_over(old: BorrowedFd<'_>, path: &str, new: BorrowedFd<'_>) -> io::Result<bool> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    let folder = openat(old, folder, OPEN_DIRECTORY, Mode::empty())?;
    carry((folder.as_fd(), new), OsStr::new(name), &At { path, replaced: &Replaced::new(None) })
}

/// The folder `name`, created where there is nothing; `None` when something else is there.
fn folder(parent: BorrowedFd<'_>, name: &OsStr) -> nix::Result<Option<OwnedFd>> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o777)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error),
    }
    match openat(parent, name, OPEN_DIRECTORY, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

fn carry((old, new): (BorrowedFd<'_>, BorrowedFd<'_>), name: &OsStr, at: &At<'_>) -> io::Result<bool> {
    let status = fstatat(old, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFDIR {
        let Some(child) = folder(new, name)? else { return Ok(false) };
        let mut listing = Dir::openat(old, name, OPEN_DIRECTORY, Mode::empty())?;
        let below = openat(old, name, OPEN_DIRECTORY, Mode::empty())?;
        let (mut complete, mut has_replaced) = (true, false);
        for entry in listing.iter() {
            let entry = entry?;
            let inner = OsStr::from_bytes(entry.file_name().to_bytes());
            if inner == "." || inner == ".." {
                continue;
            }
            let path = format!("{}/{}", at.path, inner.to_string_lossy());
            if at.replaced.has(&path) {
                has_replaced = true;
                continue;
            }
            let places = (below.as_fd(), child.as_fd());
            complete &= carry(places, inner, &At { path: &path, replaced: at.replaced })?;
            has_replaced |= at.replaced.is_below(&path);
        }
        if has_replaced {
            // Gone if nothing but replaced files was in it.
            let _ = unlinkat(new, name, UnlinkatFlags::RemoveDir);
        }
        return Ok(complete);
    }
    match linkat(old, name, new, name, AtFlags::empty()) {
        Ok(()) => return Ok(true),
        Err(Errno::EEXIST) => {
            let other = fstatat(new, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            return Ok((other.st_dev, other.st_ino) == (status.st_dev, status.st_ino));
        }
        Err(Errno::EXDEV | Errno::EMLINK | Errno::EPERM | Errno::EOPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    if kind == SFlag::S_IFLNK {
        let text = readlinkat(old, name)?;
        symlinkat(text.as_os_str(), new, name)?;
        return Ok(true);
    }
    if kind != SFlag::S_IFREG {
        return Ok(false);
    }
    let mut from =
        File::from(openat(old, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?);
    let mut to = create_file(new, name, status.st_mode & 0o100 != 0)?;
    io::copy(&mut from, &mut to)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_a_project_is_known_by_its_normalised_name() {
        let name: PackageName = "zope-interface".parse().expect("a name");
        let is_metadata = |path| is_metadata_of(path, &[&name]);
        assert!(is_metadata("lib/zope.interface-7.0.dist-info"));
        assert!(is_metadata("lib/zope_interface-7.0-py3.11.egg-info"));
        assert!(!is_metadata("lib/zope.event-7.0.dist-info"));
        assert!(!is_metadata("lib/zope.interface"));
    }
}
