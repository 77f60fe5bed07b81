//! Writing a source tree from hostile entries.
//!
//! Nothing is ever written through a link: the names of the archive decide what is a folder, links are made last,
//! and each must stay inside by its text alone.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pip_accel_schema::manifest::EntryPath;

use super::Fault;
use crate::python::archive::{ArchiveRefusal, CaseRule, NameTable, printable};

/// Earliest time of a file, in seconds since 1970: zip archives, and so wheels, know none before 1980.
pub const MTIME_MIN: i64 = 315_532_800;

/// Latest time of a file: 2100. Some tools fail on the times of a distant future.
const MTIME_MAX: i64 = 4_102_444_800;

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 128 << 10;

/// What an entry says about its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileHeader {
    pub(super) executable: bool,
    /// Seconds since 1970.
    pub(super) mtime: i64,
    /// Length in bytes.
    pub(super) size: u64,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// A folder that is being filled.
#[derive(Debug)]
pub(super) struct SourceTree {
    root: PathBuf,
    names: NameTable,
    links: BTreeMap<EntryPath, String>,
    /// The times of those folders that have an entry of their own.
    folder_times: HashMap<EntryPath, i64>,
    totals: Totals,
}

impl SourceTree {
    pub(super) fn new(root: &Path) -> Self {
        // Sources are built on this file system, which tells `A` from `a`; some have tests with such names.
        let names = NameTable::new(CaseRule::Allow);
        Self {
            root: root.to_owned(),
            names,
            links: BTreeMap::new(),
            folder_times: HashMap::new(),
            totals: Totals::default(),
        }
    }

    fn place(&self, path: &EntryPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    pub(super) fn add_directory(&mut self, path: &EntryPath, mtime: i64) -> Result<(), Fault> {
        self.names.add_directory(path)?;
        let place = self.place(path);
        fs::create_dir_all(&place).map_err(|error| Fault::Write(place, error))?;
        self.folder_times.insert(path.clone(), mtime);
        Ok(())
    }

    /// Writes a file from `content`, which must have as many bytes as its header says.
    ///
    /// Some archives hold a file twice; that is no harm as long as both are equal.
    pub(super) fn add_file(
        &mut self,
        path: &EntryPath,
        header: FileHeader,
        content: &mut dyn Read,
    ) -> Result<(), Fault> {
        if self.names.has_file(path.as_str()) {
            return self.compare_file(path, content);
        }
        self.names.add_file(path)?;
        let place = self.place(path);
        self.create_parent(&place)?;
        let failed = |error| Fault::Write(place.clone(), error);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place).map_err(failed)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut written: u64 = 0;
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(&buffer[..count]).map_err(failed)?;
                    written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Read(error)),
            }
        }
        if written != header.size {
            return Err(ArchiveRefusal::Length { name: path.to_string(), declared: header.size }.into());
        }
        let mode = if header.executable { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        set_mtime(&file, header.mtime).map_err(failed)?;
        self.totals.files += 1;
        self.totals.bytes += written;
        Ok(())
    }

    fn compare_file(&self, path: &EntryPath, content: &mut dyn Read) -> Result<(), Fault> {
        let duplicate = || ArchiveRefusal::Duplicate { name: path.to_string() };
        if self.links.contains_key(path) {
            return Err(duplicate().into());
        }
        let place = self.place(path);
        let failed = |error| Fault::Write(place.clone(), error);
        let mut left = File::open(&place).map_err(failed)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut other = vec![0; COPY_BYTES];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Read(error)),
            };
            if count == 0 {
                let at_end = left.read(&mut other[..1]).map_err(failed)? == 0;
                return if at_end { Ok(()) } else { Err(duplicate().into()) };
            }
            match left.read_exact(&mut other[..count]) {
                Ok(()) if buffer[..count] == other[..count] => {}
                Ok(()) => return Err(duplicate().into()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(duplicate().into()),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Remembers a symbolic link; it is made when all files are written.
    pub(super) fn add_symlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), Fault> {
        let refused = |reason| ArchiveRefusal::Link { name: path.to_string(), target: printable(target), reason };
        let target = std::str::from_utf8(target).map_err(|_| refused("is not UTF-8"))?;
        check_link_target(path, target).map_err(refused)?;
        self.names.add_file(path)?;
        self.links.insert(path.clone(), target.to_owned());
        self.totals.files += 1;
        Ok(())
    }

    /// Makes `path` another name of a file that was unpacked before.
    pub(super) fn add_hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), Fault> {
        let is_symlink = self.links.contains_key(target);
        if is_symlink || !self.names.has_file(target.as_str()) {
            let (name, target) = (path.to_string(), target.to_string());
            return Err(ArchiveRefusal::Link { name, target, reason: "is no earlier file of the archive" }.into());
        }
        if path == target {
            return Ok(());
        }
        self.names.add_file(path)?;
        let (source, place) = (self.place(target), self.place(path));
        self.create_parent(&place)?;
        fs::hard_link(source, &place).map_err(|error| Fault::Write(place, error))?;
        self.totals.files += 1;
        Ok(())
    }

    fn create_parent(&self, place: &Path) -> Result<(), Fault> {
        let parent = place.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(|error| Fault::Write(parent.to_owned(), error))
    }

    /// Makes the links and gives the folders their modes and times.
    pub(super) fn finish(self) -> Result<Totals, Fault> {
        for (path, target) in &self.links {
            let place = self.place(path);
            self.create_parent(&place)?;
            std::os::unix::fs::symlink(target, &place).map_err(|error| Fault::Write(place, error))?;
        }
        let mut folders: Vec<&str> = self.names.folders().collect();
        folders.sort_unstable();
        // The deepest first: making entries changes the time of the folder above.
        for path in folders.into_iter().rev() {
            let mtime = EntryPath::parse(path).ok().and_then(|path| self.folder_times.get(&path).copied());
            let place = self.root.join(path);
            let dressed = fs::set_permissions(&place, Permissions::from_mode(0o755))
                .and_then(|()| set_mtime(&File::open(&place)?, mtime.unwrap_or(MTIME_MIN)));
            dressed.map_err(|error| Fault::Write(place, error))?;
        }
        Ok(self.totals)
    }
}

