//! `unbundle`: what another machine packed, into this store.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use pip_accel_builder::realize::{Interruptible, bundle};
use pip_accel_store::{Access, LockOwner};
use serde_json::json;

use super::Context;
use crate::args::UnbundleArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::{counted, seconds};

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &UnbundleArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let settings = context.settings()?;
    let input = if args.bundle == Path::new("-") {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open(context.host.absolute(&args.bundle))
    };
    let input = input.map_err(|error| {
        Failure::new(Exit::Usage, format!("`{}` can't be read: {error}", args.bundle.display()))
            .hint("name the bundle: pip-accel unbundle FILE.tar")
    })?;
    let store = context.open(&settings, Access::ReadWrite)?;
    let input = Interruptible::new(input, store.interrupt());
    let mut on_wait = |owner: &LockOwner| {
        context.ui.note(&format!("waiting for process {}, which takes in the same bundle", owner.pid));
    };
    let work = || Ok(bundle::unbundle(&store, input, args.pin.clone(), &mut on_wait)?);
    let report = context.interruptible(&store, work)?;
    let unbundled = &report.unbundled;
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "interpreter": unbundled.manifest.interpreter,
            "added": unbundled.added,
            "present": unbundled.present,
            "pin": report.pin,
            "sha256": unbundled.sha256,
            "seconds": started.elapsed().as_secs_f64(),
        }));
        return Ok(Exit::Done);
    }
    context.ui.data(&format!("SHA-256 {}", unbundled.sha256));
    context.ui.note(&format!(
        "{} for {}: {} new, {} in the store, kept by the pin `{}`, in {}",
        counted(unbundled.added + unbundled.present, "object"),
        unbundled.manifest.interpreter.escape_debug(),
        unbundled.added,
        unbundled.present,
        report.pin,
        seconds(started.elapsed())
    ));
    Ok(Exit::Done)
}
