//! `why`: which requirement brought a package; what keeps an object, and the way from there to it.

mod brought;

use pip_accel_builder::environment;
use pip_accel_schema::environment::EnvironmentManifest;
use pip_accel_schema::generation::Generation;
use pip_accel_schema::manifest::Provenance;
use pip_accel_store::{
    Access, DeadRootReason, KeptBy, KeptReason, Object, PathStep, Root, RootCondition, RootKind, StepKind, Store, Why,
};
use serde_json::json;

use self::brought::Brought;
use super::Context;
use super::gc::policy;
use super::show::{find, not_here};
use crate::args::inspect::WhyArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::span;

/// Steps of a way that are shown; of a longer one the ends are.
const STEPS_SHOWN: usize = 8;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &WhyArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let policy = policy(&settings);
    let store = context.open(&settings, Access::ReadOnly)?;
    let brought = Brought::find(context, args)?;
    // Who names a place asks about that place.
    let is_about_place = args.lock.is_some() || args.venv.is_some();
    let objects = if is_about_place { Vec::new() } else { find(&store, &args.object)? };
    if objects.is_empty() && brought.is_none() {
        return Err(not_here(&args.object));
    }
    let mut found = Vec::with_capacity(objects.len());
    for object in objects {
        let why = store.why(&object.id, &policy)?;
        found.push((object, why));
    }
    if context.ui.json {
        let objects: Vec<_> = found.iter().map(as_json).collect();
        let brought = brought.as_ref().map(Brought::as_json);
        context.ui.json(&json!({ "version": 1, "brought": brought, "objects": objects }));
        return Ok(Exit::Done);
    }
    if let Some(brought) = &brought {
        brought.show(context);
    }
    for (object, why) in &found {
        show(context, &store, object, why);
    }
    Ok(Exit::Done)
}

fn as_json((object, why): &(Object, Why)) -> serde_json::Value {
    json!({
        "id": object.id,
        "name": object.name,
        "version": object.version,
        "path": object.path,
        "kept_by": why.kept_by,
        "gone": why.gone,
        "spared_until": why.spared_until,
        "dead": why.kept_by.is_empty(),
    })
}

fn show(context: &Context<'_>, store: &Store, object: &Object, why: &Why) {
    let ui = &context.ui;
    ui.data(&heading(object));
    for kept in &why.kept_by {
        ui.data(&format!("  {}", line(kept, object, store.now())));
    }
    for gone in &why.gone {
        let what = match gone.reason {
            DeadRootReason::Missing => "is gone and keeps nothing",
            DeadRootReason::NotAnEnvironment => "is no environment of pip-accel any more and keeps nothing",
        };
        ui.data(&format!("  {} `{}` {what}", gone.root.kind.as_str(), gone.root.name));
    }
    if let Some(lower) = store.lower_of(object) {
        let nothing = if why.kept_by.is_empty() { ", and nothing here keeps it" } else { "" };
        ui.data(&format!(
            "  it lies in the lower store {}, which belongs to {}{nothing}",
            lower.root().display(),
            lower.owner()
        ));
        return;
    }
    let is_age = |kept: &KeptBy| matches!(kept, KeptBy::Young { .. });
    match (why.kept_by.iter().any(|kept| !is_age(kept)), why.spared_until) {
        (true, _) => {}
        (false, _) if why.kept_by.iter().any(is_age) => {
            ui.data("  nothing else keeps it: gc may delete it from then on")
        }
        (false, Some(until)) => ui.data(&format!(
            "  nothing keeps it: gc deletes it when it was not used for another {}",
            span(until.saturating_sub(store.now()))
        )),
        (false, None) => ui.data("  nothing keeps it: the next gc deletes it"),
    }
}

/// `six==1.16.0 (wheel) 4kq…`.
pub(super) fn heading(object: &Object) -> String {
    let kind = match object.provenance {
        Provenance::Source { .. } => "source",
        Provenance::Wheel { .. } => "wheel",
        Provenance::Build { .. } => "build",
        Provenance::Layer { .. } => "layer",
    };
    format!("{}=={} ({kind}) {}", object.name, object.version, object.id)
}

fn line(kept: &KeptBy, object: &Object, now: i64) -> String {
    match kept {
        KeptBy::Root { root, condition, path } => {
            let note = match condition {
                RootCondition::There | RootCondition::Gone => String::new(),
                RootCondition::Kept { reason: KeptReason::Unreachable } => {
                    " (on a file system that is not there)".to_owned()
                }
                RootCondition::Kept { reason: KeptReason::Young } => {
                    " (not there, and set a short while ago)".to_owned()
                }
                RootCondition::Moved { to } => format!(" (now at {})", to.display()),
            };
            let note = if note.is_empty() { generation_note(root, path) } else { note };
            format!("{} {}{note}{}", root.kind.as_str(), root.name, way(path))
        }
        KeptBy::User { user, root: Some(root), path } => {
            format!("{} {} of the user {user}{}", root.kind.as_str(), root.name, way(path))
        }
        KeptBy::User { user, root: None, path } => format!("a root of the user {user}{}", way(path)),
        KeptBy::Process { owner, path } if owner.pid == 0 => format!("a running process{}", way(path)),
        KeptBy::Process { owner, path } => format!("process {} ({}){}", owner.pid, owner.command, way(path)),
        KeptBy::Young { until, path } => {
            let left = span(until.saturating_sub(now));
            match path.as_slice() {
                [only] if only.id == object.id => format!("its age: it is too young for gc for another {left}"),
                path => format!("the age of what leads to it, for another {left}{}", way(path)),
            }
        }
    }
}

/// Which earlier generation of an environment keeps an object that the present one does not have.
fn generation_note(root: &Root, path: &[PathStep]) -> String {
    let Some(first) = path.first().filter(|_| root.kind == RootKind::Environment) else { return String::new() };
    let manifest = environment::read_manifest(&root.location).ok().flatten();
    let is_present = |manifest: EnvironmentManifest| manifest.packages.iter().any(|package| package.object == first.id);
    if manifest.is_none_or(is_present) {
        return String::new();
    }
    let Ok(generations) = environment::read_generations(&root.location) else { return String::new() };
    let has = |generation: &&Generation| generation.packages.iter().any(|package| package.package.object == first.id);
    let numbers: Vec<String> =
        generations.kept.iter().filter(has).map(|generation| generation.number.to_string()).collect();
    match numbers.as_slice() {
        [] => String::new(),
        [only] => format!(" (generation {only})"),
        several => format!(" (generations {})", several.join(", ")),
    }
}

/// ` → a==1.0 → b==2.0`.
fn way(path: &[PathStep]) -> String {
    let label = |step: &PathStep| match step.by {
        StepKind::Named | StepKind::Referred => format!(" → {}=={}", step.name, step.version),
        StepKind::Source => " → its source".to_owned(),
    };
    if path.len() <= STEPS_SHOWN {
        return path.iter().map(label).collect();
    }
    let half = STEPS_SHOWN / 2;
    let start: String = path[..half].iter().map(label).collect();
    let end: String = path[path.len() - half..].iter().map(label).collect();
    format!("{start} → ({} more){end}", path.len() - 2 * half)
}
