//! From an sdist to a tree: build requirements, PEP 517 hooks in the sandbox, the wheel into the store.
//!
//! The steps of one build, all under the store's lock for this sdist and interpreter, so that processes which
//! start together build it once:
//!
//! 1. the source object, unpacked into a private scratch directory;
//! 2. the locked build requirements: from the lock's `#: build` lines, else remembered, else resolved and remembered;
//! 3. their trees as an environment of links, mounted read-only (`hooks`);
//! 4. `get_requires_for_build_wheel`, which may add requirements and repeat 2 and 3 (`inputs`);
//! 5. the recipe; if a realisation of it exists nothing is built;
//! 6. `build_wheel`, then the wheel is unpacked, checked and published like any other;
//!    a build that fails is explained (`explained`): which system package it lacks;
//! 7. if it failed because its requirements are too new for it (`too_new`), once more with older ones (`as_of`).

mod as_of;
mod confinement;
mod dpkg;
mod editable;
mod explained;
mod failure;
mod fits;
mod hooks;
mod host_lists;
pub(crate) mod inputs;
mod layered;
mod optional;
mod place;
pub(crate) mod recipe;
mod single;
mod system;
mod too_new;
mod trace;
mod unlocked;
mod why_rebuild;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pip_accel_schema::link_plan::{LinkPlan, RuntimeNeeds};
use pip_accel_schema::manifest::{EntryPath, Provenance};
use pip_accel_schema::name::PackageVersion;
use pip_accel_schema::recipe::Recipe;
use pip_accel_schema::store_path::{ObjectId, StorePath};
use pip_accel_schema::system_inputs::SystemInputs;
use pip_accel_schema::wheel::WheelFileName;
use pip_accel_store::{NewObject, Object, Scratch, StoreError, checkpoint};

pub(crate) use as_of::AsOf;
pub(crate) use confinement::Confinement;
pub(crate) use explained::events as index_events;
pub(crate) use failure::ending;
pub use failure::{BuildFailure, BuildStatus};
pub(crate) use fits::{HostNow, misfit};
pub use inputs::{LockedBuildRequirement, RequirementTrees, build_lock_of, build_lock_of_pin};
pub(crate) use recipe::policy_of;
pub(crate) use recipe::remembered_recipe;
pub use recipe::{BuildLockOf, sandbox_policy};
pub use single::{BuildTarget, BuildTargetError, build_one};
pub use unlocked::{UnlockedBuild, UnlockedBuilds, unlocked_builds};
pub use why_rebuild::{WhyRebuild, WhyRebuildError, why_rebuild};

use crate::event::{BuildEnd, Event};
use crate::index::PublishedFile;
use crate::python::interpreter::supports_environments;
use crate::python::loader::needs_of_tree;
use crate::python::requirement::satisfies_pin;
use crate::python::sdist::{UnpackedSdist, unpack_sdist};
use crate::python::wheel::{ForeignPaths, PathSet};
use crate::realize::engine::{Engine, How, Obtained, joined, store_error};
use crate::realize::error::ObtainError;
use crate::realize::pin::{Pin, PinKey, Selection};
use crate::realize::profile::Activity;
use crate::session::{SandboxChoice, Session};
use crate::system_packages::External;
use hooks::Hook;
use layered::Layered;
use optional::Attempted;
use place::BuildPlace;

/// The best of the objects that were built from `recipe` and fit this host by the session's policy.
///
/// # Errors
/// The store's.
pub fn realised(session: &Session, recipe: &Recipe) -> Result<Option<Object>, StoreError> {
    Ok(fits::fitting(session, recipe)?.ok())
}

/// What the sdist `source` says that it needs besides Python packages.
pub(crate) async fn external_of(
    engine: &Arc<Engine>,
    pin: &Pin,
    (selection, source): (&Selection, &Object),
) -> Result<External, ObtainError> {
    let scratch = engine.session.store.scratch("sdist").map_err(store_error(pin))?;
    let work = Build { engine, pin, selection, source: Some(source), only_inputs: Some(source) };
    Ok(work.unpack(&scratch).await?.build_system.external)
}

