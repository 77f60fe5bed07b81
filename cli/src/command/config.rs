//! `config show`: every setting and where it comes from.

use pip_accel_builder::python::interpreter::find;
use serde_json::json;

use super::Context;
use super::session::search_path;
use crate::args::{ConfigAction, ConfigArgs};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Settings;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &ConfigArgs) -> Result<Exit, Failure> {
    let ConfigAction::Show = args.action;
    let settings = context.settings()?;
    if context.ui.json {
        let values: Vec<_> = settings
            .all()
            .map(|(key, value, origin)| {
                let value = value.map(|value| key.shown(value));
                let effective = if value.is_none() { effective(context, &settings, key.name) } else { None };
                json!({ "key": key.name, "value": value, "default": effective, "origin": origin.to_string() })
            })
            .collect();
        context.ui.json(&json!({ "version": 1, "settings": values }));
        return Ok(Exit::Done);
    }
    for (key, value, origin) in settings.all() {
        match value {
            Some(value) => context.ui.data(&format!("{} = {}  ({origin})", key.name, key.shown(value))),
            None => {
                let value = effective(context, &settings, key.name).unwrap_or_else(|| key.default.to_owned());
                context.ui.data(&format!("{} = {value}  (default: {})", key.name, key.help));
            }
        }
    }
    Ok(Exit::Done)
}

/// What a setting that nobody set comes to on this machine, where that is not the same everywhere.
fn effective(context: &Context<'_>, settings: &Settings, key: &str) -> Option<String> {
    match key {
        "store" => settings.store(&context.host).ok().map(|path| path.display().to_string()),
        "python" => find(None, &search_path(&context.host)).ok().map(|path| path.display().to_string()),
        "jobs" => std::thread::available_parallelism().ok().map(|number| number.to_string()),
        _ => None,
    }
}
