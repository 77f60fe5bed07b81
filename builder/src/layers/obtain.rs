//! Getting the layers of a build: from the store, else by apt.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::{ObjectId, StorePath};
use pip_accel_store::{NewObject, Object};

use super::apt::{Apt, ChosenPackage};
use super::deb::unpack_deb;
use super::request::{Remembered, remember, remembered};
use super::{LayerError, Layers};
use crate::event::Event;
use crate::index::sha256_of_file;
use crate::python::archive::ArchiveLimits;
use crate::realize::engine::{Engine, joined};
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::session::Session;
use crate::system_packages::index::IndexPlace;

/// All that was chosen, in mount order, and the trees of what the store did not have, with the sizes of their package files.
type Fetched = (Vec<ChosenPackage>, Vec<(NewObject, u64)>);

/// Processes that choose and fetch packages at the same time take turns: apt's state is one.
const LOCK: &str = "packages of the system";

/// The layers that `source`, an sdist of `pin`, is built with: what this run found it to lack, and what it was built with before.
///
/// # Errors
/// [`ObtainError::Layers`], and those of publishing.
pub(crate) async fn of_build(
    engine: &Arc<Engine>,
    pin: &Pin,
    source: &Sha256Digest,
    version: &PackageVersion,
) -> Result<Layers, ObtainError> {
    let session = &engine.session;
    let failed = |source: LayerError| ObtainError::Layers { pin: pin.to_string(), source: Arc::new(source) };
    let wanted = session.layer_requests.of(&pin.name, version);
    if wanted.is_empty() && !session.options.unpack {
        return Ok(Layers::default());
    }
    let before = remembered(session, source).map_err(|error| failed(error.into()))?;
    if before.packages.is_empty() && wanted.is_empty() {
        return Ok(Layers::default());
    }
    // What this run found missing in spite of what is remembered is chosen anew: a newer package may have it.
    if wanted.is_subset(&before.packages)
        && (wanted.is_empty() || session.options.offline)
        && let Some(objects) = in_store(session, &before.chosen).map_err(failed)?
    {
        return Ok(Layers(objects));
    }
    let packages: BTreeSet<String> = before.packages.union(&wanted).cloned().collect();
    if session.options.offline {
        let packages = packages.into_iter().collect::<Vec<_>>().join(", ");
        return Err(failed(LayerError::Offline { packages }));
    }
    let (working, asked) = (Arc::clone(session), packages.clone());
    let work = tokio::task::spawn_blocking(move || Ok(fetch(&working, &asked)));
    let (chosen, new) = joined(work, &pin.to_string()).await?.map_err(failed)?;
    let (count, bytes) = (new.len(), new.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size)));
    let names = chosen.iter().map(|package| package.package.as_str()).collect::<Vec<_>>().join(", ");
    engine.publish(pin, new.into_iter().map(|(object, _)| object).collect()).await?;
    session.report(Event::Note(format!(
        "{pin}: unpacked {} over /usr ({count} new in the store, {} MB fetched)",
        if names.is_empty() { "nothing" } else { &names },
        bytes.div_ceil(1_000_000)
    )));
    let objects = in_store(session, &chosen).map_err(failed)?;
    let objects = objects.ok_or_else(|| ObtainError::Worker { pin: pin.to_string() })?;
    remember(session, source, &Remembered { packages, chosen }).map_err(|error| failed(error.into()))?;
    Ok(Layers(objects))
}

fn in_store(session: &Session, chosen: &[ChosenPackage]) -> Result<Option<Vec<Object>>, LayerError> {
    let ids: Vec<ObjectId> = chosen.iter().map(|package| ObjectId::of_layer(&package.sha256)).collect();
    Ok(session.lease.take(&ids)?.into_iter().collect())
}

/// Unpacks the package of a damaged layer anew, from the very bytes that it came from.
///
/// # Errors
/// [`ObtainError::Layers`] where they are not to be had, and those of publishing.
pub(crate) async fn again(engine: &Arc<Engine>, pin: &Pin, package: ChosenPackage) -> Result<(), ObtainError> {
    let failed = |source: LayerError| ObtainError::Layers { pin: pin.to_string(), source: Arc::new(source) };
    let session = &engine.session;
    if session.options.offline {
        return Err(failed(LayerError::Offline { packages: package.package }));
    }
    let working = Arc::clone(session);
    let work = tokio::task::spawn_blocking(move || {
        Ok(with_apt(&working, &|apt| unpack(&working, apt, std::slice::from_ref(&&package))))
    });
    let new = joined(work, &pin.to_string()).await?.map_err(failed)?;
    engine.publish(pin, new.into_iter().map(|(object, _)| object).collect()).await.map(drop)
}

