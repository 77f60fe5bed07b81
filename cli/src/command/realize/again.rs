//! The look before the lock is read: an environment that was found in order, and nothing has changed since.

use std::sync::Arc;

use pip_accel_builder::lock::{self, FormatControl};
use pip_accel_builder::python::interpreter::PythonInstallation;
use pip_accel_builder::realize::RealizeRequest;
use pip_accel_builder::realize::again::Question;
use pip_accel_schema::digest::ValueDigest;
use pip_accel_schema::environment::ENVIRONMENT_MANIFEST_FILE;
use pip_accel_store::Store;

use crate::args::RealizeArgs;
use crate::command::Context;
use crate::command::session::{interpreter, pip_settings, sandbox};
use crate::error::Failure;
use crate::settings::Settings;

/// What a run needs whether or not there is something to do.
pub(super) struct Begun<'a> {
    pub(super) store: Arc<Store>,
    pub(super) python: PythonInstallation,
    args: &'a RealizeArgs,
    settings: &'a Settings,
    pip_formats: FormatControl,
}

impl<'a> Begun<'a> {
    /// Opens the store and finds the interpreter.
    pub(super) fn new(context: &Context<'_>, args: &'a RealizeArgs, settings: &'a Settings) -> Result<Self, Failure> {
        let store = context.open_as_allowed(settings)?;
        let python = interpreter(context, &store, settings)?;
        let pip_formats = pip_settings(&context.host, &python)?.formats;
        Ok(Self { store, python, args, settings, pip_formats })
    }

    /// The store and the interpreter.
    pub(super) fn opened(self) -> (Arc<Store>, PythonInstallation) {
        (self.store, self.python)
    }

    /// The question of `request` with a lock of this content.
    pub(super) fn question(&self, content: &ValueDigest, request: &RealizeRequest) -> ValueDigest {
        let question = Question {
            python: &self.python,
            pip_formats: &self.pip_formats,
            no_binary: &self.args.source.no_binary,
            only_binary: &self.args.source.only_binary,
            choice: &self.args.choice.choice(),
            sandbox: sandbox(self.settings),
        };
        question.digest(content, &self.store, request)
    }
}

/// The digest of the lock's bytes where it may be all that has to be known of the lock: there is an environment. What is
/// wrong with the lock is for its reader to say.
pub(super) fn content_of_known(
    context: &Context<'_>,
    args: &RealizeArgs,
    request: &RealizeRequest,
) -> Option<ValueDigest> {
    let is_known = request.destination.join(ENVIRONMENT_MANIFEST_FILE).exists();
    if !is_known || args.dry_run || args.print_build_lock {
        return None;
    }
    lock::content_digest(&context.host.absolute(&args.lock)).ok()
}
