//! Which Debian package has a file, from dpkg's own lists: pure.

use std::collections::{BTreeMap, HashSet};

/// Top-level folders that are links into `/usr` on most machines; packages may still list their files below these.
pub(super) const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// A package as dpkg's status names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Installed {
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) version: String,
}

/// The packages that `status` (the text of `/var/lib/dpkg/status`) says are there, whole or in parts.
pub(super) fn installed(status: &[u8]) -> Vec<Installed> {
    let text = String::from_utf8_lossy(status);
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix(": ").map(|value| value.trim().to_owned());
            paragraph.lines().find_map(value)
        };
        // `config-files` and `not-installed` have no files any more.
        let state = field("Status").unwrap_or_default();
        let has_files =
            state.split(' ').next_back().is_some_and(|word| word != "config-files" && word != "not-installed");
        if let (Some(name), Some(architecture), Some(version), true) =
            (field("Package"), field("Architecture"), field("Version"), has_files)
        {
            packages.push(Installed { name, architecture, version });
        }
    }
    packages
}

/// The list files of a package, in the folder `info`: that of one architecture of several has its name in it.
pub(super) fn list_names(package: &Installed) -> [String; 2] {
    let Installed { name, architecture, .. } = package;
    [format!("{name}:{architecture}.list"), format!("{name}.list")]
}

/// Which of the `wanted` files (without links, so below `/usr`) are in `list`, the paths of one package. `merged` are those
/// of [`MERGED`] that are links into `/usr`.
pub(super) fn owned<'w>(list: &[u8], wanted: &HashSet<&'w [u8]>, merged: &[&str]) -> Vec<&'w [u8]> {
    let mut found = Vec::new();
    let mut moved = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', list).chain([list.len()]) {
        let line = &list[start..end];
        start = (end + 1).min(list.len());
        let top = line.strip_prefix(b"/").and_then(|rest| rest.split(|byte| *byte == b'/').next()).unwrap_or_default();
        let path = if merged.iter().any(|name| name.as_bytes() == top) {
            moved.clear();
            moved.extend_from_slice(b"/usr");
            moved.extend_from_slice(line);
            &moved
        } else {
            line
        };
        found.extend(wanted.get(path).copied());
    }
    found
}

/// Diverted files (the text of `/var/lib/dpkg/diversions`): where the file of another package lies → what its list calls it.
pub(super) fn diversions(text: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    // From, to, by whom.
    let entries = lines.chunks_exact(3).filter(|entry| entry.iter().all(|line| !line.is_empty()));
    entries.map(|entry| (entry[1].to_vec(), entry[0].to_vec())).collect()
}

/// The file that a package has instead of one that was derived from it on this machine: the source of cached bytecode.
pub(super) fn source_of_bytecode(path: &[u8]) -> Option<Vec<u8>> {
    let folder_end = memchr::memmem::rfind(path, b"/__pycache__/")?;
    let name = &path[folder_end + b"/__pycache__/".len()..];
    let stem = name.split(|byte| *byte == b'.').next().filter(|stem| !stem.is_empty())?;
    let is_bytecode = name.ends_with(b".pyc") && !name.contains(&b'/');
    is_bytecode.then(|| [&path[..folder_end], b"/", stem, b".py"].concat())
}

/// Caches that are made on each machine from files of packages; what was read through them was read itself.
pub(super) fn is_derived(path: &[u8]) -> bool {
    const NAMES: [&[u8]; 5] =
        [b"/gconv-modules.cache", b"/locale-archive", b"/mime.cache", b"/icon-theme.cache", b"/gschemas.compiled"];
    NAMES.iter().any(|name| path.ends_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] = b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n\
        Version: 2.36-9+deb12u13\nDescription: GNU C Library\n Version: no\n\nPackage: gone\n\
        Status: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\nPackage: half\nStatus: install ok unpacked\n\
        Architecture: all\nVersion: 1:2~3\n\nPackage: broken\n\n\n";

    #[test]
    fn status_names_what_has_files() {
        let found: Vec<String> = installed(STATUS)
            .into_iter()
            .map(|package| format!("{} {} {}", package.name, package.architecture, package.version))
            .collect();
        assert_eq!(found, ["libc6 amd64 2.36-9+deb12u13", "half all 1:2~3"]);
        assert_eq!(list_names(&installed(STATUS)[0]), ["libc6:amd64.list", "libc6.list"]);
        assert_eq!(installed(b"\xff\n\nPackage:\n\nno"), []);
    }

    #[test]
    fn lists_are_matched_through_merged_folders() {
        let list = b"/.\n/lib\n/lib/x86_64-linux-gnu/libc.so.6\n/usr/include/stdio.h\n/library/x\n";
        let paths: [&[u8]; 3] =
            [b"/usr/lib/x86_64-linux-gnu/libc.so.6", b"/usr/include/stdio.h", b"/usr/include/none.h"];
        let wanted = HashSet::from(paths);
        assert_eq!(owned(list, &wanted, &MERGED), paths[..2]);
        assert_eq!(owned(list, &wanted, &[]), paths[1..2]);
        assert_eq!(owned(b"", &wanted, &MERGED), [b""; 0]);
    }

    #[test]
    fn diverted_and_derived_files_lead_to_their_origin() {
        let diverted = diversions(b"/bin/sh\n/bin/sh.distrib\ndash\n/a\n/b");
        assert_eq!(diverted.get(b"/bin/sh.distrib".as_slice()), Some(&b"/bin/sh".to_vec()));
        assert_eq!(diverted.len(), 1);
        let source = source_of_bytecode(b"/usr/lib/python3/dist-packages/a/__pycache__/b.cpython-311.opt-1.pyc");
        assert_eq!(source, Some(b"/usr/lib/python3/dist-packages/a/b.py".to_vec()));
        assert_eq!(source_of_bytecode(b"/usr/lib/b.pyc"), None);
        assert_eq!(source_of_bytecode(b"/x/__pycache__/.pyc"), None);
        assert!(is_derived(b"/usr/lib/locale/locale-archive") && !is_derived(b"/usr/include/a.h"));
    }
}
