//! What a `pyproject.toml` says to its `poetry.lock`: groups, which of them are optional, and their requirements.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::poetry::{Dependencies, Dependency, MAIN, edge};
use super::{Edge, ProjectLockError, from_toml, normal};
use crate::requirement::{Reference, RequirementParts};

/// The requirements of a project by group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoetryProject {
    /// Requirements by group, `main` among them; with each whether only extras bring it.
    pub groups: BTreeMap<String, Vec<(Edge, bool)>>,
    /// Groups that count only when they are asked for.
    pub optional_groups: BTreeSet<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Pyproject {
    #[serde(default)]
    project: Project,
    #[serde(default)]
    tool: Tool,
    #[serde(default)]
    dependency_groups: BTreeMap<String, Vec<GroupItem>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Project {
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<String>>,
}

/// A requirement, or `{ include-group = "…" }`.
#[derive(Deserialize)]
#[serde(untagged)]
enum GroupItem {
    Requirement(String),
    Include(BTreeMap<String, String>),
}

#[derive(Deserialize, Default)]
struct Tool {
    #[serde(default)]
    poetry: Poetry,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Poetry {
    #[serde(default)]
    dependencies: BTreeMap<String, Dependencies>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Dependencies>,
    #[serde(default)]
    group: BTreeMap<String, Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    dependencies: BTreeMap<String, Dependencies>,
}

/// Reads a `pyproject.toml` as poetry does.
///
/// # Errors
/// The text is no TOML, or its tables have other shapes.
pub fn parse_poetry_project(text: &str) -> Result<PoetryProject, ProjectLockError> {
    let raw: Pyproject = from_toml(text)?;
    let mut project = PoetryProject::default();
    let main = project.groups.entry(MAIN.to_owned()).or_default();
    main.extend(raw.project.dependencies.iter().filter_map(|text| written(text)).map(|edge| (edge, false)));
    for requirements in raw.project.optional_dependencies.values() {
        main.extend(requirements.iter().filter_map(|text| written(text)).map(|edge| (edge, true)));
    }
    main.extend(in_notation(raw.tool.poetry.dependencies));
    if !raw.tool.poetry.dev_dependencies.is_empty() {
        let dev = project.groups.entry("dev".to_owned()).or_default();
        dev.extend(in_notation(raw.tool.poetry.dev_dependencies));
    }
    for (name, group) in raw.tool.poetry.group {
        if group.optional {
            project.optional_groups.insert(normal(&name));
        }
        project.groups.entry(normal(&name)).or_default().extend(in_notation(group.dependencies));
    }
    for name in raw.dependency_groups.keys() {
        let mut seen = BTreeSet::new();
        let mut edges = Vec::new();
        collect(name, &raw.dependency_groups, &mut seen, &mut edges);
        project.groups.entry(normal(name)).or_default().extend(edges.into_iter().map(|edge| (edge, false)));
    }
    Ok(project)
}

/// The requirements of a group with those it includes, each group once.
fn collect(name: &str, groups: &BTreeMap<String, Vec<GroupItem>>, seen: &mut BTreeSet<String>, edges: &mut Vec<Edge>) {
    let mut waiting = vec![normal(name)];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        for item in groups.iter().filter(|(group, _)| normal(group) == name).flat_map(|(_, items)| items) {
            match item {
                GroupItem::Requirement(text) => edges.extend(written(text)),
                GroupItem::Include(table) => waiting.extend(table.get("include-group").map(|group| normal(group))),
            }
        }
    }
}

/// A requirement of PEP 508; what can't be read is poetry's to refuse.
fn written(text: &str) -> Option<Edge> {
    let parts: RequirementParts = text.parse().ok()?;
    let constraint = match parts.reference {
        Reference::Specifier(specifier) => Some(specifier),
        Reference::Any | Reference::Url(_) => None,
    };
    Some(Edge {
        name: parts.name.as_str().to_owned(),
        constraint,
        marker: parts.marker,
        extras: parts.extras,
        ..Edge::default()
    })
}

fn in_notation(dependencies: BTreeMap<String, Dependencies>) -> Vec<(Edge, bool)> {
    let others = dependencies.into_iter().filter(|(name, _)| normal(name) != "python");
    let mut edges = Vec::new();
    for (name, dependencies) in others {
        for dependency in dependencies.each() {
            let Dependency { optional, .. } = dependency;
            edges.push((edge(&name, dependency, Vec::new()), optional));
        }
    }
    edges
}
