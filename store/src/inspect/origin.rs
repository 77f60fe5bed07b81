//! What an object was made from, and what it keeps alive.

use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::recipe::BuildInput;

use crate::db;
use crate::error::StoreError;
use crate::object::Object;
use crate::store::Store;

/// A build requirement of a recipe and its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputTree {
    /// The requirement as the recipe has it.
    pub input: BuildInput,
    /// The newest object that holds just that; `None` when the store has none (any more).
    pub object: Option<Object>,
}

/// What an object was made from, and what it keeps alive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Objects that live as long as this one, by name.
    pub references: Vec<Object>,
    /// The published file it was made from, if the store has it. A source has none.
    pub source: Option<Object>,
    /// The build requirements of its recipe, by name. Only what was built has some.
    pub inputs: Vec<InputTree>,
}

impl Store {
    /// What `object` was made from and what it refers to, as far as the store that it lies in has it.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn origin(&self, object: &Object) -> Result<Origin, StoreError> {
        if let Some(lower) = self.lower_of(object) {
            return lower.store.origin(object);
        }
        self.database.snapshot("look up what an object was made from", |db| {
            let references = db::object::find_references(db, self.layout(), &object.id)?;
            let mut origin =
                Origin { references: references.into_iter().map(|(_, object)| object).collect(), ..Origin::default() };
            let (source, inputs) = match &object.provenance {
                Provenance::Source { .. } | Provenance::Layer { .. } => return Ok(origin),
                Provenance::Wheel { sha256, .. } => (sha256, &[][..]),
                Provenance::Build { recipe, .. } => (&recipe.source, recipe.build_inputs.as_slice()),
            };
            origin.source = db::object::find_source(db, self.layout(), source)?.map(|(_, object)| object);
            for input in inputs {
                let found = db::object::find_named(db, self.layout(), &input.name, Some(&input.version))?;
                let tree = found.into_iter().map(|(_, object)| object).find(|object| {
                    object.content_digest == input.content && !matches!(object.provenance, Provenance::Source { .. })
                });
                origin.inputs.push(InputTree { input: input.clone(), object: tree });
            }
            Ok(origin)
        })
    }
}
