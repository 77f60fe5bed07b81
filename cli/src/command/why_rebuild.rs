//! `why-rebuild`: which field of a release's recipe differs from the nearest build that the store has.

use pip_accel_builder::build::{WhyRebuild, why_rebuild};
use pip_accel_builder::lock::{Choice, LoadedLock, LockOptions};
use pip_accel_builder::session::Session;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe_difference::RecipeDifference;
use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use super::session::{Opened, load_lock};
use super::why::heading;
use crate::args::inspect::WhyRebuildArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &WhyRebuildArgs) -> Result<Exit, Failure> {
    let lock = args.lock.as_deref().map(|path| load_lock(context, path, &Choice::default())).transpose()?;
    let mut settings = context.settings()?;
    // What is not known here is not looked up.
    settings.set("offline", Some(Value::Flag(true)));
    let store = context.open(&settings, Access::ReadOnly)?;
    let options = lock.as_ref().map_or_else(LockOptions::default, |lock| lock.options.clone());
    let opened = Opened::new(context, store, settings, &args.source, &options)?;
    let (name, version) = release(&args.release, lock.as_ref().map(|lock| (lock, &*opened.session)))?;
    let why = why_rebuild(&opened.session, (&name, &version), lock.as_ref())?;
    opened.progress.finish();
    if context.ui.json {
        context.ui.json(&as_json((&name, &version), &why));
        return Ok(Exit::Done);
    }
    for line in lines(&format!("{name}=={version}"), &why) {
        context.ui.data(&line);
    }
    Ok(Exit::Done)
}

/// The release that is meant: a bare name is that of the lock.
fn release(text: &str, lock: Option<(&LoadedLock, &Session)>) -> Result<(PackageName, PackageVersion), Failure> {
    let Some((name, version)) = text.split_once("==") else {
        let Some((lock, session)) = lock else {
            return Err(Failure::new(Exit::Usage, format!("`{text}` is no release: `NAME==VERSION` is expected"))
                .hint("for example: pip-accel why-rebuild lxml==5.3.0")
                .hint(&format!("or name the lock that pins it: pip-accel why-rebuild {text} requirements.lock")));
        };
        let name: PackageName = text.trim().parse().map_err(|error| Failure::usage(&error))?;
        let selected = lock.select(&session.python.interpreter.markers)?;
        let pinned = selected.into_iter().find(|locked| locked.name.as_ref() == Some(&name));
        return match pinned.and_then(|locked| locked.version) {
            Some(version) => Ok((name, version)),
            None => {
                Err(Failure::new(Exit::Usage, format!("the lock pins no version of `{name}` for this interpreter"))
                    .hint("name the release: pip-accel why-rebuild NAME==VERSION"))
            }
        };
    };
    let name = name.trim().parse().map_err(|error| Failure::usage(&error))?;
    Ok((name, version.trim().parse().map_err(|error| Failure::usage(&error))?))
}

fn as_json((name, version): (&PackageName, &PackageVersion), why: &WhyRebuild) -> serde_json::Value {
    let mut value = json!({ "version": 1, "name": name, "package_version": version });
    let more = match why {
        WhyRebuild::InStore(object) => json!({ "answer": "in-store", "object": object.id }),
        WhyRebuild::Wheel { file_name } => json!({ "answer": "wheel", "file_name": file_name }),
        WhyRebuild::Deleted => json!({ "answer": "deleted" }),
        WhyRebuild::NeverBuilt => json!({ "answer": "never-built" }),
        WhyRebuild::Differs { nearest, differences, inputs_known } => json!({
            "answer": "differs", "nearest": nearest.id, "differences": differences,
            "build_requirements_known": inputs_known,
        }),
    };
    if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

fn lines(release: &str, why: &WhyRebuild) -> Vec<String> {
    match why {
        WhyRebuild::InStore(object) => vec![format!("nothing: it is in the store: {}", heading(object))],
        WhyRebuild::Wheel { file_name } => {
            vec![format!("nothing is built: {release} comes from the wheel {file_name}")]
        }
        WhyRebuild::Deleted => {
            vec![format!("{release} would be built: the store had what its recipe gave, and has it no more")]
        }
        WhyRebuild::NeverBuilt => vec![format!("{release} would be built: the store has no build of that project")],
        WhyRebuild::Differs { nearest, differences, inputs_known } => {
            let mut lines =
                vec![format!("{release} would be built"), format!("  the nearest build: {}", heading(nearest))];
            lines.extend(differences.iter().map(|difference| format!("  {}", words(difference))));
            if !inputs_known {
                lines.push("  build requirements: not resolved yet for this sdist and interpreter".to_owned());
            }
            lines
        }
    }
}

fn words(difference: &RecipeDifference) -> String {
    match difference {
        RecipeDifference::Version { then, now } => format!("version: {then} then, {now} now"),
        RecipeDifference::Source { then, now } => format!("sdist: SHA-256 {then} then, {now} now"),
        RecipeDifference::Interpreter { then, now } => format!("interpreter: {then} then, {now} now"),
        RecipeDifference::InterpreterSettings { label } => {
            format!("interpreter: another ABI, C library or compile settings, though both are {label}")
        }
        RecipeDifference::InputAdded { name, now } => format!("build requirement {name}: none then, {now} now"),
        RecipeDifference::InputRemoved { name, then } => format!("build requirement {name}: {then} then, none now"),
        RecipeDifference::InputVersion { name, then, now } => {
            format!("build requirement {name}: {then} then, {now} now")
        }
        RecipeDifference::InputContent { name, version, then, now } => {
            format!("build requirement {name}=={version}: other files (content {then} then, {now} now)")
        }
        RecipeDifference::ConfigSetting { key, then, now } => {
            format!("config setting {key}: {} then, {} now", quoted(then.as_ref()), quoted(now.as_ref()))
        }
        RecipeDifference::Variable { key, then, now } => {
            format!("variable {key}: {} then, {} now", quoted(then.as_ref()), quoted(now.as_ref()))
        }
        RecipeDifference::Layers { then, now } => {
            format!("system-package layers: {} then, {} now", then.len(), now.len())
        }
        RecipeDifference::SandboxPolicy { then, now } => format!("sandbox policy: {then} then, {now} now"),
    }
}

fn quoted(value: Option<&String>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("`{value}`"))
}
