//! What belongs to a lock: trees, and where sources are asked for, published files and what builds need.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Object, StoreError};

use super::facts::{BundleFacts, RecipeFact, RequirementsFact};
use crate::build::{inputs, remembered_recipe};
use crate::realize::engine::{Engine, store_error};
use crate::realize::error::ObtainError;
use crate::realize::pin::{ChosenKind, Pin, Selection};
use crate::realize::plan::{Plan, PlannedPackage};
use crate::realize::select::remembered;

/// How far a closure reaches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Whether published files and the trees of build requirements belong to it.
    pub(super) sources: bool,
    /// Whether what is missing is fetched and built; else it is left out.
    pub(super) obtain: bool,
}

/// What belongs to a lock.
#[derive(Debug)]
pub(super) struct Closure {
    pub(super) objects: BTreeSet<ObjectId>,
    pub(super) facts: BundleFacts,
}

impl Closure {
    /// Starts at the trees `wanted` of their pins.
    ///
    /// # Errors
    /// When something that belongs to it can't be had.
    pub(super) async fn collect(
        engine: &Arc<Engine>,
        wanted: Vec<(Pin, Object)>,
        reach: Reach,
    ) -> Result<Self, ObtainError> {
        let identity = engine.session.interpreter_identity();
        let mut closure = Self { objects: BTreeSet::new(), facts: BundleFacts::new(identity) };
        let mut seen = HashSet::new();
        let mut waiting = wanted;
        while let Some((pin, object)) = waiting.pop() {
            if !seen.insert(pin.key(identity)) {
                continue;
            }
            closure.objects.insert(object.id);
            let Some(selection) = selection_of(engine, &pin, &object).map_err(store_error(&pin))? else { continue };
            if reach.sources {
                closure.objects.extend(source(engine, &pin, &selection, reach).await?.map(|source| source.id));
            }
            if selection.kind == ChosenKind::Sdist {
                let requirements = closure.build(engine, &pin, &selection).map_err(store_error(&pin))?;
                if reach.sources {
                    for requirement in requirements.iter().map(|requirement| requirement.pin()) {
                        let tree = tree(engine, &requirement, reach).await?;
                        waiting.extend(tree.map(|tree| (requirement, tree)));
                    }
                }
            }
            closure.facts.add_selection(&pin, selection);
        }
        Ok(closure)
    }

    /// What is remembered of the build of an sdist; gives its requirements.
    fn build(
        &mut self,
        engine: &Engine,
        pin: &Pin,
        selection: &Selection,
    ) -> Result<Vec<inputs::LockedBuildRequirement>, StoreError> {
        let session = &engine.session;
        let locked = engine.build_lock(pin);
        let resolved = inputs::remembered_requirements(session, (selection, &pin.config_settings))?;
        if let Some(recipe) = remembered_recipe(session, (&selection.sha256, &pin.config_settings), locked.as_deref())?
        {
            self.facts.add_recipe(RecipeFact { locked: locked.clone(), recipe });
        }
        // What depends on settings is not what others ask for.
        if let Some(resolved) = resolved.as_ref().filter(|_| pin.config_settings.is_empty()) {
            self.facts.add_requirements(RequirementsFact { source: selection.sha256, locked: resolved.clone() });
        }
        Ok(locked.or(resolved).unwrap_or_default())
    }
}

/// The file that the tree of `pin` was made from; `None` when nothing here knows it any more.
fn selection_of(engine: &Engine, pin: &Pin, object: &Object) -> Result<Option<Selection>, StoreError> {
    if let Some(selection) = remembered(&engine.session, &pin.key(engine.session.interpreter_identity()))? {
        return Ok(Some(selection));
    }
    // What is chosen offline is not remembered.
    Ok(match &object.provenance {
        Provenance::Wheel { file_name, sha256, .. } => {
            Some(Selection { file_name: file_name.clone(), sha256: *sha256, kind: ChosenKind::Wheel, yanked: None })
        }
        Provenance::Build { recipe, .. } => match engine.session.lease.take_source(&recipe.source)? {
            Some(Object { provenance: Provenance::Source { file_name, sha256 }, .. }) => {
                Some(Selection { file_name, sha256, kind: ChosenKind::Sdist, yanked: None })
            }
            _ => None,
        },
        Provenance::Source { .. } | Provenance::Layer { .. } => None,
    })
}

async fn source(
    engine: &Arc<Engine>,
    pin: &Pin,
    selection: &Selection,
    reach: Reach,
) -> Result<Option<Object>, ObtainError> {
    if reach.obtain {
        return engine.source(pin, selection, None).await.map(|(source, _)| Some(source));
    }
    engine.session.lease.take_source(&selection.sha256).map_err(store_error(pin))
}

async fn tree(engine: &Arc<Engine>, pin: &Pin, reach: Reach) -> Result<Option<Object>, ObtainError> {
    if reach.obtain {
        return engine.tree(pin, None).await.map(|obtained| Some(obtained.object));
    }
    let package = PlannedPackage { pin: pin.clone(), selection: None, object: None };
    let mut plan = Plan { packages: vec![package] };
    plan.look_up(&engine.session, engine.build_locks()).map_err(store_error(pin))?;
    Ok(plan.packages.pop().and_then(|package| package.object))
}
