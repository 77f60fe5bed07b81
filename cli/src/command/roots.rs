//! `roots`: what keeps objects alive.

pub(super) mod list;

use std::path::{Path, PathBuf};

use pip_accel_builder::realize::{pin_lock, pin_name};
use pip_accel_store::{Access, NewRoot, RootKind, Store};
use serde_json::json;

use super::Context;
use super::session::{Opened, load_lock};
use super::show::find;
use crate::args::roots::{PinArgs, RootsAction, RootsArgs};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;
use crate::ui::counted;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &RootsArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    match args.action.as_ref().unwrap_or(&RootsAction::List) {
        RootsAction::List => {
            let store = context.open(&settings, Access::ReadOnly)?;
            list::run(context, &settings, &store)
        }
        RootsAction::Add { name, object } => {
            let store = context.open(&settings, Access::ReadWrite)?;
            add(context, &store, name, object)
        }
        RootsAction::Pin(args) => pin(context, args),
        RootsAction::Remove { name } => {
            let store = context.open(&settings, Access::ReadWrite)?;
            remove(context, &store, name)
        }
    }
}

fn add(context: &Context<'_>, store: &Store, name: &str, object: &str) -> Result<Exit, Failure> {
    let objects = find(store, object)?;
    let [only] = objects.as_slice() else {
        return Err(Failure::new(Exit::Error, format!("`{object}` means {} objects of this store", objects.len()))
            .hint(&format!("name one by its id: pip-accel show {object}")));
    };
    let root = NewRoot { kind: RootKind::Pin, name: name.to_owned(), location: PathBuf::new() };
    store.put_root(root, &[only.id])?;
    context.ui.note(&format!("`{name}` keeps {}=={}", only.name, only.version));
    Ok(Exit::Done)
}

fn pin(context: &Context<'_>, args: &PinArgs) -> Result<Exit, Failure> {
    let lock = load_lock(context, &args.lock, &args.choice.choice())?;
    let mut settings = context.settings()?;
    // What is not in the store can't be kept: nothing is fetched.
    settings.set("offline", Some(Value::Flag(true)));
    let store = context.open(&settings, Access::ReadWrite)?;
    let opened = Opened::new(context, store, settings, &args.source, &lock.options)?;
    let name = args.name.clone().unwrap_or_else(|| pin_name(&context.host.absolute(&args.lock), &opened.session));
    let report = pin_lock(&opened.session, &lock, name)?;
    opened.progress.finish();
    if !report.without_source.is_empty() {
        context.ui.warn(&format!("the store has no source of {}", report.without_source.join(", ")));
    }
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "name": report.name,
            "packages": report.packages,
            "objects": report.objects,
            "without_source": report.without_source,
        }));
        return Ok(Exit::Done);
    }
    context.ui.note(&format!(
        "pin `{}` keeps {}, {}",
        report.name,
        counted(report.packages, "package"),
        counted(report.objects.len(), "object")
    ));
    Ok(Exit::Done)
}

fn remove(context: &Context<'_>, store: &Store, name: &str) -> Result<Exit, Failure> {
    for kind in [RootKind::Pin, RootKind::Environment, RootKind::Lock] {
        if store.remove_root(kind, name)? {
            context.ui.note(&format!("{} `{name}` keeps nothing any more", kind.as_str()));
            return Ok(Exit::Done);
        }
    }
    // A lock has one root for each interpreter it was fetched for, with the interpreter in its name.
    let location = context.host.absolute(Path::new(name));
    let mut removed = false;
    let of_lock = format!("{} for ", location.display());
    let is_meant = |root: &&pip_accel_store::Root| {
        root.location == location || (root.kind == RootKind::Pin && root.name.starts_with(&of_lock))
    };
    for root in store.roots()?.iter().filter(is_meant) {
        if store.remove_root(root.kind, &root.name)? {
            context.ui.note(&format!("{} `{}` keeps nothing any more", root.kind.as_str(), root.name));
            removed = true;
        }
    }
    if removed {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Error, format!("there is no root `{name}`")).hint("list them: pip-accel roots"))
}
