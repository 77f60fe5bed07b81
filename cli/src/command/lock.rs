//! `lock`: from what a project asks for to a lock.

mod difference;
mod output;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pip_accel_builder::resolve::project::{
    LockedBuilds, OldLock, Place, ProjectInputs, ProjectRequest, Resolution, ResolvedTarget, Surroundings, Upgrade,
    lock_builds, pylock, pylock_as_requirements, resolve_project,
};
use pip_accel_builder::session::Session;
use pip_accel_schema::name::PackageName;
use pip_accel_store::Access;
use serde_json::json;

use self::difference::differences;
use self::output::Output;
use super::Context;
use super::session::Opened;
use crate::args::{LockArgs, LockFormat};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::{number_of, seconds};

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &LockArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let output = Output::of(context, args)?;
    if args.check && output.path().is_none() {
        return Err(Failure::new(Exit::Usage, "--check compares with a lock, and -o - names none".to_owned())
            .hint("name the lock: pip-accel lock --check -o requirements.lock"));
    }
    let places = places(context, args, &output)?;
    let environment = |name: &str| context.host.variable(name);
    let surroundings = Surroundings { folder: &context.host.cwd, base: output.folder(), environment: &environment };
    let inputs = ProjectInputs::read(&places, surroundings)?;
    for name in &inputs.unset_variables {
        context.ui.warn(&format!("`${{{name}}}` in the requirements is not set"));
    }
    let old_text = output.read()?;
    let upgrade = upgrade(args)?;
    let old = old_lock(&output, old_text.as_deref(), &upgrade)?;
    let settings = context.settings()?;
    let store = context.open(&settings, Access::ReadWrite)?;
    let opened = Opened::new(context, store, settings, &args.source, &inputs.options)?;
    let request = ProjectRequest {
        inputs,
        preferences: old.preferences.clone(),
        upgrade,
        prereleases: args.pre,
        no_deps: args.no_deps,
        exclude_newer: args
            .exclude_newer
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error: pip_accel_builder::resolve::project::ParseDayError| Failure::usage(&error))?,
        universal: args.universal,
        ..ProjectRequest::default()
    };
    let resolution = resolve_project(&opened.session, &request)?;
    warn_of_unknown(context, &request.upgrade, &resolution);
    let builds = builds(context, args, (&opened.session, &resolution), (&old, &request.upgrade))?;
    let text = match format(args) {
        LockFormat::Requirements => format!("{}{builds}", resolution.text(output.folder())),
        LockFormat::Pylock => pylock(&opened.session, &request, (&resolution, &builds), output.folder())?,
    };
    drop(opened);
    let found = differences(old_text.as_deref().unwrap_or_default(), &text);
    let is_current = old_text.as_deref() == Some(text.as_str());
    if args.check {
        return Ok(checked(context, &output, (is_current, old_text.is_some()), &found));
    }
    if !is_current {
        output.write(context, &text)?;
    }
    warn_of_unhashed(context, &resolution);
    if format(args) == LockFormat::Pylock && resolution.pins.iter().any(|pin| !pin.config_settings.is_empty()) {
        context.ui.warn("`pylock.toml` has no place for --config-settings: its builds are told nothing");
    }
    show(context, &output, (&resolution, &builds), (is_current, &found, started));
    Ok(Exit::Done)
}

/// What is to be locked.
fn places(context: &Context<'_>, args: &LockArgs, output: &Output) -> Result<Vec<Place>, Failure> {
    let host = &context.host;
    let mut named: Vec<PathBuf> = args.inputs.iter().map(|path| host.absolute(path)).collect();
    if named.is_empty() {
        let usual = ["requirements.in", "pyproject.toml"].map(|name| host.cwd.join(name));
        // A group alone is enough to ask for.
        match usual.into_iter().find(|path| path.is_file()) {
            Some(path) => named.push(path),
            None if !args.group.is_empty() => {}
            None => {
                return Err(Failure::new(
                    Exit::Usage,
                    "there is neither `requirements.in` nor `pyproject.toml` here".to_owned(),
                )
                .hint("name what to lock: pip-accel lock FILE"));
            }
        }
    }
    let mut places = Vec::new();
    let mut has_project = false;
    for path in named {
        if output.is_same_file(&path) {
            let text = format!("`{}` is what to lock, and can't be the lock as well", path.display());
            return Err(Failure::new(Exit::Usage, text).hint("name another file for the lock: -o FILE"));
        }
        let is_project_file = ["pyproject.toml", "setup.py", "setup.cfg"].iter().any(|name| path.ends_with(name));
        if path.is_dir() || is_project_file {
            has_project = true;
            places.push(Place::Project { path, extras: args.extra.clone(), all_extras: args.all_extras });
        } else {
            places.push(Place::Requirements(path));
        }
    }
    if !has_project && (args.all_extras || !args.extra.is_empty()) {
        return Err(Failure::new(Exit::Usage, "extras are a project's, and no project is to be locked".to_owned())
            .hint("name the project: pip-accel lock pyproject.toml --extra NAME"));
    }
    places.extend(args.constraint.iter().map(|path| Place::Constraints(host.absolute(path))));
    for group in &args.group {
        let (path, name) = group.rsplit_once(':').unwrap_or(("pyproject.toml", group));
        places.push(Place::Group { path: host.absolute(Path::new(path)), name: name.to_owned() });
    }
    Ok(places)
}

