//! Why a release would be built: the recipe it has now, compared with those that builds in the store had.
//!
//! Nothing is fetched, resolved or built: where something is not known here yet, the earlier build's answer stands in.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::{BuildInput, Recipe};
use pip_accel_schema::recipe_difference::RecipeDifference;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Object, StoreError};

use super::inputs::{LockedBuildRequirement, build_lock_of, remembered_requirements};
use super::realised;
use super::recipe::{remembered_recipe, sandbox_policy};
use crate::lock::{AllowedFormats, LoadedLock};
use crate::python::requirement::satisfies_pin;
use crate::realize::error::RealizeError;
use crate::realize::pin::{ChosenKind, Pin, Selection};
use crate::realize::{Plan, remembered_selection};
use crate::session::Session;

/// What would happen to a release that is to be built.
#[derive(Debug, Clone, PartialEq)]
pub enum WhyRebuild {
    /// Nothing: the store has it.
    InStore(Box<Object>),
    /// Nothing is built: the lock means this wheel.
    Wheel {
        /// Its file name.
        file_name: String,
    },
    /// It would be built, and differs from what was built before.
    Differs {
        /// The build with the fewest differences, the newest of these.
        nearest: Box<Object>,
        /// What differs; empty when only what is not known yet can.
        differences: Vec<RecipeDifference>,
        /// Whether the build requirements for this source and interpreter are known.
        inputs_known: bool,
    },
    /// It was built by just this recipe; the store gave the object up.
    Deleted,
    /// The store has no build of the project.
    NeverBuilt,
}