/// Chooses, fetches and unpacks.
fn fetch(session: &Session, packages: &BTreeSet<String>) -> Result<Fetched, LayerError> {
    let wanted: Vec<String> = packages.iter().cloned().collect();
    with_apt(session, &|apt| choose_and_unpack(session, apt, &wanted))
}

/// Does `work` with apt, whose lists are fetched first when they are old, and when it fails with those that are there.
fn with_apt<T>(session: &Session, work: &dyn Fn(&Apt) -> Result<T, LayerError>) -> Result<T, LayerError> {
    let _turn = session.store.lock(LOCK, &mut |owner| {
        let what = format!("process {} ({}), which fetches packages of the system", owner.pid, owner.command);
        session.report(Event::Waiting { what });
    })?;
    let place = IndexPlace::of_this_machine(&session.store.index_folder());
    let apt = Apt::prepare(&place.path.with_extension("apt"))?;
    let was_fresh = apt.is_fresh(session.store.now());
    if !was_fresh {
        apt.update(session.store.now())?;
    }
    match work(&apt) {
        // The mirror may have moved on since the lists were fetched.
        Err(LayerError::Apt(_) | LayerError::Hash { .. }) if was_fresh => {
            apt.update(session.store.now())?;
            work(&apt)
        }
        result => result,
    }
}

fn choose_and_unpack(session: &Session, apt: &Apt, wanted: &[String]) -> Result<Fetched, LayerError> {
    let chosen = apt.choose(wanted)?;
    let ids: Vec<ObjectId> = chosen.iter().map(|package| ObjectId::of_layer(&package.sha256)).collect();
    let there = session.lease.take(&ids)?;
    let missing: Vec<&ChosenPackage> =
        chosen.iter().zip(&there).filter(|(_, object)| object.is_none()).map(|(package, _)| package).collect();
    let new = unpack(session, apt, &missing)?;
    Ok((chosen, new))
}

/// Fetches and unpacks `missing`: the trees, each with the size of its package file.
fn unpack(session: &Session, apt: &Apt, missing: &[&ChosenPackage]) -> Result<Vec<(NewObject, u64)>, LayerError> {
    let scratch = session.store.scratch("packages")?;
    apt.download(missing, scratch.path())?;
    let files = digests(scratch.path())?;
    let mut new = Vec::with_capacity(missing.len());
    for package in missing {
        let file = files.iter().find(|(digest, _)| *digest == package.sha256);
        let mismatch = || LayerError::Hash { package: package.package.clone(), expected: package.sha256.to_string() };
        let (_, file) = file.ok_or_else(mismatch)?;
        new.push((layer_of(session, package, file)?, package.size));
        // Disk space is needed once only.
        drop(fs::remove_file(file));
    }
    Ok(new)
}

/// The files of a folder by their SHA-256.
fn digests(folder: &Path) -> Result<Vec<(Sha256Digest, std::path::PathBuf)>, LayerError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LayerError::File { path, source }
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        found.push((sha256_of_file(&path).map_err(failed(&path))?, path));
    }
    Ok(found)
}

fn layer_of(session: &Session, package: &ChosenPackage, file: &Path) -> Result<NewObject, LayerError> {
    let tree = session.store.new_tree()?;
    unpack_deb(file, &tree, &ArchiveLimits::default())?;
    let (name, version) = label(package);
    let id = ObjectId::of_layer(&package.sha256);
    Ok(NewObject {
        tree,
        path: StorePath::new(id, &name, &version, Some(&format!("{}-layer", package.architecture))),
        name,
        version,
        provenance: Provenance::Layer {
            package: package.package.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            sha256: package.sha256,
        },
        references: Vec::new(),
        link_plan: None,
    })
}

/// Name and version with the characters that names of objects have; what Debian calls the package is in its record.
fn label(package: &ChosenPackage) -> (PackageName, PackageVersion) {
    let name = package.package.replace('+', "plus").parse();
    let version: String = package.version.replace(':', "!").replace('~', "_").chars().take(64).collect();
    let plain = || "package".parse().expect("a name");
    (name.unwrap_or_else(|_| plain()), version.parse().unwrap_or_else(|_| "0".parse().expect("a version")))
}
