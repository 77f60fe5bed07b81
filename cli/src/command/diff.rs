//! `diff`: what two generations, environments or locks do not have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pip_accel_builder::lock::Choice;
use pip_accel_builder::realize;
use pip_accel_builder::realize::generations::wanted;
use pip_accel_schema::environment::EnvironmentPackage;
use pip_accel_schema::name::PackageName;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Access, Store};
use serde::Serialize;
use serde_json::json;

use super::Context;
use super::generations::read;
use super::session::{Opened, load_lock};
use crate::args::generations::DiffArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;
use crate::ui::bytes;

/// One package of a side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Held {
    #[serde(rename = "package_version")]
    version: String,
    /// `None` where the store does not have what a lock means.
    object: Option<ObjectId>,
    size_bytes: Option<u64>,
}

/// What is compared.
struct Side {
    label: String,
    packages: BTreeMap<PackageName, Held>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Change {
    Added { name: PackageName, now: Held },
    Removed { name: PackageName, then: Held },
    Version { name: PackageName, then: Held, now: Held },
    Rebuilt { name: PackageName, then: Held, now: Held },
    Unknown { name: PackageName, then: Held, now: Held },
}

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &DiffArgs) -> Result<Exit, Failure> {
    let one = side(context, args, args.one.as_deref(), true)?;
    let other = side(context, args, args.other.as_deref(), false)?;
    let changes = changes(&one, &other);
    let total = |side: &Side| side.packages.values().filter_map(|held| held.size_bytes).fold(0, u64::saturating_add);
    if context.ui.json {
        let label =
            |side: &Side| json!({ "what": side.label, "packages": side.packages.len(), "size_bytes": total(side) });
        context.ui.json(&json!({ "version": 1, "one": label(&one), "other": label(&other), "changes": changes }));
        return Ok(Exit::Done);
    }
    for change in &changes {
        context.ui.data(&line(change));
    }
    let count = |is: fn(&Change) -> bool| changes.iter().filter(|change| is(change)).count();
    context.ui.note(&format!(
        "{} → {}: {} added, {} removed, {} of another version, {} rebuilt; {} → {}",
        one.label,
        other.label,
        count(|change| matches!(change, Change::Added { .. })),
        count(|change| matches!(change, Change::Removed { .. })),
        count(|change| matches!(change, Change::Version { .. })),
        count(|change| matches!(change, Change::Rebuilt { .. })),
        bytes(total(&one)),
        bytes(total(&other))
    ));
    Ok(Exit::Done)
}

/// A number, a directory or a lock; without a word, the generation before the present, or the present.
fn side(context: &Context<'_>, args: &DiffArgs, word: Option<&str>, is_first: bool) -> Result<Side, Failure> {
    let venv = context.host.absolute(&args.venv);
    let number = word.and_then(|word| word.parse::<u32>().ok());
    if word.is_some() && number.is_none() {
        let path = Path::new(word.unwrap_or_default());
        let place = context.host.absolute(path);
        return if place.is_dir() { present(context, &place, path) } else { of_lock(context, args, path) };
    }
    if number.is_none() && !is_first {
        return present(context, &venv, &args.venv);
    }
    let (manifest, generations) = read(&venv)?;
    if number == Some(generations.current) {
        return present(context, &venv, &args.venv);
    }
    let generation = wanted(&venv, &generations, number)?;
    let packages = generation.packages.iter().map(|package| &package.package);
    held(context, format!("generation {}", generation.number), &manifest.store, packages)
}

fn present(context: &Context<'_>, place: &Path, typed: &Path) -> Result<Side, Failure> {
    let (manifest, _) = read(place)?;
    held(context, typed.display().to_string(), &manifest.store, manifest.packages.iter())
}

/// A store that is not there any more tells no sizes; everything else is in the manifests.
fn held<'a>(
    context: &Context<'_>,
    label: String,
    store: &str,
    packages: impl Iterator<Item = &'a EnvironmentPackage>,
) -> Result<Side, Failure> {
    let mut settings = context.settings()?;
    settings.set("store", Some(Value::Text(store.to_owned())));
    let store = context.open(&settings, Access::ReadOnly).ok();
    let size = |id: &ObjectId| -> Result<Option<u64>, Failure> {
        let Some(store): Option<&Store> = store.as_deref() else { return Ok(None) };
        Ok(store.object_by_prefix(&id.to_string())?.first().map(|object| object.size_bytes))
    };
    let mut found = BTreeMap::new();
    for package in packages {
        let size_bytes = size(&package.object)?;
        let held = Held { version: package.version.to_string(), object: Some(package.object), size_bytes };
        found.insert(package.name.clone(), held);
    }
    Ok(Side { label, packages: found })
}

fn of_lock(context: &Context<'_>, args: &DiffArgs, path: &Path) -> Result<Side, Failure> {
    let lock = load_lock(context, path, &Choice::default())?;
    let mut settings = context.settings()?;
    settings.set("offline", Some(Value::Flag(true)));
    let venv = context.host.absolute(&args.venv);
    if let (None, Ok((manifest, _))) = (&args.source.python, read(&venv)) {
        // Compared with an environment, the lock means what it means there.
        settings.set("python", Some(Value::Text(manifest.python)));
        settings.set("store", Some(Value::Text(manifest.store)));
    }
    let store = context.open(&settings, Access::ReadOnly)?;
    let opened = Opened::new(context, store, settings, &args.source, &lock.options)?;
    let plan = realize::plan(&opened.session, &lock)?;
    opened.progress.finish();
    let packages = plan.packages.into_iter().map(|package| {
        let held = match &package.object {
            Some(object) => Held {
                version: object.version.to_string(),
                object: Some(object.id),
                size_bytes: Some(object.size_bytes),
            },
            None => Held { version: package.pin.label_version().to_string(), object: None, size_bytes: None },
        };
        (package.pin.name, held)
    });
    Ok(Side { label: path.display().to_string(), packages: packages.collect() })
}

fn changes(one: &Side, other: &Side) -> Vec<Change> {
    let names: BTreeSet<&PackageName> = one.packages.keys().chain(other.packages.keys()).collect();
    let change = |name: &PackageName| {
        let name = name.clone();
        match (one.packages.get(&name).cloned(), other.packages.get(&name).cloned()) {
            (Some(then), Some(now)) if then.version != now.version => Some(Change::Version { name, then, now }),
            (Some(then), Some(now)) if then.object.is_none() || now.object.is_none() => {
                Some(Change::Unknown { name, then, now })
            }
            (Some(then), Some(now)) if then.object != now.object => Some(Change::Rebuilt { name, then, now }),
            (Some(then), None) => Some(Change::Removed { name, then }),
            (None, Some(now)) => Some(Change::Added { name, now }),
            (Some(_), Some(_)) | (None, None) => None,
        }
    };
    names.into_iter().filter_map(change).collect()
}

fn line(change: &Change) -> String {
    let size = |held: &Held| held.size_bytes.map_or_else(|| "not in the store".to_owned(), bytes);
    match change {
        Change::Added { name, now } => format!("+ {name}=={} ({})", now.version, size(now)),
        Change::Removed { name, then } => format!("- {name}=={} ({})", then.version, size(then)),
        Change::Version { name, then, now } => {
            format!("~ {name} {} → {} ({} → {})", then.version, now.version, size(then), size(now))
        }
        Change::Rebuilt { name, then, now } => {
            format!("~ {name}=={} rebuilt, or another file ({} → {})", now.version, size(then), size(now))
        }
        Change::Unknown { name, now, .. } => {
            format!("? {name}=={}: the store does not have it, so it may be another build", now.version)
        }
    }
}
