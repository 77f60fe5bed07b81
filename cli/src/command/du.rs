//! `du`: how much disk an environment, a package or the whole store takes, and how much of it is theirs alone.

use std::collections::HashSet;
use std::path::Path;

use pip_accel_builder::environment;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Access, DiskShares, RootClosure, RootCondition, Share, Store};
use serde_json::json;

use super::Context;
use super::gc::policy;
use super::roots::list::label;
use super::show::{find, not_here};
use super::status::no_environment;
use crate::args::inspect::DuArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::{Settings, Value};
use crate::ui::bytes;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &DuArgs) -> Result<Exit, Failure> {
    let mut settings = context.settings()?;
    match (&args.venv, &args.package) {
        (Some(venv), _) => of_environment(context, &mut settings, &context.host.absolute(venv)),
        (None, Some(package)) => of_package(context, &settings, package),
        (None, None) => of_store(context, &settings),
    }
}

fn of_environment(context: &Context<'_>, settings: &mut Settings, venv: &Path) -> Result<Exit, Failure> {
    let Some(manifest) = environment::read_manifest(venv)? else { return Err(no_environment(venv)) };
    settings.set("store", Some(Value::Text(manifest.store.clone())));
    let store = context.open(settings, Access::ReadOnly)?;
    let shares = store.disk_shares()?;
    let named: Vec<ObjectId> = manifest.packages.iter().map(|package| package.object).collect();
    let kept = store.closure(&named, policy(settings).keep_sources)?;
    let rows = [("packages", shares.of_objects(&named)), ("packages and sources", shares.of_objects(&kept))];
    let own = pip_accel_store::disk_usage_of(venv)?;
    let mut lower = Vec::new();
    for below in store.lower_stores() {
        lower.push((below, below.disk_shares()?.of_objects(&named)));
    }
    lower.retain(|(_, share)| share.objects > 0);
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "environment": venv,
            "packages": rows[0].1,
            "kept": rows[1].1,
            "own_bytes": own,
            "lower_stores": lower.iter().map(|(below, share)| json!({ "store": below.root(), "packages": share })).collect::<Vec<_>>(),
        }));
        return Ok(Exit::Done);
    }
    header(context);
    for (label, share) in &rows {
        row(context, share, &format!("its {label} in the store"));
    }
    for (below, share) in &lower {
        row(context, share, &format!("its packages in the lower store {}", below.root().display()));
    }
    row(context, &Share { objects: 0, bytes: own, exclusive_bytes: own }, "its own files and links");
    Ok(Exit::Done)
}

fn of_package(context: &Context<'_>, settings: &Settings, package: &str) -> Result<Exit, Failure> {
    let store = context.open(settings, Access::ReadOnly)?;
    let objects = find(&store, package)?;
    if objects.is_empty() {
        return Err(not_here(package));
    }
    let shares = store.disk_shares()?;
    let total = shares.of_objects(objects.iter().map(|object| &object.id));
    let each = objects.iter().map(|object| (object, shares.of_objects([&object.id])));
    if context.ui.json {
        let each: Vec<_> = each
            .map(|(object, share)| {
                json!({ "id": object.id, "name": object.name, "version": object.version, "path": object.path, "share": share })
            })
            .collect();
        context.ui.json(&json!({ "version": 1, "package": package, "objects": each, "total": total }));
        return Ok(Exit::Done);
    }
    header(context);
    let mut each: Vec<_> = each.collect();
    each.sort_by_key(|(object, share)| (std::cmp::Reverse(share.bytes), object.id));
    for (object, share) in &each {
        row(context, share, &super::why::heading(object));
    }
    if each.len() > 1 {
        row(context, &total, "together");
    }
    Ok(Exit::Done)
}

/// One line of the store's table.
struct Line<'a> {
    closure: &'a RootClosure,
    share: Share,
}

fn of_store(context: &Context<'_>, settings: &Settings) -> Result<Exit, Failure> {
    let store = context.open(settings, Access::ReadOnly)?;
    let closures = store.root_closures(&policy(settings))?;
    let shares = store.disk_shares()?;
    let mut lines: Vec<Line<'_>> =
        closures.iter().map(|closure| Line { closure, share: shares.of_objects(&closure.objects) }).collect();
    lines.sort_by(|one, other| {
        let key = |line: &Line<'_>| (std::cmp::Reverse(line.share.bytes), line.closure.root.kind);
        key(one).cmp(&key(other)).then_with(|| one.closure.root.name.cmp(&other.closure.root.name))
    });
    let unkept = unkept(&closures, &shares);
    let total = shares.total();
    let whole = store.disk_usage()?;
    if context.ui.json {
        let roots: Vec<_> = lines.iter().map(line_json).collect();
        context.ui.json(&json!({
            "version": 1, "roots": roots, "kept_by_no_root": unkept, "objects": total, "store_bytes": whole,
        }));
        return Ok(Exit::Done);
    }
    show_table(context, &store, &lines, (&unkept, &total, whole));
    Ok(Exit::Done)
}

fn show_table(context: &Context<'_>, store: &Store, lines: &[Line<'_>], (unkept, total, whole): (&Share, &Share, u64)) {
    header(context);
    for Line { closure, share } in lines {
        let gone = if closure.condition == RootCondition::Gone { " (gone)" } else { "" };
        row(context, share, &format!("{}{gone}", label(closure)));
    }
    if unkept.objects > 0 {
        row(context, unkept, "kept by no root");
    }
    row(context, total, "all objects");
    context.ui.data(&format!("{:>10} {:>10}  the store {}", bytes(whole), "", store.root().display()));
}

fn line_json(line: &Line<'_>) -> serde_json::Value {
    let mut value = json!({ "root": line.closure.root, "condition": line.closure.condition, "share": line.share });
    if let Some(user) = &line.closure.user {
        value["user"] = json!(user);
    }
    value
}

/// What no root keeps that is there.
fn unkept(closures: &[RootClosure], shares: &DiskShares) -> Share {
    let living = closures.iter().filter(|closure| closure.condition != RootCondition::Gone);
    let kept: HashSet<&ObjectId> = living.flat_map(|closure| &closure.objects).collect();
    shares.of_objects(shares.objects().filter(|id| !kept.contains(id)))
}

fn header(context: &Context<'_>) {
    context.ui.data(&format!("{:>10} {:>10}  {}", "size", "exclusive", "what"));
}

fn row(context: &Context<'_>, share: &Share, label: &str) {
    let count = match share.objects {
        0 => String::new(),
        1 => " (1 object)".to_owned(),
        many => format!(" ({many} objects)"),
    };
    context.ui.data(&format!("{:>10} {:>10}  {label}{count}", bytes(share.bytes), bytes(share.exclusive_bytes)));
}
