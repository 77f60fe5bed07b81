//! Whether what is installed is what is asked for, with all that it requires: then there is nothing to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::name::{PackageName, PackageVersion};

use super::installed::InstalledSet;
use crate::python::requirement::Requirement;

/// Why something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The project is not installed.
    Missing {
        /// The requirement.
        requirement: String,
        /// Who requires it; `None`: the user.
        by: Option<PackageName>,
    },
    /// Another version is installed.
    Version {
        /// The requirement.
        requirement: String,
        /// Who requires it; `None`: the user.
        by: Option<PackageName>,
        /// What is installed.
        installed: PackageVersion,
    },
    /// It can't be told from what is installed: a URL, a file, an editable.
    Unknown {
        /// The requirement.
        requirement: String,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { requirement, by: Some(by) } => {
                write!(formatter, "{by} requires {requirement}, which is not installed")
            }
            Self::Missing { requirement, by: None } => write!(formatter, "{requirement} is not installed"),
            Self::Version { requirement, by, installed } => {
                if let Some(by) = by {
                    write!(formatter, "{by} requires ")?;
                }
                write!(formatter, "{requirement}, and {installed} is installed")
            }
            Self::Unknown { requirement } => write!(formatter, "{requirement} has to be looked at"),
        }
    }
}

/// What one look at installed packages needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    /// What is installed.
    pub installed: &'a InstalledSet,
    /// Requirements that forbid versions of what is required by others.
    pub constraints: &'a [Requirement],
    /// For markers.
    pub markers: &'a MarkerVariables,
    /// Whether requirements of requirements count.
    pub with_dependencies: bool,
}

/// A project with an extra of it, or without.
type Node = (PackageName, Option<String>);

impl Check<'_> {
    /// The projects that satisfy `wanted`, or the first thing that is lacking.
    ///
    /// # Errors
    /// The lack.
    pub fn satisfies(&self, wanted: &[Requirement]) -> Result<BTreeSet<PackageName>, Lack> {
        let mut open: Vec<Node> = Vec::new();
        for requirement in wanted.iter().filter(|requirement| requirement.applies(self.markers, &[])) {
            self.one(requirement, None)?;
            open.extend(nodes(requirement));
        }
        let mut seen: BTreeSet<Node> = BTreeSet::new();
        while let Some(node) = open.pop() {
            if !seen.insert(node.clone()) || !self.with_dependencies {
                continue;
            }
            for requirement in self.requirements(&node) {
                self.one(&requirement, Some(&node.0))?;
                open.extend(nodes(&requirement));
            }
        }
        Ok(seen.into_iter().map(|(name, _)| name).collect())
    }

    /// What installed packages require and is not there, by package.
    #[must_use]
    pub fn conflicts(&self) -> BTreeMap<PackageName, Vec<Lack>> {
        let mut conflicts = BTreeMap::new();
        for package in self.installed.iter() {
            let requirements = self.requirements(&(package.name.clone(), None));
            let lacks = requirements.iter().filter_map(|one| self.one(one, Some(&package.name)).err());
            let lacks: Vec<Lack> = lacks.collect();
            if !lacks.is_empty() {
                conflicts.insert(package.name.clone(), lacks);
            }
        }
        conflicts
    }

    /// What an installed project requires, or what its extra does; entries that can't be read are passed over.
    fn requirements(&self, (name, extra): &Node) -> Vec<Requirement> {
        let Some(package) = self.installed.get(name) else { return Vec::new() };
        let extras: Vec<String> = extra.iter().cloned().collect();
        let parsed = package.requires.iter().filter_map(|text| text.parse::<Requirement>().ok());
        parsed.filter(|requirement| requirement.applies(self.markers, &extras)).collect()
    }

    fn one(&self, requirement: &Requirement, by: Option<&PackageName>) -> Result<(), Lack> {
        let text = || Requirement { marker: None, ..requirement.clone() }.to_string();
        let Some(installed) = self.installed.get(&requirement.name) else {
            return Err(Lack::Missing { requirement: text(), by: by.cloned() });
        };
        // What is required by URL is not compared with an index, and only a look at the URL tells more.
        if requirement.url.is_some() && by.is_none() {
            return Err(Lack::Unknown { requirement: text() });
        }
        let refuses = |one: &Requirement| !one.specifiers.contains_package(&installed.version);
        let applies = |one: &&Requirement| one.name == requirement.name && one.applies(self.markers, &[]);
        let constraint = self.constraints.iter().filter(applies).find(|one| refuses(one));
        let refused = if refuses(requirement) { Some(text()) } else { constraint.map(ToString::to_string) };
        match refused {
            Some(requirement) => {
                Err(Lack::Version { requirement, by: by.cloned(), installed: installed.version.clone() })
            }
            None => Ok(()),
        }
    }
}

fn nodes(requirement: &Requirement) -> impl Iterator<Item = Node> + '_ {
    let extras = requirement.extras.iter().map(|extra| (requirement.name.clone(), Some(extra.clone())));
    std::iter::once((requirement.name.clone(), None)).chain(extras)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::installed::InstalledPackage;
    use super::*;

    fn set(packages: &[(&str, &str, &[&str])]) -> InstalledSet {
        let mut set = InstalledSet::default();
        for (name, version, requires) in packages {
            set.insert(InstalledPackage {
                name: name.parse().expect("a name"),
                version: version.parse().expect("a version"),
                metadata: PathBuf::new(),
                folder: PathBuf::new(),
                requires: requires.iter().map(|text| (*text).to_owned()).collect(),
                requested: false,
                installer: None,
                direct_url: None,
            });
        }
        set
    }

    fn check(installed: &InstalledSet, wanted: &[&str], constraints: &[&str], deps: bool) -> String {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("one")).collect::<Vec<Requirement>>();
        let markers = crate::python::testing::marker_variables("3.11");
        let constraints = parse(constraints);
        let check = Check { installed, constraints: &constraints, markers: &markers, with_dependencies: deps };
        match check.satisfies(&parse(wanted)) {
            Ok(names) => names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "),
            Err(lack) => lack.to_string(),
        }
    }

    #[test]
    fn requirements_of_requirements_count() {
        let installed = set(&[
            ("a", "1.0", &["b>=2", "c; extra == 'x'", "d; python_version < '3'", "a[x]; extra == 'all'"]),
            ("b", "2.1", &["a"]),
            ("e", "1", &["b>=3"]),
        ]);
        for (wanted, constraints, deps, expected) in [
            (&["a"][..], &[][..], true, "a b"),
            (&["a>=2"], &[], true, "a>=2, and 1.0 is installed"),
            (&["a[x]"], &[], true, "a requires c, which is not installed"),
            (&["a[all]"], &[], true, "a requires c, which is not installed"),
            (&["a[x]"], &[], false, "a"),
            (&["e"], &[], true, "e requires b>=3, and 2.1 is installed"),
            (&["e"], &[], false, "e"),
            (&["a"], &["b<2"], true, "a requires b<2, and 2.1 is installed"),
            (&["z; python_version < '3'"], &[], true, ""),
            (&["a @ https://h/a.whl"], &[], true, "a @ https://h/a.whl has to be looked at"),
        ] {
            assert_eq!(check(&installed, wanted, constraints, deps), expected, "{wanted:?} {constraints:?}");
        }
    }
}
