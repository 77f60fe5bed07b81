//! Every error of the libraries → one sentence, the next command to type, the exit code.

mod bundle;
mod checkout;
mod disk;
mod inspect;
mod install;
mod lock;
mod lower;
mod project;
mod system_packages;

use std::error::Error;
use std::io;

use pip_accel_builder::build::BuildTargetError;
use pip_accel_builder::environment::EnvironmentError;
use pip_accel_builder::index::{ChoiceError, DownloadError, IndexError, RequestError, SetupError};
use pip_accel_builder::lock::LockError;
use pip_accel_builder::python::default_index::DefaultIndexError;
use pip_accel_builder::python::interpreter::{FindError, InterpreterError, Unsupported};
use pip_accel_builder::python::pip_settings::PipSettingsError;
use pip_accel_builder::python::sdist::SdistError;
use pip_accel_builder::realize::detach::DetachError;
use pip_accel_builder::realize::error::{DiskNeed, ObtainError, RealizeError};
use pip_accel_builder::resolve::ResolveError;
use pip_accel_store::{GcError, OpenError, StoreError};

use self::checkout::checkout;
use self::disk::{full, full_for, is_full};
use crate::exit_code::Exit;
use crate::settings::SettingsError;
use crate::ui::{Ui, counted, number_of};

/// Why a command fails, ready to be shown.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    /// Lines that follow the message: failed packages, last lines of a build.
    details: Vec<String>,
    hints: Vec<String>,
    /// What failed builds lack, for programs.
    system_packages: Option<serde_json::Value>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: String) -> Self {
        Self { exit, message, details: Vec::new(), hints: Vec::new(), system_packages: None }
    }

    /// A word on the command line that can't be used.
    pub(crate) fn usage(error: &dyn Error) -> Self {
        Self::new(Exit::Usage, sentence(error))
    }

    /// The same failure where the user or the system asked for the end: whatever went wrong is a consequence of that.
    pub(crate) fn interrupted(self) -> Self {
        match self.exit {
            Exit::Interrupted => self,
            _ => interrupted(),
        }
    }

    /// The message alone.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The first thing to do about it, if one is known.
    pub(crate) fn remedy(&self) -> Option<&str> {
        self.hints.first().map(String::as_str)
    }

    pub(crate) fn hint(mut self, hint: &str) -> Self {
        if !self.hints.iter().any(|known| known == hint) {
            self.hints.push(hint.to_owned());
        }
        self
    }

    fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// Shows it on standard error.
    pub(crate) fn show(&self, ui: &Ui) {
        if ui.json {
            // For programs: the reason is where they look for the report.
            let mut error = serde_json::json!({
                "message": self.message,
                "details": self.details,
                "hints": self.hints,
                "exit_code": self.exit.code(),
            });
            if let Some(missing) = &self.system_packages {
                error["system_packages"] = missing.clone();
            }
            ui.json(&serde_json::json!({ "version": 1, "error": error }));
        }
        ui.error(&self.message);
        for line in &self.details {
            ui.talk(&format!("  {line}"));
        }
        for hint in &self.hints {
            ui.hint(hint);
        }
    }
}

/// The error and what is behind it, as one sentence.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Transparent wrappers repeat what they wrap.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Usage, sentence(&error)).hint("show all settings: pip-accel config show")
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let failure = Self::new(Exit::Error, sentence(&error));
        match &error {
            OpenError::Store(error) => store_failure(error),
            OpenError::CannotProtect { .. } => failure
                .hint("allow the process CAP_LINUX_IMMUTABLE and use a file system with that flag; or set `protect = \"none\"`"),
            // sudo takes a number behind `#`, which a shell must not see.
            OpenError::ForeignOwner { owner, .. } => failure.hint(&format!(
                "run it as that user: sudo -u {} pip-accel …; or use another store: --store DIR or PIP_ACCEL_STORE",
                if owner.parse::<u32>().is_ok() { format!("'#{owner}'") } else { owner.clone() }
            )),
            OpenError::NotAStore { .. } => {
                failure.hint("name a directory of its own, which may be new: --store DIR or PIP_ACCEL_STORE")
            }
            OpenError::NewerFormat { .. } => {
                failure.hint("use the newer pip-accel that wrote it, or another store: --store")
            }
            OpenError::DatabaseLost { .. } => Self::new(Exit::StoreDamaged, sentence(&error)).hint(REBUILD),
            _ => failure.hint("name another place for the store: --store DIR or PIP_ACCEL_STORE"),
        }
    }
}

