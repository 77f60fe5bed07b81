//! From a lock to an environment.
//!
//! 1. `plan`: the pins that apply to the interpreter, and which of their trees the store has. This is all a warm
//!    run does, without a thread or a socket.
//! 2. `engine`: fetches and builds what is missing, in parallel; a failure stops what could not come before it.
//! 3. The environment is made beside the old one and swapped in; then it is a root.
//!
//! The session's lease covers every object from the moment it is looked at until the root is registered, so a
//! garbage collection at any moment takes none of them.

pub mod again;
pub mod bundle;
pub(crate) mod course;
pub mod detach;
pub mod engine;
pub mod error;
mod fetch;
pub mod generations;
mod interrupt;
mod keep;
mod lacking;
pub(crate) mod link;
mod permits;
pub mod pin;
pub(crate) mod place;
mod plan;
pub mod profile;
mod publisher;
mod purpose;
mod room;
pub(crate) mod schedule;
mod select;
mod sink;
pub mod sysdeps;
pub(crate) mod turn;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::environment::{Clash, LinkMode, PackageLink};
use pip_accel_schema::name::PackageName;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Access, Object, StoreError};

pub use fetch::{FetchReport, fetch};
pub use keep::{PinError, PinReport, pin_lock, pin_name};
pub use plan::{Plan, PlannedPackage};
pub(crate) use select::{MEMO as SELECTION_MEMO, remembered as remembered_selection};

use crate::build::{misfit, sandbox_policy};
use crate::checkout::{CheckoutPlace, Survey, clone_editables};
use crate::environment::{self, EnvironmentPython, FileCounts};
use crate::event::Event;
use crate::lock::LoadedLock;
use crate::python::interpreter::{self, PythonInstallation};
use crate::session::Session;
use course::{Course, in_order, stop_others};
use engine::{Engine, How, Obtained, Purpose};
use error::{DiskNeed, ObtainError, RealizeError};
use generations::Step;
pub use interrupt::{Interruptible, Interrupts};
use link::{Linker, Part, environment_root, link, replace};
use profile::Phases;
use turn::Waiter;

