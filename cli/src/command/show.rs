//! `show`: what an object is, from what, how large, and who refers to it.

mod part;

use std::path::Path;

use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::name::PackageName;
use pip_accel_store::{Access, LowerStore, Object, Store};
use serde_json::json;

use super::Context;
use crate::args::inspect::ShowArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::bytes;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &ShowArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let store = context.open(&settings, Access::ReadOnly)?;
    let objects = find(&store, &args.object)?;
    if objects.is_empty() {
        return Err(not_here(&args.object));
    }
    if let Some(part) = part::wanted(args) {
        return part::run(context, &store, &objects, part);
    }
    if context.ui.json {
        let shown: Result<Vec<_>, Failure> = objects.iter().map(|object| as_json(&store, object)).collect();
        context.ui.json(&json!({ "version": 1, "objects": shown? }));
        return Ok(Exit::Done);
    }
    for object in &objects {
        show(context, &store, object)?;
    }
    Ok(Exit::Done)
}

/// Nothing in the store is meant by `text`.
pub(super) fn not_here(text: &str) -> Failure {
    let failure = Failure::new(Exit::Error, format!("`{text}` is not in this store"))
        .hint("name a project, NAME==VERSION or the beginning of an id; a list of all: pip-accel du");
    match text.parse::<PackageName>() {
        Ok(name) => failure.hint(&format!("whatever an environment has: pip-accel pip show {name}")),
        Err(_) => failure,
    }
}

fn as_json(store: &Store, object: &Object) -> Result<serde_json::Value, Failure> {
    let referrers = store.referrers(&object.id)?;
    Ok(json!({
        "id": object.id,
        "path": object.path,
        "lower_store": store.lower_of(object).map(LowerStore::root),
        "name": object.name,
        "version": object.version,
        "provenance": object.provenance,
        "content_digest": object.content_digest,
        "noticed": noticed(store, object)?,
        "size_bytes": object.size_bytes,
        "registered_at": object.registered_at,
        "last_used_at": object.last_used_at,
        "roots": referrers.roots,
        "references": store.origin(object)?.references.iter().map(|object| object.id).collect::<Vec<_>>(),
        "referrers": referrers.objects.iter().map(|object| object.id).collect::<Vec<_>>(),
    }))
}

/// What was noticed when an object was built.
fn noticed(store: &Store, object: &Object) -> Result<Vec<String>, Failure> {
    let Provenance::Build { recipe, .. } = &object.provenance else { return Ok(Vec::new()) };
    let id = recipe.id();
    let builds = store.build_logs(&object.name, Some(&object.version))?;
    let newest = builds.into_iter().find(|build| build.recipe == Some(id));
    Ok(newest.map(|build| build.reason).filter(|reason| !reason.is_empty()).into_iter().collect())
}

fn show(context: &Context<'_>, store: &Store, object: &Object) -> Result<(), Failure> {
    let referrers = store.referrers(&object.id)?;
    let ui = &context.ui;
    ui.data(&format!("{}=={}", object.name, object.version));
    ui.data(&format!("  path: {}", object.path.display()));
    ui.data(&format!("  from: {}", from(&object.provenance)));
    ui.data(&format!("  size: {}", bytes(object.size_bytes)));
    ui.data(&format!("  content: {}", object.content_digest));
    if let Provenance::Build { read, .. } = &object.provenance {
        let read = read.as_ref().map_or_else(|| "not known, the build was not traced".to_owned(), ToString::to_string);
        ui.data(&format!("  read of the system: {read}"));
    }
    for reference in store.origin(object)?.references {
        ui.data(&format!("  refers to: {}=={} ({})", reference.name, reference.version, reference.id));
    }
    for noticed in noticed(store, object)? {
        ui.data(&format!("  noticed: {noticed}"));
    }
    for root in &referrers.roots {
        ui.data(&format!("  kept by: {} {}", root.kind.as_str(), root.name));
    }
    for referrer in &referrers.objects {
        ui.data(&format!("  referred to by: {}=={} ({})", referrer.name, referrer.version, referrer.id));
    }
    if let Some(lower) = store.lower_of(object) {
        ui.data(&format!("  in the lower store: {}, which belongs to {}", lower.root().display(), lower.owner()));
    } else if referrers.roots.is_empty() && referrers.objects.is_empty() {
        let kept = matches!(object.provenance, Provenance::Source { .. });
        ui.data(if kept {
            "  kept by: what was made from it"
        } else {
            "  kept by: nothing (the next gc may delete it)"
        });
    }
    Ok(())
}

fn from(provenance: &Provenance) -> String {
    match provenance {
        Provenance::Source { file_name, sha256 } => format!("{file_name}, as published (SHA-256 {sha256})"),
        Provenance::Wheel { file_name, sha256, .. } => format!("the wheel {file_name} (SHA-256 {sha256})"),
        Provenance::Layer { package, version, architecture, sha256 } => {
            format!("the Debian package {package} {version} ({architecture}, SHA-256 {sha256})")
        }
        Provenance::Build { recipe, .. } => {
            let inputs: Vec<String> =
                recipe.build_inputs.iter().map(|input| format!("{}=={}", input.name, input.version)).collect();
            format!(
                "a build of the sdist with SHA-256 {}, by {} with {} (recipe {}, sandbox {})",
                recipe.source,
                recipe.interpreter_label,
                if inputs.is_empty() { "no build requirements".to_owned() } else { inputs.join(", ") },
                recipe.id(),
                recipe.sandbox_policy
            )
        }
    }
}

/// The objects that `text` means: a path in the store, a project, a release, or the beginning of an id.
pub(super) fn find(store: &Store, text: &str) -> Result<Vec<Object>, Failure> {
    let file_name = Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or(text);
    if let Ok(path) = file_name.parse::<pip_accel_schema::store_path::StorePath>() {
        let mut objects = store.object_by_prefix(&path.id().to_string())?;
        objects.retain(|object| is_named(object, Path::new(text)));
        return Ok(objects);
    }
    if let Some((name, version)) = text.split_once("==") {
        let name = name.parse().map_err(|error| Failure::usage(&error))?;
        let version = version.parse().map_err(|error| Failure::usage(&error))?;
        return Ok(store.objects_named(&name, Some(&version))?);
    }
    if let Ok(name) = text.parse() {
        let objects = store.objects_named(&name, None)?;
        if !objects.is_empty() {
            return Ok(objects);
        }
    }
    Ok(store.object_by_prefix(text)?)
}

/// Whether `text` is the name of the object's folder or a path of it, links in the way followed.
fn is_named(object: &Object, text: &Path) -> bool {
    let folder = |path: &Path| path.parent().and_then(|parent| parent.canonicalize().ok());
    let is_bare = text.parent().is_none_or(|parent| parent.as_os_str().is_empty());
    text.file_name() == object.path.file_name() && (is_bare || folder(text) == folder(&object.path))
}
