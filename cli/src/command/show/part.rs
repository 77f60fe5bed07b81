//! One side of an object: who refers to it, what it refers to, what it was made from, how much disk it takes.

use std::collections::HashSet;

use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Object, Origin, Store};
use serde_json::{Value, json};

use crate::args::inspect::ShowArgs;
use crate::command::Context;
use crate::command::why::heading;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::bytes;

/// Levels of a tree that are shown; no build has requirements that were built on requirements so often.
const DEPTH_MAX: usize = 50;

/// What is asked of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Referrers,
    References,
    Tree,
    Size,
}

/// What the arguments ask for; `None`: all that `show` says by itself.
pub(super) fn wanted(args: &ShowArgs) -> Option<Part> {
    [
        (args.referrers, Part::Referrers),
        (args.references, Part::References),
        (args.tree, Part::Tree),
        (args.size, Part::Size),
    ]
    .into_iter()
    .find_map(|(is_wanted, part)| is_wanted.then_some(part))
}

/// Answers for each of `objects`.
pub(super) fn run(context: &Context<'_>, store: &Store, objects: &[Object], part: Part) -> Result<Exit, Failure> {
    if part == Part::Size {
        return size(context, store, objects);
    }
    let mut values = Vec::new();
    for object in objects {
        let mut tree = Tree { context, store, open: HashSet::new() };
        if context.ui.json {
            values.push(match part {
                Part::Tree => tree.json(object, "object", 0)?,
                _ => json!({ "id": object.id, "name": object.name, "version": object.version,
                    "objects": listed(store, object, part)?.iter().map(short).collect::<Vec<_>>() }),
            });
            continue;
        }
        context.ui.data(&heading(object));
        match part {
            Part::Tree => tree.show(object, "")?,
            _ => {
                for other in listed(store, object, part)? {
                    context.ui.data(&format!("  {}", heading(&other)));
                }
            }
        }
    }
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "objects": values }));
    }
    Ok(Exit::Done)
}

fn listed(store: &Store, object: &Object, part: Part) -> Result<Vec<Object>, Failure> {
    Ok(if part == Part::Referrers { store.referrers(&object.id)?.objects } else { store.origin(object)?.references })
}

fn short(object: &Object) -> Value {
    json!({ "id": object.id, "name": object.name, "version": object.version, "path": object.path })
}

fn size(context: &Context<'_>, store: &Store, objects: &[Object]) -> Result<Exit, Failure> {
    let shares = store.disk_shares()?;
    let mut values = Vec::new();
    for object in objects {
        let share = shares.of_objects([&object.id]);
        let shared = share.bytes.saturating_sub(share.exclusive_bytes);
        if context.ui.json {
            values.push(json!({
                "id": object.id, "name": object.name, "version": object.version, "size_bytes": object.size_bytes,
                "disk_bytes": share.bytes, "exclusive_bytes": share.exclusive_bytes, "shared_bytes": shared,
            }));
            continue;
        }
        context.ui.data(&heading(object));
        context.ui.data(&format!("  files: {}", bytes(object.size_bytes)));
        context.ui.data(&format!("  on disk: {}", bytes(share.bytes)));
        context.ui.data(&format!("  its own: {}", bytes(share.exclusive_bytes)));
        context.ui.data(&format!("  shared with other objects: {}", bytes(shared)));
    }
    if context.ui.json {
        context.ui.json(&json!({ "version": 1, "objects": values }));
    }
    Ok(Exit::Done)
}

/// An object with what it was made from, level by level.
struct Tree<'a> {
    context: &'a Context<'a>,
    store: &'a Store,
    /// What is above or was shown: each object is opened once.
    open: HashSet<ObjectId>,
}

/// A word for how it is needed, and the object, or what the store lacks.
type Branch = (&'static str, Result<Object, String>);

fn branches(origin: Origin) -> Vec<Branch> {
    let source = origin.source.into_iter().map(|source| ("source", Ok(source)));
    let inputs = origin.inputs.into_iter().map(|input| {
        let label = format!("{}=={}", input.input.name, input.input.version);
        ("built with", input.object.ok_or(label))
    });
    let references = origin.references.into_iter().map(|object| ("refers to", Ok(object)));
    source.chain(inputs).chain(references).collect()
}

impl Tree<'_> {
    fn show(&mut self, object: &Object, indent: &str) -> Result<(), Failure> {
        self.open.insert(object.id);
        let branches = branches(self.store.origin(object)?);
        let count = branches.len();
        for (position, (word, branch)) in branches.into_iter().enumerate() {
            let (bend, below) = if position + 1 == count { ("└─", "   ") } else { ("├─", "│  ") };
            let ui = &self.context.ui;
            match branch {
                Err(label) => ui.data(&format!("{indent}{bend} {word} {label} (not in the store)")),
                Ok(object) if self.open.contains(&object.id) || indent.chars().count() > 3 * DEPTH_MAX => {
                    ui.data(&format!("{indent}{bend} {word} {} (see above)", heading(&object)));
                }
                Ok(object) => {
                    ui.data(&format!("{indent}{bend} {word} {}", heading(&object)));
                    self.show(&object, &format!("{indent}{below}"))?;
                }
            }
        }
        Ok(())
    }

    fn json(&mut self, object: &Object, by: &str, depth: usize) -> Result<Value, Failure> {
        let mut value = short(object);
        value["by"] = json!(by);
        if !self.open.insert(object.id) || depth > DEPTH_MAX {
            value["again"] = json!(true);
            return Ok(value);
        }
        let mut below = Vec::new();
        for (word, branch) in branches(self.store.origin(object)?) {
            below.push(match branch {
                Ok(object) => self.json(&object, word, depth + 1)?,
                Err(label) => json!({ "by": word, "missing": label }),
            });
        }
        value["parts"] = json!(below);
        Ok(value)
    }
}
