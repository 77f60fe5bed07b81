//! The build requirements of an sdist: which, locked how, and their trees.

use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_store::{Object, StoreError};
use serde::{Deserialize, Serialize};

use super::as_of::AsOf;
use super::recipe::with_settings;
use crate::lock::AllowedFormats;
use crate::lock::LockedBuild;
use crate::python::requirement::is_same;
use crate::python::sdist::{DEFAULT_BUILD_REQUIRES, LEGACY_BACKEND, UnpackedSdist};
use crate::realize::course::Course;
use crate::realize::engine::{Engine, Purpose, store_error};
use crate::realize::error::ObtainError;
use crate::realize::pin::{Pin, PinKey, Selection};
use crate::resolve::{ResolveRequest, resolve_build_requirements};
use crate::session::Session;

/// Namespace of the remembered build requirements.
pub(crate) const MEMO: &str = "build-requirements/1";

/// What `builds`, the locked builds of a lock, say about `name` and `version`, sorted.
#[must_use]
pub fn build_lock_of(
    builds: &[LockedBuild],
    (name, version): (&PackageName, &PackageVersion),
    markers: &MarkerVariables,
) -> Option<Vec<LockedBuildRequirement>> {
    let build = builds.iter().find(|build| build.name == *name && is_same(&build.version, version))?;
    let mut locked: Vec<LockedBuildRequirement> = build
        .select(markers)
        .into_iter()
        .filter_map(|requirement| {
            // Always there: a lock that names a file or URL here is refused.
            let version = requirement.version?;
            Some(LockedBuildRequirement { name: requirement.name?, version, hashes: requirement.hashes })
        })
        .collect();
    locked.sort();
    Some(locked)
}

impl Engine {
    /// The build requirements that the lock fixes for a package.
    pub(crate) fn build_lock(&self, pin: &Pin) -> Option<Vec<LockedBuildRequirement>> {
        build_lock_of_pin(self.build_locks(), pin, &self.session.python.interpreter.markers)
    }
}

/// The same for a pin. A checkout's version is known only after its build: the one block of its name counts.
#[must_use]
pub fn build_lock_of_pin(
    builds: &[LockedBuild],
    pin: &Pin,
    markers: &MarkerVariables,
) -> Option<Vec<LockedBuildRequirement>> {
    if let Some(version) = &pin.version {
        return build_lock_of(builds, (&pin.name, version), markers);
    }
    pin.checkout.as_ref().filter(|checkout| checkout.is_named)?;
    let mut of_name = builds.iter().filter(|build| build.name == pin.name);
    match (of_name.next(), of_name.next()) {
        (Some(only), None) => build_lock_of(builds, (&pin.name, &only.version), markers),
        _ => None,
    }
}

/// One locked build requirement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedBuildRequirement {
    /// The project.
    pub name: PackageName,
    /// The pinned version.
    pub version: PackageVersion,
    /// Allowed files, sorted.
    pub hashes: Vec<Sha256Digest>,
}

/// The locked build requirements of one sdist with their trees, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct RequirementTrees {
    members: Vec<(LockedBuildRequirement, Object)>,
}

impl RequirementTrees {
    /// The trees.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.members.iter().map(|(_, object)| object)
    }

    /// What is locked.
    #[must_use]
    pub fn locked(&self) -> Vec<LockedBuildRequirement> {
        self.members.iter().map(|(locked, _)| locked.clone()).collect()
    }
}

impl LockedBuildRequirement {
    /// What is wanted when this is built with.
    pub(crate) fn pin(&self) -> Pin {
        Pin {
            name: self.name.clone(),
            version: Some(self.version.clone()),
            hashes: self.hashes.clone(),
            direct: None,
            files: Arc::default(),
            checkout: None,
            // The lock's --no-binary speaks of what is installed; build requirements come as wheels where they can.
            formats: AllowedFormats { wheels: true, sdists: true },
            config_settings: ConfigSettings::new(),
        }
    }
}

/// What the remembered requirements of an sdist depend on.
pub(crate) fn memo_key(source: &Sha256Digest, interpreter: &ValueDigest) -> [u8; 32] {
    let mut encoder = Encoder::for_domain("pip-accel/build-requirements-memo/1");
    encoder.bytes(source.as_bytes()).bytes(interpreter.as_bytes());
    encoder.finish()
}

/// The same with what the backend is told and what the user constrains, which both may change what is required.
fn key(session: &Session, selection: &Selection, config: &ConfigSettings) -> [u8; 32] {
    let key = memo_key(&selection.sha256, session.interpreter_identity());
    with_settings(key, config, &session.options.build_constraints)
}

