//! What others have installed in an environment: distributions with a list of their files.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use pip_accel_schema::environment::EnvironmentManifest;

use crate::environment::is_standard;

use super::installed::{InstalledPackage, InstalledSet};

/// Most files and folders that are looked at to tell what belongs to whom; large environments have 100,000.
const ENTRIES_MAX: usize = 1_000_000;

/// Distributions of others in an environment, and the entries that are nobody's.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// Distributions that another program installed, by name.
    pub packages: Vec<InstalledPackage>,
    /// Those of the foreign entries that belong to none of them, relative to the environment's root and sorted; of a folder
    /// in which only some files do not, these.
    pub unowned: Vec<String>,
}

impl Others {
    /// Says to whom the entries `foreign` of the environment at `root` belong.
    ///
    /// # Errors
    /// When a folder can't be read.
    pub fn of(root: &Path, manifest: &EnvironmentManifest, foreign: &[String]) -> io::Result<Self> {
        let Some(site) = site_packages(manifest) else {
            return Ok(Self { packages: Vec::new(), unowned: foreign.to_vec() });
        };
        let installed = InstalledSet::read(&[root.join(site)])?;
        let is_ours = |package: &&InstalledPackage| {
            manifest.packages.iter().any(|ours| package.metadata.ends_with(&ours.dist_info))
        };
        let packages: Vec<InstalledPackage> = installed.iter().filter(|package| !is_ours(package)).cloned().collect();
        let owned: BTreeSet<PathBuf> = packages.iter().filter_map(InstalledPackage::files).flatten().collect();
        let mut unowned = BTreeSet::new();
        let mut left = ENTRIES_MAX;
        for path in foreign.iter().filter(|path| !is_standard(path)) {
            let mut found = BTreeSet::new();
            let is_partly_owned = look(&root.join(path), &owned, &mut found, &mut left)?;
            match is_partly_owned {
                true => unowned.extend(found.iter().filter_map(|path| relative(root, path))),
                false => drop(unowned.insert(path.clone())),
            }
        }
        Ok(Self { packages, unowned: unowned.into_iter().collect() })
    }
}

fn relative(root: &Path, path: &Path) -> Option<String> {
    path.strip_prefix(root).ok().map(|path| path.to_string_lossy().into_owned())
}

/// Collects what at `path` and below is not `owned`; whether anything there is.
fn look(path: &Path, owned: &BTreeSet<PathBuf>, unowned: &mut BTreeSet<PathBuf>, left: &mut usize) -> io::Result<bool> {
    *left = left.saturating_sub(1);
    if owned.contains(path) {
        return Ok(true);
    }
    // What is gone meanwhile, or has a name that is no text, is nobody's.
    if *left == 0 || !path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        // Bytecode belongs to what it was compiled from.
        if path.extension().is_none_or(|ending| ending != "pyc") {
            unowned.insert(path.to_owned());
        }
        return Ok(false);
    }
    let mut any = false;
    for entry in std::fs::read_dir(path)? {
        any |= look(&entry?.path(), owned, unowned, left)?;
    }
    Ok(any)
}

/// `site-packages` of an environment, relative to its root.
fn site_packages(manifest: &EnvironmentManifest) -> Option<&str> {
    let is_it = |path: &&str| path.ends_with("/site-packages");
    manifest.entries.iter().map(|entry| entry.path.as_str()).find(is_it)
}
