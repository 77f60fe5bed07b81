//! Locks of whole projects: `pylock.toml`, `uv.lock`, `poetry.lock`, `Pipfile.lock`.
//!
//! The formats say for many environments at once what they hold. What is wrong with a package counts only where it
//! applies: a commit that only Windows needs stops nobody here.

mod choice;
mod constraint;
mod package;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::project_lock::{
    Edge, LockFormat, ProjectLock, ProjectLockError, ProjectPackage, parse_pipfile_lock, parse_poetry_lock_with,
    parse_poetry_project, parse_pylock, parse_uv_default_groups, parse_uv_lock,
};
use pip_accel_schema::requirement::excerpt;

pub use self::choice::Choice;
use self::constraint::Range;
use self::package::{Surroundings, locked};
pub(super) use self::walk::Project;
use self::walk::{Beginning, Link, Node};
use super::encoding::decode_utf8;
use super::error::{LockError, LockProblem, ProblemKind, Span};
use super::options::{LockOptions, SourceUrl};
use super::read::{Environment, content_digest, expand_variables, read_bytes};
use super::{LoadedLock, LockedRequirement};
use crate::python::marker::Marker;

/// Most locked versions of one project: one for each fork of the resolution, and real locks have fewer than ten.
const FORKS_MAX: usize = 64;

/// The file that says what a project requires; uv and poetry read it together with their locks.
const PROJECT_FILE: &str = "pyproject.toml";

/// The `pyproject.toml` that belongs to a lock of this format at `path`, if it is there.
fn sibling(format: LockFormat, path: &Path) -> Option<PathBuf> {
    let reads_it = matches!(format, LockFormat::Uv | LockFormat::Poetry);
    reads_it.then(|| path.with_file_name(PROJECT_FILE)).filter(|file| file.is_file())
}

/// The digest `content` of a lock's bytes together with that of its `pyproject.toml`; `None` if none belongs to it by its
/// name.
pub(super) fn with_sibling(content: ValueDigest, path: &Path) -> Result<Option<ValueDigest>, LockError> {
    let format = LockFormat::of_name(&path.file_name().unwrap_or_default().to_string_lossy());
    let Some(file) = format.and_then(|format| sibling(format, path)) else { return Ok(None) };
    Ok(Some(joined(content, &read_bytes(&file)?)))
}

fn joined(content: ValueDigest, sibling: &[u8]) -> ValueDigest {
    let mut encoder = Encoder::for_domain("pip-accel/lock-content-with-project/1");
    encoder.bytes(content.as_bytes()).bytes(sibling);
    ValueDigest::from_bytes(encoder.finish())
}

/// Reads the lock of this format whose bytes are given.
pub(super) fn load(
    (path, bytes): (&Path, Vec<u8>),
    format: LockFormat,
    choice: &Choice,
    environment: &Environment<'_>,
) -> Result<LoadedLock, LockError> {
    let content = content_digest(&bytes);
    let text = decode_utf8(path, bytes)?;
    let beside = match sibling(format, path) {
        None => None,
        Some(file) => {
            let bytes = read_bytes(&file)?;
            Some((joined(content, &bytes), decode_utf8(&file, bytes)?, file))
        }
    };
    let lock = parse((path, &text), format, beside.as_ref().map(|(_, text, file)| (file.as_path(), text.as_str())))?;
    let chosen = choice.in_lock(&lock, format, path)?;
    let mut warnings = choice.without_meaning(&lock, path);
    let (mut files, content) = match beside {
        Some((joined, _, file)) => (vec![path.to_owned(), file], joined),
        None => (vec![path.to_owned()], content),
    };
    files.dedup();
    let names_variables = lock.indexes.iter().any(|index| index.contains("${"));
    let mut unset_variables = std::collections::BTreeSet::new();
    let options = options(&lock, environment, &mut |name| {
        unset_variables.insert(name.to_owned());
    });
    let project = Maker { file: Arc::from(path), format, problems: Vec::new() }.project(&lock, chosen)?;
    let mut encoder = Encoder::for_domain("pip-accel/project-lock/1");
    encoder.bytes(content.as_bytes()).texts(choice.texts().iter());
    let requirements: Vec<LockedRequirement> =
        project.nodes.iter().filter_map(|node| node.locked.as_ref().ok().cloned().flatten()).collect();
    let is_unfixed = requirements.iter().any(|locked| locked.target.is_unfixed());
    warnings.extend(lock.warnings);
    let is_named = LockFormat::of_name(&path.file_name().unwrap_or_default().to_string_lossy()).is_some();
    Ok(LoadedLock {
        requirements,
        options,
        build_locks: Vec::new(),
        unset_variables: unset_variables.into_iter().collect(),
        files,
        digest: ValueDigest::from_bytes(encoder.finish()),
        content: (is_named && !names_variables && !is_unfixed).then_some(content),
        warnings,
        choice: choice.label(),
        constraints: Vec::new(),
        project: Some(Box::new(project)),
    })
}

fn parse(
    (path, text): (&Path, &str),
    format: LockFormat,
    beside: Option<(&Path, &str)>,
) -> Result<ProjectLock, LockError> {
    let of = |path: &Path, error: ProjectLockError| {
        let span = Span { file: Arc::from(path), line: error.line };
        LockError::Syntax { span, reason: error.reason }
    };
    let of_lock = |error| of(path, error);
    match format {
        LockFormat::Pylock | LockFormat::Requirements => parse_pylock(text).map_err(of_lock),
        LockFormat::Pipfile => parse_pipfile_lock(text).map_err(of_lock),
        LockFormat::Poetry => {
            let project = beside.map(|(file, text)| parse_poetry_project(text).map_err(|error| of(file, error)));
            parse_poetry_lock_with(text, project.transpose()?.as_ref()).map_err(of_lock)
        }
        LockFormat::Uv => {
            let mut lock = parse_uv_lock(text).map_err(of_lock)?;
            if let Some((file, text)) = beside
                && let Some(groups) = parse_uv_default_groups(text).map_err(|error| of(file, error))?
            {
                let is_default = |group: &&String| groups.contains(group) || groups.iter().any(|name| name == "all");
                lock.default_groups = lock.groups.iter().filter(is_default).cloned().collect();
            }
            Ok(lock)
        }
    }
}

