//! `config show`: every setting and where it comes from.

use serde_json::json;

use super::Context;
use crate::args::{ConfigAction, ConfigArgs};
use crate::error::Failure;
use crate::exit_code::Exit;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &ConfigArgs) -> Result<Exit, Failure> {
    let ConfigAction::Show = args.action;
    let settings = context.settings()?;
    if context.ui.json {
        let values: Vec<_> = settings
            .all()
            .map(|(key, value, origin)| {
                let value = value.map(|value| key.shown(value));
                json!({ "key": key.name, "value": value, "origin": origin.to_string() })
            })
            .collect();
        context.ui.json(&json!({ "version": 1, "settings": values }));
        return Ok(Exit::Done);
    }
    for (key, value, origin) in settings.all() {
        match value {
            Some(value) => context.ui.data(&format!("{} = {}  ({origin})", key.name, key.shown(value))),
            None => context.ui.data(&format!("{} = {}  (default: {})", key.name, key.default, key.help)),
        }
    }
    Ok(Exit::Done)
}
