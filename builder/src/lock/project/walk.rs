//! Which packages of a project's lock apply to an interpreter: by conditions, or by a walk through the graph.

use std::collections::{BTreeSet, HashMap, HashSet};

use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::requirement::excerpt;

use super::choice::Chosen;
use super::constraint::Range;
use crate::lock::{LockProblem, LockedRequirement, ProblemKind, Span};
use crate::python::marker::Marker;
use crate::python::version::Version;

/// Walks that a graph gets until the extras that its markers speak of stay the same: each finds those of the one before.
const ROUNDS_MAX: usize = 4;

/// Markers of a lock's environments that a message shows.
const MARKERS_SHOWN_MAX: usize = 4;

/// A dependency with its meaning.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) source: Option<String>,
    pub(super) constraint: Option<Range>,
    pub(super) python: Option<Range>,
    pub(super) marker: Option<Marker>,
    pub(super) extras: Vec<String>,
}

/// One package.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: PackageName,
    pub(super) version: Option<PackageVersion>,
    pub(super) source: Option<String>,
    /// `Ok(None)`: never installed.
    pub(super) locked: Result<Option<LockedRequirement>, ProblemKind>,
    pub(super) conditions: Vec<(Option<String>, Option<Marker>)>,
    /// By the extra that brings them; `None`: always.
    pub(super) links: HashMap<Option<String>, Vec<Link>>,
    pub(super) requires_python: Option<(String, Range)>,
    pub(super) is_project: bool,
    pub(super) span: Span,
}

/// Where the walk begins: group, extra, what is wanted then.
pub(super) type Beginning = (Option<String>, Option<String>, Link);

/// A project's lock, ready to be asked.
#[derive(Debug, Clone)]
pub(in crate::lock) struct Project {
    pub(super) span: Span,
    pub(super) requires_python: Option<(String, Range)>,
    pub(super) environments: Vec<Marker>,
    pub(super) nodes: Vec<Node>,
    pub(super) by_name: HashMap<String, Vec<usize>>,
    pub(super) beginnings: Option<Vec<Beginning>>,
    pub(super) chosen: Chosen,
    /// The project by whose name uv's markers speak of extras.
    pub(super) encoded: Option<String>,
    pub(super) is_encoded: bool,
}

/// The interpreter's release as a version: a release candidate counts as what it becomes.
fn release_of(variables: &MarkerVariables) -> Option<Version> {
    let text = &variables.python_full_version;
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text[..end].trim_end_matches('.').parse().ok()
}

impl Project {
    /// The requirements that apply; what stands in their way goes to `problems`.
    pub(in crate::lock) fn select(
        &self,
        variables: &MarkerVariables,
        problems: &mut Vec<LockProblem>,
    ) -> Vec<LockedRequirement> {
        let Some(python) = release_of(variables) else { return Vec::new() };
        if let Some(kind) = self.misfit(variables, &python) {
            problems.push(LockProblem { span: self.span.clone(), kind });
            return Vec::new();
        }
        let chosen = match &self.beginnings {
            None => self.by_conditions(variables),
            Some(beginnings) => self.by_walking(beginnings, (variables, &python), problems).into_iter().collect(),
        };
        let mut selected = Vec::with_capacity(chosen.len());
        for node in chosen.into_iter().filter_map(|index| self.nodes.get(index)) {
            if node.is_project && !self.chosen.project {
                continue;
            }
            let mut refuse = |kind| problems.push(LockProblem { span: node.span.clone(), kind });
            if let Some((requires, range)) = node.requires_python.as_ref().filter(|(_, range)| !range.contains(&python))
            {
                let _known = range;
                let (requires, python) = (excerpt(requires), variables.python_full_version.clone());
                refuse(ProblemKind::PackageRequiresPython { name: node.name.clone(), requires, python });
                continue;
            }
            match &node.locked {
                Ok(requirement) => selected.extend(requirement.clone()),
                Err(kind) => refuse(kind.clone()),
            }
        }
        selected
    }

    /// Why the lock as a whole is not for this interpreter.
    fn misfit(&self, variables: &MarkerVariables, python: &Version) -> Option<ProblemKind> {
        if let Some((requires, range)) = &self.requires_python
            && !range.contains(python)
        {
            let (requires, python) = (excerpt(requires), variables.python_full_version.clone());
            return Some(ProblemKind::RequiresPython { requires, python });
        }
        let holds = |marker: &Marker| marker.holds_with(variables, (&[], &[]));
        if self.environments.is_empty() || self.environments.iter().any(holds) {
            return None;
        }
        let shown = self.environments.iter().take(MARKERS_SHOWN_MAX).map(|marker| excerpt(marker.as_str()));
        Some(ProblemKind::Environments { markers: shown.collect::<Vec<_>>().join("; ") })
    }

    fn by_conditions(&self, variables: &MarkerVariables) -> Vec<usize> {
        let Chosen { extras, groups, .. } = &self.chosen;
        let applies = |node: &Node| {
            node.conditions.iter().any(|(group, marker)| {
                group.as_ref().is_none_or(|group| groups.contains(group))
                    && marker.as_ref().is_none_or(|marker| marker.holds_with(variables, (extras, groups)))
            })
        };
        (0..self.nodes.len()).filter(|index| applies(&self.nodes[*index])).collect()
    }

