//! The same command a second time: the answer "nothing to do" without reading the lock or the manifest again.
//!
//! A check that found all in place is remembered under the environment's place, with three things that have to be as
//! they were for the answer to hold: the [`Question`] (the bytes of the lock, and all that is said besides), the stamp of
//! the environment (`environment::Watched`) and the root with its objects. Whatever differs is for the full check.
//!
//! No lease and no turn is taken: the root holds the objects, and the answer is true of the moment of the look.

use std::path::Path;
use std::time::Instant;

use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::environment::EnvironmentManifest;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::link::environment_root;
use super::profile::Phases;
use super::{RealizeReport, RealizeRequest};
use crate::environment::{FileCounts, Watched};
use crate::lock::{Choice, FormatControl};
use crate::python::interpreter::PythonInstallation;
use crate::session::SandboxChoice;

/// Namespace of the remembered checks: place → [`Remembered`] as JSON.
const MEMO: &str = "environment-checked/2";

/// A check is done in full once a day: that also notes down when the objects were used last, for `gc --older-than`.
const REMEMBERED_SECONDS: i64 = 86_400;

/// Everything that decides whether an environment is what is asked for, before any of it is understood.
#[derive(Debug)]
pub struct Question<'a> {
    /// The interpreter.
    pub python: &'a PythonInstallation,
    /// Formats that pip's configuration asks for.
    pub pip_formats: &'a FormatControl,
    /// `--no-binary`, as typed.
    pub no_binary: &'a [String],
    /// `--only-binary`, as typed.
    pub only_binary: &'a [String],
    /// Extras and groups.
    pub choice: &'a Choice,
    /// Isolation of builds.
    pub sandbox: SandboxChoice,
}

impl Question<'_> {
    /// The question with a lock of this content ([`crate::lock::content_digest`]), to be put into the request.
    #[must_use]
    pub fn digest(&self, lock: &ValueDigest, store: &Store, request: &RealizeRequest) -> ValueDigest {
        let mut encoder = Encoder::for_domain("pip-accel/realize-question/2");
        encoder.bytes(lock.as_bytes()).bytes(self.python.interpreter.identity().as_bytes());
        encoder.text(&self.python.executable.to_string_lossy()).text(request.link_mode.as_str());
        for texts in self.pip_formats.texts() {
            encoder.texts(texts.iter());
        }
        encoder.texts(self.no_binary.iter()).texts(self.only_binary.iter());
        encoder.texts(self.choice.texts().iter()).text(crate::build::policy_of(self.sandbox));
        encoder.text(&store.root().to_string_lossy()).text(&request.destination.to_string_lossy());
        encoder.number(request.links.len() as u64);
        for (name, link) in &request.links {
            encoder.text(name.as_str()).text(link.as_str());
        }
        ValueDigest::from_bytes(encoder.finish())
    }
}

/// What is kept of a check.
#[derive(Serialize, Deserialize)]
struct Remembered {
    question: ValueDigest,
    stamp: ValueDigest,
    watched: Watched,
    packages: usize,
    /// Seconds since 1970.
    checked_at: i64,
    /// What the root holds: the objects of the environment and of its earlier generations.
    objects: Vec<ObjectId>,
}

/// The report of a run that finds nothing to do, if that can be told from what was remembered.
///
/// # Errors
/// When the store's database fails.
pub fn unchanged(store: &Store, request: &RealizeRequest) -> Result<Option<RealizeReport>, StoreError> {
    let started = Instant::now();
    let Some(question) = &request.question else { return Ok(None) };
    let Some(memo) = store.memo_get(MEMO, key(&request.destination))? else { return Ok(None) };
    // What another version wrote is no answer.
    let Ok(remembered) = serde_json::from_slice::<Remembered>(&memo) else { return Ok(None) };
    let age = store.now().checked_sub(remembered.checked_at);
    let holds = age.is_some_and(|age| (0..REMEMBERED_SECONDS).contains(&age))
        && remembered.question == *question
        && remembered.watched.stamp(&request.destination).is_some_and(|stamp| stamp.digest == remembered.stamp);
    if !holds {
        return Ok(None);
    }
    let root = environment_root(request);
    if !store.root_is_whole(root.kind, &root.name, &remembered.objects)? {
        return Ok(None);
    }
    Ok(Some(report(remembered.packages, started)))
}

/// Remembers that the environment of `manifest` was found to be what is asked for, with nothing to say of it.
///
/// # Errors
/// When the store's database fails.
pub(super) fn remember(
    store: &Store,
    request: &RealizeRequest,
    (manifest, objects): (&EnvironmentManifest, &[ObjectId]),
) -> Result<(), StoreError> {
    let Some(question) = request.question else { return Ok(()) };
    let watched = Watched::of(manifest);
    let Some(stamp) = watched.stamp(&request.destination).filter(|stamp| stamp.is_settled) else { return Ok(()) };
    let remembered = Remembered {
        question,
        stamp: stamp.digest,
        watched,
        packages: manifest.packages.len(),
        checked_at: store.now(),
        objects: objects.to_vec(),
    };
    match serde_json::to_vec(&remembered) {
        Ok(memo) => store.memo_put(MEMO, key(&request.destination), &memo),
        Err(_) => Ok(()),
    }
}

fn key(destination: &Path) -> &[u8] {
    destination.as_os_str().as_encoded_bytes()
}

fn report(packages: usize, started: Instant) -> RealizeReport {
    RealizeReport {
        packages,
        from_store: packages,
        fetched: 0,
        built: 0,
        unchanged: true,
        clashes: Vec::new(),
        foreign: Vec::new(),
        foreign_lost: Vec::new(),
        refused: Vec::new(),
        leftover: None,
        detached: Vec::new(),
        reattached: Vec::new(),
        files: FileCounts::default(),
        phases: Phases { plan: started.elapsed(), ..Phases::default() },
    }
}
