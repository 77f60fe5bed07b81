//! Into a virtualenv: it is made anew with what it has and the new packages, and swapped in as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::environment::{EnvironmentManifest, EnvironmentPackage, LinkMode, PackageLink};
use pip_accel_schema::name::PackageName;
use pip_accel_schema::store_path::ObjectId;

use super::change::ChangedPackage;
use super::error::InstallError;
use super::installed::{InstalledPackage, InstalledSet};
use crate::environment::{self, Replace};
use crate::event::Event;
use crate::realize::engine::{Engine, How, Obtained, Purpose};
use crate::realize::generations::Step;
use crate::realize::link::{Linker, Part, link};
use crate::realize::profile::Phases;
use crate::realize::turn::Waiter;
use crate::realize::{Interrupts, Plan, RealizeReport, RealizeRequest, direct_url, obtain_all};
use crate::session::Session;

/// Where and how.
#[derive(Debug, Clone)]
pub struct VirtualenvRequest {
    /// The virtualenv; absolute. It is made if nothing is there.
    pub destination: PathBuf,
    /// How files get into it, unless it is an environment of this program, which stays as it is.
    pub link_mode: Option<LinkMode>,
    /// Packages whose files get there in another way.
    pub links: BTreeMap<PackageName, PackageLink>,
    /// Earlier generations of the environment that are kept.
    pub generations: usize,
}

/// Installs `packages`.
///
/// # Errors
/// See [`InstallError`]; the virtualenv is untouched by any of them.
pub fn install(
    session: &Arc<Session>,
    request: &VirtualenvRequest,
    packages: &[ChangedPackage],
) -> Result<RealizeReport, InstallError> {
    let started = Instant::now();
    let destination = &request.destination;
    let report = |event: Event| session.report(event);
    let waiter = Waiter { store: &session.store, cancel: &session.cancel, destination, report: &report };
    let _turn = waiter.take_turn()?;
    let _interrupts = Interrupts::start(&session.cancel).map_err(crate::realize::error::RealizeError::Runtime)?;
    environment::check_place(destination, Replace::Virtualenv)?;
    let plan = Plan { packages: packages.iter().map(|package| package.planned.clone()).collect() };
    session.report_gone();
    let engine = Engine::new(session, Vec::new(), Purpose::Build);
    let planned = Instant::now();
    let obtained = obtain_all(&engine, &plan)?;
    let linking = Instant::now();
    session.report(Event::Linking { packages: obtained.len() });
    let _place = waiter.take_place()?;
    // What stands there is read only now: another run may have changed it while this one was building.
    let names: BTreeSet<PackageName> = obtained.iter().map(|tree| tree.object.name.clone()).collect();
    let before = Before::read(session, request, &names)?;
    let mut parts = before.parts(session)?;
    let new = obtained.into_iter().zip(packages);
    parts.extend(new.map(|(tree, package)| {
        let requested = package.requested || before.requested.contains(&tree.object.name);
        Part { tree, direct_url: direct_url(&package.planned), requested }
    }));
    let digest = digest(parts.iter().map(|part| part.tree.object.id));
    let realize = before.request(request);
    let mut report = link(&Linker::of(session), &realize, (digest, Step::Forward), &parts)?;
    let old = before.kept.len();
    report.packages -= old;
    report.from_store -= old;
    report.phases = Phases {
        plan: planned.duration_since(started),
        obtain: linking.duration_since(planned),
        link: linking.elapsed(),
        work: if report.from_store == report.packages { Vec::new() } else { engine.work.sums() },
    };
    Ok(report)
}

/// Whether the environment is one that packages were installed into, and not what a lock says.
#[must_use]
pub fn is_installed_into(manifest: &EnvironmentManifest) -> bool {
    manifest.taken_over || manifest.request == digest(manifest.packages.iter().map(|package| package.object))
}

/// The objects that packages of the environment at `destination` are linked from, as far as these are `installed` still.
///
/// # Errors
/// When its manifest can't be read.
pub fn linked_objects(
    destination: &Path,
    installed: &InstalledSet,
) -> Result<BTreeMap<PackageName, ObjectId>, InstallError> {
    let manifest = environment::read_manifest(destination)?;
    let ours = manifest.iter().flat_map(|manifest| &manifest.packages).filter(|package| is_ours(installed, package));
    Ok(ours.map(|package| (package.name.clone(), package.object)).collect())
}

