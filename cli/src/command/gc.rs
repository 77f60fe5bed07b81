//! `gc`: delete what nothing refers to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pip_accel_builder::realize::generations::{Expired, expire};
use pip_accel_store::{
    Access, DeadObject, DeadReason, DeadRoot, DeadRootReason, GcLimits, GcPlan, GcPolicy, GcReport, KeptReason,
    KeptRoot, MIN_AGE_SECONDS, MovedRoot, RebuildCost, Store, UsersKept,
};
use serde_json::json;

use super::Context;
use crate::args::GcArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::{KEYS, Origin, Settings, Value, parse_size};
use crate::ui::{bytes, counted, number_of, seconds};

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &GcArgs) -> Result<Exit, Failure> {
    let mut settings = context.settings()?;
    let flags = [
        ("gc-min-age", &args.min_age),
        ("gc-older-than", &args.older_than),
        ("gc-max-size", &args.max_size),
        ("min-free", &args.min_free),
    ];
    for (name, text) in flags {
        if let (Some(text), Some(key)) = (text, KEYS.iter().find(|key| key.name == name)) {
            settings.set(key.name, Some(key.parse(text, &Origin::Flag)?));
        }
    }
    if args.keep_sources || args.drop_sources {
        settings.set("keep-sources", Some(Value::Flag(args.keep_sources)));
    }
    let mut policy = policy(&settings);
    policy.limits.max_freed_bytes = args.max_freed.as_deref().map(size).transpose()?;
    if args.dry_run {
        let store = context.open(&settings, Access::ReadOnly)?;
        let expired = expired(&store, &policy, true);
        show_plan(context, &store.gc_plan(&policy)?, &expired);
        return Ok(Exit::Done);
    }
    let store = context.open(&settings, Access::ReadWrite)?;
    let (expired, report) = context.interruptible(&store, || {
        let expired = expired(&store, &policy, false);
        Ok((expired, store.gc_apply(&policy, &mut |_| {})?))
    })?;
    show_report(context, &report, &expired);
    foreign(&report, store.root())
}

/// Earlier generations of environments that are older than what the policy spares: they are let go first.
fn expired(store: &Arc<Store>, policy: &GcPolicy, dry_run: bool) -> Vec<Expired> {
    policy.older_than_seconds.map(|age| expire(store, age, dry_run)).unwrap_or_default()
}

fn show_expired(context: &Context<'_>, expired: &[Expired], verb: &str) {
    for Expired { environment, numbers } in expired {
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        let noun = if numbers.len() == 1 { "generation" } else { "generations" };
        let (numbers, place) = (numbers.join(", "), environment.display());
        context.ui.note(&format!("{noun} {numbers} of `{place}` {verb}"));
    }
}

/// What the settings say may be deleted.
pub(super) fn policy(settings: &Settings) -> GcPolicy {
    GcPolicy {
        min_age_seconds: settings.number("gc-min-age").unwrap_or(MIN_AGE_SECONDS),
        keep_sources: !settings.is_set("keep-sources") || settings.flag("keep-sources"),
        older_than_seconds: settings.number("gc-older-than"),
        limits: GcLimits {
            max_freed_bytes: None,
            max_size_bytes: settings.number("gc-max-size"),
            min_free_bytes: settings.number("min-free"),
        },
    }
}

fn size(text: &str) -> Result<u64, Failure> {
    parse_size(text).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("`{text}` is no amount of disk: a number of bytes, or one with K, M, G or T, is expected"),
        )
        .hint("for example: pip-accel gc --max-freed 5G")
    })
}

