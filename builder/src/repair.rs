//! Making damaged objects of the store anew: sources by a download, trees of wheels by unpacking, builds by building, layers by
//! apt.
//!
//! The store decides what needs that ([`Remake`]); to the sessions of the run, a damaged object counts as absent, so the
//! machinery of `realize` makes it as if it never had been there: from sources that are in the store where they are whole,
//! else from the place where a lock had them, else from the index. Which interpreter an object is for is part of what it is made from; one of this machine must fit.

use std::error::Error;
use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::interpreter::Interpreter;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::recipe::Recipe;
use pip_accel_store::{Object, Remake, RemakeError, StoreError};

use crate::build::sandbox_policy;
use crate::index::DownloadError;
use crate::layers::{self, ChosenPackage};
use crate::lock::{AllowedFormats, LockedBuild, LockedRequirement, LockedTarget, Span};
use crate::python::interpreter::PythonInstallation;
use crate::realize::engine::{Engine, Purpose};
use crate::realize::error::{ObtainError, RealizeError};
use crate::realize::pin::{ChosenKind, DirectFile, Pin, Selection};
use crate::realize::place;
use crate::realize::run;
use crate::session::Session;

/// Interpreters of this machine one after the other, the preferred one first; `None` after the last. One that can't be asked
/// what it is gives the reason as a sentence.
pub type Interpreters<'a> = Box<dyn FnMut() -> Option<Result<PythonInstallation, String>> + 'a>;

/// Starts a session for an interpreter; an error is the reason as a sentence.
pub type StartSession<'a> = Box<dyn Fn(PythonInstallation) -> Result<Arc<Session>, String> + 'a>;

/// Makes objects anew with the interpreters and the index of this machine. Nothing is started before something is needed.
pub struct Remaker<'a> {
    interpreters: Interpreters<'a>,
    start: StartSession<'a>,
    sessions: Vec<Arc<Session>>,
    /// Why an interpreter could not be asked, if one could not.
    unasked: Option<String>,
}

impl std::fmt::Debug for Remaker<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remaker").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}

impl<'a> Remaker<'a> {
    /// What makes objects anew with these.
    #[must_use]
    pub fn new(interpreters: Interpreters<'a>, start: StartSession<'a>) -> Self {
        Self { interpreters, start, sessions: Vec::new(), unasked: None }
    }

    /// A session whose interpreter fits; interpreters are asked for as long as none does.
    fn session(&mut self, fits: impl Fn(&Interpreter) -> bool, wanted: &str) -> Result<Arc<Session>, RemakeError> {
        if let Some(session) = self.sessions.iter().find(|session| fits(&session.python.interpreter)) {
            return Ok(Arc::clone(session));
        }
        while let Some(asked) = (self.interpreters)() {
            let python = match asked {
                Ok(python) => python,
                Err(reason) => {
                    self.unasked.get_or_insert(reason);
                    continue;
                }
            };
            let fitting = fits(&python.interpreter);
            let session = (self.start)(python).map_err(RemakeError::NotNow)?;
            self.sessions.push(Arc::clone(&session));
            if fitting {
                return Ok(session);
            }
        }
        match &self.unasked {
            // It may be the one: nothing is given up for an answer that did not come.
            Some(reason) => {
                Err(RemakeError::NotNow(format!("no interpreter that could be asked is {wanted}, and {reason}")))
            }
            None => Err(RemakeError::Impossible(format!("no interpreter of this machine is {wanted}"))),
        }
    }
}

