//! Evidence → the packages that may have what is missing, the best first.
//!
//! A `.pc` file or a program is nearly an identifier: one in a hundred is in more than one package. The bare name of a
//! header is not: one in five is. What counts then, in this order: how near to a folder that compilers look in by
//! themselves the file is, how many source packages need the package to be built, its section, and a short name.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use super::alternatives::{alternatives, is_basic};
use super::evidence::{Evidence, Kind};
use super::index::{Entry, SectionClass, SystemIndex};
use super::surroundings::Surroundings;
use super::words;

/// How sure a file's place makes it that this is the one: see [`header_place`].
pub(super) type Place = u32;
/// In a folder that compilers, linkers or shells look in by themselves.
pub(super) const PLACE_ROOT: Place = 60;
/// One folder below, which is named like the header or the package.
const PLACE_PRIVATE: Place = 45;
/// Deeper, but named alike.
const PLACE_DEEP: Place = 25;
/// A file of that name, somewhere.
const PLACE_ANYWHERE: Place = 5;

/// What the number of source packages that need a package can add to its score, at most.
const COUNT_POINTS_MAX: u32 = 30;

/// Most candidates that are named.
const CANDIDATES_MAX: usize = 8;

/// A package that may have what is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub package: String,
    /// From 0 to 100; only the order of two scores means anything.
    pub score: u32,
}

/// The candidates for one piece of evidence.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Good enough to be proposed, the best first.
    pub(super) ranked: Vec<Candidate>,
    /// Packages that have a file of that name in a place where nobody looks for it.
    pub(super) elsewhere: Vec<String>,
    /// Whether the file is only in the folders of a Python: a header of an older interpreter.
    pub(super) is_in_python: bool,
}

/// Points of packages while they are counted.
#[derive(Debug, Default)]
pub(super) struct Points {
    places: BTreeMap<String, Place>,
}

