//! Remembered answers on their way to another store: spelled out, so that their receiver computes the keys itself and
//! sees that each answer is one to its question.

use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::Recipe;
use pip_accel_store::{BundleFault, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::build::{LockedBuildRequirement, inputs, recipe};
use crate::lock::AllowedFormats;
use crate::python::archive::entry_name;
use crate::realize::pin::{Pin, PinKey, Selection};
use crate::realize::select;

/// What a fault of one of these is said of.
const FACTS: &str = "facts";

/// Which file a pin means.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SelectionFact {
    name: PackageName,
    version: Option<PackageVersion>,
    hashes: Vec<Sha256Digest>,
    /// The file's name, where the lock names the file itself.
    file_name: Option<String>,
    wheels: bool,
    sdists: bool,
    selection: Selection,
}

/// Which recipe an sdist had with these locked build requirements.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RecipeFact {
    pub(super) locked: Option<Vec<LockedBuildRequirement>>,
    pub(super) recipe: Recipe,
}

/// What the build requirements of an sdist were resolved to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RequirementsFact {
    pub(super) source: Sha256Digest,
    pub(super) locked: Vec<LockedBuildRequirement>,
}

/// What `realize --offline` remembers of an earlier run, for one interpreter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BundleFacts {
    interpreter: ValueDigest,
    selections: Vec<SelectionFact>,
    recipes: Vec<RecipeFact>,
    build_requirements: Vec<RequirementsFact>,
}

impl BundleFacts {
    pub(super) fn new(interpreter: &ValueDigest) -> Self {
        let (selections, recipes, build_requirements) = (Vec::new(), Vec::new(), Vec::new());
        Self { interpreter: *interpreter, selections, recipes, build_requirements }
    }

    pub(super) fn add_selection(&mut self, pin: &Pin, selection: Selection) {
        self.selections.push(SelectionFact {
            name: pin.name.clone(),
            version: pin.version.clone(),
            hashes: pin.hashes.clone(),
            file_name: pin.file_key(),
            wheels: pin.formats.wheels,
            sdists: pin.formats.sdists,
            selection,
        });
    }

    pub(super) fn add_recipe(&mut self, fact: RecipeFact) {
        self.recipes.push(fact);
    }

    pub(super) fn add_requirements(&mut self, fact: RequirementsFact) {
        self.build_requirements.push(fact);
    }

    /// As the manifest holds it: in an order that depends on nothing but what is in it.
    pub(super) fn into_value(self) -> serde_json::Value {
        let Self { interpreter, selections, recipes, build_requirements } = self;
        serde_json::json!({
            "interpreter": interpreter,
            "selections": sorted(&selections),
            "recipes": sorted(&recipes),
            "build_requirements": sorted(&build_requirements),
        })
    }

    /// Reads and checks what a bundle says.
    ///
    /// # Errors
    /// When an answer is not one to its question.
    pub(super) fn of_value(value: &serde_json::Value) -> Result<Self, BundleFault> {
        let facts =
            Self::deserialize(value).map_err(|error| BundleFault::new(FACTS, format!("can't be read: {error}")))?;
        for SelectionFact { name, hashes, file_name, selection, .. } in &facts.selections {
            // A commit has no hash in its lock: that it means this archive is the sender's word, as a realisation is.
            let is_commit = file_name.as_ref().is_some_and(|name| name.starts_with("git+")) && hashes.is_empty();
            if !is_commit && !hashes.contains(&selection.sha256) {
                return Err(BundleFault::new(name.as_str(), "means a file whose SHA-256 its lock does not have"));
            }
            let is_name = entry_name(selection.file_name.as_bytes()).is_ok_and(|path| path.parent().is_none());
            if !is_name {
                return Err(BundleFault::new(name.as_str(), "means a file whose name is none"));
            }
        }
        match facts.recipes.iter().find(|fact| fact.recipe.interpreter != facts.interpreter) {
            Some(fact) => Err(BundleFault::new(fact.recipe.name.as_str(), "has a recipe for another interpreter")),
            None => Ok(facts),
        }
    }

    /// Remembers the answers to questions that this store has no answer to yet.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn remember(&self, store: &Store) -> Result<(), StoreError> {
        for fact in &self.selections {
            let formats = AllowedFormats { wheels: fact.wheels, sdists: fact.sdists };
            let release = (&fact.name, fact.version.as_ref());
            let choice = (formats, fact.file_name.as_deref());
            let key = PinKey::of_pin(&self.interpreter, release, choice, &fact.hashes);
            put(store, select::MEMO, key.as_bytes(), &fact.selection)?;
        }
        for RecipeFact { locked, recipe } in &self.recipes {
            let builder = (&self.interpreter, recipe.sandbox_policy.as_str());
            let key = recipe::memo_key(builder, &recipe.source, locked.as_deref());
            put(store, recipe::MEMO, &recipe::with_settings(key, &recipe.config_settings, &[]), recipe)?;
        }
        for RequirementsFact { source, locked } in &self.build_requirements {
            put(store, inputs::MEMO, &inputs::memo_key(source, &self.interpreter), locked)?;
        }
        Ok(())
    }
}

fn put<T: Serialize>(store: &Store, namespace: &str, key: &[u8], value: &T) -> Result<(), StoreError> {
    if store.memo_get(namespace, key)?.is_some() {
        return Ok(());
    }
    let value = serde_json::to_vec(value).expect("a remembered answer has no map with odd keys");
    store.memo_put(namespace, key, &value)
}

fn sorted<T: Serialize>(facts: &[T]) -> Vec<serde_json::Value> {
    let value = |fact: &T| serde_json::to_value(fact).expect("a remembered answer has no map with odd keys");
    let mut values: Vec<serde_json::Value> = facts.iter().map(value).collect();
    values.sort_by_cached_key(ToString::to_string);
    values.dedup();
    values
}
