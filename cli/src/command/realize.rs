//! `realize`: from a lock to an environment.

mod again;

use std::time::Instant;

use pip_accel_builder::build::{UnlockedBuild, UnlockedBuilds, unlocked_builds};
use pip_accel_builder::environment::CopyReason;
use pip_accel_builder::lock::LoadedLock;
use pip_accel_builder::realize::again::unchanged;
use pip_accel_builder::realize::generations::GENERATIONS_KEPT;
use pip_accel_builder::realize::profile::Phases;
use pip_accel_builder::realize::{self, Plan, RealizeReport, RealizeRequest};
use pip_accel_builder::session::SystemInputsPolicy;
use pip_accel_schema::environment::LinkMode;
use serde_json::json;

use self::again::{Begun, content_of_known};
use super::Context;
use super::rounds::{Policy, in_rounds};
use super::session::{Opened, apply_flags, load_lock, system_inputs};
use crate::args::{LinkModeArg, RealizeArgs};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::{Origin, Settings, Value, package_links};
use crate::ui::seconds;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &RealizeArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let mut settings = context.settings()?;
    settings.set("link-mode", args.link_mode.map(|mode| Value::Text(link_mode(mode).as_str().to_owned())));
    settings.set("link", (!args.link.is_empty()).then(|| Value::List(args.link.clone())));
    apply_flags(&mut settings, &args.source);
    let policy = Policy::of(&mut settings, args.system_packages);
    let mut request = request(context, args, &settings)?;
    // What a build was made from is looked at in full.
    let is_exact = system_inputs(&settings) == SystemInputsPolicy::Exact;
    let known = content_of_known(context, args, &request).filter(|_| !is_exact);
    let mut begun = None;
    if let Some(content) = &known {
        let run = Begun::new(context, args, &settings)?;
        request.question = Some(run.question(content, &request));
        if let Some(report) = unchanged(&run.store, &request)? {
            show(context, (&report, &[]), &request, started);
            return Ok(Exit::Done);
        }
        begun = Some(run);
    }
    let lock = load_lock(context, &args.lock, &args.choice.choice())?;
    warn_of_unknown_links(context, args, &lock)?;
    let begun = begun.map_or_else(|| Begun::new(context, args, &settings), Ok)?;
    request.question = lock.content.filter(|_| !is_exact).map(|content| begun.question(&content, &request));
    let (store, python) = begun.opened();
    let opened = Opened::with(context, (store, python), settings, &args.source, &lock.options)?;
    if args.dry_run {
        let plan = realize::plan(&opened.session, &lock)?;
        show_plan(context, &plan);
        return Ok(Exit::Done);
    }
    if args.print_build_lock {
        if !lock.has_room_for_builds() {
            let text = format!("`{}` has no place for locked builds; a requirements file has", args.lock.display());
            return Err(Failure::new(Exit::Usage, text)
                .hint("export it: uv export --format requirements-txt, or pip-accel lock"));
        }
        print_build_lock(context, &unlocked_builds(&opened.session, &lock)?);
        return Ok(Exit::Done);
    }
    let markers = &opened.session.python.interpreter.markers;
    let selected = lock.select(markers)?;
    let unfixed: Vec<String> =
        selected.iter().filter(|locked| locked.target.is_unfixed()).map(ToString::to_string).collect();
    let report = in_rounds(context, (&opened, policy), || realize::realize(&opened.session, &lock, &request))?;
    // What is built once is not built again, and then there is no reason to speak of it every time.
    let speaks_of_builds = report.built > 0 && lock.has_room_for_builds();
    let unlocked = if speaks_of_builds { unlocked_builds(&opened.session, &lock)?.resolved } else { Vec::new() };
    show(context, (&report, &unlocked), &request, started);
    if !unfixed.is_empty() && !report.unchanged {
        let content = "is what lies there now; the lock does not fix it";
        context.ui.note(&format!("the content of {} {content}", unfixed.join(", ")));
    }
    if !unlocked.is_empty() {
        let (count, lock) = (unlocked.len(), args.lock.display());
        let noun = if count == 1 { "build has requirements" } else { "builds have requirements" };
        context.ui.note(&format!(
            "{count} {noun} that `{lock}` does not fix; freeze them: repeat the command with \
             `--print-build-lock >> {lock}`"
        ));
    }
    Ok(Exit::Done)
}

