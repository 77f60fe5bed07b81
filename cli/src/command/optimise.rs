//! `optimise`: let equal files share their room on the disk.

use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::{bytes, counted, number_of};

/// Runs the command.
pub(super) fn run(context: &Context<'_>) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let store = context.open(&settings, Access::ReadWrite)?;
    let report = context.interruptible(&store, || Ok(store.optimise()?))?;
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "report": report }));
        return Ok(Exit::Done);
    }
    if report.objects_damaged > 0 {
        context.ui.warn(&format!("{} damaged: pip-accel verify --repair", are(report.objects_damaged)));
    }
    if report.objects_in_use > 0 {
        context.ui.warn(&format!("{} in use and left out", are(report.objects_in_use)));
    }
    let (linked, files, freed) = (report.linked, report.files, bytes(report.freed_bytes));
    context.ui.note(&format!(
        "{linked} of {} {} an equal one's room since now, {freed} freed",
        counted(files, "file"),
        number_of(linked, "shares", "share")
    ));
    Ok(Exit::Done)
}

/// `1 object is`, `3 objects are`.
fn are(objects: u64) -> String {
    format!("{} {}", counted(objects, "object"), number_of(objects, "is", "are"))
}
