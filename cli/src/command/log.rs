//! `log`: the output of a package's builds.

use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::system_inputs::SystemInputs;
use pip_accel_store::{Access, BuildRecord, Store};
use serde_json::json;

use super::Context;
use crate::args::LogArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::seconds;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &LogArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let store = context.open(&settings, Access::ReadOnly)?;
    let (name, version) = match args.package.split_once("==") {
        Some((name, version)) => (name, Some(version.parse().map_err(|error| Failure::usage(&error))?)),
        None => (args.package.as_str(), None),
    };
    let name = name.parse().map_err(|error| Failure::usage(&error))?;
    let records = store.build_logs(&name, version.as_ref())?;
    let Some(newest) = records.first() else {
        return Err(Failure::new(Exit::Error, format!("no build of `{}` is recorded in this store", args.package))
            .hint(&format!("build it: pip-accel build {name}==VERSION")));
    };
    if context.ui.json {
        let builds: Result<Vec<_>, Failure> = records.iter().map(|record| as_json(&store, record)).collect();
        context.ui.json(&json!({ "version": 1, "builds": builds? }));
    } else if args.list {
        for record in &records {
            let duration = seconds(std::time::Duration::from_millis(record.duration_ms));
            let reason = if record.reason.is_empty() { String::new() } else { format!(": {}", record.reason) };
            context.ui.data(&format!("{}=={} {} in {duration}{reason}", record.name, record.version, record.status));
        }
    } else {
        let mut reader = store.read_build_log(newest)?;
        context
            .ui
            .build_log(&mut *reader)
            .map_err(|error| Failure::new(Exit::Error, format!("cannot print the log: {error}")))?;
    }
    Ok(Exit::Done)
}

/// A build with what it read of the system, where that is known and the newest object of its recipe is still there.
fn as_json(store: &Store, record: &BuildRecord) -> Result<serde_json::Value, Failure> {
    let mut value = json!(record);
    value["read"] = json!(read_of_the_system(store, record)?);
    Ok(value)
}

fn read_of_the_system(store: &Store, record: &BuildRecord) -> Result<Option<SystemInputs>, Failure> {
    let Some(id) = record.recipe else { return Ok(None) };
    let mut objects = store.objects_named(&record.name, Some(&record.version))?;
    objects.sort_by_key(|object| std::cmp::Reverse(object.registered_at));
    Ok(objects.into_iter().find_map(|object| match object.provenance {
        Provenance::Build { recipe, read, .. } if recipe.id() == id => read.map(|read| *read),
        _ => None,
    }))
}
