//! From Debian's lists to the index: which files are worth keeping, and what is known of their packages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, BufRead};

use super::control::{Paragraph, paragraphs};
use super::format::{self, PackageRow, Tables};
use super::{IndexOrigin, SystemIndex};

/// Folders that files moved from, when `/bin`, `/lib` and the like became links into `/usr`.
const MERGED: &[&str] = &["bin/", "sbin/", "lib/", "lib64/", "lib32/"];

/// Endings of files that somebody includes.
const HEADER_ENDINGS: &[&str] = &[".h", ".hh", ".hpp", ".hxx", ".H", ".inc", ".ipp", ".tcc"];

/// Endings of data that builds read.
const DATA_ENDINGS: &[&str] = &[".xml", ".gir", ".proto", ".vapi", ".idl", ".dtd"];

/// Folders of documents, where data are examples.
const DOCUMENTS: &[&str] = &["usr/share/doc/", "usr/share/help/", "usr/share/gnome/help/", "usr/share/locale/"];

/// Deepest data file that is kept, in components: `usr/share/xml/udunits/udunits2.xml` has five.
const DATA_DEPTH_MAX: usize = 6;

/// What is collected of Debian's lists until it is written.
#[derive(Debug, Default)]
pub struct Collector {
    /// Reversed path → number of its set of packages.
    paths: Vec<(Box<[u8]>, u32)>,
    /// Names of a set, sorted and joined by blanks → its number.
    sets: HashMap<Box<str>, u32>,
    packages: BTreeMap<String, PackageRow>,
    python: BTreeMap<String, BTreeSet<String>>,
    /// Every package that can be installed: build dependencies also name virtual ones.
    real: HashSet<Box<str>>,
}

impl Collector {
    /// Takes in a list of files (`Contents-*`): a path, blanks, and `section/package` separated by commas.
    ///
    /// # Errors
    /// When the reader fails.
    pub fn contents(&mut self, reader: &mut dyn BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            // A name that is no UTF-8 is none that a build asks for.
            if let Ok(line) = std::str::from_utf8(&line) {
                self.contents_line(line.trim_end());
            }
        }
    }

    fn contents_line(&mut self, line: &str) {
        let Some((path, owners)) = line.rsplit_once([' ', '\t']) else { return };
        let path = path.trim_end();
        let merged;
        let path = if MERGED.iter().any(|folder| path.starts_with(folder)) {
            merged = format!("usr/{path}");
            &merged
        } else {
            path
        };
        if !is_wanted(path) {
            return;
        }
        let mut names: Vec<&str> = Vec::new();
        for owner in owners.split(',') {
            let (section, name) = owner.rsplit_once('/').unwrap_or(("", owner));
            if !is_candidate(name) {
                continue;
            }
            if !self.packages.contains_key(name) {
                self.packages.insert(name.to_owned(), PackageRow::default());
            }
            if let Some(row) = self.packages.get_mut(name) {
                row.section(section);
            }
            names.push(name);
        }
        if names.is_empty() {
            return;
        }
        names.sort_unstable();
        names.dedup();
        let set = names.join(" ");
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let number = *self.sets.entry(set.into_boxed_str()).or_insert(next);
        self.paths.push((reversed(path).into_bytes().into_boxed_slice(), number));
    }

    /// Takes in a list of binary packages (`Packages`): names and sections, and what packages without files of their
    /// own stand for.
    ///
    /// # Errors
    /// When the reader fails.
    pub fn packages(&mut self, reader: &mut dyn BufRead) -> io::Result<()> {
        paragraphs(reader, |paragraph| {
            let Some(name) = paragraph.field("Package").filter(|name| is_candidate(name)) else { return };
            self.real.insert(name.as_str().into());
            let section = paragraph.field("Section").unwrap_or_default();
            let is_development = name.ends_with("-dev");
            if !is_development && !self.packages.contains_key(&name) {
                return;
            }
            let row = self.packages.entry(name).or_default();
            row.section(section.rsplit('/').next().unwrap_or_default());
            if is_development {
                row.depends = development_dependencies(paragraph);
                row.provides = paragraph.relations("Provides").into_iter().flatten().collect();
            }
        })
    }

    /// Takes in a list of source packages (`Sources`): how many of them need a package to be built, and what those
    /// that are Python projects need.
    ///
    /// # Errors
    /// When the reader fails.
    pub fn sources(&mut self, reader: &mut dyn BufRead) -> io::Result<()> {
        paragraphs(reader, |paragraph| {
            let mut needed = BTreeSet::new();
            for field in ["Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep"] {
                needed.extend(paragraph.relations(field).into_iter().filter_map(|group| group.into_iter().next()));
            }
            let is_real = |name: &&String| self.packages.contains_key(*name) || self.real.contains(name.as_str());
            let known: Vec<String> = needed.iter().filter(|name| is_candidate(name)).filter(is_real).cloned().collect();
            for name in known {
                self.packages.entry(name).or_default().count += 1;
            }
            let binaries = paragraph.relations("Binary");
            let modules = binaries.iter().flatten().filter_map(|binary| binary.strip_prefix("python3-"));
            let native: BTreeSet<String> = needed.into_iter().filter(|name| is_native(name)).collect();
            if native.is_empty() {
                return;
            }
            for module in modules {
                self.python.entry(module.to_owned()).or_default().extend(native.iter().cloned());
            }
        })
    }

    /// How many files were kept.
    #[must_use]
    pub fn files(&self) -> usize {
        self.paths.len()
    }

    /// Puts it all into the form of the index.
    ///
    /// # Errors
    /// When the map of paths can't be made.
    pub fn finish(mut self, origin: &IndexOrigin) -> Result<Vec<u8>, fst::Error> {
        self.merge_paths();
        let mut sets: Vec<(Box<str>, u32)> = self.sets.into_iter().collect();
        sets.sort_unstable_by_key(|(_, number)| *number);
        let tables = Tables {
            packages: self.packages,
            sets: sets.into_iter().map(|(names, _)| names).collect(),
            python: self.python,
        };
        format::write(origin, &tables, &self.paths)
    }

    /// Sorts the paths, and lets each appear once: with the packages of all lists that have it. Two packages have one
    /// path when one of them diverts the other's, or when they are alternatives.
    fn merge_paths(&mut self) {
        self.paths.sort_unstable();
        let mut names: Vec<Box<str>> = vec![Box::default(); self.sets.len()];
        for (set, number) in &self.sets {
            names[*number as usize] = set.clone();
        }
        for position in 1..self.paths.len() {
            let (one, other) = (self.paths[position - 1].1, self.paths[position].1);
            if self.paths[position - 1].0 != self.paths[position].0 {
                continue;
            }
            let both = [one, other].map(|number| names[number as usize].clone());
            let union: BTreeSet<&str> = both.iter().flat_map(|set| set.split(' ')).collect();
            let union = union.into_iter().collect::<Vec<_>>().join(" ").into_boxed_str();
            let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
            let number = *self.sets.entry(union.clone()).or_insert(next);
            if number == next {
                names.push(union);
            }
            self.paths[position].1 = number;
        }
        // Of equal paths the last one now has the packages of all.
        self.paths.reverse();
        self.paths.dedup_by(|one, other| one.0 == other.0);
        self.paths.reverse();
    }

    /// The same, ready to be asked.
    ///
    /// # Errors
    /// When the index can't be made.
    pub fn into_index(self, origin: &IndexOrigin) -> Result<SystemIndex, super::IndexError> {
        let bytes = self.finish(origin).map_err(super::IndexError::Map)?;
        SystemIndex::from_bytes(bytes)
    }
}

