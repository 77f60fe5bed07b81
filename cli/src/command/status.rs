//! `status`: whether an environment still is what its manifest says.

use std::path::Path;

use pip_accel_builder::environment;
use pip_accel_builder::realize::detach;
use serde_json::json;

use super::Context;
use crate::args::StatusArgs;
use crate::error::Failure;
use crate::exit_code::Exit;

/// There is nothing at that place, or nothing of ours.
pub(super) fn no_environment(destination: &Path) -> Failure {
    Failure::new(Exit::Error, format!("`{}` is no environment of pip-accel", destination.display()))
        .hint("make it: pip-accel realize requirements.lock")
}

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &StatusArgs) -> Result<Exit, Failure> {
    let destination = context.host.absolute(&args.venv);
    let Some(manifest) = environment::read_manifest(&destination)? else {
        return Err(no_environment(&destination));
    };
    let status = environment::check_environment(&destination)?;
    let ui = &context.ui;
    if ui.json {
        ui.json(&json!({
            "version": 1,
            "environment": destination,
            "packages": manifest.packages,
            "link_mode": manifest.link_mode,
            "python_version": manifest.python_version,
            "intact": status.is_intact(),
            "missing": status.missing,
            "changed": status.changed,
            "dangling": status.dangling,
            "foreign": status.foreign,
            "detached": detach::names(&manifest),
        }));
    } else {
        for package in manifest.packages.iter().filter(|package| package.detached) {
            ui.data(&format!("detached: {}=={}", package.name, package.version));
        }
        for (word, paths) in [
            ("missing", &status.missing),
            ("changed", &status.changed),
            ("dangling", &status.dangling),
            ("foreign", &status.foreign),
        ] {
            for path in paths {
                ui.data(&format!("{word}: {path}"));
            }
        }
        let state = if status.is_intact() { "as realized" } else { "not as realized" };
        ui.note(&format!(
            "{}: {} packages, Python {}, {state}",
            destination.display(),
            manifest.packages.len(),
            manifest.python_version
        ));
        if !status.is_intact() {
            ui.hint("make it whole again: pip-accel realize requirements.lock");
        }
    }
    Ok(if status.is_intact() { Exit::Done } else { Exit::Error })
}
