//! Pinning what a lock means, so that it stays in the store when no environment has it.

use std::path::Path;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{NewRoot, Object, RootKind, StoreError};

use super::Plan;
use super::error::RealizeError;
use crate::lock::LoadedLock;
use crate::session::Session;

/// What a pin of a lock keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinReport {
    /// The pin's name.
    pub name: String,
    /// Everything it names, sorted: trees and sources.
    pub objects: Vec<ObjectId>,
    /// Packages of the lock.
    pub packages: usize,
    /// Packages whose source the store does not have.
    pub without_source: Vec<String>,
}

/// Why a lock can't be pinned; no pin was set or changed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The store does not have all that the lock means for the interpreter.
    #[error("{} of the lock {} not in the store: {}", count(packages.len()), if packages.len() == 1 { "is" } else { "are" }, packages.join(", "))]
    NotInStore {
        /// The packages.
        packages: Vec<String>,
    },
    /// The lock does not fit the interpreter.
    #[error(transparent)]
    Realize(#[from] RealizeError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn count(packages: usize) -> String {
    if packages == 1 { "1 package".to_owned() } else { format!("{packages} packages") }
}

/// The SHA-256 of the published file that an object comes from.
fn source_of(object: &Object) -> Sha256Digest {
    match &object.provenance {
        Provenance::Source { sha256, .. } | Provenance::Wheel { sha256, .. } | Provenance::Layer { sha256, .. } => {
            *sha256
        }
        Provenance::Build { recipe, .. } => recipe.source,
    }
}

/// The name that a pin of the lock at `path` has when nobody gives one: each interpreter has its own trees.
#[must_use]
pub fn pin_name(path: &Path, session: &Session) -> String {
    format!("{} for {}", path.display(), session.python.interpreter.label())
}

/// Sets the pin `name` on all trees of `lock` for the session's interpreter and on their sources.
///
/// # Errors
/// See [`PinError`].
pub fn pin_lock(session: &Session, lock: &LoadedLock, name: String) -> Result<PinReport, PinError> {
    let plan = Plan::make(session, lock)?;
    let missing = plan.packages.iter().filter(|package| package.object.is_none());
    let missing: Vec<String> = missing.map(|package| package.pin.to_string()).collect();
    if !missing.is_empty() {
        return Err(PinError::NotInStore { packages: missing });
    }
    let trees: Vec<&Object> = plan.packages.iter().filter_map(|package| package.object.as_ref()).collect();
    let wanted: Vec<Sha256Digest> = trees.iter().map(|tree| source_of(tree)).collect();
    let sources = session.lease.take_sources(&wanted)?;
    let has_source = |tree: &&&Object| sources.iter().any(|source| source_of(source) == source_of(tree));
    let without_source =
        trees.iter().filter(|tree| !has_source(tree)).map(|tree| format!("{}=={}", tree.name, tree.version)).collect();
    let mut objects: Vec<ObjectId> =
        trees.iter().map(|tree| tree.id).chain(sources.iter().map(|source| source.id)).collect();
    objects.sort();
    objects.dedup();
    let root = NewRoot { kind: RootKind::Pin, name: name.clone(), location: std::path::PathBuf::new() };
    session.store.put_root(root, &objects)?;
    Ok(PinReport { name, objects, packages: plan.packages.len(), without_source })
}
