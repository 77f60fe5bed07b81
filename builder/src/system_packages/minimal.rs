//! From the packages that a build read to those that somebody has to ask for: without what every build root has, and
//! without what comes along with another one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader};

use super::index::control::paragraphs;
use super::installed::STATUS;

/// What has the compiler, `make` and the C library's headers.
const BUILD_ESSENTIAL: &str = "build-essential";

/// What has the headers of Debian's own Python.
const PYTHON_HEADERS: &str = "python3-dev";

/// Sections whose packages are tools of builds.
const TOOL_SECTIONS: &[&str] = &["devel", "libdevel", "interpreters", "java", "rust", "golang", "fortran", "vcs"];

/// What dpkg says of one package.
#[derive(Debug, Default)]
struct Row {
    depends: Vec<String>,
    section: String,
    is_base: bool,
}

/// The packages of this machine and what they need.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    rows: BTreeMap<String, Row>,
    /// What comes with the base system and with a compiler.
    base: BTreeSet<String>,
    /// What comes with a compiler.
    essential: BTreeSet<String>,
}

impl Dependencies {
    /// Reads dpkg's list; empty where there is none.
    pub(crate) fn of_this_machine() -> Self {
        let read = File::open(STATUS).and_then(|file| Self::parse(&mut BufReader::new(file)));
        read.inspect_err(|error| tracing::debug!(%error, "dpkg's list can't be read")).unwrap_or_default()
    }

    fn parse(reader: &mut dyn io::BufRead) -> io::Result<Self> {
        let mut all = Self::default();
        paragraphs(reader, |paragraph| {
            let Some(name) = paragraph.field("Package") else { return };
            let depends = ["Pre-Depends", "Depends"].iter().flat_map(|field| paragraph.relations(field));
            let priority = paragraph.field("Priority").unwrap_or_default();
            let section = paragraph.field("Section").unwrap_or_default();
            let row = Row {
                depends: depends.filter_map(|group| group.into_iter().next()).collect(),
                section: section.rsplit('/').next().unwrap_or_default().to_owned(),
                is_base: paragraph.field("Essential").as_deref() == Some("yes")
                    || ["required", "important", "standard"].contains(&priority.as_str()),
            };
            all.rows.insert(name, row);
        })?;
        all.essential = all.closure([BUILD_ESSENTIAL.to_owned()]);
        let of_system = all.rows.iter().filter(|(_, row)| row.is_base).map(|(name, _)| name.clone());
        let roots: Vec<String> = of_system.chain(["python3".to_owned(), "python3-minimal".to_owned()]).collect();
        all.base = all.closure(roots);
        Ok(all)
    }

    /// What `roots` need, themselves included.
    fn closure(&self, roots: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let mut open: Vec<String> = roots.into_iter().collect();
        let mut found = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !found.insert(name.clone()) {
                continue;
            }
            if let Some(row) = self.rows.get(&name) {
                open.extend(row.depends.iter().filter(|name| !found.contains(*name)).cloned());
            }
        }
        found
    }

    /// The packages to ask for so that all of `read` are there, as far as they are for building.
    pub(crate) fn asked_for<'a>(&self, read: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let mut wanted = BTreeSet::new();
        for name in read {
            if is_compiler(name) || self.essential.contains(name) && name.ends_with("-dev") {
                wanted.insert(BUILD_ESSENTIAL.to_owned());
            } else if is_python_headers(name) {
                wanted.insert(PYTHON_HEADERS.to_owned());
            } else if !self.essential.contains(name) && !self.base.contains(name) && self.is_for_building(name) {
                wanted.insert(name.to_owned());
            }
        }
        let others = |name: &String| wanted.iter().filter(|other| *other != name).cloned().collect::<Vec<_>>();
        // Python's own development package brings libraries along that its name does not tell.
        let comes_along = |name: &String| {
            others(name).into_iter().filter(|other| other != PYTHON_HEADERS).any(|other| {
                self.closure([other.clone()]).contains(name) && !self.closure([name.clone()]).contains(&other)
            })
        };
        wanted.iter().filter(|name| !comes_along(name)).cloned().collect()
    }

    fn is_for_building(&self, name: &str) -> bool {
        if name.ends_with("-dev") {
            return true;
        }
        let is_library = name.starts_with("lib") || name.starts_with("python3") || name.ends_with("-common");
        !is_library && self.rows.get(name).is_some_and(|row| TOOL_SECTIONS.contains(&row.section.as_str()))
    }
}

fn is_compiler(name: &str) -> bool {
    let is_versioned = |tool: &str| {
        name.strip_prefix(tool).is_some_and(|rest| rest.is_empty() || rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    ["gcc", "g++", "gcc-", "g++-", "cpp", "cpp-"].iter().any(|tool| is_versioned(tool))
        || ["make", "libc6-dev", "linux-libc-dev", "binutils"].contains(&name)
}

fn is_python_headers(name: &str) -> bool {
    (name.starts_with("libpython3") || name.starts_with("python3")) && name.ends_with("-dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_along_is_not_asked_for() {
        let status = "Package: build-essential\nDepends: libc6-dev | libc-dev, gcc\nSection: devel\n\n\
            Package: libc6-dev\nSection: libdevel\nDepends: libcrypt-dev\n\nPackage: libcrypt-dev\nSection: libdevel\n\n\
            Package: libxml2-dev\nSection: libdevel\nDepends: libicu-dev, libxml2 (= 1)\n\n\
            Package: libicu-dev\nSection: libdevel\n\nPackage: libxml2\nSection: libs\n\nPackage: swig\nSection: interpreters\n\n\
            Package: dash\nEssential: yes\nSection: shells\n\nPackage: vim\nSection: editors\n\n";
        let all = Dependencies::parse(&mut status.as_bytes()).expect("memory");
        let read = [
            "gcc-12",
            "libcrypt-dev",
            "libxml2",
            "libxml2-dev",
            "libicu-dev",
            "swig",
            "dash",
            "vim",
            "libpython3.11-dev",
        ];
        let asked: Vec<String> = all.asked_for(read).into_iter().collect();
        assert_eq!(asked, ["build-essential", "libxml2-dev", "python3-dev", "swig"]);
        assert_eq!(Dependencies::default().asked_for(["libfoo-dev", "cpp-12"]).len(), 2);
    }
}