impl Remake for Remaker<'_> {
    fn remake(&mut self, object: &Object) -> Result<(), RemakeError> {
        match &object.provenance {
            Provenance::Source { file_name, sha256 } => {
                let session = self.session(|_| true, "any")?;
                let selection = selection(file_name, *sha256);
                let formats = AllowedFormats { wheels: true, sdists: true };
                let pins = pins(&session, object, (Some(file_name), sha256), formats)?;
                let engine = Engine::new(&session, Vec::new(), Purpose::Fetch);
                let make = async |pin: &Pin| engine.source(pin, &selection, None).await.map(drop);
                finished(run(&session, first_that_has_it(&pins, make)))
            }
            Provenance::Wheel { file_name, sha256, bytecode_tag } => {
                let wanted = format!("one whose bytecode is `{bytecode_tag}`");
                let session = self.session(|python| python.bytecode_tag == *bytecode_tag, &wanted)?;
                let selection = selection(file_name, *sha256);
                let formats = AllowedFormats { wheels: true, sdists: false };
                let pins = pins(&session, object, (Some(file_name), sha256), formats)?;
                let engine = Engine::new(&session, Vec::new(), Purpose::Build);
                let make = async |pin: &Pin| engine.wheel(pin, &selection, None).await.map(drop);
                finished(run(&session, first_that_has_it(&pins, make)))
            }
            Provenance::Layer { package, version, architecture, sha256 } => {
                let session = self.session(|_| true, "any")?;
                let pin = pin(object, sha256, AllowedFormats { wheels: false, sdists: false }, None);
                let chosen = ChosenPackage {
                    package: package.clone(),
                    version: version.clone(),
                    architecture: architecture.clone(),
                    sha256: *sha256,
                    size: 0,
                };
                let engine = Engine::new(&session, Vec::new(), Purpose::Fetch);
                finished(run(&session, layers::again(&engine, &pin, chosen)))
            }
            Provenance::Build { recipe, bytecode_tag, .. } => self.rebuild(object, recipe, bytecode_tag),
        }
    }
}

impl Remaker<'_> {
    fn rebuild(&mut self, object: &Object, recipe: &Recipe, bytecode_tag: &str) -> Result<(), RemakeError> {
        let identity: ValueDigest = recipe.interpreter;
        let fits = |python: &Interpreter| python.identity() == identity && python.bytecode_tag == bytecode_tag;
        let session = self.session(fits, &recipe.interpreter_label)?;
        let policy = sandbox_policy(&session);
        if policy != recipe.sandbox_policy {
            return Err(RemakeError::NotNow(format!(
                "it was built with the sandbox policy `{}`, and this run has `{policy}`",
                recipe.sandbox_policy
            )));
        }
        let locks = self.build_lock(&session, recipe).map_err(|error| RemakeError::NotNow(error.to_string()))?;
        let formats = AllowedFormats { wheels: false, sdists: true };
        let pins = pins(&session, object, (None, &recipe.source), formats)?;
        let engine = Engine::new(&session, locks, Purpose::Build);
        let make = async |pin: &Pin| engine.tree(pin, None).await.map(drop);
        finished(run(&session, first_that_has_it(&pins, make)))
    }

    /// The build requirements of the recipe as lines of a lock would fix them, where the store knows the wheels they came
    /// from; nothing otherwise: then they are those that were remembered, or are resolved again.
    fn build_lock(&self, session: &Session, recipe: &Recipe) -> Result<Vec<LockedBuild>, StoreError> {
        let span = Span { file: std::path::Path::new("the recipe").into(), line: 1 };
        let mut requirements = Vec::with_capacity(recipe.build_inputs.len());
        for input in &recipe.build_inputs {
            let objects = session.store.objects_named(&input.name, Some(&input.version))?;
            let hash = objects.iter().find_map(|object| match &object.provenance {
                Provenance::Wheel { sha256, .. } if object.content_digest == input.content => Some(*sha256),
                _ => None,
            });
            let Some(hash) = hash else { return Ok(Vec::new()) };
            requirements.push(LockedRequirement {
                name: Some(input.name.clone()),
                version: Some(input.version.clone()),
                target: LockedTarget::Pin(input.version.clone()),
                extras: Vec::new(),
                marker: None,
                hashes: vec![hash],
                files: Arc::default(),
                config_settings: ConfigSettings::new(),
                span: span.clone(),
            });
        }
        Ok(vec![LockedBuild { name: recipe.name.clone(), version: recipe.version.clone(), requirements, span }])
    }
}

