//! What dpkg has installed, under which names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::index::control::paragraphs;

/// Dpkg's list of packages.
pub(super) const STATUS: &str = "/var/lib/dpkg/status";

/// Installed packages, by name, with what they provide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Name → version. The name stands without its architecture (`libfoo-dev`, not `libfoo-dev:amd64`).
    packages: BTreeMap<String, String>,
    /// Provided name → packages that provide it.
    provided: BTreeMap<String, BTreeSet<String>>,
}

impl Installed {
    /// Nothing is known to be installed: for a log from elsewhere.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// What is installed on this machine; nothing where dpkg is not.
    ///
    /// # Errors
    /// When dpkg's list is there and can't be read.
    pub fn of_this_machine() -> io::Result<Self> {
        match std::fs::File::open(Path::new(STATUS)) {
            Ok(file) => Self::parse(&mut BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads dpkg's list (the format of `/var/lib/dpkg/status`).
    ///
    /// # Errors
    /// When the reader fails.
    pub fn parse(reader: &mut dyn BufRead) -> io::Result<Self> {
        let mut installed = Self::default();
        paragraphs(reader, |paragraph| {
            // "want error state": only the state says whether the files are there.
            let status = paragraph.field("Status").unwrap_or_default();
            if status.split_whitespace().nth(2) != Some("installed") {
                return;
            }
            let Some(name) = paragraph.field("Package") else { return };
            for provided in paragraph.relations("Provides").into_iter().flatten() {
                installed.provided.entry(provided).or_default().insert(name.clone());
            }
            installed.packages.insert(name, paragraph.field("Version").unwrap_or_default());
        })?;
        Ok(installed)
    }

    /// The name under which `package` (with or without an architecture) is installed: its own, or that of a package
    /// that provides it.
    #[must_use]
    pub fn name_of(&self, package: &str) -> Option<&str> {
        let name = package.split(':').next().unwrap_or(package);
        if let Some((name, _)) = self.packages.get_key_value(name) {
            return Some(name);
        }
        self.provided.get(name)?.first().map(String::as_str)
    }

    /// The installed version of `package`, if it is installed under its own name.
    #[must_use]
    pub fn version_of(&self, package: &str) -> Option<&str> {
        self.packages.get(package.split(':').next().unwrap_or(package)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: libfoo-dev\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\n\
        Version: 1.2-3\nProvides: libfoo2-dev (= 1.2), foo-headers\n\nPackage: gone\nStatus: deinstall ok config-files\n\
        Version: 1\n\nPackage: half\nStatus: install ok half-installed\nVersion: 1\n";

    #[test]
    fn packages_are_recognised_under_other_names() {
        let installed = Installed::parse(&mut TEXT.as_bytes()).unwrap();
        assert_eq!(installed.name_of("libfoo-dev:amd64"), Some("libfoo-dev"));
        assert_eq!(installed.name_of("libfoo2-dev"), Some("libfoo-dev"));
        assert_eq!(installed.version_of("libfoo-dev"), Some("1.2-3"));
        assert_eq!(installed.name_of("gone"), None);
        assert_eq!(installed.name_of("half"), None);
    }
}
