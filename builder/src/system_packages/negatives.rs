//! Failures that no system package mends. They are answers too.

use std::sync::LazyLock;

use super::alternatives::python_part;
use super::evidence::{Evidence, Kind};
use super::pattern::Patterns;
use super::statements::Statement;

/// Kind, weight, pattern with the name in `n` (or none), and what it means; `{n}` is the name.
const NEGATIVES: &[(Kind, u8, &str, &str)] = &[
    (
        Kind::NotSystem,
        89,
        r"^(?:ModuleNotFoundError|ImportError): No module named '?(?P<n>[\w.]+)'?",
        "the build needs the Python module {n}, which the project does not declare: add it to the build requirements",
    ),
    (
        Kind::NotSystem,
        93,
        r"^Cython\.Compiler\.Errors\.(?P<n>\w+)",
        "its Cython sources do not fit this Cython: the project is too old for it",
    ),
    (
        Kind::NotSystem,
        93,
        r"error: (?:'?struct _|'?Py|unknown type name '|implicit declaration of function '|too (?:few|many) arguments to function '|too (?:few|many) arguments for )[^\n]*\b(?P<n>_?Py[A-Z]\w+|PyCode\w*|tp_print|_ts|_frame)",
        "its C code does not fit this Python ({n}): the project is too old for the interpreter",
    ),
    (
        Kind::NotSystem,
        93,
        r"error: lvalue required as left operand of assignment(?P<n>)",
        "its C code does not fit this Python: the project is too old for the interpreter",
    ),
    (
        Kind::NotSystem,
        91,
        r"(?:error in \S+ setup command: )(?P<n>use_2to3|\S+) is invalid|(?P<m>use_2to3) is invalid",
        "the project is too old for this setuptools",
    ),
    (
        Kind::NotSystem,
        90,
        r"(?i)(?:cannot install on|only (?:python )?versions?|requires? python|unsupported python version|python version(?:s)? [\d.<>=, ]+ (?:is|are)(?: not)?|not compatible with python|does not support python|python \d[\d.]* (?:or (?:later|newer|above) )?is required)(?P<n>[ \w.<>=,']*)",
        "the project is not made for this version of Python",
    ),
    (
        Kind::NotSystem,
        86,
        r"^(?:ERROR: )?(?:Could not find a version that satisfies the requirement|No matching distribution found for) (?P<n>\S+)",
        "the index has no release of {n} that fits",
    ),
    (
        Kind::NotSystem,
        95,
        r"(?P<n>No space left on device|Killed signal terminated program|virtual memory exhausted|out of memory allocating)",
        "the machine has not enough room: {n}",
    ),
    (Kind::NotSystem, 82, r"^\S+:\d+:\d+: error: (?P<n>[^\n]{3,80})", "its code does not compile here: {n}"),
    (Kind::NotSystem, 80, r"undefined reference to '(?P<n>[^']+)'", "its code does not link here: nothing defines {n}"),
    (
        Kind::NotSystem,
        84,
        r"error: (?P<n>invalid command '\w+'|package '[^']+' cannot be built because it requires rustc [\d.]+)",
        "{n}",
    ),
    (
        Kind::Network,
        74,
        r"(?P<n>Name or service not known|Temporary failure in name resolution|Could not resolve host(?: name)?|Network is unreachable|Failed to establish a new connection|spurious network error|Unable to update registry)",
        "the build wants to download something ({n}); nothing in the log says that a system package would spare it that",
    ),
    (
        Kind::NotSystem,
        40,
        r"^(?P<n>(?:[a-z_]+\.)*[A-Z]\w*(?:Error|Exception)\b(?:: [^\n]{0,160})?)",
        "the build ended with {n}, which names nothing that a system package has",
    ),
];

static COMPILED: LazyLock<Patterns> =
    LazyLock::new(|| Patterns::new(NEGATIVES.iter().map(|(_, _, pattern, _)| *pattern)));

/// The negatives in a statement.
pub(super) fn negatives(statement: &Statement) -> Vec<Evidence> {
    let mut all = Vec::new();
    for (number, pattern) in COMPILED.matching(&statement.text) {
        let (kind, weight, _, meaning) = &NEGATIVES[number];
        let Some(found) = pattern.find(&statement.text) else { continue };
        let name = found.name.trim();
        if is_missing_file(&statement.text) {
            continue;
        }
        all.push(Evidence {
            kind: *kind,
            name: name.to_owned(),
            line: statement.line,
            text: statement.text.clone(),
            weight: *weight,
            is_program: false,
            reason: Some(meaning.replace("{n}", name)),
        });
    }
    all
}

/// The part of Python's standard library that a statement misses and Debian has, as a package.
pub(super) fn missing_python_part(statement: &Statement) -> Option<(String, &'static str)> {
    // The first pattern is that of missing modules.
    let (_, pattern) = COMPILED.matching(&statement.text).find(|(number, _)| *number == 0)?;
    let module = pattern.find(&statement.text)?.name;
    Some((module.to_owned(), python_part(module)?))
}

/// What names a file is the business of the rules.
fn is_missing_file(text: &str) -> bool {
    text.contains("No such file") || text.contains("file not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_compile_and_negatives_are_seen() {
        let of = |text: &str| {
            let found = negatives(&Statement { line: 1, text: text.to_owned() });
            found.into_iter().max_by_key(|evidence| evidence.weight).map(|evidence| (evidence.kind, evidence.name))
        };
        assert_eq!(of("ModuleNotFoundError: No module named 'numpy'"), Some((Kind::NotSystem, "numpy".to_owned())));
        assert_eq!(of("Cython.Compiler.Errors.CompileError: a.pyx").map(|found| found.0), Some(Kind::NotSystem));
        assert_eq!(
            of("error: <urlopen error [Errno -2] Name or service not known>").map(|found| found.0),
            Some(Kind::Network)
        );
        assert_eq!(of("a.c:1:2: fatal error: b.h: No such file or directory"), None);
    }
}