/// The tree of the sdist that `selection` names, built unless the store has it.
pub(crate) async fn obtain_built(
    engine: &Arc<Engine>,
    pin: &Pin,
    (selection, published): (&Selection, Option<PublishedFile>),
    build: bool,
) -> Result<Obtained, ObtainError> {
    if let Some(object) = built_before(engine, pin, selection)? {
        return Ok(Obtained { object, how: How::Store });
    }
    supports_environments(&engine.session.python.interpreter)
        .map_err(|source| ObtainError::Unsupported { pin: pin.to_string(), source: Arc::new(source) })?;
    let source = match pin.editable() {
        // Nothing of it is kept: what is built only says where it is.
        Some(_) => None,
        None => Some(engine.source(pin, selection, published).await?.0),
    };
    source.iter().for_each(|source| engine.touch(source.id));
    let identity = engine.session.interpreter_identity();
    engine.note_need((pin.key(identity), PinKey::of_build(&selection.sha256, identity)), pin)?;
    let key = format!("build {} {identity}", selection.sha256);
    let lock = engine.lock(pin, &key).await?;
    if let Some(object) = built_before(engine, pin, selection)? {
        return Ok(Obtained { object, how: How::Store });
    }
    if build && engine.session.options.sandbox == SandboxChoice::None {
        let warning = format!("{pin} is built without a sandbox: its build can read and change whatever you can");
        engine.session.report(Event::Warning(warning));
    }
    let only_inputs = if build { None } else { source.as_ref() };
    let work = Build { engine, pin, selection, source: source.as_ref(), only_inputs };
    let result = Box::pin(work.run()).await;
    drop(lock);
    result
}

pub(crate) fn built_before(engine: &Engine, pin: &Pin, selection: &Selection) -> Result<Option<Object>, ObtainError> {
    let error = store_error(pin);
    let locked = engine.build_lock(pin);
    match remembered_recipe(&engine.session, (&selection.sha256, &pin.config_settings), locked.as_deref())
        .map_err(&error)?
    {
        None => Ok(None),
        Some(recipe) => Ok(realised(&engine.session, &recipe).map_err(&error)?.filter(|object| pin.is_met_by(object))),
    }
}

struct Build<'a> {
    engine: &'a Arc<Engine>,
    pin: &'a Pin,
    selection: &'a Selection,
    /// The archive; an editable has none.
    source: Option<&'a Object>,
    /// The archive when the build itself is left out: it and the inputs are all that is wanted.
    only_inputs: Option<&'a Object>,
}

