//! What every step of a run shares: the store and the claim on it, the interpreter, the user's choices.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_schema::wheel::TagSet;
use pip_accel_store::{GcPolicy, Lease, Store, StoreError};

use crate::build::HostNow;
use crate::cancel::CancelToken;
use crate::event::{Event, Reporter};
use crate::index::IndexSettings;
use crate::layers::LayerRequests;
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

/// Which of a recipe's builds may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SystemInputsPolicy {
    /// One whose needs when it runs are met on this host.
    #[default]
    Compatible,
    /// One that was built on exactly what this host has.
    Exact,
}

impl SystemInputsPolicy {
    /// The word of the setting.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compatible => "compatible",
            Self::Exact => "exact",
        }
    }
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
    /// Constraints for build requirements that no lock fixes, a line each.
    pub build_constraints: Vec<String>,
    /// Isolation of builds.
    pub sandbox: SandboxChoice,
    /// Which of a recipe's builds may be used.
    pub system_inputs: SystemInputsPolicy,
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
    /// Whether packages of the system that builds lack are unpacked into the store, and remembered ones used.
    pub unpack: bool,
    /// Whether builds are traced.
    pub trace: bool,
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
    /// What builds were found to lack, and are made with from then on.
    pub layer_requests: LayerRequests,
    /// Explains failed builds.
    pub(crate) explainer: Explainer,
    host_now: HostNow,
    /// What was built since the session began: a run may go on after a failure.
    built: Mutex<BTreeSet<ObjectId>>,
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
            layer_requests: LayerRequests::default(),
            cancel: CancelToken::of(store),
            host_now: HostNow::default(),
            built: Mutex::default(),
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

    pub(crate) fn note_built(&self, id: ObjectId) {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// Whether the object was built in this session, in this round or an earlier one.
    pub(crate) fn was_built(&self, id: &ObjectId) -> bool {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// What is known of this host at the moment.
    pub(crate) fn host_now(&self) -> &HostNow {
        &self.host_now
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
