//! From a lock to an environment.
//!
//! 1. `plan`: the pins that apply to the interpreter, and which of their trees the store has. This is all a warm
//!    run does, without a thread or a socket.
//! 2. `engine`: fetches and builds what is missing, in parallel; the first failure stops the rest.
//! 3. The environment is made beside the old one and swapped in; then it is a root.
//!
//! The session's lease covers every object from the moment it is looked at until the root is registered, so a
//! garbage collection at any moment takes none of them.

mod checked;
pub mod detach;
pub mod engine;
pub mod error;
mod fetch;
mod permits;
pub mod pin;
mod plan;
pub mod profile;
mod publisher;
mod room;
pub(crate) mod schedule;
mod select;
mod sink;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::environment::{Clash, LinkMode, PackageLink};
use pip_accel_schema::name::PackageName;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Access, KeyLock, NewRoot, Object, RootKind, Store, StoreError};

pub use fetch::{FetchReport, fetch};
pub use plan::{Plan, PlannedPackage};
pub(crate) use select::remembered as remembered_selection;

use crate::build::sandbox_policy;
use crate::environment::{self, EnvironmentPython, EnvironmentRequest, FileCounts, PackageTree};
use crate::event::Event;
use crate::lock::LoadedLock;
use crate::python::interpreter::{self, PythonInstallation};
use crate::session::Session;
use engine::{Engine, How, Obtained, Purpose};
use error::{ObtainError, RealizeError};
use profile::Phases;

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
    /// Link detached packages again: their private copies go.
    pub reattach: bool,
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
fn request_digest(session: &Session, lock: &LoadedLock, request: &RealizeRequest) -> ValueDigest {
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
    let digest = request_digest(session, lock, request);
    // Two runs for one place take turns: the root must be that of the environment which stands there in the end.
    let is_read_only = session.store.access() == Access::ReadOnly;
    let take_turn = || take_turn(&session.store, &request.destination, &|event| session.report(event));
    let _turn = if is_read_only { None } else { Some(take_turn()?) };
    if let Some(mut report) = already_there(session, &digest, request)? {
        report.phases.plan = started.elapsed();
        return Ok(report);
    }
    if is_read_only {
        // Nothing could keep the objects of a new environment.
        let root = session.store.root().to_owned();
        return Err(StoreError::ReadOnly { root, action: "keep what an environment needs" }.into());
    }
    let plan = Plan::make(session, lock)?;
    let planned = Instant::now();
    let engine = Engine::new(session, lock.build_locks.clone(), Purpose::Build);
    let obtained = obtain_all(&engine, &plan)?;
    if session.cancel.is_cancelled() {
        return Err(RealizeError::Interrupted);
    }
    let linking = Instant::now();
    session.report(Event::Linking { packages: obtained.len() });
    let direct_urls = plan.packages.iter().map(direct_url).collect::<Vec<_>>();
    let mut report = link(session, request, digest, &obtained.into_iter().zip(direct_urls).collect::<Vec<_>>())?;
    report.phases = Phases {
        plan: planned.duration_since(started),
        obtain: linking.duration_since(planned),
        link: linking.elapsed(),
        work: if report.from_store == report.packages { Vec::new() } else { engine.work.sums() },
    };
    Ok(report)
}

