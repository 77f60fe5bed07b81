//! What projects say in sentences of their own: "Please make sure the libxml2 and libxslt development packages are
//! installed". The names in them are cleaned of ordinary words here; whether Debian has such a thing decides the index.

use std::sync::LazyLock;

use super::pattern::{Pattern, Patterns};

/// Most names of one sentence.
const NAMES_MAX: usize = 6;

/// Most words of one name.
const NAME_WORDS_MAX: usize = 5;

/// What a sentence names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    /// Whether the sentence speaks of a program.
    pub(super) is_program: bool,
    pub(super) weight: u8,
}

/// Sentences with the names in group `n`, and their weights.
const SENTENCES: &[(u8, &str)] = &[
    (84, r"(?i)(?P<n>[\w+./' -]{2,60}?) (?:development|devel|dev|-dev) (?:files?|headers?|packages?|librar(?:y|ies))"),
    (
        84,
        r"(?i)(?:development|header) (?:files?|headers?|packages?|librar(?:y|ies))(?: and \w+)? (?:for|of) (?P<n>[\w+./' -]{2,60})",
    ),
    (80, r"(?i)could not be found for (?P<n>[\w+./' -]{2,40})"),
    (85, r"(?i)\bno (?P<n>[\w+./-]{2,30}) (?:detected|found)\b[^\n]{0,60}(?:build|download|fetch)"),
    (82, r"(?i)\bno (?P<n>[\w+./-]{2,30}) (?:library |libraries |headers? )?(?:was |were )?(?:detected|found)\b"),
    (
        83,
        r"(?i)(?:can ?'?not|can't|could ?n[o']t|couldn't|unable to|failed to|did not|didn't|cannot) (?:find|locate|load|detect|run|execute|found)\b(?P<n>[\w+.,/'() -]{2,70})",
    ),
    (82, r"(?i)\bmust have (?P<n>[\w+./' -]{2,40}?) installed"),
    (
        87,
        r"(?i)\b(?:required|missing) (?:packages?|dependenc(?:y|ies)|librar(?:y|ies))\b[^:\n]{0,60}: ?\*? ?(?P<n>[\w+./ ,-]{2,80})",
    ),
    (82, r"(?i)\bis (?P<n>[\w+./' -]{2,40}?) (?:not )?installed(?: and in \w+)?\?"),
    (
        84,
        r"(?i)(?:^|: |\. |the )(?P<n>[\w+./'-]{2,40}(?: [\w+./'-]{2,30}){0,2}?) (?:must|needs? to|has to|should) be (?:installed|available|present)",
    ),
    (
        84,
        r"(?i)\brequires? (?:that )?(?:the )?(?P<n>[\w+./' -]{2,40}?) (?:library |package |headers? |executable )?to be installed",
    ),
    (
        84,
        r"(?i)(?:^|: |\. |the )(?P<n>[\w+./'-]{2,40}(?: [\w+./'-]{2,30}){0,3}?),? (?:is|are|was|were|appears?|seems?)(?: \w+){0,3}? not (?:to be )?(?:be )?(?:installed|found|available|present|detected|in (?:the |your )?path)",
    ),
    (
        83,
        r"(?i)(?:^|: |\. |the )(?P<n>[\w+./'-]{2,40}(?: [\w+./'-]{2,30}){0,3}?) (?:not|could not be|cannot be|can't be|couldn't be) (?:found|installed|located|detected|available)",
    ),
    (
        82,
        r"(?i)\b(?:please |first |need to |must |have to |should |try to |and )?install(?:ing)? (?P<n>[\w+./' -]{2,60})",
    ),
    (
        82,
        r"(?i)\bmissing (?:the |a |an )?(?:required )?(?:dependency|dependencies|library|libraries|program|executable|package|header)s?:? (?P<n>[\w+./' ,-]{2,60})",
    ),
    (
        80,
        r"(?i)(?P<n>[\w+./'-]{2,30}) (?:library|libraries|headers?|executable|binary)(?: (?:is|are))? (?:missing|required|needed)",
    ),
    (82, r"(?i)problem with the (?P<n>[\w+./'-]{2,30}) installation"),
    (80, r"(?i)^(?:error: )?(?P<n>[\w+-]{2,30}) failed\. "),
    (80, r"(?i)\bdependency (?P<n>[\w+.-]{2,30}) (?:is )?(?:not (?:found|met|satisfied)|missing)"),
    (
        84,
        r"(?i)'(?P<n>[\w+.-]{2,30})' (?:executable |command |binary |program )?(?:is |was )?(?:not (?:found|installed|available)|missing|required)",
    ),
    (80, r"(?i)(?:set|define|point) [A-Z_]*(?P<n>[A-Z0-9]{3,20})_(?:HOME|DIR|ROOT|PATH|PREFIX) (?:to|environment)"),
];

