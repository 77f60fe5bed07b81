//! `generations` and `rollback`: what an environment was before, and having that again.

use std::path::Path;

use pip_accel_builder::environment;
use pip_accel_builder::realize::detach;
use pip_accel_builder::realize::generations::{RollbackRequest, rollback, wanted};
use pip_accel_schema::environment::EnvironmentManifest;
use pip_accel_schema::generation::{Generation, Generations};
use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use super::realize::{generations_kept, warn_of_foreign};
use super::session::interpreter;
use super::status::no_environment;
use crate::args::generations::{GenerationsArgs, RollbackArgs};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;
use crate::ui::span;

/// The environment at `place` and what it was before.
pub(super) fn read(place: &Path) -> Result<(EnvironmentManifest, Generations), Failure> {
    let Some(manifest) = environment::read_manifest(place)? else { return Err(no_environment(place)) };
    Ok((manifest, environment::read_generations(place)?))
}

/// Runs `generations`.
pub(super) fn list(context: &Context<'_>, args: &GenerationsArgs) -> Result<Exit, Failure> {
    let place = context.host.absolute(&args.venv);
    let (manifest, generations) = read(&place)?;
    let mut kept: Vec<&Generation> = generations.kept.iter().collect();
    kept.sort_by_key(|generation| generation.number);
    let before = generations.kept.last().map(|generation| generation.number);
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "environment": place,
            "current": {
                "number": generations.current, "made_at": generations.current_made_at,
                "python_version": manifest.python_version, "link_mode": manifest.link_mode,
                "packages": manifest.packages,
            },
            "kept": kept,
            "rollback_to": before,
        }));
        return Ok(Exit::Done);
    }
    let now = context.clock().now();
    let ago = |moment: i64| span(now.saturating_sub(moment));
    let mut lines: Vec<(u32, String)> = kept
        .iter()
        .map(|one| {
            let (made, replaced) = (ago(one.made_at), ago(one.replaced_at));
            let (count, python) = (packages(one.packages.len()), &one.python_version);
            (
                one.number,
                format!("  {}  {count}, Python {python}, made {made} ago, replaced {replaced} ago", one.number),
            )
        })
        .collect();
    let (count, python) = (packages(manifest.packages.len()), &manifest.python_version);
    let made = ago(generations.current_made_at);
    lines.push((generations.current, format!("* {}  {count}, Python {python}, made {made} ago", generations.current)));
    lines.sort();
    for (_, line) in lines {
        context.ui.data(&line);
    }
    context.ui.note(&match before {
        Some(number) => format!("`pip-accel rollback` goes to {number}"),
        None => "it was never replaced, or nothing of that is kept".to_owned(),
    });
    Ok(Exit::Done)
}

fn packages(count: usize) -> String {
    if count == 1 { "1 package".to_owned() } else { format!("{count} packages") }
}

/// Runs `rollback`.
pub(super) fn roll_back(context: &Context<'_>, args: &RollbackArgs) -> Result<Exit, Failure> {
    let destination = context.host.absolute(&args.venv);
    let (manifest, generations) = read(&destination)?;
    if args.to == Some(generations.current) {
        return Ok(is_there_already(context, &destination, &manifest, generations.current));
    }
    let mut settings = context.settings()?;
    // The objects are in the store that the environment was made from, and a generation has its own interpreter.
    settings.set("store", Some(Value::Text(manifest.store)));
    settings.set("python", Some(Value::Text(wanted(&destination, &generations, args.to)?.python.clone())));
    let request = RollbackRequest {
        destination,
        to: args.to,
        keep_foreign: args.keep_foreign || settings.flag("keep-foreign"),
        reattach: args.reattach,
        generations: generations_kept(&settings),
    };
    let store = context.open(&settings, Access::ReadWrite)?;
    let python = interpreter(context, &store, &settings)?;
    let progress = context.ui.progress();
    let result = rollback(&store, &python, &request, &|event| {
        pip_accel_builder::event::Reporter::event(&*progress, event);
    });
    progress.finish();
    let report = result?;
    warn_of_foreign(context, &report.realized, request.keep_foreign);
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "environment": request.destination,
            "from": report.from,
            "to": report.to,
            "packages": report.realized.packages,
            "foreign": report.realized.foreign,
            "foreign_lost": report.realized.foreign_lost,
            "detached": report.realized.detached,
            "reattached": report.realized.reattached,
        }));
        return Ok(Exit::Done);
    }
    let count = packages(report.realized.packages);
    context.ui.note(&format!("generation {} is back in the place of {}: {count}", report.to, report.from));
    Ok(Exit::Done)
}

/// A rollback that was killed at its end is repeated: what it was to bring back stands there.
fn is_there_already(context: &Context<'_>, destination: &Path, manifest: &EnvironmentManifest, number: u32) -> Exit {
    if context.ui.json {
        let (none, detached) = (Vec::<String>::new(), detach::names(manifest));
        context.ui.json(&json!({
            "version": 1,
            "environment": destination,
            "from": number,
            "to": number,
            "packages": manifest.packages.len(),
            "foreign": none,
            "foreign_lost": none,
            "detached": detached,
            "reattached": none,
        }));
    } else {
        context.ui.note(&format!("nothing to do: generation {number} stands there"));
    }
    Exit::Done
}
