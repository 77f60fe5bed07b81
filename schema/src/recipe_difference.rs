//! What makes two recipes two: field by field, for a reader.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::digest::{ContentDigest, Sha256Digest};
use crate::name::{PackageName, PackageVersion};
use crate::recipe::{BuildInput, Recipe};

/// One declared field in which a recipe differs from an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "field")]
pub enum RecipeDifference {
    /// The version.
    Version {
        /// Of the earlier recipe.
        then: PackageVersion,
        /// Of the later one.
        now: PackageVersion,
    },
    /// The sdist.
    Source {
        /// Of the earlier recipe.
        then: Sha256Digest,
        /// Of the later one.
        now: Sha256Digest,
    },
    /// The interpreter: its implementation, version or platform.
    Interpreter {
        /// Label of the earlier one.
        then: String,
        /// Label of the later one.
        now: String,
    },
    /// Interpreters with one label: their ABI, C library or compile settings are others.
    InterpreterSettings {
        /// The label of both.
        label: String,
    },
    /// A build requirement that the earlier recipe did not have.
    InputAdded {
        /// The project.
        name: PackageName,
        /// Its version.
        now: PackageVersion,
    },
    /// A build requirement that the later recipe does not have.
    InputRemoved {
        /// The project.
        name: PackageName,
        /// Its version.
        then: PackageVersion,
    },
    /// Another version of a build requirement.
    InputVersion {
        /// The project.
        name: PackageName,
        /// In the earlier recipe.
        then: PackageVersion,
        /// In the later one.
        now: PackageVersion,
    },
    /// The same version of a build requirement with other files.
    InputContent {
        /// The project.
        name: PackageName,
        /// The version of both.
        version: PackageVersion,
        /// Content digest in the earlier recipe.
        then: ContentDigest,
        /// Content digest in the later one.
        now: ContentDigest,
    },
    /// A PEP 517 config setting; absent where a recipe does not have it.
    ConfigSetting {
        /// Its key.
        key: String,
        /// In the earlier recipe.
        then: Option<String>,
        /// In the later one.
        now: Option<String>,
    },
    /// A variable that is passed to the build; absent where a recipe does not have it.
    Variable {
        /// Its name.
        key: String,
        /// In the earlier recipe.
        then: Option<String>,
        /// In the later one.
        now: Option<String>,
    },
    /// The system-package layers over `/usr`.
    Layers {
        /// In the earlier recipe, in mount order.
        then: Vec<ContentDigest>,
        /// In the later one.
        now: Vec<ContentDigest>,
    },
    /// The sandbox policy.
    SandboxPolicy {
        /// In the earlier recipe.
        then: String,
        /// In the later one.
        now: String,
    },
}

impl Recipe {
    /// The declared fields in which `now` differs from this recipe, in a fixed order. Empty exactly when both have one id,
    /// for recipes of one project.
    #[must_use]
    pub fn differences_to(&self, now: &Self) -> Vec<RecipeDifference> {
        let mut found = Vec::new();
        if self.version != now.version {
            found.push(RecipeDifference::Version { then: self.version.clone(), now: now.version.clone() });
        }
        if self.source != now.source {
            found.push(RecipeDifference::Source { then: self.source, now: now.source });
        }
        if self.interpreter != now.interpreter {
            let (then, now) = (self.interpreter_label.clone(), now.interpreter_label.clone());
            found.push(if then == now {
                RecipeDifference::InterpreterSettings { label: now }
            } else {
                RecipeDifference::Interpreter { then, now }
            });
        }
        inputs(&self.build_inputs, &now.build_inputs, &mut found);
        let setting = |key, then, now| RecipeDifference::ConfigSetting { key, then, now };
        entries(&self.config_settings, &now.config_settings, setting, &mut found);
        let variable = |key, then, now| RecipeDifference::Variable { key, then, now };
        entries(&self.environment, &now.environment, variable, &mut found);
        if self.layers != now.layers {
            found.push(RecipeDifference::Layers { then: self.layers.clone(), now: now.layers.clone() });
        }
        if self.sandbox_policy != now.sandbox_policy {
            let (then, now) = (self.sandbox_policy.clone(), now.sandbox_policy.clone());
            found.push(RecipeDifference::SandboxPolicy { then, now });
        }
        found
    }
}