fn show_plan(context: &Context<'_>, plan: &GcPlan, expired: &[Expired]) {
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "dry_run": true, "plan": plan, "expired_generations": expired }));
        return;
    }
    for dead in &plan.dead {
        context.ui.data(&dead_line(dead));
    }
    show_expired(context, expired, "would be let go, and what only they keep after that");
    show_roots(context, &plan.dead_roots, &plan.kept_roots, &plan.moved_roots);
    show_users(context, &plan.users);
    let again = rebuilding(&plan.dead);
    let (count, size) = (plan.dead.len(), bytes(plan.dead_bytes));
    let spared = spared(plan.spared_count);
    let stay = stay(plan.live_count);
    context.ui.note(&format!("would delete {} of {size}{again}; {stay}{spared}", counted(count, "object")));
}

/// What making all of these again would cost.
fn rebuilding(dead: &[DeadObject]) -> String {
    let mut download = 0_u64;
    let (mut builds, mut milliseconds) = (0_u64, 0_u64);
    for object in dead {
        match object.rebuild {
            RebuildCost::Download { bytes } => download = download.saturating_add(bytes),
            RebuildCost::Unpack => {}
            RebuildCost::Build { milliseconds: took } => {
                builds += 1;
                milliseconds = milliseconds.saturating_add(took.unwrap_or(0));
            }
        }
    }
    let mut costs = Vec::new();
    if download > 0 {
        costs.push(format!("{} to download", bytes(download)));
    }
    if builds > 0 {
        let noun = if builds == 1 { "build" } else { "builds" };
        costs.push(format!("{builds} {noun} of {}", seconds(Duration::from_millis(milliseconds))));
    }
    if costs.is_empty() { String::new() } else { format!(" (to have them again: {})", costs.join(", ")) }
}

fn stay(count: u64) -> String {
    format!("{count} {}", number_of(count, "stays", "stay"))
}

fn spared(count: u64) -> String {
    let are = number_of(count, "is", "are");
    if count == 0 { String::new() } else { format!(", {count} that nothing needs {are} spared") }
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

/// What other users, who read this store as a lower store, have to do with it.
fn show_users(context: &Context<'_>, users: &UsersKept) {
    let ui = &context.ui;
    for (number, what) in [
        (users.roots, "roots of other users: they keep objects"),
        (users.processes, "running processes of other users: they use objects"),
        (users.gone, "roots of other users that are gone and keep nothing any more"),
    ] {
        if number > 0 {
            ui.note(&format!("{number} {what}"));
        }
    }
    for path in &users.nonsense {
        ui.warn(&format!("`{}` says nothing that this program understands, and keeps nothing", path.display()));
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

/// Objects that only another user can delete: everything else was done, and the rest needs a word.
fn foreign(report: &GcReport, root: &Path) -> Result<Exit, Failure> {
    let Some(first) = report.foreign.first() else { return Ok(Exit::Done) };
    let more = match report.foreign.len() - 1 {
        0 => String::new(),
        1 => " and 1 more object".to_owned(),
        more => format!(" and {more} more objects"),
    };
    let text = format!("`{}`{more} can't be deleted: the owner is {}, not you", first.path.display(), first.owner);
    let remedy =
        format!("take it over: sudo chown -R \"$(id -u):$(id -g)\" {}; then repeat the command", root.display());
    Err(Failure::new(Exit::Error, text).hint(&remedy))
}

fn show_report(context: &Context<'_>, report: &GcReport, expired: &[Expired]) {
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "dry_run": false, "report": report, "expired_generations": expired }));
        return;
    }
    for dead in &report.deleted {
        context.ui.data(&dead_line(dead));
    }
    show_expired(context, expired, "keep nothing any more");
    show_roots(context, &report.dead_roots, &report.kept_roots, &report.moved_roots);
    for left in &report.left {
        context.ui.warn(&format!("`{}` could not be deleted; the next gc tries again", left.display()));
    }
    show_users(context, &report.users);
    let again = rebuilding(&report.deleted);
    let (count, freed) = (report.deleted.len(), bytes(report.freed_bytes));
    let spared = spared(report.spared_count);
    let stay = stay(report.live_count);
    context.ui.note(&format!("deleted {}{again}, {stay}{spared}, {freed} freed", counted(count, "object")));
}
