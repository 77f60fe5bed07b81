//! `diagnose`: what a failed build lacks.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pip_accel_builder::system_packages::log::read_log;
use pip_accel_builder::system_packages::{Finding, Input, Installed, diagnose};

use super::session::own_rules;
use super::{Context, index};
use crate::args::system_packages::DiagnoseArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &DiagnoseArgs) -> Result<Exit, Failure> {
    let mut settings = context.settings()?;
    settings.set("offline", args.offline.then_some(Value::Flag(true)));
    let log = log(context, &args.log)?;
    let store = context.open_as_allowed(&settings)?;
    let rules = own_rules(&context.host, &settings)?;
    let index = index::ready(context, &store, settings.flag("offline"))?.with_own(rules.names().clone());
    // The log may be from another machine or another time: what is installed here says nothing about it.
    let installed = Installed::unknown();
    let own = rules.finding(&log, &installed);
    let decide = || {
        diagnose(&Input { log: &log, missed: &[], declared: &[], index: &index, installed: &installed })
            .into_iter()
            .next()
    };
    let Some(finding) = own.or_else(decide) else { return Ok(Exit::Done) };
    let finding = &finding;
    if context.ui.json {
        context.ui.json(&serde_json::to_value(finding).unwrap_or_default());
    } else {
        for line in finding.lines(context.host.is_root) {
            context.ui.data(&line);
        }
    }
    here(context, finding);
    Ok(Exit::Done)
}

fn log(context: &Context<'_>, path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| {
        Failure::new(Exit::Usage, format!("`{}` can't be read: {error}", path.display()))
            .hint("name a log, or give it on standard input: pip-accel diagnose -")
    };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(context.host.absolute(path)).map_err(failed)?)
    };
    read_log(input).map_err(failed)
}

/// Says which of the packages this machine has.
fn here(context: &Context<'_>, finding: &Finding) {
    let Ok(installed) = Installed::of_this_machine() else { return };
    for package in &finding.packages {
        match installed.name_of(package) {
            Some(name) if name == package => {
                context.ui.note(&format!(
                    "{package} is installed on this machine; the log is from before that, or from elsewhere"
                ));
            }
            Some(name) => context.ui.note(&format!("{package} is on this machine as {name}")),
            None => {}
        }
    }
}
