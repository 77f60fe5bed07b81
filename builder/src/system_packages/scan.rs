//! A whole log → evidence, the surest first.

use std::collections::HashSet;

use super::evidence::{Evidence, Kind};
use super::negatives::{missing_python_part, negatives};
use super::rules;
use super::sentences::{named, told_to_install};
use super::statements::{Statement, Statements};
use super::surroundings::Surroundings;

/// Most pieces of evidence that are kept of one log: those nearest to its end.
const EVIDENCE_MAX: usize = 2000;

/// Most packages that a log can say to install.
const HINTS_MAX: usize = 200;

/// What is taken from the weight of things that are only tried out.
const PROBE_PENALTY: u8 = 30;

/// The weight of packages that the log says to install, where nothing else is known.
const HINT_WEIGHT: u8 = 74;

/// Endings of names that are themselves the thing.
const HEADER_ENDINGS: &[&str] = &[".h", ".hpp", ".hh", ".hxx", ".H"];

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// In the order of the log.
    pub(super) evidence: Vec<Evidence>,
    /// Packages that the log says to install, in order.
    pub(super) hints: Vec<Hint>,
    pub(super) lines: usize,
    pub(super) surroundings: Surroundings,
}

/// A package that the log says to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) package: String,
    pub(super) line: usize,
    pub(super) text: String,
}

/// Reads a log.
pub(super) fn scan(log: &[u8]) -> Scan {
    let statements = Statements::read(log);
    let surroundings = Surroundings::read(&statements.all);
    let mut scan = Scan { lines: statements.lines, surroundings, ..Scan::default() };
    let mut seen = HashSet::new();
    for statement in statements.all.iter().rev() {
        if scan.evidence.len() >= EVIDENCE_MAX {
            break;
        }
        // What is said again and again counts where it was said last.
        if !seen.insert(statement.text.as_str()) || !rules::is_interesting(&statement.text) {
            continue;
        }
        of_statement(statement, &mut scan);
    }
    scan.evidence.reverse();
    scan.hints.reverse();
    scan
}

fn of_statement(statement: &Statement, scan: &mut Scan) {
    let text = &statement.text;
    let is_probe = rules::is_probe(text);
    for package in told_to_install(text).into_iter().take(HINTS_MAX.saturating_sub(scan.hints.len())) {
        scan.hints.push(Hint { package, line: statement.line, text: text.clone() });
    }
    let mut found = Vec::new();
    if let Some((module, package)) = missing_python_part(statement) {
        let mut evidence = plain(statement, Kind::Custom, package, HINT_WEIGHT + 15);
        evidence.reason = None;
        evidence.name = module;
        scan.hints.push(Hint { package: package.to_owned(), line: statement.line, text: text.clone() });
        found.push(evidence);
    } else {
        found.extend(negatives(statement));
    }
    for hit in rules::hits(text) {
        if is_name(hit.kind, hit.name) && !is_called(hit.name, text) {
            let (kind, name) = meant(hit.kind, hit.name);
            found.push(plain(statement, kind, &name, hit.weight));
        }
    }
    let is_plain = !found.iter().any(|evidence| evidence.weight >= 78 && evidence.reason.is_none());
    if is_plain && !is_code(text) {
        for named in named(text) {
            let kind = kind_of_name(&named.name);
            let mut evidence = plain(statement, kind, &named.name, named.weight);
            evidence.is_program = named.is_program;
            found.push(evidence);
        }
    }
    for mut evidence in found {
        if is_probe {
            evidence.weight = evidence.weight.saturating_sub(PROBE_PENALTY);
        }
        scan.evidence.push(evidence);
    }
}

fn plain(statement: &Statement, kind: Kind, name: &str, weight: u8) -> Evidence {
    let (line, text) = (statement.line, statement.text.clone());
    Evidence { kind, name: name.to_owned(), line, text, weight, is_program: false, reason: None }
}

/// Lines of a traceback or of a compiler's excerpt: the words in them are code.
fn is_code(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    ["raise", "return", "File", "print(", "if", "elif", "msg", "log.", "assert", "#", "def", "except", "|"]
        .contains(&first)
        || text.contains("sys.exit(")
        || first.chars().all(|letter| letter.is_ascii_digit()) && text.contains(" | ")
        || text.contains("-linux-gnu-gcc ")
        || text.contains("-linux-gnu-g++ ")
}

/// Sentences about what `pkg-config` did not find name it, though it is there.
fn is_called(name: &str, text: &str) -> bool {
    ["pkg-config", "pkg_config"].contains(&name) && !text.contains("Errno 2") && !text.contains("not found")
}

/// Whether what a rule captured is a name at all.
fn is_name(kind: Kind, name: &str) -> bool {
    const NO_PROGRAMS: &[&str] = &[
        "file", "error", "warning", "not", "python", "python3", "python2", "command", "build", "module", "header",
        "library", "no", "include", "path", "setup.py",
    ];
    match kind {
        Kind::Program => !NO_PROGRAMS.contains(&name) && !is_source(name),
        Kind::Cmake => name.len() > 1 && !["a", "the", "any"].contains(&name),
        Kind::Header => !name.starts_with('/') && name.len() > 1,
        Kind::PkgConfig => {
            !name.starts_with('-')
                && !["pkg-config", "returned", "failed", "package", "packages", "or", "and", "to", "the", "is", "for"]
                    .contains(&name)
        }
        _ => name.len() > 1 || kind == Kind::Program,
    }
}

/// Names of files that a build reads, which look like programs in Python's words.
fn is_source(name: &str) -> bool {
    const ENDINGS: &[&str] = &[
        ".py", ".txt", ".md", ".rst", ".c", ".cpp", ".cc", ".h", ".hpp", ".so", ".toml", ".cfg", ".json", ".in",
        ".pyx", ".log", ".yml", ".yaml", ".o", ".a", ".conf", ".cmake",
    ];
    ENDINGS.iter().any(|ending| name.ends_with(ending))
        || ["README", "VERSION", "LICENSE", "CHANGELOG", "CHANGES", "HISTORY", "MANIFEST"].contains(&name)
}

/// What a name that a rule captured means.
fn meant(kind: Kind, name: &str) -> (Kind, String) {
    let name = name.trim_end_matches(['.', '-', ',']);
    match (kind, name) {
        (Kind::Program, "Fortran" | "fortran") => (kind, "gfortran".to_owned()),
        (Kind::Program, "CXX" | "C++") => (kind, "g++".to_owned()),
        (Kind::Program, "C") => (kind, "gcc".to_owned()),
        (Kind::Program, "Java") => (kind, "javac".to_owned()),
        (Kind::Program, "Pkg-config") => (kind, "pkg-config".to_owned()),
        (Kind::Program, "Rust compiler") => (kind, "rustc".to_owned()),
        (Kind::Program, name) if name.chars().all(|letter| letter.is_ascii_uppercase()) && name.len() > 1 => {
            (kind, name.to_lowercase())
        }
        (Kind::Library, name) if name.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit()) => {
            (Kind::Cmake, name.to_owned())
        }
        _ => (kind, name.to_owned()),
    }
}

/// What kind of thing a sentence names.
fn kind_of_name(name: &str) -> Kind {
    if HEADER_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        Kind::Header
    } else if name.ends_with("-config") || name.ends_with("_config") {
        Kind::Program
    } else {
        Kind::Custom
    }
}
