//! Build requirements that were resolved here and that the lock does not fix, as the lines that fix them.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use pip_accel_schema::name::{PackageName, PackageVersion};
use serde::Serialize;

use super::inputs::{LockedBuildRequirement, build_lock_of_pin, remembered_requirements};
use crate::checkout::fixed_selection;
use crate::lock::{LoadedLock, LockedBuild};
use crate::realize::error::RealizeError;
use crate::realize::pin::{ChosenKind, Pin};
use crate::realize::{Plan, PlannedPackage, remembered_selection};
use crate::session::Session;

/// A build whose requirements the lock does not fix; shown as the lines that do, each with its line end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnlockedBuild {
    /// The project that is built.
    pub name: PackageName,
    /// Its version.
    #[serde(rename = "package_version")]
    pub version: PackageVersion,
    /// What it was resolved to here, sorted.
    pub requirements: Vec<LockedBuildRequirement>,
}

impl fmt::Display for UnlockedBuild {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "#: build {}=={}", self.name, self.version)?;
        for requirement in &self.requirements {
            write!(formatter, "#:   {}=={}", requirement.name, requirement.version)?;
            for hash in &requirement.hashes {
                write!(formatter, " \\\n#:       --hash=sha256:{hash}")?;
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

/// What a lock leaves open about its builds.
#[derive(Debug, Clone, Default)]
pub struct UnlockedBuilds {
    /// Builds with requirements that were resolved here: those of the lock in its order, then those that they need.
    pub resolved: Vec<UnlockedBuild>,
    /// Packages about which nothing was looked up or resolved here yet.
    pub unknown: Vec<String>,
}

/// The builds of `lock`, and those that they need in turn, whose requirements it does not fix. Builds that require
/// nothing are left out. Nothing is fetched, resolved or built.
///
/// # Errors
/// When the lock does not fit the interpreter, or the store fails.
pub fn unlocked_builds(session: &Session, lock: &LoadedLock) -> Result<UnlockedBuilds, RealizeError> {
    let plan = Plan::make(session, lock)?;
    // What a checkout's version is, its build told.
    let version = |package: &PlannedPackage| {
        let told = package.object.as_ref().filter(|_| package.pin.checkout.is_some());
        package.pin.version.clone().or_else(|| told.map(|object| object.version.clone()))
    };
    let mut waiting: VecDeque<(Pin, Option<PackageVersion>)> =
        plan.packages.into_iter().map(|package| (package.pin.clone(), version(&package))).collect();
    let mut seen = BTreeSet::new();
    let mut found = UnlockedBuilds::default();
    while let Some((pin, version)) = waiting.pop_front() {
        let key = pin.key(session.interpreter_identity());
        if !seen.insert(key) {
            continue;
        }
        let selection = match fixed_selection(&pin) {
            Some(selection) => Some(selection),
            None => remembered_selection(session, &key)?,
        };
        let Some(selection) = selection else {
            found.unknown.push(pin.to_string());
            continue;
        };
        if selection.kind == ChosenKind::Wheel {
            continue;
        }
        let requirements = match locked(session, &lock.build_locks, &pin) {
            Some(requirements) => requirements,
            None => match remembered_requirements(session, (&selection, &pin.config_settings))? {
                Some(requirements) => {
                    found.add((&pin, version.as_ref()), &requirements);
                    requirements
                }
                None => {
                    found.unknown.push(pin.to_string());
                    continue;
                }
            },
        };
        waiting.extend(requirements.iter().map(LockedBuildRequirement::pin).map(|pin| {
            let version = pin.version.clone();
            (pin, version)
        }));
    }
    Ok(found)
}

fn locked(session: &Session, builds: &[LockedBuild], pin: &Pin) -> Option<Vec<LockedBuildRequirement>> {
    build_lock_of_pin(builds, pin, &session.python.interpreter.markers)
}

impl UnlockedBuilds {
    fn add(&mut self, (pin, version): (&Pin, Option<&PackageVersion>), requirements: &[LockedBuildRequirement]) {
        // A direct sdist whose version only its build tells can't be named in a lock's `#: build` line.
        let Some(version) = version else { return };
        let is_known = |build: &UnlockedBuild| build.name == pin.name && build.version == *version;
        if !requirements.is_empty() && !self.resolved.iter().any(is_known) {
            let requirements = requirements.to_vec();
            self.resolved.push(UnlockedBuild { name: pin.name.clone(), version: version.clone(), requirements });
        }
    }
}

#[cfg(test)]
mod tests {
    use pip_accel_schema::lock_file::{LockItem, parse};

    use super::*;

    #[test]
    fn the_lines_are_what_a_lock_reads() {
        let digest = |byte: &str| byte.repeat(32).parse().expect("a digest");
        let requirement = |name: &str, hashes| LockedBuildRequirement {
            name: name.parse().expect("a name"),
            version: "3.0".parse().expect("a version"),
            hashes,
        };
        let build = UnlockedBuild {
            name: "lxml".parse().expect("a name"),
            version: "5.3.0".parse().expect("a version"),
            requirements: vec![
                requirement("cython", vec![digest("aa"), digest("bb")]),
                requirement("setuptools", vec![digest("cc")]),
            ],
        };
        let text = format!("x==1 --hash=sha256:{}\n\n{build}{build}", "aa".repeat(32));
        let items = parse(&text).expect("a lock");
        let [LockItem::Requirement(_), LockItem::Build(first), LockItem::Build(_)] = items.as_slice() else {
            panic!("{items:?}")
        };
        assert_eq!((first.name.as_str(), first.version.as_str()), ("lxml", "5.3.0"));
        let hashes: Vec<_> = first.requirements.iter().map(|requirement| requirement.hashes.clone()).collect();
        assert_eq!(hashes, build.requirements.iter().map(|r| r.hashes.clone()).collect::<Vec<_>>());
        assert!(text.lines().skip(2).all(|line| line.starts_with('#')), "{text}");
    }
}
