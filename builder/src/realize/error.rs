//! Why a package, or a whole environment, could not be had.

use std::path::PathBuf;
use std::sync::Arc;

use pip_accel_schema::manifest::ParseEntryPathError;
use pip_accel_schema::wheel::ParseWheelFileNameError;
use pip_accel_store::StoreError;

use super::engine::Engine;
use crate::build::BuildFailure;
use crate::checkout::CheckoutError;
use crate::environment::EnvironmentError;
use crate::index::{ChoiceError, DownloadError, IndexError};
use crate::lock::LockError;
use crate::python::interpreter::Unsupported;
use crate::python::sdist::SdistError;
use crate::python::wheel::WheelError;
use crate::resolve::ResolveError;
use crate::sandbox::{NoSandbox, SandboxError};

/// Why one package could not be had; shared by all who wait for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ObtainError {
    /// The store failed.
    #[error("the store failed while `{pin}` was fetched")]
    Store {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<StoreError>,
    },
    /// An index failed.
    #[error("the files of `{pin}` can't be listed")]
    Index {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<IndexError>,
    },
    /// No published file is allowed and fits.
    #[error("no file of `{pin}` can be used")]
    Choice {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<ChoiceError>,
    },
    /// Neither the lock nor the index says what the file's digest is.
    #[error("neither the lock nor the index has a hash for `{pin}`")]
    Unhashed {
        /// The package.
        pin: String,
    },
    /// A download failed.
    #[error("`{file_name}` can't be downloaded")]
    Download {
        /// The file.
        file_name: String,
        /// Why.
        source: Arc<DownloadError>,
    },
    /// An index lists a file whose name is no file name.
    #[error("an index lists a file for `{pin}` whose name can't be used")]
    FileName {
        /// The package.
        pin: String,
        /// Why.
        source: ParseEntryPathError,
    },
    /// The network is needed but not allowed.
    #[error("`{pin}` is not in the store and the network is off")]
    Offline {
        /// The package.
        pin: String,
    },
    /// Build requirements must be resolved but the network is not allowed.
    #[error("the build requirements of `{pin}` ({requirements}) were never resolved here and the network is off")]
    OfflineResolution {
        /// The package.
        pin: String,
        /// What it requires.
        requirements: String,
    },
    /// A file that is named as a wheel has no wheel's name.
    #[error("`{pin}` can't be unpacked")]
    WheelName {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<ParseWheelFileNameError>,
    },
    /// A wheel is damaged, hostile or for something else.
    #[error("the wheel `{file_name}` is refused")]
    Wheel {
        /// The file.
        file_name: String,
        /// Why.
        source: Arc<WheelError>,
    },
    /// A commit or directory can't be had.
    #[error("`{pin}` can't be had")]
    Checkout {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<CheckoutError>,
    },
    /// A wheel says that it is another package.
    #[error("the wheel `{file_name}` says that it is `{found}`, not `{pin}`")]
    WheelIdentity {
        /// The package.
        pin: String,
        /// The file.
        file_name: String,
        /// `name==version` as its metadata says.
        found: String,
    },
    /// An sdist says that it is another package.
    #[error("the sdist `{file_name}` says that it is `{found}`, not `{pin}`")]
    SdistIdentity {
        /// The package.
        pin: String,
        /// The file.
        file_name: String,
        /// `name==version` as its metadata says.
        found: String,
    },
    /// An sdist is damaged, hostile or lies.
    #[error("the sdist `{file_name}` is refused")]
    Sdist {
        /// The file.
        file_name: String,
        /// Why.
        source: Arc<SdistError>,
    },
    /// The interpreter can use wheels only.
    #[error("`{pin}` has to be built")]
    Unsupported {
        /// The package.
        pin: String,
        /// Why it can't be.
        source: Arc<Unsupported>,
    },
    /// No sandbox is possible here.
    #[error("`{pin}` can't be built without a sandbox")]
    NoSandbox {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<NoSandbox>,
    },
    /// The sandbox failed.
    #[error("`{pin}` can't be built")]
    Sandbox {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<SandboxError>,
    },
    /// The build requirements could not be resolved.
    #[error("the build requirements of `{pin}` can't be resolved")]
    Resolve {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<ResolveError>,
    },
    /// The environment for a build could not be made.
    #[error("the build environment of `{pin}` can't be made")]
    BuildEnvironment {
        /// The package.
        pin: String,
        /// Why.
        source: Arc<EnvironmentError>,
    },
    /// A file of the build's scratch directory failed.
    #[error("cannot use `{path}` for the build of `{pin}`")]
    Scratch {
        /// The package.
        pin: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// Building a package needs the package itself.
    #[error("building `{pin}` needs a build of `{pin}` itself")]
    Cycle {
        /// The package.
        pin: String,
    },
    /// The build ran and failed.
    #[error("the build of `{}=={}` failed: {}", .0.name, .0.version, .0.reason)]
    Build(Arc<BuildFailure>),
    /// A worker thread died; a defect of this program.
    #[error("a worker for `{pin}` stopped unexpectedly; please report it")]
    Worker {
        /// The package or file.
        pin: String,
    },
    /// Stopped because of `^C` or because another package failed.
    #[error("`{pin}` was cancelled")]
    Cancelled {
        /// The package.
        pin: String,
    },
}

