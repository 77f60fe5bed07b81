//! `status`: whether an environment still is what its manifest says, and whether the store keeps what it needs.

use std::path::{Path, PathBuf};

use pip_accel_builder::environment::{self, EnvironmentStatus};
use pip_accel_builder::install::error::InstallError;
use pip_accel_builder::install::installed::InstalledPackage;
use pip_accel_builder::install::others::Others;
use pip_accel_builder::install::virtualenv::is_installed_into;
use pip_accel_builder::realize::detach;
use pip_accel_builder::realize::generations::kept_objects;
use pip_accel_schema::environment::{EnvironmentManifest, EnvironmentPackage, LinkMode};
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Access, NewRoot, RootKind, StoreError};
use serde_json::json;

use super::Context;
use crate::args::StatusArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;
use crate::ui::counted;

/// Most packages that a hint names.
const PACKAGES_NAMED: usize = 5;

/// What the store has to do with the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeping {
    /// A root keeps its objects.
    Kept,
    /// It was moved here, and its root was set just now.
    Registered,
    /// No root keeps its objects; the next collection may take them.
    Unkept,
    /// Some of its objects are not there any more.
    ObjectsGone,
    /// The store itself is not there, or can't be read.
    StoreGone,
}

impl Keeping {
    /// The word for programs.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Registered => "registered",
            Self::Unkept => "not-kept",
            Self::ObjectsGone => "objects-gone",
            Self::StoreGone => "store-gone",
        }
    }
}

/// An environment that was looked at.
struct Seen<'a> {
    destination: &'a Path,
    manifest: &'a EnvironmentManifest,
    status: &'a EnvironmentStatus,
    keeping: Keeping,
    /// What others installed into an environment that is no lock's: it stays, and is nothing to speak of.
    others: Option<&'a Others>,
    /// Where it was made, if that is elsewhere.
    moved_from: Option<&'a str>,
}

/// There is nothing at that place, or nothing of ours.
pub(super) fn no_environment(destination: &Path) -> Failure {
    Failure::new(Exit::Error, format!("`{}` is no environment of pip-accel", destination.display()))
        .hint("make it: pip-accel realize requirements.lock")
}

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &StatusArgs) -> Result<Exit, Failure> {
    let destination = context.host.absolute(&args.venv);
    let Some(manifest) = environment::read_manifest(&destination)? else {
        return Err(no_environment(&destination));
    };
    let status = environment::check_environment(&destination)?;
    let real = destination.canonicalize().unwrap_or_else(|_| destination.clone());
    let is_elsewhere = !manifest.place.is_empty() && Path::new(&manifest.place) != real;
    let moved_from = is_elsewhere.then_some(manifest.place.as_str());
    let keeping = keeping(context, &manifest, real, is_elsewhere)?;
    let others = others(&destination, &manifest, &status)?;
    let others = others.as_ref();
    let seen = Seen { destination: &destination, manifest: &manifest, status: &status, keeping, others, moved_from };
    let is_good = status.is_intact() && !is_elsewhere && !seen.needs_objects();
    if context.ui.json {
        show_json(context, &seen, is_good);
    } else {
        show(context, &seen, is_good);
    }
    Ok(if is_good { Exit::Done } else { Exit::Error })
}

/// What others installed, where that is as it should be: in what `install` made or took over.
fn others(
    destination: &Path,
    manifest: &EnvironmentManifest,
    status: &EnvironmentStatus,
) -> Result<Option<Others>, Failure> {
    if !is_installed_into(manifest) {
        return Ok(None);
    }
    let others = Others::of(destination, manifest, &status.foreign);
    let path = destination.to_owned();
    Ok(Some(others.map_err(|source| InstallError::Io { action: "read", path, source })?))
}

/// Asks the store that the environment was made from; lets its root follow an environment that was moved.
fn keeping(
    context: &Context<'_>,
    manifest: &EnvironmentManifest,
    place: PathBuf,
    is_elsewhere: bool,
) -> Result<Keeping, Failure> {
    let mut settings = context.settings()?;
    settings.set("store", Some(Value::Text(manifest.store.clone())));
    let Ok(store) = context.open(&settings, Access::ReadOnly) else { return Ok(Keeping::StoreGone) };
    let ids: Vec<ObjectId> = manifest.packages.iter().map(|package| package.object).collect();
    if !store.missing(&ids)?.is_empty() {
        return Ok(Keeping::ObjectsGone);
    }
    let name = place.to_string_lossy().into_owned();
    let earlier = kept_objects(&place);
    let gone = store.missing(&earlier)?;
    let all: Vec<ObjectId> = ids.into_iter().chain(earlier.into_iter().filter(|id| !gone.contains(id))).collect();
    if store.root_holds(RootKind::Environment, &name, &all)? {
        return Ok(Keeping::Kept);
    }
    // A root that its user removed is not set again behind his back; one that is there is that of an environment which
    // stood here before.
    let is_moved = is_elsewhere || store.root_named(RootKind::Environment, &name)?.is_some();
    let (true, Ok(store)) = (is_moved, context.open(&settings, Access::ReadWrite)) else {
        return Ok(Keeping::Unkept);
    };
    match store.put_root(NewRoot { kind: RootKind::Environment, name, location: place }, &all) {
        Ok(()) => Ok(Keeping::Registered),
        Err(StoreError::MissingObject(_)) => Ok(Keeping::ObjectsGone),
        Err(error) => Err(error.into()),
    }
}

