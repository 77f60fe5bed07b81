//! `doctor`: one line for each thing a run depends on, with the remedy where it is missing.

use std::path::PathBuf;

use pip_accel_builder::doctor::{Check, Checkup, check};
use pip_accel_store::{Access, LowerStore, Store};
use serde_json::json;

use super::Context;
use super::session::{index_settings, search_path};
use crate::args::DoctorArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Settings;
use crate::ui::bytes;

/// With less free space than this the next large package does not fit.
const DISK_FREE_BYTES_MIN: u64 = 1 << 30;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &DoctorArgs) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let mut checks = store_checks(context, &settings);
    let has_store = checks.first().is_some_and(|check| check.remedy.is_none());
    let mut index = None;
    // Without a store there is nothing to remember the interpreter in, and the line above says so.
    if !args.offline && !settings.flag("offline") && has_store {
        match index_settings(context, &settings) {
            Ok(found) => index = Some(found),
            Err(failure) => {
                let remedy = failure.remedy().unwrap_or("check the settings: pip-accel config show");
                checks.push(Check::bad("index", failure.message().to_owned(), remedy));
            }
        }
    }
    let path = context.host.variable("PATH").unwrap_or_default();
    let checkup = Checkup { search: &search_path(&context.host), path: path.as_ref(), index: index.as_ref() };
    let more =
        check(&checkup).map_err(|error| Failure::new(Exit::Error, format!("cannot start the checks: {error}")))?;
    checks.extend(more);
    let healthy = checks.iter().all(|check| check.remedy.is_none());
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "healthy": healthy, "checks": checks }));
    } else {
        for check in &checks {
            let mark = if check.remedy.is_none() { "ok " } else { "BAD" };
            let remedy = check.remedy.as_ref().map(|remedy| format!(" -- {remedy}")).unwrap_or_default();
            context.ui.data(&format!("{mark} {}: {}{remedy}", check.subject, check.state));
        }
    }
    Ok(if healthy { Exit::Done } else { Exit::Error })
}

/// A line for each lower store. The own store is opened once more, by itself: what is refused is not said twice.
fn lower_checks(context: &Context<'_>, settings: &Settings) -> Vec<Check> {
    let opened = context.store_options(settings, Access::ReadOnly).map(Store::open);
    let Ok(Ok(mut store)) = opened else { return Vec::new() };
    let check = |path: PathBuf| {
        let state = path.display().to_string();
        match store.add_lower(&path).map_err(Failure::from) {
            Ok(false) => Check::good("lower store", format!("{state} is this store, or listed twice")),
            Ok(true) if store.lower_stores().last().is_some_and(LowerStore::is_told) => {
                Check::good("lower store", state)
            }
            Ok(true) => Check::good("lower store", format!("{state} (read-only: its owner is not told what you use)")),
            Err(failure) => {
                let remedy = failure.remedy().unwrap_or("take it from `lower-stores`");
                Check::bad("lower store", format!("{state}: {}", failure.message()), remedy)
            }
        }
    };
    settings.lower_stores(&context.host).into_iter().map(check).collect()
}

fn store_checks(context: &Context<'_>, settings: &Settings) -> Vec<Check> {
    let store = match context.open(settings, Access::ReadWrite) {
        Ok(store) => store,
        Err(failure) => {
            return vec![Check::bad("store", failure.message().to_owned(), "name another place: --store DIR")];
        }
    };
    let mut checks = vec![Check::good("store", store.root().display().to_string())];
    checks.extend(lower_checks(context, settings));
    checks.push(match store.disk() {
        Ok(disk) => {
            let state = format!("{} free of {}", bytes(disk.free_bytes), bytes(disk.total_bytes));
            if disk.free_bytes < DISK_FREE_BYTES_MIN {
                Check::bad("disk", state, "free some space: pip-accel gc")
            } else {
                Check::good("disk", state)
            }
        }
        Err(error) => Check::bad("disk", error.to_string(), "check the file system of the store"),
    });
    checks
}
