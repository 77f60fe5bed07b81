//! `roots list`: what, where, whether it is there; in the long form since when, and what it keeps.

use std::collections::HashSet;

use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{GcError, Root, RootClosure, RootCondition, Share, Store, UserRoot};
use serde_json::json;

use crate::command::Context;
use crate::command::gc::policy;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Settings;
use crate::ui::{bytes, span};

/// Runs the command.
pub(super) fn run(context: &Context<'_>, settings: &Settings, store: &Store) -> Result<Exit, Failure> {
    let ui = &context.ui;
    if ui.json || ui.verbose > 0 {
        long(context, settings, store)?;
    } else {
        for (root, condition) in conditions(settings, store)? {
            ui.data(&format!("{} {}{}", root.kind.as_str(), root.name, note(&condition)));
        }
        for (UserRoot { user, root, .. }, condition) in store.roots_of_users(&policy(settings))? {
            // One that this program does not understand keeps what it names all the same.
            let what = root.map_or_else(|| "a root".to_owned(), |root| format!("{} {}", root.kind.as_str(), root.name));
            ui.data(&format!("{what} of the user {user}{}", note(&condition)));
        }
    }
    if !ui.json && store.roots()?.is_empty() {
        let others = store.roots_of_users(&policy(settings))?;
        let what = if others.is_empty() { "everything older" } else { "what these don't need and is older" };
        ui.note(&format!("no roots of this store: the next gc may delete {what} than an hour"));
    }
    Ok(Exit::Done)
}

/// A root that can't be examined is no reason to show none.
fn conditions(settings: &Settings, store: &Store) -> Result<Vec<(Root, RootCondition)>, Failure> {
    match store.root_conditions(&policy(settings)) {
        Err(GcError::RootUnreadable { .. }) => {
            Ok(store.roots()?.into_iter().map(|root| (root, RootCondition::There)).collect())
        }
        result => Ok(result?),
    }
}

fn note(condition: &RootCondition) -> String {
    match condition {
        RootCondition::There => String::new(),
        RootCondition::Gone => " (gone: the next gc removes it)".to_owned(),
        RootCondition::Kept { .. } => " (not there; it keeps its objects for now)".to_owned(),
        RootCondition::Moved { to } => format!(" (now at {})", to.display()),
    }
}

fn long(context: &Context<'_>, settings: &Settings, store: &Store) -> Result<(), Failure> {
    let closures = store.root_closures(&policy(settings))?;
    let shares = store.disk_shares()?;
    let kept = |closure: &RootClosure| shares.of_objects(&closure.objects);
    let only = |closure: &RootClosure| shares.of_objects(&only_here(closure, &closures));
    if context.ui.json {
        let roots: Vec<_> = closures.iter().map(|closure| as_json(closure, &kept(closure), &only(closure))).collect();
        context.ui.json(&json!({ "version": 1, "roots": roots }));
        return Ok(());
    }
    for closure in &closures {
        let (root, share) = (&closure.root, kept(closure));
        let noun = if share.objects == 1 { "object" } else { "objects" };
        context.ui.data(&format!("{}{}", label(closure), note(&closure.condition)));
        context.ui.data(&format!("  set {} ago", span(store.now().saturating_sub(root.created_at))));
        context.ui.data(&format!("  keeps {} {noun}, {} on disk", share.objects, bytes(share.bytes)));
        context.ui.data(&format!("  without it gc could free {}", bytes(only(closure).exclusive_bytes)));
    }
    Ok(())
}

/// The root in words, with its user where that is another one.
pub(in crate::command) fn label(closure: &RootClosure) -> String {
    let of = closure.user.as_ref().map(|user| format!(" of the user {user}")).unwrap_or_default();
    format!("{} {}{of}", closure.root.kind.as_str(), closure.root.name)
}

fn as_json(closure: &RootClosure, kept: &Share, only: &Share) -> serde_json::Value {
    let mut value = json!(closure.root);
    if let Some(user) = &closure.user {
        value["user"] = json!(user);
    }
    value["condition"] = json!(closure.condition);
    value["objects"] = json!(kept.objects);
    value["disk_bytes"] = json!(kept.bytes);
    value["only_here"] = json!(only);
    value
}

/// The objects that no other root keeps.
fn only_here(closure: &RootClosure, all: &[RootClosure]) -> Vec<ObjectId> {
    let is_other = |other: &&RootClosure| {
        other.condition != RootCondition::Gone
            && (&other.user, other.root.kind, &other.root.name)
                != (&closure.user, closure.root.kind, &closure.root.name)
    };
    let kept: HashSet<&ObjectId> = all.iter().filter(is_other).flat_map(|other| &other.objects).collect();
    closure.objects.iter().filter(|id| !kept.contains(id)).copied().collect()
}
