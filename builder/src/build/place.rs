//! Where one build happens: its scratch directory, its log, and what the sandbox shows of the machine.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::environment::{LinkMode, PackageLink};
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::RecipeId;
use pip_accel_store::{BuildLogWriter, BuildRecord, Object, Scratch};

use super::failure::{BuildFailure, BuildStatus, LOG_TAIL_LINES};
use super::inputs::RequirementTrees;
use super::trace::BuildTrace;
use crate::environment::{EnvironmentRequest, PackageTree, Replace, realize_environment};
use crate::event::Event;
use crate::python::sdist::UnpackedSdist;
use crate::python::wheel::ForeignPaths;
use crate::realize::engine::{Engine, store_error};
use crate::realize::environment_python;
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::sandbox::{
    Bind, BuildEnvironment, LastLines, Network, OutputSink, SandboxSpec, build_environment, printable,
};
use crate::session::{SandboxChoice, Session};

/// Where a build sees its things: constant paths in the sandbox, so that no path of this machine gets into its output;
/// the host's own without one.
#[derive(Debug)]
struct Seen {
    /// The folder of the build environments, `env0` and so on.
    environments: PathBuf,
    /// The folder of the store objects of the build environment; `None` where they lie.
    store: Option<PathBuf>,
    /// The runner.
    runner: PathBuf,
    /// The one folder a build may write to.
    build: PathBuf,
}

impl Seen {
    fn of(session: &Session, scratch: &Path) -> Self {
        match session.options.sandbox {
            SandboxChoice::Bubblewrap => Self {
                environments: "/pip-accel".into(),
                store: Some("/pip-accel/store".into()),
                runner: "/pip-accel/runner.py".into(),
                build: "/build".into(),
            },
            SandboxChoice::None => Self {
                environments: scratch.to_owned(),
                store: None,
                runner: scratch.join("runner.py"),
                build: scratch.join("build"),
            },
        }
    }

    fn environment(&self, number: usize) -> PathBuf {
        match self.store {
            // One name for every environment of a build: the wheel's bytes must not tell how many there were.
            Some(_) => self.environments.join("env"),
            None => self.environments.join(format!("env{number}")),
        }
    }

    fn object(&self, object: &Object) -> PathBuf {
        match (&self.store, object.path.file_name()) {
            (Some(store), Some(name)) => store.join(name),
            _ => object.path.clone(),
        }
    }
}

/// Removes what stands at `path` unless it is a folder; nothing there is fine too.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One build's place; gone, with all it holds, when dropped.
pub(super) struct BuildPlace<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) pin: &'a Pin,
    /// The version as the pin or the sdist says; unknown for some direct references until the wheel is there.
    pub(super) version: Option<PackageVersion>,
    pub(super) sdist: &'a UnpackedSdist,
    scratch: &'a Scratch,
    seen: Seen,
    pub(super) log: Mutex<BuildLog>,
    pub(super) trace: BuildTrace,
    started_at: i64,
}

pub(super) struct BuildLog {
    pub(super) writer: Option<BuildLogWriter>,
    /// How long programs of the build ran.
    ran: Duration,
    path: PathBuf,
    last_lines: LastLines,
}

impl<'a> BuildPlace<'a> {
    pub(super) fn new(
        engine: &'a Arc<Engine>,
        pin: &'a Pin,
        version: Option<PackageVersion>,
        (scratch, sdist): (&'a Scratch, &'a UnpackedSdist),
    ) -> Result<Self, ObtainError> {
        let label = version.clone().unwrap_or_else(|| pin.label_version());
        let writer = engine.session.store.new_build_log(&pin.name, &label).map_err(store_error(pin))?;
        let path = writer.path().to_owned();
        let log =
            BuildLog { writer: Some(writer), ran: Duration::ZERO, path, last_lines: LastLines::new(LOG_TAIL_LINES) };
        let place = Self {
            seen: Seen::of(&engine.session, scratch.path()),
            engine,
            pin,
            version,
            sdist,
            scratch,
            log: Mutex::new(log),
            trace: BuildTrace::default(),
            started_at: engine.session.store.now(),
        };
        place.create_dir(&place.output())?;
        place.write(&place.runner(), include_bytes!("runner.py"))?;
        Ok(place)
    }

    /// The folder that is writable inside.
    pub(super) fn build(&self) -> PathBuf {
        self.scratch.path().join("build")
    }

    /// Where the backend leaves its wheel.
    pub(super) fn output(&self) -> PathBuf {
        self.build().join("out")
    }

    fn runner(&self) -> PathBuf {
        self.scratch.path().join("runner.py")
    }

    /// A file of the writable folder as the build sees it.
    pub(super) fn inner(&self, name: &str) -> PathBuf {
        self.seen.build.join(name)
    }

