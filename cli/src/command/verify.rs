//! `verify`: check that the store holds what it says.

use pip_accel_store::{Access, FindingKind, VerifyDepth, VerifyOptions};
use serde_json::json;

use super::Context;
use crate::args::VerifyArgs;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &VerifyArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let store = context.open(&settings, Access::ReadOnly)?;
    let depth = if args.quick { VerifyDepth::Quick } else { VerifyDepth::Full };
    let findings = store.verify(&VerifyOptions { depth, ..VerifyOptions::default() })?;
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "findings": findings }));
    } else {
        for finding in &findings {
            let place = finding.path.as_deref().map(|path| format!("/{path}")).unwrap_or_default();
            context.ui.data(&format!("{}{place}: {} {}", finding.store_path, kind_text(finding.kind), finding.detail));
        }
    }
    if findings.is_empty() {
        context.ui.note("the store is whole");
        return Ok(Exit::Done);
    }
    context.ui.error(&format!("{} damages found in {}", findings.len(), store.root().display()));
    Ok(Exit::StoreDamaged)
}

/// The word of the JSON report, which is the same one.
fn kind_text(kind: FindingKind) -> String {
    serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