/// Waits until no other process works on the environment at `destination`.
fn take_turn(store: &Store, destination: &Path, report: &dyn Fn(Event)) -> Result<KeyLock, StoreError> {
    store.lock(&format!("environment {}", destination.display()), &mut |owner| {
        let what = format!("{}, held by process {} ({})", destination.display(), owner.pid, owner.command);
        report(Event::Waiting { what });
    })
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
    if session.lease.take(&ids)?.iter().any(Option::is_none) {
        return Ok(None);
    }
    let detached = detach::names(&manifest);
    if request.reattach && !detached.is_empty() {
        return Ok(None);
    }
    let clashes = manifest.clashes.clone();
    let status = checked::check(session, &request.destination, manifest)?;
    // What nobody here made is not what the lock describes.
    if !status.is_intact() || (!status.foreign.is_empty() && !request.keep_foreign) {
        return Ok(None);
    }
    // Setting a root waits for the disk; one that is there was set for this manifest.
    let root = environment_root(request);
    let can_write = session.store.access() == Access::ReadWrite;
    if can_write && session.store.root_named(root.kind, &root.name)?.is_none() {
        session.store.put_root(root, &ids)?;
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

fn environment_root(request: &RealizeRequest) -> NewRoot {
    let location = without_links(&request.destination);
    NewRoot { kind: RootKind::Environment, name: location.to_string_lossy().into_owned(), location }
}

/// The path that will still mean this place when a link above it is pointed elsewhere (`current` → `release-2`).
fn without_links(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => without_links(parent).join(name),
        (Err(_), _, _) => path.to_owned(),
    }
}

/// All trees of the plan, in its order.
fn obtain_all(engine: &Arc<Engine>, plan: &Plan) -> Result<Vec<Obtained>, RealizeError> {
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
    session.report_gone();
    let result = runtime.block_on(async {
        let interrupts = tokio::spawn(cancel_on_signal(session.cancel.clone()));
        let result = work.await;
        interrupts.abort();
        result
    });
    session.report_gone();
    // Threads that wait for another process's lock can't be stopped; the process ends soon and takes them along.
    runtime.shutdown_background();
    Ok(result)
}

async fn cancel_on_signal(cancel: crate::cancel::CancelToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.interrupt();
    }
}

async fn obtain_missing(engine: &Arc<Engine>, plan: &Plan) -> Result<Vec<Obtained>, RealizeError> {
    let mut results: Vec<Option<Result<Obtained, ObtainError>>> = Vec::new();
    let mut work = tokio::task::JoinSet::new();
    for (position, package) in plan.packages.iter().enumerate() {
        let present = package.object.clone().map(|object| Ok(Obtained { object, how: How::Store }));
        if present.is_none() {
            let (engine, pin) = (Arc::clone(engine), package.pin.clone());
            work.spawn(async move { (position, engine.tree(&pin, None).await) });
        }
        results.push(present);
    }
    while let Some(joined) = work.join_next().await {
        let Ok((position, result)) = joined else {
            // A task that panicked; its package stays without result and is named below.
            engine.session.cancel.cancel();
            continue;
        };
        match &result {
            Ok(Obtained { object, .. }) => {
                engine.session.report(Event::Stored { name: object.name.clone(), version: object.version.clone() })
            }
            // The rest is stopped: nothing of it can lead to an environment any more.
            Err(error) => engine.stop(error),
        }
        results[position] = Some(result);
    }
    collect(engine, plan, results)
}

fn collect(
    engine: &Engine,
    plan: &Plan,
    results: Vec<Option<Result<Obtained, ObtainError>>>,
) -> Result<Vec<Obtained>, RealizeError> {
    if engine.session.cancel.is_interrupted() {
        return Err(RealizeError::Interrupted);
    }
    let mut obtained = Vec::with_capacity(results.len());
    let mut failures = Vec::new();
    for (result, package) in results.into_iter().zip(&plan.packages) {
        match result {
            Some(Ok(tree)) => obtained.push(tree),
            Some(Err(error)) => failures.push(error),
            None => failures.push(ObtainError::Worker { pin: package.pin.to_string() }),
        }
    }
    if failures.is_empty() {
        return Ok(obtained);
    }
    failures.sort_by_key(ObtainError::is_cancelled);
    Err(RealizeError::Packages { packages: plan.packages.len(), failures })
}

