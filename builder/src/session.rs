//! What every step of a run shares: the store and the claim on it, the interpreter, the user's choices.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::wheel::TagSet;
use pip_accel_store::{GcPolicy, Lease, Store, StoreError};

use crate::cancel::CancelToken;
use crate::event::{Event, Reporter};
use crate::index::IndexSettings;
use crate::lock::FormatControl;
use crate::python::interpreter::PythonInstallation;
use crate::sandbox::Limits;
use crate::system_packages::{ExplainOptions, Explainer};

/// How builds are kept away from the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SandboxChoice {
    /// bubblewrap; without it nothing is built.
    #[default]
    Bubblewrap,
    /// No isolation at all; asked for by the user, recorded, and part of the recipe.
    None,
}

/// The user's choices for one run.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Whether the network must not be used.
    pub offline: bool,
    /// Builds that run at once, and the number of jobs a build may start.
    pub jobs: usize,
    /// Memory in bytes that has to be free for a build to start while another one runs.
    pub build_memory: u64,
    /// What may be deleted while packages are fetched and built, and how much of the disk should stay free
    /// (`limits.min_free_bytes`; nothing is deleted without it).
    pub collection: GcPolicy,
    /// Where files come from.
    pub index: IndexSettings,
    /// Wheels or sdists, by project.
    pub formats: FormatControl,
    /// Isolation of builds.
    pub sandbox: SandboxChoice,
    /// Limits of one build.
    pub limits: Limits,
    /// The resolver's program, if the user names one (`PIP_ACCEL_UV`).
    pub uv: Option<PathBuf>,
    /// Files and directories of the host that the resolver needs besides the index (CA certificates).
    pub resolver_paths: Vec<PathBuf>,
    /// Variables of the user's environment that the resolver needs (proxies, CA certificates).
    pub resolver_variables: Vec<(String, String)>,
    /// Variables of the user's environment that git needs for ssh (`SSH_AUTH_SOCK`, `GIT_SSH_COMMAND`).
    pub git_variables: Vec<(String, String)>,
    /// The user's home directory, which must not be in what a build makes.
    pub home: Option<PathBuf>,
    /// `PATH`, to find the sandbox's program.
    pub search_path: String,
    /// What failed builds are explained with.
    pub explain: ExplainOptions,
}

/// One run.
pub struct Session {
    /// The store.
    pub store: Arc<Store>,
    /// What this run uses stays alive until the session ends.
    pub lease: Lease,
    /// The target interpreter.
    pub python: PythonInstallation,
    /// The choices.
    pub options: SessionOptions,
    /// Stops the run when set.
    pub cancel: CancelToken,
    /// Explains failed builds.
    pub(crate) explainer: Explainer,
    reporter: Arc<dyn Reporter>,
    identity: ValueDigest,
    tags: OnceLock<TagSet>,
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("store", &self.store.root())
            .field("python", &self.python.executable)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Starts a run.
    ///
    /// # Errors
    /// When no lease can be had on the store.
    pub fn new(
        store: &Arc<Store>,
        python: PythonInstallation,
        options: SessionOptions,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            store: Arc::clone(store),
            lease: store.lease()?,
            identity: python.interpreter.identity(),
            python,
            explainer: Explainer::new(options.explain.clone()),
            options,
            cancel: CancelToken::of(store),
            reporter,
            tags: OnceLock::new(),
        })
    }

    /// The identity of the target interpreter.
    #[must_use]
    pub fn interpreter_identity(&self) -> &ValueDigest {
        &self.identity
    }

    /// The wheel tags of the target interpreter, computed when first needed.
    #[must_use]
    pub fn tags(&self) -> &TagSet {
        self.tags.get_or_init(|| TagSet::for_interpreter(&self.python.interpreter))
    }

    /// What a sandbox shows of the interpreter.
    pub(crate) fn runtime_paths(&self) -> Vec<PathBuf> {
        self.python.runtime_paths(self.options.home.as_deref())
    }

    /// Says which objects were expected in the store and are not there any more, and which lower stores failed.
    pub(crate) fn report_gone(&self) {
        for name in self.store.take_gone() {
            self.report(Event::Warning(format!(
                "the folder of `{name}` is gone from the store; it has to be had anew"
            )));
        }
        for failure in self.store.take_lower_failures() {
            self.report(Event::Warning(failure));
        }
    }

    /// Tells the reporter.
    pub fn report(&self, event: Event) {
        self.reporter.event(event);
    }
}
