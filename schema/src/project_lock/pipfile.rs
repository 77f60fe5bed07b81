//! `Pipfile.lock`, JSON of pipenv: `default`, `develop` and further categories, hashes without file names.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::hashes::of_text;
use super::{
    Condition, Origin, Place, ProjectFile, ProjectLock, ProjectLockError, ProjectPackage, check_count, check_parts,
    identity, last_part, normal, percent_decoded,
};
use crate::requirement::excerpt;

/// The category that always counts.
const MAIN: &str = "default";

/// The only version there is.
const SPECIFICATION: u64 = 6;

#[derive(Deserialize)]
struct PipfileLock {
    #[serde(rename = "_meta")]
    meta: Meta,
    #[serde(flatten)]
    categories: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Meta {
    pipfile_spec: Option<u64>,
    #[serde(default)]
    requires: Requires,
    #[serde(default)]
    sources: Vec<Source>,
}

#[derive(Deserialize, Default)]
struct Requires {
    python_version: Option<String>,
    python_full_version: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    url: String,
}

#[derive(Deserialize)]
struct Entry {
    version: Option<String>,
    #[serde(default)]
    hashes: Vec<String>,
    markers: Option<String>,
    #[serde(default)]
    extras: Vec<String>,
    #[serde(default)]
    editable: bool,
    path: Option<String>,
    file: Option<String>,
    git: Option<String>,
    hg: Option<String>,
    svn: Option<String>,
    bzr: Option<String>,
    r#ref: Option<String>,
    subdirectory: Option<String>,
}

/// Reads a `Pipfile.lock`.
///
/// # Errors
/// The first part that can't be read.
pub fn parse_pipfile_lock(text: &str) -> Result<ProjectLock, ProjectLockError> {
    let text = text.trim_start_matches('\u{feff}');
    let raw: PipfileLock = serde_json::from_str(text)
        .map_err(|error| ProjectLockError { line: error.line(), reason: without_place(&error.to_string()) })?;
    if let Some(version) = raw.meta.pipfile_spec.filter(|version| *version != SPECIFICATION) {
        let reason = format!("pipfile-spec {version} is not known here, only {SPECIFICATION} is");
        return Err(ProjectLockError::of_file(reason));
    }
    check_count(raw.categories.values().map(BTreeMap::len).sum())?;
    let Requires { python_version, python_full_version } = raw.meta.requires;
    let requires_python = match (python_full_version, python_version) {
        (Some(full), _) => Some(format!("=={full}")),
        (None, Some(version)) => Some(format!("=={version}.*")),
        (None, None) => None,
    };
    let mut lock = ProjectLock {
        requires_python,
        indexes: raw.meta.sources.into_iter().map(|source| source.url).collect(),
        replaces_index: true,
        ..ProjectLock::default()
    };
    let mut places = KeyLines::new(text);
    // What is in both is said the same way in both; `default` is read first, whatever the order of the file.
    let mut categories: Vec<_> = raw.categories.into_iter().collect();
    categories.sort_by_key(|(name, _)| name != MAIN);
    for (category, entries) in categories {
        let group = (category != MAIN).then(|| normal(&category));
        lock.groups.extend(group.clone());
        for (name, entry) in entries {
            let line = places.line_of(&category, &name);
            lock.packages.push(read_entry(line, &name, entry, group.clone())?);
        }
    }
    Ok(lock)
}

/// A message of the JSON reader without its ` at line 1 column 2`.
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(reason, _)| reason).to_owned()
}

/// Finds the lines of keys, which the JSON reader does not tell.
struct KeyLines {
    lines: BTreeMap<(String, String), usize>,
}