impl ObtainError {
    /// Whether the package failed only because something else did.
    #[must_use]
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// Whether it is a build that lacks packages of the system: others may lack some too, and all are to be asked for at
    /// once.
    #[must_use]
    pub fn lacks_packages(&self) -> bool {
        matches!(self, Self::Build(failure) if !failure.missing_packages().is_empty())
    }

    /// Whether the lock and the index don't go together. Other packages may have the same trouble, and all of it is to
    /// be told at once.
    #[must_use]
    pub const fn is_choice(&self) -> bool {
        matches!(self, Self::Choice { .. } | Self::Unhashed { .. })
    }
}

/// The store's disk after a failure, when what was half written is gone again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskNeed {
    /// The store.
    pub store: PathBuf,
    /// Bytes that may still be written there, if the file system can be asked.
    pub free_bytes: Option<u64>,
    /// Bytes of the downloads that were begun and did not reach the store; what is unpacked of them comes on top.
    pub downloads_bytes: u64,
}

impl DiskNeed {
    /// What there is to say after a run of `engine`.
    pub(crate) fn of(engine: &Engine) -> Self {
        let store = &engine.session.store;
        Self {
            store: store.root().to_owned(),
            free_bytes: store.disk().ok().map(|disk| disk.free_bytes),
            downloads_bytes: engine.unfinished.bytes(),
        }
    }
}

/// Why an environment could not be realized; the old one is untouched.
#[derive(Debug, thiserror::Error)]
pub enum RealizeError {
    /// Packages failed: those that could not be looked up first, then the others, each in the order of the lock; those
    /// that were only cancelled come last. The first one does not depend on how fast anything was.
    #[error("{} of {packages} packages could not be had", .failures.len())]
    Packages {
        /// Packages of the lock.
        packages: usize,
        /// What failed.
        failures: Vec<ObtainError>,
        /// What there is to say of the disk, should it be full.
        disk: DiskNeed,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// The environment could not be made.
    #[error("the environment can't be made")]
    Environment(#[source] EnvironmentError),
    /// The lock contradicts itself for this interpreter.
    #[error(transparent)]
    Lock(LockError),
    /// A place that the lock names can't be used.
    #[error("`{place}` {reason}")]
    Place {
        /// The requirement, without credentials.
        place: String,
        /// What is wrong, as the end of a sentence.
        reason: &'static str,
    },
    /// A directory or repository that the lock names can't be looked at.
    #[error("`{place}` can't be had")]
    Checkout {
        /// The requirement, without credentials.
        place: String,
        /// Why.
        source: Arc<CheckoutError>,
    },
    /// The asynchronous runtime could not start.
    #[error("cannot start worker threads")]
    Runtime(#[source] std::io::Error),
    /// The environment has private copies of packages that the lock has in another version, or not at all.
    #[error("`{}` has a private copy of {}", path.display(), detached.join("; of "))]
    Detached {
        /// The environment.
        path: PathBuf,
        /// For each package: `numpy==1.0, and the lock has 2.0`.
        detached: Vec<String>,
    },
    /// The user pressed `^C`.
    #[error("interrupted")]
    Interrupted,
}

impl From<StoreError> for RealizeError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
