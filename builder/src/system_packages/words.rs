//! From a word that a sentence or CMake uses to packages: `BZip2`, `netCDF`, `Berkeley DB`.

use super::alternatives::debian_word;
use super::candidates::{PLACE_ROOT, Place, Points, stem};
use super::index::SystemIndex;

/// Found by the name of a package.
const PLACE_PACKAGE: Place = 50;
/// Found by a name that goes on after the word.
const PLACE_LONGER: Place = 30;

/// Words that name something, but nothing that is missing when a sentence says so.
const NO_NAMES: &[&str] = &[
    "python",
    "python3",
    "pip",
    "setuptools",
    "wheel",
    "cython",
    "numpy",
    "test",
    "tests",
    "data",
    "main",
    "common",
    "base",
    "build",
    "none",
    "type",
    "types",
    "open",
    "see",
    "use",
    "using",
    "found",
    "not",
    "no",
    "yes",
    "git",
    "linux",
    "windows",
    "macos",
    "debian",
    "ubuntu",
    "platform",
    "platforms",
    "project",
    "attribute",
    "object",
    "function",
    "class",
    "method",
    "value",
    "argument",
    "key",
    "url",
    "page",
    "rust",
    "image",
];

/// The packages for `name`; programs only if the sentence speaks of one.
pub(super) fn packages(name: &str, is_program: bool, index: &SystemIndex) -> Points {
    let spellings = spellings(name);
    if spellings.is_empty() {
        return Points::default();
    }
    if is_program {
        let programs = programs(&spellings, index);
        if !programs.is_empty() {
            return programs;
        }
    }
    for spelling in &spellings {
        let mut points = Points::default();
        for file in [format!("{spelling}.pc"), format!("lib{spelling}.pc")] {
            for entry in index.ending_in(&file) {
                points.entry(&entry, PLACE_ROOT);
            }
        }
        if points.is_empty() {
            points = development_packages(spelling, index);
        }
        if !points.is_empty() {
            return points;
        }
    }
    // Next a program that has a package of its own name (`cmake`), and last anything that begins with the word.
    let own: Vec<String> = spellings.iter().filter(|spelling| index.package(spelling).is_some()).cloned().collect();
    let points = programs(&own, index);
    if !points.is_empty() {
        return points;
    }
    let by_files = spellings.iter().map(|spelling| by_files(spelling, index)).find(|points| !points.is_empty());
    // Without a word for it, only a program that is called exactly so.
    by_files.unwrap_or_else(|| if name.contains(' ') { Points::default() } else { programs(&[name.to_owned()], index) })
}

/// The ways in which a name may be written, the most exact first; none for ordinary words.
fn spellings(name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    // Python's own packages are not for this.
    if NO_NAMES.contains(&lower.as_str()) || lower.len() < 2 || lower.starts_with("py") {
        return Vec::new();
    }
    let mut all: Vec<String> = Vec::new();
    let mut push = |word: &str| {
        if word.len() > 1 && !all.iter().any(|known| known == word) && !NO_NAMES.contains(&word) {
            all.push(word.to_owned());
        }
    };
    if let Some(word) = debian_word(&lower) {
        push(word);
    }
    push(name);
    push(&lower);
    if lower.contains(' ') {
        push(&lower.replace(' ', ""));
        push(&lower.replace(' ', "-"));
    }
    if let Some(bare) = lower.strip_prefix("lib") {
        if let Some(word) = debian_word(bare) {
            push(word);
        }
        push(bare);
    }
    push(lower.trim_end_matches('+'));
    let plain = lower.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-');
    if plain.len() > 2 {
        push(plain);
    }
    all
}

/// Development packages of that name: `libNAME-dev`, `NAME-dev`, and those with a version in it (`libxslt1-dev`).
pub(super) fn development_packages(name: &str, index: &SystemIndex) -> Points {
    let mut points = Points::default();
    let name = name.to_lowercase().replace('_', "-");
    for exact in [format!("lib{name}-dev"), format!("{name}-dev")] {
        if index.package(&exact).is_some() {
            points.add(&exact, PLACE_PACKAGE);
        }
    }
    if !points.is_empty() || name.len() < 3 {
        return points;
    }
    let wanted = stem(&name);
    for beginning in [format!("lib{name}"), name] {
        for package in index.packages_beginning_with(&beginning) {
            if package.ends_with("-dev") && stem(package) == wanted {
                points.add(package, PLACE_LONGER);
            }
        }
    }
    points
}

/// By the name of a library, a header or a `.pc` file that goes on after the word.
fn by_files(word: &str, index: &SystemIndex) -> Points {
    let mut points = Points::default();
    for file in [format!("lib{word}.so"), format!("{word}.h")] {
        for entry in index.ending_in(&file) {
            let is_near = entry.path.split('/').filter(|part| !part.contains("-linux-gnu")).count() <= 3;
            if is_near {
                points.entry(&entry, PLACE_LONGER);
            }
        }
    }
    if points.is_empty() && word.len() > 2 {
        for entry in index.beginning_with(word) {
            let leaf = entry.path.rsplit('/').next().unwrap_or_default();
            let rest = leaf.strip_suffix(".pc").and_then(|leaf| leaf.strip_prefix(word)).unwrap_or("x");
            if rest.starts_with(['-', '+', '.']) && !rest.contains(char::is_alphabetic) {
                points.entry(&entry, PLACE_LONGER);
            }
        }
    }
    points
}

fn programs(spellings: &[String], index: &SystemIndex) -> Points {
    let mut points = Points::default();
    for spelling in spellings {
        for name in [spelling.clone(), format!("{spelling}-compiler")] {
            if name.ends_with("-compiler") && index.package(&name).is_some() {
                points.add(&name, PLACE_ROOT);
            }
            for folder in ["usr/bin", "usr/sbin"] {
                if let Some(entry) = index.at(&format!("{folder}/{name}")) {
                    points.entry(&entry, PLACE_ROOT);
                }
            }
        }
        if !points.is_empty() {
            break;
        }
    }
    points
}
