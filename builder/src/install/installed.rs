//! What is installed in an environment, whoever installed it: read from its metadata folders, without an interpreter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use pip_accel_schema::name::{PackageName, PackageVersion};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::python::metadata::{CoreMetadata, METADATA_BYTES_MAX};

/// Longest of the other files that are read, in bytes: `RECORD` of the largest packages has 5 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// One distribution that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPackage {
    /// The project.
    pub name: PackageName,
    /// The version as written.
    pub version: PackageVersion,
    /// Its metadata: a `.dist-info` or `.egg-info` folder, or an `.egg-info` file; absolute.
    pub metadata: PathBuf,
    /// The folder of modules that it is in.
    pub folder: PathBuf,
    /// `Requires-Dist`, as written; those of `requires.txt` are not known to installers of today and not read.
    pub requires: Vec<String>,
    /// Whether the user asked for it (`REQUESTED`).
    pub requested: bool,
    /// Who installed it (`INSTALLER`).
    pub installer: Option<String>,
    /// The text of `direct_url.json`.
    pub direct_url: Option<String>,
}

impl InstalledPackage {
    /// Whether its sources are used in place.
    #[must_use]
    pub fn is_editable(&self) -> bool {
        let url = self.direct_url.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        url.is_some_and(|url| url["dir_info"]["editable"] == serde_json::Value::Bool(true))
    }

    /// The files that belong to it, absolute, `.` and `..` resolved by their letters; `None` when nobody wrote them down,
    /// as `distutils` and operating systems do not.
    #[must_use]
    pub fn files(&self) -> Option<BTreeSet<PathBuf>> {
        let record = self.metadata.join("RECORD");
        if let Some(text) = read(&record, FILE_BYTES_MAX) {
            let paths = text.lines().filter_map(first_field).map(|path| resolved(&self.folder, &path));
            return Some(paths.chain(std::iter::once(record)).collect());
        }
        let text = read(&self.metadata.join("installed-files.txt"), FILE_BYTES_MAX)?;
        let paths = text.lines().filter(|line| !line.is_empty()).map(|path| resolved(&self.metadata, path));
        // Everything in the metadata folder belongs to it, listed or not.
        let own = std::fs::read_dir(&self.metadata).into_iter().flatten().flatten().map(|entry| entry.path());
        Some(paths.chain(own).collect())
    }
}

/// What is installed, by project. Where two folders have one, the folder that Python searches first.
#[derive(Debug, Clone, Default)]
pub struct InstalledSet {
    packages: BTreeMap<PackageName, InstalledPackage>,
}

impl InstalledSet {
    /// Reads `folders` in Python's order. A folder that is not there is empty; metadata that can't be read are none.
    ///
    /// # Errors
    /// When a folder can't be listed.
    pub fn read(folders: &[PathBuf]) -> io::Result<Self> {
        let mut packages = BTreeMap::new();
        for folder in folders {
            let mut metadata: Vec<PathBuf> = match std::fs::read_dir(folder) {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| is_metadata(path)).collect(),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            metadata.sort();
            let found: Vec<InstalledPackage> =
                metadata.into_par_iter().filter_map(|path| package(folder, path)).collect();
            for package in found {
                packages.entry(package.name.clone()).or_insert(package);
            }
        }
        Ok(Self { packages })
    }

    /// The package of a project.
    #[must_use]
    pub fn get(&self, name: &PackageName) -> Option<&InstalledPackage> {
        self.packages.get(name)
    }

    /// All packages by name.
    pub fn iter(&self) -> impl Iterator<Item = &InstalledPackage> {
        self.packages.values()
    }

    /// Takes a package out, as if it was not there.
    pub fn remove(&mut self, name: &PackageName) -> Option<InstalledPackage> {
        self.packages.remove(name)
    }

    /// Puts a package in the place of what is there.
    pub fn insert(&mut self, package: InstalledPackage) {
        self.packages.insert(package.name.clone(), package);
    }
}

fn is_metadata(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    // pip moves what it removes to a name with `~` first.
    !name.starts_with('~') && (name.ends_with(".dist-info") || name.ends_with(".egg-info"))
}

