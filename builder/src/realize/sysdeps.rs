//! What the builds of a lock need of the system, without building: from what earlier builds read, what projects say,
//! what users say, and what Debian's own sources of them need; or with a trial build of each.

use std::collections::BTreeSet;
use std::sync::Arc;

use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::name::{PackageName, PackageVersion};

use super::engine::{Engine, Purpose};
use super::error::{ObtainError, RealizeError};
use super::pin::{ChosenKind, Pin, Selection};
use super::{Plan, obtain_all, run};
use crate::build::{external_of, index_events, remembered_recipe};
use crate::lock::LoadedLock;
use crate::session::Session;
use crate::system_packages::index::{Ready, SystemIndex};
use crate::system_packages::{Dependencies, External, Installed};

/// Why a package is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The package.
    pub package: String,
    /// How that is known, as the end of a sentence: `an earlier build read it`.
    pub because: String,
}

/// What one build needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildNeeds {
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// What it needs, sorted by package.
    pub needs: Vec<Need>,
    /// What it can use and does without as well, sorted by package.
    pub optional: Vec<Need>,
    /// Entries of its `[external]` table that nobody knows.
    pub unknown_entries: Vec<String>,
    /// Whether nothing at all is known of it.
    pub is_unknown: bool,
    /// Why its trial build failed, where no package helps.
    pub failure: Option<String>,
}

/// What all builds of a lock need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemNeeds {
    /// The builds, in the order of the lock.
    pub builds: Vec<BuildNeeds>,
    /// All packages, sorted.
    pub packages: Vec<String>,
    /// Those of them that are not installed.
    pub missing: Vec<String>,
}

/// Says what the builds of `lock` need. Sdists are fetched for what they say themselves; with `trial`, what is not in
/// the store is built as well, as far as that goes without installing anything.
///
/// # Errors
/// See [`RealizeError`]; failed trial builds are no error.
pub fn sysdeps(session: &Arc<Session>, lock: &LoadedLock, trial: bool) -> Result<SystemNeeds, RealizeError> {
    let plan = Plan::make(session, lock)?;
    let failed = if trial { try_all(session, lock, &plan)? } else { Vec::new() };
    let engine = Engine::new(session, lock.build_locks.clone(), Purpose::Fetch);
    let sources = run(session, sources(&engine, &plan))??;
    let tell = |ready: Ready<'_>| index_events(&ready).into_iter().for_each(|event| session.report(event));
    let index = match session.explainer.index_of(&session.store, &tell) {
        Some(index) => index,
        None => return Ok(SystemNeeds::default()),
    };
    let facts = Facts { session, index: &index, dependencies: Dependencies::of_this_machine() };
    let mut builds = Vec::new();
    for (pin, selection, external) in sources {
        let locked = engine.build_lock(&pin);
        let recipe = remembered_recipe(session, (&selection.sha256, &pin.config_settings), locked.as_deref())?;
        let read = match recipe {
            Some(recipe) => facts.read_by(&recipe.id())?,
            None => None,
        };
        builds.push(facts.of_build(&pin, (read, &external), &failed));
    }
    let installed = Installed::of_this_machine().unwrap_or_default();
    let all: BTreeSet<String> =
        builds.iter().flat_map(|build| build.needs.iter().map(|need| need.package.clone())).collect();
    let missing = all.iter().filter(|package| installed.name_of(package).is_none()).cloned().collect();
    Ok(SystemNeeds { builds, packages: all.into_iter().collect(), missing })
}

/// The sdists of the plan, each with what it says itself.
async fn sources(engine: &Arc<Engine>, plan: &Plan) -> Result<Vec<(Pin, Selection, External)>, RealizeError> {
    let mut found = Vec::new();
    let failed = |error: ObtainError| RealizeError::Packages {
        packages: plan.packages.len(),
        failures: vec![error],
        disk: super::error::DiskNeed::of(engine),
    };
    for package in &plan.packages {
        let key = package.pin.key(engine.session.interpreter_identity());
        let (selection, published) = engine.select(&package.pin, &key).await.map_err(failed)?;
        if selection.kind != ChosenKind::Sdist {
            continue;
        }
        let external = match engine.source(&package.pin, &selection, published).await {
            Ok((source, _)) => external_of(engine, &package.pin, (&selection, &source)).await.map_err(failed)?,
            // What is in no place that may be asked says nothing.
            Err(ObtainError::Offline { .. }) => External::default(),
            Err(error) => return Err(failed(error)),
        };
        found.push((package.pin.clone(), selection, external));
    }
    Ok(found)
}

