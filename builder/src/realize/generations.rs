//! Generations of an environment: what stood there before can be had again, offline and without its lock.
//!
//! The environment itself holds the list, so it goes where the environment goes; the environment's own root keeps
//! the objects, so nothing else has to be told when one is let go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::environment::EnvironmentManifest;
use pip_accel_schema::generation::{Generation, GenerationPackage, Generations};
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Root, RootChange, RootKind, Store, StoreError, checkpoint};

use super::engine::{How, Obtained};
use super::error::RealizeError;
use super::interrupt::Interrupts;
use super::link::{Linker, Part, link};
use super::turn::Waiter;
use super::{RealizeReport, RealizeRequest};
use crate::cancel::CancelToken;
use crate::environment::{self, EnvironmentError, PackageTree, direct_url_of, read_generations, write_generations};
use crate::event::Event;
use crate::python::interpreter::PythonInstallation;

/// Earlier generations that are kept unless the settings say otherwise.
pub const GENERATIONS_KEPT: usize = 5;

/// What takes the place of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A new generation.
    Forward,
    /// A generation that is kept.
    BackTo(u32),
}

/// The past of an environment that is about to be replaced.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The objects of the old environment that are still there; `None` when there is none.
    pub(super) old: Option<Vec<ObjectId>>,
    /// The objects of the generations that the old environment keeps.
    pub(super) kept_before: Vec<ObjectId>,
    /// What the new one will list; `None` when it has no past.
    pub(super) next: Option<Generations>,
    /// The objects of these.
    pub(super) kept: Vec<ObjectId>,
}

/// The objects of all kept generations, each once.
fn objects_of(generations: &Generations) -> Vec<ObjectId> {
    let packages = generations.kept.iter().flat_map(|generation| &generation.packages);
    let ids: BTreeSet<ObjectId> = packages.map(|package| package.package.object).collect();
    ids.into_iter().collect()
}

/// The objects that the environment at `destination` keeps for its earlier generations; none where these can't be read.
#[must_use]
pub fn kept_objects(destination: &Path) -> Vec<ObjectId> {
    read_generations(destination).map(|generations| objects_of(&generations)).unwrap_or_default()
}