fn options(lock: &ProjectLock, environment: &Environment<'_>, on_unset: &mut dyn FnMut(&str)) -> LockOptions {
    let mut urls: Vec<SourceUrl> =
        lock.indexes.iter().map(|index| SourceUrl::new(expand_variables(index, environment, on_unset))).collect();
    let index_url = (lock.replaces_index && !urls.is_empty()).then(|| urls.remove(0));
    LockOptions { index_url, extra_index_urls: urls, ..LockOptions::default() }
}

/// Turns what was read into what can be asked.
struct Maker {
    file: Arc<Path>,
    format: LockFormat,
    problems: Vec<LockProblem>,
}

impl Maker {
    fn project(mut self, lock: &ProjectLock, chosen: choice::Chosen) -> Result<Project, LockError> {
        let span = self.span(0);
        let folder = Arc::clone(&self.file);
        let place = Surroundings { folder: folder.parent().unwrap_or(Path::new("")), format: self.format };
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut nodes = Vec::with_capacity(lock.packages.len());
        for package in &lock.packages {
            let versions = by_name.entry(package.name.as_str().to_owned()).or_default();
            versions.push(nodes.len());
            // Categories of a Pipfile may name one project many times; there is nothing to choose among these.
            if versions.len() > FORKS_MAX && lock.roots.is_some() {
                let kind = ProblemKind::TooManyForks { name: package.name.clone(), max: FORKS_MAX };
                return Err(LockError::Refused { problems: vec![LockProblem { span: self.span(package.line), kind }] });
            }
            nodes.push(self.node(package, place));
        }
        let environments = lock.environments.iter().filter_map(|text| self.marker(text, &span)).collect();
        let requires_python = self.range(lock.requires_python.as_deref(), &span);
        let beginnings = lock.roots.as_ref().map(|roots| {
            let begin = |root: &pip_accel_schema::project_lock::Root| -> Beginning {
                (root.group.clone(), root.extra.clone(), self.link(&root.edge, &span))
            };
            roots.iter().map(begin).collect::<Vec<_>>()
        });
        if !self.problems.is_empty() {
            return Err(LockError::Refused { problems: self.problems });
        }
        let (encoded, is_encoded) = (lock.project.clone(), lock.has_encoded_extras);
        Ok(Project { span, requires_python, environments, nodes, by_name, beginnings, chosen, encoded, is_encoded })
    }

    fn span(&self, line: usize) -> Span {
        Span { file: Arc::clone(&self.file), line }
    }

    fn node(&mut self, package: &ProjectPackage, place: Surroundings<'_>) -> Node {
        let span = self.span(package.line);
        let mut conditions = Vec::with_capacity(package.conditions.len());
        for condition in &package.conditions {
            let marker = condition.marker.as_deref().and_then(|text| self.marker(text, &span));
            conditions.push((condition.group.clone(), marker));
        }
        let mut links: HashMap<Option<String>, Vec<Link>> = HashMap::new();
        for edge in &package.edges {
            let link = self.link(edge, &span);
            if edge.needed_by.is_empty() {
                links.entry(None).or_default().push(link);
                continue;
            }
            for extra in &edge.needed_by {
                links.entry(Some(extra.clone())).or_default().push(link.clone());
            }
        }
        Node {
            name: package.name.clone(),
            version: package.version.clone(),
            source: package.source.clone(),
            locked: locked(package, &span, place),
            conditions,
            links,
            requires_python: self.range(package.requires_python.as_deref(), &span),
            is_project: package.is_project,
            span,
        }
    }

    fn link(&mut self, edge: &Edge, span: &Span) -> Link {
        let normal = |name: &String| {
            name.parse()
                .map_or_else(|_| name.clone(), |name: pip_accel_schema::name::PackageName| name.as_str().to_owned())
        };
        Link {
            name: normal(&edge.name),
            version: edge.version.clone(),
            source: edge.source.clone(),
            // A constraint only helps to choose among several: what can't be read leaves the choice open.
            constraint: edge.constraint.as_deref().and_then(Range::parse),
            python: self.range(edge.python.as_deref(), span).map(|(_, range)| range),
            marker: edge.marker.as_deref().and_then(|text| self.marker(text, span)),
            extras: edge.extras.iter().map(normal).collect(),
        }
    }

    fn marker(&mut self, text: &str, span: &Span) -> Option<Marker> {
        if text.trim().is_empty() {
            return None;
        }
        let marker = Marker::parse(text);
        marker.map_err(|error| self.problem(span, ProblemKind::Marker(error))).ok()
    }

    fn range(&mut self, text: Option<&str>, span: &Span) -> Option<(String, Range)> {
        let text = text?;
        let Some(range) = Range::parse(text) else {
            self.problem(span, ProblemKind::Range { text: excerpt(text) });
            return None;
        };
        Some((text.to_owned(), range))
    }

    fn problem(&mut self, span: &Span, kind: ProblemKind) {
        self.problems.push(LockProblem { span: span.clone(), kind });
    }
}
