//! From the files of the system that a build read to the packages that have them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::system_inputs::{SystemFile, SystemInputs, SystemPackage};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::dpkg;

/// Where dpkg keeps its lists.
const DPKG: &str = "/var/lib/dpkg";
/// Most bytes that are read of one of dpkg's files; the largest lists have some 5 MB, the status some 10.
const LIST_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most files without a package. A machine whose system is not Debian's has nothing else: a C build reads some hundred.
const FILES_MAX: usize = 20_000;
/// Most bytes of them together: reading more takes longer than most builds.
const FILES_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The packages that have the files, and the content of those that no package has.
///
/// # Errors
/// When a file can't be read any more, or when there are too many without a package.
pub(super) fn system_inputs(read: &BTreeSet<PathBuf>) -> io::Result<SystemInputs> {
    let paths: BTreeSet<&[u8]> =
        read.iter().map(|path| path.as_os_str().as_bytes()).filter(|path| !dpkg::is_derived(path)).collect();
    let sources: BTreeMap<Vec<u8>, &[u8]> =
        paths.iter().filter_map(|path| Some((dpkg::source_of_bytecode(path)?, *path))).collect();
    let database = Path::new(DPKG);
    let diverted = dpkg::diversions(&content_of(&database.join("diversions")).unwrap_or_default());
    let renamed: BTreeMap<&[u8], &[u8]> = paths
        .iter()
        .filter_map(|path| diverted.get(*path).map(|listed| (listed.as_slice(), *path)))
        .chain(sources.iter().map(|(source, path)| (source.as_slice(), *path)))
        .collect();
    let wanted: HashSet<&[u8]> = paths.iter().copied().chain(renamed.keys().copied()).collect();
    let owners = owners(database, &wanted);

    let mut without = paths;
    let mut packages = BTreeSet::new();
    for (path, package) in owners {
        without.remove(path);
        if let Some(original) = renamed.get(path) {
            without.remove(original);
        }
        packages.insert(package);
    }
    let packages = packages.into_iter().map(|package: dpkg::Installed| SystemPackage {
        name: package.name,
        architecture: package.architecture,
        version: package.version,
    });
    Ok(SystemInputs::new(packages.collect(), contents(&without)?))
}

/// What is installed on this machine now.
#[derive(Debug)]
pub(super) struct SystemNow(HashMap<(String, String), String>);

impl SystemNow {
    /// Reads dpkg's status; nothing is installed where there is none.
    pub(super) fn read() -> Self {
        let status = content_of(&Path::new(DPKG).join("status")).unwrap_or_default();
        let all = dpkg::installed(&status).into_iter();
        Self(all.map(|package| ((package.name, package.architecture), package.version)).collect())
    }

    /// The installed version of `package`.
    pub(super) fn version_of(&self, package: &SystemPackage) -> Option<&str> {
        self.0.get(&(package.name.clone(), package.architecture.clone())).map(String::as_str)
    }

    /// Whether a file that no package has is as it was.
    pub(super) fn has(file: &SystemFile) -> bool {
        let path = file.path.as_bytes();
        contents(&BTreeSet::from([path])).is_ok_and(|now| now.first() == Some(file))
    }
}

/// Each of the wanted paths that is in a package's list, with that package. Nothing where there is no dpkg.
fn owners<'w>(database: &Path, wanted: &HashSet<&'w [u8]>) -> Vec<(&'w [u8], dpkg::Installed)> {
    let status = content_of(&database.join("status")).unwrap_or_default();
    let merged: Vec<&str> = dpkg::MERGED.into_iter().filter(|name| Path::new("/").join(name).is_symlink()).collect();
    let info = database.join("info");
    // Seven hundred lists of seven megabytes: a build of half a second would notice one thread's time for them.
    let owned_by = |package: dpkg::Installed| {
        let list = dpkg::list_names(&package).iter().find_map(|name| content_of(&info.join(name)).ok());
        let found = dpkg::owned(&list.unwrap_or_default(), wanted, &merged);
        found.into_iter().map(|path| (path, package.clone())).collect::<Vec<_>>()
    };
    dpkg::installed(&status).into_par_iter().flat_map_iter(owned_by).collect()
}

fn content_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LIST_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

fn contents(paths: &BTreeSet<&[u8]>) -> io::Result<Vec<SystemFile>> {
    let too_much = || io::Error::other("it read too many files that no package has");
    if paths.len() > FILES_MAX {
        return Err(too_much());
    }
    let mut room = FILES_BYTES_MAX;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let path = Path::new(OsStr::from_bytes(path));
        // A FIFO that took the file's place must not be waited for.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("what it read is no file any more"));
        }
        let mut hasher = blake3::Hasher::new();
        room -= io::copy(&mut file.take(room), &mut hasher)?;
        if room == 0 {
            return Err(too_much());
        }
        let content = ValueDigest::from_bytes(*hasher.finalize().as_bytes());
        files.push(SystemFile { path: path.to_string_lossy().into_owned(), content });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On Debian a file of the system has its package, whatever folder it is reached by; elsewhere its content.
    #[test]
    fn files_of_this_machine() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let own = folder.path().join("own.h");
        fs::write(&own, "int own;").expect("file");
        let shell = Path::new("/bin/sh").canonicalize().expect("a shell");
        let inputs = system_inputs(&BTreeSet::from([own.clone(), shell.clone()])).expect("read");
        let named = |name: &Path| inputs.files.iter().any(|file| Path::new(&file.path) == name);
        assert!(named(&own));
        let debian = Path::new(DPKG).join("status").exists();
        assert_eq!(debian && !named(&shell), inputs.packages.len() == 1, "{inputs:?}");
        assert!(inputs.to_string().contains("own.h"));

        fs::write(&own, "int other;").expect("file");
        let later = system_inputs(&BTreeSet::from([own.clone(), shell])).expect("read");
        assert_ne!(later.digest(), inputs.digest());
        fs::remove_file(&own).expect("file");
        assert!(system_inputs(&BTreeSet::from([own])).is_err());
    }
}