fn upgrade(args: &LockArgs) -> Result<Upgrade, Failure> {
    if args.upgrade {
        return Ok(Upgrade::All);
    }
    let names: Vec<PackageName> = args
        .upgrade_package
        .iter()
        .map(|name| name.parse().map_err(|error: pip_accel_schema::name::ParseNameError| Failure::usage(&error)))
        .collect::<Result<_, _>>()?;
    Ok(if names.is_empty() { Upgrade::Nothing } else { Upgrade::Packages(names) })
}

/// A name that is to be upgraded and is nowhere in the lock is a typing error.
fn warn_of_unknown(context: &Context<'_>, upgrade: &Upgrade, resolution: &Resolution) {
    let Upgrade::Packages(names) = upgrade else { return };
    for name in names {
        if !resolution.pins.iter().any(|pin| pin.name.as_ref() == Some(name)) {
            context.ui.warn(&format!("`{name}` is not in the lock: there is nothing to upgrade (-P {name})"));
        }
    }
}

fn old_lock(output: &Output, text: Option<&str>, upgrade: &Upgrade) -> Result<OldLock, Failure> {
    let (Some(text), Some(path)) = (text, output.path()) else { return Ok(OldLock::default()) };
    if *upgrade == Upgrade::All {
        return Ok(OldLock::default());
    }
    let lines = pylock_as_requirements(text);
    OldLock::read(path, lines.as_deref().unwrap_or(text)).map_err(|error| {
        let text = format!("the lock `{}` that is there can't be read: {error}", path.display());
        Failure::new(Exit::LockRefused, text).hint("lock without regard to it: pip-accel lock --upgrade")
    })
}

fn builds(
    context: &Context<'_>,
    args: &LockArgs,
    (session, resolution): (&Arc<Session>, &Resolution),
    (old, upgrade): (&OldLock, &Upgrade),
) -> Result<LockedBuilds, Failure> {
    if args.no_build_lock {
        return Ok(LockedBuilds::default());
    }
    let builds = lock_builds(session, resolution, &old.builds, upgrade)?;
    for reason in &builds.failed {
        context.ui.warn(&format!("the build requirements of {reason}; they are not in the lock"));
    }
    Ok(builds)
}

fn checked(context: &Context<'_>, output: &Output, (is_current, is_there): (bool, bool), found: &[String]) -> Exit {
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "lock": output.path(),
            "up_to_date": is_current,
            "differences": found,
        }));
    }
    if is_current {
        context.ui.note(&format!("{output} is up to date"));
        return Exit::Done;
    }
    let what = if is_there { "is not up to date" } else { "is not there" };
    context.ui.error(&format!("{output} {what}"));
    for line in found {
        context.ui.talk(&format!("  {line}"));
    }
    context.ui.hint("write it anew: the same command without --check");
    Exit::LockRefused
}

/// Folders and revisions have no hash, and with `--require-hashes` pip refuses a lock that holds any.
fn warn_of_unhashed(context: &Context<'_>, resolution: &Resolution) {
    let has_none = |target: &ResolvedTarget| {
        use ResolvedTarget::{EditableRevision, Folder, Revision};
        matches!(target, Folder { .. } | Revision(_) | EditableRevision(_))
    };
    let count = resolution.pins.iter().filter(|pin| has_none(&pin.target)).count();
    if count > 0 {
        let noun = number_of(count as u64, "folder or revision has", "folders and revisions have");
        context.ui.warn(&format!("{count} {noun} no hash: pip takes this lock only without --require-hashes"));
    }
}

fn show(
    context: &Context<'_>,
    output: &Output,
    (resolution, builds): (&Resolution, &LockedBuilds),
    (is_current, found, started): (bool, &[String], Instant),
) {
    let ui = &context.ui;
    if ui.json && output.path().is_some() {
        let packages: Vec<_> = resolution
            .pins
            .iter()
            .map(|pin| {
                json!({
                    "name": pin.name,
                    "package_version": pin.version(),
                    "extras": pin.extras,
                    "marker": pin.marker,
                    "hashes": pin.hashes,
                    "via": pin.via,
                })
            })
            .collect();
        ui.json(&json!({
            "version": 1,
            "lock": output.path(),
            "unchanged": is_current,
            "packages": packages,
            "builds": builds.builds,
            "builds_not_locked": builds.failed,
            "differences": found,
            "seconds": started.elapsed().as_secs_f64(),
        }));
        return;
    }
    let count = resolution.pins.len();
    let noun = number_of(count as u64, "package", "packages");
    let time = seconds(started.elapsed());
    if is_current {
        ui.note(&format!("{count} {noun}: {output} is unchanged, in {time}"));
    } else {
        ui.note(&format!("{count} {noun} in {output}, in {time}"));
        for line in found.iter().filter(|_| ui.verbose > 0) {
            ui.talk(&format!("  {line}"));
        }
    }
}

/// Which kind of lock is wanted.
fn format(args: &LockArgs) -> LockFormat {
    let is_pylock = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name == "pylock.toml" || (name.starts_with("pylock.") && name.ends_with(".toml")))
    };
    match args.format {
        Some(format) => format,
        None if args.output.as_ref().is_some_and(is_pylock) => LockFormat::Pylock,
        None => LockFormat::Requirements,
    }
}