/// What helps when the database is lost.
const REBUILD: &str = "make it anew from the store's objects: pip-accel verify --rebuild-db";

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        store_failure(&error)
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted; what was finished is kept, and nothing is half done".to_owned())
}

fn store_failure(error: &StoreError) -> Failure {
    // `StoreError::Full` has the I/O error as its source.
    if is_full(error) {
        return full(error);
    }
    let failure = Failure::new(Exit::Error, sentence(error));
    match error {
        StoreError::DatabaseDamaged { .. } => Failure::new(Exit::StoreDamaged, sentence(error)).hint(REBUILD),
        StoreError::Interrupted => interrupted(),
        StoreError::InUse(_) => failure.hint("repeat the command when the other process has ended"),
        StoreError::ReadOnly { .. } => failure.hint("use a store that you may write: --store DIR or PIP_ACCEL_STORE"),
        StoreError::Immutable { path } => failure.hint(&format!(
            "repeat the command with CAP_LINUX_IMMUTABLE, outside of this container for instance; or: chattr -R -i {}",
            path.parent().unwrap_or(path).display()
        )),
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => failure.hint(
            "is all of the store yours? a run as root leaves files of root: sudo chown -R \"$(id -u):$(id -g)\" on the store",
        ),
        StoreError::Busy { .. } => failure.hint("repeat the command when the other process has ended"),
        StoreError::Record { .. } | StoreError::MissingObject(_) => failure.hint("check the store: pip-accel verify"),
        _ => failure.hint("check the machine and the store: pip-accel doctor"),
    }
}

impl From<GcError> for Failure {
    fn from(error: GcError) -> Self {
        match error {
            GcError::Incomplete { .. } => {
                return Self::new(Exit::StoreDamaged, sentence(&error)).hint(
                    "nothing is deleted before all of it is registered or moved away: pip-accel verify --repair",
                );
            }
            GcError::Store(StoreError::DatabaseDamaged { .. }) => {
                return Self::new(Exit::StoreDamaged, sentence(&error)).hint(REBUILD);
            }
            _ => {}
        }
        Self::new(Exit::Error, sentence(&error))
            .hint("nothing that is in use was deleted; look at the roots (pip-accel roots) and repeat the command")
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        lock::failure(&error)
    }
}

impl From<Unsupported> for Failure {
    fn from(error: Unsupported) -> Self {
        Self::new(Exit::Error, sentence(&error))
            .hint("use another interpreter: --python 3.12; pip-accel doctor lists them")
    }
}

impl From<PipSettingsError> for Failure {
    fn from(error: PipSettingsError) -> Self {
        Self::new(Exit::Usage, sentence(&error)).hint("mend pip's configuration: pip config debug")
    }
}

impl From<DefaultIndexError> for Failure {
    fn from(error: DefaultIndexError) -> Self {
        Self::new(Exit::Error, sentence(&error)).hint("name the index: --index-url URL")
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        Self::new(Exit::Error, sentence(&error)).hint("see what is installed: pip-accel doctor")
    }
}

impl From<InterpreterError> for Failure {
    fn from(error: InterpreterError) -> Self {
        Self::new(Exit::Error, sentence(&error))
            .hint("use another interpreter: --python 3.12; pip-accel doctor lists them")
    }
}

impl From<EnvironmentError> for Failure {
    fn from(error: EnvironmentError) -> Self {
        environment_failure(&error)
    }
}

fn environment_failure(error: &EnvironmentError) -> Failure {
    if is_full(error) {
        // The disk of the environment may be another one than that of the store, where `gc` helps.
        return Failure::new(Exit::Error, sentence(error))
            .hint("free some space on the disk of the environment (if the store is there too: pip-accel gc); repeat the command");
    }
    let failure = Failure::new(Exit::Error, sentence(error));
    match error {
        EnvironmentError::Interrupted => interrupted(),
        EnvironmentError::NotOurs { is_virtualenv: true, .. } => {
            failure.hint("name another place: --venv DIR; or, if that virtualenv may go, add --replace")
        }
        EnvironmentError::NotOurs { .. } => failure.hint("name another place: --venv DIR"),
        EnvironmentError::Manifest { .. } => failure.hint(
            "the environment's own record is damaged: delete the environment and make it anew, \
             pip-accel realize requirements.lock",
        ),
        EnvironmentError::Destination { .. } | EnvironmentError::MountPoint { .. } => {
            failure.hint("name another place: --venv DIR")
        }
        EnvironmentError::MountInside { .. } => {
            failure.hint("unmount that and repeat the command, or name another place: --venv DIR")
        }
        _ => failure.hint("the old environment is untouched; mend the cause and repeat the command"),
    }
}

