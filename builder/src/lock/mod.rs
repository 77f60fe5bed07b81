//! Locks: from a file and what it includes to pinned, hashed requirements ([`load`]), and to those that apply to one
//! interpreter ([`LoadedLock::select`]).

mod check;
mod encoding;
mod error;
mod location;
mod options;
mod project;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::lock_file::{BuildLock, RequirementTarget};
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::project_lock::LockFormat;
use pip_accel_schema::requirement::excerpt;

pub(crate) use encoding::decode;
pub use error::{IncludeProblem, LockError, LockProblem, ProblemKind, Span};
pub(crate) use location::{Location, describe_file, file_name_of, without_fragment};
pub use options::{AllowedFormats, FindLinks, FormatControl, LockOptions, SourceUrl};
pub use project::Choice;
pub use read::{Environment, INCLUDE_DEPTH_MAX, INCLUDED_FILES_MAX, RawLock, RawRequirement, read_lines};
pub(crate) use read::{expand_variables, read_bytes};

use crate::checkout::GitCommit;
use crate::python::marker::Marker;

/// What a locked requirement points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockedTarget {
    /// A version, to be looked up in an index.
    Pin(PackageVersion),
    /// A file at an `http` or `https` URL, without fragment.
    Url(SourceUrl),
    /// A wheel or sdist on this machine.
    LocalFile(PathBuf),
    /// A commit of a repository.
    Git(GitCommit),
    /// A project's directory, whose content the lock does not fix.
    Directory(PathBuf),
    /// `-e`: a project that is imported from where it is.
    Editable(EditableTarget),
}

/// What `-e` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditableTarget {
    /// The project's directory; for a commit the place that it is cloned to.
    pub path: PathBuf,
    /// The commit that has to be there.
    pub git: Option<GitCommit>,
}

impl LockedTarget {
    /// Whether it is no file, so that no hash can say what it is.
    #[must_use]
    pub const fn is_checkout(&self) -> bool {
        matches!(self, Self::Git(_) | Self::Directory(_) | Self::Editable(_))
    }

    /// Whether its content is what lies on this machine, whatever the lock says.
    #[must_use]
    pub const fn is_unfixed(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::Editable(_))
    }
}

/// One requirement: pinned and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRequirement {
    /// The project; unknown for URLs and files whose name does not say it.
    pub name: Option<PackageName>,
    /// The version: the pin, or what the file name says.
    pub version: Option<PackageVersion>,
    /// What it points at.
    pub target: LockedTarget,
    /// Extras as written, sorted.
    pub extras: Vec<String>,
    /// When it applies.
    pub marker: Option<Marker>,
    /// SHA-256 of the files that may be used, sorted, at least one; none for checkouts.
    pub hashes: Vec<Sha256Digest>,
    /// The files of the release with their places, where the lock says these; else an index does.
    pub files: Arc<Vec<LockedFile>>,
    /// What its backend is told when it is built.
    pub config_settings: ConfigSettings,
    /// Where it stands.
    pub span: Span,
}

/// A wheel or sdist that a lock lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// Its file name, which fits the project and version.
    pub file_name: String,
    /// Where it lies.
    pub place: FilePlace,
    /// Its SHA-256.
    pub sha256: Sha256Digest,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// When it was uploaded (RFC 3339).
    pub upload_time: Option<String>,
}

/// Where a listed file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePlace {
    /// An `http` or `https` URL.
    Url(SourceUrl),
    /// A path on this machine.
    Path(PathBuf),
}

impl LockedRequirement {
    /// What two entries must share to speak of the same thing.
    fn key(&self) -> String {
        match (&self.name, &self.target) {
            (Some(name), _) => name.to_string(),
            (None, LockedTarget::Pin(version)) => version.to_string(),
            (None, LockedTarget::Url(url)) => url.to_string(),
            (None, LockedTarget::LocalFile(path) | LockedTarget::Directory(path)) => path.display().to_string(),
            (None, LockedTarget::Git(commit)) => commit.identity(),
            (None, LockedTarget::Editable(editable)) => editable.path.display().to_string(),
        }
    }