/// Builds what is not in the store; the failures that are known to be of builds.
fn try_all(session: &Arc<Session>, lock: &LoadedLock, plan: &Plan) -> Result<Vec<ObtainError>, RealizeError> {
    let engine = Engine::new(session, lock.build_locks.clone(), Purpose::Build);
    match obtain_all(&engine, plan) {
        Ok(_) => Ok(Vec::new()),
        Err(RealizeError::Packages { failures, .. })
            if failures.iter().all(|failure| matches!(failure, ObtainError::Build(_)) || failure.is_cancelled()) =>
        {
            Ok(failures)
        }
        Err(error) => Err(error),
    }
}

struct Facts<'a> {
    session: &'a Session,
    index: &'a SystemIndex,
    dependencies: Dependencies,
}

impl Facts<'_> {
    /// What the newest build of a recipe read of the system; `None` if that is not known.
    fn read_by(&self, recipe: &pip_accel_schema::recipe::RecipeId) -> Result<Option<BTreeSet<String>>, RealizeError> {
        let objects = self.session.lease.take_realisations(recipe)?;
        let read = objects.into_iter().find_map(|object| match object.provenance {
            Provenance::Build { read, .. } => read,
            _ => None,
        });
        Ok(read.map(|read| self.dependencies.asked_for(read.packages.iter().map(|package| package.name.as_str()))))
    }

    fn of_build(
        &self,
        pin: &Pin,
        (read, external): (Option<BTreeSet<String>>, &External),
        failed: &[ObtainError],
    ) -> BuildNeeds {
        let mut needs: Vec<Need> = Vec::new();
        let mut add = |package: &str, because: String| {
            if !needs.iter().any(|known| known.package == package) {
                needs.push(Need { package: package.to_owned(), because });
            }
        };
        let mut failure = None;
        for build in failed.iter().filter_map(|error| match error {
            ObtainError::Build(build) if build.name == pin.name => Some(build),
            _ => None,
        }) {
            for package in build.missing_packages() {
                add(package, "a trial build lacked it".to_owned());
            }
            if build.missing_packages().is_empty() {
                failure = Some(build.reason.clone());
            }
        }
        for package in self.session.options.explain.rules.packages_of(pin.name.as_str()) {
            add(package, "your own mappings say so".to_owned());
        }
        let (named, unknown_entries) = external.packages(self.index);
        for (package, entry) in named {
            add(&package, format!("the project says so: {entry}"));
        }
        let is_read = read.is_some();
        for package in read.into_iter().flatten() {
            add(&package, "an earlier build read it".to_owned());
        }
        let prior = self.index.python_source(pin.name.as_str());
        // Debian builds all options of a project: where a build was seen, what it read says more.
        if !is_read && external.is_empty() {
            for package in &prior {
                add(package, "Debian's own source of it needs it".to_owned());
            }
            for need in to_compile(&prior, self.session.python.is_debian) {
                add(&need.package, need.because);
            }
        }
        let is_unknown = needs.is_empty() && !is_read && external.is_empty();
        needs.sort_by(|one, other| one.package.cmp(&other.package));
        let optional = external.optional_packages(self.index).into_iter();
        let optional = optional.filter(|(package, _)| !needs.iter().any(|need| need.package == *package));
        let mut optional: Vec<Need> = optional
            .map(|(package, optional)| {
                let because = format!("the project says so, for `{}`: {}", optional.extra, optional.entry);
                Need { package, because }
            })
            .collect();
        optional.sort_by(|one, other| one.package.cmp(&other.package));
        let (name, version) = (pin.name.clone(), pin.label_version());
        BuildNeeds { name, version, needs, optional, unknown_entries, is_unknown, failure }
    }
}

/// What compiling against the packages of a Debian source takes: no such source names a compiler, which all of them have, and
/// the index keeps nothing of Python.
fn to_compile(prior: &[&str], is_debian_python: bool) -> Vec<Need> {
    let Some(library) = prior.iter().find(|package| package.ends_with("-dev")) else { return Vec::new() };
    let because = format!("what is compiled against {library} needs it");
    let packages = ["build-essential"].into_iter().chain(is_debian_python.then_some("python3-dev"));
    packages.map(|package| Need { package: package.to_owned(), because: because.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::to_compile;

    #[test]
    fn what_is_compiled_needs_a_compiler() {
        let of = |prior: &[&str], is_debian| {
            to_compile(prior, is_debian).into_iter().map(|need| need.package).collect::<Vec<_>>()
        };
        assert_eq!(of(&["libxml2-dev", "libxslt1-dev"], true), ["build-essential", "python3-dev"]);
        assert_eq!(of(&["libxml2-dev"], false), ["build-essential"]);
        assert!(of(&["swig"], true).is_empty() && of(&[], true).is_empty());
    }
}