impl From<BuildTargetError> for Failure {
    fn from(error: BuildTargetError) -> Self {
        match error {
            BuildTargetError::Realize(error) => error.into(),
            BuildTargetError::Io { .. } | BuildTargetError::Name(_) => Self::new(Exit::Usage, sentence(&error)),
        }
    }
}

impl From<DetachError> for Failure {
    fn from(error: DetachError) -> Self {
        match &error {
            DetachError::Store(error) => store_failure(error),
            DetachError::Environment(error) => environment_failure(error),
            DetachError::Runtime(_) => Self::new(Exit::Error, sentence(&error)),
            DetachError::NotThere { .. } => {
                Self::new(Exit::Error, sentence(&error)).hint("list its packages: pip-accel status --json")
            }
            DetachError::NoEnvironment(_) | DetachError::NotIntact(_) | DetachError::NotInStore { .. } => {
                Self::new(Exit::Error, sentence(&error))
                    .hint("make it whole first: pip-accel realize requirements.lock")
            }
        }
    }
}

impl From<RealizeError> for Failure {
    fn from(error: RealizeError) -> Self {
        match error {
            RealizeError::Packages { failures, disk, .. } => packages(&failures, &disk),
            RealizeError::Store(error) => store_failure(&error),
            RealizeError::Environment(error) => environment_failure(&error),
            RealizeError::Lock(error) => lock::failure(&error),
            RealizeError::Checkout { ref source, .. } => checkout(source, sentence(&error)),
            RealizeError::Place { .. } => {
                Self::new(Exit::LockRefused, sentence(&error)).hint("mend that line of the lock")
            }
            RealizeError::Detached { .. } => Self::new(Exit::Error, sentence(&error)).hint(
                "save what was edited there and add --reattach, which links it again; or keep that version in the lock",
            ),
            RealizeError::Runtime(_) => Self::new(Exit::Error, sentence(&error)),
            RealizeError::Interrupted => {
                Self::new(Exit::Interrupted, "interrupted; nothing was changed, what was fetched is kept".to_owned())
            }
        }
    }
}

/// The first real failure decides the exit code; the others are listed, cancelled ones as a number. A full disk is said
/// once, whatever failed because of it.
fn packages(failures: &[ObtainError], disk: &DiskNeed) -> Failure {
    let mut real: Vec<&ObtainError> = failures.iter().filter(|error| !error.is_cancelled()).collect();
    let cancelled = failures.len() - real.len();
    // A build that several packages wanted fails for each of them.
    let mut builds = Vec::new();
    real.retain(|error| match error {
        ObtainError::Build(failure) if builds.contains(&&failure.log) => false,
        ObtainError::Build(failure) => {
            builds.push(&failure.log);
            true
        }
        _ => true,
    });
    let Some((first, others)) = real.split_first() else {
        return Failure::new(Exit::Interrupted, "everything was cancelled".to_owned());
    };
    let no_room: Vec<&ObtainError> = real.iter().copied().filter(|error| is_full(*error)).collect();
    let mut failure = if is_full(*first) { full_for(&no_room, disk) } else { obtain(first) };
    for other in others.iter().filter(|error| !is_full(**error)) {
        failure.details.push(format!("also: {}", sentence(*other)));
        failure.details.extend(system_packages::explained(other));
    }
    if !is_full(*first) && !no_room.is_empty() {
        failure.details.push(format!("also: {}", full_for(&no_room, disk).message));
    }
    system_packages::sum_up(&mut failure, &real);
    if cancelled > 0 {
        failure.details.push(format!("cancelled because of that: {}", counted(cancelled, "package")));
    }
    failure
}

