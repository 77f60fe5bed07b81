//! Errors about system packages, and builds that lack some.

use pip_accel_builder::build::BuildFailure;
use pip_accel_builder::layers::LayerError;
use pip_accel_builder::realize::error::ObtainError;
use pip_accel_builder::system_packages::index::{IndexError, UpdateError};
use pip_accel_builder::system_packages::own::OwnRulesError;
use pip_accel_builder::system_packages::{AptError, Explanation, Kind};
use serde_json::json;

use super::{Failure, sentence};
use crate::command::rounds::{is_root, to_type};
use crate::exit_code::Exit;

const UPDATE: &str = "make it anew: pip-accel index update";

impl From<&IndexError> for Failure {
    fn from(error: &IndexError) -> Self {
        Self::new(Exit::Error, sentence(error)).hint(UPDATE)
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self::from(&error)
    }
}

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        let failure = Self::new(Exit::Error, sentence(&error));
        match error {
            UpdateError::Apt(AptError::Start { .. }) => failure.hint("this works where Debian's apt is"),
            UpdateError::Apt(AptError::NoContents { .. }) => {
                failure.hint("check the package sources: apt-get update; some mirrors leave the Contents files out")
            }
            UpdateError::Apt(_) => failure.hint("check the package sources: apt-get update"),
            UpdateError::Store(error) => super::store_failure(&error),
            UpdateError::Index(_) | UpdateError::Write { .. } => failure,
        }
    }
}

impl From<OwnRulesError> for Failure {
    fn from(error: OwnRulesError) -> Self {
        Self::new(Exit::Usage, sentence(&error)).hint(
            "mend that file, or name others: PIP_ACCEL_SYSTEM_PACKAGE_RULES; the format is in docs/system-packages.md",
        )
    }
}

/// Packages that could not be unpacked for a build.
pub(super) fn layers(error: &LayerError, text: String) -> Failure {
    match error {
        LayerError::Offline { .. } => {
            Failure::new(Exit::Offline, text).hint("repeat the command while there is a network")
        }
        LayerError::Apt(_) => Failure::new(Exit::Error, text)
            .hint("check the package sources: apt-get update")
            .hint("or install the packages: --system-packages ask"),
        LayerError::Hash { .. } | LayerError::Unhashed { .. } | LayerError::Deb(_) => Failure::new(Exit::Error, text)
            .hint("nothing of it was kept; check the package sources, or use another mirror"),
        LayerError::TooMany { .. } | LayerError::TooLarge { .. } => {
            Failure::new(Exit::Error, text).hint("install the packages: --system-packages ask")
        }
        LayerError::Store(error) => super::store_failure(error),
        LayerError::File { .. } => {
            Failure::new(Exit::Error, text).hint("check the disk and the store: pip-accel doctor")
        }
    }
}

/// A failed build: what it lacks in two lines, or its last lines and why no package helps.
pub(super) fn build(failure: &BuildFailure, text: String) -> Failure {
    let release = format!("{}=={}", failure.name, failure.version);
    let log = format!("see the whole log: pip-accel log {release}");
    let tail = || failure.tail.iter().cloned();
    let Some(explanation) = &failure.explanation else {
        return Failure::new(Exit::BuildFailed, text).details(tail()).hint(&log);
    };
    if !failure.missing_packages().is_empty() {
        // The command is a hint of the whole failure, for all builds at once.
        return Failure::new(Exit::PackageMissing, text).details(explanation.finding.lines(is_root()));
    }
    let failed = Failure::new(Exit::BuildFailed, text).details(tail()).details(reason(explanation));
    match &explanation.undeclared {
        Some(project) => failed.hint(&format!(
            "the build needs the Python package {project}; add it to the lock and repeat the command: \
             `#: build {release}` and below it, for all it is built with, `#:   {project}==VERSION --hash=sha256:…` \
             (what else it is built with: --print-build-lock)"
        )),
        None => failed,
    }
    .hint(&log)
}

/// Why no package helps, unless nothing is known.
fn reason(explanation: &Explanation) -> Option<String> {
    let finding = &explanation.finding;
    (finding.kind != Kind::Unknown).then(|| format!("nothing to install: {}", finding.reason))
}

/// The lines about another failed build.
pub(super) fn explained(error: &ObtainError) -> Vec<String> {
    let ObtainError::Build(failure) = error else { return Vec::new() };
    match &failure.explanation {
        Some(explanation) if !failure.missing_packages().is_empty() => explanation.finding.lines(is_root()).to_vec(),
        Some(explanation) => reason(explanation).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Adds what all failed builds lack together: the command as a hint, each build for programs.
pub(super) fn sum_up(failure: &mut Failure, errors: &[&ObtainError]) {
    let mut packages: Vec<String> = Vec::new();
    let mut builds = Vec::new();
    for error in errors {
        let ObtainError::Build(build) = error else { continue };
        let Some(explanation) = &build.explanation else { continue };
        for package in build.missing_packages() {
            if !packages.contains(package) {
                packages.push(package.clone());
            }
        }
        let mut value = serde_json::to_value(&explanation.finding).unwrap_or_default();
        value["build"] = json!(format!("{}=={}", build.name, build.version));
        value["undeclared"] = json!(explanation.undeclared);
        builds.push(value);
    }
    if !builds.is_empty() {
        let command = (!packages.is_empty()).then(|| to_type(&packages));
        failure.system_packages = Some(json!({ "packages": packages, "command": command, "builds": builds }));
    }
    if let Some(ObtainError::Build(first)) = errors.first()
        && !packages.is_empty()
    {
        failure.hints.insert(0, format!("install it and repeat the command: {}", to_type(&packages)));
        let log = format!("see the whole log: pip-accel log {}=={}", first.name, first.version);
        if !failure.hints.contains(&log) {
            failure.hints.push(log);
        }
    }
}

impl Failure {
    /// Packages of the system were missing and not installed; `why`, if there is more to say.
    pub(crate) fn refused(mut self, why: Option<String>) -> Self {
        self.details.extend(why);
        self
    }

    /// Packages were installed and did not help: what is missing is missing still, and nothing more is proposed.
    pub(crate) fn no_use(mut self, why: String) -> Self {
        self.exit = Exit::BuildFailed;
        self.details.push(why);
        self.hints.retain(|hint| !hint.contains("apt-get"));
        self
    }
}