/// What becomes of the generations when `packages` take the place of what stands there.
pub(super) fn history(
    linker: &Linker<'_>,
    request: &RealizeRequest,
    packages: &[PackageTree<'_>],
    step: Step,
) -> Result<History, StoreError> {
    let destination = &request.destination;
    let Some(manifest) = environment::read_manifest(destination).ok().flatten() else { return Ok(History::default()) };
    let ids: Vec<ObjectId> = manifest.packages.iter().map(|package| package.object).collect();
    let old = linker.lease.take(&ids)?.into_iter().flatten().map(|object| object.id).collect();
    let mut before = read_generations(destination).unwrap_or_else(|error| {
        tracing::warn!(%error, "the earlier generations can't be read; counting starts anew");
        Generations::first(linker.store.now())
    });
    forget_incomplete(linker, &mut before)?;
    let kept_before = objects_of(&before);
    let next = match step {
        Step::Forward if is_same(&manifest, linker, request, packages) => {
            Generations { kept: before.kept.split_off(before.kept.len().saturating_sub(request.generations)), ..before }
        }
        step => {
            let back_to = if let Step::BackTo(number) = step { Some(number) } else { None };
            let direct_url = |package: &_| direct_url_of(destination, &manifest, package);
            let mut next = before.replaced(&manifest, direct_url, (linker.store.now(), request.generations), back_to);
            // What the store lost of the old environment can't be had again.
            forget_incomplete(linker, &mut next)?;
            next
        }
    };
    let kept = objects_of(&next);
    let has_past = !next.kept.is_empty() || next.current > 1;
    Ok(History { old: Some(old), kept_before, next: has_past.then_some(next), kept })
}

/// Drops generations of which the store does not have all objects any more. Nothing is leased: the environment's root
/// keeps them already, and they would count as used.
fn forget_incomplete(linker: &Linker<'_>, generations: &mut Generations) -> Result<(), StoreError> {
    let lost: BTreeSet<ObjectId> = linker.store.missing(&objects_of(generations))?.into_iter().collect();
    let is_whole =
        |generation: &Generation| !generation.packages.iter().any(|package| lost.contains(&package.package.object));
    generations.kept.retain(is_whole);
    Ok(())
}

/// Whether the environment is only made again: then nothing is worth being kept.
fn is_same(
    manifest: &EnvironmentManifest,
    linker: &Linker<'_>,
    request: &RealizeRequest,
    packages: &[PackageTree<'_>],
) -> bool {
    let old: BTreeSet<_> = manifest.packages.iter().map(|package| (package.object, package.link)).collect();
    let new: BTreeSet<_> = packages.iter().map(|package| (package.object, package.link)).collect();
    old == new
        && manifest.link_mode == request.link_mode
        && Path::new(&manifest.python) == linker.python.executable
        && manifest.python_version == linker.python.interpreter.full_version
}

/// Which generation is wanted.
#[derive(Debug, Clone)]
pub struct RollbackRequest {
    /// The environment; absolute.
    pub destination: PathBuf,
    /// The generation's number; `None`: the one that was replaced last.
    pub to: Option<u32>,
    /// Keep what others installed into the environment.
    pub keep_foreign: bool,
    /// Link detached packages again: their private copies go.
    pub reattach: bool,
    /// Earlier generations that are kept.
    pub generations: usize,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct RollbackReport {
    /// The number of the generation that stood there.
    pub from: u32,
    /// The number of the one that stands there now.
    pub to: u32,
    /// As of any other run.
    pub realized: RealizeReport,
}

/// Why an environment can't go back; it is untouched.
#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// There is no environment of this program.
    #[error("`{}` is no environment of pip-accel", .0.display())]
    NoEnvironment(PathBuf),
    /// It was never replaced, or nothing of that is kept.
    #[error("`{}` has no earlier generation", .0.display())]
    NoEarlier(PathBuf),
    /// There is no generation of that number.
    #[error("`{}` has no earlier generation {number} (it has {})", path.display(), list(known))]
    NoGeneration {
        /// The environment.
        path: PathBuf,
        /// The number.
        number: u32,
        /// The numbers there are.
        known: Vec<u32>,
    },
    /// The store does not have all of it any more.
    #[error("the store has no {} of generation {number} any more", packages.join(", "))]
    NotInStore {
        /// The generation.
        number: u32,
        /// The packages.
        packages: Vec<String>,
    },
    /// The environment or its generations can't be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The environment can't be made.
    #[error(transparent)]
    Realize(#[from] RealizeError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return "none".to_owned();
    }
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// The generation that `to` means.
///
/// # Errors
/// [`RollbackError::NoEarlier`], [`RollbackError::NoGeneration`].
pub fn wanted<'a>(path: &Path, generations: &'a Generations, to: Option<u32>) -> Result<&'a Generation, RollbackError> {
    match to {
        None => generations.kept.last().ok_or_else(|| RollbackError::NoEarlier(path.to_owned())),
        Some(number) => generations.find(number).ok_or_else(|| {
            let known = generations.kept.iter().map(|generation| generation.number).collect();
            RollbackError::NoGeneration { path: path.to_owned(), number, known }
        }),
    }
}

/// Puts an earlier generation back in its place, by one swap and from the store alone.
///
/// # Errors
/// See [`RollbackError`].
pub fn rollback(
    store: &Arc<Store>,
    python: &PythonInstallation,
    request: &RollbackRequest,
    report: &dyn Fn(Event),
) -> Result<RollbackReport, RollbackError> {
    let destination = &request.destination;
    let cancel = CancelToken::of(store);
    let _interrupts = Interrupts::start(&cancel).map_err(RealizeError::Runtime)?;
    let waiter = Waiter { store, cancel: &cancel, destination, report };
    let _turns = (waiter.take_turn()?, waiter.take_place()?);
    let Some(manifest) = environment::read_manifest(destination)? else {
        return Err(RollbackError::NoEnvironment(destination.clone()));
    };
    let generations = read_generations(destination)?;
    let generation = wanted(destination, &generations, request.to)?;
    let lease = store.lease()?;
    let ids: Vec<ObjectId> = generation.packages.iter().map(|package| package.package.object).collect();
    let found = lease.take(&ids)?;
    let lost = generation.packages.iter().zip(&found).filter(|(_, found)| found.is_none());
    let label = |package: &GenerationPackage| format!("{}=={}", package.package.name, package.package.version);
    let packages: Vec<String> = lost.map(|(package, _)| label(package)).collect();
    if !packages.is_empty() {
        return Err(RollbackError::NotInStore { number: generation.number, packages });
    }
    let trees = found.into_iter().flatten().map(|object| Obtained { object, how: How::Store });
    let part = |(tree, package): (Obtained, &GenerationPackage)| Part {
        tree,
        direct_url: package.direct_url.clone(),
        requested: true,
    };
    let obtained: Vec<Part> = trees.zip(&generation.packages).map(part).collect();
    let realize = RealizeRequest {
        destination: destination.clone(),
        link_mode: generation.link_mode,
        links: generation.packages.iter().map(|one| (one.package.name.clone(), one.package.link)).collect(),
        keep_foreign: request.keep_foreign || manifest.taken_over,
        replace: false,
        take_over: manifest.taken_over.then(BTreeSet::new),
        reattach: request.reattach,
        generations: request.generations,
        question: None,
    };
    let linker = Linker { store, lease: &lease, python, cancel: Some(&cancel) };
    let realized = link(&linker, &realize, (generation.request, Step::BackTo(generation.number)), &obtained)?;
    Ok(RollbackReport { from: generations.current, to: generation.number, realized })
}

/// Generations that were let go.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Expired {
    /// The environment.
    pub environment: PathBuf,
    /// The generations' numbers.
    pub numbers: Vec<u32>,
    /// What its root keeps then.
    #[serde(skip)]
    pub root: RootChange,
}