/// Why no answer can be given.
#[derive(Debug, thiserror::Error)]
pub enum WhyRebuildError {
    /// The lock does not have the release.
    #[error("the lock has no `{name}=={version}`")]
    NotLocked {
        /// The project.
        name: PackageName,
        /// The version.
        version: PackageVersion,
    },
    /// The lock does not fit the interpreter, or the store fails.
    #[error(transparent)]
    Realize(#[from] RealizeError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of the recipe that the release has now.
struct Known {
    version: PackageVersion,
    source: Option<Sha256Digest>,
    /// Build requirements with the content of their trees, where the store has these.
    inputs: Option<Vec<(LockedBuildRequirement, Option<Object>)>>,
    config_settings: ConfigSettings,
}

/// Why `name` `version` would be built for the session's interpreter; with `lock`, as that has it.
///
/// # Errors
/// See [`WhyRebuildError`].
pub fn why_rebuild(
    session: &Session,
    (name, version): (&PackageName, &PackageVersion),
    lock: Option<&LoadedLock>,
) -> Result<WhyRebuild, WhyRebuildError> {
    let builds = builds_of(session, name)?;
    let pin = match lock {
        Some(lock) => locked_pin(session, (name, version), lock)?,
        None => {
            let formats = AllowedFormats { wheels: false, sdists: true };
            Pin::of_release(name, version, formats)
        }
    };
    let selection = remembered_selection(session, &pin.key(session.interpreter_identity()))?;
    if let Some(Selection { kind: ChosenKind::Wheel, file_name, .. }) = selection {
        return Ok(WhyRebuild::Wheel { file_name });
    }
    let selection = selection.or_else(|| assumed(&builds, &pin));
    let markers = &session.python.interpreter.markers;
    let locked = lock.and_then(|lock| build_lock_of(&lock.build_locks, (name, version), markers));
    let mut was_built = false;
    if let Some(selection) = &selection
        && let Some(recipe) = remembered_recipe(session, (&selection.sha256, &pin.config_settings), locked.as_deref())?
    {
        if let Some(object) = realised(session, &recipe)? {
            return Ok(WhyRebuild::InStore(Box::new(object)));
        }
        was_built = true;
    }
    let requirements = match (locked, &selection) {
        (Some(locked), _) => Some(locked),
        (None, Some(selection)) => remembered_requirements(session, (selection, &pin.config_settings))?,
        (None, None) => None,
    };
    let inputs = requirements.map(|requirements| trees(session, requirements)).transpose()?;
    let source = selection.map(|selection| selection.sha256).or_else(|| pin.hashes.first().copied());
    let known = Known { version: version.clone(), source, inputs, config_settings: pin.config_settings };
    Ok(compare(session, &builds, &known, was_built))
}

/// The objects of `name` that were built, the newest first.
fn builds_of(session: &Session, name: &PackageName) -> Result<Vec<(Object, Recipe)>, StoreError> {
    let recipe = |object: Object| match &object.provenance {
        Provenance::Build { recipe, .. } => {
            let recipe = (**recipe).clone();
            Some((object, recipe))
        }
        Provenance::Source { .. } | Provenance::Wheel { .. } | Provenance::Layer { .. } => None,
    };
    Ok(session.store.objects_named(name, None)?.into_iter().filter_map(recipe).collect())
}

fn locked_pin(
    session: &Session,
    (name, version): (&PackageName, &PackageVersion),
    lock: &LoadedLock,
) -> Result<Pin, WhyRebuildError> {
    let plan = Plan::make(session, lock)?;
    let is_meant =
        |pin: &Pin| pin.name == *name && pin.version.as_ref().is_none_or(|pinned| satisfies_pin(pinned, version));
    let pins = plan.packages.into_iter().map(|package| package.pin);
    pins.into_iter()
        .find(is_meant)
        .ok_or_else(|| WhyRebuildError::NotLocked { name: name.clone(), version: version.clone() })
}

/// Where nobody looked the release up for this interpreter yet: the sdist that an earlier build of the version used.
fn assumed(builds: &[(Object, Recipe)], pin: &Pin) -> Option<Selection> {
    let is_meant = |recipe: &&Recipe| {
        pin.version.as_ref().is_none_or(|version| satisfies_pin(version, &recipe.version))
            && (pin.hashes.is_empty() || pin.hashes.contains(&recipe.source))
    };
    let recipe = builds.iter().map(|(_, recipe)| recipe).find(is_meant)?;
    Some(Selection { file_name: String::new(), sha256: recipe.source, kind: ChosenKind::Sdist, yanked: None })
}

/// The trees of build requirements, where the store has them.
fn trees(
    session: &Session,
    requirements: Vec<LockedBuildRequirement>,
) -> Result<Vec<(LockedBuildRequirement, Option<Object>)>, StoreError> {
    let mut found = Vec::with_capacity(requirements.len());
    for requirement in requirements {
        let selection = remembered_selection(session, &requirement.pin().key(session.interpreter_identity()))?;
        let object = match selection {
            Some(Selection { kind: ChosenKind::Wheel, sha256, .. }) => {
                let id = ObjectId::of_wheel(&sha256, &session.python.interpreter.bytecode_tag);
                session.lease.take(&[id])?.into_iter().flatten().next()
            }
            Some(Selection { kind: ChosenKind::Sdist, sha256, .. }) => {
                let recipe = remembered_recipe(session, (&sha256, &ConfigSettings::new()), None)?;
                recipe.map(|recipe| realised(session, &recipe)).transpose()?.flatten()
            }
            None => None,
        };
        found.push((requirement, object));
    }
    Ok(found)
}

fn compare(session: &Session, builds: &[(Object, Recipe)], known: &Known, was_built: bool) -> WhyRebuild {
    let differences = |earlier: &Recipe| earlier.differences_to(&recipe_now(session, earlier, known));
    let all = builds.iter().map(|(object, recipe)| (object, differences(recipe)));
    let nearest = all.min_by_key(|(object, differences)| (differences.len(), Reverse(object.registered_at), object.id));
    match nearest {
        None if was_built => WhyRebuild::Deleted,
        None => WhyRebuild::NeverBuilt,
        Some((object, differences)) if differences.is_empty() && known.inputs.is_some() => {
            WhyRebuild::InStore(Box::new(object.clone()))
        }
        Some((nearest, differences)) => WhyRebuild::Differs {
            nearest: Box::new(nearest.clone()),
            differences,
            inputs_known: known.inputs.is_some(),
        },
    }
}

/// The recipe that the release has now; what is not known is taken from the recipe of an earlier build.
fn recipe_now(session: &Session, earlier: &Recipe, known: &Known) -> Recipe {
    let content = |requirement: &LockedBuildRequirement, object: Option<&Object>| {
        let same = |input: &&BuildInput| input.name == requirement.name;
        let before = earlier.build_inputs.iter().find(same);
        let known = object.map(|object| (object.version.clone(), object.content_digest));
        let (version, content) = match (known, before) {
            (Some(known), _) => known,
            (None, Some(before)) if satisfies_pin(&requirement.version, &before.version) => {
                (before.version.clone(), before.content)
            }
            (None, before) => (requirement.version.clone(), before.map(|before| before.content)?),
        };
        Some(BuildInput { name: requirement.name.clone(), version, content })
    };
    let build_inputs = match &known.inputs {
        None => earlier.build_inputs.clone(),
        Some(inputs) => {
            let placeholder = pip_accel_schema::digest::ContentDigest::from_bytes([0; 32]);
            let input = |(requirement, object): &(LockedBuildRequirement, Option<Object>)| {
                content(requirement, object.as_ref()).unwrap_or_else(|| BuildInput {
                    name: requirement.name.clone(),
                    version: requirement.version.clone(),
                    content: placeholder,
                })
            };
            inputs.iter().map(input).collect::<BTreeSet<_>>().into_iter().collect()
        }
    };
    Recipe {
        name: earlier.name.clone(),
        version: if satisfies_pin(&known.version, &earlier.version) {
            earlier.version.clone()
        } else {
            known.version.clone()
        },
        source: known.source.unwrap_or(earlier.source),
        interpreter: *session.interpreter_identity(),
        interpreter_label: session.python.interpreter.label(),
        build_inputs,
        config_settings: known.config_settings.clone(),
        environment: Default::default(),
        layers: earlier.layers.clone(),
        sandbox_policy: sandbox_policy(session).to_owned(),
    }
}