impl KeyLines {
    fn new(text: &str) -> Self {
        let mut lines = BTreeMap::new();
        let mut category = String::new();
        for (index, line) in text.lines().enumerate() {
            // As pipenv writes it: four spaces before a category, eight before a package.
            let indent = line.len() - line.trim_start().len();
            let Some(key) = line.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix("\": {")) else { continue };
            match indent {
                4 => key.clone_into(&mut category),
                8 => {
                    lines.insert((category.clone(), key.to_owned()), index + 1);
                }
                _ => {}
            }
        }
        Self { lines }
    }

    fn line_of(&mut self, category: &str, name: &str) -> usize {
        self.lines.remove(&(category.to_owned(), name.to_owned())).unwrap_or(0)
    }
}

fn read_entry(line: usize, key: &str, entry: Entry, group: Option<String>) -> Result<ProjectPackage, ProjectLockError> {
    check_parts(line, key, entry.hashes.len())?;
    let pinned = entry.version.as_deref().map(|version| pin(line, key, version)).transpose()?;
    let (name, version) = identity(line, (key, pinned))?;
    let mut hashes = BTreeSet::new();
    let mut has_other_hashes = false;
    for hash in &entry.hashes {
        let hash = of_text(line, Some(hash))?;
        hashes.extend(hash.sha256);
        has_other_hashes |= hash.has_others;
    }
    let repositories = [("git", entry.git), ("hg", entry.hg), ("svn", entry.svn), ("bzr", entry.bzr)];
    let repository = repositories.into_iter().find_map(|(kind, url)| url.map(|url| (kind, url)));
    let origin = if let Some((kind, url)) = repository {
        Origin::VersionControl {
            kind: kind.to_owned(),
            place: Place::Url(url),
            commit: entry.r#ref,
            subdirectory: entry.subdirectory,
        }
    } else if let Some(location) = entry.file.or(entry.path) {
        let file_name = percent_decoded(last_part(&location));
        let is_archive =
            [".whl", ".zip", ".gz", ".bz2", ".xz", ".tgz", ".tbz"].iter().any(|end| location.ends_with(end));
        if crate::requirement::has_scheme(&location) || is_archive {
            let is_url = location.starts_with("http:") || location.starts_with("https:");
            let place = if is_url { Place::Url(location) } else { Place::Path(local(&location)) };
            let sha256 = hashes.first().copied();
            let file =
                ProjectFile { file_name, place: Some(place), sha256, has_other_hashes, size: None, upload_time: None };
            Origin::Archive { file, subdirectory: entry.subdirectory }
        } else {
            Origin::Directory { path: location, editable: entry.editable, subdirectory: entry.subdirectory }
        }
    } else {
        let files = if has_other_hashes && hashes.is_empty() { vec![unusable()] } else { Vec::new() };
        Origin::Release { files, hashes: hashes.into_iter().collect() }
    };
    let mut extras = entry.extras;
    extras.sort();
    let conditions = vec![Condition { group, marker: entry.markers.filter(|marker| !marker.trim().is_empty()) }];
    Ok(ProjectPackage {
        line,
        name,
        version,
        extras,
        requires_python: None,
        origin,
        source: None,
        conditions,
        edges: Vec::new(),
        is_project: false,
    })
}

/// A file of which nothing but a hash of another kind is known.
fn unusable() -> ProjectFile {
    ProjectFile {
        file_name: String::new(),
        place: None,
        sha256: None,
        has_other_hashes: true,
        size: None,
        upload_time: None,
    }
}

/// `file:///a/b%20c` as a path.
fn local(location: &str) -> String {
    let Some(rest) = location.strip_prefix("file:") else { return location.to_owned() };
    percent_decoded(rest.strip_prefix("//").unwrap_or(rest))
}

/// The version of `==1.0`; `*` and ranges pin nothing.
fn pin<'a>(line: usize, name: &str, text: &'a str) -> Result<&'a str, ProjectLockError> {
    let version = text.trim().strip_prefix("==").map(|version| version.trim_start_matches('=').trim());
    version.filter(|version| !version.contains(['*', ','])).ok_or_else(|| {
        let reason = format!("`{}{}` is not pinned to one version", excerpt(name), excerpt(text));
        ProjectLockError { line, reason }
    })
}
