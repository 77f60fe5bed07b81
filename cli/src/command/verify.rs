//! `verify`: check that the store holds what it says, repair it, and make its database anew.

use std::cell::RefCell;
use std::sync::Arc;

use pip_accel_builder::repair::Remaker;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{
    Access, Action, Finding, Interrupt, LostObject, RebuildReport, RepairReport, Root, RootKind, Store, VerifyDepth,
    VerifyOptions,
};
use serde_json::json;

use super::Context;
use super::session::{apply_flags, interpreters, start};
use super::show::find;
use crate::args::VerifyArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::{Settings, parse_duration};
use crate::ui::counted;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &VerifyArgs) -> Result<Exit, Failure> {
    let mut settings = context.settings()?;
    apply_flags(&mut settings, &args.source);
    if args.rebuild_db {
        return rebuild(context, &settings, args);
    }
    let store = context.open(&settings, if args.repair { Access::ReadWrite } else { Access::ReadOnly })?;
    let options = VerifyOptions {
        depth: if args.quick { VerifyDepth::Quick } else { VerifyDepth::Full },
        objects: objects(&store, &args.objects)?,
        max_age_seconds: args.max_age.as_deref().map(age).transpose()?,
    };
    if args.repair {
        return repair(context, (&settings, args), &store, &options);
    }
    // What was verified is remembered, if this user may write; to look, reading is enough.
    let store = match context.open(&settings, Access::ReadWrite) {
        Ok(writable) if !args.quick => writable,
        _ => store,
    };
    let inspection = context.interruptible(&store, || Ok(store.inspect(&options)?))?;
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "findings": inspection.findings,
            "objects": inspection.objects,
            "read_objects": inspection.read_objects,
            "read_bytes": inspection.read_bytes,
        }));
    } else {
        for finding in &inspection.findings {
            context.ui.data(&line(finding));
        }
    }
    if inspection.findings.is_empty() {
        context.ui.note("the store is whole");
        return Ok(Exit::Done);
    }
    context.ui.error(&format!("{} found in {}", counted(inspection.findings.len(), "damage"), store.root().display()));
    context.ui.note("repair it: pip-accel verify --repair");
    Ok(Exit::StoreDamaged)
}

fn age(text: &str) -> Result<u64, Failure> {
    parse_duration(text).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("`{text}` is no age: seconds, or a number with s, m, h or d, is expected"))
            .hint("for example: pip-accel verify --max-age 30d")
    })
}

/// The objects that the arguments mean; none for none.
fn objects(store: &Store, texts: &[String]) -> Result<Vec<ObjectId>, Failure> {
    let mut ids = Vec::new();
    for text in texts {
        let found = find(store, text)?;
        if found.is_empty() {
            return Err(Failure::new(Exit::Error, format!("`{text}` is not in this store"))
                .hint("list what is kept: pip-accel roots"));
        }
        if let Some(lower) = found.iter().map(|object| store.lower_of(object)).collect::<Option<Vec<_>>>() {
            let root = lower.first().map_or_else(String::new, |lower| lower.root().display().to_string());
            return Err(Failure::new(Exit::Error, format!("`{text}` is in the lower store `{root}`, not in yours"))
                .hint(&format!("look at it there: pip-accel --store {root} verify {text}")));
        }
        ids.extend(found.iter().filter(|object| store.lower_of(object).is_none()).map(|object| object.id));
    }
    Ok(ids)
}

fn line(finding: &Finding) -> String {
    let place = finding.path.as_deref().map(|path| format!("/{path}")).unwrap_or_default();
    let text = format!("{}{place}: {} {}", finding.store_path, word(&finding.kind), finding.detail);
    text.trim_start_matches('/').trim_end().to_owned()
}

/// The word of the JSON report for a kind.
fn word(kind: &impl serde::Serialize) -> String {
    serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn repair(
    context: &Context<'_>,
    (settings, args): (&Settings, &VerifyArgs),
    store: &Arc<Store>,
    options: &VerifyOptions,
) -> Result<Exit, Failure> {
    let progress = context.ui.progress();
    let pythons: RefCell<Option<Box<dyn Iterator<Item = _> + '_>>> = RefCell::new(None);
    let mut remaker = Remaker::new(
        // Most repairs need no interpreter: they are searched when one is asked for.
        Box::new(|| {
            let mut pythons = pythons.borrow_mut();
            let asked = pythons.get_or_insert_with(|| Box::new(interpreters(context, store, settings))).next()?;
            Some(asked.map_err(|failure: Failure| failure.message().to_owned()))
        }),
        Box::new(|python| {
            let session = start(context, store, (settings, &args.source), (python, &progress));
            session.map_err(|failure| failure.message().to_owned())
        }),
    );
    let report = context.interruptible(store, || Ok(store.repair(options, &mut remaker)?));
    progress.finish();
    let report = report?;
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "report": report }));
    } else {
        show_repair(context, &report);
    }
    Ok(conclude(context, &report))
}

