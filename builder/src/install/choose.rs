//! Which versions are installed: remembered from the last time, else from what the store has, else by the index.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::encode::Encoder;
use pip_accel_schema::name::{PackageName, PackageVersion};
use serde::{Deserialize, Serialize};

use super::installed::InstalledSet;
use crate::checkout::content_stamp;
use crate::event::Event;
use crate::index::{FindLinks, SafeUrl};
use crate::lock::{LoadedLock, LockedTarget, load_text};
use crate::python::requirement::{Requirement, is_same};
use crate::realize::error::RealizeError;
use crate::resolve::project::{
    FailureKind, Places, Preference, ProjectError, ProjectRequest, Resolution, Upgrade, resolve_project,
};
use crate::session::Session;

/// Namespace of remembered choices: what was asked for → [`Remembered`] as JSON.
const MEMO: &str = "install-choice/1";

/// What is to be chosen.
#[derive(Debug, Clone)]
pub struct ChoiceRequest<'a> {
    /// What the user asks for; preferences are added here.
    pub project: ProjectRequest,
    /// What is installed and may stay.
    pub installed: &'a InstalledSet,
    /// Whether only an index may answer: something is to be upgraded.
    pub is_upgrade: bool,
    /// Whether what the store has is tried first: nobody named another place.
    pub store_first: bool,
    /// Where repositories are cloned that are used in place.
    pub src: PathBuf,
}

/// A choice: what should be installed in the end, what is there included.
#[derive(Debug, Clone)]
pub struct Choice {
    /// All packages, as a lock.
    pub lock: LoadedLock,
    /// Those that the user named, or that files and groups did.
    pub requested: BTreeSet<PackageName>,
}

/// A choice as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    lock: String,
    requested: BTreeSet<PackageName>,
}

impl Remembered {
    fn of(resolution: &Resolution) -> Self {
        let named = resolution.pins.iter().filter(|pin| pin.via.iter().any(|via| is_named(via)));
        Self { lock: resolution.text(Path::new("/")), requested: named.filter_map(|pin| pin.name.clone()).collect() }
    }

    fn choice(self, src: &Path) -> Result<Choice, ProjectError> {
        let mut lock = load_text(Path::new("/requirements of this run"), &self.lock).map_err(RealizeError::Lock)?;
        for locked in &mut lock.requirements {
            if let (LockedTarget::Editable(editable), Some(name)) = (&mut locked.target, &locked.name)
                && editable.git.is_some()
            {
                editable.path = src.join(name.as_str());
            }
        }
        Ok(Choice { lock, requested: self.requested })
    }
}

/// Whether a reason is a file of requirements, the command line or a project: no other package, and no constraint, which
/// asks for nothing.
fn is_named(via: &str) -> bool {
    via.contains(' ') && !via.starts_with("-c ")
}

/// Chooses.
///
/// # Errors
/// See [`ProjectError`].
pub fn choose(session: &Arc<Session>, mut request: ChoiceRequest<'_>) -> Result<Choice, ProjectError> {
    let key = key(session, &request.project);
    if !request.is_upgrade
        && let Some(known) = key.as_ref().and_then(|key| remembered(session, key))
        && let Ok(choice) = known.choice(&request.src)
        && disturbed(&choice, &request).is_empty()
    {
        return Ok(choice);
    }
    request.project.preferences = preferences(request.installed);
    // Without a network, what the store has is among the candidates anyhow.
    if !request.is_upgrade && request.store_first && !session.options.offline {
        let store_only = ProjectRequest { places: Places::StoreOnly, ..request.project.clone() };
        match resolve_project(session, &store_only) {
            Ok(resolution) => {
                let choice = Remembered::of(&resolution).choice(&request.src)?;
                // An older version than the one that is installed, because the store has no other, is no solution.
                if disturbed(&choice, &request).is_empty() {
                    // Of what lies here the resolver would be asked each time.
                    if request.project.inputs.names_local_places() {
                        remember(session, key, (&resolution, &request));
                    }
                    return Ok(choice);
                }
            }
            Err(error @ ProjectError::Run(_)) => return Err(error),
            Err(error) => tracing::debug!(%error, "the store alone is not enough"),
        }
    }
    let resolution = match resolve_project(session, &request.project) {
        Err(error) if is_unreachable(&error) && !session.options.index.find_links.is_empty() => {
            return without_indexes(session, &request).ok_or(error);
        }
        resolution => resolution?,
    };
    remember(session, key, (&resolution, &request));
    Remembered::of(&resolution).choice(&request.src)
}

