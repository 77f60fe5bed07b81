//! `bundle`: an environment's closure as one file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::time::Instant;

use pip_accel_builder::lock::Choice;
use pip_accel_builder::realize::bundle::{self, BundleOptions, BundleOutput, MakeBundleError};
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{looks_like_bundle, read_bundle_manifest};
use serde_json::json;

use super::Context;
use super::session::{Opened, load_lock};
use crate::args::BundleArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::{bytes, counted, seconds};

/// Bytes that tell a bundle from a lock: the first block of a tar.
const START_BYTES: u64 = 512;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &BundleArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let to_stdout = args.output == Path::new("-");
    if to_stdout && context.ui.json {
        return Err(Failure::new(Exit::Usage, "`-o -` and `--json` both want standard output".to_owned())
            .hint("name a file: -o FILE.tar"));
    }
    let lock = load_lock(context, &args.lock, &args.choice.choice())?;
    let settings = context.settings()?;
    let store = context.open_as_allowed(&settings)?;
    let opened = Opened::new(context, store, settings, &args.source, &lock.options)?;
    let base = match &args.since {
        Some(other) => since(context, &opened, other, args.sources)?,
        None => HashSet::new(),
    };
    let compressed = args.output.extension().is_some_and(|extension| extension == "zst");
    let output = match to_stdout {
        true => BundleOutput::standard_output(opened.session.store.interrupt())?,
        false => BundleOutput::file(&context.host.absolute(&args.output), opened.session.store.interrupt())?,
    };
    let options = BundleOptions { sources: args.sources, compressed, base };
    let make = || Ok(bundle::bundle(&opened.session, &lock, options, output)?);
    let made = context.interruptible(&opened.session.store, make);
    opened.progress.finish();
    let report = made?;
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "bundle": args.output,
            "objects": report.objects,
            "base": report.base,
            "bytes": report.bytes,
            "sha256": report.sha256,
            "seconds": started.elapsed().as_secs_f64(),
        }));
        return Ok(Exit::Done);
    }
    let base = if report.base == 0 { String::new() } else { format!(", {} left out", report.base) };
    context.ui.note(&format!(
        "{}{base}, {}, in {}",
        counted(report.objects, "object"),
        bytes(report.bytes),
        seconds(started.elapsed())
    ));
    let line = format!("SHA-256 {}", report.sha256);
    if to_stdout {
        context.ui.note(&line)
    } else {
        context.ui.data(&line)
    }
    Ok(Exit::Done)
}

/// What the receiver has: what another bundle says, or what belongs to another lock.
fn since(context: &Context<'_>, opened: &Opened, other: &Path, sources: bool) -> Result<HashSet<ObjectId>, Failure> {
    let path = context.host.absolute(other);
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Usage, format!("`{}` can't be read: {error}", other.display()))
            .hint("name the bundle or the lock that the other machine has: --since FILE")
    };
    let mut file = File::open(&path).map_err(failed)?;
    let mut start = Vec::new();
    (&file).take(START_BYTES).read_to_end(&mut start).map_err(failed)?;
    if looks_like_bundle(&start) {
        file.rewind().map_err(failed)?;
        let manifest = read_bundle_manifest(file).map_err(MakeBundleError::from)?;
        return Ok(bundle::objects_of(&manifest));
    }
    let lock = load_lock(context, other, &Choice::default())?;
    Ok(bundle::held(&opened.session, &lock, sources)?)
}
