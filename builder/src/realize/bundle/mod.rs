//! Environments on their way to a machine without network: what `realize --offline` needs there, and a package index
//! for other installers.

mod check;
mod closure;
mod facts;
mod output;
mod pages;

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use pip_accel_schema::bundle::BundleManifest;
use pip_accel_schema::store_path::{ObjectId, StorePath};
use pip_accel_store::{
    BundleError, BundleReport, BundleRequest, LockOwner, NewRoot, RootKind, Store, Unbundled, checkpoint,
};

pub use output::BundleOutput;

use super::engine::{Engine, Purpose};
use super::error::{DiskNeed, RealizeError};
use super::{Plan, obtain_all};
use crate::lock::LoadedLock;
use crate::session::Session;
use closure::{Closure, Reach};
use facts::BundleFacts;

/// Characters of a closure's digest that the name of a pin holds.
const PIN_DIGEST_LEN: usize = 12;

/// What a bundle is to hold besides the trees of its lock.
#[derive(Debug, Clone, Default)]
pub struct BundleOptions {
    /// Whether published files go along, and the trees of what builds need.
    pub sources: bool,
    /// Whether it is compressed by zstd.
    pub compressed: bool,
    /// What its receiver has already.
    pub base: HashSet<ObjectId>,
}

/// Why a bundle could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeBundleError {
    /// What belongs into it can't be had.
    #[error(transparent)]
    Realize(#[from] RealizeError),
    /// It can't be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The file can't be made.
    #[error("`{}` can't be written", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Writes the closure of `lock` for the session's interpreter; what is missing is fetched and built first.
///
/// # Errors
/// See [`MakeBundleError`]. A file that was at the place of `output` is untouched then.
pub fn bundle(
    session: &Arc<Session>,
    lock: &LoadedLock,
    options: BundleOptions,
    output: BundleOutput,
) -> Result<BundleReport, MakeBundleError> {
    let plan = Plan::make(session, lock)?;
    let engine = Engine::new(session, lock.build_locks.clone(), Purpose::Build);
    let trees = obtain_all(&engine, &plan)?;
    let pins = plan.packages.into_iter().map(|package| package.pin);
    let wanted = pins.zip(trees.into_iter().map(|tree| tree.object)).collect();
    let closure = gather(&engine, wanted, Reach { sources: options.sources, obtain: true })?;
    let request = BundleRequest {
        interpreter: session.python.interpreter.label(),
        roots: closure.objects.into_iter().collect(),
        base: options.base,
        facts: closure.facts.into_value(),
        pages: &pages::index_pages,
        compressed: options.compressed,
    };
    let mut output = output;
    let report = session.lease.write_bundle(&request, output.writer())?;
    output.finish()?;
    Ok(report)
}

/// What a bundle of `lock` would hold of this store, as far as it is here: nothing is fetched or built.
///
/// # Errors
/// When the lock does not fit the interpreter, or the store fails.
pub fn held(session: &Arc<Session>, lock: &LoadedLock, sources: bool) -> Result<HashSet<ObjectId>, RealizeError> {
    let plan = Plan::make(session, lock)?;
    let engine = Engine::new(session, lock.build_locks.clone(), Purpose::Build);
    let known = plan.packages.into_iter().filter_map(|package| Some((package.pin, package.object?)));
    let closure = gather(&engine, known.collect(), Reach { sources, obtain: false })?;
    Ok(closure.objects.into_iter().collect())
}

/// What a bundle holds, and what its receiver must have had.
#[must_use]
pub fn objects_of(manifest: &BundleManifest) -> HashSet<ObjectId> {
    let paths = manifest.objects.iter().map(|object| &object.path).chain(&manifest.base);
    paths.filter_map(|path| path.parse::<StorePath>().ok()).map(|path| *path.id()).collect()
}

fn gather(
    engine: &Arc<Engine>,
    wanted: Vec<(super::pin::Pin, pip_accel_store::Object)>,
    reach: Reach,
) -> Result<Closure, RealizeError> {
    let session = &engine.session;
    let collected = super::run(session, Closure::collect(engine, wanted, reach))?;
    collected.map_err(|failure| {
        if session.cancel.is_interrupted() {
            return RealizeError::Interrupted;
        }
        RealizeError::Packages { packages: 1, failures: vec![failure], disk: DiskNeed::of(engine) }
    })
}

/// What was taken in.
#[derive(Debug)]
pub struct UnbundleReport {
    /// The bundle.
    pub unbundled: Unbundled,
    /// The pin that keeps what it is for.
    pub pin: String,
}

/// Takes in a bundle. What it is for is kept by the pin `pin`; without one, by `bundle:<first digits of a digest of
/// what it keeps>`, so that no other bundle replaces it and the same one doesn't add another. `on_wait` is called when
/// another process takes the same one in, which is waited for.
///
/// # Errors
/// See [`BundleError`].
pub fn unbundle(
    store: &Arc<Store>,
    input: impl Read,
    pin: Option<String>,
    on_wait: &mut dyn FnMut(&LockOwner),
) -> Result<UnbundleReport, BundleError> {
    let lease = store.lease()?;
    let unbundled = lease.read_bundle(input, &check::meaning, on_wait)?;
    let manifest = &unbundled.manifest;
    let facts = BundleFacts::of_value(&manifest.facts)?;
    facts.remember(store)?;
    checkpoint("unbundle-remembered");
    let digest = manifest.closure_digest().to_hex();
    let pin = pin.unwrap_or_else(|| format!("bundle:{}", &digest[..PIN_DIGEST_LEN]));
    let root = NewRoot { kind: RootKind::Pin, name: pin.clone(), location: PathBuf::new() };
    store.put_root(root, &manifest.roots)?;
    Ok(UnbundleReport { unbundled, pin })
}
