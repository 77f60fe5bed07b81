//! A look at the directories of a lock, before anything is planned: what they hold decides what an environment is.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::encode::Encoder;
use pip_accel_store::Scratch;
use serde::{Deserialize, Serialize};

use super::directory::{Listing, list};
use super::error::CheckoutError;
use super::{Checkout, CheckoutPlace, Directory, Editable};
use crate::event::Event;
use crate::lock::{LockedRequirement, LockedTarget};
use crate::realize::error::RealizeError;
use crate::session::Session;

/// Namespace of the remembered looks: path → [`Remembered`] as JSON.
const MEMO: &str = "directory/1";

/// Files that say how a project is built: an editable is made anew when one of them changes.
const BUILD_FILES: [&str; 3] = ["pyproject.toml", "setup.py", "setup.cfg"];

/// What a directory was found to hold.
#[derive(Serialize, Deserialize)]
struct Remembered {
    stamp: ValueDigest,
    sha256: Sha256Digest,
}

/// What the directories of a lock hold.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// By the path that the lock gives; of editables the digest of what their build depends on.
    found: HashMap<(PathBuf, bool), Sha256Digest>,
}

impl Survey {
    /// Looks at the directories of `requirements`.
    ///
    /// # Errors
    /// [`RealizeError::Checkout`] for the first that can't be looked at.
    pub(crate) fn of(session: &Session, requirements: &[LockedRequirement]) -> Result<Self, RealizeError> {
        let mut survey = Self::default();
        for requirement in requirements {
            let failed = |source| RealizeError::Checkout { place: requirement.to_string(), source: Arc::new(source) };
            match &requirement.target {
                LockedTarget::Directory(path) if !survey.found.contains_key(&(path.clone(), false)) => {
                    let sha256 = look(session, path).map_err(failed)?;
                    survey.found.insert((path.clone(), false), sha256);
                }
                LockedTarget::Editable(editable) => {
                    // A clone that is still to be made is like none that was built.
                    let is_awaited = editable.git.is_some() && !editable.path.exists();
                    let sha256 = match is_awaited {
                        true => Sha256Digest::from_bytes([0; 32]),
                        false => editable_digest(&editable.path).map_err(failed)?,
                    };
                    survey.found.insert((editable.path.clone(), true), sha256);
                }
                _ => {}
            }
        }
        Ok(survey)
    }

    /// Adds what was found to the digest of a request.
    pub(crate) fn encode(&self, encoder: &mut Encoder) {
        let mut found: Vec<_> = self.found.iter().collect();
        found.sort();
        for ((path, is_editable), sha256) in found {
            encoder.bytes(path.as_os_str().as_encoded_bytes()).number(u64::from(*is_editable)).bytes(sha256.as_bytes());
        }
    }

    /// The checkout that a requirement means.
    pub(crate) fn checkout(&self, requirement: &LockedRequirement) -> Option<Checkout> {
        let digest = |path: &PathBuf, is_editable| self.found.get(&(path.clone(), is_editable)).copied();
        let place = match &requirement.target {
            LockedTarget::Git(commit) => CheckoutPlace::Git(commit.clone()),
            LockedTarget::Directory(path) => {
                let sha256 = digest(path, false)?;
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                CheckoutPlace::Directory(Directory { path, sha256 })
            }
            LockedTarget::Editable(editable) => {
                let sha256 = digest(&editable.path, true)?;
                let path = editable.path.canonicalize().unwrap_or_else(|_| editable.path.clone());
                CheckoutPlace::Editable(Editable { path, sha256, git: editable.git.clone() })
            }
            LockedTarget::Pin(_) | LockedTarget::Url(_) | LockedTarget::LocalFile(_) => return None,
        };
        Some(Checkout { place, is_named: requirement.name.is_some() })
    }
}

/// What of the directory at `path` counts.
pub(super) fn listing(session: &Session, path: &Path) -> Result<Listing, CheckoutError> {
    let root = path.canonicalize().map_err(|source| CheckoutError::Io { path: path.to_owned(), source })?;
    let store = session.store.root();
    let stores = [store.to_owned(), store.canonicalize().unwrap_or_else(|_| store.to_owned())];
    list(session, &root, &stores)
}

/// The digest of a directory's archive: remembered, unless something in it changed.
fn look(session: &Session, path: &Path) -> Result<Sha256Digest, CheckoutError> {
    let listing = listing(session, path)?;
    let key = path.as_os_str().as_encoded_bytes();
    let memo = session.store.memo_get(MEMO, key).ok().flatten();
    let remembered = memo.and_then(|memo| serde_json::from_slice::<Remembered>(&memo).ok());
    if let Some(remembered) = remembered.filter(|remembered| remembered.stamp == listing.stamp) {
        return Ok(remembered.sha256);
    }
    if !listing.left_out.is_empty() {
        let text = format!("left out of `{}`: {}", path.display(), shortened(&listing.left_out));
        session.report(Event::Warning(text));
    }
    let scratch = scratch(session)?;
    let (_, sha256) = listing.pack(io::sink(), scratch.path())?;
    if listing.is_settled
        && let Ok(memo) = serde_json::to_vec(&Remembered { stamp: listing.stamp, sha256 })
    {
        // A store that can't remember costs the next look the same time, nothing else.
        drop(session.store.memo_put(MEMO, key, &memo));
    }
    Ok(sha256)
}

/// What decides what a file or folder of this machine is, for who remembers something of it: of a file when it was changed
/// last, of a folder what it holds. `None` when that can't be told.
pub(crate) fn content_stamp(session: &Session, path: &Path) -> Option<[u8; 32]> {
    let metadata = std::fs::metadata(path).ok()?;
    let mut encoder = Encoder::for_domain("pip-accel/local-content/1");
    if metadata.is_dir() {
        encoder.bytes(look(session, path).ok()?.as_bytes());
        return Some(encoder.finish());
    }
    encoder.number(metadata.len()).number(metadata.ino());
    for (seconds, nanoseconds) in [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())]
    {
        encoder.number(seconds.cast_unsigned()).number(nanoseconds.cast_unsigned());
    }
    Some(encoder.finish())
}

/// Entries that a warning lists; the rest is counted.
const LEFT_OUT_SHOWN: usize = 5;

fn shortened(entries: &[String]) -> String {
    let shown = entries.iter().take(LEFT_OUT_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match entries.len().saturating_sub(LEFT_OUT_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A private folder for the git program.
pub(super) fn scratch(session: &Session) -> Result<Scratch, CheckoutError> {
    session.store.scratch("checkout").map_err(|error| CheckoutError::Io {
        path: session.store.root().to_owned(),
        source: io::Error::other(error.to_string()),
    })
}

/// The digest that stands for an editable: where it is and how it is built. What it holds is read when it is imported.
fn editable_digest(path: &Path) -> Result<Sha256Digest, CheckoutError> {
    let io_error = |source| CheckoutError::Io { path: path.to_owned(), source };
    let real = path.canonicalize().map_err(io_error)?;
    let mut encoder = Encoder::for_domain("pip-accel/editable/1");
    encoder.bytes(real.as_os_str().as_encoded_bytes());
    for file in BUILD_FILES {
        let content = crate::python::sdist::read_regular(&real.join(file), crate::python::sdist::PYPROJECT_BYTES_MAX);
        let content = content.map_err(io_error)?;
        encoder.number(u64::from(content.is_some())).bytes(&content.unwrap_or_default());
    }
    Ok(Sha256Digest::from_bytes(encoder.finish()))
}
