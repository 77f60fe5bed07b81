//! What two locks do not have in common, in words.

use std::collections::BTreeMap;

use pip_accel_builder::resolve::project::pylock_as_requirements;
use pip_accel_schema::lock_file::{BuildLock, LockItem, LockRequirement, RequirementTarget, parse};

/// What changes from `old` to `new`, a line each; a lock that can't be read has nothing in common with another.
pub(super) fn differences(old: &str, new: &str) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    let lines = [old, new].map(|text| pylock_as_requirements(text).unwrap_or_else(|| text.to_owned()));
    let [old_entries, new_entries] = lines.map(|text| Entries::of(&text));
    let mut found = Vec::new();
    for (name, entry) in &new_entries.pins {
        match old_entries.pins.get(name) {
            None => found.push(format!("{name} {} is new", entry.version)),
            Some(before) if before.version != entry.version => {
                found.push(format!("{name} {} becomes {}", before.version, entry.version));
            }
            Some(before) if before.hashes != entry.hashes => found.push(format!("{name} {}: hashes", entry.version)),
            Some(before) if before.rest != entry.rest => {
                found.push(format!("{name} {}: extras or marker", entry.version));
            }
            Some(_) => {}
        }
    }
    for (name, entry) in old_entries.pins.iter().filter(|(name, _)| !new_entries.pins.contains_key(*name)) {
        found.push(format!("{name} {} goes", entry.version));
    }
    for (name, build) in &new_entries.builds {
        match old_entries.builds.get(name) {
            None => found.push(format!("the build requirements of {name} are new")),
            Some(before) if before != build => found.push(format!("the build requirements of {name}")),
            Some(_) => {}
        }
    }
    for name in old_entries.builds.keys().filter(|name| !new_entries.builds.contains_key(*name)) {
        found.push(format!("the build requirements of {name} go"));
    }
    if old_entries.options != new_entries.options {
        found.push("the options (indexes, formats)".to_owned());
    }
    if found.is_empty() {
        found.push("comments (why a package is there) or the order".to_owned());
    }
    found
}

#[derive(Default)]
struct Entries {
    pins: BTreeMap<String, Entry>,
    builds: BTreeMap<String, Vec<String>>,
    options: Vec<String>,
}

struct Entry {
    version: String,
    hashes: Vec<String>,
    rest: String,
}

impl Entries {
    fn of(text: &str) -> Self {
        let mut entries = Self::default();
        for item in parse(text).unwrap_or_default() {
            match item {
                LockItem::Requirement(requirement) => entries.add(&requirement),
                LockItem::Build(build) => {
                    entries.builds.insert(format!("{} {}", build.name, build.version), of_build(&build));
                }
                LockItem::Option(_, option) => entries.options.push(format!("{option:?}")),
            }
        }
        entries
    }

    fn add(&mut self, requirement: &LockRequirement) {
        let (mut name, version) = match &requirement.target {
            RequirementTarget::Pin { name, version } => (name.to_string(), version.to_string()),
            RequirementTarget::Direct { name: Some(name), location } => (name.to_string(), shown(location)),
            RequirementTarget::Direct { name: None, location } | RequirementTarget::Editable { location } => {
                (shown(location), String::new())
            }
            RequirementTarget::Unpinned { name, specifier } => (name.to_string(), specifier.clone()),
        };
        // For several platforms a lock may have several versions of one project.
        if self.pins.contains_key(&name)
            && let Some(marker) = &requirement.marker
        {
            name = format!("{name} ({marker})");
        }
        let hashes = requirement.hashes.iter().map(ToString::to_string).collect();
        let rest = format!("{:?} {:?}", requirement.extras, requirement.marker);
        self.pins.insert(name, Entry { version, hashes, rest });
    }
}

fn shown(location: &str) -> String {
    pip_accel_schema::requirement::without_credentials(location)
}

fn of_build(build: &BuildLock) -> Vec<String> {
    let of_one = |requirement: &LockRequirement| format!("{:?} {:?}", requirement.target, requirement.hashes);
    build.requirements.iter().map(of_one).collect()
}