/// Words that say that a program is meant.
const PROGRAM_WORDS: &[&str] =
    &["executable", "command", "binary", "program", "compiler", "tool", "script", "generator", "utility"];

/// Words that are no part of a name.
const ORDINARY: &[&str] = &[
    "the",
    "a",
    "an",
    "any",
    "of",
    "for",
    "local",
    "valid",
    "required",
    "necessary",
    "suitable",
    "working",
    "proper",
    "native",
    "header",
    "headers",
    "file",
    "files",
    "library",
    "libraries",
    "lib",
    "libs",
    "installation",
    "executable",
    "binary",
    "binaries",
    "program",
    "command",
    "compiler",
    "tool",
    "tools",
    "package",
    "packages",
    "development",
    "devel",
    "system",
    "include",
    "includes",
    "shared",
    "static",
    "c",
    "c/c++",
    "your",
    "our",
    "this",
    "that",
    "it",
    "is",
    "are",
    "was",
    "be",
    "please",
    "make",
    "sure",
    "ensure",
    "you",
    "need",
    "to",
    "install",
    "installed",
    "have",
    "has",
    "error",
    "fatal",
    "and",
    "or",
    "dependency",
    "dependencies",
    "software",
    "source",
    "sources",
    "code",
    "module",
    "modules",
    "name",
    "path",
    "both",
    "either",
    "with",
    "python",
    "python3",
    "pip",
    "setuptools",
    "wheel",
    "config",
    "configuration",
    "pkg-config",
    "version",
    "some",
    "following",
    "these",
    "those",
    "one",
    "all",
    "correct",
    "matching",
    "external",
    "additional",
    "optional",
    "core",
    "directory",
    "environment",
    "variable",
    "build",
    "by",
    "oracle",
    "gnu",
    "script",
    "runtime",
    "itself",
    "using",
    "via",
    "working",
    "api",
    "sdk",
    "up",
    "raise",
    "exception",
    "runtimeerror",
    "oserror",
    "option",
];

/// Where a name ends.
const ENDS: &[&str] = &[
    " before ",
    " in ",
    " on ",
    " at ",
    " which",
    " to ",
    " first",
    " from ",
    " version",
    " using ",
    " that ",
    " when ",
    " if ",
    " via ",
    " as ",
    " with ",
    " then ",
    ". ",
    "; ",
    ": ",
    " (",
    ")",
    " needed",
    " required",
    " so ",
    " is ",
    " were ",
    " was ",
    " not ",
    " could ",
    " are ",
    " try ",
    " because ",
    " by ",
    " please",
    " has ",
    " again",
    " can not",
];

static COMPILED: LazyLock<Patterns> = LazyLock::new(|| Patterns::new(SENTENCES.iter().map(|(_, pattern)| *pattern)));

/// Whoever says this anywhere means a program.
static SURE_PROGRAM: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"(?i)\b(?:executable|binary|compiler)\b"));

static INSTALL: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(r"\b(?:apt-get|apt|aptitude)\s+(?:-\S+\s+)*install\s+(?P<n>[^\n'\x22;&|)]+)"));

static DEBIAN: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"(?i)\bdebian\b|\bubuntu\b|\bapt\b|\bdeb\b"));

static DEVELOPMENT_NAME: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"\b(?P<n>[a-z0-9][a-z0-9.+-]+-dev)\b"));

/// The names in a statement, none of them twice.
pub(super) fn named(text: &str) -> Vec<Named> {
    let mut all: Vec<Named> = Vec::new();
    for (number, pattern) in COMPILED.matching(text) {
        let (weight, source) = &SENTENCES[number];
        for found in pattern.all(text) {
            let lower = found.whole.to_lowercase();
            let is_program_somewhere = SURE_PROGRAM.is_match(text);
            let mut words = lower.split(|letter: char| !letter.is_alphanumeric());
            let is_program = is_program_somewhere
                || words.any(|word| PROGRAM_WORDS.contains(&word))
                || source.contains(r") failed\. ");
            for name in names(found.name) {
                if !all.iter().any(|known| known.name == name) && all.len() < NAMES_MAX {
                    all.push(Named { name, is_program, weight: *weight });
                }
            }
        }
    }
    all
}

