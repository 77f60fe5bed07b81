//! Which packages builds are made with: what this run found out, and what is remembered of earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_store::StoreError;
use serde::{Deserialize, Serialize};

use super::apt::ChosenPackage;
use crate::session::Session;

/// Namespace of what sdists were built with last.
const MEMO: &str = "layers/1";

/// What the builds of a run were found to lack, by project and version; threads may share it.
#[derive(Debug, Default)]
pub struct LayerRequests(Mutex<BTreeMap<(PackageName, PackageVersion), BTreeSet<String>>>);

impl LayerRequests {
    /// Wants `packages` unpacked when `name` `version` is built from now on.
    pub fn add(&self, name: &PackageName, version: &PackageVersion, packages: &[String]) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.entry((name.clone(), version.clone())).or_default().extend(packages.iter().cloned());
    }

    pub(super) fn of(&self, name: &PackageName, version: &PackageVersion) -> BTreeSet<String> {
        let wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.get(&(name.clone(), version.clone())).cloned().unwrap_or_default()
    }
}

/// What is wanted for one sdist, so that a trial with more can be undone.
#[derive(Debug)]
pub(crate) struct KeptRequest {
    project: (PackageName, PackageVersion),
    wanted: BTreeSet<String>,
    source: Sha256Digest,
    remembered: Remembered,
}

impl KeptRequest {
    /// What is wanted now for `source`, the sdist of the project.
    pub(crate) fn of(
        session: &Session,
        (name, version): (&PackageName, &PackageVersion),
        source: &Sha256Digest,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            project: (name.clone(), version.clone()),
            wanted: session.layer_requests.of(name, version),
            source: *source,
            remembered: remembered(session, source)?,
        })
    }

    /// Wants that again, and no more.
    pub(crate) fn restore(self, session: &Session) -> Result<(), StoreError> {
        let mut wanted = session.layer_requests.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.insert(self.project, self.wanted);
        drop(wanted);
        remember(session, &self.source, &self.remembered)
    }
}

/// What an sdist was built with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// The packages that were asked for.
    pub(super) packages: BTreeSet<String>,
    /// All that was unpacked for them, in mount order.
    pub(super) chosen: Vec<ChosenPackage>,
}

fn key(session: &Session, source: &Sha256Digest) -> [u8; 32] {
    let mut encoder = Encoder::for_domain("pip-accel/layers-memo/1");
    encoder.bytes(source.as_bytes()).bytes(session.interpreter_identity().as_bytes());
    encoder.finish()
}

/// What `source` was built with last for this interpreter; nothing when no layer was needed.
pub(super) fn remembered(session: &Session, source: &Sha256Digest) -> Result<Remembered, StoreError> {
    let value = session.store.memo_find(MEMO, &key(session, source))?;
    Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

pub(super) fn remember(session: &Session, source: &Sha256Digest, value: &Remembered) -> Result<(), StoreError> {
    let value = serde_json::to_vec(value).expect("a list of texts and numbers");
    session.store.memo_put(MEMO, &key(session, source), &value)
}
