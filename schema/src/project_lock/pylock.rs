//! `pylock.toml`, PEP 751. `attestation-identities`, `tool`, `dependencies`, `created-by` and `index` are for others:
//! the standard lets an installer pass them over.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use super::hashes::of_table;
use super::{
    Condition, Lines, Origin, Place, ProjectFile, ProjectLock, ProjectLockError, ProjectPackage, check_count,
    check_parts, from_toml, identity, last_part, normal, percent_decoded,
};
use crate::requirement::excerpt;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Pylock {
    lock_version: Spanned<String>,
    #[serde(default)]
    environments: Vec<String>,
    requires_python: Option<String>,
    #[serde(default)]
    extras: Vec<String>,
    #[serde(default)]
    dependency_groups: Vec<String>,
    #[serde(default)]
    default_groups: Vec<String>,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: Spanned<String>,
    version: Option<String>,
    marker: Option<String>,
    requires_python: Option<String>,
    vcs: Option<Vcs>,
    directory: Option<Directory>,
    archive: Option<Archive>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vcs {
    r#type: String,
    url: Option<String>,
    path: Option<String>,
    commit_id: String,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
struct Directory {
    path: String,
    #[serde(default)]
    editable: bool,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Archive {
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    upload_time: Option<Datetime>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    upload_time: Option<Datetime>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// Reads a `pylock.toml`.
///
/// # Errors
/// The first part that the standard forbids.
pub fn parse_pylock(text: &str) -> Result<ProjectLock, ProjectLockError> {
    let raw: Pylock = from_toml(text)?;
    let mut lines = Lines::new(text);
    let mut warnings = Vec::new();
    let version_line = super::line_at(text, raw.lock_version.span().start);
    check_version(version_line, raw.lock_version.get_ref(), &mut warnings)?;
    check_count(raw.packages.len())?;
    let mut packages = Vec::with_capacity(raw.packages.len());
    for package in raw.packages {
        let line = lines.at(package.name.span().start);
        packages.push(read_package(line, package)?);
    }
    let names = |names: Vec<String>| names.iter().map(|name| normal(name)).collect::<BTreeSet<_>>();
    let default_groups = names(raw.default_groups);
    let mut groups = names(raw.dependency_groups);
    groups.extend(default_groups.iter().cloned());
    Ok(ProjectLock {
        requires_python: raw.requires_python,
        environments: raw.environments,
        packages,
        extras: names(raw.extras),
        groups,
        default_groups,
        warnings,
        ..ProjectLock::default()
    })
}

fn check_version(line: usize, version: &str, warnings: &mut Vec<String>) -> Result<(), ProjectLockError> {
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(1), Ok(0)) => Ok(()),
        // As the standard has it: a newer minor version is read, with a warning.
        (Ok(1), Ok(_)) => {
            warnings.push(format!("the lock is of version {version}; of what is newer than 1.0 nothing is used"));
            Ok(())
        }
        _ => {
            let version = excerpt(version);
            Err(ProjectLockError { line, reason: format!("lock-version `{version}` is not known here, only 1.0 is") })
        }
    }
}

fn read_package(line: usize, package: Package) -> Result<ProjectPackage, ProjectLockError> {
    let written = package.name.get_ref().as_str();
    let (name, version) = identity(line, (written, package.version.as_deref()))?;
    check_parts(line, written, package.wheels.len())?;
    let error = |reason: String| ProjectLockError { line, reason };
    let is_release = package.sdist.is_some() || !package.wheels.is_empty();
    let kinds = [package.vcs.is_some(), package.directory.is_some(), package.archive.is_some(), is_release];
    match kinds.iter().filter(|is_there| **is_there).count() {
        1 => {}
        0 => return Err(error(format!("`{name}` has no wheels, sdist, archive, directory or vcs"))),
        _ => return Err(error(format!("`{name}` has several of wheels and sdist, archive, directory and vcs"))),
    }
    let origin = if let Some(vcs) = package.vcs {
        let place = place(line, &name.to_string(), vcs.url, vcs.path)?;
        let (commit, subdirectory) = (Some(vcs.commit_id), vcs.subdirectory);
        Origin::VersionControl { kind: vcs.r#type, place, commit, subdirectory }
    } else if let Some(directory) = package.directory {
        let Directory { path, editable, subdirectory } = directory;
        Origin::Directory { path, editable, subdirectory }
    } else if let Some(archive) = package.archive {
        let Archive { url, path, size, upload_time, hashes, subdirectory } = archive;
        let file = File { name: None, url, path, size, upload_time, hashes };
        Origin::Archive { file: read_file(line, name.as_str(), file)?, subdirectory }
    } else {
        let files = package.wheels.into_iter().chain(package.sdist);
        let files = files.map(|file| read_file(line, name.as_str(), file)).collect::<Result<_, _>>()?;
        Origin::Release { files, hashes: Vec::new() }
    };
    Ok(ProjectPackage {
        line,
        name,
        version,
        extras: Vec::new(),
        requires_python: package.requires_python,
        origin,
        source: None,
        conditions: vec![Condition { group: None, marker: package.marker }],
        edges: Vec::new(),
        is_project: false,
    })
}

fn place(line: usize, name: &str, url: Option<String>, path: Option<String>) -> Result<Place, ProjectLockError> {
    match (path, url) {
        (Some(path), None) => Ok(Place::Path(path)),
        (_, Some(url)) => Ok(Place::Url(url)),
        (None, None) => {
            Err(ProjectLockError { line, reason: format!("a file of `{name}` has neither `url` nor `path`") })
        }
    }
}

fn read_file(line: usize, package: &str, file: File) -> Result<ProjectFile, ProjectLockError> {
    let hashes = of_table(line, &file.hashes)?;
    let place = place(line, package, file.url, file.path)?;
    let file_name = file.name.unwrap_or_else(|| match &place {
        Place::Url(url) => percent_decoded(last_part(url)),
        Place::Path(path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
    });
    Ok(ProjectFile {
        file_name,
        place: Some(place),
        sha256: hashes.sha256,
        has_other_hashes: hashes.has_others,
        size: file.size,
        upload_time: file.upload_time.map(|time| time.to_string()),
    })
}