/// What the user asks for besides the lock.
#[derive(Debug, Clone)]
pub struct RealizeRequest {
    /// Where the environment goes; absolute.
    pub destination: PathBuf,
    /// How files get into it.
    pub link_mode: LinkMode,
    /// Packages whose files get there in another way; of projects that the lock does not have they mean nothing.
    pub links: BTreeMap<PackageName, PackageLink>,
    /// Keep what others installed into the old environment.
    pub keep_foreign: bool,
    /// Replace a virtualenv that somebody else made.
    pub replace: bool,
    /// Take the virtualenv over as it is, with all that others installed but these files of replaced distributions
    /// (relative to its root); goes with `keep_foreign` and `replace`.
    pub take_over: Option<BTreeSet<String>>,
    /// Link detached packages again: their private copies go.
    pub reattach: bool,
    /// Earlier generations of the environment that are kept.
    pub generations: usize,
    /// The digest of an [`again::Question`]: what is found in order is remembered under it. `None`: nothing is.
    pub question: Option<ValueDigest>,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct RealizeReport {
    /// Packages of the environment.
    pub packages: usize,
    /// Trees that were in the store.
    pub from_store: usize,
    /// Trees whose wheel was unpacked now.
    pub fetched: usize,
    /// Trees that were built now.
    pub built: usize,
    /// Whether the environment already was what the lock says.
    pub unchanged: bool,
    /// Paths that several packages ship with different content.
    pub clashes: Vec<Clash>,
    /// What others put into the old environment.
    pub foreign: Vec<String>,
    /// Those of `foreign` that should have been kept, but the new environment has something else there.
    pub foreign_lost: Vec<String>,
    /// Files of packages that gave way to the environment's own, with the package.
    pub refused: Vec<(String, PackageName)>,
    /// The old environment, when it could not be removed completely.
    pub leftover: Option<PathBuf>,
    /// Packages of which the environment keeps a private copy.
    pub detached: Vec<PackageName>,
    /// Packages whose private copy is gone.
    pub reattached: Vec<PackageName>,
    /// How files got there; all zero when nothing was changed.
    pub files: FileCounts,
    /// Where the time went.
    pub phases: Phases,
}

/// Everything that decides what an environment holds, as one digest.
fn request_digest(session: &Session, (lock, survey): (&LoadedLock, &Survey), request: &RealizeRequest) -> ValueDigest {
    let mut encoder = Encoder::for_domain("pip-accel/environment-request/2");
    encoder.bytes(lock.digest.as_bytes()).bytes(session.interpreter_identity().as_bytes());
    encoder.text(&session.python.executable.to_string_lossy()).text(request.link_mode.as_str());
    encoder.text(&format!("{:?}", session.options.formats)).text(sandbox_policy(session));
    encoder.text(&session.store.root().to_string_lossy()).text(&request.destination.to_string_lossy());
    let is_locked = |name: &PackageName| lock.requirements.iter().any(|locked| locked.name.as_ref() == Some(name));
    let links: Vec<_> = request.links.iter().filter(|(name, link)| !link.is_default() && is_locked(name)).collect();
    encoder.number(links.len() as u64);
    for (name, link) in links {
        encoder.text(name.as_str()).text(link.as_str());
    }
    survey.encode(&mut encoder);
    ValueDigest::from_bytes(encoder.finish())
}

/// Makes the environment of `lock`.
///
/// # Errors
/// See [`RealizeError`]; the old environment is untouched by any of them.
pub fn realize(
    session: &Arc<Session>,
    lock: &LoadedLock,
    request: &RealizeRequest,
) -> Result<RealizeReport, RealizeError> {
    let started = Instant::now();
    let selected = lock.select(&session.python.interpreter.markers).map_err(RealizeError::Lock)?;
    clone_editables(session, &selected)?;
    let survey = Survey::of(session, &selected)?;
    let digest = request_digest(session, (lock, &survey), request);
    // Two runs for one place take turns: the root must be that of the environment which stands there in the end.
    let is_read_only = session.store.access() == Access::ReadOnly;
    let report = |event| session.report(event);
    let destination = &request.destination;
    let waiter = Waiter { store: &session.store, cancel: &session.cancel, destination, report: &report };
    let _turn = if is_read_only { None } else { Some(waiter.take_turn()?) };
    if let Some(mut report) = already_there(session, &digest, request)? {
        report.phases.plan = started.elapsed();
        return Ok(report);
    }
    if is_read_only {
        // Nothing could keep the objects of a new environment.
        let root = session.store.root().to_owned();
        return Err(StoreError::ReadOnly { root, action: "keep what an environment needs" }.into());
    }
    // Until here a signal ends the process, which has nothing to put in order yet.
    let _interrupts = Interrupts::start(&session.cancel).map_err(RealizeError::Runtime)?;
    // Before anything is fetched or built for a place that can't be had.
    environment::check_place(&request.destination, replace(request)).map_err(RealizeError::Environment)?;
    let plan = Plan::of(session, (selected, &survey), &lock.build_locks)?;
    session.report_gone();
    let planned = Instant::now();
    let engine = Engine::new(session, lock.build_locks.clone(), Purpose::Build);
    let mut obtained = obtain_all(&engine, &plan)?;
    for tree in obtained.iter_mut().filter(|tree| tree.how == How::Store && session.was_built(&tree.object.id)) {
        tree.how = How::Built;
    }
    if session.cancel.is_cancelled() {
        return Err(RealizeError::Interrupted);
    }
    check_names(&plan, &obtained)?;
    let linking = Instant::now();
    session.report(Event::Linking { packages: obtained.len() });
    // `requested` as pip and uv do for each line of `-r`: a flat lock does not tell who asked for what.
    let part = |(tree, package)| Part { tree, direct_url: direct_url(package), requested: true };
    let obtained: Vec<Part> = obtained.into_iter().zip(&plan.packages).map(part).collect();
    let _place = waiter.take_place()?;
    let mut report = link(&Linker::of(session), request, (digest, Step::Forward), &obtained)?;
    report.phases = Phases {
        plan: planned.duration_since(started),
        obtain: linking.duration_since(planned),
        link: linking.elapsed(),
        work: if report.from_store == report.packages { Vec::new() } else { engine.work.sums() },
    };
    Ok(report)
}

/// What a realized environment would take, without doing it.
///
/// # Errors
/// When the lock does not fit the interpreter, or the store fails.
pub fn plan(session: &Arc<Session>, lock: &LoadedLock) -> Result<Plan, RealizeError> {
    Plan::make(session, lock)
}

fn already_there(
    session: &Session,
    digest: &ValueDigest,
    request: &RealizeRequest,
) -> Result<Option<RealizeReport>, RealizeError> {
    let Ok(Some(manifest)) = environment::read_manifest(&request.destination) else { return Ok(None) };
    if manifest.request != *digest {
        return Ok(None);
    }
    let ids: Vec<ObjectId> = manifest.packages.iter().map(|package| package.object).collect();
    let taken = session.lease.take(&ids)?;
    let is_usable = |object: &Option<Object>| object.as_ref().is_some_and(|object| misfit(session, object).is_none());
    if !taken.iter().all(is_usable) {
        return Ok(None);
    }
    let detached = detach::names(&manifest);
    if request.reattach && !detached.is_empty() {
        return Ok(None);
    }
    let clashes = manifest.clashes.clone();
    let status = environment::check_against(&request.destination, manifest).map_err(RealizeError::Environment)?;
    // What nobody here made is not what the lock describes.
    if !status.is_intact() || (!status.foreign.is_empty() && !request.keep_foreign) {
        return Ok(None);
    }
    // Setting a root waits for the disk. One that is there may be that of another environment, if this one was put back.
    let root = environment_root(request);
    let can_write = session.store.access() == Access::ReadWrite;
    let earlier = generations::kept_objects(&request.destination);
    let found = session.lease.take(&earlier)?.into_iter().flatten().map(|object| object.id);
    let held: Vec<ObjectId> = ids.iter().copied().chain(found).collect();
    if can_write && !session.store.root_holds(root.kind, &root.name, &held)? {
        session.store.put_root(root, &held)?;
    }
    let is_plain = clashes.is_empty() && status.foreign.is_empty() && detached.is_empty();
    if let Some(manifest) = status.manifest.filter(|_| is_plain) {
        let needs = taken.iter().flatten().filter_map(|object| object.link_plan.as_deref()?.needs.as_ref());
        let named = needs.flat_map(|needs| &needs.libraries).filter(|library| library.starts_with('/'));
        again::remember(&session.store, request, (&manifest, &held, named.cloned().collect()))?;
    }
    Ok(Some(RealizeReport {
        packages: ids.len(),
        from_store: ids.len(),
        fetched: 0,
        built: 0,
        unchanged: true,
        clashes,
        foreign: status.foreign,
        foreign_lost: Vec::new(),
        refused: Vec::new(),
        leftover: None,
        detached,
        reattached: Vec::new(),
        files: FileCounts::default(),
        phases: Phases::default(),
    }))
}

/// A checkout whose name only its build told may be a project that another line names too.
fn check_names(plan: &Plan, obtained: &[Obtained]) -> Result<(), RealizeError> {
    let mut names = BTreeSet::new();
    for (package, tree) in plan.packages.iter().zip(obtained) {
        if !names.insert(&tree.object.name) {
            let reason = "is a project that another line of the lock has too";
            return Err(RealizeError::Place { place: package.pin.to_string(), reason });
        }
    }
    Ok(())
}

/// All trees of the plan, in its order.
pub(crate) fn obtain_all(engine: &Arc<Engine>, plan: &Plan) -> Result<Vec<Obtained>, RealizeError> {
    let session = &engine.session;
    session.report(Event::Planned { packages: plan.packages.len(), in_store: plan.in_store() });
    let present = |package: &PlannedPackage| package.object.clone().map(|object| Obtained { object, how: How::Store });
    if let Some(all) = plan.packages.iter().map(present).collect::<Option<Vec<_>>>() {
        return Ok(all);
    }
    run(session, obtain_missing(engine, plan))?
}

/// Runs asynchronous work on threads of its own, which are gone when it returns.
pub(crate) fn run<T>(session: &Session, work: impl Future<Output = T>) -> Result<T, RealizeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RealizeError::Runtime)?;
    let _interrupts = Interrupts::start(&session.cancel).map_err(RealizeError::Runtime)?;
    session.report_gone();
    let result = runtime.block_on(work);
    session.report_gone();
    // Threads that wait for another process's lock can't be stopped; the process ends soon and takes them along.
    runtime.shutdown_background();
    Ok(result)
}

