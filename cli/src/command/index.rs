//! `index`: Debian's files as `diagnose` asks for them.

use pip_accel_builder::system_packages::index::{self, IndexPlace, Ready, SystemIndex, UpdateReport};
use pip_accel_store::{Access, Store};
use serde_json::json;

use super::Context;
use crate::args::system_packages::{IndexAction, IndexArgs};
use crate::error::{Failure, sentence};
use crate::exit_code::Exit;
use crate::ui::{bytes, seconds, span};

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
    Ok(index::ready(store, !offline, &|ready| tell(context, &ready))?)
}

fn make(context: &Context<'_>, store: &Store, place: &IndexPlace) -> Result<UpdateReport, Failure> {
    Ok(index::make(store, place, &|ready| tell(context, &ready))?)
}

fn tell(context: &Context<'_>, ready: &Ready<'_>) {
    let ui = &context.ui;
    match ready {
        Ready::Without(why) => ui.warn(&format!("{why}; make it: pip-accel index update")),
        Ready::Making(why) => ui.note(&format!("{why}: reading the lists of the machine's package sources")),
        Ready::Failed(error) => ui.warn(&format!("{}; going on without", sentence(*error))),
        Ready::Waiting { pid } => ui.note(&format!("waiting for process {pid}, which makes the index")),
        Ready::Made { report, duration } => {
            let (files, size) = (report.origin.files, bytes(report.bytes));
            ui.note(&format!("index of {files} files, {size}, in {}", seconds(*duration)));
            if let Some(lacks) = report.partial() {
                ui.warn(&lacks);
            }
        }
    }
}