    fn encode(&self) -> [u8; 32] {
        let mut encoder = Encoder::for_domain("pip-accel/locked-requirement/1");
        encoder.optional_text(self.name.as_ref().map(PackageName::as_str));
        // Where a file lies is not what it is: the hashes say that, and no credentials may get here.
        match &self.target {
            LockedTarget::Pin(version) => encoder.text("pin").text(version.as_str()),
            LockedTarget::Url(url) => encoder.text("url").text(&location::file_name_of(url.expose())),
            LockedTarget::LocalFile(path) => {
                encoder.text("file").bytes(path.file_name().unwrap_or_default().as_encoded_bytes())
            }
            LockedTarget::Git(commit) => encoder.text("git").text(&commit.identity()),
            // What is there is looked at later, and part of the request.
            LockedTarget::Directory(path) => encoder.text("directory").bytes(path.as_os_str().as_encoded_bytes()),
            LockedTarget::Editable(editable) => {
                encoder.text("editable").bytes(editable.path.as_os_str().as_encoded_bytes());
                encoder.optional_text(editable.git.as_ref().map(GitCommit::identity).as_deref())
            }
        };
        encoder.texts(self.extras.iter());
        encoder.optional_text(self.marker.as_ref().map(Marker::as_str));
        encoder.number(self.hashes.len() as u64);
        for digest in &self.hashes {
            encoder.bytes(digest.as_bytes());
        }
        let without = encoder.finish();
        if self.config_settings.is_empty() {
            return without;
        }
        let mut encoder = Encoder::for_domain("pip-accel/locked-requirement/2");
        encoder.bytes(&without).number(self.config_settings.len() as u64);
        for (key, value) in &self.config_settings {
            encoder.text(key).text(value);
        }
        encoder.finish()
    }
}

impl fmt::Display for LockedRequirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.target) {
            (Some(name), LockedTarget::Pin(version)) => write!(formatter, "{name}=={version}"),
            (None, LockedTarget::Pin(version)) => write!(formatter, "=={version}"),
            (Some(name), LockedTarget::Url(url)) => write!(formatter, "{name} @ {url}"),
            (None, LockedTarget::Url(url)) => write!(formatter, "{url}"),
            (Some(name), LockedTarget::Git(commit)) => write!(formatter, "{name} @ {commit}"),
            (None, LockedTarget::Git(commit)) => write!(formatter, "{commit}"),
            (_, LockedTarget::LocalFile(path) | LockedTarget::Directory(path)) => {
                write!(formatter, "{}", path.display())
            }
            (_, LockedTarget::Editable(editable)) => match &editable.git {
                Some(commit) => write!(formatter, "-e {commit}"),
                None => write!(formatter, "-e {}", editable.path.display()),
            },
        }
    }
}

/// One locked build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedBuild {
    /// The project that is built.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// Its build requirements, each once.
    pub requirements: Vec<LockedRequirement>,
    /// Where the block begins.
    pub span: Span,
}

impl LockedBuild {
    /// The build requirements that apply to an interpreter.
    #[must_use]
    pub fn select(&self, variables: &MarkerVariables) -> Vec<LockedRequirement> {
        let applies = |requirement: &&LockedRequirement| {
            requirement.marker.as_ref().is_none_or(|marker| marker.eval(variables, &[]))
        };
        self.requirements.iter().filter(applies).cloned().collect()
    }

    fn encode(&self) -> [u8; 32] {
        let mut encoder = Encoder::for_domain("pip-accel/locked-build/1");
        encoder.text(self.name.as_str()).text(self.version.as_str());
        encode_sorted(&mut encoder, self.requirements.iter().map(LockedRequirement::encode));
        encoder.finish()
    }
}