/// The object's published file as a lock would pin it: first at the place where a lock had it, if one did, then in the index.
fn pins(
    session: &Session,
    object: &Object,
    (file_name, sha256): (Option<&str>, &Sha256Digest),
    formats: AllowedFormats,
) -> Result<Vec<Pin>, RemakeError> {
    let place = place::recall(&session.store, file_name, sha256);
    let place = place.map_err(|error| RemakeError::NotNow(sentence(&error)))?;
    let places = place.into_iter().map(Some).chain([None]);
    Ok(places.map(|place| pin(object, sha256, formats, place)).collect())
}

/// The object as a lock would pin it, with the place of its file if that is known.
fn pin(object: &Object, sha256: &Sha256Digest, formats: AllowedFormats, direct: Option<DirectFile>) -> Pin {
    Pin {
        name: object.name.clone(),
        version: Some(object.version.clone()),
        hashes: vec![*sha256],
        direct,
        files: Arc::default(),
        checkout: None,
        formats,
        config_settings: match &object.provenance {
            Provenance::Build { recipe, .. } => recipe.config_settings.clone(),
            Provenance::Source { .. } | Provenance::Wheel { .. } | Provenance::Layer { .. } => ConfigSettings::new(),
        },
    }
}

/// Makes the object of the first of the pins whose file can be got; what else fails, fails for good. Where none can, the
/// answer is the one that leaves hope, else that of the first place.
async fn first_that_has_it(
    pins: &[Pin],
    make: impl AsyncFn(&Pin) -> Result<(), ObtainError>,
) -> Result<(), ObtainError> {
    let mut failed: Option<ObtainError> = None;
    for pin in pins {
        let error = match make(pin).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let is_elsewhere =
            pin.direct.is_some() && matches!(error, ObtainError::Download { .. } | ObtainError::Offline { .. });
        failed = Some(match failed {
            Some(first) if may_pass(&first) || !may_pass(&error) => first,
            _ => error,
        });
        if !is_elsewhere {
            break;
        }
    }
    failed.map_or(Ok(()), Err)
}

fn selection(file_name: &str, sha256: Sha256Digest) -> Selection {
    let kind = if file_name.ends_with(".whl") { ChosenKind::Wheel } else { ChosenKind::Sdist };
    Selection { file_name: file_name.to_owned(), sha256, kind, yanked: None }
}

fn finished(result: Result<Result<(), ObtainError>, RealizeError>) -> Result<(), RemakeError> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if may_pass(&error) || is_of_the_machine(&error) => Err(RemakeError::NotNow(sentence(&error))),
        Ok(Err(error)) => Err(RemakeError::Impossible(sentence(&error))),
        Err(error) => Err(RemakeError::NotNow(sentence(&error))),
    }
}

/// Whether the same attempt may succeed later, with nothing changed in the store: the object is not given up for that.
fn may_pass(error: &ObtainError) -> bool {
    match error {
        ObtainError::Download { source, .. } => {
            !matches!(**source, DownloadError::HashMismatch { .. } | DownloadError::NotFound { .. })
        }
        ObtainError::Store { .. }
        | ObtainError::Index { .. }
        | ObtainError::NoSandbox { .. }
        | ObtainError::Sandbox { .. }
        | ObtainError::Layers { .. }
        | ObtainError::Worker { .. }
        | ObtainError::Scratch { .. }
        | ObtainError::Cancelled { .. } => true,
        _ => false,
    }
}

/// Whether the operating system refused something on the way: a disk that fails or is full, too few descriptors.
fn is_of_the_machine(error: &ObtainError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.raw_os_error().is_some()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error with its causes.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