/// What became of each package of a plan; nothing when its task died.
type Results = Vec<Option<Result<Obtained, ObtainError>>>;

async fn obtain_missing(engine: &Arc<Engine>, plan: &Plan) -> Result<Vec<Obtained>, RealizeError> {
    let courses: Vec<Course> = plan.packages.iter().map(|_| Course::default()).collect();
    let mut results: Results = Vec::new();
    let mut work = tokio::task::JoinSet::new();
    for (position, (package, course)) in plan.packages.iter().zip(&courses).enumerate() {
        let present = package.object.clone().map(|object| Ok(Obtained { object, how: How::Store }));
        if present.is_none() {
            let (engine, pin) = (Arc::clone(engine), package.pin.clone());
            work.spawn(course.clone().follow(async move { (position, engine.tree(&pin, None).await) }));
        }
        results.push(present);
    }
    let stop_all = || courses.iter().for_each(Course::stop);
    let interrupted = engine.session.cancel.cancelled();
    let mut interrupted = std::pin::pin!(interrupted);
    let mut listens = true;
    loop {
        let joined = tokio::select! {
            joined = work.join_next() => joined,
            () = &mut interrupted, if listens => {
                listens = false;
                stop_all();
                continue;
            }
        };
        match joined {
            None => break,
            Some(Ok((position, result))) => {
                match &result {
                    Ok(Obtained { object, .. }) => engine
                        .session
                        .report(Event::Stored { name: object.name.clone(), version: object.version.clone() }),
                    Err(failure) => stop_others(&courses, position, failure),
                }
                results[position] = Some(result);
            }
            // A task that panicked; its package stays without result and is named below.
            Some(Err(_)) => stop_all(),
        }
    }
    collect(engine, plan, (results, &courses))
}

