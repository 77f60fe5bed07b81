//! What the file trace of a build is good for: its system inputs, and what it looked for in vain.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use pip_accel_schema::system_inputs::{SystemInputs, Without};

use super::confinement::Traced;
use super::hooks::Hook;
use super::place::BuildPlace;
use super::system;
use crate::event::Event;
use crate::sandbox::{FileTrace, MissedPath};
use crate::session::Session;
use crate::system_packages::{Built, may_lack};

/// Namespace of what was said about machines that can't trace.
const MEMO: &str = "untraced/1";

/// Missed paths at the end of a failed build's log: the last ones, which are nearest to the failure.
const MISSED_SHOWN: usize = 40;

/// Most of a good build's log that is searched for what it did without, in bytes.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// The traces of one build.
#[derive(Debug, Default)]
pub(super) struct BuildTrace(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    /// What `build_wheel` did; other hooks are not run when their answer is remembered, so they don't count.
    wheel: Option<FileTrace>,
    /// What all hooks looked for in vain, in order.
    missed: Vec<MissedPath>,
    /// The names of what all hooks found.
    found: HashSet<OsString>,
    /// What the build did without, once it went well.
    without: Vec<Without>,
}

impl BuildTrace {
    /// Keeps the trace of a hook.
    pub(super) fn take(&self, session: &Session, hook: Hook, traced: Traced) {
        let trace = match traced {
            Traced::Off => return,
            Traced::Refused(reason) => return say_once(session, &reason.to_string()),
            Traced::Trace(trace) => trace,
        };
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.missed.extend(trace.missed.iter().cloned());
        noted.found.extend(trace.names.iter().cloned());
        if hook == Hook::BuildWheel {
            noted.wheel = Some(trace);
        }
    }

    /// What was looked for in vain, the last ones last. What was found in another folder was not missed.
    pub(super) fn missed(&self) -> Arc<[MissedPath]> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missed = |missed: &&MissedPath| missed.path.file_name().is_some_and(|name| !noted.found.contains(name));
        noted.missed.iter().filter(is_missed).cloned().collect()
    }

    /// Keeps what the build did without.
    pub(super) fn note_without(&self, without: &[Without]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).without = without.to_vec();
    }

    /// What the build did without, if that was noted.
    pub(super) fn take_without(&self) -> Vec<Without> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).without)
    }

    /// The lines that tell a reader of the log what was looked for in vain.
    pub(super) fn missed_in_words(&self) -> Vec<String> {
        let missed = self.missed();
        let shown = &missed[missed.len().saturating_sub(MISSED_SHOWN)..];
        shown.iter().map(|missed| format!("missed: {}", missed.path.display())).collect()
    }
}

impl BuildPlace<'_> {
    /// What the build read of the system; `None` when that is not known in full.
    pub(super) async fn system_inputs(&self) -> Option<SystemInputs> {
        let trace = self.trace.0.lock().unwrap_or_else(PoisonError::into_inner).wheel.take();
        let mut trace = trace.filter(|trace| trace.complete)?;
        // What the recipe has already.
        trace.read.retain(|path| !self.layered.layers().have(path));
        let lists = self.engine.session.host_now().lists();
        let work = tokio::task::spawn_blocking(move || system::system_inputs(&lists, &trace.read));
        match work.await {
            Ok(Ok(inputs)) => Some(inputs),
            Ok(Err(error)) => {
                tracing::warn!(%error, pin = %self.pin, "the system inputs of a build are not known");
                None
            }
            Err(_) => None,
        }
    }
}

impl BuildPlace<'_> {
    /// What a build that went well did without, as far as it is known to matter.
    pub(super) async fn without(&self) -> Vec<Without> {
        let missed = self.trace.missed();
        if !may_lack(&missed) {
            return Vec::new();
        }
        let log = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.writer.as_mut().and_then(|writer| writer.so_far(LOG_BYTES_MAX).ok()).unwrap_or_default()
        };
        let (session, project) = (Arc::clone(&self.engine.session), self.pin.name.to_string());
        let work = tokio::task::spawn_blocking(move || {
            let built = Built { project: &project, log: &log, missed: &missed };
            session.explainer.without(&session.store, &built)
        });
        work.await.unwrap_or_default()
    }
}

/// Says that builds can't be traced here, once in the life of a store.
fn say_once(session: &Session, reason: &str) {
    // Builds end at the same time.
    static SAYING: Mutex<()> = Mutex::new(());
    let saying = SAYING.lock().unwrap_or_else(PoisonError::into_inner);
    if session.store.memo_get(MEMO, reason.as_bytes()).is_ok_and(|said| said.is_some()) {
        return;
    }
    // A store that can't remember says it again.
    drop(session.store.memo_put(MEMO, reason.as_bytes(), b"said"));
    drop(saying);
    session.report(Event::Warning(format!(
        "builds can't be traced here: {reason}; what they read of the system is not recorded, and only the log explains \
         a failure"
    )));
}
