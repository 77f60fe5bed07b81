//! Filling the store with what a lock needs, without making an environment.

use std::path::Path;
use std::sync::Arc;

use pip_accel_store::{NewRoot, RootKind};

use super::engine::{Engine, How, Purpose};
use super::error::RealizeError;
use super::{Plan, obtain_all};
use crate::checkout::clone_editables;
use crate::lock::LoadedLock;
use crate::session::Session;

/// What was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchReport {
    /// Packages of the lock that apply to the interpreter.
    pub packages: usize,
    /// Trees that were in the store.
    pub from_store: usize,
    /// Packages whose wheel or sdist was fetched.
    pub fetched: usize,
}

/// Fetches wheels, sdists and build requirements of `lock` and keeps them as long as the file at `lock_path` exists.
///
/// # Errors
/// See [`RealizeError`].
pub fn fetch(session: &Arc<Session>, lock: &LoadedLock, lock_path: &Path) -> Result<FetchReport, RealizeError> {
    let selected = lock.select(&session.python.interpreter.markers).map_err(RealizeError::Lock)?;
    clone_editables(session, &selected)?;
    let plan = Plan::make(session, lock)?;
    let engine = Engine::new(session, lock.build_locks.clone(), Purpose::Fetch);
    let obtained = obtain_all(&engine, &plan)?;
    let mut ids: Vec<_> = obtained.iter().map(|tree| tree.object.id).chain(engine.touched()).collect();
    ids.sort();
    ids.dedup();
    // One root a lock and interpreter: fetching for a second interpreter must not drop the first one's trees.
    let label = session.python.interpreter.label();
    let name = format!("{} for {label}{}", lock_path.display(), lock.choice);
    session.store.put_root(NewRoot { kind: RootKind::Lock, name, location: lock_path.to_owned() }, &ids)?;
    let count = |how| obtained.iter().filter(|tree| tree.how == how).count();
    Ok(FetchReport { packages: obtained.len(), from_store: count(How::Store), fetched: count(How::Fetched) })
}
