//! `detach`: private copies of packages that people want to edit.

use pip_accel_builder::environment;
use pip_accel_builder::realize::detach::{self, DetachRequest};
use pip_accel_schema::environment::EnvironmentPackage;
use pip_accel_schema::name::PackageName;
use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use super::session::interpreter;
use super::status::no_environment;
use crate::args::DetachArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &DetachArgs) -> Result<Exit, Failure> {
    let packages: Result<Vec<PackageName>, _> = args.packages.iter().map(|name| name.parse()).collect();
    let packages = packages.map_err(|error| Failure::usage(&error))?;
    let destination = context.host.absolute(&args.venv);
    let Some(manifest) = environment::read_manifest(&destination)? else {
        return Err(no_environment(&destination));
    };
    let mut settings = context.settings()?;
    // The objects are in the store that the environment was made from, and it keeps its interpreter.
    settings.set("store", Some(Value::Text(manifest.store)));
    settings.set("python", Some(Value::Text(manifest.python)));
    let store = context.open(&settings, Access::ReadWrite)?;
    let python = interpreter(context, &store, &settings)?;
    let progress = context.ui.progress();
    let request = DetachRequest { destination, packages, undo: args.undo };
    let report = detach::detach(&store, &python, &request, &|event| {
        pip_accel_builder::event::Reporter::event(&*progress, event);
    });
    progress.finish();
    let report = report?;
    let ui = &context.ui;
    if ui.json {
        let named = |packages: &[EnvironmentPackage]| packages.iter().map(label).collect::<Vec<_>>();
        ui.json(&json!({
            "version": 1,
            "environment": request.destination,
            "detached": !request.undo,
            "changed": named(&report.changed),
            "unchanged": named(&report.unchanged),
            "places": report.places,
        }));
        return Ok(Exit::Done);
    }
    for place in &report.places {
        ui.data(&place.display().to_string());
    }
    let (done, before) = if request.undo {
        ("is linked again, and its private copy is gone", "is no private copy: nothing to do")
    } else {
        ("is a private copy now, free to be edited", "is a private copy already: nothing to do")
    };
    for (packages, words) in [(&report.changed, done), (&report.unchanged, before)] {
        for package in packages {
            ui.note(&format!("{} {words}", label(package)));
        }
    }
    Ok(Exit::Done)
}

/// `numpy==2.0`.
fn label(package: &EnvironmentPackage) -> String {
    format!("{}=={}", package.name, package.version)
}
