//! Items → locked requirements: refuses what is not locked, merges what is said twice, compares with constraints.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::lock_file::{self, LockItem, RequirementTarget};
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::requirement::excerpt;
use sha2::{Digest, Sha256};

use super::error::{LockProblem, ProblemKind, Span};
use super::location::{Location, describe_file, file_name_of};
use super::options::SourceUrl;
use super::read::RawRequirement;
use super::{EditableTarget, LockedRequirement, LockedTarget};
use crate::checkout::{GitCommit, GitReference, static_name};
use crate::python::marker::Marker;
use crate::python::version::{Specifiers, is_same, satisfies_pin};

/// A line of a constraints file.
#[derive(Debug, Clone)]
pub(super) struct Constraint {
    name: PackageName,
    allowed: Allowed,
    text: String,
    marker: Option<Marker>,
    span: Span,
}

#[derive(Debug, Clone)]
enum Allowed {
    Pin(PackageVersion),
    Versions(Specifiers),
}

/// Turns raw requirements into locked ones; what is not locked goes to `problems`.
pub(super) fn lock_all(raw: Vec<RawRequirement>, problems: &mut Vec<LockProblem>) -> Vec<LockedRequirement> {
    let mut locked = Vec::with_capacity(raw.len());
    for raw in raw {
        let span = raw.span.clone();
        match lock_one(raw) {
            Ok(requirement) => locked.push(requirement),
            Err(kind) => problems.push(LockProblem { span, kind }),
        }
    }
    locked
}

fn lock_one(raw: RawRequirement) -> Result<LockedRequirement, ProblemKind> {
    let RawRequirement { requirement, span } = raw;
    let marker = requirement.marker.as_deref().map(Marker::parse).transpose().map_err(ProblemKind::Marker)?;
    let (name, version, target) = match requirement.target {
        RequirementTarget::Editable { location } => {
            let locked = editable(&location, &requirement.hashes, span)?;
            return Ok(LockedRequirement { config_settings: requirement.config_settings, ..locked });
        }
        RequirementTarget::Unpinned { name, specifier } => return Err(ProblemKind::Unpinned { name, specifier }),
        RequirementTarget::Pin { name, version } => (Some(name), Some(version.clone()), LockedTarget::Pin(version)),
        RequirementTarget::Direct { name, location } => direct(name, &location, &span)?,
    };
    let locked = LockedRequirement {
        name,
        version,
        target,
        extras: requirement.extras,
        marker,
        hashes: requirement.hashes,
        files: Arc::default(),
        config_settings: requirement.config_settings,
        span,
    };
    if locked.target.is_checkout() {
        return without_hashes(locked);
    }
    if !locked.hashes.is_empty() {
        return Ok(locked);
    }
    let entry = locked.to_string();
    Err(match &locked.target {
        LockedTarget::LocalFile(path) => match sha256_of(path) {
            Ok(digest) => ProblemKind::LocalUnhashed { entry, digest },
            Err(_) => ProblemKind::NoFile { location: entry, path: path.clone() },
        },
        _ => ProblemKind::Unhashed { entry, has_others: requirement.has_other_hashes },
    })
}

/// A checkout is known by its commit or by what lies on this machine, never by the hash of a file.
fn without_hashes(locked: LockedRequirement) -> Result<LockedRequirement, ProblemKind> {
    match locked.hashes.is_empty() {
        true => Ok(locked),
        false => Err(ProblemKind::HashOfCheckout { entry: locked.to_string() }),
    }
}

