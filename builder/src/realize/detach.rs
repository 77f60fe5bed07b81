//! Private copies of single packages, for people who edit what is in site-packages.
//!
//! A detached package is part of its environment's manifest, not of the lock: it survives every run that leaves its
//! version alone. Nothing but `--reattach` and `detach --undo` takes a private copy away.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::environment::{EnvironmentEntryKind, EnvironmentManifest, EnvironmentPackage};
use pip_accel_schema::name::PackageName;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Object, Store, StoreError};

use super::error::RealizeError;
use super::generations::Step;
use super::interrupt::Interrupts;
use super::turn::Waiter;
use super::{RealizeRequest, environment_python};
use crate::cancel::CancelToken;
use crate::environment::{self, EnvironmentError, EnvironmentPackageFiles, EnvironmentRequest, PackageTree, Replace};
use crate::event::Event;
use crate::python::interpreter::PythonInstallation;

/// Which packages of which environment.
#[derive(Debug, Clone)]
pub struct DetachRequest {
    /// The environment; absolute.
    pub destination: PathBuf,
    /// The packages.
    pub packages: Vec<PackageName>,
    /// Link them again instead; what was edited is gone.
    pub undo: bool,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct DetachReport {
    /// Packages that are detached now, or linked again.
    pub changed: Vec<EnvironmentPackage>,
    /// Packages that were so before.
    pub unchanged: Vec<EnvironmentPackage>,
    /// The files and folders that may be edited, of all packages of the request, without metadata; absolute.
    pub places: Vec<PathBuf>,
}

/// Why no package was detached; the environment is untouched.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// There is no environment of this program.
    #[error("`{}` is no environment of pip-accel", .0.display())]
    NoEnvironment(PathBuf),
    /// It is not what its manifest says.
    #[error("`{}` is not as it was realized", .0.display())]
    NotIntact(PathBuf),
    /// The package is not in it.
    #[error("`{}` has no package {package}", path.display())]
    NotThere {
        /// The environment.
        path: PathBuf,
        /// The package.
        package: PackageName,
    },
    /// The store has lost an object of the environment.
    #[error("the store has no `{package}` any more")]
    NotInStore {
        /// The package.
        package: PackageName,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody can listen for signals.
    #[error("signals can't be heard")]
    Runtime(#[source] std::io::Error),
    /// The environment could not be read or made.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

/// Gives packages of an environment private copies, or takes these away again. The environment is made anew beside the
/// old one and swapped in, with everything else as it was.
///
/// # Errors
/// See [`DetachError`].
pub fn detach(
    store: &Arc<Store>,
    python: &PythonInstallation,
    request: &DetachRequest,
    report: &dyn Fn(Event),
) -> Result<DetachReport, DetachError> {
    let destination = &request.destination;
    let cancel = CancelToken::of(store);
    let _interrupts = Interrupts::start(&cancel).map_err(DetachError::Runtime)?;
    let waiter = Waiter { store, cancel: &cancel, destination, report };
    let _turns = (waiter.take_turn()?, waiter.take_place()?);
    let manifest = intact_manifest(destination)?;
    let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
    for name in &request.packages {
        let found = manifest.packages.iter().find(|package| package.name == *name);
        let Some(package) = found else {
            return Err(DetachError::NotThere { path: destination.clone(), package: name.clone() });
        };
        if package.detached == request.undo { &mut changed } else { &mut unchanged }.push(package.clone());
    }
    let manifest = if changed.is_empty() { manifest } else { make_anew((store, python, &cancel), request, &manifest)? };
    let is_place = |package: &PackageName, path: &str| {
        request.packages.contains(package) && !path.split('/').any(|name| name.ends_with(".dist-info"))
    };
    let places = manifest.entries.iter().filter_map(|entry| match &entry.kind {
        EnvironmentEntryKind::Private { package } if is_place(package, &entry.path) => {
            Some(destination.join(&entry.path))
        }
        _ => None,
    });
    Ok(DetachReport { changed, unchanged, places: places.collect() })
}

fn intact_manifest(destination: &Path) -> Result<EnvironmentManifest, DetachError> {
    let status = environment::check_environment(destination)?;
    match (status.is_intact(), status.manifest) {
        (true, Some(manifest)) => Ok(manifest),
        (false, Some(_)) => Err(DetachError::NotIntact(destination.to_owned())),
        (_, None) => Err(DetachError::NoEnvironment(destination.to_owned())),
    }
}

fn make_anew(
    (store, python, cancel): (&Arc<Store>, &PythonInstallation, &CancelToken),
    request: &DetachRequest,
    manifest: &EnvironmentManifest,
) -> Result<EnvironmentManifest, DetachError> {
    let lease = store.lease()?;
    let ids: Vec<ObjectId> = manifest.packages.iter().map(|package| package.object).collect();
    let objects = lease.take(&ids)?;
    let python = environment_python(python);
    let site = request.destination.join(&python.site_packages);
    let files: Vec<EnvironmentPackageFiles> =
        manifest.packages.iter().map(|package| environment::package_files(&site, package)).collect();
    let mut packages = Vec::with_capacity(objects.len());
    for ((object, package), files) in objects.iter().zip(&manifest.packages).zip(&files) {
        let tree = object.as_ref().and_then(|object| tree(object, package, files));
        let mut tree = tree.ok_or_else(|| DetachError::NotInStore { package: package.name.clone() })?;
        if request.packages.contains(&package.name) {
            tree.detached = !request.undo;
        }
        packages.push(tree);
    }
    // The private copy is no other generation.
    let generations = environment::read_generations(&request.destination).ok();
    let generations = generations.filter(|list| !list.kept.is_empty() || list.current > 1);
    let farm = store.link_farm();
    let nothing_replaced = BTreeSet::new();
    let realized = environment::realize_environment(&EnvironmentRequest {
        destination: &request.destination,
        python: &python,
        packages: &packages,
        link_mode: manifest.link_mode,
        prompt: None,
        request_digest: manifest.request,
        store_root: store.root(),
        keep_foreign: true,
        take_over: manifest.taken_over.then_some(&nothing_replaced),
        generations: generations.as_ref(),
        replace: Replace::Ours,
        scripts_prefix: None,
        link_farm: farm.as_deref(),
        cancel: Some(cancel),
    })?;
    Ok(realized.manifest)
}

fn tree<'a>(
    object: &'a Object,
    package: &EnvironmentPackage,
    files: &'a EnvironmentPackageFiles,
) -> Option<PackageTree<'a>> {
    Some(PackageTree {
        name: &object.name,
        version: &object.version,
        object: object.id,
        directory: &object.path,
        link_prefix: &object.path,
        plan: object.link_plan.as_deref()?,
        link: package.link,
        detached: package.detached,
        requested: files.requested,
        direct_url: files.direct_url.as_deref(),
    })
}

/// The packages of which an environment has a private copy.
#[must_use]
pub fn names(manifest: &EnvironmentManifest) -> Vec<PackageName> {
    manifest.packages.iter().filter(|package| package.detached).map(|package| package.name.clone()).collect()
}

/// The packages of which the old environment has a private copy, and those of them that stay detached. A copy stays as
/// long as the environment holds the same object; anything else is for the user to decide.
pub(super) fn kept(
    request: &RealizeRequest,
    objects: &[&Object],
    step: Step,
) -> Result<(Vec<PackageName>, BTreeSet<PackageName>), RealizeError> {
    let Some(manifest) = environment::read_manifest(&request.destination).ok().flatten() else {
        return Ok(Default::default());
    };
    let is_there = |package: &&EnvironmentPackage| {
        let metadata = format!("/{}/METADATA", package.dist_info);
        let entry = manifest.entries.iter().find(|entry| entry.path.ends_with(&metadata));
        // Someone uninstalled it: then there is nothing to keep.
        entry.is_some_and(|entry| request.destination.join(&entry.path).symlink_metadata().is_ok())
    };
    let detached: Vec<&EnvironmentPackage> =
        manifest.packages.iter().filter(|package| package.detached).filter(is_there).collect();
    let names = detached.iter().map(|package| package.name.clone()).collect();
    if request.reattach {
        return Ok((names, BTreeSet::new()));
    }
    let what = match step {
        Step::Forward => "the lock".to_owned(),
        Step::BackTo(number) => format!("generation {number}"),
    };
    let mut kept = BTreeSet::new();
    let mut refused = Vec::new();
    for EnvironmentPackage { name, version, object: id, .. } in detached {
        match objects.iter().find(|object| object.name == *name) {
            Some(object) if object.id == *id => {
                kept.insert(name.clone());
            }
            Some(object) if object.version == *version => {
                refused.push(format!("{name}=={version}, and {what} now means another build of it"));
            }
            Some(object) => refused.push(format!("{name}=={version}, and {what} has {}", object.version)),
            None => refused.push(format!("{name}=={version}, which is not in {what}")),
        }
    }
    if refused.is_empty() {
        return Ok((names, kept));
    }
    Err(RealizeError::Detached { path: request.destination.clone(), detached: refused })
}
