//! `poetry.lock`. From lock-version 2.1 on each package tells its groups and markers; before that, which packages
//! belong to what is found by walking from the requirements of the `pyproject.toml` beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::hashes::of_text;
use super::poetry_project::PoetryProject;
use super::{
    Condition, Edge, Lines, Origin, Place, ProjectFile, ProjectLock, ProjectLockError, ProjectPackage, Root,
    check_count, check_parts, from_toml, identity, last_part, normal, percent_decoded,
};
use crate::requirement::{RequirementParts, excerpt};

/// The group of what the project itself requires.
pub(super) const MAIN: &str = "main";

#[derive(Deserialize)]
struct PoetryLock {
    #[serde(default)]
    package: Vec<Package>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    lock_version: Option<Spanned<String>>,
    python_versions: Option<String>,
    /// Files by project, before lock-version 2.0.
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: Spanned<String>,
    version: String,
    /// `main` or `dev`, before Poetry 1.5; used only where the `pyproject.toml` is not there.
    category: Option<String>,
    #[serde(default)]
    optional: bool,
    groups: Option<Vec<String>>,
    markers: Option<Markers>,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    dependencies: BTreeMap<String, Dependencies>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    source: Option<Source>,
    #[serde(default)]
    develop: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Markers {
    /// Of all groups.
    Same(String),
    /// By group.
    ByGroup(BTreeMap<String, String>),
}

#[derive(Deserialize, Clone)]
struct File {
    file: String,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    r#type: String,
    url: String,
    reference: Option<String>,
    resolved_reference: Option<String>,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Dependencies {
    /// `name = ">=1"`.
    Version(String),
    One(Dependency),
    /// One for each of several environments.
    Several(Vec<Dependency>),
}

#[derive(Deserialize, Clone)]
pub(super) struct Dependency {
    pub(super) version: Option<String>,
    pub(super) python: Option<String>,
    pub(super) markers: Option<String>,
    pub(super) platform: Option<String>,
    #[serde(default)]
    pub(super) optional: bool,
    #[serde(default)]
    pub(super) extras: Vec<String>,
}

impl Dependencies {
    pub(super) fn each(self) -> Vec<Dependency> {
        match self {
            Self::Version(version) => vec![Dependency {
                version: Some(version),
                python: None,
                markers: None,
                platform: None,
                optional: false,
                extras: Vec::new(),
            }],
            Self::One(one) => vec![one],
            Self::Several(several) => several,
        }
    }
}

/// Reads a `poetry.lock` for which no `pyproject.toml` is there.
///
/// # Errors
/// As [`parse_poetry_lock_with`]; and a lock of which no part says which packages belong to which group.
pub fn parse_poetry_lock(text: &str) -> Result<ProjectLock, ProjectLockError> {
    parse_poetry_lock_with(text, None)
}

/// Reads a `poetry.lock` with what the `pyproject.toml` beside it says.
///
/// # Errors
/// The first part that can't be read, or a version that is not known.
pub fn parse_poetry_lock_with(text: &str, project: Option<&PoetryProject>) -> Result<ProjectLock, ProjectLockError> {
    let raw: PoetryLock = from_toml(text)?;
    let has_groups = check_version(text, raw.metadata.lock_version.as_ref())?;
    check_count(raw.package.len())?;
    let mut lock = ProjectLock {
        requires_python: None,
        extras: raw.extras.keys().map(|extra| normal(extra)).collect(),
        ..ProjectLock::default()
    };
    let python = raw.metadata.python_versions.filter(|versions| versions.trim() != "*");
    let (files, mut lines) = (raw.metadata.files, Lines::new(text));
    let mut legacy = Vec::new();
    let mut all_legacy = true;
    let mut brought_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (extra, requirements) in &raw.extras {
        for name in requirements.iter().filter_map(|text| text.parse::<RequirementParts>().ok()) {
            brought_by.entry(name.name.as_str().to_owned()).or_default().insert(normal(extra));
        }
    }
    for package in raw.package {
        let line = lines.at(package.name.span().start);
        match &package.source {
            Some(source) if source.r#type == "legacy" => {
                if !legacy.contains(&source.url) {
                    legacy.push(source.url.clone());
                }
            }
            Some(_) => {}
            None => all_legacy = false,
        }
        // Several versions of a project share one list.
        let listed = files.get(package.name.get_ref()).cloned().unwrap_or_default();
        let package = read_package(line, package, (listed, has_groups))?;
        lock.groups.extend(package.conditions.iter().filter_map(|condition| condition.group.clone()));
        lock.packages.push(package);
    }
    lock.replaces_index = all_legacy && !legacy.is_empty();
    lock.indexes = legacy;
    lock.requires_python = python;
    finish(&mut lock, project, (has_groups, &brought_by))?;
    Ok(lock)
}

/// Whether packages tell their groups.
fn check_version(text: &str, version: Option<&Spanned<String>>) -> Result<bool, ProjectLockError> {
    let Some(version) = version else { return Ok(false) };
    let (major, minor) = version.get_ref().split_once('.').unwrap_or((version.get_ref(), "0"));
    match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(1), Ok(_)) | (Ok(2), Ok(0)) => Ok(false),
        (Ok(2), Ok(_)) => Ok(true),
        _ => {
            let line = super::line_at(text, version.span().start);
            let reason =
                format!("lock-version `{}` of poetry is not known here, 1.x and 2.x are", excerpt(version.get_ref()));
            Err(ProjectLockError { line, reason })
        }
    }
}

