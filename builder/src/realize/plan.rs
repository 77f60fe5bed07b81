//! What a lock means for one interpreter, and which of it the store has: no network, no thread.

use std::sync::Arc;

use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Object, StoreError};

use super::error::RealizeError;
use super::pin::{ChosenKind, DirectFile, Pin, Selection};
use super::select::remembered;
use crate::build::{build_lock_of_pin, realised, remembered_recipe};
use crate::checkout::{Survey, fixed_selection};
use crate::index::{FileOrigin, PublishedFile, SafeUrl};
use crate::lock::{FilePlace, LoadedLock, LockedBuild, LockedFile, LockedRequirement, LockedTarget};
use crate::session::Session;

/// One package of a plan.
#[derive(Debug, Clone)]
pub struct PlannedPackage {
    /// What is wanted.
    pub pin: Pin,
    /// The file it means, where that is remembered.
    pub selection: Option<Selection>,
    /// Its tree, where the store has it.
    pub object: Option<Object>,
}

/// The packages of an environment in the order of the lock.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The packages.
    pub packages: Vec<PlannedPackage>,
}

impl Plan {
    /// How many trees the store has.
    #[must_use]
    pub fn in_store(&self) -> usize {
        self.packages.iter().filter(|package| package.object.is_some()).count()
    }

    pub(crate) fn make(session: &Session, lock: &LoadedLock) -> Result<Self, RealizeError> {
        let selected = lock.select(&session.python.interpreter.markers).map_err(RealizeError::Lock)?;
        let survey = Survey::of(session, &selected)?;
        Self::of(session, (selected, &survey), &lock.build_locks)
    }

    /// The plan of what a lock selects, after a look at its directories.
    pub(super) fn of(
        session: &Session,
        (selected, survey): (Vec<LockedRequirement>, &Survey),
        builds: &[LockedBuild],
    ) -> Result<Self, RealizeError> {
        let mut packages = Vec::with_capacity(selected.len());
        for requirement in selected {
            packages.push(PlannedPackage { pin: pin_of(session, requirement, survey)?, selection: None, object: None });
        }
        let mut plan = Self { packages };
        plan.look_up(session, builds)?;
        Ok(plan)
    }

    /// Finds the trees: wheels by their computed ids in one transaction, builds by their remembered recipes.
    pub(super) fn look_up(&mut self, session: &Session, builds: &[LockedBuild]) -> Result<(), StoreError> {
        let tag = &session.python.interpreter.bytecode_tag;
        let mut wheels: Vec<(usize, ObjectId)> = Vec::with_capacity(self.packages.len());
        for (position, package) in self.packages.iter_mut().enumerate() {
            let key = package.pin.key(session.interpreter_identity());
            package.selection = match fixed_selection(&package.pin) {
                Some(selection) => Some(selection),
                None => remembered(session, &key)?,
            };
            match &package.selection {
                Some(selection) if selection.kind == ChosenKind::Wheel => {
                    wheels.push((position, ObjectId::of_wheel(&selection.sha256, tag)));
                }
                Some(selection) => {
                    let markers = &session.python.interpreter.markers;
                    let locked = build_lock_of_pin(builds, &package.pin, markers);
                    if let Some(recipe) = remembered_recipe(
                        session,
                        (&selection.sha256, &package.pin.config_settings),
                        locked.as_deref(),
                    )? {
                        package.object = realised(session, &recipe)?.filter(|object| package.pin.is_met_by(object));
                    }
                }
                None => {}
            }
        }
        let ids: Vec<ObjectId> = wheels.iter().map(|(_, id)| *id).collect();
        for ((position, _), object) in wheels.iter().zip(session.lease.take(&ids)?) {
            // A hash alone does not make one project another: then the engine looks closer and says so.
            let package = &mut self.packages[*position];
            package.object = object.filter(|object| package.pin.is_met_by(object));
        }
        Ok(())
    }
}

fn pin_of(session: &Session, requirement: LockedRequirement, survey: &Survey) -> Result<Pin, RealizeError> {
    let place = requirement.to_string();
    let unusable = |reason: &'static str| RealizeError::Place { place: place.clone(), reason };
    let checkout = survey.checkout(&requirement);
    let (name, mut hashes) = (requirement.name, requirement.hashes);
    let url = match &requirement.target {
        LockedTarget::Pin(_) | LockedTarget::Git(_) | LockedTarget::Directory(_) | LockedTarget::Editable(_) => None,
        LockedTarget::Url(url) => Some(url::Url::parse(url.expose()).map_err(|_| unusable("is not a URL"))?),
        LockedTarget::LocalFile(path) => {
            Some(url::Url::from_file_path(path).map_err(|()| unusable("is not an absolute path"))?)
        }
    };
    let direct = match url {
        None => None,
        Some(url) => {
            let url = SafeUrl::from(url);
            let file_name = url.last_segment().ok_or_else(|| unusable("names no file"))?;
            Some(DirectFile { url, file_name })
        }
    };
    let name = match &checkout {
        Some(checkout) => {
            hashes.extend(checkout.digest());
            name.or_else(|| checkout.stand_in_name())
        }
        None => name,
    };
    let name = name.ok_or_else(|| unusable("does not tell its project; write `NAME @ ` before it"))?;
    let formats = session.options.formats.allowed(&name);
    let files = requirement.files.iter().map(|file| published(file, &unusable)).collect::<Result<Vec<_>, _>>()?;
    Ok(Pin {
        name,
        version: requirement.version,
        hashes,
        direct,
        files: Arc::new(files),
        checkout,
        formats,
        config_settings: requirement.config_settings,
    })
}

fn published(
    file: &LockedFile,
    unusable: &dyn Fn(&'static str) -> RealizeError,
) -> Result<PublishedFile, RealizeError> {
    let url = match &file.place {
        FilePlace::Url(url) => url::Url::parse(url.expose()).map_err(|_| unusable("has a file at what is no URL"))?,
        FilePlace::Path(path) => {
            url::Url::from_file_path(path).map_err(|()| unusable("has a file at no absolute path"))?
        }
    };
    Ok(PublishedFile {
        file_name: file.file_name.clone(),
        url: SafeUrl::from(url),
        sha256: Some(file.sha256),
        size: file.size,
        requires_python: None,
        yanked: None,
        upload_time: file.upload_time.clone(),
        origin: FileOrigin::Direct,
    })
}