fn link(
    session: &Arc<Session>,
    request: &RealizeRequest,
    digest: ValueDigest,
    obtained: &[(Obtained, Option<String>)],
) -> Result<RealizeReport, RealizeError> {
    let objects: Vec<&Object> = obtained.iter().map(|(tree, _)| &tree.object).collect();
    let ids: Vec<ObjectId> = objects.iter().map(|object| object.id).collect();
    let (was_detached, detached) = detach::kept(request, &objects)?;
    let old = protect_old_and_new(session, request, &ids)?;
    let packages: Vec<PackageTree<'_>> = obtained
        .iter()
        .filter_map(|(tree, url)| package_tree(&tree.object, (request, &detached), url.as_deref()))
        .collect();
    let python = environment_python(&session.python);
    let farm = session.store.link_farm();
    let realized = environment::realize_environment(&EnvironmentRequest {
        destination: &request.destination,
        python: &python,
        packages: &packages,
        link_mode: request.link_mode,
        prompt: None,
        request_digest: digest,
        store_root: session.store.root(),
        keep_foreign: request.keep_foreign,
        scripts_prefix: None,
        link_farm: farm.as_deref(),
        replace: if request.replace { environment::Replace::Virtualenv } else { environment::Replace::Ours },
    })
    .map_err(|error| {
        // The root goes back to what it was; a store that fails here too keeps more than it must, never less.
        let root = environment_root(request);
        let undone = match &old {
            Some(old) => session.store.put_root(root, old),
            None => session.store.remove_root(root.kind, &root.name).map(drop),
        };
        if let Err(error) = undone {
            tracing::warn!(%error, "the root of an environment that could not be made was left behind");
        }
        RealizeError::Environment(error)
    })?;
    if old.is_some() {
        session.store.put_root(environment_root(request), &ids)?;
    }
    let count = |how| obtained.iter().filter(|(tree, _)| tree.how == how).count();
    Ok(RealizeReport {
        packages: obtained.len(),
        from_store: count(How::Store),
        fetched: count(How::Fetched),
        built: count(How::Built),
        unchanged: false,
        clashes: realized.clashes,
        foreign: realized.foreign,
        foreign_lost: realized.foreign_lost,
        refused: realized.refused.into_iter().map(|refused| (refused.path, refused.package)).collect(),
        leftover: realized.leftover,
        reattached: was_detached.into_iter().filter(|name| !detached.contains(name)).collect(),
        detached: detached.into_iter().collect(),
        files: realized.files,
        phases: Phases::default(),
    })
}

/// Before the swap the root covers the new environment and the old one, if there is one: whichever a crash leaves, it
/// is whole. Gives the objects of the old one that are still there.
fn protect_old_and_new(
    session: &Session,
    request: &RealizeRequest,
    new: &[ObjectId],
) -> Result<Option<Vec<ObjectId>>, RealizeError> {
    let Some(manifest) = environment::read_manifest(&request.destination).ok().flatten() else {
        session.store.put_root(environment_root(request), new)?;
        return Ok(None);
    };
    let ids: Vec<ObjectId> = manifest.packages.iter().map(|package| package.object).collect();
    let old: Vec<ObjectId> = session.lease.take(&ids)?.into_iter().flatten().map(|object| object.id).collect();
    let mut both: Vec<ObjectId> = old.iter().chain(new).copied().collect();
    both.sort();
    both.dedup();
    session.store.put_root(environment_root(request), &both)?;
    Ok(Some(old))
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
fn direct_url(package: &PlannedPackage) -> Option<String> {
    let direct = package.pin.direct.as_ref()?;
    let hashes: Vec<String> = package.pin.hashes.iter().map(ToString::to_string).collect();
    let url = direct.url.without_credentials();
    let archive = match hashes.as_slice() {
        [only] => serde_json::json!({ "hash": format!("sha256={only}"), "hashes": { "sha256": only } }),
        _ => serde_json::json!({}),
    };
    Some(serde_json::json!({ "url": url.as_str(), "archive_info": archive }).to_string())
}

/// A source has no plan and is never part of an environment.
fn package_tree<'a>(
    object: &'a Object,
    (request, detached): (&RealizeRequest, &BTreeSet<PackageName>),
    direct_url: Option<&'a str>,
) -> Option<PackageTree<'a>> {
    Some(PackageTree {
        name: &object.name,
        version: &object.version,
        object: object.id,
        directory: &object.path,
        link_prefix: &object.path,
        plan: object.link_plan.as_deref()?,
        link: request.links.get(&object.name).copied().unwrap_or_default(),
        detached: detached.contains(&object.name),
        // As pip and uv do for each line of `-r`: a flat lock does not tell who asked for what.
        requested: true,
        direct_url,
    })
}
