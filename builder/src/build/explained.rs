//! What a failed build lacks: said once, kept at the end of its log.

use std::io::Write as _;
use std::sync::{Arc, PoisonError};

use super::failure::{BuildFailure, BuildStatus};
use super::place::BuildPlace;
use super::too_new::too_new;
use crate::event::Event;
use crate::realize::error::ObtainError;
use crate::sandbox::SandboxStatus;
use crate::system_packages::index::Ready;
use crate::system_packages::{Explanation, Failed};

/// Longest log that is explained, in bytes.
const LOG_BYTES_MAX: u64 = 256 << 20;

impl BuildPlace<'_> {
    /// The failure with its explanation; this ends the log. A failure of another build, whose tree this one wanted,
    /// stays as it is.
    pub(super) async fn explained(&self, failure: Arc<BuildFailure>) -> ObtainError {
        if !self.is_log_of(&failure) {
            return ObtainError::Build(failure);
        }
        // Only a backend that gave up says what it lacks; one that was ended was at work.
        let is_asked = matches!(failure.status, BuildStatus::Ended(SandboxStatus::Exited { .. }));
        let explanation = if is_asked { self.explanation(&failure).await } else { None };
        // After the log was read: these are our words, not the build's.
        self.trace.missed_in_words().iter().for_each(|line| self.annotate(line));
        let mut reason = failure.reason.clone();
        if let Some(explanation) = &explanation {
            self.write_down(explanation);
            reason = format!("{reason}: {}", explanation.finding.reason);
        }
        self.close_log(&reason);
        ObtainError::Build(Arc::new(BuildFailure { explanation: explanation.map(Arc::new), ..(*failure).clone() }))
    }

    async fn explanation(&self, failure: &BuildFailure) -> Option<Explanation> {
        let written = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.writer.as_mut()?.so_far(LOG_BYTES_MAX)
        };
        let log = written.inspect_err(|error| tracing::warn!(%error, "a log can't be read back")).ok()?;
        let (session, project) = (Arc::clone(&self.engine.session), self.pin.name.to_string());
        let missed = Arc::clone(&failure.missed);
        let external = self.sdist.build_system.external.clone();
        // What older requirements cure is built again at once.
        let is_final = too_new(failure.tail.iter().map(String::as_str)).is_none();
        let cancel = session.cancel.clone();
        let work = tokio::task::spawn_blocking(move || {
            let failed = Failed { project: &project, log: &log, missed: &missed, external: &external, is_final };
            session.explainer.explain(&session.store, failed, &|ready| {
                for event in events(&ready) {
                    session.report(event);
                }
            })
        });
        tokio::pin!(work);
        tokio::select! {
            explained = &mut work => explained.ok().flatten(),
            // Another package's failure is no reason to leave this one unexplained.
            () = cancel.cancelled() => if cancel.is_interrupted() { None } else { work.await.ok().flatten() },
        }
    }

    fn write_down(&self, explanation: &Explanation) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = &mut log.writer else { return };
        for line in explanation.finding.lines(nix::unistd::Uid::effective().is_root()) {
            if let Err(error) = writeln!(writer, "pip-accel: {}", line.replace(['\n', '\r'], " ")) {
                tracing::warn!(%error, "a line of a build's log is lost");
            }
        }
    }
}

/// What the user is told while the index is made ready.
pub(crate) fn events(ready: &Ready<'_>) -> Vec<Event> {
    match ready {
        Ready::Without(why) => vec![Event::Warning(format!("{why}; make it: pip-accel index update"))],
        Ready::Making(why) => vec![Event::Note(format!("{why}: reading the lists of the machine's package sources"))],
        Ready::Failed(error) => vec![Event::Warning(format!(
            "the index of system packages can't be made ({}); going on without",
            crate::event::with_causes(error)
        ))],
        Ready::Waiting { pid } => vec![Event::Waiting { what: format!("process {pid}, which makes the index") }],
        Ready::Made { report, duration } => {
            let (files, time) = (report.origin.files, duration.as_secs_f64());
            let made = Event::Note(format!("index of {files} files in {time:.0} s"));
            let complaint = report.partial().map(Event::Warning);
            std::iter::once(made).chain(complaint).collect()
        }
    }
}
