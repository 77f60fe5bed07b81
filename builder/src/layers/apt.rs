//! Which packages are needed, by apt itself: it knows the machine's sources, keys, pins and what is installed. It works in a
//! state directory of the store's, so that no privilege is needed and its own lists are left alone.

use std::fs;
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::Sha256Digest;
use serde::{Deserialize, Serialize};

use super::LayerError;
use crate::system_packages::index::control::paragraphs;
use crate::system_packages::install::is_package_name;
use crate::system_packages::{AptError, PrivateApt, last_words, text_of};

/// Seconds after which the lists are fetched again before something is chosen: a day, in which a mirror drops few files.
const LISTS_AGE_MAX: i64 = 86_400;

/// Most packages of one build, and so layers over one `/usr`: the kernel stacks 500. The largest closure that was met, of MPI
/// with a Fortran compiler, has some 80.
const PACKAGES_MAX: usize = 400;

/// Most bytes of package files for one build. LLVM with Clang has some 500 MB.
const DOWNLOAD_BYTES_MAX: u64 = 8 << 30;

/// Only the lists of packages are wanted.
const PACKAGES_ONLY: &str = r#"
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb-legacy::DefaultEnabled "false";
"#;

/// A package that a build needs and the machine does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ChosenPackage {
    /// As Debian calls it.
    pub(crate) package: String,
    /// As Debian writes it.
    pub(crate) version: String,
    /// `amd64`, `all`.
    pub(crate) architecture: String,
    /// Of the package file, as the signed lists have it.
    pub(crate) sha256: Sha256Digest,
    /// Of the package file, in bytes.
    pub(crate) size: u64,
}

impl ChosenPackage {
    /// The package to apt's taste.
    fn word(&self) -> String {
        match self.architecture.as_str() {
            "all" => format!("{}={}", self.package, self.version),
            architecture => format!("{}:{architecture}={}", self.package, self.version),
        }
    }
}

/// Apt with its state in a directory that stays.
#[derive(Debug)]
pub(super) struct Apt(PrivateApt);

impl Apt {
    /// Apt's state in `directory`, made when it is not there. One process at a time.
    pub(super) fn prepare(directory: &Path) -> Result<Self, LayerError> {
        Ok(Self(PrivateApt::prepare(directory, PACKAGES_ONLY, &|file| file)?))
    }

    fn stamp(&self) -> PathBuf {
        self.0.directory().join("fetched")
    }

    /// Whether the lists are there and neither old nor of other sources; `now` is in seconds since 1970.
    pub(super) fn is_fresh(&self, now: i64) -> bool {
        let text = fs::read_to_string(self.stamp()).unwrap_or_default();
        let Some((sources, time)) = text.split_once(' ') else { return false };
        let age = time.trim().parse().map(|time: i64| now.saturating_sub(time));
        sources == self.0.sources().to_hex() && age.is_ok_and(|age| (0..LISTS_AGE_MAX).contains(&age))
    }

    /// Fetches the lists.
    pub(super) fn update(&self, now: i64) -> Result<(), LayerError> {
        let updated = self.0.update()?;
        let stamp = self.stamp();
        if updated.is_success {
            let text = format!("{} {now}", self.0.sources().to_hex());
            fs::write(&stamp, text).map_err(|source| AptError::File { path: stamp, source })?;
        } else {
            tracing::warn!(words = last_words(&updated.stderr), "apt could not fetch all lists");
        }
        Ok(())
    }

