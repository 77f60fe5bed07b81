//! Making the index anew, and where it is kept.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::apt::{self, ContentsApt};
use super::{Collector, IndexError, IndexOrigin};
use crate::system_packages::private_apt::AptError;

/// After so many seconds an index is made anew when it is needed: 30 days.
pub const MAX_AGE_SECONDS: i64 = 30 * 86_400;

/// Why no index was made.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Debian's lists can't be had.
    #[error("can't get Debian's lists")]
    Apt(#[from] AptError),
    /// The index can't be made of them.
    #[error("can't make the index")]
    Index(#[from] IndexError),
    /// The store has no room or lock for it.
    #[error("the store failed")]
    Store(#[from] pip_accel_store::StoreError),
    /// It can't be written.
    #[error("can't write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where the index of one distribution is.
#[derive(Debug, Clone)]
pub struct IndexPlace {
    /// The distribution and release, such as `debian bookworm`.
    pub distribution: String,
    /// The file.
    pub path: PathBuf,
}

impl IndexPlace {
    /// The place for the distribution that this process runs on, in the folder `indexes`. One store may serve several
    /// distributions and machines, hence a file for each.
    #[must_use]
    pub fn of_this_machine(indexes: &Path) -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let distribution = distribution(&release);
        let name: String = distribution
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
            .collect();
        let path = indexes.join(format!("{name}-{}.system-packages", std::env::consts::ARCH));
        Self { distribution, path }
    }
}

/// The distribution of the text of `os-release`: its name, and the name or number of its release.
fn distribution(release: &str) -> String {
    let value = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\''])).filter(|value| !value.is_empty())
    };
    let id = value("ID").unwrap_or("linux");
    let version = value("VERSION_CODENAME").or_else(|| value("VERSION_ID")).unwrap_or("unknown");
    format!("{id} {version}")
}

/// What was made.
#[derive(Debug)]
pub struct UpdateReport {
    /// Where the index comes from.
    pub origin: IndexOrigin,
    /// Its size in bytes.
    pub bytes: u64,
    /// What apt says went wrong, if anything did: the index lacks what could not be fetched.
    pub complaint: String,
}

impl UpdateReport {
    /// A sentence about what is not in it; `None` if all is.
    #[must_use]
    pub fn partial(&self) -> Option<String> {
        let complaint = &self.complaint;
        (!complaint.is_empty())
            .then(|| format!("not all lists could be fetched, so the index lacks some files: {complaint}"))
    }
}

/// Makes the index at `place` anew, with apt's state in the empty directory `scratch`; `now` is in seconds since 1970.
/// Whoever reads the index meanwhile has the old one.
///
/// # Errors
/// When apt gives no lists, or the index can't be made or written.
pub fn update(place: &IndexPlace, scratch: &Path, now: i64) -> Result<UpdateReport, UpdateError> {
    let apt = ContentsApt::prepare(scratch)?;
    let files = apt.update()?;
    let mut collector = Collector::default();
    for path in &files.contents {
        apt.read(path, &mut |reader| collector.contents(reader))?;
    }
    for path in &files.packages {
        apt.read(path, &mut |reader| collector.packages(reader))?;
    }
    for path in &files.sources {
        apt.read(path, &mut |reader| collector.sources(reader))?;
    }
    let origin = IndexOrigin {
        made_at: now,
        distribution: place.distribution.clone(),
        architecture: apt::architecture()?,
        files: collector.files() as u64,
    };
    let bytes = collector.finish(&origin).map_err(IndexError::Map)?;
    write(&place.path, &bytes)?;
    Ok(UpdateReport { origin, bytes: bytes.len() as u64, complaint: files.complaint })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), UpdateError> {
    let failed = |source| UpdateError::Write { path: path.to_owned(), source };
    // The process id keeps two updates at once apart; the last one to finish stays.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::distribution;

    #[test]
    fn distributions_are_told_apart() {
        assert_eq!(distribution("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"), "debian bookworm");
        assert_eq!(distribution("ID=\"linuxmint\"\nVERSION_ID=\"21.3\"\n"), "linuxmint 21.3");
        assert_eq!(distribution(""), "linux unknown");
    }
}
