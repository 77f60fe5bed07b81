//! What an installation says in the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use pip_accel_builder::install::change::Change;
use pip_accel_builder::install::choose::Choice;
use pip_accel_builder::install::installed::InstalledSet;
use pip_accel_builder::realize::RealizeReport;
use pip_accel_builder::session::Session;
use pip_accel_schema::name::PackageName;
use serde_json::json;

use super::super::realize::warn_of_foreign;
use super::course::Course;
use crate::error::Failure;
use crate::ui::{counted, seconds};

/// What came of it.
pub(super) struct Done<'a> {
    pub(super) change: &'a Change,
    /// `None` when nothing was changed.
    pub(super) report: Option<RealizeReport>,
    pub(super) dry_run: bool,
}

/// All is there already.
pub(super) fn show_satisfied(
    course: &Course<'_>,
    installed: &InstalledSet,
    names: &BTreeSet<PackageName>,
    asked: &[PackageName],
) {
    let ui = &course.context.ui;
    if ui.json {
        ui.json(&json!({
            "version": 1,
            "installed": [],
            "satisfied": names,
            "unchanged": true,
            "seconds": course.started.elapsed().as_secs_f64(),
        }));
        return;
    }
    for package in asked.iter().filter_map(|name| installed.get(name)) {
        ui.detail(&format!("already installed: {} {}", package.name, package.version));
    }
    ui.note(&format!(
        "{}: nothing to do, in {}",
        counted(names.len() as u64, "package"),
        seconds(course.started.elapsed())
    ));
}

/// The warnings, the reports, the last line.
pub(super) fn show(
    course: &Course<'_>,
    (session, done): (&Arc<Session>, &Done<'_>),
    choice: &Choice,
) -> Result<(), Failure> {
    let ui = &course.context.ui;
    let _ = (session, choice);
    if let Some(report) = &done.report {
        for clash in &report.clashes {
            let hidden: Vec<&str> = clash.hidden.iter().map(|name| name.as_str()).collect();
            ui.warn(&format!("`{}` comes from {} and hides that of {}", clash.path, clash.kept, hidden.join(", ")));
        }
        warn_of_lost(course, report);
    }
    let labels: Vec<String> = done
        .change
        .packages
        .iter()
        .map(|package| {
            let pin = &package.planned.pin;
            let version = pin.version.as_ref().map(|version| format!("-{version}")).unwrap_or_default();
            format!("{}{version}", pin.name)
        })
        .collect();
    let time = seconds(course.started.elapsed());
    if ui.json {
        let counts = done.report.as_ref().map(|report| (report.from_store, report.fetched, report.built));
        let (from_store, fetched, built) = counts.unwrap_or_default();
        ui.json(&json!({
            "version": 1,
            "environment": course.target.virtualenv,
            "installed": labels,
            "satisfied": done.change.satisfied.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "dry_run": done.dry_run,
            "unchanged": done.change.is_empty(),
            "from_store": from_store,
            "fetched": fetched,
            "built": built,
            "seconds": course.started.elapsed().as_secs_f64(),
        }));
        return Ok(());
    }
    if done.change.is_empty() {
        ui.note(&format!("{}: nothing to do, in {time}", counted(done.change.satisfied.len() as u64, "package")));
        return Ok(());
    }
    if done.dry_run {
        ui.data(&format!("Would install {}", labels.join(" ")));
        return Ok(());
    }
    ui.detail(&format!("installed {}", labels.join(" ")));
    if let Some(report) = &done.report {
        ui.note(&format!(
            "{}: {} from the store, {} fetched, {} built, in {time}",
            counted(report.packages as u64, "package"),
            report.from_store,
            report.fetched,
            report.built
        ));
    }
    Ok(())
}

/// Of what others installed, only what gave way is worth a word: all else stays, as it does with pip.
fn warn_of_lost(course: &Course<'_>, report: &RealizeReport) {
    let lost = report.foreign_lost.clone();
    let shown = RealizeReport { foreign: lost.clone(), foreign_lost: lost, ..report.clone() };
    warn_of_foreign(course.context, &shown, true);
    if let Some(leftover) = &report.leftover {
        course.context.ui.warn(&format!("the old environment could not be removed: `{}`", leftover.display()));
    }
}
