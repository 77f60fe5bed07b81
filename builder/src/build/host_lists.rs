//! dpkg's lists of files, read once in a run and ahead of their use.
//!
//! Seven hundred lists of seven megabytes are the larger part of what a traced build costs when they are read after it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::dpkg;

/// Where dpkg keeps its lists.
pub(super) const DPKG: &str = "/var/lib/dpkg";

/// Most bytes that are read of one of dpkg's files; the largest lists have some 5 MB, the status some 10.
const LIST_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most bytes of lists that are kept for the next build of the run.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The lists of this machine as they are while nothing is installed or removed.
#[derive(Debug, Default)]
pub(super) struct HostLists(Mutex<Option<(Stamp, Arc<Lists>)>>);

/// The installed packages, each with the text of its list.
#[derive(Debug)]
pub(super) struct Lists(Vec<(dpkg::Installed, Vec<u8>)>);

/// What is another one after every change of what is installed: dpkg puts a new status in the place of the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    bytes: u64,
}

impl Stamp {
    fn read() -> Option<Self> {
        let metadata = fs::metadata(Path::new(DPKG).join("status")).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Self { inode: metadata.ino(), modified, bytes: metadata.len() })
    }
}

impl HostLists {
    /// The lists as of now. Who comes while they are being read waits for them.
    pub(super) fn now(&self) -> Arc<Lists> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the reading: what changes meanwhile is read again by the next one.
        let stamp = Stamp::read();
        if let (Some((of, lists)), Some(stamp)) = (kept.as_ref(), stamp.as_ref())
            && of == stamp
        {
            return Arc::clone(lists);
        }
        let lists = Arc::new(Lists::read(Path::new(DPKG)));
        let bytes: usize = lists.0.iter().map(|(_, list)| list.len()).sum();
        *kept = stamp.filter(|_| bytes <= KEPT_BYTES_MAX).map(|stamp| (stamp, Arc::clone(&lists)));
        lists
    }
}

impl Lists {
    /// Reads them below `database`. Nothing where there is no dpkg.
    fn read(database: &Path) -> Self {
        let status = content_of(&database.join("status")).unwrap_or_default();
        let info = database.join("info");
        let with_list = |package: dpkg::Installed| {
            let list = dpkg::list_names(&package).iter().find_map(|name| content_of(&info.join(name)).ok());
            (package, list.unwrap_or_default())
        };
        Self(dpkg::installed(&status).into_par_iter().map(with_list).collect())
    }

    /// Each of the wanted paths that is in a package's list, with that package.
    pub(super) fn owners<'w>(&self, wanted: &HashSet<&'w [u8]>) -> Vec<(&'w [u8], dpkg::Installed)> {
        let merged: Vec<&str> =
            dpkg::MERGED.into_iter().filter(|name| Path::new("/").join(name).is_symlink()).collect();
        let owned_by = |(package, list): &(dpkg::Installed, Vec<u8>)| {
            let found = dpkg::owned(list, wanted, &merged);
            found.into_iter().map(|path| (path, package.clone())).collect::<Vec<_>>()
        };
        self.0.par_iter().flat_map_iter(owned_by).collect()
    }
}

/// The whole of one of dpkg's files.
pub(super) fn content_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LIST_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read stays as long as the status does; where there is no dpkg, there is nothing.
    #[test]
    fn lists_are_read_once() {
        let lists = HostLists::default();
        let (first, second) = (lists.now(), lists.now());
        let is_debian = Stamp::read().is_some();
        assert_eq!(Arc::ptr_eq(&first, &second), is_debian);
        assert_eq!(first.0.is_empty(), !is_debian);
        let shell = Path::new("/bin/sh").canonicalize().expect("a shell");
        let shell = std::os::unix::ffi::OsStrExt::as_bytes(shell.as_os_str());
        assert_eq!(first.owners(&HashSet::from([shell])).len(), usize::from(is_debian));
    }
}