fn set_mtime(file: &File, mtime: i64) -> io::Result<()> {
    let seconds = mtime.clamp(MTIME_MIN, MTIME_MAX).unsigned_abs();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
}

/// Whether the link `path` with the text `target` can only lead inside the tree, whatever other links there are.
///
/// First `..` (through real folders: no entry lies below a link), then names only: each step down ends at a folder,
/// or at a link for which the same holds.
pub(crate) fn check_link_target(path: &EntryPath, target: &str) -> Result<(), &'static str> {
    if target.is_empty() || target.contains(|character: char| character.is_control()) {
        return Err("is no path");
    }
    if target.starts_with('/') {
        return Err("is absolute");
    }
    let mut depth = path.as_str().matches('/').count();
    let mut went_down = false;
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if went_down => return Err("goes down and up again"),
            ".." => depth = depth.checked_sub(1).ok_or("leaves the archive")?,
            _ => went_down = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D2: links that leave the tree by their text, or could by way of another link.
    #[test]
    fn link_targets_stay_inside() {
        let check = |path: &str, target: &str| check_link_target(&EntryPath::parse(path).expect("a path"), target);
        for (path, good) in [("a/b", "c"), ("a/b", "../c"), ("a/b/c", "../../x/y"), ("a", "./b//c"), ("a/b", "..")] {
            assert_eq!(check(path, good), Ok(()), "{path} {good}");
        }
        for (path, bad) in
            [("a", ".."), ("a/b", "../../x"), ("a/b", "/etc"), ("a/b/c", "x/../y"), ("a", ""), ("a", "\0")]
        {
            assert!(check(path, bad).is_err(), "{path} {bad}");
        }
    }
}
