//! `build`: build one package and keep it in the store.

use std::path::Path;
use std::time::Instant;

use pip_accel_builder::build::{BuildTarget, build_one};
use pip_accel_builder::lock::LockOptions;
use pip_accel_builder::realize::engine::How;
use pip_accel_schema::config_settings::{self, ConfigSettings};
use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use super::rounds::{Policy, in_rounds};
use super::session::Opened;
use crate::args::BuildArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::seconds;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &BuildArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let target = target(context, &args.target)?;
    if args.source.only_binary.iter().any(|names| names != ":none:") {
        let text = "`build` builds from an sdist, and --only-binary excludes sdists".to_owned();
        return Err(
            Failure::new(Exit::Usage, text).hint("leave --only-binary away, or fetch the wheel: pip-accel fetch")
        );
    }
    let mut told = ConfigSettings::new();
    for text in &args.config_settings {
        config_settings::add(&mut told, text)
            .map_err(|error| Failure::usage(&error).hint("pip-accel build NAME==VERSION -C KEY=VALUE"))?;
    }
    let mut settings = context.settings()?;
    let policy = Policy::of(&mut settings, args.system_packages);
    let store = context.open(&settings, Access::ReadWrite)?;
    let opened = Opened::new(context, store, settings, &args.source, &LockOptions::default())?;
    let obtained = in_rounds(context, (&opened, policy), || build_one(&opened.session, (&target, &told)))?;
    let object = &obtained.object;
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "name": object.name,
            "package_version": object.version,
            "object": object.id,
            "path": object.path,
            "built": obtained.how == How::Built,
            "seconds": started.elapsed().as_secs_f64(),
        }));
        return Ok(Exit::Done);
    }
    context.ui.data(&object.path.display().to_string());
    let verb = if obtained.how == How::Built { "built" } else { "in the store" };
    context.ui.note(&format!("{}=={}: {verb}, in {}", object.name, object.version, seconds(started.elapsed())));
    Ok(Exit::Done)
}

fn target(context: &Context<'_>, text: &str) -> Result<BuildTarget, Failure> {
    if let Some((name, version)) = text.split_once("==") {
        let name = name.trim().parse().map_err(|error| Failure::usage(&error))?;
        let version = version.trim().parse().map_err(|error| Failure::usage(&error))?;
        return Ok(BuildTarget::Release { name, version });
    }
    let path = context.host.absolute(Path::new(text));
    if path.is_file() {
        return Ok(BuildTarget::File(path));
    }
    Err(Failure::new(Exit::Usage, format!("`{text}` is neither NAME==VERSION nor the path of an sdist"))
        .hint("name a release, such as `pip-accel build lxml==5.3.0`, or a file that exists"))
}