/// What follows `-e` is a requirement of its own: a path or a URL, with extras and a marker.
fn editable(location: &str, hashes: &[Sha256Digest], span: Span) -> Result<LockedRequirement, ProblemKind> {
    let unusable = || ProblemKind::Editable { location: excerpt(location) };
    let folder = span.file.parent().unwrap_or(Path::new(""));
    // pip takes a bare word that is a directory.
    let is_word = !location.contains(['/', ':', ' ', ';']) && folder.join(location).is_dir();
    let text = if is_word { format!("./{location}") } else { location.to_owned() };
    let mut items = lock_file::parse(&text).map_err(|_| unusable())?;
    let (Some(LockItem::Requirement(requirement)), true) = (items.pop(), items.is_empty()) else {
        return Err(unusable());
    };
    let RequirementTarget::Direct { name, location: place } = requirement.target else { return Err(unusable()) };
    let marker = requirement.marker.as_deref().map(Marker::parse).transpose().map_err(ProblemKind::Marker)?;
    let (name, _, target) = direct(name, &place, &span)?;
    let target = match target {
        LockedTarget::Directory(path) => EditableTarget { path, git: None },
        LockedTarget::Git(commit) => {
            let folder_name = name.as_ref().ok_or_else(unusable)?;
            EditableTarget { path: folder.join("src").join(folder_name.as_str()), git: Some(commit) }
        }
        _ => return Err(unusable()),
    };
    let target = LockedTarget::Editable(target);
    let hashes = hashes.to_vec();
    without_hashes(LockedRequirement {
        name,
        version: None,
        target,
        extras: requirement.extras,
        marker,
        hashes,
        files: Arc::default(),
        config_settings: ConfigSettings::new(),
        span,
    })
}

/// A commit in full; what else a revision may be changes with time.
pub(super) fn git(location: &str) -> Result<GitCommit, ProblemKind> {
    let shown = || excerpt(location);
    match GitReference::parse(location) {
        Ok(Some(reference)) => reference.commit().ok_or_else(|| ProblemKind::Revision { location: shown() }),
        Ok(None) => Err(ProblemKind::VersionControl { location: shown() }),
        Err(source) => Err(ProblemKind::Git { location: shown(), source }),
    }
}

type Described = (Option<PackageName>, Option<PackageVersion>, LockedTarget);

fn direct(name: Option<PackageName>, location: &str, span: &Span) -> Result<Described, ProblemKind> {
    let shown = || excerpt(location);
    let folder = span.file.parent().unwrap_or(Path::new(""));
    let (file_name, target) = match Location::parse(location, folder) {
        Location::VersionControl => return Ok((name, None, LockedTarget::Git(git(location)?))),
        Location::Other => return Err(ProblemKind::Scheme { location: shown() }),
        Location::Url(url) => (file_name_of(&url), LockedTarget::Url(SourceUrl::new(url))),
        Location::Path(path) => {
            if path.is_dir() {
                if !["pyproject.toml", "setup.py"].iter().any(|file| path.join(file).is_file()) {
                    return Err(ProblemKind::Folder { location: shown() });
                }
                return Ok((name.or_else(|| static_name(&path)), None, LockedTarget::Directory(path)));
            }
            if !path.is_file() {
                return Err(ProblemKind::NoFile { location: shown(), path });
            }
            let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (file_name, LockedTarget::LocalFile(path))
        }
    };
    let (said, version) = match describe_file(&file_name) {
        Some(described) => described,
        // A URL may lead to an archive whose name only the server knows; a local file may not.
        None if name.is_some() && matches!(target, LockedTarget::Url(_)) => (None, None),
        None => return Err(ProblemKind::FileName { location: shown() }),
    };
    Ok((name.or(said), version, target))
}