/// The requirements that the lock or an earlier build fixed (then `true`: nothing is missing), else those
/// that `pyproject.toml` names, resolved now. Those of a day are not what an earlier build fixed.
pub(super) async fn fixed_or_static(
    engine: &Arc<Engine>,
    pin: &Pin,
    (selection, sdist): (&Selection, &UnpackedSdist),
    as_of: Option<&AsOf>,
) -> Result<(RequirementTrees, bool), ObtainError> {
    if as_of.is_none()
        && let Some(locked) = fixed(engine, pin, selection)?
    {
        return Ok((trees(engine, (pin, selection), locked).await?, true));
    }
    let locked = resolve(engine, pin, &stated(engine, sdist, as_of), as_of).await?;
    Ok((trees(engine, (pin, selection), locked).await?, false))
}

/// What the project says it needs. One that says nothing needs setuptools; which knows the hooks since 40.8, and where
/// that may be too new, of an earlier day or for Python 2, the runner does without these.
fn stated(engine: &Engine, sdist: &UnpackedSdist, as_of: Option<&AsOf>) -> Vec<String> {
    let system = &sdist.build_system;
    let is_silent = system.backend == LEGACY_BACKEND && system.requires == DEFAULT_BUILD_REQUIRES;
    if is_silent && (as_of.is_some() || engine.session.python.interpreter.version.major < 3) {
        return vec!["setuptools".to_owned()];
    }
    system.requires.clone()
}

fn fixed(
    engine: &Engine,
    pin: &Pin,
    selection: &Selection,
) -> Result<Option<Vec<LockedBuildRequirement>>, ObtainError> {
    if let Some(locked) = engine.build_lock(pin) {
        return Ok(Some(locked));
    }
    if engine.purpose == Purpose::FetchAnew {
        return Ok(None);
    }
    remembered_requirements(&engine.session, (selection, &pin.config_settings)).map_err(store_error(pin))
}

/// What the requirements of building `selection` were resolved to here.
pub(crate) fn remembered_requirements(
    session: &Session,
    (selection, config): (&Selection, &ConfigSettings),
) -> Result<Option<Vec<LockedBuildRequirement>>, StoreError> {
    let memo = session.store.memo_find(MEMO, &key(session, selection, config))?;
    Ok(memo.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Adds what the backend asked for.
pub(super) async fn with_more(
    engine: &Arc<Engine>,
    pin: &Pin,
    (selection, sdist): (&Selection, &UnpackedSdist),
    (have, more): (RequirementTrees, Vec<String>),
    as_of: Option<&AsOf>,
) -> Result<RequirementTrees, ObtainError> {
    if more.is_empty() {
        return Ok(have);
    }
    let mut requirements = stated(engine, sdist, as_of);
    requirements.extend(more);
    let locked = resolve(engine, pin, &requirements, as_of).await?;
    trees(engine, (pin, selection), locked).await
}

/// Remembers what the requirements of building `selection` were resolved to.
pub(super) fn remember(
    engine: &Engine,
    pin: &Pin,
    selection: &Selection,
    trees: &RequirementTrees,
) -> Result<(), ObtainError> {
    let value = serde_json::to_vec(&trees.locked()).expect("requirements have no map with odd keys");
    let key = key(&engine.session, selection, &pin.config_settings);
    engine.session.store.memo_put(MEMO, &key, &value).map_err(store_error(pin))
}

async fn resolve(
    engine: &Arc<Engine>,
    pin: &Pin,
    requirements: &[String],
    as_of: Option<&AsOf>,
) -> Result<Vec<LockedBuildRequirement>, ObtainError> {
    if requirements.is_empty() {
        return Ok(Vec::new());
    }
    resolve_build_requirements(engine, ResolveRequest { pin, requirements, as_of }).await
}

async fn trees(
    engine: &Arc<Engine>,
    (parent, selection): (&Pin, &Selection),
    mut locked: Vec<LockedBuildRequirement>,
) -> Result<RequirementTrees, ObtainError> {
    locked.sort();
    let build = PinKey::of_build(&selection.sha256, engine.session.interpreter_identity());
    let mut work = tokio::task::JoinSet::new();
    for (position, requirement) in locked.iter().enumerate() {
        let engine = Arc::clone(engine);
        let pin = requirement.pin();
        let course = Course::current();
        work.spawn(async move {
            let tree = async { engine.tree(&pin, Some(build)).await.map(|obtained| obtained.object) };
            let tree = match course {
                Some(course) => course.follow(tree).await,
                None => tree.await,
            };
            (position, tree)
        });
    }
    let mut trees: Vec<Option<Result<Object, ObtainError>>> = locked.iter().map(|_| None).collect();
    while let Some(joined) = work.join_next().await {
        if let Ok((position, tree)) = joined {
            trees[position] = Some(tree);
        }
    }
    // All of them ended: the first failure is the same whoever was faster.
    let worker = || Err(ObtainError::Worker { pin: parent.to_string() });
    let trees: Vec<Object> = trees.into_iter().map(|tree| tree.unwrap_or_else(worker)).collect::<Result<_, _>>()?;
    Ok(RequirementTrees { members: locked.into_iter().zip(trees).collect() })
}
