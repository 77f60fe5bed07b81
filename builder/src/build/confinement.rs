//! With or without bubblewrap: the one place that looks at the user's choice.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::sandbox::{
    CancelSignal, FileTrace, HostFacts, HostQuery, NoSandbox, OutputSink, Overlay, SandboxError, SandboxOutcome,
    SandboxSpec, TraceRefused, run, run_traced, run_unconfined,
};
use crate::session::{SandboxChoice, Session};

/// Namespace of the remembered trial runs.
const MEMO: &str = "sandbox-works/1";

/// A trial run that succeeded.
const WORKS: &[u8] = b"works";

/// No sandbox could be made although a trial run had succeeded.
const UNKNOWN: &[u8] = b"";

/// What is known of the files that a run read.
#[derive(Debug)]
pub(crate) enum Traced {
    /// All that was noted.
    Trace(FileTrace),
    /// Nothing: this machine can't trace.
    Refused(TraceRefused),
    /// Nothing: there is no sandbox to trace in, or nobody wants it.
    Off,
}

/// How programs that are not trusted are run.
pub(crate) enum Confinement {
    /// In bubblewrap.
    Bubblewrap(HostFacts),
    /// As the user, by the user's own wish.
    Off,
}

impl Confinement {
    /// Whether the user switched the sandbox off.
    pub(crate) fn is_off(session: &Session) -> bool {
        session.options.sandbox == SandboxChoice::None
    }

    /// What the session's choice means on this host.
    ///
    /// # Errors
    /// When bubblewrap is wanted and no sandbox is possible.
    pub(crate) async fn of(session: &Session) -> Result<Self, NoSandbox> {
        match session.options.sandbox {
            SandboxChoice::None => Ok(Self::Off),
            SandboxChoice::Bubblewrap => Ok(Self::Bubblewrap(host_facts(session).await?)),
        }
    }

    /// What a run that could not be carried out means for `pin`. A machine that can't make a sandbox now, whatever the
    /// trial run said before, is tried anew by the next build.
    pub(crate) fn failure(session: &Session, pin: &Pin, error: SandboxError) -> ObtainError {
        let pin = pin.to_string();
        match NoSandbox::behind(error) {
            Ok(reason) => {
                let query = HostQuery { search_path: OsStr::new(&session.options.search_path) };
                // A store that can't be written has not remembered the trial run either.
                drop(session.store.memo_put(MEMO, HostFacts::cache_key(&query).as_bytes(), UNKNOWN));
                ObtainError::NoSandbox { pin, source: Arc::new(reason) }
            }
            Err(error) => ObtainError::Sandbox { pin, source: Arc::new(error) },
        }
    }

    /// Whether `overlay` can be laid over `/usr`; the reason why not, as the end of a sentence.
    pub(crate) async fn can_overlay(&self, overlay: &Overlay) -> Result<(), String> {
        match self {
            Self::Bubblewrap(host) => host.probe_overlay(overlay).await,
            Self::Off => Err("there is no sandbox".to_owned()),
        }
    }

    /// Has what the trace of a build is compared with read while the build runs.
    pub(crate) fn read_ahead(&self, session: &Session) {
        if matches!(self, Self::Bubblewrap(_)) {
            let lists = session.host_now().lists();
            // Who needs them waits for them; nothing else depends on this.
            drop(tokio::task::spawn_blocking(move || lists.now()));
        }
    }

    /// Runs `spec`; when this returns, nothing of it is alive.
    pub(crate) async fn run(
        &self,
        spec: &SandboxSpec,
        sink: &mut (dyn OutputSink + Send),
        mut cancel: CancelSignal,
    ) -> Result<SandboxOutcome, SandboxError> {
        match self {
            Self::Bubblewrap(host) => run(spec, host, sink, &mut cancel).await,
            Self::Off => run_unconfined(spec, sink, &mut cancel).await,
        }
    }

    /// The same as [`Self::run`], traced where there is a sandbox and `trace` says so.
    pub(crate) async fn run_traced(
        &self,
        spec: &SandboxSpec,
        sink: &mut (dyn OutputSink + Send),
        (mut cancel, trace): (CancelSignal, bool),
    ) -> Result<(SandboxOutcome, Traced), SandboxError> {
        match self {
            Self::Bubblewrap(host) if !trace => Ok((run(spec, host, sink, &mut cancel).await?, Traced::Off)),
            Self::Bubblewrap(host) => {
                let (outcome, traced) = run_traced(spec, host, sink, &mut cancel).await?;
                Ok((outcome, traced.map_or_else(Traced::Refused, Traced::Trace)))
            }
            Self::Off => Ok((run_unconfined(spec, sink, &mut cancel).await?, Traced::Off)),
        }
    }
}

/// The facts of this host. That a sandbox is possible is remembered as long as nothing it depends on changes, because
/// the trial run takes ten milliseconds of every build; which files there are to show is read each time.
async fn host_facts(session: &Session) -> Result<HostFacts, NoSandbox> {
    let query = HostQuery { search_path: OsStr::new(&session.options.search_path) };
    let key = HostFacts::cache_key(&query);
    if session.store.memo_get(MEMO, key.as_bytes()).is_ok_and(|memo| memo.as_deref() == Some(WORKS)) {
        return HostFacts::read(&query);
    }
    let facts = HostFacts::probe(&query).await?;
    // A store that can't remember costs the next build a trial run, nothing else.
    drop(session.store.memo_put(MEMO, key.as_bytes(), WORKS));
    Ok(facts)
}