fn sha256_of(path: &Path) -> io::Result<Sha256Digest> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256Digest::from_bytes(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Turns the lines of constraints files into constraints.
pub(super) fn constraints(raw: Vec<RawRequirement>, problems: &mut Vec<LockProblem>) -> Vec<Constraint> {
    let mut constraints = Vec::with_capacity(raw.len());
    for RawRequirement { requirement, span } in raw {
        let parsed = (|| {
            let marker = requirement.marker.as_deref().map(Marker::parse).transpose().map_err(ProblemKind::Marker)?;
            let (name, allowed, text) = match requirement.target {
                RequirementTarget::Pin { name, version } => {
                    let text = format!("=={version}");
                    (name, Allowed::Pin(version), text)
                }
                RequirementTarget::Unpinned { name, specifier } => {
                    let versions = specifier.parse().map_err(|_| ProblemKind::Constraint)?;
                    (name, Allowed::Versions(versions), specifier)
                }
                RequirementTarget::Direct { .. } | RequirementTarget::Editable { .. } => {
                    return Err(ProblemKind::Constraint);
                }
            };
            Ok(Constraint { name, allowed, text, marker, span: span.clone() })
        })();
        match parsed {
            Ok(constraint) => constraints.push(constraint),
            Err(kind) => problems.push(LockProblem { span, kind }),
        }
    }
    constraints
}

/// Whether an entry counts: with variables if its marker holds, without if it has none.
fn counts(marker: Option<&Marker>, variables: Option<&MarkerVariables>) -> bool {
    match (marker, variables) {
        (None, _) => true,
        (Some(marker), Some(variables)) => marker.eval(variables, &[]),
        (Some(_), None) => false,
    }
}

/// Compares pins with constraints. Without variables only what has no marker is looked at.
pub(super) fn check_constraints(
    requirements: &[LockedRequirement],
    constraints: &[Constraint],
    variables: Option<&MarkerVariables>,
    problems: &mut Vec<LockProblem>,
) {
    for constraint in constraints.iter().filter(|constraint| counts(constraint.marker.as_ref(), variables)) {
        for requirement in requirements {
            let (Some(name), Some(version)) = (&requirement.name, &requirement.version) else { continue };
            if *name != constraint.name || !counts(requirement.marker.as_ref(), variables) {
                continue;
            }
            let allowed = match &constraint.allowed {
                Allowed::Pin(pin) => satisfies_pin(pin, version),
                Allowed::Versions(specifiers) => specifiers.contains_package(version),
            };
            if !allowed {
                let kind = ProblemKind::Constrained {
                    name: name.clone(),
                    version: version.to_string(),
                    constraint: format!("{name}{}", constraint.text),
                    other: constraint.span.clone(),
                };
                problems.push(LockProblem { span: requirement.span.clone(), kind });
            }
        }
    }
}

/// Merges entries that say the same and refuses those that contradict; `same_marker` only looks at pairs with equal
/// markers, else all of them apply together.
pub(super) fn merge(
    requirements: Vec<LockedRequirement>,
    same_marker: bool,
    problems: &mut Vec<LockProblem>,
) -> Vec<LockedRequirement> {
    let mut merged: Vec<LockedRequirement> = Vec::with_capacity(requirements.len());
    let mut by_key: std::collections::HashMap<String, Vec<usize>> = std::collections::HashMap::new();
    for requirement in requirements {
        let candidates = by_key.entry(requirement.key()).or_default();
        let known = candidates.iter().find(|index| !same_marker || merged[**index].marker == requirement.marker);
        match known {
            None => {
                candidates.push(merged.len());
                merged.push(requirement);
            }
            Some(index) => {
                let span = requirement.span.clone();
                if let Err(kind) = merge_into(&mut merged[*index], requirement) {
                    problems.push(LockProblem { span, kind });
                }
            }
        }
    }
    merged
}

fn merge_into(known: &mut LockedRequirement, other: LockedRequirement) -> Result<(), ProblemKind> {
    if known.config_settings.is_empty() {
        known.config_settings.clone_from(&other.config_settings);
    }
    let is_told_the_same = other.config_settings.is_empty() || known.config_settings == other.config_settings;
    let same = is_told_the_same
        && match (&known.target, &other.target) {
            (LockedTarget::Pin(left), LockedTarget::Pin(right)) => is_same(left, right),
            (left, right) => left == right,
        };
    if !same {
        return Err(ProblemKind::Contradiction {
            name: known.key(),
            here: other.to_string(),
            there: known.to_string(),
            other: known.span.clone(),
        });
    }
    if known.target.is_checkout() {
        merge_extras(known, other);
        return Ok(());
    }
    // As pip does: a file must satisfy both entries, so only what both list can be used.
    known.hashes.retain(|digest| other.hashes.contains(digest));
    if known.hashes.is_empty() {
        known.hashes = other.hashes.clone();
        return Err(ProblemKind::NoCommonHash { entry: other.to_string(), other: known.span.clone() });
    }
    merge_extras(known, other);
    Ok(())
}

fn merge_extras(known: &mut LockedRequirement, other: LockedRequirement) {
    known.extras.extend(other.extras);
    known.extras.sort();
    known.extras.dedup();
}
