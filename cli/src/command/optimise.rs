//! `optimise`: let equal files share their room on the disk.

use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::bytes;

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
        context.ui.warn(&format!("{} objects are damaged: pip-accel verify --repair", report.objects_damaged));
    }
    if report.objects_in_use > 0 {
        context.ui.warn(&format!("{} objects are in use and stay as they are", report.objects_in_use));
    }
    let (linked, files, freed) = (report.linked, report.files, bytes(report.freed_bytes));
    context.ui.note(&format!("{linked} of {files} files share an equal one's room since now, {freed} freed"));
    Ok(Exit::Done)
}
