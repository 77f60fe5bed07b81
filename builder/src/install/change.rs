//! What an installation changes: the packages of a choice that are not there yet, or not as they should be.

use std::collections::BTreeMap;

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::ObjectId;

use super::choose::Choice;
use super::error::InstallError;
use super::installed::{InstalledPackage, InstalledSet};
use crate::checkout::{CheckoutPlace, clone_editables};
use crate::python::requirement::is_same;
use crate::realize::error::RealizeError;
use crate::realize::pin::Pin;
use crate::realize::{Plan, PlannedPackage};
use crate::session::Session;

/// Which packages are installed again although they are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Again {
    /// Those that are of a local project or sdist, which may have changed.
    #[default]
    IfLocal,
    /// All.
    All,
}

/// One package that is installed.
#[derive(Debug, Clone)]
pub struct ChangedPackage {
    /// What is installed.
    pub planned: PlannedPackage,
    /// Whether the user named it.
    pub requested: bool,
    /// The version that is installed now, if one is.
    pub before: Option<PackageVersion>,
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Packages to install, in the order of the choice.
    pub packages: Vec<ChangedPackage>,
    /// Packages of the choice that are there.
    pub satisfied: Vec<(PackageName, PackageVersion)>,
}

impl Change {
    /// Compares a choice with what is installed; `linked` are the objects of the environment's own packages.
    ///
    /// # Errors
    /// When the choice does not fit the interpreter, or the store fails.
    pub fn plan(
        session: &Session,
        choice: &Choice,
        (installed, again): (&InstalledSet, Again),
        linked: &BTreeMap<PackageName, ObjectId>,
    ) -> Result<Self, InstallError> {
        let selected = choice.lock.select(&session.python.interpreter.markers).map_err(RealizeError::Lock)?;
        clone_editables(session, &selected)?;
        let plan = Plan::make(session, &choice.lock)?;
        let mut change = Self::default();
        for planned in plan.packages {
            let present = installed.get(&planned.pin.name);
            // What is linked to the very tree that is wanted is what it should be, wherever it comes from.
            let is_linked = planned.object.as_ref().is_some_and(|object| {
                present.and_then(|present| linked.get(&present.name)).is_some_and(|linked| *linked == object.id)
            });
            match present.filter(|present| again == Again::IfLocal && (is_linked || stays(&planned.pin, present))) {
                Some(present) => change.satisfied.push((present.name.clone(), present.version.clone())),
                None => {
                    // What has no name of its own was named by its place.
                    let is_unnamed = planned.pin.checkout.as_ref().is_some_and(|checkout| !checkout.is_named);
                    let requested = is_unnamed || choice.requested.contains(&planned.pin.name);
                    let before = present.map(|present| present.version.clone());
                    change.packages.push(ChangedPackage { planned, requested, before });
                }
            }
        }
        Ok(change)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }
}

/// Whether what is installed is what the pin means, as pip sees it: the same version, not used in place, and not from
/// local sources, which may have changed.
fn stays(pin: &Pin, installed: &InstalledPackage) -> bool {
    match pin.checkout.as_ref().map(|checkout| &checkout.place) {
        Some(CheckoutPlace::Git(commit)) => return is_of_commit(installed, commit.commit.as_str()),
        Some(CheckoutPlace::Directory(_) | CheckoutPlace::Editable(_)) => return false,
        None => {}
    }
    let is_local_source =
        pin.direct.as_ref().is_some_and(|direct| direct.url.is_file() && !direct.file_name.ends_with(".whl"));
    let is_same = pin.version.as_ref().is_some_and(|version| is_same(version, &installed.version));
    is_same && !is_local_source && !installed.is_editable()
}

/// Whether `direct_url.json` names this commit.
fn is_of_commit(installed: &InstalledPackage, commit: &str) -> bool {
    let url = installed.direct_url.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    url.is_some_and(|url| url["vcs_info"]["commit_id"].as_str() == Some(commit)) && !installed.is_editable()
}
