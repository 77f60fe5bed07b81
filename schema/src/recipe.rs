//! Everything declared about a build, as one pure value.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config_settings::ConfigSettings;
use crate::digest::{ContentDigest, Sha256Digest, ValueDigest};
use crate::encode::Encoder;
use crate::name::{PackageName, PackageVersion};

/// BLAKE3 over the canonical encoding of a [`Recipe`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipeId([u8; 32]);

impl RecipeId {
    /// The 32 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id stored in `bytes`, or `None` unless there are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for RecipeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for RecipeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RecipeId({self})")
    }
}

/// One locked build requirement: what it is and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BuildInput {
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// What its tree holds: a rebuild that gives the same bytes changes no dependant.
    pub content: ContentDigest,
}

/// A declared build. Not in it: the store's location, the user, the date, the machine, URLs, credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// The sdist.
    pub source: Sha256Digest,
    /// Identity of the interpreter ([`Interpreter::identity`](crate::interpreter::Interpreter::identity)).
    pub interpreter: ValueDigest,
    /// The interpreter for a reader: `cpython-3.11.7-x86_64-linux-gnu`.
    pub interpreter_label: String,
    /// The locked build requirements, sorted by name.
    pub build_inputs: Vec<BuildInput>,
    /// What the backend is told (PEP 517).
    pub config_settings: ConfigSettings,
    /// Variables passed through from the user's environment by name.
    pub environment: BTreeMap<String, String>,
    /// Digests of the system-package layers mounted over `/usr`, in mount order.
    pub layers: Vec<ContentDigest>,
    /// Version and kind of the sandbox policy: `bwrap/1`, or `none` for `--no-sandbox`.
    pub sandbox_policy: String,
}

impl Recipe {
    /// The recipe's name.
    #[must_use]
    pub fn id(&self) -> RecipeId {
        let mut encoder = Encoder::for_domain("pip-accel/recipe/1");
        encoder.text(self.name.as_str()).text(self.version.as_str());
        encoder.bytes(self.source.as_bytes()).bytes(self.interpreter.as_bytes());
        encoder.number(self.build_inputs.len() as u64);
        for input in &self.build_inputs {
            encoder.text(input.name.as_str()).text(input.version.as_str()).bytes(input.content.as_bytes());
        }
        for map in [&self.config_settings, &self.environment] {
            encoder.number(map.len() as u64);
            for (key, value) in map {
                encoder.text(key).text(value);
            }
        }
        encoder.number(self.layers.len() as u64);
        for layer in &self.layers {
            encoder.bytes(layer.as_bytes());
        }
        encoder.text(&self.sandbox_policy);
        RecipeId(encoder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            name: "lxml".parse().expect("a name"),
            version: "5.3.0".parse().expect("a version"),
            source: Sha256Digest::from_bytes([1; 32]),
            interpreter: ValueDigest::from_bytes([2; 32]),
            interpreter_label: "cpython-3.11.7-x86_64-linux-gnu".to_owned(),
            build_inputs: vec![BuildInput {
                name: "setuptools".parse().expect("a name"),
                version: "75.1.0".parse().expect("a version"),
                content: ContentDigest::from_bytes([3; 32]),
            }],
            config_settings: BTreeMap::new(),
            environment: BTreeMap::new(),
            layers: Vec::new(),
            sandbox_policy: "bwrap/1".to_owned(),
        }
    }

    #[test]
    fn every_declared_field_changes_the_id() {
        let base = recipe().id();
        let changes: [fn(&mut Recipe); 8] = [
            |recipe| recipe.version = "5.3.1".parse().expect("a version"),
            |recipe| recipe.source = Sha256Digest::from_bytes([9; 32]),
            |recipe| recipe.interpreter = ValueDigest::from_bytes([9; 32]),
            |recipe| recipe.build_inputs[0].content = ContentDigest::from_bytes([9; 32]),
            |recipe| drop(recipe.config_settings.insert("a".to_owned(), "b".to_owned())),
            |recipe| drop(recipe.environment.insert("a".to_owned(), "b".to_owned())),
            |recipe| recipe.layers.push(ContentDigest::from_bytes([9; 32])),
            |recipe| recipe.sandbox_policy = "none".to_owned(),
        ];
        for change in changes {
            let mut changed = recipe();
            change(&mut changed);
            assert_ne!(changed.id(), base, "{changed:?}");
        }
    }

    #[test]
    fn the_label_of_the_interpreter_is_not_part_of_the_id() {
        let mut other = recipe();
        other.interpreter_label.clear();
        assert_eq!(other.id(), recipe().id());
    }

    /// Golden: if this id changes, every build of every user is made anew.
    #[test]
    fn the_id_of_a_known_recipe_is_stable() {
        assert_eq!(recipe().id().to_string(), "413895217f2446206c0c970f16f7502ef213c0d1d64cab23f049f845f263444d");
    }
}