/// Which generations are let go; never those that stand somewhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Those that were replaced at least so many seconds ago.
    Age(u64),
    /// So many of all environments together, those first that were replaced first.
    Oldest(usize),
}

/// Lets go of generations of the environments that are roots of `store`; `dry_run`: only tells. An environment that can't
/// be read or written keeps what it has.
#[must_use]
pub fn expire(store: &Arc<Store>, expiry: Expiry, dry_run: bool) -> Vec<Expired> {
    let Ok(roots) = store.roots() else { return Vec::new() };
    let environments: Vec<Root> = roots.into_iter().filter(|root| root.kind == RootKind::Environment).collect();
    let oldest: BTreeSet<(i64, String, u32)> = match expiry {
        Expiry::Age(_) => BTreeSet::new(),
        Expiry::Oldest(count) => {
            environments.iter().flat_map(listed).collect::<BTreeSet<_>>().into_iter().take(count).collect()
        }
    };
    let expire = |root: Root| {
        let goes = |generation: &Generation| match expiry {
            Expiry::Age(age) => {
                generation.replaced_at <= store.now().saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
            }
            Expiry::Oldest(_) => oldest.contains(&(generation.replaced_at, root.name.clone(), generation.number)),
        };
        match expire_in(store, &root, &goes, dry_run) {
            Ok(expired) => expired,
            Err(error) => {
                tracing::debug!(%error, root = root.name, "its generations stay");
                None
            }
        }
    };
    environments.into_iter().filter_map(expire).collect()
}

/// The generations that an environment keeps: when each was replaced, whose it is, and its number.
fn listed(root: &Root) -> Vec<(i64, String, u32)> {
    let Ok(generations) = read_generations(&root.location) else { return Vec::new() };
    let kept = generations.kept.iter();
    kept.map(|generation| (generation.replaced_at, root.name.clone(), generation.number)).collect()
}

fn expire_in(
    store: &Arc<Store>,
    root: &Root,
    goes: &dyn Fn(&Generation) -> bool,
    dry_run: bool,
) -> Result<Option<Expired>, RollbackError> {
    let place = &root.location;
    let generations = read_generations(place)?;
    let has_old = generations.kept.iter().any(goes);
    if !has_old && (dry_run || needs_only(store, root, &generations)?.is_none()) {
        return Ok(None);
    }
    let cancel = CancelToken::of(store);
    let waiter = Waiter { store, cancel: &cancel, destination: place, report: &|_| {} };
    let _turns = if dry_run { None } else { Some((waiter.take_turn()?, waiter.take_place()?)) };
    let mut generations = read_generations(place)?;
    let old = generations.kept.iter().filter(|generation| goes(generation));
    let numbers: Vec<u32> = old.map(|generation| generation.number).collect();
    let has_old = !numbers.is_empty();
    generations.kept.retain(|generation| !goes(generation));
    let Some(objects) = needs(store, root, &generations)? else { return Ok(None) };
    if !dry_run {
        if has_old {
            // The list first: what it names is in the store, whatever happens in between.
            write_generations(place, &generations)?;
            checkpoint("generations-written");
        }
        if !store.root_holds(root.kind, &root.name, &objects)? {
            let (kind, name, location) = (root.kind, root.name.clone(), root.location.clone());
            store.put_root(pip_accel_store::NewRoot { kind, name, location }, &objects)?;
        }
    }
    let root = RootChange { kind: root.kind, name: root.name.clone(), objects };
    Ok(has_old.then(|| Expired { environment: place.clone(), numbers, root }))
}

/// What the environment of `root` and its `generations` need of the store, if the root holds something else: generations
/// were let go by a process that was killed before it came to the root.
fn needs_only(
    store: &Arc<Store>,
    root: &Root,
    generations: &Generations,
) -> Result<Option<Vec<ObjectId>>, RollbackError> {
    let Some(ids) = needs(store, root, generations)? else { return Ok(None) };
    let holds = store.root_holds(root.kind, &root.name, &ids)?;
    Ok((!holds).then_some(ids))
}

/// What the environment of `root` and its `generations` need of the store, as far as that has it; `None` when there is no
/// environment.
fn needs(store: &Arc<Store>, root: &Root, generations: &Generations) -> Result<Option<Vec<ObjectId>>, RollbackError> {
    let Some(manifest) = environment::read_manifest(&root.location)? else { return Ok(None) };
    let mut ids: Vec<ObjectId> = manifest.packages.iter().map(|package| package.object).collect();
    ids.extend(objects_of(generations));
    let missing: BTreeSet<ObjectId> = store.missing(&ids)?.into_iter().collect();
    ids.retain(|id| !missing.contains(id));
    Ok(Some(ids))
}