/// Groups and, for older locks, the beginnings of the walk.
fn finish(
    lock: &mut ProjectLock,
    project: Option<&PoetryProject>,
    (has_groups, brought_by): (bool, &BTreeMap<String, BTreeSet<String>>),
) -> Result<(), ProjectLockError> {
    lock.groups.remove(MAIN);
    if let Some(project) = project {
        lock.groups.extend(project.groups.keys().filter(|group| *group != MAIN).cloned());
    }
    let is_optional = |group: &String| project.is_some_and(|project| project.optional_groups.contains(group));
    lock.default_groups = lock.groups.iter().filter(|group| !is_optional(group)).cloned().collect();
    if has_groups {
        for package in &mut lock.packages {
            package.edges.clear();
            for condition in &mut package.conditions {
                condition.group = condition.group.take().filter(|group| group != MAIN);
            }
        }
        return Ok(());
    }
    let Some(project) = project else {
        return Err(ProjectLockError::of_file(
            "a lock of Poetry 1 does not say which packages belong to which group; put its pyproject.toml beside it, \
             or write it anew with Poetry 2",
        ));
    };
    let mut roots = Vec::new();
    for (group, edges) in &project.groups {
        let group = Some(group.clone()).filter(|group| group != MAIN);
        for (edge, is_optional) in edges {
            let extras: Vec<Option<String>> = match brought_by.get(&normal(&edge.name)) {
                _ if !is_optional => vec![None],
                Some(extras) => extras.iter().cloned().map(Some).collect(),
                None => continue,
            };
            roots.extend(extras.into_iter().map(|extra| Root { group: group.clone(), extra, edge: edge.clone() }));
        }
    }
    for package in &mut lock.packages {
        package.conditions.clear();
    }
    lock.roots = Some(roots);
    Ok(())
}

