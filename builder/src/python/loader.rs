//! Which libraries this host's loader finds, and what built files need of it.
//!
//! The loader looks into `/etc/ld.so.cache` and its built-in folders. The cache is read here as it is, without running
//! `ldconfig`; a library counts only if its file is there, since nobody may have run `ldconfig` after removing it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pip_accel_schema::encode::Encoder;
use pip_accel_schema::link_plan::RuntimeNeeds;

use super::elf::{ELF_MAGIC, read_dynamic};

/// The loader's list of libraries.
const CACHE: &str = "/etc/ld.so.cache";

/// Largest list that is read, in bytes; that of a desktop has some 200,000.
const CACHE_BYTES_MAX: u64 = 64 << 20;

/// How the list begins, behind one in an older form that may stand before it.
const CACHE_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;

/// Bits of an entry's flags that say for which machine a library is.
const MACHINE_MASK: u32 = 0xff00;

/// Most folders and files of a tree that are looked at; the largest wheels have some 50,000.
const TREE_ENTRIES_MAX: usize = 1_000_000;

/// What the loader of this host finds.
#[derive(Debug, Default)]
pub(crate) struct HostLibraries {
    /// Name → files.
    cached: HashMap<Vec<u8>, Vec<PathBuf>>,
    folders: Vec<PathBuf>,
}

impl HostLibraries {
    /// Those of this host. Where there is no list, as with musl, only the usual folders count.
    pub(crate) fn of_this_host() -> Self {
        let mut bytes = Vec::new();
        let read = File::open(CACHE).and_then(|file| file.take(CACHE_BYTES_MAX).read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::debug!(%error, "the loader's list of libraries can't be read");
        }
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let tops = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].map(PathBuf::from);
        let nested = ["/lib", "/usr/lib"].map(|top| Path::new(top).join(&triplet));
        Self { cached: parse(&bytes), folders: nested.into_iter().chain(tops).collect() }
    }

    /// Whether the loader finds a library of this name, or there is a file at this absolute path.
    pub(crate) fn has(&self, library: &str) -> bool {
        if library.is_empty() {
            return false;
        }
        if library.starts_with('/') {
            return Path::new(library).exists();
        }
        let cached = self.cached.get(library.as_bytes());
        cached.is_some_and(|files| files.iter().any(|file| file.exists()))
            || self.folders.iter().any(|folder| folder.join(library).exists())
    }
}