const INDEX_HINT: &str = "check the index and the network: pip-accel doctor; or use what the store has: --offline";
const CREDENTIALS_HINT: &str = "check the credentials: in the URL, netrc or keyring";
const CERTIFICATE_HINT: &str =
    "if the index has an authority of its own, name the file of its certificate: PIP_ACCEL_CA_FILE=FILE";

fn request_hint(error: &RequestError) -> &'static str {
    match error {
        RequestError::Unauthorized { status: 407, .. } => "check the login of the proxy: PIP_ACCEL_PROXY",
        RequestError::Unauthorized { .. } => CREDENTIALS_HINT,
        RequestError::Certificate { .. } => CERTIFICATE_HINT,
        RequestError::ClientCertificate { .. }
        | RequestError::Setup(SetupError::ReadClientCert { .. } | SetupError::ClientCert { .. }) => {
            "name the file with your certificate and its key: PIP_ACCEL_CLIENT_CERT=FILE"
        }
        RequestError::Setup(SetupError::NoAuthorities { .. } | SetupError::CaFile { .. } | SetupError::Read { .. }) => {
            "name the file of certificates: PIP_ACCEL_CA_FILE=FILE"
        }
        _ => INDEX_HINT,
    }
}

fn download(error: &DownloadError, text: String) -> Failure {
    let (exit, hint) = match error {
        DownloadError::HashMismatch { .. } => {
            (Exit::LockRefused, "do not install it; if the release was changed on purpose, lock it anew")
        }
        DownloadError::NotFound { .. } => (Exit::Error, "check the index, or lock a release that exists"),
        DownloadError::Unauthorized { .. } => (Exit::Error, CREDENTIALS_HINT),
        DownloadError::Request { source, .. } => (Exit::Error, request_hint(source)),
        _ => (Exit::Error, "try again; what was fetched so far is kept"),
    };
    Failure::new(exit, text).hint(hint)
}

fn choice_hint(error: &ChoiceError) -> &'static str {
    match error {
        ChoiceError::NoFiles { .. } | ChoiceError::NoVersion { .. } => {
            "name a release that the index has, or the index that has it: --index-url, --find-links"
        }
        ChoiceError::HashNotInLock { .. } => {
            "do not install it; if the release was changed on purpose, lock it anew: \
             pip-accel lock requirements.in -o requirements.lock --upgrade"
        }
        _ => "lock for this interpreter and platform, or name another one with --python",
    }
}

