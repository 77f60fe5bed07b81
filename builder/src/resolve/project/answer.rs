//! The resolver's answer → pins with their reasons.

use std::collections::HashMap;
use std::path::PathBuf;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::lock_file::{LockItem, LockSyntaxError, RequirementTarget, parse};
use pip_accel_schema::name::{PackageName, PackageVersion};
use url::Url;

use super::ProjectInputs;
use super::asked::is_same_place;
use super::error::ProjectError;
use super::exchange::Labels;

/// What a pin points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolvedTarget {
    /// A release of an index or page.
    Release(PackageVersion),
    /// A file at an `http` or `https` URL: without credentials, or with the variables that the input has for them; with
    /// its fragment.
    Url(String),
    /// A wheel or sdist on this machine.
    File(PathBuf),
    /// A folder with a project.
    Folder {
        /// The folder, absolute.
        path: PathBuf,
        /// Whether it was asked for by `-e`.
        is_editable: bool,
    },
    /// A commit of a repository: `git+https://…@<commit>`, credentials as in `Url`, with its fragment.
    Revision(String),
    /// The same, asked for by `-e`.
    EditableRevision(String),
}

/// One package of a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPin {
    /// The project; unknown for an unnamed place whose name does not tell.
    pub name: Option<PackageName>,
    /// What it points at.
    pub target: ResolvedTarget,
    /// Extras, sorted.
    pub extras: Vec<String>,
    /// When it applies, in a solution for all platforms.
    pub marker: Option<String>,
    /// SHA-256 of all its files, sorted; empty for folders and revisions.
    pub hashes: Vec<Sha256Digest>,
    /// What its backend is told when it is built.
    pub config_settings: ConfigSettings,
    /// Why it is there: names of projects, `-r FILE`, `-c FILE`, `NAME (pyproject.toml)`.
    pub via: Vec<String>,
}

impl ResolvedPin {
    /// The version of a release.
    #[must_use]
    pub const fn version(&self) -> Option<&PackageVersion> {
        match &self.target {
            ResolvedTarget::Release(version) => Some(version),
            _ => None,
        }
    }
}

/// Reads the answer.
pub(super) fn read(text: &str, inputs: &ProjectInputs, labels: &Labels) -> Result<Vec<ResolvedPin>, ProjectError> {
    let mut reasons = reasons(text, labels);
    let mut pins = Vec::new();
    for item in parse(text)? {
        let LockItem::Requirement(requirement) = item else { continue };
        let via = reasons.remove(&requirement.line).unwrap_or_default();
        let location = match &requirement.target {
            RequirementTarget::Direct { location, .. } | RequirementTarget::Editable { location } => {
                Some(location.split('[').next().unwrap_or(location).to_owned())
            }
            RequirementTarget::Pin { .. } | RequirementTarget::Unpinned { .. } => None,
        };
        let (name, target, extras) = match requirement.target {
            RequirementTarget::Pin { name, version } => {
                (Some(name), ResolvedTarget::Release(version), requirement.extras)
            }
            RequirementTarget::Direct { name, location } => {
                let (name, target) = place(name, &location, inputs);
                (name, target, requirement.extras)
            }
            RequirementTarget::Editable { location } => {
                let (location, extras) = match location.rfind('[') {
                    Some(bracket) if location.ends_with(']') => location.split_at(bracket),
                    _ => (location.as_str(), ""),
                };
                let extras = extras.trim_matches(['[', ']']).split(',').map(str::trim);
                let extras = extras.filter(|extra| !extra.is_empty()).map(str::to_owned).collect();
                let (name, target) = place(None, location, inputs);
                (name, target, extras)
            }
            // The resolver pins everything; what it left open is kept as it is and refused by whoever reads the lock.
            RequirementTarget::Unpinned { .. } => continue,
        };
        let config_settings = inputs.settings_of(name.as_ref(), location.as_deref());
        let (marker, hashes) = (requirement.marker, requirement.hashes);
        pins.push(ResolvedPin { name, target, extras, marker, hashes, config_settings, via });
    }
    Ok(pins)
}

/// Of a pin's hashes only those that the files of requirements demand themselves.
pub(super) fn demand(pin: &mut ResolvedPin, inputs: &ProjectInputs) -> Result<(), ProjectError> {
    let Some(demanded) = pin.name.as_ref().and_then(|name| inputs.hashes.get(name)) else { return Ok(()) };
    pin.hashes.retain(|hash| demanded.contains(hash));
    match (&pin.name, pin.hashes.is_empty()) {
        (Some(name), true) => {
            let version = pin.version().map(|version| format!("=={version}")).unwrap_or_default();
            Err(ProjectError::Hashes { name: format!("{name}{version}") })
        }
        _ => Ok(()),
    }
}