/// A lock with everything that it includes.
#[derive(Debug, Clone)]
pub struct LoadedLock {
    /// Requirements of all markers, those that say the same merged, in the order of the files.
    pub requirements: Vec<LockedRequirement>,
    /// Option lines of all files.
    pub options: LockOptions,
    /// Locked builds, each project and version once.
    pub build_locks: Vec<LockedBuild>,
    /// Variables that are named but not set; their text stayed as it is.
    pub unset_variables: Vec<String>,
    /// Every file that was read, the lock itself first.
    pub files: Vec<PathBuf>,
    /// Over all that decides what an environment holds: requirements, formats, builds. Not over the order, the place of
    /// the files, indexes or credentials.
    pub digest: ValueDigest,
    /// As [`content_digest`], where that decides all: the lock includes no other file and names no variable, and no
    /// directory or editable, whose content it does not fix.
    pub content: Option<ValueDigest>,
    /// Sentences about what was passed over.
    pub warnings: Vec<String>,
    /// What was asked for besides the usual, for the name of a root: ` with extra a`; empty for the usual.
    pub choice: String,
    constraints: Vec<check::Constraint>,
    project: Option<Box<project::Project>>,
}

/// Reads a lock of any format, with variables such as `${TOKEN}` from `environment`, and what it holds for `choice`.
///
/// # Errors
/// A file can't be read, or has entries that are not locked: these are all reported at once. What is wrong with a package
/// that may not apply is said by [`LoadedLock::select`].
pub fn load(path: &Path, choice: &Choice, environment: &Environment<'_>) -> Result<LoadedLock, LockError> {
    let bytes = read::read_bytes(path)?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let format = match std::str::from_utf8(&bytes) {
        Ok(text) => LockFormat::of(&file_name, text),
        Err(_) if is_utf16 => Ok(LockFormat::Requirements),
        Err(_) => Ok(LockFormat::of_name(&file_name).unwrap_or(LockFormat::Requirements)),
    };
    let format = format.map_err(|found| LockError::Format {
        path: path.to_owned(),
        named: LockFormat::of_name(&file_name).unwrap_or(found).usual_name(),
        found: found.usual_name(),
    })?;
    if format == LockFormat::Requirements {
        let warnings = choice.refuse_any(path)?;
        return Ok(LoadedLock { warnings, ..load_requirements(path, bytes, environment)? });
    }
    project::load((path, bytes), format, choice, environment)
}

fn load_requirements(path: &Path, bytes: Vec<u8>, environment: &Environment<'_>) -> Result<LoadedLock, LockError> {
    checked(read::read_lock(path, bytes, environment)?)
}

fn checked(raw: read::RawLock) -> Result<LoadedLock, LockError> {
    let mut problems = Vec::new();
    let requirements = check::lock_all(raw.requirements, &mut problems);
    let requirements = check::merge(requirements, true, &mut problems);
    let constraints = check::constraints(raw.constraints, &mut problems);
    check::check_constraints(&requirements, &constraints, None, &mut problems);
    let build_locks = lock_builds(raw.builds, &mut problems);
    if !problems.is_empty() {
        problems.sort_by_key(|problem| {
            let file = raw.files.iter().position(|file| **file == *problem.span.file);
            (file, problem.span.line)
        });
        return Err(LockError::Refused { problems });
    }
    let digest = digest(&requirements, &raw.options, &build_locks);
    let content = match raw.contents.as_slice() {
        [only] if !raw.names_variables && !requirements.iter().any(|locked| locked.target.is_unfixed()) => Some(*only),
        _ => None,
    };
    Ok(LoadedLock {
        requirements,
        options: raw.options,
        build_locks,
        unset_variables: raw.unset_variables.into_iter().collect(),
        files: raw.files,
        digest,
        content,
        warnings: Vec::new(),
        choice: String::new(),
        constraints,
        project: None,
    })
}

/// Reads `text` as if it were the lock at `path`, without variables.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_text(path: &Path, text: &str) -> Result<LoadedLock, LockError> {
    checked(read::read_text(path, text)?)
}