fn inputs(then: &[BuildInput], now: &[BuildInput], found: &mut Vec<RecipeDifference>) {
    let by_name = |inputs: &[BuildInput]| -> BTreeMap<PackageName, BuildInput> {
        inputs.iter().map(|input| (input.name.clone(), input.clone())).collect()
    };
    let (then, now) = (by_name(then), by_name(now));
    let names: BTreeSet<&PackageName> = then.keys().chain(now.keys()).collect();
    for name in names {
        let name = name.clone();
        found.extend(match (then.get(&name), now.get(&name)) {
            (Some(then), Some(now)) if then.version != now.version => {
                let (then, now) = (then.version.clone(), now.version.clone());
                Some(RecipeDifference::InputVersion { name, then, now })
            }
            (Some(then), Some(now)) if then.content != now.content => {
                let (version, then, now) = (now.version.clone(), then.content, now.content);
                Some(RecipeDifference::InputContent { name, version, then, now })
            }
            (Some(then), None) => Some(RecipeDifference::InputRemoved { name, then: then.version.clone() }),
            (None, Some(now)) => Some(RecipeDifference::InputAdded { name, now: now.version.clone() }),
            (Some(_), Some(_)) | (None, None) => None,
        });
    }
}

fn entries(
    then: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    difference: impl Fn(String, Option<String>, Option<String>) -> RecipeDifference,
    found: &mut Vec<RecipeDifference>,
) {
    let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let changed = keys.into_iter().filter(|key| then.get(*key) != now.get(*key));
    found.extend(changed.map(|key| difference(key.clone(), then.get(key).cloned(), now.get(key).cloned())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ValueDigest;

    fn input(name: &str, version: &str, content: u8) -> BuildInput {
        BuildInput {
            name: name.parse().expect("a name"),
            version: version.parse().expect("a version"),
            content: ContentDigest::from_bytes([content; 32]),
        }
    }

    fn recipe() -> Recipe {
        Recipe {
            name: "lxml".parse().expect("a name"),
            version: "5.3.0".parse().expect("a version"),
            source: Sha256Digest::from_bytes([1; 32]),
            interpreter: ValueDigest::from_bytes([2; 32]),
            interpreter_label: "cpython-3.11.7-x86_64-linux-gnu".to_owned(),
            build_inputs: vec![input("cython", "3.0", 1), input("setuptools", "75", 3)],
            config_settings: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            environment: BTreeMap::new(),
            layers: Vec::new(),
            sandbox_policy: "bwrap/1".to_owned(),
        }
    }

    /// Every declared field is found, alone, and whenever the id is another one.
    #[test]
    fn each_field_is_named() {
        type Change = fn(&mut Recipe);
        let changes: [(Change, &str); 13] = [
            (|recipe| recipe.version = "5.3.1".parse().expect("a version"), "version"),
            (|recipe| recipe.source = Sha256Digest::from_bytes([9; 32]), "source"),
            (
                |recipe| {
                    recipe.interpreter = ValueDigest::from_bytes([9; 32]);
                    recipe.interpreter_label = "cpython-3.12.1-x86_64-linux-gnu".to_owned();
                },
                "interpreter",
            ),
            (|recipe| recipe.interpreter = ValueDigest::from_bytes([9; 32]), "interpreter-settings"),
            (|recipe| recipe.build_inputs.push(input("wheel", "1", 1)), "input-added"),
            (|recipe| drop(recipe.build_inputs.remove(0)), "input-removed"),
            (|recipe| recipe.build_inputs[0] = input("cython", "3.1", 1), "input-version"),
            (|recipe| recipe.build_inputs[0] = input("cython", "3.0", 9), "input-content"),
            (|recipe| drop(recipe.config_settings.remove("a")), "config-setting"),
            (|recipe| drop(recipe.config_settings.insert("a".to_owned(), "c".to_owned())), "config-setting"),
            (|recipe| drop(recipe.environment.insert("a".to_owned(), "b".to_owned())), "variable"),
            (|recipe| recipe.layers.push(ContentDigest::from_bytes([9; 32])), "layers"),
            (|recipe| recipe.sandbox_policy = "none".to_owned(), "sandbox-policy"),
        ];
        for (change, field) in changes {
            let mut changed = recipe();
            change(&mut changed);
            assert_ne!(changed.id(), recipe().id());
            let found = recipe().differences_to(&changed);
            let fields: Vec<_> = found
                .iter()
                .map(|one| serde_json::to_value(one).expect("plain values")["field"].as_str().map(str::to_owned))
                .collect();
            assert_eq!(fields, [Some(field.to_owned())], "{found:?}");
        }
        assert_eq!(recipe().differences_to(&recipe()), []);
    }

    #[test]
    fn the_label_alone_is_no_difference() {
        let mut other = recipe();
        other.interpreter_label.clear();
        assert_eq!(recipe().differences_to(&other), []);
    }
}
