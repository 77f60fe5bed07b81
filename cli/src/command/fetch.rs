//! `fetch`: fill the store with what a lock needs.

use std::time::Instant;

use pip_accel_builder::realize;
use pip_accel_store::Access;
use serde_json::json;

use super::Context;
use super::rounds::{Policy, in_rounds};
use super::session::{Opened, load_lock};
use crate::args::FetchArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::seconds;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &FetchArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    let lock = load_lock(context, &args.lock, &args.choice.choice())?;
    let mut settings = context.settings()?;
    let policy = Policy::of(&mut settings, args.system_packages)?;
    let store = context.open(&settings, Access::ReadWrite)?;
    let opened = Opened::new(context, store, settings, &args.source, &lock.options)?;
    let place = context.host.absolute(&args.lock);
    let report = in_rounds(context, (&opened, policy), || realize::fetch(&opened.session, &lock, &place))?;
    if context.ui.json {
        context.ui.json(&json!({
            "version": 1,
            "packages": report.packages,
            "from_store": report.from_store,
            "fetched": report.fetched,
            "seconds": started.elapsed().as_secs_f64(),
        }));
    } else {
        let noun = if report.packages == 1 { "package" } else { "packages" };
        context.ui.note(&format!(
            "{} {noun}: {} in the store, {} fetched, in {}",
            report.packages,
            report.from_store,
            report.fetched,
            seconds(started.elapsed())
        ));
    }
    Ok(Exit::Done)
}