fn obtain(error: &ObtainError) -> Failure {
    if is_full(error) {
        return full(error);
    }
    let text = sentence(error);
    match error {
        ObtainError::Store { source, .. } => store_failure(source),
        ObtainError::Index { source, .. } => Failure::new(Exit::Error, text).hint(match &**source {
            IndexError::Request { source, .. } => request_hint(source),
            _ => INDEX_HINT,
        }),
        ObtainError::Choice { source, .. } => Failure::new(Exit::LockRefused, text).hint(choice_hint(source)),
        ObtainError::FileName { .. } => Failure::new(Exit::Error, text).hint("use another index: --index-url"),
        ObtainError::Unhashed { .. } => Failure::new(Exit::LockRefused, text)
            .hint("lock with hashes: pip-accel lock requirements.in -o requirements.lock"),
        ObtainError::Download { source, .. } => download(source, text),
        ObtainError::Checkout { source, .. } => checkout(source, text),
        ObtainError::Offline { .. } | ObtainError::OfflineResolution { .. } => Failure::new(Exit::Offline, text)
            .hint("fetch it while there is a network: pip-accel fetch requirements.lock"),
        ObtainError::Wheel { .. } | ObtainError::WheelName { .. } | ObtainError::WheelIdentity { .. } => {
            Failure::new(Exit::Error, text)
                .hint("nothing of it was kept; report it to the project, or lock another release")
        }
        ObtainError::Sdist { source, .. } if matches!(**source, SdistError::Identity { .. }) => {
            Failure::new(Exit::BuildFailed, text)
                .hint("nothing of it was kept; report it to the project, or lock another release")
        }
        ObtainError::Sdist { .. } => Failure::new(Exit::Error, text)
            .hint("nothing of it was kept; report it to the project, or lock another release"),
        ObtainError::SdistIdentity { .. } => Failure::new(Exit::BuildFailed, text)
            .hint("nothing of it was kept; report it to the project, or lock another release"),
        ObtainError::Unsupported { .. } => Failure::new(Exit::BuildFailed, text)
            .hint("lock a release that has a wheel, or use a newer interpreter: --python"),
        ObtainError::NoSandbox { source, .. } => Failure::new(Exit::NoSandbox, text)
            .hint(&source.remedy())
            .hint("or build without isolation, if you trust the package: --no-sandbox"),
        ObtainError::Layers { source, .. } => system_packages::layers(source, text),
        ObtainError::Sandbox { .. } => Failure::new(Exit::Error, text).hint("check the sandbox: pip-accel doctor"),
        ObtainError::Worker { .. } => {
            Failure::new(Exit::Error, text).hint("repeat the command with -vv and keep its output")
        }
        ObtainError::Resolve { source, .. } if matches!(**source, ResolveError::NotBuilt { .. }) => Failure::new(
            Exit::BuildFailed,
            text,
        )
        .hint(
            "lock the build requirements in `#: build` lines, or resolve them once from an index without credentials",
        ),
        ObtainError::Resolve { .. } => Failure::new(Exit::BuildFailed, text)
            .hint("lock the build requirements in `#: build` lines, or name a resolver with PIP_ACCEL_UV"),
        ObtainError::BuildEnvironment { .. } | ObtainError::Scratch { .. } => {
            Failure::new(Exit::Error, text).hint("check the disk and the store: pip-accel doctor")
        }
        ObtainError::Cycle { .. } => {
            Failure::new(Exit::BuildFailed, text).hint("use a wheel of one of them: remove --no-binary for it")
        }
        ObtainError::Build(failure) => system_packages::build(failure, text),
        ObtainError::Cancelled { .. } => Failure::new(Exit::Interrupted, text),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;

    const SPACE: &str = "free some space, for instance with `pip-accel gc`, and repeat the command";

    fn no_space() -> io::Error {
        io::Error::from(io::ErrorKind::StorageFull)
    }

    fn store_full() -> StoreError {
        StoreError::Full { path: PathBuf::from("/store/x"), source: no_space() }
    }

    /// C3: however deep the full disk is behind the failure, it is what the hint is about.
    #[test]
    fn a_full_disk_is_recognised_behind_every_failure() {
        let pin = || "x==1.0".to_owned();
        let url = || url::Url::parse("https://h.example/x").expect("a URL").into();
        let sink = |source| DownloadError::Sink { url: url(), source };
        for error in [
            ObtainError::Store { pin: pin(), source: Arc::new(store_full()) },
            ObtainError::Download { file_name: pin(), source: Arc::new(sink(no_space())) },
            ObtainError::Download { file_name: pin(), source: Arc::new(sink(io::Error::other(store_full()))) },
            ObtainError::Scratch { pin: pin(), path: PathBuf::from("/x"), source: Arc::new(no_space()) },
            ObtainError::Scratch {
                pin: pin(),
                path: PathBuf::from("/x"),
                source: Arc::new(io::ErrorKind::QuotaExceeded.into()),
            },
        ] {
            let failure = obtain(&error);
            assert_eq!((failure.exit, failure.remedy()), (Exit::Error, Some(SPACE)), "{error:?}");
        }
        let environment = EnvironmentError::MountPoint { path: PathBuf::from("/x"), source: no_space() };
        assert!(environment_failure(&environment).remedy().is_some_and(|remedy| remedy.contains("of the environment")));
        assert_eq!(store_failure(&store_full()).remedy(), Some(SPACE));
        let other = sink(io::ErrorKind::PermissionDenied.into());
        assert!(!is_full(&other));
    }

    #[test]
    fn a_failed_download_says_what_to_check() {
        let url = || url::Url::parse("https://h.example/x").expect("a URL").into();
        for (error, word) in [
            (DownloadError::NotFound { url: url() }, "release that exists"),
            (DownloadError::Unauthorized { url: url(), status: 401 }, "credentials"),
            (DownloadError::TooLarge { url: url(), limit: 1 }, "try again"),
        ] {
            let failure = obtain(&ObtainError::Download { file_name: "x".to_owned(), source: Arc::new(error) });
            assert!(failure.remedy().is_some_and(|remedy| remedy.contains(word)), "{failure:?}");
        }
    }
}