impl Seen<'_> {
    /// Entries that nobody is known to have installed.
    fn foreign(&self) -> &[String] {
        self.others.map_or(&self.status.foreign, |others| &others.unowned)
    }

    /// The command that makes it what it was.
    fn remedy(&self) -> String {
        if self.others.is_none() {
            return "make it whole again: pip-accel realize requirements.lock".to_owned();
        }
        let names = match self.manifest.packages.as_slice() {
            packages if packages.len() <= PACKAGES_NAMED => {
                let release = |package: &EnvironmentPackage| format!("{}=={}", package.name, package.version);
                packages.iter().map(release).collect::<Vec<_>>().join(" ")
            }
            _ => {
                return format!(
                    "make it whole again: the `pip-accel install --venv {}` that made it, with --force-reinstall",
                    self.destination.display()
                );
            }
        };
        format!(
            "make it whole again: pip-accel install --venv {} --force-reinstall {names}",
            self.destination.display()
        )
    }

    /// Whether it can't work because the store has not what its links lead to. Real files need no store.
    fn needs_objects(&self) -> bool {
        let is_gone = matches!(self.keeping, Keeping::ObjectsGone | Keeping::StoreGone);
        is_gone && self.manifest.link_mode == LinkMode::Symlink && !self.manifest.packages.is_empty()
    }
}

fn other(package: &InstalledPackage) -> serde_json::Value {
    json!({ "name": package.name, "version": package.version, "installer": package.installer })
}

fn show_json(context: &Context<'_>, seen: &Seen<'_>, is_good: bool) {
    let Seen { destination, manifest, status, keeping, moved_from, .. } = seen;
    context.ui.json(&json!({
        "version": 1,
        "environment": destination,
        "packages": manifest.packages,
        "link_mode": manifest.link_mode,
        "python_version": manifest.python_version,
        "intact": is_good,
        "store": manifest.store,
        "keeping": keeping.as_str(),
        "moved_from": moved_from,
        "missing": status.missing,
        "changed": status.changed,
        "dangling": status.dangling,
        "foreign": seen.foreign(),
        "others": seen.others.map(|others| others.packages.iter().map(other).collect::<Vec<_>>()),
        "detached": detach::names(manifest),
    }));
}

fn show(context: &Context<'_>, seen: &Seen<'_>, is_good: bool) {
    let Seen { destination, manifest, status, keeping, moved_from, .. } = seen;
    let ui = &context.ui;
    for package in manifest.packages.iter().filter(|package| package.detached) {
        ui.data(&format!("detached: {}=={}", package.name, package.version));
    }
    for (word, paths) in [
        ("missing", status.missing.as_slice()),
        ("changed", &status.changed),
        ("dangling", &status.dangling),
        ("foreign", seen.foreign()),
    ] {
        for path in paths {
            ui.data(&format!("{word}: {path}"));
        }
    }
    if let Some(place) = moved_from {
        ui.data(&format!("moved: from {place}, which its scripts still name"));
    }
    match keeping {
        Keeping::Kept => {}
        Keeping::Registered => ui.note("it is registered at this place now: gc keeps what it needs"),
        Keeping::Unkept => ui.warn("no root of the store keeps what it needs: the next gc may delete that"),
        Keeping::ObjectsGone if seen.needs_objects() => {
            ui.warn(&format!("the store `{}` has not all any more that it is linked to", manifest.store));
        }
        Keeping::StoreGone if seen.needs_objects() => {
            ui.warn(&format!("the store `{}`, which it is linked to, is not there or can't be read", manifest.store));
        }
        Keeping::ObjectsGone | Keeping::StoreGone => {}
    }
    if let Some(others) = seen.others {
        for package in &others.packages {
            let by = package.installer.as_deref().unwrap_or("another program");
            ui.detail(&format!("installed by {by}: {}=={}", package.name, package.version));
        }
    }
    let made = if seen.others.is_some() { "installed" } else { "realized" };
    let state = if is_good { format!("as {made}") } else { format!("not as {made}") };
    ui.note(&format!(
        "{}: {}, Python {}, {state}",
        destination.display(),
        counted(manifest.packages.len(), "package"),
        manifest.python_version
    ));
    if !is_good || *keeping == Keeping::Unkept {
        ui.hint(&seen.remedy());
    }
}
