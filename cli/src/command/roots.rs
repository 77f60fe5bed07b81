//! `roots`: what keeps objects alive.

use std::path::{Path, PathBuf};

use pip_accel_store::{Access, NewRoot, RootKind, Store};
use serde_json::json;

use super::Context;
use super::show::find;
use crate::args::{RootsAction, RootsArgs};
use crate::error::Failure;
use crate::exit_code::Exit;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &RootsArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    match args.action.as_ref().unwrap_or(&RootsAction::List) {
        RootsAction::List => {
            let store = context.open(&settings, Access::ReadOnly)?;
            list(context, &store)
        }
        RootsAction::Add { name, object } => {
            let store = context.open(&settings, Access::ReadWrite)?;
            add(context, &store, name, object)
        }
        RootsAction::Remove { name } => {
            let store = context.open(&settings, Access::ReadWrite)?;
            remove(context, &store, name)
        }
    }
}

fn list(context: &Context<'_>, store: &Store) -> Result<Exit, Failure> {
    let roots = store.roots()?;
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "roots": roots }));
        return Ok(Exit::Done);
    }
    for root in &roots {
        context.ui.data(&format!("{} {}", root.kind.as_str(), root.name));
    }
    if roots.is_empty() {
        context.ui.note("no roots: the next gc may delete everything older than an hour");
    }
    Ok(Exit::Done)
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
    for root in store.roots()?.iter().filter(|root| root.location == location) {
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