fn show_repair(context: &Context<'_>, report: &RepairReport) {
    for repaired in &report.findings {
        context.ui.data(&format!("{}: {}", line(&repaired.finding), done(&repaired.action)));
    }
    for lost in &report.lost {
        show_lost(context, lost);
    }
    let lost = |root: &Root| report.lost.iter().any(|lost| lost.roots.contains(root));
    for root in report.affected_roots.iter().filter(|root| root.kind == RootKind::Environment && !lost(root)) {
        context.ui.note(&format!(
            "`{}` had wrong bytes; if it is not made of symbolic links, make it anew: {}",
            root.location.display(),
            realize(root)
        ));
    }
}

fn show_lost(context: &Context<'_>, lost: &LostObject) {
    let LostObject { name, version, reason, .. } = lost;
    context.ui.warn(&format!("{name}=={version} could not be repaired and is not in the store any more: {reason}"));
    for root in &lost.roots {
        context.ui.warn(&match root.kind {
            RootKind::Environment => {
                format!("`{}` lacks {name}; make it anew: {}", root.location.display(), realize(root))
            }
            RootKind::Lock => {
                let location = root.location.display();
                format!("the lock `{location}` lacks {name}; fetch it again: pip-accel fetch '{location}'")
            }
            RootKind::Pin => format!("the pin `{}` lacks {name}", root.name),
        });
    }
}

fn realize(root: &Root) -> String {
    format!("pip-accel realize LOCK --venv '{}'", root.location.display())
}

fn done(action: &Action) -> String {
    match action {
        Action::Corrected => "set right".to_owned(),
        Action::MovedAway { to } => format!("moved to `{}`", to.display()),
        Action::Copied { from } => format!("repaired from {from}"),
        Action::Rewritten => "written again".to_owned(),
        Action::Remade => "made anew".to_owned(),
        Action::RemadeDifferently { .. } => "made anew, with another content than before".to_owned(),
        Action::Registered => "registered again".to_owned(),
        Action::Evicted => "deleted; nothing needs it".to_owned(),
        Action::Quarantined { to: Some(to), .. } => format!("NOT repaired, moved to `{}`", to.display()),
        Action::Quarantined { to: None, .. } => "NOT repaired, nothing is left of it".to_owned(),
        Action::Left { reason } => format!("NOT repaired: {reason}"),
    }
}

fn conclude(context: &Context<'_>, report: &RepairReport) -> Exit {
    if report.findings.is_empty() {
        context.ui.note("the store is whole");
        return Exit::Done;
    }
    let repaired = report.findings.iter().filter(|repaired| repaired.action.is_repair()).count();
    context.ui.note(&format!("{repaired} of {} repaired", counted(report.findings.len(), "damage")));
    if report.is_whole() {
        return Exit::Done;
    }
    context.ui.error("not everything could be repaired");
    Exit::StoreDamaged
}

fn rebuild(context: &Context<'_>, settings: &Settings, args: &VerifyArgs) -> Result<Exit, Failure> {
    let depth = if args.quick { VerifyDepth::Quick } else { VerifyDepth::Full };
    let (options, interrupt) = (context.store_options(settings, Access::ReadWrite)?, Interrupt::default());
    let rebuild = || Ok(Store::rebuild_database(options, depth, &interrupt)?);
    let report = context.interruptible_by(&interrupt, rebuild)?;
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "rebuilt": report }));
    } else {
        show_rebuild(context, &report);
    }
    if report.is_whole() {
        return Ok(Exit::Done);
    }
    context.ui.error("the database is there again, but not everything could be registered");
    context.ui.note(
        "register or move away the rest: pip-accel verify --repair; then realize the environments named above again. \
         Until then nothing is collected",
    );
    Ok(Exit::StoreDamaged)
}

fn show_rebuild(context: &Context<'_>, report: &RebuildReport) {
    for finding in &report.findings {
        context.ui.data(&line(finding));
    }
    for root in &report.incomplete_roots {
        let (kind, name) = (root.root.kind.as_str(), &root.root.name);
        context.ui.warn(&format!("{kind} `{name}` lacks {} of its objects", root.missing.len()));
    }
    for path in &report.unreadable_roots {
        context.ui.warn(&format!("`{}` can't be read; the root that it was is lost", path.display()));
    }
    if report.roots == 0 && report.objects > 0 {
        context.ui.warn("no root is known: realize your environments again before the next gc");
    }
    if let Some(kept) = &report.kept {
        context.ui.note(&format!("the old database is kept as `{}`", kept.display()));
    }
    context.ui.note(&format!(
        "{} and {} are registered again",
        counted(report.objects, "object"),
        counted(report.roots, "root")
    ));
}