fn request(context: &Context<'_>, args: &RealizeArgs, settings: &Settings) -> Result<RealizeRequest, Failure> {
    Ok(RealizeRequest {
        destination: context.host.absolute(&args.venv),
        link_mode: configured_link_mode(settings),
        links: settings.package_links()?,
        keep_foreign: args.keep_foreign || settings.flag("keep-foreign"),
        replace: args.replace,
        take_over: None,
        reattach: args.reattach,
        generations: generations_kept(settings),
        question: None,
    })
}

/// A name on the command line that the lock does not have is a slip; in a configuration file it is for another lock.
fn warn_of_unknown_links(context: &Context<'_>, args: &RealizeArgs, lock: &LoadedLock) -> Result<(), Failure> {
    for name in package_links(&args.link, &Origin::Flag)?.keys() {
        if !lock.requirements.iter().any(|locked| locked.name.as_ref() == Some(name)) {
            context.ui.warn(&format!("`--link` names {name}, which is not in the lock"));
        }
    }
    Ok(())
}

/// The lines on standard output, below an empty one: they may be appended to a file whose last line has no end.
fn print_build_lock(context: &Context<'_>, unlocked: &UnlockedBuilds) {
    let ui = &context.ui;
    if ui.json {
        ui.json(&json!({ "version": 1, "builds": unlocked.resolved, "unknown": unlocked.unknown }));
    } else {
        for build in &unlocked.resolved {
            ui.text(&format!("\n{}", build.to_string().trim_end()));
        }
    }
    if !unlocked.unknown.is_empty() {
        ui.warn(&format!("not looked up here yet, realize the lock first: {}", unlocked.unknown.join(", ")));
    }
    if unlocked.resolved.is_empty() {
        ui.note("nothing to freeze");
    }
}

fn link_mode(mode: LinkModeArg) -> LinkMode {
    match mode {
        LinkModeArg::Symlink => LinkMode::Symlink,
        LinkModeArg::Hardlink => LinkMode::Hardlink,
        LinkModeArg::Reflink => LinkMode::Reflink,
        LinkModeArg::Copy => LinkMode::Copy,
    }
}

/// Earlier generations that environments keep.
pub(super) fn generations_kept(settings: &Settings) -> usize {
    let kept = settings.number("generations").and_then(|number| usize::try_from(number).ok());
    kept.unwrap_or(GENERATIONS_KEPT)
}

pub(super) fn configured_link_mode(settings: &Settings) -> LinkMode {
    match settings.text("link-mode") {
        Some("hardlink") => LinkMode::Hardlink,
        Some("reflink") => LinkMode::Reflink,
        Some("copy") => LinkMode::Copy,
        _ => LinkMode::Symlink,
    }
}

fn show(
    context: &Context<'_>,
    (report, unlocked): (&RealizeReport, &[UnlockedBuild]),
    request: &RealizeRequest,
    started: Instant,
) {
    let ui = &context.ui;
    for clash in &report.clashes {
        let hidden: Vec<&str> = clash.hidden.iter().map(|name| name.as_str()).collect();
        ui.warn(&format!("`{}` comes from {} and hides that of {}", clash.path, clash.kept, hidden.join(", ")));
    }
    for (path, package) in &report.refused {
        ui.warn(&format!("`{path}` of {package} is left out: the environment needs that place itself"));
    }
    warn_of_foreign(context, report, request.keep_foreign);
    if let Some(leftover) = &report.leftover {
        ui.warn(&format!("the old environment could not be removed: `{}`", leftover.display()));
    }
    warn_of_copies(context, report);
    if ui.json {
        ui.json(&json!({
            "version": 1,
            "environment": request.destination,
            "packages": report.packages,
            "from_store": report.from_store,
            "fetched": report.fetched,
            "built": report.built,
            "unlocked_builds": unlocked,
            "unchanged": report.unchanged,
            "clashes": report.clashes,
            "foreign": report.foreign,
            "foreign_lost": report.foreign_lost,
            "detached": report.detached,
            "reattached": report.reattached,
            "files": report.files,
            "seconds": started.elapsed().as_secs_f64(),
            "phases": phases(&report.phases),
        }));
        return;
    }
    if ui.verbose > 0 {
        ui.note(&phases_line(&report.phases));
    }
    let noun = if report.packages == 1 { "package" } else { "packages" };
    let time = seconds(started.elapsed());
    if report.unchanged {
        ui.note(&format!("{} {noun}: nothing to do, in {time}", report.packages));
    } else {
        ui.note(&format!(
            "{} {noun}: {} from the store, {} fetched, {} built, in {time}",
            report.packages, report.from_store, report.fetched, report.built
        ));
    }
}