fn package(folder: &Path, metadata: PathBuf) -> Option<InstalledPackage> {
    let (file, path) = [("METADATA", metadata.join("METADATA")), ("PKG-INFO", metadata.join("PKG-INFO"))]
        .into_iter()
        .find(|(_, path)| path.is_file())
        .unwrap_or_else(|| ("PKG-INFO", metadata.clone()));
    let core = CoreMetadata::parse(file, read(&path, METADATA_BYTES_MAX)?.as_bytes()).ok()?;
    let text = |name: &str| read(&metadata.join(name), FILE_BYTES_MAX);
    Some(InstalledPackage {
        name: core.name,
        version: core.version,
        requires: core.requires_dist,
        requested: metadata.join("REQUESTED").symlink_metadata().is_ok(),
        installer: text("INSTALLER").map(|text| text.trim().to_owned()),
        direct_url: text("direct_url.json"),
        folder: folder.to_owned(),
        metadata,
    })
}

/// A text file of at most so many bytes; what is no UTF-8 in it is replaced.
fn read(path: &Path, bytes_max: u64) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The first field of a line of a `RECORD`.
fn first_field(line: &str) -> Option<String> {
    let Some(quoted) = line.strip_prefix('"') else {
        return line.split(',').next().filter(|path| !path.is_empty()).map(str::to_owned);
    };
    let mut field = String::new();
    let mut characters = quoted.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => return Some(field),
            other => field.push(other),
        }
    }
    None
}

/// `path` from `folder`, with `.` and `..` taken away by their letters, as installers do.
fn resolved(folder: &Path, path: &str) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in folder.join(path).components() {
        match component {
            Component::ParentDir => drop(resolved.pop()),
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    #[test]
    fn packages_of_all_installers_are_read() {
        let scratch = tempfile::tempdir().expect("a folder");
        let (first, second) = (scratch.path().join("lib/a"), scratch.path().join("lib/b"));
        let metadata = "Metadata-Version: 2.1\nName: Zope.Event\nVersion: 5.0\nRequires-Dist: x\n";
        write(&first.join("zope_event-5.0.dist-info/METADATA"), metadata);
        write(&first.join("zope_event-5.0.dist-info/RECORD"), "zope/event.py,sha256=x,1\n../../bin/e,,\n\"a,b\",,\n");
        write(&first.join("zope_event-5.0.dist-info/REQUESTED"), "");
        write(&first.join("old-1.egg-info/PKG-INFO"), "Name: old\nVersion: 1\n");
        write(&first.join("old-1.egg-info/installed-files.txt"), "../old.py\nPKG-INFO\n");
        write(&first.join("system-2.egg-info"), "Name: system\nVersion: 2\n");
        write(&first.join("~ld-1.dist-info/METADATA"), "Name: ld\nVersion: 1\n");
        write(&first.join("broken-1.dist-info/METADATA"), "nothing");
        write(&second.join("old-2.dist-info/METADATA"), "Name: old\nVersion: 2\n");
        let set = InstalledSet::read(&[first.clone(), second, scratch.path().join("none")]).unwrap();
        let shown: Vec<String> = set.iter().map(|package| format!("{}=={}", package.name, package.version)).collect();
        assert_eq!(shown, ["old==1", "system==2", "zope-event==5.0"]);
        let files = |name: &str| set.get(&name.parse().expect("a name")).and_then(InstalledPackage::files);
        let event = files("zope-event").unwrap();
        for path in ["lib/a/zope/event.py", "bin/e", "lib/a/a,b", "lib/a/zope_event-5.0.dist-info/RECORD"] {
            assert!(event.contains(&scratch.path().join(path)), "{path} is not in {event:?}");
        }
        assert!(files("old").unwrap().contains(&first.join("old.py")));
        assert_eq!(files("system"), None);
        let event = set.get(&"zope-event".parse().unwrap()).unwrap();
        assert!(event.requested && !event.is_editable() && event.requires == ["x"]);
    }
}
