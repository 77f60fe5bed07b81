//! Why a package is installed: the ways of requirements to it, from what nobody requires or the user asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::name::PackageName;

use super::installed::{InstalledPackage, InstalledSet};
use crate::python::requirement::Requirement;

/// Most ways that are told; the shortest ones.
pub const WAYS_MAX: usize = 20;

/// One step of a way: who requires, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// A package, or what stands in a lock for a file, a project or the command line.
    pub by: String,
    /// The requirement, if it is known.
    pub requirement: Option<String>,
}

/// Who requires whom.
#[derive(Debug, Clone, Default)]
pub struct Requirers {
    by: BTreeMap<String, Vec<Step>>,
    roots: BTreeSet<String>,
}

impl Requirers {
    /// Of what is installed. Packages that the user asked for are where ways begin, if that is known (`asked`), and those
    /// that nobody requires.
    #[must_use]
    pub fn of_installed(installed: &InstalledSet, markers: &MarkerVariables, asked: bool) -> Self {
        let mut requirers = Self::default();
        // Which extras of a package were asked for is told by who requires it; those of the user nobody wrote down.
        let parse = |package: &InstalledPackage| -> Vec<Requirement> {
            package.requires.iter().filter_map(|text| text.parse().ok()).collect()
        };
        let mut extras: BTreeMap<PackageName, Vec<String>> = BTreeMap::new();
        for requirement in installed.iter().flat_map(parse) {
            extras.entry(requirement.name).or_default().extend(requirement.extras);
        }
        for package in installed.iter() {
            let known = extras.get(&package.name).map_or(&[][..], Vec::as_slice);
            for requirement in parse(package).into_iter().filter(|one| one.applies(markers, known)) {
                let text = Requirement { marker: None, ..requirement.clone() }.to_string();
                requirers.add(requirement.name.as_str(), package.name.as_str(), Some(text));
            }
            if asked && package.requested {
                requirers.roots.insert(package.name.to_string());
            }
        }
        requirers
    }

    /// Notes that `name` is there because of `by`.
    pub fn add(&mut self, name: &str, by: &str, requirement: Option<String>) {
        if name != by {
            self.by.entry(name.to_owned()).or_default().push(Step { by: by.to_owned(), requirement });
        }
    }

    /// Whether the user asked for it, as far as is known.
    #[must_use]
    pub fn is_asked_for(&self, name: &str) -> bool {
        self.roots.contains(name)
    }

    /// The ways to `name`, one from each beginning, the shortest first; a way's first step is its beginning. None where
    /// nobody requires it.
    #[must_use]
    pub fn ways(&self, name: &str) -> Vec<Vec<Step>> {
        let mut ways = Vec::new();
        let mut seen = BTreeSet::from([name.to_owned()]);
        let mut open: VecDeque<(String, Vec<Step>)> = VecDeque::from([(name.to_owned(), Vec::new())]);
        let mut rest = Vec::new();
        while let Some((at, way)) = open.pop_front() {
            let steps = self.by.get(&at).map_or(&[][..], Vec::as_slice);
            let is_end = !way.is_empty() && (steps.is_empty() || self.roots.contains(&at));
            if is_end && ways.len() < WAYS_MAX {
                ways.push(way.iter().rev().cloned().collect());
            }
            for step in steps {
                let longer: Vec<Step> = way.iter().cloned().chain([step.clone()]).collect();
                if seen.insert(step.by.clone()) {
                    open.push_back((step.by.clone(), longer));
                } else if rest.is_empty() {
                    rest = longer;
                }
            }
        }
        // A circle that nobody asked for has no beginning.
        if ways.is_empty() && !rest.is_empty() {
            ways.push(rest.into_iter().rev().collect());
        }
        ways
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(requirers: &Requirers, name: &str) -> Vec<String> {
        let way = |way: &Vec<Step>| way.iter().map(|step| step.by.as_str()).collect::<Vec<_>>().join(" ");
        requirers.ways(name).iter().map(way).collect()
    }

    #[test]
    fn ways_begin_where_nobody_requires() {
        let mut requirers = Requirers::default();
        for (name, by) in [
            ("library", "app"),
            ("library", "tool"),
            ("tool", "app"),
            ("app", "-r requirements.in"),
            ("library", "-r more.in"),
            ("ring", "round"),
            ("round", "ring"),
            ("self", "self"),
        ] {
            requirers.add(name, by, None);
        }
        assert_eq!(shown(&requirers, "library"), ["-r more.in", "-r requirements.in app"]);
        assert_eq!(shown(&requirers, "app"), ["-r requirements.in"]);
        assert_eq!(shown(&requirers, "ring"), ["ring round"]);
        assert!(shown(&requirers, "self").is_empty() && shown(&requirers, "nowhere").is_empty());
        requirers.roots.insert("tool".to_owned());
        assert_eq!(shown(&requirers, "library"), ["tool", "-r more.in", "-r requirements.in app"]);
    }
}
