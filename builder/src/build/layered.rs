//! Unpacked packages of the system in a build: how it sees them, and what its result keeps of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::name::PackageVersion;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::Object;

use super::confinement::Confinement;
use super::failure::BuildStatus;
use super::place::BuildPlace;
use crate::event::Event;
use crate::layers::{Layers, RelocateError, Sysroot, of_build, relocated, shadowing};
use crate::realize::engine::{Engine, joined, store_error};
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::sandbox::Overlay;
use crate::session::SandboxChoice;

/// How a build sees its layers.
#[derive(Debug)]
enum Seen {
    /// There are none.
    Nothing,
    /// Laid over `/usr`.
    Overlay(Overlay),
    /// As a folder that variables lead to.
    Sysroot(Sysroot),
}

/// The layers of a build.
#[derive(Debug)]
pub(super) struct Layered {
    layers: Layers,
    seen: Seen,
}

impl Layered {
    /// The layers that `source` is built with, below the build's own folder `scratch`.
    pub(super) async fn of(
        engine: &Arc<Engine>,
        pin: &Pin,
        (source, version): (&Sha256Digest, &PackageVersion),
        scratch: &Path,
    ) -> Result<Self, ObtainError> {
        let layers = of_build(engine, pin, source, version).await?;
        layers.objects().iter().for_each(|layer| engine.touch(layer.id));
        if layers.is_empty() {
            return Ok(Self { layers, seen: Seen::Nothing });
        }
        let session = &engine.session;
        let work = scratch.join("overlay");
        std::fs::create_dir_all(&work).map_err(|source| ObtainError::Scratch {
            pin: pin.to_string(),
            path: work.clone(),
            source: Arc::new(source),
        })?;
        let left_out = left_out(engine, pin, &layers).await?;
        let overlay = Overlay { layers: layers.usr_folders(&left_out), work };
        if overlay.layers.is_empty() {
            return Ok(Self { layers, seen: Seen::Nothing });
        }
        let confinement = Confinement::of(session).await;
        let confinement =
            confinement.map_err(|source| ObtainError::NoSandbox { pin: pin.to_string(), source: Arc::new(source) })?;
        let reason = match confinement.can_overlay(&overlay).await {
            Ok(()) => return Ok(Self { layers, seen: Seen::Overlay(overlay) }),
            Err(reason) => reason,
        };
        session.report(Event::Warning(format!(
            "{pin}: packages can't be laid over /usr ({reason}); its build is led to them by variables, which some builds ignore"
        )));
        let folder = scratch.join("system");
        let seen = match session.options.sandbox {
            SandboxChoice::Bubblewrap => PathBuf::from("/pip-accel/system"),
            SandboxChoice::None => folder.clone(),
        };
        let (working, copied) = (Arc::clone(session), layers.clone());
        let made = tokio::task::spawn_blocking(move || Ok(Sysroot::make(&working.store, &copied, &folder, &seen)));
        let sysroot = joined(made, &pin.to_string()).await?;
        let sysroot =
            sysroot.map_err(|source| ObtainError::Layers { pin: pin.to_string(), source: Arc::new(source) })?;
        Ok(Self { layers, seen: Seen::Sysroot(sysroot) })
    }

    pub(super) const fn layers(&self) -> &Layers {
        &self.layers
    }

    pub(super) fn overlay(&self) -> Option<Overlay> {
        match &self.seen {
            Seen::Overlay(overlay) => Some(overlay.clone()),
            Seen::Nothing | Seen::Sysroot(_) => None,
        }
    }

    pub(super) const fn sysroot(&self) -> Option<&Sysroot> {
        match &self.seen {
            Seen::Sysroot(sysroot) => Some(sysroot),
            Seen::Nothing | Seen::Overlay(_) => None,
        }
    }
}

/// Layers that must not be seen by what root runs in a sandbox.
async fn left_out(engine: &Arc<Engine>, pin: &Pin, layers: &Layers) -> Result<Vec<Object>, ObtainError> {
    let session = &engine.session;
    if session.options.sandbox == SandboxChoice::None || !nix::unistd::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let (working, all) = (Arc::clone(session), layers.objects().to_vec());
    let work = tokio::task::spawn_blocking(move || Ok(shadowing(&working.store, &all)));
    let found = joined(work, &pin.to_string()).await?.map_err(store_error(pin))?;
    if !found.is_empty() {
        let names: Vec<&str> = found.iter().map(|layer| layer.name.as_str()).collect();
        session.report(Event::Warning(format!(
            "{pin}: {} would replace what root runs in a sandbox, and is left out; build as an ordinary user to have it",
            names.join(", ")
        )));
    }
    Ok(found)
}

impl BuildPlace<'_> {
    /// The wheel with ELF files that find the libraries of the layers, if they need some, and the layers that it needs when it
    /// runs.
    pub(super) async fn with_libraries(&self, wheel: PathBuf) -> Result<(PathBuf, Vec<ObjectId>), ObtainError> {
        if self.layered.layers().is_empty() {
            return Ok((wheel, Vec::new()));
        }
        let session = Arc::clone(&self.engine.session);
        let layers = self.layered.layers().clone();
        let folder = self.scratch.path().join("relocated");
        self.create_dir(&folder)?;
        let to = folder.join(wheel.file_name().unwrap_or_default());
        let (from, target) = (wheel.clone(), to.clone());
        let work = tokio::task::spawn_blocking(move || Ok(relocated(&session.store, &layers, (&from, &target))));
        let done = joined(work, &self.pin.to_string()).await?.map_err(|error| match error {
            RelocateError::Store(source) => ObtainError::Store { pin: self.pin.to_string(), source: Arc::new(source) },
            RelocateError::Write(source) => self.io_error(&to)(source),
            error => {
                let reason = crate::event::with_causes(&error);
                self.failure(BuildStatus::BadResult, reason)
            }
        })?;
        if done.layers.is_empty() {
            return Ok((wheel, Vec::new()));
        }
        let names: Vec<&str> = self
            .layered
            .layers()
            .objects()
            .iter()
            .filter(|layer| done.layers.contains(&layer.id))
            .map(|layer| layer.name.as_str())
            .collect();
        self.annotate(&format!("{} of its files load libraries of {} from the store", done.files, names.join(", ")));
        // What a lower store has can't be referred to from here; its owner keeps it.
        let own = |id: &ObjectId| {
            let layer = self.layered.layers().objects().iter().find(|layer| layer.id == *id);
            layer.is_some_and(|layer| self.engine.session.store.lower_of(layer).is_none())
        };
        Ok((to, done.layers.into_iter().filter(own).collect()))
    }
}