fn remember(session: &Session, key: Option<[u8; 32]>, (resolution, request): (&Resolution, &ChoiceRequest<'_>)) {
    // What is installed here is no reason for others to get the same.
    let is_free = resolution.pins.iter().all(|pin| {
        let name = pin.name.as_ref();
        name.is_none_or(|name| request.installed.get(name).is_none() || request.project.upgrade.concerns(name))
    });
    if let (Some(key), true, Ok(value)) = (key, is_free, serde_json::to_vec(&Remembered::of(resolution))) {
        // A store that can't remember costs time, nothing else.
        drop(session.store.memo_put(MEMO, &key, &value));
    }
}

fn is_unreachable(error: &ProjectError) -> bool {
    matches!(error, ProjectError::Failed { kind: FailureKind::Network, .. })
}

/// As pip does where an index gives no answer: what `--find-links` has may be enough. It is not remembered.
fn without_indexes(session: &Arc<Session>, request: &ChoiceRequest<'_>) -> Option<Choice> {
    let project = ProjectRequest { places: Places::WithoutIndexes, ..request.project.clone() };
    let choice = Remembered::of(&resolve_project(session, &project).ok()?).choice(&request.src).ok()?;
    let warning = "the index gives no answer: versions are chosen from what --find-links has".to_owned();
    session.report(Event::Warning(warning));
    Some(choice)
}

fn remembered(session: &Session, key: &[u8; 32]) -> Option<Remembered> {
    let value = session.store.memo_get(MEMO, key).ok().flatten()?;
    serde_json::from_slice(&value).ok()
}

/// Installed packages whose version a choice would change, although nobody asked for that: neither by an upgrade nor by
/// a requirement or constraint that the installed version does not meet.
fn disturbed(choice: &Choice, request: &ChoiceRequest<'_>) -> Vec<PackageName> {
    let inputs = &request.project.inputs;
    let lines = inputs.requirement_lines().chain(inputs.constraint_lines());
    let said: Vec<Requirement> = lines.filter_map(|line| line.parse().ok()).collect();
    let is_refused = |name: &PackageName, version: &PackageVersion| {
        said.iter().any(|one| one.name == *name && !one.specifiers.contains_package(version))
    };
    let changed = choice.lock.requirements.iter().filter_map(|locked| {
        let name = locked.name.as_ref()?;
        let installed = request.installed.get(name)?;
        // The version of a folder or commit is not known here, and it was asked for itself.
        let is_same = locked.version.as_ref().is_none_or(|version| is_same(version, &installed.version));
        let is_meant = request.project.upgrade.concerns(name) || is_refused(name, &installed.version);
        (!is_same && !is_meant).then(|| name.clone())
    });
    changed.collect()
}

fn preferences(installed: &InstalledSet) -> Vec<Preference> {
    let preference = |package: &super::installed::InstalledPackage| Preference {
        name: package.name.clone(),
        version: package.version.clone(),
        hashes: Vec::new(),
    };
    // What is used in place is of no version that an index has.
    installed.iter().filter(|package| !package.is_editable()).map(preference).collect()
}

/// Under what the choice is remembered; `None` when what is asked for changes by itself.
fn key(session: &Session, project: &ProjectRequest) -> Option<[u8; 32]> {
    let mut encoder = Encoder::for_domain("pip-accel/install-choice/1");
    if !project.inputs.encode(&mut encoder, &|path| content_stamp(session, path)) {
        return None;
    }
    encoder.bytes(session.interpreter_identity().as_bytes());
    encoder.number(u64::from(project.prereleases)).number(u64::from(project.no_deps));
    encoder.optional_text(project.exclude_newer.as_ref().map(|day| day.as_str()));
    for texts in session.options.formats.texts() {
        encoder.texts(texts.iter());
    }
    let index = &session.options.index;
    let urls = index.index_url.iter().chain(&index.extra_index_urls);
    let urls: Vec<String> = urls.map(|url| SafeUrl::from(url.clone()).without_credentials().to_string()).collect();
    encoder.texts(urls.iter()).number(index.find_links.len() as u64);
    for place in &index.find_links {
        match place {
            FindLinks::Url(url) => drop(encoder.text(SafeUrl::from(url.clone()).without_credentials().as_str())),
            FindLinks::Path(path) => {
                let metadata = std::fs::metadata(path).ok()?;
                encoder.bytes(path.as_os_str().as_encoded_bytes());
                encoder.number(metadata.mtime().cast_unsigned()).number(metadata.mtime_nsec().cast_unsigned());
            }
        }
    }
    Some(encoder.finish())
}

/// What an upgrade forgets of what is installed: what was named, or with the strategy `eager` all.
#[must_use]
pub fn upgrade_of(named: Vec<PackageName>, is_eager: bool) -> Upgrade {
    if is_eager { Upgrade::All } else { Upgrade::Packages(named) }
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn a_constraint_names_nothing() {
        for (via, is) in [
            ("-r requirements.in", true),
            ("-r command line", true),
            ("project (pyproject.toml)", true),
            ("-c limits.txt", false),
            ("requests", false),
        ] {
            assert_eq!(is_named(via), is, "{via}");
        }
    }
}
