//! `diagnose`: what a failed build lacks.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pip_accel_builder::system_packages::log::read_log;
use pip_accel_builder::system_packages::{Finding, Input, Installed, Kind, diagnose};

use super::{Context, index};
use crate::args::system_packages::DiagnoseArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;

/// Longest part of a log's own words that is shown, in characters.
const EVIDENCE_SHOWN_MAX: usize = 200;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &DiagnoseArgs) -> Result<Exit, Failure> {
    let mut settings = context.settings()?;
    settings.set("offline", args.offline.then_some(Value::Flag(true)));
    let log = log(context, &args.log)?;
    let store = context.open_as_allowed(&settings)?;
    let index = index::ready(context, &store, settings.flag("offline"))?;
    // The log may be from another machine or another time: what is installed here says nothing about it.
    let installed = Installed::unknown();
    let findings = diagnose(&Input { log: &log, missed: &[], index: &index, installed: &installed });
    let Some(finding) = findings.first() else { return Ok(Exit::Done) };
    if context.ui.json {
        context.ui.json(&serde_json::to_value(finding).unwrap_or_default());
    } else {
        show(context, finding);
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

/// What is missing and where that was said; what to do about it.
fn show(context: &Context<'_>, finding: &Finding) {
    let evidence: String = finding.evidence.chars().take(EVIDENCE_SHOWN_MAX).collect();
    let evidence = if finding.line == 0 { evidence } else { format!("line {}: {evidence}", finding.line) };
    let missing = match (finding.kind, finding.packages.is_empty()) {
        (Kind::Unknown, _) => finding.reason.clone(),
        (_, true) => evidence,
        (kind, false) => format!("missing {} {}: {evidence}", kind.noun(), finding.name),
    };
    context.ui.data(&missing);
    if finding.packages.is_empty() {
        let reason = if finding.kind == Kind::Unknown { String::new() } else { format!(": {}", finding.reason) };
        context.ui.data(&format!("nothing to install{reason}"));
    } else {
        context.ui.data(&format!("{}: sudo apt-get install {}", finding.reason, finding.packages.join(" ")));
    }
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