    fn by_walking(
        &self,
        beginnings: &[Beginning],
        at: (&MarkerVariables, &Version),
        problems: &mut Vec<LockProblem>,
    ) -> BTreeSet<usize> {
        let mut active = self.active_from_the_start();
        for round in 1.. {
            let mut walk = Walk { project: self, at, active: &active, seen: HashSet::new(), dangling: Vec::new() };
            walk.run(beginnings);
            let mut next = self.active_from_the_start();
            for (index, extra) in &walk.seen {
                if let (Some(extra), Some(node)) = (extra, self.nodes.get(*index)) {
                    next.extend(self.is_encoded.then(|| encoded("extra", node.name.as_str(), extra)));
                }
            }
            if next == active || round == ROUNDS_MAX {
                problems.append(&mut walk.dangling);
                return walk.seen.into_iter().map(|(index, _)| index).collect();
            }
            active = next;
        }
        BTreeSet::new()
    }

    /// Extras that markers may ask for before anything is known of the graph.
    fn active_from_the_start(&self) -> BTreeSet<String> {
        let Chosen { extras, groups, .. } = &self.chosen;
        match &self.encoded {
            _ if !self.is_encoded => extras.iter().cloned().collect(),
            None => BTreeSet::new(),
            Some(project) => {
                let extras = extras.iter().map(|extra| encoded("extra", project, extra));
                let groups = groups.iter().map(|group| encoded("group", project, group));
                extras.chain(groups).chain([format!("project-{}-{project}", project.len())]).collect()
            }
        }
    }
}

/// An extra or group of a package as uv writes it in markers.
fn encoded(kind: &str, package: &str, name: &str) -> String {
    format!("{kind}-{}-{package}-{name}", package.len())
}

type State = (usize, Option<String>);

struct Walk<'a> {
    project: &'a Project,
    at: (&'a MarkerVariables, &'a Version),
    active: &'a BTreeSet<String>,
    seen: HashSet<State>,
    dangling: Vec<LockProblem>,
}

impl Walk<'_> {
    fn run(&mut self, beginnings: &[Beginning]) {
        let Chosen { extras, groups, .. } = &self.project.chosen;
        let active: Vec<String> = self.active.iter().cloned().collect();
        let mut waiting = Vec::new();
        for (group, extra, link) in beginnings {
            let is_wanted = group.as_ref().is_none_or(|group| groups.contains(group))
                && extra.as_ref().is_none_or(|extra| extras.contains(extra));
            if is_wanted {
                let span = self.project.span.clone();
                self.follow(link, &active, ("the project", &span), &mut waiting);
            }
        }
        while let Some((index, extra)) = waiting.pop() {
            let Some(node) = self.project.nodes.get(index) else { continue };
            let mut extras = active.clone();
            extras.extend(extra.clone());
            for link in node.links.get(&extra).into_iter().flatten() {
                self.follow(link, &extras, (node.name.as_str(), &node.span), &mut waiting);
            }
        }
    }

    fn follow(&mut self, link: &Link, extras: &[String], (dependant, span): (&str, &Span), waiting: &mut Vec<State>) {
        let (variables, python) = self.at;
        let applies = link.python.as_ref().is_none_or(|range| range.contains(python))
            && link.marker.as_ref().is_none_or(|marker| marker.holds_with(variables, (extras, &[])));
        if !applies {
            return;
        }
        let Some(index) = self.target(link) else {
            let (dependant, name) = (dependant.to_owned(), excerpt(&link.name));
            let kind = ProblemKind::Dangling { dependant, name };
            self.dangling.push(LockProblem { span: span.clone(), kind });
            return;
        };
        for state in std::iter::once(None).chain(link.extras.iter().cloned().map(Some)) {
            if self.seen.insert((index, state.clone())) {
                waiting.push((index, state));
            }
        }
    }

    /// The package that a dependency means; the newest where the lock leaves it open.
    fn target(&self, link: &Link) -> Option<usize> {
        let nodes = &self.project.nodes;
        let fits = |index: &&usize| {
            let node = &nodes[**index];
            let version = node.version.as_ref();
            link.version.as_ref().is_none_or(|wanted| version.is_some_and(|version| version.as_str() == wanted))
                && (link.source.is_none() || link.source == node.source)
        };
        let candidates: Vec<usize> = self.project.by_name.get(&link.name)?.iter().filter(fits).copied().collect();
        if let [only] = candidates.as_slice() {
            return Some(*only);
        }
        let parsed = |index: &usize| nodes[*index].version.as_ref().and_then(|version| Version::try_from(version).ok());
        let (_, python) = self.at;
        let is_allowed = |index: &usize| {
            let is_in_range = match (&link.constraint, parsed(index)) {
                (Some(range), Some(version)) => range.contains(&version),
                _ => true,
            };
            is_in_range && nodes[*index].requires_python.as_ref().is_none_or(|(_, range)| range.contains(python))
        };
        candidates.into_iter().filter(is_allowed).max_by_key(parsed)
    }
}