/// The path with its last component first.
pub(super) fn reversed(path: &str) -> String {
    let mut key = String::with_capacity(path.len());
    for component in path.rsplit('/') {
        if !key.is_empty() {
            key.push('/');
        }
        key.push_str(component);
    }
    key
}

/// The development packages that a development package needs: what an unversioned name stands for.
fn development_dependencies(paragraph: &Paragraph) -> Vec<String> {
    let first = paragraph.relations("Depends").into_iter().filter_map(|group| group.into_iter().next());
    first.filter(|name| name.ends_with("-dev") && is_candidate(name)).collect()
}

/// Whether a build dependency is about something that is not Python.
fn is_native(name: &str) -> bool {
    name.ends_with("-dev") && !name.starts_with("python") && !name.starts_with("pypy")
}

/// Whether a package may be what a build on this machine lacks: nothing for other machines, no debug symbols, and not
/// the private files of other languages.
pub(super) fn is_candidate(name: &str) -> bool {
    const BEGINNINGS: &[&str] =
        &["android-", "librust-", "r-cran-", "r-bioc-", "golang-", "libghc-", "linux-headers-", "libwine"];
    const ENDINGS: &[&str] = &["-cross", "-dbg", "-dbgsym", "-doc", "-source", "-mingw-w64", "-examples"];
    !BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        && !ENDINGS.iter().any(|ending| name.ends_with(ending))
        && !name.contains("-mingw-")
}

/// Whether a build may look for this file.
fn is_wanted(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else { return false };
    let folder_is = |names: &[&str]| names.contains(&folder);
    if folder_is(&["usr/bin", "usr/sbin", "usr/games"]) || path.starts_with("usr/include/") {
        return true;
    }
    if name.starts_with("lib") && (name.ends_with(".so") || name.ends_with(".a")) || name.ends_with(".pc") {
        return true;
    }
    if name.ends_with(".cmake") {
        return name.ends_with("Config.cmake") || name.ends_with("-config.cmake");
    }
    if HEADER_ENDINGS.iter().any(|ending| name.ends_with(ending)) && folder.contains("/include") {
        return true;
    }
    let is_data = name.ends_with(".m4") && folder.starts_with("usr/share/aclocal")
        || DATA_ENDINGS.iter().any(|ending| name.ends_with(ending)) && folder.starts_with("usr/share/");
    let is_program = folder.ends_with("/bin") && folder.starts_with("usr/lib/");
    (is_data && path.split('/').count() <= DATA_DEPTH_MAX || is_program)
        && !DOCUMENTS.iter().any(|documents| path.starts_with(documents))
}
