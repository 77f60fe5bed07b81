//! `unbundle`: what another machine packed, into this store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use pip_accel_builder::realize::bundle;
use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use crate::args::UnbundleArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::seconds;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &UnbundleArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let settings = context.settings()?;
    let input: Box<dyn Read> = if args.bundle == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = File::open(context.host.absolute(&args.bundle));
        Box::new(opened.map_err(|error| {
            Failure::new(Exit::Usage, format!("`{}` can't be read: {error}", args.bundle.display()))
                .hint("name the bundle: pip-accel unbundle FILE.tar")
        })?)
    };
    let store = context.open(&settings, Access::ReadWrite)?;
    let report = bundle::unbundle(&store, input, args.pin.clone())?;
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
        "{} objects for {}: {} new, {} in the store, kept by the pin `{}`, in {}",
        unbundled.added + unbundled.present,
        unbundled.manifest.interpreter.escape_debug(),
        unbundled.added,
        unbundled.present,
        report.pin,
        seconds(started.elapsed())
    ));
    Ok(Exit::Done)
}