/// The packages that a statement says to install, in Debian's own names.
pub(super) fn told_to_install(text: &str) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for found in INSTALL.all(text) {
        let words = found.name.split_whitespace();
        packages.extend(words.take_while(|word| !word.starts_with('#')).map(trimmed).filter(|word| is_package(word)));
    }
    if packages.is_empty() && DEBIAN.is_match(text) {
        packages.extend(DEVELOPMENT_NAME.all(text).map(|found| found.name.to_owned()));
    }
    packages.dedup();
    packages
}

fn trimmed(word: &str) -> String {
    word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric() && letter != '+').to_owned()
}

fn is_package(word: &str) -> bool {
    word.len() > 1
        && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "+-.".contains(letter))
}

/// The names in a phrase: parts of a list, without articles and the like.
fn names(phrase: &str) -> Vec<String> {
    let mut phrase = format!("{phrase} ");
    phrase = phrase.replace(['\'', '"'], "");
    let lower = phrase.to_lowercase();
    let end = ENDS
        .iter()
        .filter_map(|end| lower.trim_start().find(end).map(|at| at + lower.len() - lower.trim_start().len()));
    let list = phrase.get(..end.filter(|at| *at > 1).min().unwrap_or(phrase.len())).unwrap_or(&phrase).to_owned();
    let list = if list.contains('.') { list } else { list.replace('/', ",") };
    let list = list.replace(" and/or ", ",").replace(" and ", ",").replace(" or ", ",");
    let clean = |part: &str| -> Option<String> {
        let words = part.split_whitespace().map(|word| word.trim_matches(['.', ',', ':', '-', '(', ')', '/']));
        let words: Vec<&str> = words
            .filter(|word| !word.is_empty() && !ORDINARY.contains(&word.to_lowercase().as_str()))
            .filter(|word| !word.chars().all(|letter| letter.is_ascii_digit() || letter == '.'))
            .collect();
        (!words.is_empty() && words.len() <= NAME_WORDS_MAX).then(|| words.join(" "))
    };
    list.split(',').filter_map(clean).filter(|name| name.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Vec<String> {
        named(text).into_iter().map(|named| named.name).collect()
    }

    #[test]
    fn names_are_found_in_sentences() {
        for (text, names) in [
            (
                "Error: Please make sure the libxml2 and libxslt development packages are installed.",
                &["libxml2", "libxslt"][..],
            ),
            ("Can't find a local Oracle Berkeley DB installation.", &["Berkeley DB"]),
            ("RuntimeError: Please install the proto buffer compiler.", &["proto buffer"]),
            ("ERROR: CMake must be installed to build dlib", &["CMake"]),
            ("Install swig and try again", &["swig"]),
            ("Unable to load dependency HDF5, make sure HDF5 is installed properly", &["HDF5"]),
            ("configure: error: could not find the cfitsio library", &["cfitsio"]),
            ("error: xmlsec1 is not installed or not in path.", &["xmlsec1"]),
            ("You need to install libcap development headers to build this module", &["libcap"]),
            ("The headers or library files could not be found for jpeg,", &["jpeg"]),
            ("The 'apxs' command appears not to be installed", &["apxs"]),
            ("Problem with the CMake installation, aborting build.", &["CMake"]),
            ("did not find netCDF version 4 headers", &["netCDF"]),
            ("Require tss2-esapi to be installed", &["tss2-esapi"]),
        ] {
            let found = first(text);
            for name in names {
                assert!(found.iter().any(|known| known == name), "{text}: {found:?}");
            }
        }
    }

    #[test]
    fn hints_name_packages() {
        assert_eq!(
            told_to_install("Try installing it with: 'sudo apt install libgirepository1.0-dev'"),
            ["libgirepository1.0-dev"]
        );
        assert_eq!(told_to_install("a package such as libbz2-dev (on Debian or Ubuntu Linux)"), ["libbz2-dev"]);
    }
}