fn place(name: Option<PackageName>, location: &str, inputs: &ProjectInputs) -> (Option<PackageName>, ResolvedTarget) {
    if location.starts_with("git+") {
        let shown = inputs.shown_url(location);
        // A path of this machine means nothing in a lock, but it is what the user asked for.
        let is_editable = inputs.editable_repositories.iter().any(|known| is_same_place(known, location));
        let target = if is_editable { ResolvedTarget::EditableRevision } else { ResolvedTarget::Revision };
        return (name, target(shown));
    }
    let bare = location.split('#').next().unwrap_or(location);
    let path = Url::parse(bare).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
    match path {
        Some(path) if path.is_dir() => {
            let name = name.or_else(|| project_name(&path));
            let is_editable = inputs.editables.contains(&path);
            (name, ResolvedTarget::Folder { path, is_editable })
        }
        Some(path) => {
            let told = path.file_name().and_then(|file| crate::lock::describe_file(&file.to_string_lossy()));
            (name.or_else(|| told.and_then(|(name, _)| name)), ResolvedTarget::File(path))
        }
        None => {
            let told = crate::lock::describe_file(&crate::lock::file_name_of(location));
            (name.or_else(|| told.and_then(|(name, _)| name)), ResolvedTarget::Url(inputs.shown_url(location)))
        }
    }
}

/// A package of a lock: its name, its version if it is pinned to one, and what brought it.
pub type LockedReasons = (PackageName, Option<PackageVersion>, Vec<String>);

/// The packages of a lock as this program, uv or pip-tools write it, with the reasons in its comments (`# via`).
///
/// # Errors
/// When the text is no requirements file.
pub fn reasons_of_lock(text: &str) -> Result<Vec<LockedReasons>, LockSyntaxError> {
    let mut reasons = reasons(text, &Labels::default());
    let mut found = Vec::new();
    for item in parse(text)? {
        let LockItem::Requirement(requirement) = item else { continue };
        let via = reasons.remove(&requirement.line).unwrap_or_default();
        match requirement.target {
            RequirementTarget::Pin { name, version } => found.push((name, Some(version), via)),
            RequirementTarget::Direct { name: Some(name), .. } | RequirementTarget::Unpinned { name, .. } => {
                found.push((name, None, via));
            }
            RequirementTarget::Direct { name: None, .. } | RequirementTarget::Editable { .. } => {}
        }
    }
    Ok(found)
}

/// The name in a project's `pyproject.toml`.
fn project_name(folder: &std::path::Path) -> Option<PackageName> {
    let bytes = crate::lock::read_bytes(&folder.join("pyproject.toml")).ok()?;
    let table: toml::Table = std::str::from_utf8(&bytes).ok()?.parse().ok()?;
    table.get("project")?.get("name")?.as_str()?.parse().ok()
}

/// The reasons in the comments below each requirement, by its first line, from 1.
fn reasons(text: &str, labels: &Labels) -> HashMap<usize, Vec<String>> {
    let mut reasons: HashMap<usize, Vec<String>> = HashMap::new();
    let mut current = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let Some(comment) = trimmed.strip_prefix('#') else {
            if trimmed.len() == line.len() && !line.is_empty() {
                current = Some(index + 1);
            }
            continue;
        };
        let comment = comment.trim();
        let reason = match comment.strip_prefix("via") {
            Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest.trim(),
            _ => comment,
        };
        if let Some(current) = current.filter(|_| !reason.is_empty() && trimmed.len() < line.len()) {
            reasons.entry(current).or_default().push(labels.translate(reason));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_and_their_reasons_are_read() {
        let digest = "ab".repeat(32);
        let text = format!(
            "a[x]==1.0 \\\n    --hash=sha256:{digest}\n    # via -r requirements.in\nb==2 ; os_name == 'nt' \\\n    \
             --hash=sha256:{digest}\n    # via\n    #   a\n    #   demo (pyproject.toml)\n\
             c @ git+https://u:p@h.example/c@{}\n    # via a\n",
            "0".repeat(40)
        );
        let pins = read(&text, &ProjectInputs::default(), &Labels::default()).expect("an answer");
        let [a, b, c] = pins.as_slice() else { panic!("{pins:?}") };
        assert_eq!(
            (a.extras.as_slice(), a.via.as_slice()),
            (&["x".to_owned()][..], &["-r requirements.in".to_owned()][..])
        );
        assert_eq!(b.via, ["a", "demo (pyproject.toml)"]);
        assert_eq!(b.marker.as_deref(), Some("os_name == 'nt'"));
        assert_eq!(c.target, ResolvedTarget::Revision(format!("git+https://h.example/c@{}", "0".repeat(40))));
    }
}