/// Everything that decides what the environment holds; no lock's request has this digest.
fn digest(objects: impl Iterator<Item = ObjectId>) -> ValueDigest {
    let mut encoder = Encoder::for_domain("pip-accel/install-request/1");
    let ids: BTreeSet<ObjectId> = objects.collect();
    encoder.number(ids.len() as u64);
    for id in ids {
        encoder.text(&id.to_string());
    }
    ValueDigest::from_bytes(encoder.finish())
}

/// What the virtualenv has.
struct Before {
    manifest: Option<EnvironmentManifest>,
    /// Packages of ours that stay, with what their metadata say.
    kept: Vec<(EnvironmentPackage, environment::EnvironmentPackageFiles)>,
    /// Replaced packages that the user had asked for.
    requested: BTreeSet<PackageName>,
    /// Files of replaced distributions of others, relative to the root.
    replaced: BTreeSet<String>,
}

impl Before {
    fn read(
        session: &Session,
        request: &VirtualenvRequest,
        names: &BTreeSet<PackageName>,
    ) -> Result<Self, InstallError> {
        let destination = &request.destination;
        let manifest = environment::read_manifest(destination)?;
        let site = destination.join(&session.python.interpreter.site_packages);
        let installed = InstalledSet::read(std::slice::from_ref(&site)).map_err(InstallError::io("read", &site))?;
        let is_replaced = |name: &PackageName| names.contains(name);
        let ours = manifest.iter().flat_map(|manifest| &manifest.packages);
        let ours: Vec<&EnvironmentPackage> = ours.filter(|package| is_ours(&installed, package)).collect();
        let mut before =
            Self { manifest: None, kept: Vec::new(), requested: BTreeSet::new(), replaced: BTreeSet::new() };
        for package in installed.iter().filter(|package| is_replaced(&package.name)) {
            if package.requested {
                before.requested.insert(package.name.clone());
            }
            if !ours.iter().any(|one| one.name == package.name) {
                before.replaced.extend(files(package, destination)?);
            }
        }
        for package in ours.into_iter().filter(|package| !is_replaced(&package.name)) {
            before.kept.push((package.clone(), environment::package_files(&site, package)));
        }
        before.manifest = manifest;
        Ok(before)
    }

    /// The packages that stay.
    fn parts(&self, session: &Session) -> Result<Vec<Part>, InstallError> {
        let ids: Vec<ObjectId> = self.kept.iter().map(|(package, _)| package.object).collect();
        let found = session.lease.take(&ids)?;
        let part = |((package, files), object): (
            &(EnvironmentPackage, environment::EnvironmentPackageFiles),
            Option<pip_accel_store::Object>,
        )| {
            let lost = || InstallError::NotInStore { package: package.name.clone() };
            let object = object.ok_or_else(lost)?;
            Ok(Part {
                tree: Obtained { object, how: How::Store },
                direct_url: files.direct_url.clone(),
                requested: files.requested,
            })
        };
        self.kept.iter().zip(found).map(part).collect()
    }

    fn request(&self, request: &VirtualenvRequest) -> RealizeRequest {
        let mut links = request.links.clone();
        links.extend(self.kept.iter().map(|(package, _)| (package.name.clone(), package.link)));
        let own_mode = self.manifest.as_ref().map(|manifest| manifest.link_mode);
        RealizeRequest {
            destination: request.destination.clone(),
            link_mode: own_mode.or(request.link_mode).unwrap_or_default(),
            links,
            keep_foreign: true,
            replace: true,
            take_over: Some(self.replaced.clone()),
            reattach: false,
            generations: request.generations,
            question: None,
        }
    }
}

/// Whether a package of the manifest is still the one that is installed.
fn is_ours(installed: &InstalledSet, package: &EnvironmentPackage) -> bool {
    installed.get(&package.name).is_some_and(|found| {
        found.metadata.file_name().is_some_and(|name| name == package.dist_info.as_str())
            && found.installer.as_deref() == Some("pip-accel")
    })
}

/// The files of a distribution of others that are in the virtualenv, relative to it.
fn files(package: &InstalledPackage, destination: &Path) -> Result<Vec<String>, InstallError> {
    let untracked = || InstallError::Untracked { name: package.name.clone(), version: package.version.clone() };
    let files = package.files().ok_or_else(untracked)?;
    let inside = files.iter().filter_map(|path| path.strip_prefix(destination).ok());
    Ok(inside.filter_map(|path| path.to_str().map(str::to_owned)).collect())
}