    /// The sdist's root as seen inside.
    pub(super) fn inner_source(&self) -> PathBuf {
        // An editable wheel names the place that its backend sees.
        if let Some(editable) = self.pin.editable() {
            return editable.path.clone();
        }
        match self.sdist.root.strip_prefix(self.build()) {
            Ok(relative) => self.seen.build.join(relative),
            Err(_) => self.seen.build.join("src"),
        }
    }

    pub(super) fn create_dir(&self, path: &Path) -> Result<(), ObtainError> {
        std::fs::create_dir_all(path).map_err(self.io_error(path))
    }

    /// Writes a new file in place of whatever a hook may have left there; a link is replaced, never followed.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> Result<(), ObtainError> {
        let write = || {
            remove_if_there(path)?;
            std::fs::File::create_new(path)?.write_all(content)?;
            // As root the build is another user, whatever the mask of this process is.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
        };
        write().map_err(self.io_error(path))
    }

    pub(super) fn io_error(&self, path: &Path) -> impl Fn(io::Error) -> ObtainError + use<> {
        let (pin, path) = (self.pin.to_string(), path.to_owned());
        move |source| ObtainError::Scratch { pin: pin.clone(), path: path.clone(), source: Arc::new(source) }
    }

    fn name(&self) -> &PackageName {
        &self.pin.name
    }

    pub(super) fn label_version(&self) -> PackageVersion {
        self.version.clone().unwrap_or_else(|| self.pin.label_version())
    }

    /// A failure of this build; its log stays open for the explanation.
    pub(super) fn failure(&self, status: BuildStatus, reason: String) -> ObtainError {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        ObtainError::Build(Arc::new(BuildFailure {
            name: self.name().clone(),
            version: self.label_version(),
            status,
            reason,
            tail: log.last_lines.lines().map(str::to_owned).collect(),
            log: log.path.clone(),
            missed: self.trace.missed(),
            explanation: None,
        }))
    }

    /// Whether `failure` is of this build, not of another one whose tree it wanted.
    pub(super) fn is_log_of(&self, failure: &BuildFailure) -> bool {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).path == failure.log
    }

    /// Says that the build is about to run: from now on it is in the list, however it ends.
    pub(super) fn begin(&self) -> Result<(), ObtainError> {
        let record = self.summary("", "its process was killed", None);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.writer.as_mut().map_or(Ok(()), |writer| writer.begin(record)).map_err(store_error(self.pin))
    }

    /// Counts the time that a program of the build ran; what the build waited for is no part of it.
    pub(super) fn count_time(&self, ran: Duration) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).ran += ran;
    }

    /// Closes the log of a build that went wrong; once is enough.
    pub(super) fn close_log(&self, reason: &str) {
        self.close_log_as("failed", reason);
    }

    /// Closes the log of a build that ran, and failed in a way that nobody has written into it.
    pub(super) fn close_log_of_begun(&self, reason: &str) {
        if self.has_run() {
            self.close_log(reason);
        }
    }

    fn has_run(&self) -> bool {
        !self.log.lock().unwrap_or_else(PoisonError::into_inner).ran.is_zero()
    }

    /// Closes the log of a build that was stopped, by the user or since another package failed.
    pub(super) fn close_interrupted_log(&self) {
        let by_user = self.engine.session.cancel.is_interrupted();
        if self.has_run() {
            self.close_log_as("interrupted", if by_user { "by the user" } else { "another package failed" });
        }
    }

    fn close_log_as(&self, status: &str, reason: &str) {
        let writer = self.log.lock().unwrap_or_else(PoisonError::into_inner).writer.take();
        if let Some(writer) = writer
            && let Err(error) = writer.finish(self.summary(status, reason, None))
        {
            let warning = format!("the log of {} can't be kept: {error}", self.pin);
            self.engine.session.report(Event::Warning(warning));
        }
    }

    /// The paths that are this build's alone, and must not be in its wheel.
    pub(super) fn foreign_paths(&self) -> ForeignPaths {
        let options = &self.engine.session.options;
        let store = self.engine.session.store.root();
        // What else is in the folder has names that the world is full of: `/build/lib`.
        let mut paths = vec![self.inner("src"), self.inner("out"), self.seen.environments.clone()];
        paths.extend([store.to_owned(), self.scratch.path().to_owned()]);
        paths.extend(store.canonicalize());
        paths.extend(self.engine.session.store.lower_stores().iter().map(|lower| lower.root().to_owned()));
        // A build in the sandbox knows nothing of a home, and root's is in many a manual.
        let is_told = |home: &&PathBuf| options.sandbox == SandboxChoice::None || home.as_path() != Path::new("/root");
        paths.extend(options.home.iter().filter(is_told).cloned());
        ForeignPaths::new(paths)
    }

    /// Says what was noticed about a build that goes well otherwise, here and at the end of its log.
    pub(super) fn notice(&self, text: &str) {
        self.engine.session.report(Event::Warning(format!("{}: {text}", self.pin)));
        self.annotate(text);
    }

    /// Adds a line of ours to the end of the log.
    pub(super) fn annotate(&self, text: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &mut log.writer
            && let Err(error) = writeln!(writer, "pip-accel: {text}")
        {
            tracing::warn!(%error, "a line of a build's log is lost");
        }
    }

    /// Closes the log of a build that went well; `noticed` may be empty.
    pub(super) fn succeeded(&self, recipe: RecipeId, noticed: &str) -> Result<(), ObtainError> {
        let writer = self.log.lock().unwrap_or_else(PoisonError::into_inner).writer.take();
        match writer {
            None => Ok(()),
            Some(writer) => {
                writer.finish(self.summary("built", noticed, Some(recipe))).map_err(store_error(self.pin)).map(drop)
            }
        }
    }

    fn summary(&self, status: &str, reason: &str, recipe: Option<RecipeId>) -> BuildRecord {
        let ran = self.log.lock().unwrap_or_else(PoisonError::into_inner).ran;
        BuildRecord {
            name: self.name().clone(),
            version: self.label_version(),
            log: String::new(),
            started_at: self.started_at,
            status: status.to_owned(),
            reason: reason.to_owned(),
            recipe,
            duration_ms: u64::try_from(ran.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Makes the build environment of `trees` and says how the sandbox looks with it; the command is still missing.
    pub(super) fn spec(&self, trees: &RequirementTrees, number: usize) -> Result<SandboxSpec, ObtainError> {
        let directory = self.scratch.path().join(format!("env{number}"));
        if !directory.exists() {
            self.make_environment(trees, &directory, &self.seen.environment(number))?;
        }
        let session = &self.engine.session;
        let mut read_only: Vec<Bind> = session.runtime_paths().iter().map(Bind::same).collect();
        let environment = self.seen.environment(number);
        read_only.push(Bind::new(&directory, &environment));
        read_only.push(Bind::new(self.runner(), &self.seen.runner));
        read_only.extend(trees.objects().map(|object| Bind::new(&object.path, self.seen.object(object))));
        let mut writable = vec![Bind::new(self.build(), &self.seen.build)];
        if let Some(editable) = self.pin.editable().filter(|_| self.seen.store.is_some()) {
            // A copy at the checkout's own path.
            writable.push(Bind::new(&self.sdist.root, &editable.path));
        }
        let cores = u32::try_from(session.options.jobs).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let programs = environment.join("bin").to_string_lossy().into_owned();
        Ok(SandboxSpec {
            read_only,
            writable,
            tmpfs: Vec::new(),
            environment: build_environment(&BuildEnvironment { programs: &[&programs], cores, passed: &[] }),
            working_directory: self.seen.build.clone(),
            argv: vec![environment.join("bin/python").into(), self.seen.runner.clone().into()],
            stdin: None,
            network: Network::None,
            limits: session.options.limits.clone(),
        })
    }

    fn make_environment(&self, trees: &RequirementTrees, directory: &Path, seen_as: &Path) -> Result<(), ObtainError> {
        let session = &self.engine.session;
        let prefixes: Vec<PathBuf> = trees.objects().map(|object| self.seen.object(object)).collect();
        let mut packages = Vec::new();
        for (object, prefix) in trees.objects().zip(&prefixes) {
            if let Some(plan) = object.link_plan.as_deref() {
                packages.push(PackageTree {
                    name: &object.name,
                    version: &object.version,
                    object: object.id,
                    directory: &object.path,
                    link_prefix: prefix,
                    plan,
                    link: PackageLink::Dirs,
                    detached: false,
                    requested: false,
                    direct_url: None,
                });
            }
        }
        let request = EnvironmentRequest {
            generations: None,
            destination: directory,
            python: &environment_python(&session.python),
            packages: &packages,
            link_mode: LinkMode::Symlink,
            prompt: None,
            request_digest: ValueDigest::from_bytes([0; 32]),
            store_root: session.store.root(),
            keep_foreign: false,
            take_over: None,
            replace: Replace::Ours,
            scripts_prefix: Some(seen_as),
            link_farm: None,
            cancel: None,
        };
        realize_environment(&request)
            .map(drop)
            .map_err(|source| ObtainError::BuildEnvironment { pin: self.pin.to_string(), source: Arc::new(source) })
    }
}

impl OutputSink for &BuildPlace<'_> {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &mut log.writer {
            writer.write_all(lines)?;
        }
        log.last_lines.write_lines(lines)?;
        drop(log);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.engine.session.report(Event::BuildOutput { name: self.name().clone(), line: printable(line) });
        }
        Ok(())
    }
}
