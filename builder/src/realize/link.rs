//! The last step of a run: trees become an environment, and the environment becomes a root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::name::PackageName;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Lease, NewRoot, Object, RootKind, Store, StoreError, checkpoint};

use super::engine::{How, Obtained};
use super::error::RealizeError;
use super::generations::{self, History, Step};
use super::profile::Phases;
use super::{RealizeReport, RealizeRequest, detach, environment_python};
use crate::cancel::CancelToken;
use crate::environment::{self, EnvironmentError, EnvironmentRequest, PackageTree};
use crate::python::interpreter::PythonInstallation;
use crate::session::Session;

/// What an environment is made with.
pub(crate) struct Linker<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) lease: &'a Lease,
    pub(super) python: &'a PythonInstallation,
    /// What ends the work early, where somebody listens for it.
    pub(super) cancel: Option<&'a CancelToken>,
}

impl<'a> Linker<'a> {
    pub(crate) fn of(session: &'a Session) -> Self {
        Self { store: &session.store, lease: &session.lease, python: &session.python, cancel: Some(&session.cancel) }
    }
}

/// One package of an environment.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its tree.
    pub(crate) tree: Obtained,
    /// The text of its `direct_url.json`.
    pub(crate) direct_url: Option<String>,
    /// Whether the user named it.
    pub(crate) requested: bool,
}

/// Makes the environment of `obtained`.
pub(crate) fn link(
    linker: &Linker<'_>,
    request: &RealizeRequest,
    (digest, step): (ValueDigest, Step),
    obtained: &[Part],
) -> Result<RealizeReport, RealizeError> {
    let objects: Vec<&Object> = obtained.iter().map(|part| &part.tree.object).collect();
    let ids: Vec<ObjectId> = objects.iter().map(|object| object.id).collect();
    let (was_detached, detached) = detach::kept(request, &objects, step)?;
    let packages: Vec<PackageTree<'_>> =
        obtained.iter().filter_map(|part| package_tree(part, (request, &detached))).collect();
    let (history, during) = protected_history(linker, request, (&packages, &ids), step)?;
    let python = environment_python(linker.python);
    let farm = linker.store.link_farm();
    let realized = environment::realize_environment(&EnvironmentRequest {
        destination: &request.destination,
        python: &python,
        packages: &packages,
        link_mode: request.link_mode,
        prompt: None,
        request_digest: digest,
        store_root: linker.store.root(),
        keep_foreign: request.keep_foreign,
        take_over: request.take_over.as_ref(),
        scripts_prefix: None,
        link_farm: farm.as_deref(),
        generations: history.next.as_ref(),
        replace: replace(request),
        cancel: linker.cancel,
    })
    .map_err(|error| {
        // The root goes back to what it was; a store that fails here too keeps more than it must, never less.
        let root = environment_root(request);
        let undone = match &history.old {
            Some(old) => linker.store.put_root(root, &united(&[old, &history.kept_before])),
            None => linker.store.remove_root(root.kind, &root.name).map(drop),
        };
        if let Err(error) = undone {
            tracing::warn!(%error, "the root of an environment that could not be made was left behind");
        }
        match error {
            EnvironmentError::Interrupted => RealizeError::Interrupted,
            error => RealizeError::Environment(error),
        }
    })?;
    checkpoint("environment-made");
    let after = united(&[&ids, &history.kept]);
    // Setting a root waits for the disk. Where the old environment is kept as a generation, nothing has to go.
    if after != during {
        linker.store.put_root(environment_root(request), &after)?;
    }
    let count = |how| obtained.iter().filter(|part| part.tree.how == how).count();
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

/// The past of what stands there, and what the root covers now. Someone may have removed the root and collected in
/// between: then there is less of a past.
fn protected_history(
    linker: &Linker<'_>,
    request: &RealizeRequest,
    (packages, ids): (&[PackageTree<'_>], &[ObjectId]),
    step: Step,
) -> Result<(History, Vec<ObjectId>), RealizeError> {
    let history = generations::history(linker, request, packages, step)?;
    match protect(linker, request, ids, &history) {
        Err(StoreError::MissingObject(_)) => {
            let history = generations::history(linker, request, packages, step)?;
            let during = protect(linker, request, ids, &history)?;
            Ok((history, during))
        }
        result => Ok((history, result?)),
    }
}

/// Before the swap the root covers the new environment, the old one, if there is one, and the generations of both:
/// whichever a crash leaves, it is whole. Gives what the root covers.
fn protect(
    linker: &Linker<'_>,
    request: &RealizeRequest,
    new: &[ObjectId],
    history: &History,
) -> Result<Vec<ObjectId>, StoreError> {
    let old = history.old.as_deref().unwrap_or_default();
    let all = united(&[old, new, &history.kept_before, &history.kept]);
    linker.store.put_root(environment_root(request), &all)?;
    checkpoint("environment-protected");
    Ok(all)
}

/// All of them, sorted, each once.
fn united(lists: &[&[ObjectId]]) -> Vec<ObjectId> {
    let all: BTreeSet<ObjectId> = lists.iter().flat_map(|list| list.iter().copied()).collect();
    all.into_iter().collect()
}

/// What a request may take away.
pub(super) fn replace(request: &RealizeRequest) -> environment::Replace {
    if request.replace { environment::Replace::Virtualenv } else { environment::Replace::Ours }
}

/// The root of the environment that a request makes.
pub(super) fn environment_root(request: &RealizeRequest) -> NewRoot {
    let location = without_links(&request.destination);
    NewRoot { kind: RootKind::Environment, name: location.to_string_lossy().into_owned(), location }
}

/// The path that will still mean this place when a link above it is pointed elsewhere (`current` → `release-2`).
pub(super) fn without_links(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => without_links(parent).join(name),
        (Err(_), _, _) => path.to_owned(),
    }
}

/// A source has no plan and is never part of an environment.
fn package_tree<'a>(
    part: &'a Part,
    (request, detached): (&RealizeRequest, &BTreeSet<PackageName>),
) -> Option<PackageTree<'a>> {
    let object = &part.tree.object;
    Some(PackageTree {
        name: &object.name,
        version: &object.version,
        object: object.id,
        directory: &object.path,
        link_prefix: &object.path,
        plan: object.link_plan.as_deref()?,
        link: request.links.get(&object.name).copied().unwrap_or_default(),
        detached: detached.contains(&object.name),
        requested: part.requested,
        direct_url: part.direct_url.as_deref(),
    })
}