impl Points {
    /// Each package counts with the best place of its files.
    pub(super) fn add(&mut self, package: &str, place: Place) {
        if !is_basic(package) {
            let known = self.places.entry(package.to_owned()).or_default();
            *known = (*known).max(place);
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry, place: Place) {
        for package in &entry.packages {
            self.add(package, place);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn ranked(self, index: &SystemIndex, wanted: &str) -> Vec<Candidate> {
        let mut rows: Vec<(u32, SectionClass, bool, Reverse<usize>, String)> = self
            .places
            .into_iter()
            .map(|(name, place)| {
                let package = index.package(&name);
                let count = package.as_ref().map_or(0, |package| package.build_dependencies);
                let class = package.map(|package| package.class).unwrap_or_default();
                let is_named_so = name == wanted;
                (place + count_points(count), class, is_named_so, Reverse(name.len()), name)
            })
            .collect();
        rows.sort_by(|one, other| {
            (other.0 + class_points(other.1), other.2, other.3, &one.4).cmp(&(
                one.0 + class_points(one.1),
                one.2,
                one.3,
                &other.4,
            ))
        });
        let named = |(points, class, .., package): (u32, SectionClass, bool, Reverse<usize>, String)| Candidate {
            package,
            score: (points + class_points(class)).min(100),
        };
        rows.into_iter().map(named).collect()
    }
}

const fn class_points(class: SectionClass) -> u32 {
    match class {
        SectionClass::LibraryDevelopment => 6,
        SectionClass::Development => 4,
        SectionClass::Other => 0,
    }
}

/// Three points for each doubling.
fn count_points(count: u32) -> u32 {
    ((u32::BITS - count.leading_zeros()) * 3).min(COUNT_POINTS_MAX)
}

/// The candidates for `evidence`.
pub(super) fn candidates(evidence: &Evidence, around: &Surroundings, index: &SystemIndex) -> Candidates {
    let name = evidence.name.as_str();
    if let Some(package) = index.own_package(evidence.kind, name) {
        let ranked = vec![Candidate { package: package.to_owned(), score: 100 }];
        return Candidates { ranked, ..Candidates::default() };
    }
    let mut all = match evidence.kind {
        Kind::Header if evidence.text.contains("Error: Unable to find '") => included_by_swig(name, around, index),
        Kind::Header => headers(name, around, index),
        Kind::Library => libraries(name, around, index),
        Kind::PkgConfig => ranked(pkg_config(name, index), index, name),
        Kind::Program => ranked(programs(name, index), index, name),
        Kind::Cmake => ranked(cmake(name, index), index, name),
        Kind::File => ranked(files(name, index), index, name),
        Kind::Custom if !alternatives(Kind::Program, &name.to_lowercase()).is_empty() => Candidates::default(),
        Kind::Custom => ranked(words::packages(name, evidence.is_program, index), index, name),
        Kind::Autotools | Kind::NotSystem | Kind::Network | Kind::Unknown => Candidates::default(),
    };
    // The usual choice of a table goes first.
    let (kind, known) = match evidence.kind {
        Kind::Custom => (Kind::Program, name.to_lowercase()),
        kind => (kind, name.to_owned()),
    };
    for package in alternatives(kind, &known).into_iter().rev() {
        all.ranked.retain(|candidate| candidate.package != package);
        all.ranked.insert(0, Candidate { package, score: 100 });
    }
    unversioned(&mut all.ranked, index);
    all.ranked.truncate(CANDIDATES_MAX);
    all
}

fn ranked(points: Points, index: &SystemIndex, wanted: &str) -> Candidates {
    Candidates { ranked: points.ranked(index, wanted), ..Candidates::default() }
}

/// Puts the unversioned package that stands for the best candidate before it: `libboost-dev` for `libboost1.74-dev`.
fn unversioned(ranked: &mut Vec<Candidate>, index: &SystemIndex) {
    // Of two versions, the one that an unversioned package stands for is the usual one.
    let stands_for = |plain: String, package: &str| {
        let depends = index.package(&plain)?.depends;
        depends.iter().any(|depends| depends == package).then_some(plain)
    };
    let stands = |package: &str| {
        let versioned = without_version(package).and_then(|plain| stands_for(plain, package));
        versioned.or_else(|| stands_for(without_variant(package)?, package))
    };
    let Some(best) = ranked.first().map(|best| best.score) else { return };
    let near = ranked.iter().take_while(|candidate| candidate.score + 15 >= best);
    let Some(plain) = near.filter_map(|candidate| stands(&candidate.package)).next() else { return };
    if stands(&ranked[0].package).is_none() && without_version(&ranked[0].package).is_none_or(|other| other != plain) {
        return;
    }
    ranked.retain(|candidate| candidate.package != plain);
    ranked.insert(0, Candidate { package: plain, score: best });
}

/// `libopenblas-pthread-dev` → `libopenblas-dev`.
fn without_variant(package: &str) -> Option<String> {
    let (plain, variant) = package.strip_suffix("-dev")?.rsplit_once('-')?;
    (!plain.is_empty() && !variant.is_empty()).then(|| format!("{plain}-dev"))
}

/// `libboost-python1.74-dev` → `libboost-python-dev`; `llvm-14-dev` → `llvm-dev`; `None` if there is no version.
fn without_version(package: &str) -> Option<String> {
    let stem = package.strip_suffix("-dev")?;
    let plain = stem.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.').trim_end_matches('-');
    (plain != stem && !plain.is_empty()).then(|| format!("{plain}-dev"))
}

/// Letters and digits only, lower-case, without `lib` before and version after it.
pub(super) fn stem(name: &str) -> String {
    let name = name.strip_suffix("-dev").unwrap_or(name);
    let letters: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let bare = letters.strip_prefix("lib").filter(|rest| rest.len() > 1).unwrap_or(&letters);
    let plain = bare.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if plain.len() > 1 { plain.to_owned() } else { bare.to_owned() }
}

/// Whether two names are about the same thing.
fn is_alike(one: &str, other: &str) -> bool {
    let (one, other) = (stem(one), stem(other));
    one.len() > 1 && other.len() > 1 && (one.starts_with(&other) || other.starts_with(&one))
}

/// The folders between the folder that compilers look in and `name`; `None` for a file that is in no such folder.
fn folders_below_include<'a>(path: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let folder = path.strip_suffix(name)?.trim_end_matches('/');
    let below = match folder.strip_prefix("usr/include") {
        Some(below) => below,
        // `usr/lib/x86_64-linux-gnu/glib-2.0/include/glibconfig.h`
        None => folder.strip_prefix("usr/lib")?,
    };
    let is_folder = |part: &&str| !part.is_empty() && !is_triplet(part) && *part != "include";
    Some(below.split('/').filter(is_folder).collect())
}

fn is_triplet(folder: &str) -> bool {
    folder.ends_with("-linux-gnu") || folder.contains("-linux-gnu")
}

/// Swig looks in the folders that it is told and in no other: a package whose file is elsewhere is no help.
fn included_by_swig(name: &str, around: &Surroundings, index: &SystemIndex) -> Candidates {
    let mut all = headers(name, around, index);
    if !around.swig_folders.is_empty() {
        let is_seen = |path: &str| around.swig_folders.iter().any(|folder| path == format!("{folder}/{name}"));
        let seen = index.ending_in(name).into_iter().filter(|entry| is_seen(&entry.path));
        let seen: Vec<String> = seen.flat_map(|entry| entry.packages).collect();
        let unseen =
            all.ranked.iter().map(|candidate| candidate.package.clone()).filter(|package| !seen.contains(package));
        all.elsewhere.extend(unseen);
        all.ranked.retain(|candidate| seen.contains(&candidate.package));
    }
    all
}

/// The native packages that the project says it needs, and that Debian's own source of it needs.
fn prior<'a>(around: &'a Surroundings, index: &'a SystemIndex) -> Vec<&'a str> {
    let declared = around.declared.iter().map(String::as_str);
    let Some(project) = &around.project else { return declared.collect() };
    let names = [Some(project.as_str()), project.strip_prefix("python-"), project.strip_prefix("py")];
    let mut sources = names.into_iter().flatten().map(|name| index.python_source(name));
    let packages = sources.find(|packages| !packages.is_empty()).unwrap_or_default();
    packages.into_iter().chain(declared).collect()
}

fn headers(name: &str, around: &Surroundings, index: &SystemIndex) -> Candidates {
    let witnesses = prior(around, index);
    let name = name.trim_start_matches("../").trim_start_matches("./");
    let mut entries = index.ending_in(name);
    if entries.is_empty() {
        entries = behind_links(name, index);
    }
    let first = name.split('/').next().unwrap_or(name);
    let leaf = name.rsplit('/').next().unwrap_or(name);
    let header = leaf.split('.').next().unwrap_or(leaf);
    let mut points = Points::default();
    let mut elsewhere: Vec<String> = Vec::new();
    let mut private: BTreeMap<String, Place> = BTreeMap::new();
    let mut in_python = 0;
    for entry in &entries {
        let Some(folders) = folders_below_include(&entry.path, name) else {
            elsewhere.extend(entry.packages.iter().cloned());
            continue;
        };
        if folders.first().is_some_and(|folder| folder.starts_with("python") || folder.starts_with("pypy")) {
            in_python += 1;
            continue;
        }
        let is_included = around.missed.has(&entry.path)
            || around.include_folders.iter().any(|folder| entry.path == format!("{folder}/{name}"));
        if folders.is_empty() || is_included {
            points.entry(entry, PLACE_ROOT);
            continue;
        }
        let is_named_so = |package: &str| {
            is_alike(folders[0], header) || is_alike(package, header) || name.contains('/') && is_alike(package, first)
        };
        for package in entry.packages.iter().filter(|package| !is_basic(package)) {
            if witnesses.contains(&package.as_str()) {
                points.add(package, PLACE_PRIVATE);
            } else if is_named_so(package) {
                points.add(package, if folders.len() == 1 { PLACE_PRIVATE } else { PLACE_DEEP });
            } else if folders.len() <= 2 && is_alike(package, folders[0]) {
                let known = private.entry(package.clone()).or_default();
                *known = (*known).max(if folders.len() == 1 { PLACE_DEEP } else { PLACE_ANYWHERE });
            } else {
                elsewhere.push(package.clone());
            }
        }
    }
    named_after(name, index, &mut points);
    // A library's private folder holds the header, and nothing else in Debian has one of that name: `suitesparse/umfpack.h`.
    // In several such folders it is a word that many libraries use: `hwloc/cuda.h`.
    if points.is_empty() && private.len() == 1 && elsewhere.is_empty() {
        private
            .iter()
            .filter(|(_, place)| **place > PLACE_ANYWHERE)
            .for_each(|(package, place)| points.add(package, *place));
    }
    if points.is_empty() {
        elsewhere.extend(private.into_keys());
    }
    elsewhere.sort();
    elsewhere.dedup();
    let is_in_python = in_python > 0 && points.is_empty();
    Candidates { ranked: points.ranked(index, header), elsewhere, is_in_python }
}

/// A library of many parts has a package for each: `boost/python.hpp` needs `libboost-python-dev`.
fn named_after(name: &str, index: &SystemIndex, points: &mut Points) {
    if let Some((folder, leaf)) = name.split_once('/')
        && !points.is_empty()
    {
        let part = leaf.split(['.', '/']).next().unwrap_or(leaf).to_lowercase().replace('_', "-");
        let package = format!("lib{}-{part}-dev", folder.to_lowercase());
        if index.package(&package).is_some() {
            points.add(&package, PLACE_ROOT + COUNT_POINTS_MAX);
        }
    }
}

/// Files below a folder that is a link: `usr/include/wcslib` leads to `wcslib-7.12`, which has `wcs.h`.
fn behind_links(name: &str, index: &SystemIndex) -> Vec<Entry> {
    let Some((folder, leaf)) = name.rsplit_once('/') else { return Vec::new() };
    let links = index.at(&format!("usr/include/{folder}")).into_iter();
    let real = |link: Entry| {
        let inside = index.ending_in(leaf).into_iter();
        let packages = link.packages.clone();
        inside.filter(move |entry| entry.packages.iter().any(|package| packages.contains(package)))
    };
    let mut entries: Vec<Entry> = links.flat_map(real).collect();
    for entry in &mut entries {
        entry.path = format!("usr/include/{name}");
    }
    entries
}

fn libraries(name: &str, around: &Surroundings, index: &SystemIndex) -> Candidates {
    let mut points = Points::default();
    let wanted = name.trim_end_matches(".so");
    let file = format!("lib{wanted}.so");
    let mut entries = index.ending_in(&file);
    if entries.is_empty() {
        entries = index.ending_in(&format!("lib{wanted}.a"));
    }
    if entries.is_empty() && wanted.len() > 2 {
        // `-lboost_python` is `libboost_python311.so`.
        let numbered = |entry: &Entry| {
            let leaf = entry.path.rsplit('/').next().unwrap_or_default();
            let rest = leaf.strip_prefix(&format!("lib{wanted}")).and_then(|rest| rest.strip_suffix(".so"));
            rest.is_some_and(|rest| rest.chars().all(|letter| letter.is_ascii_digit() || ".-_".contains(letter)))
        };
        entries = index.beginning_with(&format!("lib{wanted}")).into_iter().filter(numbered).collect();
    }
    for entry in &entries {
        let folders: Vec<&str> =
            entry.path.trim_start_matches("usr/lib").split('/').filter(|part| !part.is_empty()).collect();
        let private: Vec<&&str> =
            folders[..folders.len().saturating_sub(1)].iter().filter(|part| !is_triplet(part)).collect();
        let place = match private[..] {
            [] => PLACE_ROOT,
            _ if around.missed.has(&entry.path) => PLACE_ROOT,
            [folder] if is_alike(folder, wanted) => PLACE_PRIVATE,
            [_] => PLACE_DEEP,
            _ => PLACE_ANYWHERE,
        };
        points.entry(entry, place);
    }
    let unlikely = points.places.values().all(|place| *place <= PLACE_ANYWHERE);
    if unlikely {
        return Candidates { elsewhere: points.places.into_keys().collect(), ..Candidates::default() };
    }
    ranked(points, index, wanted)
}

fn pkg_config(name: &str, index: &SystemIndex) -> Points {
    let mut points = Points::default();
    for name in [name.to_owned(), name.to_lowercase(), format!("lib{name}")] {
        for entry in index.ending_in(&format!("{name}.pc")) {
            let is_usual = entry.path.rsplit('/').nth(1) == Some("pkgconfig");
            points.entry(&entry, if is_usual { PLACE_ROOT } else { PLACE_DEEP });
        }
        if !points.is_empty() {
            return points;
        }
    }
    words::development_packages(name, index)
}

fn programs(name: &str, index: &SystemIndex) -> Points {
    let mut points = Points::default();
    for folder in ["usr/bin", "usr/sbin", "usr/games"] {
        if let Some(entry) = index.at(&format!("{folder}/{name}")) {
            points.entry(&entry, PLACE_ROOT);
        }
    }
    points
}

fn cmake(name: &str, index: &SystemIndex) -> Points {
    let mut points = Points::default();
    for file in [format!("{name}Config.cmake"), format!("{}-config.cmake", name.to_lowercase())] {
        for entry in index.ending_in(&file).iter().filter(|entry| entry.path.contains("/cmake")) {
            points.entry(entry, PLACE_ROOT);
        }
    }
    if points.is_empty() { words::packages(name, false, index) } else { points }
}

fn files(path: &str, index: &SystemIndex) -> Points {
    let mut points = Points::default();
    if let Some(entry) = index.at(path) {
        points.entry(&entry, PLACE_ROOT);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_versions() {
        assert_eq!(without_version("libboost-python1.74-dev").as_deref(), Some("libboost-python-dev"));
        assert_eq!(without_version("llvm-14-dev").as_deref(), Some("llvm-dev"));
        assert_eq!(without_version("libssl-dev"), None);
        assert_eq!(stem("libusb-1.0"), "usb");
        assert!(is_alike("freetype2", "libfreetype-dev") && !is_alike("hwloc", "cuda"));
    }
}
