//! `sysdeps`: the packages of the system that the builds of a lock need.

use pip_accel_builder::realize::sysdeps::{BuildNeeds, Need, SystemNeeds, sysdeps};
use pip_accel_builder::system_packages::install::command_to_install;
use pip_accel_store::Access;
use serde_json::{Value as Json, json};

use super::Context;
use super::rounds::{Policy, grant_all, to_type};
use super::session::{Opened, load_lock};
use crate::args::system_packages::SysdepsArgs;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &SysdepsArgs) -> Result<Exit, Failure> {
    let lock = load_lock(context, &args.lock, &args.choice.choice())?;
    let mut settings = context.settings()?;
    let policy = Policy::of(&mut settings, args.system_packages);
    let store = context.open(&settings, Access::ReadWrite)?;
    let opened = Opened::new(context, store, settings, &args.source, &lock.options)?;
    let result = sysdeps(&opened.session, &lock, args.r#try);
    opened.progress.finish();
    let needs = result?;
    show(context, &needs);
    if args.install && !needs.missing.is_empty() {
        let reasons: Vec<[String; 2]> = needs.builds.iter().filter_map(|build| missing_of(build, &needs)).collect();
        grant_all(context, (&opened, policy), &needs.missing, &reasons)?;
    }
    Ok(Exit::Done)
}

/// What one build lacks, in the two lines that are shown before a question.
fn missing_of(build: &BuildNeeds, needs: &SystemNeeds) -> Option<[String; 2]> {
    let missing = build.needs.iter().filter(|need| needs.missing.contains(&need.package));
    let said: Vec<String> = missing.map(|need| format!("{} ({})", need.package, need.because)).collect();
    (!said.is_empty()).then(|| [format!("{}=={} needs:", build.name, build.version), format!("  {}", said.join(", "))])
}

/// The line on standard output, the reasons on standard error.
fn show(context: &Context<'_>, needs: &SystemNeeds) {
    let ui = &context.ui;
    let command = (!needs.packages.is_empty()).then(|| command_to_install(&needs.packages));
    for build in &needs.builds {
        tell(context, build);
    }
    if ui.json {
        ui.json(&json!({
            "version": 1,
            "packages": needs.packages,
            "missing": needs.missing,
            "command": command,
            "builds": needs.builds.iter().map(as_json).collect::<Vec<_>>(),
        }));
        return;
    }
    match command {
        Some(command) => ui.data(&command),
        None if needs.builds.is_empty() => ui.note("nothing has to be built: all come as wheels"),
        None => ui.note("no package of the system is known to be needed"),
    }
    if !needs.missing.is_empty() {
        ui.note(&format!("not on this machine: {}; install: {}", needs.missing.join(" "), to_type(&needs.missing)));
    }
}

fn tell(context: &Context<'_>, build: &BuildNeeds) {
    let (ui, name) = (&context.ui, format!("{}=={}", build.name, build.version));
    for need in &build.needs {
        ui.note(&format!("{name}: {}: {}", need.package, need.because));
    }
    for need in &build.optional {
        ui.note(&format!("{name}: can use {}: {}", need.package, need.because));
    }
    for entry in &build.unknown_entries {
        ui.warn(&format!("{name}: its project says that it needs `{entry}`, which no package is known for"));
    }
    if let Some(reason) = &build.failure {
        ui.warn(&format!("{name}: its trial build failed for another reason ({reason}); see: pip-accel log {name}"));
    } else if build.is_unknown {
        ui.warn(&format!("{name}: nothing is known of what its build needs; --try builds it"));
    }
}

fn as_json(build: &BuildNeeds) -> Json {
    let list = |needs: &[Need]| -> Vec<Json> {
        needs.iter().map(|need| json!({ "package": need.package, "because": need.because })).collect()
    };
    json!({
        "name": build.name,
        "version": build.version,
        "packages": list(&build.needs),
        "optional": list(&build.optional),
        "unknown_entries": build.unknown_entries,
        "is_unknown": build.is_unknown,
        "failure": build.failure,
    })
}
