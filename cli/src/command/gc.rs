//! `gc`: delete what nothing refers to.

use pip_accel_store::{
    Access, DeadObject, DeadReason, DeadRoot, DeadRootReason, GcPlan, GcPolicy, GcReport, KeptReason, KeptRoot,
    MIN_AGE_SECONDS, MovedRoot,
};
use serde_json::json;

use super::Context;
use crate::args::GcArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::{KEYS, Origin, Value};
use crate::ui::bytes;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &GcArgs) -> Result<Exit, Failure> {
    let mut settings = context.settings()?;
    if let (Some(text), Some(key)) = (&args.min_age, KEYS.iter().find(|key| key.name == "gc-min-age")) {
        settings.set("gc-min-age", Some(key.parse(text, &Origin::Flag)?));
    }
    if args.keep_sources || args.drop_sources {
        settings.set("keep-sources", Some(Value::Flag(args.keep_sources)));
    }
    let policy = GcPolicy {
        min_age_seconds: settings.number("gc-min-age").unwrap_or(MIN_AGE_SECONDS),
        keep_sources: !settings.is_set("keep-sources") || settings.flag("keep-sources"),
    };
    if args.dry_run {
        let store = context.open(&settings, Access::ReadOnly)?;
        show_plan(context, &store.gc_plan(&policy)?);
        return Ok(Exit::Done);
    }
    let store = context.open(&settings, Access::ReadWrite)?;
    let report = store.gc_apply(&policy, &mut |_| {})?;
    show_report(context, &report);
    Ok(Exit::Done)
}

fn show_plan(context: &Context<'_>, plan: &GcPlan) {
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "dry_run": true, "plan": plan }));
        return;
    }
    for dead in &plan.dead {
        context.ui.data(&dead_line(dead));
    }
    show_roots(context, &plan.dead_roots, &plan.kept_roots, &plan.moved_roots);
    context.ui.note(&format!(
        "would delete {} objects of {}, {} stay",
        plan.dead.len(),
        bytes(plan.dead_bytes),
        plan.live_count
    ));
}

/// What became of roots that are not where they were: nobody should have to guess why objects went or stayed.
fn show_roots(context: &Context<'_>, dead: &[DeadRoot], kept: &[KeptRoot], moved: &[MovedRoot]) {
    let ui = &context.ui;
    for DeadRoot { root, reason } in dead {
        let what = match reason {
            DeadRootReason::Missing => "is gone",
            DeadRootReason::NotAnEnvironment => "is no environment of pip-accel any more",
        };
        ui.note(&format!("{} `{}` {what} and keeps nothing", root.kind.as_str(), root.name));
    }
    for MovedRoot { root, to } in moved {
        ui.note(&format!("environment `{}` is at `{}` now and keeps what it needs", root.name, to.display()));
    }
    for KeptRoot { root, reason } in kept {
        let why = match reason {
            KeptReason::Unreachable => "is on a file system that is not there",
            KeptReason::Young => "is not there (yet) and was set a short while ago",
        };
        ui.note(&format!("{} `{}` {why}: it keeps its objects", root.kind.as_str(), root.name));
    }
}

fn dead_line(dead: &DeadObject) -> String {
    format!("{} ({}): {}", dead.path, bytes(dead.size_bytes), why(&dead.reason))
}

fn why(reason: &DeadReason) -> String {
    match reason {
        DeadReason::Unreferenced => "nothing refers to it".to_owned(),
        DeadReason::RootGone { root } => format!("`{root}`, which kept it, is gone"),
    }
}

fn show_report(context: &Context<'_>, report: &GcReport) {
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "dry_run": false, "report": report }));
        return;
    }
    for dead in &report.deleted {
        context.ui.data(&dead_line(dead));
    }
    show_roots(context, &report.dead_roots, &report.kept_roots, &report.moved_roots);
    for left in &report.left {
        context.ui.warn(&format!("`{}` could not be deleted; the next gc tries again", left.display()));
    }
    context.ui.note(&format!(
        "deleted {} objects, {} stay, {} freed",
        report.deleted.len(),
        report.live_count,
        bytes(report.freed_bytes)
    ));
}
