//! Resolving what a user asks for: files of requirements, projects and names in, a lock's pins out.
//!
//! The resolver is uv, in a sandbox with the network, without a home, and with nothing of the machine but
//! the local files that the requirements name. It runs up to twice:
//!
//! 1. Without code: no backend of an sdist or project can start. What uv learns is kept in the store for the next time.
//!    This is enough wherever metadata is static, and gives exactly what a run with code would.
//! 2. Where that ended at something only a backend can tell, once more with backends, private copies of the local
//!    projects and nothing kept: what hostile code writes there is believed by nobody. Beside credentials of an index
//!    or proxy no code runs; then wheels alone have to do.
//!
//! Without network, or for [`Places::StoreOnly`], the second run has no network either, and nothing secret.

mod answer;
mod asked;
mod builds;
mod error;
mod exchange;
mod explain;
mod inputs;
mod kept_cache;
mod location;
mod old_lock;
mod pylock;
mod pyproject;
mod solve;
mod store_links;
mod text;

use std::sync::Arc;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::name::{PackageName, PackageVersion};

pub use answer::{LockedReasons, ResolvedPin, ResolvedTarget, reasons_of_lock};
pub use builds::{LockedBuilds, lock_builds};
pub use error::{FailureKind, InputError, ProjectError};
pub use inputs::{Place, ProjectInputs, Surroundings};
pub use old_lock::OldLock;
pub use pylock::{pylock, pylock_as_requirements};

use crate::realize::run;
use crate::session::Session;

/// A version that was chosen before and stays unless something speaks against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// The project.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// Its hashes, as a lock has them; empty for what is installed.
    pub hashes: Vec<Sha256Digest>,
}

/// Which preferences are forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// None.
    #[default]
    Nothing,
    /// Those of these projects.
    Packages(Vec<PackageName>),
    /// All.
    All,
}

impl Upgrade {
    /// Whether a newer version of `name` is wanted.
    #[must_use]
    pub fn concerns(&self, name: &PackageName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Packages(names) => names.contains(name),
            Self::All => true,
        }
    }
}

/// A day or moment: only what was published before its end may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day(String);

impl Day {
    /// As the resolver takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Day {
    type Err = ParseDayError;

    /// `2024-12-31` or `2024-12-31T23:59:59Z`: nothing whose meaning depends on today.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDayError(text.chars().filter(|part| !part.is_control()).take(60).collect());
        let (day, time) = text.split_at_checked(10).ok_or_else(error)?;
        let is_day = day.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        let is_part = |byte: u8| byte.is_ascii_digit() || b":.+-".contains(&byte);
        let is_time = match time.as_bytes() {
            [] => true,
            [b'T' | b't', middle @ .., b'Z' | b'z'] => middle.len() >= 5 && middle.iter().all(|byte| is_part(*byte)),
            [b'T' | b't', rest @ ..] => rest.len() >= 11 && rest.iter().all(|byte| is_part(*byte)),
            _ => false,
        };
        if is_day && is_time { Ok(Self(text.to_owned())) } else { Err(error()) }
    }
}

/// Why a text is no [`Day`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no day such as `2024-12-31`, and no time such as `2024-12-31T23:59:59Z`")]
pub struct ParseDayError(String);

/// Where candidates come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Places {
    /// The session's indexes and pages. If it is offline, those of this machine and what the store keeps.
    #[default]
    Session,
    /// The session's pages and directories of files, and no index.
    WithoutIndexes,
    /// The wheels and sdists that the store keeps, and nothing else: no index, no page, no network.
    StoreOnly,
}

/// What is to be resolved.
#[derive(Debug, Clone, Default)]
pub struct ProjectRequest {
    /// What is asked for. The session's index settings and formats should have those of [`ProjectInputs::options`].
    pub inputs: ProjectInputs,
    /// Versions chosen before: of an old lock, or installed.
    pub preferences: Vec<Preference>,
    /// Which of these are forgotten.
    pub upgrade: Upgrade,
    /// Whether prereleases may be chosen where a final release would do.
    pub prereleases: bool,
    /// Whether what the requirements require is left out.
    pub no_deps: bool,
    /// Only what was published until then.
    pub exclude_newer: Option<Day>,
    /// Whether the solution is for every platform and Python from the interpreter's on, with markers.
    pub universal: bool,
    /// Where candidates come from.
    pub places: Places,
}

/// A solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Its packages, sorted as the resolver sorts them: by name, unnamed places first.
    pub pins: Vec<ResolvedPin>,
    /// Options of the inputs for the lock: indexes without credentials, formats.
    pub option_lines: Vec<String>,
    /// What the resolver warned of: withdrawn releases, missing extras.
    pub warnings: Vec<String>,
    /// Releases for which it saw no wheel that fits, or of which it did not tell.
    pub(crate) may_need_build: Vec<PackageName>,
}

/// Resolves `request` for the session's interpreter. Nothing is changed but what is remembered in the store.
///
/// # Errors
/// See [`ProjectError`].
pub fn resolve_project(session: &Arc<Session>, request: &ProjectRequest) -> Result<Resolution, ProjectError> {
    let result = run(session, solve::solve(session, request))?;
    if session.cancel.is_interrupted() {
        return Err(ProjectError::Run(crate::realize::error::RealizeError::Interrupted));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_do_not_depend_on_today() {
        for text in ["2024-12-31", "2024-12-31T23:59:59Z", "2024-12-31T23:59:59.5+02:00"] {
            assert_eq!(text.parse::<Day>().expect(text).as_str(), text);
        }
        for text in ["", "7 days", "2024-12", "2024-12-31 x", "P3D", "2024-12-31T", "yesterday…"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
