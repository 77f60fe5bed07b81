//! What an installation says in the end.

use pip_accel_builder::install::change::Change;
use pip_accel_builder::install::installed::InstalledSet;
use pip_accel_schema::name::PackageName;
use serde_json::json;
use std::collections::BTreeSet;

use super::course::Course;
use super::place::{Counts, Place};
use crate::ui::{counted, seconds};

/// What came of it.
pub(super) struct Done<'a> {
    pub(super) change: &'a Change,
    /// `None` when nothing was changed.
    pub(super) counts: Option<Counts>,
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

/// The report, or the last line.
pub(super) fn show(course: &Course<'_>, place: &Place, done: &Done<'_>) {
    let ui = &course.context.ui;
    let is_dry = course.asked.dry_run;
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
        let Counts { from_store, fetched, built, .. } = done.counts.unwrap_or_default();
        ui.json(&json!({
            "version": 1,
            "environment": place.path(),
            "installed": labels,
            "satisfied": done.change.satisfied.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "dry_run": is_dry,
            "unchanged": done.change.is_empty(),
            "from_store": from_store,
            "fetched": fetched,
            "built": built,
            "seconds": course.started.elapsed().as_secs_f64(),
        }));
        return;
    }
    if done.change.is_empty() {
        ui.note(&format!("{}: nothing to do, in {time}", counted(done.change.satisfied.len() as u64, "package")));
        return;
    }
    if is_dry {
        let text = format!("Would install {}", labels.join(" "));
        if course.asked.report.as_deref() == Some("-") {
            ui.note(&text);
        } else if ui.quiet == 0 {
            ui.data(&text);
        }
        return;
    }
    ui.detail(&format!("installed {}", labels.join(" ")));
    if let Some(report) = &done.counts {
        ui.note(&format!(
            "{}: {} from the store, {} fetched, {} built, in {time}",
            counted(report.packages as u64, "package"),
            report.from_store,
            report.fetched,
            report.built
        ));
    }
}