    /// What has to be unpacked so that `packages` are there, sorted: they and what they need, but for what is installed.
    pub(super) fn choose(&self, packages: &[String]) -> Result<Vec<ChosenPackage>, LayerError> {
        let mut command = self.0.command("apt-get");
        command.args(["--simulate", "-q", "--yes", "--no-install-recommends", "-o", "Debug::NoLocking=true"]);
        command.args(["install", "--"]).args(packages.iter().filter(|package| is_package_name(package)));
        let text = text_of(command, "apt-get")?;
        let installed: Vec<(String, String)> = text.lines().filter_map(installation).collect();
        if installed.len() > PACKAGES_MAX {
            return Err(LayerError::TooMany { count: installed.len(), limit: PACKAGES_MAX });
        }
        let chosen = self.described(&installed)?;
        let bytes = chosen.iter().fold(0_u64, |sum, package| sum.saturating_add(package.size));
        if bytes > DOWNLOAD_BYTES_MAX {
            return Err(LayerError::TooLarge { bytes, limit: DOWNLOAD_BYTES_MAX });
        }
        Ok(chosen)
    }

    /// The same with the digests of the lists.
    fn described(&self, installed: &[(String, String)]) -> Result<Vec<ChosenPackage>, LayerError> {
        if installed.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = self.0.command("apt-cache");
        command.args(["show", "--"]).args(installed.iter().map(|(name, version)| format!("{name}={version}")));
        let text = text_of(command, "apt-cache")?;
        let mut found: Vec<ChosenPackage> = Vec::new();
        let read = paragraphs(&mut text.as_bytes(), |paragraph| {
            let field = |name| paragraph.field(name).filter(|value| !value.is_empty());
            let (Some(package), Some(version)) = (field("Package"), field("Version")) else { return };
            let digest = field("SHA256").and_then(|digest| digest.parse().ok());
            let (Some(architecture), Some(sha256)) = (field("Architecture"), digest) else { return };
            let size = field("Size").and_then(|size| size.parse().ok()).unwrap_or(0);
            found.push(ChosenPackage { package, version, architecture, sha256, size });
        });
        read.map_err(|source| AptError::File { path: "apt-cache".into(), source })?;
        let mut chosen = Vec::with_capacity(installed.len());
        for (name, version) in installed {
            let (bare, architecture) =
                name.split_once(':').map_or((name.as_str(), None), |(bare, word)| (bare, Some(word)));
            let is_it = |package: &&ChosenPackage| {
                package.package == bare
                    && package.version == *version
                    && architecture.is_none_or(|word| word == package.architecture)
            };
            let package = found.iter().find(is_it);
            chosen.push(package.ok_or_else(|| LayerError::Unhashed { package: name.clone() })?.clone());
        }
        chosen.sort();
        chosen.dedup();
        Ok(chosen)
    }

    /// Fetches the files of `packages` into the empty folder `into`; apt checks them against its lists.
    pub(super) fn download(&self, packages: &[&ChosenPackage], into: &Path) -> Result<(), LayerError> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut command = self.0.command("apt-get");
        command.args(["download", "-q", "--"]).args(packages.iter().map(|package| package.word())).current_dir(into);
        text_of(command, "apt-get").map(drop).map_err(LayerError::from)
    }
}

/// Name (with its architecture, if it is a foreign one) and version of a line such as
/// `Inst libxml2-dev [2.9] (2.9.14 Debian:12.5/stable [amd64])`.
fn installation(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(' ')?;
    let version = rest.split_once('(')?.1.split([' ', ')']).next()?;
    let bare = name.split(':').next().unwrap_or(name);
    let is_version = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte));
    (is_package_name(bare) && !version.is_empty() && is_version(version)).then(|| (name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_apt_are_read() {
        let pair = |name: &str, version: &str| Some((name.to_owned(), version.to_owned()));
        let line =
            "Inst libxml2-dev [2.9] (2.9.14+dfsg-1.3~deb12u1 Debian:12.5/stable, Debian-Security:12/stable [amd64])";
        assert_eq!(installation(line), pair("libxml2-dev", "2.9.14+dfsg-1.3~deb12u1"));
        assert_eq!(installation("Inst libc6:i386 (1:2.36-9 stable [i386]) []"), pair("libc6:i386", "1:2.36-9"));
        for other in ["Conf libxml2-dev (1 x)", "Remv x [1]", "Inst -o (1 x)", "Inst a", "Inst aa (;rm x)"] {
            assert_eq!(installation(other), None, "{other}");
        }
    }
}
