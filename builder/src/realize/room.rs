//! Room on the disk: while packages are fetched and built, what nothing needs goes when the disk gets full.

use std::sync::Arc;

use pip_accel_store::{GcError, GcLimits, GcPolicy, GcReport};

use super::engine::Engine;
use crate::event::Event;
use crate::session::Session;

/// A collection frees this part more than it must, so that the next package does not start another one.
const SPARE_PART: u64 = 10;

/// Whether collecting may still help in this run; held while one collects, so that the others wait for its result.
pub(crate) type Room = tokio::sync::Mutex<Hope>;

/// See [`Room`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Hope {
    /// There may be something to delete.
    #[default]
    Left,
    /// The last collection found too little, or failed: it is not tried again in this run.
    Gone,
}

impl Engine {
    /// Collects garbage when less than the policy's `min-free` is left on the store's disk. What can't be had is said
    /// once and is no error: the disk may be large enough for this run all the same.
    pub(crate) async fn make_room(self: &Arc<Self>) {
        let session = &self.session;
        let Some(wanted) = session.options.collection.limits.min_free_bytes else { return };
        if has_room(session, wanted) {
            return;
        }
        let mut hope = self.room.lock().await;
        // Another task may have collected while this one waited.
        if *hope == Hope::Gone || has_room(session, wanted) {
            return;
        }
        let policy = GcPolicy {
            limits: GcLimits {
                min_free_bytes: Some(wanted.saturating_add(wanted / SPARE_PART)),
                ..session.options.collection.limits
            },
            ..session.options.collection.clone()
        };
        let engine = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || engine.session.store.gc_apply(&policy, &mut |_| {}));
        *hope = match work.await {
            Ok(result) => said(session, wanted, result),
            Err(_) => Hope::Gone,
        };
    }
}

fn has_room(session: &Session, wanted: u64) -> bool {
    // A file system that can't be asked is not known to be full.
    session.store.disk().map_or(true, |disk| disk.free_bytes >= wanted)
}

fn said(session: &Session, wanted: u64, result: Result<GcReport, GcError>) -> Hope {
    match result {
        Ok(report) => {
            let is_enough = has_room(session, wanted);
            session.report(Event::Collected {
                objects: report.deleted.len(),
                freed_bytes: report.freed_bytes,
                missing_bytes: if is_enough { 0 } else { wanted },
            });
            if is_enough { Hope::Left } else { Hope::Gone }
        }
        Err(error) => {
            session.report(Event::Warning(format!("the disk gets full and nothing could be deleted: {error}")));
            Hope::Gone
        }
    }
}