fn collect(
    engine: &Engine,
    plan: &Plan,
    (results, courses): (Results, &[Course]),
) -> Result<Vec<Obtained>, RealizeError> {
    if engine.session.cancel.is_interrupted() {
        return Err(RealizeError::Interrupted);
    }
    let mut obtained = Vec::with_capacity(results.len());
    let mut failures = Vec::new();
    for ((result, package), course) in results.into_iter().zip(&plan.packages).zip(courses) {
        match result {
            Some(Ok(tree)) => obtained.push(tree),
            Some(Err(error)) => failures.push((!course.is_looked_up(), error)),
            None => failures.push((false, ObtainError::Worker { pin: package.pin.to_string() })),
        }
    }
    if failures.is_empty() {
        return Ok(obtained);
    }
    let failures = in_order(failures);
    Err(RealizeError::Packages { packages: plan.packages.len(), failures, disk: DiskNeed::of(engine) })
}

/// What an environment needs to know of the interpreter.
pub(crate) fn environment_python(python: &PythonInstallation) -> EnvironmentPython {
    let interpreter = &python.interpreter;
    let template = |template: &interpreter::ActivationTemplate| environment::ActivationTemplate {
        file_name: template.file_name.clone(),
        text: template.text.clone(),
    };
    EnvironmentPython {
        executable: python.executable.clone(),
        implementation: interpreter.implementation,
        version: interpreter.version,
        full_version: interpreter.full_version.clone(),
        site_packages: interpreter.site_packages.clone(),
        activation_templates: python.activation_templates.iter().map(template).collect(),
    }
}

/// The `direct_url.json` (PEP 610) of a package that came from no index.
pub(crate) fn direct_url(package: &PlannedPackage) -> Option<String> {
    if let Some(checkout) = &package.pin.checkout {
        return Some(checkout_url(&checkout.place));
    }
    let direct = package.pin.direct.as_ref()?;
    let hashes: Vec<String> = package.pin.hashes.iter().map(ToString::to_string).collect();
    let url = direct.url.without_credentials();
    let archive = match hashes.as_slice() {
        [only] => serde_json::json!({ "hash": format!("sha256={only}"), "hashes": { "sha256": only } }),
        _ => serde_json::json!({}),
    };
    Some(serde_json::json!({ "url": url.as_str(), "archive_info": archive }).to_string())
}

/// The same for a commit (`vcs_info`) or a directory (`dir_info`).
fn checkout_url(place: &CheckoutPlace) -> String {
    let of_directory = |path: &std::path::Path, info: serde_json::Value| {
        let url = url::Url::from_file_path(path).map(String::from).unwrap_or_default();
        serde_json::json!({ "url": url, "dir_info": info })
    };
    let value = match place {
        CheckoutPlace::Git(commit) => {
            let info = serde_json::json!({ "vcs": "git", "commit_id": commit.commit.as_str() });
            let mut value = serde_json::json!({ "url": commit.public_url(), "vcs_info": info });
            if let Some(requested) = &commit.requested {
                value["vcs_info"]["requested_revision"] = requested.clone().into();
            }
            if let Some(folder) = &commit.subdirectory {
                value["subdirectory"] = folder.clone().into();
            }
            value
        }
        CheckoutPlace::Directory(directory) => of_directory(&directory.path, serde_json::json!({})),
        CheckoutPlace::Editable(editable) => of_directory(&editable.path, serde_json::json!({ "editable": true })),
    };
    value.to_string()
}
