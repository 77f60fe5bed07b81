//! From the files of the system that a build read to the packages that have them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::system_inputs::{SystemFile, SystemInputs, SystemPackage};

use super::dpkg;
use super::host_lists::{DPKG, HostLists, content_of};

/// Most files without a package. A machine whose system is not Debian's has nothing else: a C build reads some hundred.
const FILES_MAX: usize = 20_000;
/// Most bytes of them together: reading more takes longer than most builds.
const FILES_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// The packages that have the files, and the content of those that no package has.
///
/// # Errors
/// When a file can't be read any more, or when there are too many without a package.
pub(super) fn system_inputs(lists: &HostLists, read: &BTreeSet<PathBuf>) -> io::Result<SystemInputs> {
    let paths: BTreeSet<&[u8]> =
        read.iter().map(|path| path.as_os_str().as_bytes()).filter(|path| !dpkg::is_derived(path)).collect();
    let sources: BTreeMap<Vec<u8>, &[u8]> =
        paths.iter().filter_map(|path| Some((dpkg::source_of_bytecode(path)?, *path))).collect();
    let diverted = dpkg::diversions(&content_of(&Path::new(DPKG).join("diversions")).unwrap_or_default());
    let renamed: BTreeMap<&[u8], &[u8]> = paths
        .iter()
        .filter_map(|path| diverted.get(*path).map(|listed| (listed.as_slice(), *path)))
        .chain(sources.iter().map(|(source, path)| (source.as_slice(), *path)))
        .collect();
    let wanted: HashSet<&[u8]> = paths.iter().copied().chain(renamed.keys().copied()).collect();
    let owners = lists.now().owners(&wanted);

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
        let inputs = system_inputs(&HostLists::default(), &BTreeSet::from([own.clone(), shell.clone()])).expect("read");
        let named = |name: &Path| inputs.files.iter().any(|file| Path::new(&file.path) == name);
        assert!(named(&own));
        let debian = Path::new(DPKG).join("status").exists();
        assert_eq!(debian && !named(&shell), inputs.packages.len() == 1, "{inputs:?}");
        assert!(inputs.to_string().contains("own.h"));

        fs::write(&own, "int other;").expect("file");
        let later = system_inputs(&HostLists::default(), &BTreeSet::from([own.clone(), shell])).expect("read");
        assert_ne!(later.digest(), inputs.digest());
        fs::remove_file(&own).expect("file");
        assert!(system_inputs(&HostLists::default(), &BTreeSet::from([own])).is_err());
    }
}