/// The digest of the bytes of the lock at `path` and of the `pyproject.toml` that is read with it, whatever they mean.
///
/// # Errors
/// The file can't be read or is longer than any lock.
pub fn content_digest(path: &Path) -> Result<ValueDigest, LockError> {
    let content = read::content_digest(&read::read_bytes(path)?);
    Ok(project::with_sibling(content, path)?.unwrap_or(content))
}

impl LoadedLock {
    /// Whether the lock can fix what is built with: only requirements files have lines for it.
    #[must_use]
    pub fn has_room_for_builds(&self) -> bool {
        self.project.is_none()
    }

    /// The requirements whose markers hold for an interpreter, each project once.
    ///
    /// # Errors
    /// [`LockError::Refused`] if two of them contradict each other or a constraint.
    pub fn select(&self, variables: &MarkerVariables) -> Result<Vec<LockedRequirement>, LockError> {
        let applies = |requirement: &&LockedRequirement| {
            requirement.marker.as_ref().is_none_or(|marker| marker.eval(variables, &[]))
        };
        let mut problems = Vec::new();
        let selected = match &self.project {
            Some(project) => project.select(variables, &mut problems),
            None => self.requirements.iter().filter(applies).cloned().collect(),
        };
        let selected = check::merge(selected, false, &mut problems);
        check::check_constraints(&selected, &self.constraints, Some(variables), &mut problems);
        if problems.is_empty() { Ok(selected) } else { Err(LockError::Refused { problems }) }
    }

    /// The locked build of a project and version, spelled in any way.
    #[must_use]
    pub fn build_lock(&self, name: &PackageName, version: &PackageVersion) -> Option<&LockedBuild> {
        let is_same =
            |build: &&LockedBuild| build.name == *name && crate::python::version::is_same(&build.version, version);
        self.build_locks.iter().find(is_same)
    }
}

/// Locked builds of the blocks of one lock, each once.
pub(crate) fn lock_builds(builds: Vec<(BuildLock, Span)>, problems: &mut Vec<LockProblem>) -> Vec<LockedBuild> {
    let mut locked: Vec<LockedBuild> = Vec::with_capacity(builds.len());
    for (build, span) in builds {
        let file = Arc::clone(&span.file);
        let mut raw = Vec::with_capacity(build.requirements.len());
        for requirement in build.requirements {
            let span = Span { file: Arc::clone(&file), line: requirement.line };
            match &requirement.target {
                RequirementTarget::Direct { location, .. } => {
                    let kind = ProblemKind::BuildDirect { location: excerpt(location) };
                    problems.push(LockProblem { span, kind });
                }
                _ => raw.push(read::RawRequirement { requirement, span }),
            }
        }
        let requirements = check::merge(check::lock_all(raw, problems), true, problems);
        let build = LockedBuild { name: build.name, version: build.version, requirements, span };
        let known = locked
            .iter()
            .find(|known| known.name == build.name && crate::python::version::is_same(&known.version, &build.version));
        match known {
            None => locked.push(build),
            Some(known) if known.encode() == build.encode() => {}
            Some(known) => {
                let (name, version) = (build.name.clone(), build.version.clone());
                let kind = ProblemKind::BuildContradiction { name, version, other: known.span.clone() };
                problems.push(LockProblem { span: build.span, kind });
            }
        }
    }
    locked
}

fn encode_sorted(encoder: &mut Encoder, parts: impl Iterator<Item = [u8; 32]>) {
    let mut parts: Vec<[u8; 32]> = parts.collect();
    parts.sort_unstable();
    encoder.number(parts.len() as u64);
    for part in parts {
        encoder.bytes(&part);
    }
}

fn digest(requirements: &[LockedRequirement], options: &LockOptions, builds: &[LockedBuild]) -> ValueDigest {
    let mut encoder = Encoder::for_domain("pip-accel/lock/1");
    encode_sorted(&mut encoder, requirements.iter().map(LockedRequirement::encode));
    for texts in options.formats.texts() {
        encoder.texts(texts.iter());
    }
    encode_sorted(&mut encoder, builds.iter().map(LockedBuild::encode));
    ValueDigest::from_bytes(encoder.finish())
}