/// What of others went or stayed, and which private copies.
pub(super) fn warn_of_foreign(context: &Context<'_>, report: &RealizeReport, keep_foreign: bool) {
    let ui = &context.ui;
    let (lost, kept): (Vec<&String>, Vec<&String>) =
        report.foreign.iter().partition(|path| report.foreign_lost.contains(path));
    let fate = if keep_foreign { "kept" } else { "removed (--keep-foreign keeps such entries)" };
    for (paths, fate) in [(kept, fate), (lost, "replaced by the lock's")] {
        if !paths.is_empty() {
            let paths: Vec<&str> = paths.into_iter().map(String::as_str).collect();
            ui.warn(&format!("not from the lock, {fate}: {}", paths.join(", ")));
        }
    }
    for (packages, fate) in [
        (&report.detached, "stays a private copy (detached)"),
        (&report.reattached, "is linked again; its private copy is gone"),
    ] {
        for package in packages {
            ui.warn(&format!("{package} {fate}"));
        }
    }
}

/// Seconds by phase; `work` is part of `obtain` and counts what runs twice at once twice.
fn phases(phases: &Phases) -> serde_json::Value {
    let work: serde_json::Map<_, _> = phases
        .work
        .iter()
        .map(|(activity, spent)| (activity.as_str().to_owned(), json!(spent.as_secs_f64())))
        .collect();
    json!({
        "plan": phases.plan.as_secs_f64(),
        "obtain": phases.obtain.as_secs_f64(),
        "link": phases.link.as_secs_f64(),
        "work": work,
    })
}

/// One line for `-v`.
fn phases_line(phases: &Phases) -> String {
    let busy = phases.work.iter().filter(|(_, spent)| !spent.is_zero());
    let work: Vec<String> =
        busy.map(|(activity, spent)| format!("{} {}", activity.as_str(), seconds(*spent))).collect();
    let work = if work.is_empty() { String::new() } else { format!(" ({}, overlapping)", work.join(", ")) };
    let [plan, obtain, link] = [phases.plan, phases.obtain, phases.link].map(seconds);
    format!("plan {plan}, obtain {obtain}{work}, link {link}")
}

/// A link mode that the file system can't do costs space and time; nobody should find that out from `du`.
fn warn_of_copies(context: &Context<'_>, report: &RealizeReport) {
    let reason = match report.files.fallback_reason {
        None => return,
        Some(CopyReason::OtherFileSystem) => "the store is on another file system",
        Some(CopyReason::NotPossible) => "this file system or user can't link them to the store's",
        Some(CopyReason::TooManyLinks) => "the file system allows no further link to some of them",
    };
    let count = report.files.fallbacks;
    let files = if count == 1 { "file was" } else { "files were" };
    context.ui.warn(&format!("{count} {files} copied: {reason}"));
}

fn show_plan(context: &Context<'_>, plan: &Plan) {
    if context.ui.json {
        let packages: Vec<_> = plan
            .packages
            .iter()
            .map(|package| {
                json!({
                    "package": package.pin.to_string(),
                    "file": package.selection.as_ref().map(|selection| &selection.file_name),
                    "object": package.object.as_ref().map(|object| &object.path),
                })
            })
            .collect();
        context.ui.json(&json!({ "version": 1, "packages": packages }));
        return;
    }
    for package in &plan.packages {
        let what = match (&package.object, &package.selection) {
            (Some(_), _) => "in the store".to_owned(),
            (None, Some(selection)) => format!("to be made from {}", selection.file_name),
            (None, None) => "to be looked up".to_owned(),
        };
        context.ui.data(&format!("{}: {what}", package.pin));
    }
    let missing = plan.packages.len() - plan.in_store();
    let noun = if plan.packages.len() == 1 { "package" } else { "packages" };
    context.ui.note(&format!("{} {noun}: {} in the store, {missing} missing", plan.packages.len(), plan.in_store()));
}
