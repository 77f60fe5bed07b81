//! A change of folders that is done as a whole or not at all: what gives way is moved aside, what is new is noted down
//! before it is written, and whoever comes next puts back what a killed process left half done.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::super::error::InstallError;

/// Folder of what is moved aside, in the folder of modules; `~` is what pip begins such names with, and passes over.
const ASIDE: &str = "~pip-accel";

/// The list of what is done, in that folder.
const JOURNAL: &str = "journal.json";

/// What a change does.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Steps {
    /// What is moved aside: each gets its position as its name there.
    moved: Vec<PathBuf>,
    /// Files that are new.
    created: Vec<PathBuf>,
    /// Folders that are new, outermost first.
    folders: Vec<PathBuf>,
}

/// A change under way; dropped before its end, everything is put back.
#[derive(Debug)]
pub(super) struct Journal {
    aside: PathBuf,
    steps: Steps,
    is_done: bool,
    _lock: Flock<OwnedFd>,
}

impl Journal {
    /// Begins a change that moves `moved` away and makes `created`; waits for others who change the same folder.
    pub(super) fn begin(folder: &Path, moved: Vec<PathBuf>, created: Vec<PathBuf>) -> Result<Self, InstallError> {
        let folders = make_folders(folder)?;
        let open = File::open(folder).map(OwnedFd::from).map_err(InstallError::io("open", folder))?;
        let lock = Flock::lock(open, FlockArg::LockExclusive)
            .map_err(|(_, error)| InstallError::io("lock", folder)(error.into()))?;
        let aside = folder.join(ASIDE);
        recover(&aside).map_err(InstallError::io("put back what is in", &aside))?;
        std::fs::create_dir(&aside).map_err(InstallError::io("create the folder", &aside))?;
        let mut steps = Steps { moved, created, folders };
        let parents: std::collections::BTreeSet<PathBuf> =
            steps.created.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        for parent in parents {
            let missing: Vec<PathBuf> =
                parent.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
            steps.folders.extend(missing.into_iter().rev().filter(|path| path != &aside));
        }
        steps.folders.dedup();
        let journal = Self { aside, steps, is_done: false, _lock: lock };
        journal.write()?;
        journal.make_folders()?;
        journal.move_aside()?;
        Ok(journal)
    }

    fn write(&self) -> Result<(), InstallError> {
        let path = self.aside.join(JOURNAL);
        let text = serde_json::to_vec(&self.steps).unwrap_or_default();
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(InstallError::io("write", &path))
    }

    fn make_folders(&self) -> Result<(), InstallError> {
        for folder in &self.steps.folders {
            match std::fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(InstallError::io("create the folder", folder)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn move_aside(&self) -> Result<(), InstallError> {
        for (position, path) in self.steps.moved.iter().enumerate() {
            match relocate(path, &self.aside.join(position.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(InstallError::io("move aside", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Everything is written: what was moved aside goes.
    pub(super) fn finish(mut self) {
        self.is_done = true;
        // The list first: without it, nothing is put back any more.
        let _ = std::fs::remove_file(self.aside.join(JOURNAL));
        for path in &self.steps.moved {
            remove_empty(path);
        }
        let _ = std::fs::remove_dir_all(&self.aside);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !self.is_done
            && let Err(error) = recover(&self.aside)
        {
            tracing::warn!(path = %self.aside.display(), %error, "what was moved aside could not be put back");
        }
    }
}

/// Puts back what an unfinished change at `aside` has done, and removes it.
fn recover(aside: &Path) -> io::Result<()> {
    let text = match std::fs::read(aside.join(JOURNAL)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return remove(aside),
        Err(error) => return Err(error),
    };
    // A list that was cut off is one that nothing was done by.
    let Ok(steps) = serde_json::from_slice::<Steps>(&text) else { return remove(aside) };
    for path in &steps.created {
        let was_there = steps.moved.iter().position(|moved| moved == path);
        let is_new = was_there.is_none_or(|position| aside.join(position.to_string()).symlink_metadata().is_ok());
        if is_new {
            remove(path)?;
        }
    }
    for (position, path) in steps.moved.iter().enumerate() {
        let kept = aside.join(position.to_string());
        if kept.symlink_metadata().is_ok() {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            relocate(&kept, path)?;
        }
    }
    std::fs::remove_file(aside.join(JOURNAL))?;
    for folder in steps.folders.iter().rev() {
        // The folder of modules itself may hold nothing but this.
        if aside.starts_with(folder) {
            remove(aside)?;
        }
        let _ = std::fs::remove_dir(folder);
    }
    remove(aside)
}

/// Renames, or copies where that is another file system.
fn relocate(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let metadata = from.symlink_metadata()?;
            if metadata.is_symlink() {
                std::os::unix::fs::symlink(std::fs::read_link(from)?, to)?;
            } else if metadata.is_dir() {
                std::fs::create_dir(to)?;
                for entry in std::fs::read_dir(from)? {
                    let entry = entry?;
                    relocate(&entry.path(), &to.join(entry.file_name()))?;
                }
                return std::fs::remove_dir(from);
            } else {
                std::fs::copy(from, to)?;
            }
            std::fs::remove_file(from)
        }
        result => result,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let result = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        // Where a file stands in the place of a folder, there is nothing below it.
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(error),
        _ => Ok(()),
    }
}

/// Removes the folders above a file that went, as far as they are empty, but never a folder of modules.
fn remove_empty(path: &Path) {
    for folder in path.ancestors().skip(1) {
        let is_library = folder.file_name().is_some_and(|name| {
            ["site-packages", "dist-packages", "bin", "lib", "include", "share"].iter().any(|known| name == *known)
        });
        if is_library || std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// Makes `folder`; the folders that were missing come back, outermost first.
fn make_folders(folder: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let missing: Vec<PathBuf> = folder.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect();
    std::fs::create_dir_all(folder).map_err(InstallError::io("create the folder", folder))?;
    Ok(missing.into_iter().rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| format!("{error:?}"))
    }

    #[test]
    fn a_change_is_done_or_undone() {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path().join("site-packages");
        let (old, same, new) = (folder.join("a/old.py"), folder.join("same.py"), folder.join("b/c/new.py"));
        for ends_well in [false, true] {
            write(&old, "old");
            write(&same, "old");
            let created = vec![same.clone(), new.clone()];
            let journal = Journal::begin(&folder, vec![old.clone(), same.clone()], created).unwrap();
            assert!(!old.exists() && !same.exists());
            write(&same, "new");
            write(&new, "new");
            if ends_well {
                journal.finish();
                assert_eq!((read(&same).as_str(), read(&new).as_str()), ("new", "new"));
                assert!(!folder.join("a").exists());
            } else {
                drop(journal);
                assert_eq!((read(&old).as_str(), read(&same).as_str()), ("old", "old"));
                assert!(!folder.join("b").exists());
            }
            assert!(!folder.join(ASIDE).exists());
        }
    }

    #[test]
    fn the_next_one_puts_back_what_a_killed_one_left() {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = scratch.path().join("lib");
        let (old, new) = (folder.join("old.py"), folder.join("new.py"));
        write(&old, "old");
        let mut journal = Journal::begin(&folder, vec![old.clone()], vec![new.clone(), old.clone()]).unwrap();
        write(&new, "half");
        // As if killed: nothing is put back now.
        journal.is_done = true;
        drop(journal);
        assert!(!old.exists());
        let next = Journal::begin(&folder, Vec::new(), Vec::new()).unwrap();
        assert_eq!(read(&old), "old");
        assert!(!new.exists());
        next.finish();
        assert!(!folder.join(ASIDE).exists());
    }
}
