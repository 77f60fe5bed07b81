//! `uv.lock`, version 1: a graph for all platforms at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::hashes::of_text;
use super::{
    Edge, Lines, Origin, Place, ProjectFile, ProjectLock, ProjectLockError, ProjectPackage, Root, check_count,
    check_parts, from_toml, identity, last_part, normal, percent_decoded,
};

/// The group that counts where a project does not say which do.
const USUAL_DEFAULT_GROUP: &str = "dev";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvLock {
    version: Spanned<i64>,
    requires_python: Option<String>,
    #[serde(default)]
    supported_markers: Vec<String>,
    #[serde(default)]
    manifest: Manifest,
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Manifest {
    #[serde(default)]
    members: Vec<String>,
    #[serde(default)]
    requirements: Vec<Dependency>,
    #[serde(default)]
    dependency_groups: BTreeMap<String, Vec<Dependency>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: Spanned<String>,
    version: Option<String>,
    source: Source,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Dependency>>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Vec<Dependency>>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    #[serde(default)]
    provides_extras: Vec<String>,
    /// Groups without a dependency are only here.
    #[serde(default)]
    requires_dev: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct Source {
    registry: Option<String>,
    git: Option<String>,
    url: Option<String>,
    path: Option<String>,
    directory: Option<String>,
    editable: Option<String>,
    r#virtual: Option<String>,
    subdirectory: Option<String>,
}

impl Source {
    /// The source as a text, equal for equal sources.
    fn key(&self) -> Option<String> {
        let kinds = [
            ("registry", &self.registry),
            ("git", &self.git),
            ("url", &self.url),
            ("path", &self.path),
            ("directory", &self.directory),
            ("editable", &self.editable),
            ("virtual", &self.r#virtual),
        ];
        kinds.into_iter().find_map(|(kind, value)| value.as_ref().map(|value| format!("{kind} {value}")))
    }

    fn folder(&self) -> Option<&str> {
        [&self.directory, &self.editable, &self.r#virtual].into_iter().find_map(|folder| folder.as_deref())
    }
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    version: Option<String>,
    source: Option<Source>,
    marker: Option<String>,
    #[serde(default, alias = "extras")]
    extra: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
    upload_time: Option<UploadTime>,
}

/// A date of TOML, or (as uv writes it) a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum UploadTime {
    Text(String),
    Date(Datetime),
}

/// Reads a `uv.lock`.
///
/// # Errors
/// Another version than 1, or the first part that can't be read.
pub fn parse_uv_lock(text: &str) -> Result<ProjectLock, ProjectLockError> {
    let raw: UvLock = from_toml(text)?;
    if *raw.version.get_ref() != 1 {
        let line = super::line_at(text, raw.version.span().start);
        let reason = format!("version {} of uv.lock is not known here, only 1 is", raw.version.get_ref());
        return Err(ProjectLockError { line, reason });
    }
    check_count(raw.package.len())?;
    let mut lock = ProjectLock {
        requires_python: raw.requires_python,
        environments: raw.supported_markers,
        roots: Some(Vec::new()),
        default_groups: BTreeSet::from([USUAL_DEFAULT_GROUP.to_owned()]),
        has_encoded_extras: true,
        ..ProjectLock::default()
    };
    let members: BTreeSet<String> = raw.manifest.members.iter().map(|name| normal(name)).collect();
    // A project's own lock has it at `.`; a workspace without a project of its own counts for all its members.
    let has_root = raw.package.iter().any(|package| package.source.folder() == Some("."));
    let is_script = raw.manifest.members.is_empty() && !raw.manifest.requirements.is_empty();
    let is_root = |package: &Package| match package.source.folder() {
        Some(folder) if has_root => folder == ".",
        Some(_) if members.is_empty() => !is_script,
        Some(_) => members.contains(&normal(package.name.get_ref())),
        None => false,
    };
    let mut roots = Vec::new();
    let mut lines = Lines::new(text);
    for package in raw.package {
        let line = lines.at(package.name.span().start);
        let is_root = is_root(&package);
        let is_project = is_root || members.contains(&normal(package.name.get_ref()));
        if is_root {
            add_roots(&package, &mut roots, &mut lock);
        }
        lock.packages.push(read_package(line, package, is_project)?);
    }
    roots.extend(raw.manifest.requirements.into_iter().map(|dependency| root(None, None, edge(dependency, None))));
    for (group, dependencies) in raw.manifest.dependency_groups {
        lock.groups.insert(normal(&group));
        let group = Some(normal(&group));
        roots.extend(dependencies.into_iter().map(|dependency| root(group.clone(), None, edge(dependency, None))));
    }
    lock.default_groups.retain(|group| lock.groups.contains(group));
    lock.roots = Some(roots);
    Ok(lock)
}

const fn root(group: Option<String>, extra: Option<String>, edge: Edge) -> Root {
    Root { group, extra, edge }
}

/// The package itself, its extras and its groups as beginnings of the walk.
fn add_roots(package: &Package, roots: &mut Vec<Root>, lock: &mut ProjectLock) {
    let name = package.name.get_ref().clone();
    let own = |extras: Vec<String>| Edge {
        name: name.clone(),
        version: package.version.clone(),
        source: package.source.key(),
        extras,
        ..Edge::default()
    };
    lock.project.get_or_insert_with(|| normal(&name));
    roots.push(root(None, None, own(Vec::new())));
    let extras = package.optional_dependencies.keys().chain(&package.metadata.provides_extras);
    for extra in extras.map(|extra| normal(extra)).collect::<BTreeSet<_>>() {
        roots.push(root(None, Some(extra.clone()), own(vec![extra.clone()])));
        lock.extras.insert(extra);
    }
    lock.groups.extend(package.metadata.requires_dev.keys().map(|group| normal(group)));
    for (group, dependencies) in &package.dev_dependencies {
        lock.groups.insert(normal(group));
        for dependency in dependencies {
            let edge = Edge {
                name: dependency.name.clone(),
                version: dependency.version.clone(),
                source: dependency.source.as_ref().and_then(Source::key),
                marker: dependency.marker.clone(),
                extras: dependency.extra.clone(),
                ..Edge::default()
            };
            roots.push(root(Some(normal(group)), None, edge));
        }
    }
}

fn edge(dependency: Dependency, extra: Option<&str>) -> Edge {
    Edge {
        name: dependency.name,
        version: dependency.version,
        source: dependency.source.as_ref().and_then(Source::key),
        constraint: None,
        python: None,
        marker: dependency.marker,
        extras: dependency.extra,
        needed_by: extra.map(normal).into_iter().collect(),
    }
}

fn read_package(line: usize, package: Package, is_project: bool) -> Result<ProjectPackage, ProjectLockError> {
    let written = package.name.get_ref().as_str();
    let (name, version) = identity(line, (written, package.version.as_deref()))?;
    let optional = package.optional_dependencies.values().map(Vec::len).sum::<usize>();
    let parts = [package.wheels.len(), package.dependencies.len(), optional];
    check_parts(line, written, parts.into_iter().max().unwrap_or(0))?;
    let mut edges: Vec<Edge> = package.dependencies.into_iter().map(|dependency| edge(dependency, None)).collect();
    for (extra, dependencies) in package.optional_dependencies {
        edges.extend(dependencies.into_iter().map(|dependency| edge(dependency, Some(&extra))));
    }
    let source = package.source.key();
    let origin = read_origin(line, &name.to_string(), package.source, (package.sdist, package.wheels))?;
    Ok(ProjectPackage {
        line,
        name,
        version,
        extras: Vec::new(),
        requires_python: None,
        origin,
        source,
        conditions: Vec::new(),
        edges,
        is_project,
    })
}

fn read_origin(
    line: usize,
    name: &str,
    source: Source,
    (sdist, wheels): (Option<File>, Vec<File>),
) -> Result<Origin, ProjectLockError> {
    let Source { registry, git, url, path, directory, editable, r#virtual, subdirectory } = source;
    let mut files = wheels.into_iter().chain(sdist);
    if r#virtual.is_some() {
        return Ok(Origin::Virtual);
    }
    if let Some((path, editable)) = directory.map(|path| (path, false)).or(editable.map(|path| (path, true))) {
        return Ok(Origin::Directory { path, editable, subdirectory });
    }
    if let Some(git) = git {
        return Ok(repository(&git, subdirectory));
    }
    let fixed = url.map(Place::Url).or(path.map(Place::Path));
    if let Some(place) = fixed {
        let (Place::Url(text) | Place::Path(text)) = &place;
        let file_name = percent_decoded(last_part(text));
        let listed = files.next();
        let hashes = of_text(line, listed.as_ref().and_then(|file| file.hash.as_deref()))?;
        let file = ProjectFile {
            file_name,
            place: Some(place),
            sha256: hashes.sha256,
            has_other_hashes: hashes.has_others,
            size: listed.as_ref().and_then(|file| file.size),
            upload_time: None,
        };
        return Ok(Origin::Archive { file, subdirectory });
    }
    let Some(registry) = registry else {
        return Err(ProjectLockError { line, reason: format!("the source of `{name}` is of no kind known here") });
    };
    let files = files.map(|file| read_file(line, name, &registry, file)).collect::<Result<_, _>>()?;
    Ok(Origin::Release { files, hashes: Vec::new() })
}

/// `https://host/x.git?subdirectory=a&rev=main#COMMIT`.
fn repository(text: &str, subdirectory: Option<String>) -> Origin {
    let (text, commit) = text.split_once('#').map_or((text, None), |(text, commit)| (text, Some(commit.to_owned())));
    let (url, query) = text.split_once('?').unwrap_or((text, ""));
    let said = query.split('&').find_map(|part| part.strip_prefix("subdirectory=")).map(percent_decoded);
    let (kind, place) = ("git".to_owned(), Place::Url(url.to_owned()));
    Origin::VersionControl { kind, place, commit, subdirectory: subdirectory.or(said) }
}

fn read_file(line: usize, package: &str, registry: &str, file: File) -> Result<ProjectFile, ProjectLockError> {
    let hashes = of_text(line, file.hash.as_deref())?;
    let place = match (file.url, file.path) {
        (Some(url), _) => Some(Place::Url(url)),
        // A registry that is a folder: its files are named from there.
        (None, Some(path)) if path.starts_with('/') => Some(Place::Path(path)),
        (None, Some(path)) => Some(Place::Path(format!("{registry}/{path}"))),
        (None, None) => None,
    };
    let file_name = match (&place, file.filename) {
        (_, Some(name)) => name,
        (Some(Place::Url(text)), None) => percent_decoded(last_part(text)),
        (Some(Place::Path(text)), None) => text.rsplit('/').next().unwrap_or(text).to_owned(),
        (None, None) => {
            let reason = format!("a file of `{package}` has neither `url` nor `path`");
            return Err(ProjectLockError { line, reason });
        }
    };
    Ok(ProjectFile {
        file_name,
        place,
        sha256: hashes.sha256,
        has_other_hashes: hashes.has_others,
        size: file.size,
        upload_time: file.upload_time.map(|time| match time {
            UploadTime::Text(text) => text,
            UploadTime::Date(date) => date.to_string(),
        }),
    })
}

/// The groups that a `pyproject.toml` makes the default of its `uv.lock`; `None` if it says nothing.
///
/// # Errors
/// The text is no TOML.
pub fn parse_uv_default_groups(text: &str) -> Result<Option<Vec<String>>, ProjectLockError> {
    #[derive(Deserialize, Default)]
    struct Project {
        #[serde(default)]
        tool: Tool,
    }
    #[derive(Deserialize, Default)]
    struct Tool {
        #[serde(default)]
        uv: Uv,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "kebab-case")]
    struct Uv {
        default_groups: Option<Groups>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Groups {
        /// `all`.
        All(String),
        These(Vec<String>),
    }
    let project: Project = from_toml(text)?;
    Ok(project.tool.uv.default_groups.map(|groups| match groups {
        Groups::All(all) => vec![all],
        Groups::These(names) => names.iter().map(|name| normal(name)).collect(),
    }))
}
