//! The build requirements of a solution's packages, for the `#: build` lines of its lock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use pip_accel_schema::name::{PackageName, PackageVersion};

use super::answer::{ResolvedPin, ResolvedTarget};
use super::error::ProjectError;
use super::{Resolution, Upgrade};
use crate::build::{LockedBuildRequirement, UnlockedBuild, build_lock_of, unlocked_builds};
use crate::lock::{LoadedLock, LockedBuild, load_text};
use crate::realize::engine::{Engine, Purpose};
use crate::realize::error::{ObtainError, RealizeError};
use crate::realize::pin::{ChosenKind, Pin};
use crate::realize::{Plan, run};
use crate::session::Session;

/// Locked builds of a solution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockedBuilds {
    /// The builds, sorted by name and version; those that need nothing are left out.
    pub builds: Vec<UnlockedBuild>,
    /// What could not be locked, and why: `lxml==5.3.0: …`.
    pub failed: Vec<String>,
}

impl std::fmt::Display for LockedBuilds {
    /// The lines of a lock, with an empty one before each build.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.builds.iter().try_for_each(|build| write!(formatter, "\n{build}"))
    }
}

/// Locks the builds that this interpreter would have to do for `resolution`. Those of `kept`, an old lock's, stay as they
/// are, but for what `upgrade` concerns. A build whose requirements can't be had is left out and named: the rest of the
/// lock is as good without.
///
/// # Errors
/// The store's, or an interruption.
pub fn lock_builds(
    session: &Arc<Session>,
    resolution: &Resolution,
    kept: &[LockedBuild],
    upgrade: &Upgrade,
) -> Result<LockedBuilds, ProjectError> {
    if resolution.may_need_build.is_empty() && !resolution.pins.iter().any(is_archive) {
        return Ok(LockedBuilds::default());
    }
    let mut lock = pins_alone(resolution)?;
    let plan = Plan::make(session, &lock)?;
    let kept: Vec<LockedBuild> = kept.iter().filter(|build| !is_forgotten(build, upgrade)).cloned().collect();
    let purpose = if *upgrade == Upgrade::Nothing { Purpose::Fetch } else { Purpose::FetchAnew };
    let engine = Engine::new(session, kept.clone(), purpose);
    let is_candidate = |pin: &Pin| {
        let is_archive = pin.direct.as_ref().is_some_and(|direct| !direct.file_name.ends_with(".whl"));
        is_archive || resolution.may_need_build.contains(&pin.name)
    };
    let pins: Vec<Pin> = plan.packages.into_iter().map(|package| package.pin).filter(is_candidate).collect();
    let tried = run(session, look_up(&engine, &pins))?;
    if session.cancel.is_interrupted() {
        return Err(ProjectError::Run(RealizeError::Interrupted));
    }
    let mut built = Vec::new();
    let mut failed = Vec::new();
    for (pin, result) in pins.iter().zip(tried) {
        match result {
            Ok(true) => built.push(pin.clone()),
            Ok(false) => {}
            Err(ObtainError::Store { source, .. }) => return Err(ProjectError::Run(RealizeError::Store(source))),
            Err(error) => failed.push(format!("{pin}: {}", told(&error))),
        }
    }
    lock.build_locks.clone_from(&kept);
    let resolved = unlocked_builds(session, &lock)?.resolved;
    Ok(LockedBuilds { builds: reachable(session, &built, (resolved, &kept)), failed })
}

/// Whether the pin is a file that is built, named by its place.
fn is_archive(pin: &ResolvedPin) -> bool {
    match &pin.target {
        ResolvedTarget::Url(url) => !crate::lock::file_name_of(url).ends_with(".whl"),
        ResolvedTarget::File(path) => path.extension().is_none_or(|ending| ending != "whl"),
        _ => false,
    }
}

fn is_forgotten(build: &LockedBuild, upgrade: &Upgrade) -> bool {
    let names = build.requirements.iter().filter_map(|requirement| requirement.name.as_ref());
    names.chain([&build.name]).any(|name| upgrade.concerns(name))
}

/// What of the solution has hashes, as a lock.
fn pins_alone(resolution: &Resolution) -> Result<LoadedLock, ProjectError> {
    let pins = resolution.pins.iter().filter(|pin| !pin.hashes.is_empty()).cloned().collect();
    let hashed = Resolution { pins, option_lines: Vec::new(), warnings: Vec::new(), may_need_build: Vec::new() };
    let root = Path::new("/");
    load_text(&root.join("the new lock"), &hashed.text(root))
        .map_err(|error| ProjectError::Run(RealizeError::Lock(error)))
}

/// For each pin, whether it has to be built; what that needs is looked up and fetched.
async fn look_up(engine: &Arc<Engine>, pins: &[Pin]) -> Vec<Result<bool, ObtainError>> {
    let mut work = tokio::task::JoinSet::new();
    for (position, pin) in pins.iter().cloned().enumerate() {
        let engine = Arc::clone(engine);
        work.spawn(async move {
            let needs_build = async {
                let (selection, _) = engine.select(&pin, &pin.key(engine.session.interpreter_identity())).await?;
                if selection.kind == ChosenKind::Sdist {
                    engine.tree(&pin, None).await?;
                }
                Ok(selection.kind == ChosenKind::Sdist)
            };
            (position, needs_build.await)
        });
    }
    let worker = |pin: &Pin| Err(ObtainError::Worker { pin: pin.to_string() });
    let mut results: Vec<Result<bool, ObtainError>> = pins.iter().map(worker).collect();
    while let Some(joined) = work.join_next().await {
        if let Ok((position, result)) = joined {
            results[position] = result;
        }
    }
    results
}

/// The builds that `pins` need, and those that they need in turn.
fn reachable(
    session: &Session,
    pins: &[Pin],
    (resolved, kept): (Vec<UnlockedBuild>, &[LockedBuild]),
) -> Vec<UnlockedBuild> {
    let markers = &session.python.interpreter.markers;
    let mut known: BTreeMap<(PackageName, PackageVersion), Vec<LockedBuildRequirement>> = BTreeMap::new();
    for build in kept {
        if let Some(requirements) = build_lock_of(kept, (&build.name, &build.version), markers) {
            known.insert((build.name.clone(), build.version.clone()), requirements);
        }
    }
    known.extend(resolved.into_iter().map(|build| ((build.name, build.version), build.requirements)));
    let releases = pins.iter().filter_map(|pin| Some((pin.name.clone(), pin.version.clone()?)));
    let mut waiting: VecDeque<_> = releases.collect();
    let mut seen = BTreeSet::new();
    let mut builds = Vec::new();
    while let Some(release) = waiting.pop_front() {
        let Some(requirements) = known.get(&release).filter(|requirements| !requirements.is_empty()) else { continue };
        if !seen.insert(release.clone()) {
            continue;
        }
        waiting.extend(requirements.iter().map(|needed| (needed.name.clone(), needed.version.clone())));
        builds.push(UnlockedBuild { name: release.0, version: release.1, requirements: requirements.clone() });
    }
    builds.sort_by(|left, right| (&left.name, &left.version).cmp(&(&right.name, &right.version)));
    builds
}

/// An error and its causes on one line.
fn told(error: &ObtainError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.lines().next().unwrap_or_default().to_owned()
}
