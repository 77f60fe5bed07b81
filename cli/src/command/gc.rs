//! `gc`: delete what nothing refers to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pip_accel_builder::realize::generations::{Expired, Expiry, expire};
use pip_accel_store::{
    Access, DeadObject, DeadReason, DeadRoot, DeadRootReason, GcLimits, GcPlan, GcPolicy, GcReport, KeptReason,
    KeptRoot, MIN_AGE_SECONDS, MovedRoot, RebuildCost, RootChange, Store, UsersKept,
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
        let (plan, expired) = plan(&store, &policy)?;
        show_plan(context, &plan, &expired);
        return Ok(Exit::Done);
    }
    let store = context.open(&settings, Access::ReadWrite)?;
    let (report, expired) = context.interruptible(&store, || collect(&store, &policy))?;
    show_report(context, &report, &expired);
    foreign(&report, store.root())
}

/// Lets go of generations that are older than what the policy spares, and collects. Where a limit of size is not met by
/// that, earlier generations are let go as well, the oldest first, until it is or there are none.
fn collect(store: &Arc<Store>, policy: &GcPolicy) -> Result<(GcReport, Vec<Expired>), Failure> {
    let mut expired = policy.older_than_seconds.map(|age| expire(store, Expiry::Age(age), false)).unwrap_or_default();
    let mut report = store.gc_apply(policy, &mut |_| {})?;
    while store.gc_missing(policy)? > 0 {
        let max_freed_bytes = policy.limits.max_freed_bytes.map(|max| max.saturating_sub(report.freed_bytes));
        if max_freed_bytes == Some(0) || report.spared_count > 0 {
            break;
        }
        let more = expire(store, Expiry::Oldest(1), false);
        if more.is_empty() {
            break;
        }
        add(&mut expired, more);
        let left = GcPolicy { limits: GcLimits { max_freed_bytes, ..policy.limits }, ..policy.clone() };
        report.add(store.gc_apply(&left, &mut |_| {})?);
    }
    Ok((report, expired))
}

/// What [`collect`] would do, as far as sizes can be known before.
fn plan(store: &Arc<Store>, policy: &GcPolicy) -> Result<(GcPlan, Vec<Expired>), Failure> {
    let mut expired = policy.older_than_seconds.map(|age| expire(store, Expiry::Age(age), true)).unwrap_or_default();
    let plan = |expired: &[Expired]| {
        let changes: Vec<RootChange> = expired.iter().map(|expired| expired.root.clone()).collect();
        store.gc_plan_after(policy, &changes)
    };
    let count = |expired: &[Expired]| expired.iter().map(|expired| expired.numbers.len()).sum::<usize>();
    let missing = store.gc_missing(policy)?;
    let mut planned = plan(&expired)?;
    while planned.dead_bytes < missing && planned.spared_count == 0 {
        if policy.limits.max_freed_bytes.is_some_and(|max| planned.dead_bytes >= max) {
            break;
        }
        let before = count(&expired);
        // Those that go by their age are the oldest, so that the list grows by one.
        let more = expire(store, Expiry::Oldest(before + 1), true);
        if count(&more) <= before {
            break;
        }
        expired = more;
        planned = plan(&expired)?;
    }
    Ok((planned, expired))
}

/// Adds to what was let go, each environment once.
fn add(expired: &mut Vec<Expired>, more: Vec<Expired>) {
    for one in more {
        match expired.iter_mut().find(|known| known.environment == one.environment) {
            Some(known) => {
                known.numbers.extend(one.numbers);
                known.root = one.root;
            }
            None => expired.push(one),
        }
    }
}

fn show_expired(context: &Context<'_>, expired: &[Expired], verb: &str) {
    for Expired { environment, numbers, .. } in expired {
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
    if users.hidden > 0 {
        let what = number_of(users.hidden, "root or process", "roots or processes");
        ui.warn(&format!(
            "{} {what} of others can be read by the owner of the store only, and may keep some of these",
            users.hidden
        ));
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
