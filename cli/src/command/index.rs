//! `index`: Debian's files as `diagnose` asks for them.

use std::path::Path;
use std::time::Instant;

use pip_accel_builder::system_packages::index::{
    IndexError, IndexPlace, MAX_AGE_SECONDS, SystemIndex, UpdateReport, update,
};
use pip_accel_store::{Access, Store};
use serde_json::json;

use super::Context;
use crate::args::system_packages::{IndexAction, IndexArgs};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::{bytes, seconds, span};

/// Processes that make the index at the same time take turns.
const LOCK: &str = "index of system packages";

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &IndexArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    match args.action {
        IndexAction::Update => {
            let store = context.open(&settings, Access::ReadWrite)?;
            let place = place(&store);
            let report = make(context, &store, &place)?;
            if context.ui.json {
                context
                    .ui
                    .json(&json!({ "version": 1, "path": place.path, "bytes": report.bytes, "index": report.origin }));
            }
        }
        IndexAction::Show => {
            let store = context.open(&settings, Access::ReadOnly)?;
            let place = place(&store);
            let index = SystemIndex::open(&place.path)?;
            let (origin, age) = (index.origin(), age(&index, &store));
            if context.ui.json {
                context.ui.json(&json!({ "version": 1, "path": place.path, "age_seconds": age, "index": origin }));
            } else {
                let (files, distribution, machine) = (origin.files, &origin.distribution, &origin.architecture);
                context.ui.data(&format!("{files} files of {distribution} ({machine}), {} old", span(age)));
            }
        }
    }
    Ok(Exit::Done)
}

fn place(store: &Store) -> IndexPlace {
    IndexPlace::of_this_machine(&store.index_folder())
}

fn age(index: &SystemIndex, store: &Store) -> i64 {
    store.now().saturating_sub(index.origin().made_at)
}

/// The index, made first if there is none or it is too old. Without it there is still what the rules know.
pub(super) fn ready(context: &Context<'_>, store: &Store, offline: bool) -> Result<SystemIndex, Failure> {
    let place = place(store);
    let opened = SystemIndex::open(&place.path);
    let why = match &opened {
        Ok(index) if age(index, store) <= MAX_AGE_SECONDS => None,
        Ok(index) => Some(format!("the index of system packages is {} old", span(age(index, store)))),
        Err(IndexError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Some("there is no index of system packages yet".to_owned())
        }
        Err(error) => Some(Failure::from(error).message().to_owned()),
    };
    let Some(why) = why else { return Ok(opened?) };
    if offline || store.access() == Access::ReadOnly {
        context.ui.warn(&format!("{why}; make it: pip-accel index update"));
    } else {
        context.ui.note(&format!("{why}: reading the lists of the machine's package sources"));
        match make(context, store, &place) {
            Ok(_) => return Ok(SystemIndex::open(&place.path)?),
            Err(failure) => context.ui.warn(&format!("{}; going on without", failure.message())),
        }
    }
    match opened {
        Ok(old) => Ok(old),
        Err(_) => Ok(SystemIndex::empty()?),
    }
}

fn make(context: &Context<'_>, store: &Store, place: &IndexPlace) -> Result<UpdateReport, Failure> {
    let started = Instant::now();
    let lock = store.lock(LOCK, &mut |owner| {
        context.ui.note(&format!("waiting for process {}, which makes the index", owner.pid))
    })?;
    let scratch = store.scratch("apt")?;
    let report = update(place, Path::new(scratch.path()), store.now())?;
    drop(lock);
    context.ui.note(&format!(
        "index of {} files, {}, in {}",
        report.origin.files,
        bytes(report.bytes),
        seconds(started.elapsed())
    ));
    Ok(report)
}