fn read_package(
    line: usize,
    package: Package,
    (listed, has_groups): (Vec<File>, bool),
) -> Result<ProjectPackage, ProjectLockError> {
    let written = package.name.get_ref().as_str();
    let (name, version) = identity(line, (written, Some(&package.version)))?;
    let listed = if package.files.is_empty() { listed } else { package.files };
    check_parts(line, written, listed.len().max(package.dependencies.len()))?;
    let mut files = Vec::with_capacity(listed.len());
    for File { file, hash } in listed {
        let hashes = of_text(line, hash.as_deref())?;
        files.push(ProjectFile {
            file_name: file,
            place: None,
            sha256: hashes.sha256,
            has_other_hashes: hashes.has_others,
            size: None,
            upload_time: None,
        });
    }
    let groups = package.groups.unwrap_or_else(|| vec![package.category.unwrap_or_else(|| MAIN.to_owned())]);
    let marker_of = |group: &String| match &package.markers {
        None => None,
        Some(Markers::Same(marker)) => Some(marker.clone()),
        Some(Markers::ByGroup(markers)) => markers.get(group).cloned(),
    };
    let conditions =
        groups.iter().map(|group| Condition { group: Some(normal(group)), marker: marker_of(group) }).collect();
    let _only_a_summary = package.optional;
    let edges = if has_groups { Vec::new() } else { edges_of(package.dependencies, &package.extras) };
    Ok(ProjectPackage {
        line,
        name,
        version,
        extras: Vec::new(),
        requires_python: None,
        origin: read_origin(line, written, (package.source, package.develop), files)?,
        source: None,
        conditions,
        edges,
        is_project: false,
    })
}

fn edges_of(dependencies: BTreeMap<String, Dependencies>, extras: &BTreeMap<String, Vec<String>>) -> Vec<Edge> {
    let mut brought_by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (extra, requirements) in extras {
        for text in requirements {
            // `name (>=1)`, as old versions write it, or `name[extra]>=1 ; marker`.
            let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(text.len());
            brought_by.entry(normal(&text[..end])).or_default().push(normal(extra));
        }
    }
    let mut edges = Vec::new();
    for (name, dependencies) in dependencies {
        for dependency in dependencies.each() {
            let needed_by = match dependency.optional {
                true => brought_by.get(&normal(&name)).cloned().unwrap_or_default(),
                false => Vec::new(),
            };
            if dependency.optional && needed_by.is_empty() {
                continue;
            }
            edges.push(edge(&name, dependency, needed_by));
        }
    }
    edges
}

/// A dependency in poetry's notation as an edge.
pub(super) fn edge(name: &str, dependency: Dependency, needed_by: Vec<String>) -> Edge {
    let mut parts = Vec::new();
    if let Some(markers) = dependency.markers.filter(|markers| !markers.trim().is_empty()) {
        parts.push(format!("({markers})"));
    }
    if let Some(platform) = dependency.platform {
        parts.push(format!("sys_platform == '{}'", platform.replace('\'', "")));
    }
    Edge {
        name: name.to_owned(),
        version: None,
        source: None,
        constraint: dependency.version,
        python: dependency.python,
        marker: (!parts.is_empty()).then(|| parts.join(" and ")),
        extras: dependency.extras,
        needed_by,
    }
}

fn read_origin(
    line: usize,
    name: &str,
    (source, develop): (Option<Source>, bool),
    mut files: Vec<ProjectFile>,
) -> Result<Origin, ProjectLockError> {
    let Some(source) = source else { return Ok(Origin::Release { files, hashes: Vec::new() }) };
    let Source { r#type, url, reference, resolved_reference, subdirectory } = source;
    Ok(match r#type.as_str() {
        "legacy" => Origin::Release { files, hashes: Vec::new() },
        "git" => {
            let commit = resolved_reference.or(reference);
            Origin::VersionControl { kind: r#type, place: Place::Url(url), commit, subdirectory }
        }
        "directory" => Origin::Directory { path: url, editable: develop, subdirectory },
        "url" | "file" => {
            let file_name = percent_decoded(last_part(&url));
            let listed = files.pop();
            let place = if r#type == "url" { Place::Url(url) } else { Place::Path(url) };
            let file = ProjectFile {
                file_name,
                place: Some(place),
                sha256: listed.as_ref().and_then(|file| file.sha256),
                has_other_hashes: listed.is_some_and(|file| file.has_other_hashes),
                size: None,
                upload_time: None,
            };
            Origin::Archive { file, subdirectory }
        }
        other => {
            let reason = format!("`{name}` has a source of the kind `{}`, which is not known here", excerpt(other));
            return Err(ProjectLockError { line, reason });
        }
    })
}
