//! Explaining the failed builds of a run: the index is opened, or made, when the first of them asks for it.

use std::sync::{Arc, Mutex, PoisonError};

use pip_accel_schema::system_inputs::Without;
use pip_accel_store::Store;

use super::decide::{Finding, Input, asks_index, diagnose};
use super::external::External;
use super::index::{Ready, SystemIndex, ready};
use super::install::is_package_name;
use super::installed::Installed;
use super::own::OwnRules;
use super::soft::{self, Built};
use super::trace;
use super::undeclared::undeclared;
use crate::sandbox::MissedPath;

/// What builds are explained with.
#[derive(Debug, Clone, Default)]
pub struct ExplainOptions {
    /// What users say themselves.
    pub rules: OwnRules,
    /// Whether the index may be made when there is none or it is old: the network is needed for that.
    pub may_make_index: bool,
}

/// A failed build.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    /// The project, as its normalised name.
    pub project: &'a str,
    /// What it printed.
    pub log: &'a [u8],
    /// Paths that it looked for in vain; empty if nobody watched.
    pub missed: &'a [MissedPath],
    /// What the project says that it needs.
    pub external: &'a External,
    /// Whether the failure is worth making an index for.
    pub is_final: bool,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What is missing.
    pub finding: Finding,
    /// The Python project that the build needs and does not declare.
    pub undeclared: Option<String>,
}

/// Explains the builds of a run; threads may share it.
#[derive(Debug)]
pub struct Explainer {
    options: ExplainOptions,
    index: Mutex<Option<Arc<SystemIndex>>>,
}

impl Explainer {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(options: ExplainOptions) -> Self {
        Self { options, index: Mutex::new(None) }
    }

    /// Says what a build lacks. This may make the index first, which takes half a minute and is told to `tell`. `None`
    /// only when not even an empty index can be had.
    pub fn explain(&self, store: &Store, failed: Failed<'_>, tell: &dyn Fn(Ready<'_>)) -> Option<Explanation> {
        let index = self.index(store, &failed, tell)?;
        let installed = Installed::of_this_machine().unwrap_or_default();
        let mut finding = match self.options.rules.finding(failed.log, &installed) {
            Some(finding) => finding,
            None => {
                let declared = failed.external.packages(&index).0.into_iter().map(|(package, _)| package);
                let declared: Vec<String> = declared.collect();
                let (log, missed) = (failed.log, failed.missed);
                let input = Input { log, missed, declared: &declared, index: &index, installed: &installed };
                diagnose(&input).into_iter().next()?
            }
        };
        self.add_mapped(&mut finding, failed.project, (&index, &installed));
        // Whatever list a name comes from: apt takes it from a command line.
        finding.packages.retain(|package| is_package_name(package));
        let undeclared = undeclared(&finding);
        Some(Explanation { finding, undeclared })
    }

    /// The index, made first if it is needed and allowed.
    pub(crate) fn index_of(&self, store: &Store, tell: &dyn Fn(Ready<'_>)) -> Option<Arc<SystemIndex>> {
        // Held while the index is made: others that fail meanwhile need it as well.
        let mut known = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let own = self.options.rules.names().clone();
            *known = Some(Arc::new(ready(store, self.options.may_make_index, tell).ok()?.with_own(own)));
        }
        known.clone()
    }

    /// What a build that went well did without, by the index as it is: none is made for that.
    pub(crate) fn without(&self, store: &Store, built: &Built<'_>) -> Vec<Without> {
        let known = self.index.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let index = match known {
            Some(index) => index,
            None => match ready(store, false, &|_| ()) {
                Ok(index) => Arc::new(index),
                Err(_) => return Vec::new(),
            },
        };
        soft::without(built, &index, &Installed::of_this_machine().unwrap_or_default())
    }

    /// Adds what users say that the project needs and that is not installed.
    fn add_mapped(&self, finding: &mut Finding, project: &str, (index, installed): (&SystemIndex, &Installed)) {
        let wanted = self.options.rules.packages_of(project);
        // Apt refuses all of a list with one unknown name in it; old files name packages that are gone.
        let is_there = |package: &&String| index.is_empty() || index.package(package).is_some();
        let missing = wanted.iter().filter(|package| installed.name_of(package).is_none()).filter(is_there);
        let missing: Vec<String> = missing.filter(|package| !finding.packages.contains(*package)).cloned().collect();
        if missing.is_empty() {
            return;
        }
        if finding.packages.is_empty() {
            finding.reason = format!("{project} needs {}, say your own mappings", missing.join(", "));
        }
        finding.packages.extend(missing);
    }

    fn index(&self, store: &Store, failed: &Failed<'_>, tell: &dyn Fn(Ready<'_>)) -> Option<Arc<SystemIndex>> {
        let known = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*known {
            return Some(Arc::clone(index));
        }
        let is_worth_it = failed.is_final && (asks_index(failed.log) || trace::asks_index(failed.missed));
        let own = self.options.rules.names().clone();
        if !is_worth_it {
            let index = ready(store, false, &|_| ()).ok()?;
            return Some(Arc::new(index.with_own(own)));
        }
        drop((known, own));
        self.index_of(store, tell)
    }
}
