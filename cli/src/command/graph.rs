//! `graph`: what an environment or a lock is made of, as DOT or as a picture.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use pip_accel_builder::lock::Choice;
use pip_accel_builder::{environment, realize};
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::store_path::ObjectId;
use pip_accel_store::{Access, Object, Store};
use serde_json::json;

use super::Context;
use super::session::{Opened, load_lock};
use super::status::no_environment;
use crate::args::inspect::GraphArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::graph::{EdgeKind, Graph, Node, NodeKind, dot, svg};
use crate::settings::Value;
use crate::ui::{bytes, counted};

/// The environment that is drawn when none is named.
const DEFAULT_VENV: &str = ".venv";

/// A package of the top: its object, or what it is called where the store has none.
type Package = Result<Object, String>;

/// Runs the command.
pub(super) fn run(context: &Context<'_>, args: &GraphArgs) -> Result<Exit, Failure> {
    let graph = match &args.lock {
        Some(lock) => of_lock(context, args, lock)?,
        None => of_environment(context, args.venv.as_deref().unwrap_or(Path::new(DEFAULT_VENV)))?,
    };
    let Some(file) = &args.svg else {
        if context.ui.json {
            context.ui.json(&json!({ "version": 1, "nodes": graph.nodes, "edges": graph.edges }));
            return Ok(Exit::Done);
        }
        context.ui.text(dot(&graph).trim_end());
        return Ok(Exit::Done);
    };
    let path = context.host.absolute(file);
    std::fs::write(&path, svg(&graph)).map_err(|error| {
        Failure::new(Exit::Error, format!("cannot write `{}`: {error}", path.display()))
            .hint("name another file: pip-accel graph --svg FILE")
    })?;
    context.ui.note(&format!("{}: {} nodes, {} edges", path.display(), graph.nodes.len(), graph.edges.len()));
    Ok(Exit::Done)
}

fn of_environment(context: &Context<'_>, venv: &Path) -> Result<Graph, Failure> {
    let place = context.host.absolute(venv);
    let Some(manifest) = environment::read_manifest(&place)? else { return Err(no_environment(&place)) };
    let mut settings = context.settings()?;
    settings.set("store", Some(Value::Text(manifest.store.clone())));
    let store = context.open(&settings, Access::ReadOnly)?;
    let mut packages = Vec::with_capacity(manifest.packages.len());
    for package in &manifest.packages {
        let found = store.object_by_prefix(&package.object.to_string())?.into_iter().next();
        packages.push(found.ok_or_else(|| format!("{}=={}", package.name, package.version)));
    }
    draw(&store, venv, packages)
}

fn of_lock(context: &Context<'_>, args: &GraphArgs, path: &Path) -> Result<Graph, Failure> {
    let lock = load_lock(context, path, &Choice::default())?;
    let mut settings = context.settings()?;
    settings.set("offline", Some(Value::Flag(true)));
    let store = context.open(&settings, Access::ReadOnly)?;
    let opened = Opened::new(context, store, settings, &args.source, &lock.options)?;
    let plan = realize::plan(&opened.session, &lock)?;
    opened.progress.finish();
    let mut packages: Vec<Package> =
        plan.packages.into_iter().map(|package| package.object.ok_or_else(|| package.pin.to_string())).collect();
    packages.sort_by_key(|package| match package {
        Ok(object) => format!("{}=={}", object.name, object.version),
        Err(label) => label.clone(),
    });
    draw(&opened.session.store, path, packages)
}

/// The graph while it grows, layer by layer.
#[derive(Default)]
struct Drawing {
    graph: Graph,
    /// By object; what is missing is by its label.
    objects: BTreeMap<ObjectId, usize>,
    missing: BTreeMap<String, usize>,
    waiting: VecDeque<(usize, Object)>,
}

fn draw(store: &Store, top: &Path, packages: Vec<Package>) -> Result<Graph, Failure> {
    let mut drawing = Drawing::default();
    let sizes = packages.iter().flatten().map(|object| object.size_bytes);
    let detail = format!("{}, {}", counted(packages.len(), "package"), bytes(sizes.fold(0, u64::saturating_add)));
    let label = top.display().to_string();
    drawing.graph.nodes.push(Node { kind: NodeKind::Top, label, detail, layer: 0 });
    for package in packages {
        drawing.add(0, package, EdgeKind::Holds);
    }
    while let Some((position, object)) = drawing.waiting.pop_front() {
        let origin = store.origin(&object)?;
        if let Some(source) = origin.source {
            drawing.add(position, Ok(source), EdgeKind::Source);
        }
        for input in origin.inputs {
            let label = format!("{}=={}", input.input.name, input.input.version);
            drawing.add(position, input.object.ok_or(label), EdgeKind::BuiltWith);
        }
        for reference in origin.references {
            drawing.add(position, Ok(reference), EdgeKind::Refers);
        }
    }
    Ok(drawing.graph)
}

impl Drawing {
    fn add(&mut self, from: usize, package: Package, edge: EdgeKind) {
        let layer = self.graph.nodes[from].layer + 1;
        let next = self.graph.nodes.len();
        let to = match package {
            Ok(object) => {
                let to = *self.objects.entry(object.id).or_insert(next);
                if to == next {
                    self.graph.nodes.push(node(&object, layer));
                    self.waiting.push_back((next, object));
                }
                to
            }
            Err(label) => {
                let to = *self.missing.entry(label.clone()).or_insert(next);
                if to == next {
                    let detail = "not in the store".to_owned();
                    self.graph.nodes.push(Node { kind: NodeKind::Missing, label, detail, layer });
                }
                to
            }
        };
        self.graph.edges.push((from, to, edge));
    }
}

fn node(object: &Object, layer: usize) -> Node {
    let release = format!("{}=={}", object.name, object.version);
    let size = bytes(object.size_bytes);
    let (kind, label, detail) = match &object.provenance {
        Provenance::Source { file_name, .. } => (NodeKind::Source, file_name.clone(), size),
        Provenance::Wheel { .. } => (NodeKind::Wheel, release, size),
        Provenance::Build { recipe, .. } => {
            (NodeKind::Build, release, format!("{size}, built for {}", recipe.interpreter_label))
        }
    };
    Node { kind, label, detail, layer }
}
