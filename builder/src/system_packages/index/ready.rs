//! The index when it is needed: as it is, or made first.

use std::path::Path;
use std::time::Instant;

use pip_accel_store::{Access, KeyLock, LockOwner, Store, StoreError};

use super::{IndexError, IndexPlace, MAX_AGE_SECONDS, SystemIndex, UpdateError, UpdateReport, update};

/// Processes that make the index at the same time take turns.
const LOCK: &str = "index of system packages";

/// What is to be said while the index is made ready.
#[derive(Debug)]
pub enum Ready<'a> {
    /// The index is old or not there, and must not be made: why.
    Without(String),
    /// It is made now, which takes some time: why.
    Making(String),
    /// It can't be made.
    Failed(&'a UpdateError),
    /// Another process makes it.
    Waiting {
        /// Its id.
        pid: u32,
    },
    /// It is made.
    Made {
        /// What it is.
        report: &'a UpdateReport,
        /// How long that took.
        duration: std::time::Duration,
    },
}

/// Makes the index of `store` for this machine anew.
///
/// # Errors
/// When apt gives no lists, or the store fails.
pub fn make(store: &Store, place: &IndexPlace, tell: &dyn Fn(Ready<'_>)) -> Result<UpdateReport, UpdateError> {
    let lock = take_turn(store, tell)?;
    let report = make_in_turn(store, place, tell)?;
    drop(lock);
    Ok(report)
}

fn take_turn(store: &Store, tell: &dyn Fn(Ready<'_>)) -> Result<KeyLock, StoreError> {
    store.lock(LOCK, &mut |owner: &LockOwner| tell(Ready::Waiting { pid: owner.pid }))
}

fn make_in_turn(store: &Store, place: &IndexPlace, tell: &dyn Fn(Ready<'_>)) -> Result<UpdateReport, UpdateError> {
    let started = Instant::now();
    let scratch = store.scratch("apt")?;
    let report = update(place, Path::new(scratch.path()), store.now())?;
    tell(Ready::Made { report: &report, duration: started.elapsed() });
    Ok(report)
}

/// The index of `store` for this machine; made first if there is none or it is too old, and `may_make` allows it. Without
/// it there is still what the rules know: nothing here is a reason to stop.
///
/// # Errors
/// Never, unless the format of an empty index contradicts itself.
pub fn ready(store: &Store, may_make: bool, tell: &dyn Fn(Ready<'_>)) -> Result<SystemIndex, IndexError> {
    let place = IndexPlace::of_this_machine(&store.index_folder());
    let opened = SystemIndex::open(&place.path);
    let Some(why) = why_anew(&opened, store) else { return opened };
    if may_make && store.access() == Access::ReadWrite {
        match make_or_find(store, &place, (why, tell)) {
            Ok(index) => return Ok(index),
            Err(error) => tell(Ready::Failed(&error)),
        }
    } else {
        tell(Ready::Without(why));
    }
    opened.or_else(|_| SystemIndex::empty())
}

/// The index made now, or the one that another process made while this one waited.
fn make_or_find(
    store: &Store,
    place: &IndexPlace,
    (why, tell): (String, &dyn Fn(Ready<'_>)),
) -> Result<SystemIndex, UpdateError> {
    let lock = take_turn(store, tell)?;
    let found = SystemIndex::open(&place.path);
    if why_anew(&found, store).is_some() {
        tell(Ready::Making(why));
        make_in_turn(store, place, tell)?;
    }
    drop(lock);
    Ok(SystemIndex::open(&place.path)?)
}

/// Why the index has to be made; `None` if it is fine.
fn why_anew(opened: &Result<SystemIndex, IndexError>, store: &Store) -> Option<String> {
    match opened {
        Ok(index) => {
            let age = store.now().saturating_sub(index.origin().made_at);
            let days = age / 86_400;
            (age > MAX_AGE_SECONDS).then(|| format!("the index of system packages is {days} days old"))
        }
        Err(IndexError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Some("there is no index of system packages yet".to_owned())
        }
        Err(error) => Some(match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }),
    }
}
