//! Detached packages: private copies whose files people edit.
//!
//! A private copy is the environment's own. When an environment is made anew, it is carried over from the old one as it
//! is, edits and added files included; only what the old one lacks comes from the object. Bytecode is left out: that of
//! objects is never compared with its source, so that an edit would have no effect.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::symlinkat;
use pip_accel_schema::environment::{EnvironmentEntry, EnvironmentEntryKind};
use pip_accel_schema::name::PackageName;

use super::foreign;
use super::take_over::Replaced;
use super::write::{create_directory, create_file};

/// Folder of bytecode.
const BYTECODE_FOLDER: &str = "__pycache__";

/// What an old environment has of packages that stay detached.
#[derive(Debug)]
pub(super) struct Previous {
    /// The old environment.
    directory: OwnedFd,
    /// Its private entries and whose they are.
    entries: BTreeMap<String, PackageName>,
}

impl Previous {
    /// Of the old environment `directory` and the entries of its manifest, those of packages that `stay`.
    pub(super) fn new(
        directory: BorrowedFd<'_>,
        entries: &[EnvironmentEntry],
        stay: impl Fn(&PackageName) -> bool,
    ) -> io::Result<Self> {
        let private = entries.iter().filter_map(|entry| match &entry.kind {
            EnvironmentEntryKind::Private { package } if stay(package) => Some((entry.path.clone(), package.clone())),
            _ => None,
        });
        Ok(Self { directory: directory.try_clone_to_owned()?, entries: private.collect() })
    }

    /// Whether `path` is part of the private copy of `package`.
    fn holds(&self, path: &str, package: &PackageName) -> bool {
        let mut above = Some(path);
        while let Some(path) = above {
            if self.entries.get(path) == Some(package) {
                return true;
            }
            above = path.rsplit_once('/').map(|(parent, _)| parent);
        }
        false
    }

    /// Carries over what people added to folders that were private and, because several packages have them now, are
    /// no longer. Gives the paths of which something had to give way.
    pub(super) fn carry_rest(&self, new: BorrowedFd<'_>, entries: &[EnvironmentEntry]) -> io::Result<Vec<String>> {
        let is_real = |entry: &&EnvironmentEntry| matches!(entry.kind, EnvironmentEntryKind::Directory);
        let mut lost = Vec::new();
        for entry in entries.iter().filter(is_real).filter(|entry| self.entries.contains_key(&entry.path)) {
            if !foreign::keep(self.directory.as_fd(), new, &entry.path, &Replaced::new(None))? {
                lost.push(entry.path.clone());
            }
        }
        Ok(lost)
    }
}

/// Writes the private copies of one package.
#[derive(Debug, Clone, Copy)]
pub(super) struct PrivateCopy<'a> {
    pub(super) package: &'a PackageName,
    pub(super) previous: Option<&'a Previous>,
}

impl PrivateCopy<'_> {
    /// Writes `source` of the object, or what the old environment has in its place, to `path`, which is `name` in the
    /// folder `parent`. Gives the number of files that came from the object.
    pub(super) fn write(&self, source: &Path, parent: BorrowedFd<'_>, path: &str) -> io::Result<u64> {
        let name = path.rsplit('/').next().unwrap_or(path);
        if let Some(previous) = self.previous
            && previous.holds(path, self.package)
        {
            match foreign::carry_over(previous.directory.as_fd(), path, parent) {
                Ok(true) => return Ok(0),
                Ok(false) => return Err(io::Error::other("not all of the private copy could be carried over")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let metadata = source.symlink_metadata()?;
        if metadata.is_symlink() {
            symlinkat(std::fs::read_link(source)?.as_os_str(), parent, name)?;
            return Ok(0);
        }
        if !metadata.is_dir() {
            let mut to = create_file(parent, name, metadata.permissions().mode() & 0o100 != 0)?;
            io::copy(&mut File::open(source)?, &mut to)?;
            return Ok(1);
        }
        let folder = create_directory(parent, name)?;
        let mut copies = 0;
        for (child, _) in without_bytecode(list(source)?) {
            copies += self.write(&source.join(&child), folder.as_fd(), &format!("{path}/{child}"))?;
        }
        Ok(copies)
    }
}

/// The files below `folder` of an object, relative to it, sorted, bytecode left out.
pub(super) fn files_below(folder: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut waiting = vec![String::new()];
    while let Some(prefix) = waiting.pop() {
        for (name, is_directory) in without_bytecode(list(&folder.join(&prefix))?) {
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if is_directory { &mut waiting } else { &mut files }.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn list(folder: &Path) -> io::Result<Vec<(String, bool)>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_directory = entry.file_type()?.is_dir();
        let name = entry.file_name().into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        children.push((name, is_directory));
    }
    Ok(children)
}

/// What a folder holds (names, and whether each is a folder) without the bytecode of sources that are there.
pub(super) fn without_bytecode(children: Vec<(String, bool)>) -> Vec<(String, bool)> {
    let names: HashSet<String> = children.iter().map(|(name, _)| name.clone()).collect();
    let has_source = |name: &str| {
        let stem = name.strip_suffix(".pyc").or_else(|| name.strip_suffix(".pyo"));
        stem.is_some_and(|stem| names.contains(&format!("{stem}.py")))
    };
    children.into_iter().filter(|(name, _)| name != BYTECODE_FOLDER && !has_source(name)).collect()
}