fn parse(bytes: &[u8]) -> HashMap<Vec<u8>, Vec<PathBuf>> {
    let mut cached: HashMap<Vec<u8>, Vec<PathBuf>> = HashMap::new();
    let Some(start) = memchr::memmem::find(bytes, CACHE_MAGIC) else { return cached };
    let bytes = &bytes[start..];
    let number = |at: usize| -> Option<u32> {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let text = |at: u32| bytes.get(at as usize..)?.split(|byte| *byte == 0).next();
    let machine = match std::env::consts::ARCH {
        "x86_64" => Some(0x0300),
        "aarch64" => Some(0x0a00),
        _ => None,
    };
    let count = number(CACHE_MAGIC.len()).unwrap_or_default() as usize;
    // What the header says can't be more than there is.
    for entry in 0..count.min(bytes.len() / ENTRY_BYTES) {
        let at = HEADER_BYTES + entry * ENTRY_BYTES;
        let (Some(flags), Some(name), Some(file)) = (number(at), number(at + 4), number(at + 8)) else { break };
        if machine.is_some_and(|machine| flags & MACHINE_MASK != machine) {
            continue;
        }
        if let (Some(name), Some(file)) = (text(name), text(file)) {
            cached.entry(name.to_vec()).or_default().push(PathBuf::from(OsStr::from_bytes(file)));
        }
    }
    cached
}

/// Adds what the answers of [`HostLibraries`] depend on: the stamp of the loader's list.
pub(crate) fn stamp(encoder: &mut Encoder) {
    match fs::metadata(CACHE) {
        Ok(metadata) => {
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            encoder.number(1 + metadata.ino()).number(metadata.len());
            encoder.number(changed.0.unsigned_abs()).number(changed.1.unsigned_abs());
        }
        Err(_) => {
            encoder.number(0);
        }
    }
}

/// What the ELF files of the tree at `root` need of this host: what it finds now, since anything else (what another package
/// loads before, a plugin that is never used) can't be lost. Libraries below `store` are the store's own business.
///
/// # Errors
/// When the tree can't be read.
pub(crate) fn needs_of_tree(root: &Path, store: &Path) -> io::Result<RuntimeNeeds> {
    let (files, names) = elf_files(root)?;
    let host = HostLibraries::of_this_host();
    let mut libraries = BTreeSet::new();
    let mut glibc = None;
    for path in files {
        let Some(info) = read_dynamic(&mut File::open(&path)?)? else { continue };
        for needed in info.needed.iter().filter(|needed| !needed.contains('/') && !names.contains(needed.as_str())) {
            let folders = info.search_paths.iter().filter(|folder| folder.starts_with('/'));
            let found = folders.map(|folder| Path::new(folder).join(needed)).find(|file| file.exists());
            match found {
                Some(file) if file.starts_with(store) => {}
                Some(file) => {
                    libraries.extend(file.to_str().map(str::to_owned));
                }
                None if host.has(needed) => {
                    libraries.insert(needed.clone());
                }
                None => {}
            }
        }
        glibc = glibc.max(info.versions.iter().filter_map(|version| glibc_version(version)).max());
    }
    Ok(RuntimeNeeds { libraries: libraries.into_iter().collect(), glibc })
}

/// `GLIBC_2.34` → 2 and 34.
fn glibc_version(version: &str) -> Option<(u16, u16)> {
    let mut parts = version.strip_prefix("GLIBC_")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The ELF files below `root`, and the names of all files there.
fn elf_files(root: &Path) -> io::Result<(Vec<PathBuf>, HashSet<String>)> {
    let (mut files, mut names) = (Vec::new(), HashSet::new());
    let mut open = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            seen += 1;
            if seen > TREE_ENTRIES_MAX {
                return Err(io::Error::other("the tree has too many files"));
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
                continue;
            }
            names.extend(entry.file_name().to_str().map(str::to_owned));
            if kind.is_file() && is_elf(&entry.path())? {
                files.push(entry.path());
            }
        }
    }
    Ok((files, names))
}

fn is_elf(path: &Path) -> io::Result<bool> {
    let name = path.extension().and_then(OsStr::to_str);
    if name.is_some_and(|name| ["py", "pyc", "pyi", "txt"].contains(&name)) {
        return Ok(false);
    }
    let mut head = Vec::new();
    File::open(path)?.take(ELF_MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head == ELF_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_its_own_libraries() {
        let host = HostLibraries::of_this_host();
        let (files, _) = elf_files(Path::new("/usr/lib/ssl")).unwrap_or_default();
        assert!(files.len() < TREE_ENTRIES_MAX);
        if Path::new(CACHE).exists() && cfg!(target_env = "gnu") {
            assert!(host.has("libc.so.6"));
        }
        assert!(!host.has("libnone-such.so.1") && !host.has("/none/libx.so") && !host.has(""));
    }

    #[test]
    fn damaged_lists_are_read_as_far_as_they_go() {
        let mut bytes = b"ld.so-1.7.0\0".to_vec();
        bytes.extend(CACHE_MAGIC);
        bytes.extend([0xff; 28]);
        assert!(parse(&bytes).is_empty() && parse(b"").is_empty() && parse(CACHE_MAGIC).is_empty());
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(glibc_version("GLIBC_2.4"), Some((2, 4)));
        assert!(glibc_version("GLIBC_2.34") > glibc_version("GLIBC_2.4"));
        assert_eq!(glibc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(glibc_version("GLIBCXX_3.4"), None);
        assert_eq!(glibc_version("GLIBC_PRIVATE"), None);
    }

    #[test]
    fn this_program_needs_what_the_host_has() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = std::env::current_exe().expect("a program");
        fs::create_dir(folder.path().join("site")).expect("a folder");
        fs::copy(program, folder.path().join("site/program.so")).expect("a copy");
        let needs = needs_of_tree(folder.path(), Path::new("/none")).expect("readable");
        if cfg!(target_env = "gnu") {
            assert!(needs.libraries.contains(&"libc.so.6".to_owned()) && needs.glibc > Some((2, 2)), "{needs:?}");
        }
    }
}