impl Build<'_> {
    async fn run(&self) -> Result<Obtained, ObtainError> {
        match self.attempt(None).await {
            Err(ObtainError::Build(failure)) => self.with_older_requirements(failure).await,
            result => result,
        }
    }

    /// The build with the newest requirements, or with those of a day.
    async fn attempt_once(&self, as_of: Option<&AsOf>) -> Result<Attempted, ObtainError> {
        let session = &self.engine.session;
        let scratch = session.store.scratch("build").map_err(store_error(self.pin))?;
        let sdist = self.unpack(&scratch).await?;
        self.check_name(&sdist)?;
        let told = sdist.metadata.as_ref().filter(|_| self.pin.checkout.is_none());
        let version = self.pin.version.clone().or_else(|| told.map(|told| told.version.clone()));
        let label = version.clone().unwrap_or_else(|| self.pin.label_version());
        let layered = Layered::of(self.engine, self.pin, (&self.selection.sha256, &label), scratch.path()).await?;
        let place = BuildPlace::new(self.engine, self.pin, (version, layered), (&scratch, &sdist))?;
        match self.attempt_in(&place, &sdist, as_of).await {
            Err(ObtainError::Build(failure)) => Err(place.explained(failure).await),
            result => result.map(|obtained| Attempted { obtained, label, without: place.trace.take_without() }),
        }
    }

    async fn attempt_in(
        &self,
        place: &BuildPlace<'_>,
        sdist: &UnpackedSdist,
        as_of: Option<&AsOf>,
    ) -> Result<Obtained, ObtainError> {
        let (inputs, recipe) = self.inputs(place, sdist, as_of).await?;
        let obtained = self.tree(place, &inputs, recipe).await.inspect_err(|error| match error {
            // Its log is closed with the explanation.
            ObtainError::Build(_) => {}
            error if error.is_cancelled() => place.close_interrupted_log(),
            error => place.close_log_of_begun(&error.to_string()),
        })?;
        if as_of.is_some() {
            // Not before it is known that they serve.
            inputs::remember(self.engine, self.pin, self.selection, &inputs)?;
        }
        Ok(obtained)
    }

    async fn tree(
        &self,
        place: &BuildPlace<'_>,
        inputs: &RequirementTrees,
        recipe: Recipe,
    ) -> Result<Obtained, ObtainError> {
        let session = &self.engine.session;
        let misfit = match fits::fitting(session, &recipe).map_err(store_error(self.pin))? {
            Ok(object) => {
                self.remember(&recipe).map_err(store_error(self.pin))?;
                return Ok(Obtained { object, how: How::Store });
            }
            Err(misfit) => misfit,
        };
        if let Some(source) = self.only_inputs {
            return Ok(Obtained { object: source.clone(), how: How::Fetched });
        }
        if let Some(misfit) = misfit {
            session.report(Event::Note(format!("{} is built anew: {misfit}", self.pin)));
        }
        let wheel = self.build_wheel(place, inputs).await?;
        if let Some(editable) = self.pin.editable() {
            editable::bring_back(place, editable)?;
        }
        let made = place.with_libraries(wheel).await?;
        let object = self.import(made, place, recipe).await?;
        session.note_built(object.id);
        Ok(Obtained { object, how: How::Built })
    }

    fn remember(&self, recipe: &Recipe) -> Result<(), StoreError> {
        let locked = self.engine.build_lock(self.pin);
        let told = (&self.selection.sha256, &self.pin.config_settings);
        recipe::remember(&self.engine.session, (told, locked.as_deref()), recipe)
    }

    async fn unpack(&self, scratch: &Scratch) -> Result<UnpackedSdist, ObtainError> {
        let file_name = self.selection.file_name.clone();
        let Some(source) = self.source else { return editable::unpack(self.engine, self.pin, scratch).await };
        let archive = match &source.provenance {
            Provenance::Source { file_name, .. } => source.path.join(file_name),
            Provenance::Wheel { .. } | Provenance::Build { .. } | Provenance::Layer { .. } => {
                source.path.join(&file_name)
            }
        };
        let destination = scratch.path().join("build").join("src");
        let work = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&destination).map_err(|source| ObtainError::Scratch {
                pin: file_name.clone(),
                path: destination.clone(),
                source: Arc::new(source),
            })?;
            unpack_sdist(&archive, &file_name, &destination)
                .map_err(|source| ObtainError::Sdist { file_name, source: Arc::new(source) })
        });
        joined(work, &self.pin.to_string()).await
    }

    fn check_name(&self, sdist: &UnpackedSdist) -> Result<(), ObtainError> {
        match &sdist.metadata {
            // What lies in a checkout is of an earlier build, if it was not copied from elsewhere.
            Some(_) if self.pin.checkout.is_some() => Ok(()),
            Some(told) if told.name != self.pin.name || !self.is_version(&told.version) => {
                Err(ObtainError::SdistIdentity {
                    pin: self.pin.to_string(),
                    file_name: self.selection.file_name.clone(),
                    found: format!("{}=={}", told.name, told.version),
                })
            }
            _ => Ok(()),
        }
    }

    fn is_version(&self, found: &PackageVersion) -> bool {
        self.pin.version.as_ref().is_none_or(|version| satisfies_pin(version, found))
    }

    /// The trees of the build requirements and the recipe that follows from them.
    async fn inputs(
        &self,
        place: &BuildPlace<'_>,
        sdist: &UnpackedSdist,
        as_of: Option<&AsOf>,
    ) -> Result<(RequirementTrees, Recipe), ObtainError> {
        let session = &self.engine.session;
        let source = (self.selection, sdist);
        let (trees, complete) = inputs::fixed_or_static(self.engine, self.pin, source, as_of).await?;
        let trees = if complete {
            trees
        } else {
            let more = hooks::required_by_backend(place, &trees).await?;
            let trees = inputs::with_more(self.engine, self.pin, source, (trees, more), as_of).await?;
            if as_of.is_none() {
                inputs::remember(self.engine, self.pin, self.selection, &trees)?;
            }
            trees
        };
        let version = place.label_version();
        let told = (&self.selection.sha256, &self.pin.config_settings);
        let recipe = recipe::of(session, (&self.pin.name, &version), told, (&trees, place.layered.layers()));
        Ok((trees, recipe))
    }

    async fn build_wheel(&self, place: &BuildPlace<'_>, inputs: &RequirementTrees) -> Result<PathBuf, ObtainError> {
        let version = place.label_version();
        let session = &self.engine.session;
        session.report(Event::BuildStarted { name: self.pin.name.clone(), version: version.clone() });
        let started = Instant::now();
        self.engine.make_room().await;
        let running = self.engine.work.begin(Activity::Build);
        let result = hooks::run(place, inputs, (Hook::BuildWheel, 1)).await;
        drop(running);
        session.report(Event::BuildFinished {
            name: self.pin.name.clone(),
            version,
            duration: started.elapsed(),
            end: match &result {
                Ok(_) => BuildEnd::Built,
                Err(error) if error.is_cancelled() => BuildEnd::Stopped,
                Err(_) => BuildEnd::Failed,
            },
        });
        let value = result?;
        let output = place.output();
        if !output.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(place.failure(BuildStatus::BadResult, "it replaced its output folder".to_owned()));
        }
        let wheel = value.as_str().map(Path::new).and_then(Path::file_name).map(|name| output.join(name));
        let Some(wheel) = wheel.filter(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())) else {
            return Err(place.failure(BuildStatus::BadResult, "the backend named no wheel that exists".to_owned()));
        };
        Ok(wheel)
    }

    /// Publishes a wheel and what it refers to.
    async fn import(
        &self,
        (wheel, references): (PathBuf, Vec<ObjectId>),
        place: &BuildPlace<'_>,
        recipe: Recipe,
    ) -> Result<Object, ObtainError> {
        let session = &self.engine.session;
        let file_name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parsed: WheelFileName = file_name.parse().map_err(|error| {
            place.failure(BuildStatus::BadResult, format!("it made a wheel with a bad name: {error}"))
        })?;
        if session.tags().rank(&parsed).is_none() {
            let reason = format!("it made `{file_name}`, which this interpreter can't use");
            return Err(place.failure(BuildStatus::BadResult, reason));
        }
        let paths = Arc::new(place.foreign_paths(!references.is_empty()));
        // That an editable names the place of its checkout is what it is for.
        let searched = self.pin.editable().is_none().then(|| Arc::clone(&paths));
        let imported = self.engine.import(&file_name, &parsed, wheel, searched).await;
        let (tree, imported) = imported.map_err(|error| match &error {
            // Only what the wheel itself is to blame for is the build's failure; a full disk is not.
            ObtainError::Wheel { source, .. } if !source.is_of_the_store() => {
                let reason = format!("it made a wheel that is refused: {}", source.fault);
                place.failure(BuildStatus::BadResult, reason)
            }
            _ => error,
        })?;
        let metadata = imported.metadata;
        let same_version = place.version.as_ref().is_none_or(|version| satisfies_pin(version, &metadata.version));
        let is_same = metadata.name == self.pin.name || !self.pin.is_named();
        if !is_same || !same_version {
            let found = format!("it made a wheel of `{}=={}`, not of `{}`", metadata.name, metadata.version, self.pin);
            return Err(place.failure(BuildStatus::BadResult, found));
        }
        let bytecode_tag = session.python.interpreter.bytecode_tag.clone();
        let without = place.without().await;
        let mut noticed: Vec<String> = without.iter().map(ToString::to_string).collect();
        noticed.extend(describe_foreign(&paths, &imported.foreign));
        noticed.iter().for_each(|text| place.notice(text));
        place.trace.note_without(&without);
        let read = place.system_inputs().await.map(|read| Box::new(read.with_without(without)));
        if let Some(read) = &read {
            place.annotate(&format!("read of the system: {read}"));
        }
        let needs = self.needs(tree.path()).await;
        let system_inputs = read.as_deref().map_or_else(SystemInputs::untraced, SystemInputs::digest);
        let id = ObjectId::of_build(&recipe.id(), &system_inputs, &bytecode_tag);
        let new = NewObject {
            tree,
            path: StorePath::new(id, &metadata.name, &metadata.version, Some(&parsed.tags_text())),
            name: metadata.name,
            version: metadata.version,
            provenance: Provenance::Build {
                file_name,
                recipe: Box::new(recipe.clone()),
                system_inputs,
                read,
                bytecode_tag,
            },
            references,
            link_plan: Some(LinkPlan { needs, ..imported.link_plan }),
        };
        checkpoint("build-ran");
        let objects = self.engine.publish(self.pin, vec![new]).await?;
        checkpoint("build-published");
        self.remember(&recipe).map_err(store_error(self.pin))?;
        checkpoint("build-remembered");
        place.succeeded(recipe.id(), &noticed.join("; "))?;
        Ok(objects.into_iter().next().expect("publishing returns an object for each it was given"))
    }
}

impl Build<'_> {
    /// What the tree needs of this host to run; not known if it can't be read.
    async fn needs(&self, tree: &Path) -> Option<RuntimeNeeds> {
        let (tree, store) = (tree.to_owned(), self.engine.session.store.root().to_owned());
        let work = tokio::task::spawn_blocking(move || needs_of_tree(&tree, &store));
        let read = work.await.unwrap_or_else(|_| Ok(RuntimeNeeds::default()));
        read.inspect_err(|error| tracing::warn!(%error, pin = %self.pin, "what a build needs to run is not known")).ok()
    }
}

/// Files that a notice lists; the rest is counted.
const FOREIGN_FILES_SHOWN: usize = 3;

/// Which paths of a build its wheel holds, and where; nothing when there are none.
fn describe_foreign(paths: &ForeignPaths, found: &[(EntryPath, PathSet)]) -> Option<String> {
    if found.is_empty() {
        return None;
    }
    let all = found.iter().fold(PathSet::default(), |all, (_, set)| all.union(*set));
    let named = |names: Vec<String>| names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let all = named(paths.paths(all).iter().map(|path| path.display().to_string()).collect());
    let files = named(found.iter().take(FOREIGN_FILES_SHOWN).map(|(path, _)| path.to_string()).collect());
    let more = match found.len().saturating_sub(FOREIGN_FILES_SHOWN) {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Some(format!("paths of the build, which mean nothing later, are in its files: {all} in {files}{more}"))
}
