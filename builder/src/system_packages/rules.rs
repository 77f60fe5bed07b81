//! The rules: which words of a log speak of what.

use std::sync::LazyLock;

use super::evidence::Kind;
use super::pattern::{Pattern, Patterns};

/// One rule. The group `n` of its pattern is the name of what is missing.
struct RuleText {
    kind: Kind,
    weight: u8,
    pattern: &'static str,
}

const fn rule(kind: Kind, weight: u8, pattern: &'static str) -> RuleText {
    RuleText { kind, weight, pattern }
}

/// "No such file or directory" in the languages that compilers and shells speak. Python's own words have `[Errno 2]`.
macro_rules! absent {
    () => {
        concat!(
            r"(?:No such file|Aucun fichier ou dossier|Datei oder Verzeichnis nicht|No existe el (?:fichero|archivo)",
            r"|File o directory non|Arquivo ou diretório|Ficheiro ou directoria|Нет такого файла|没有那个文件",
            r"|そのようなファイル|Bestand of map bestaat niet|Nie ma takiego pliku|Filen eller katalogen finns inte",
            r"|Adresář nebo soubor neexistuje|Böyle bir dosya|file not found|그런 파일이나)"
        )
    };
}

/// "Command not found".
macro_rules! unknown_command {
    () => {
        concat!(
            r"(?:command not found|not found|commande introuvable|Kommando nicht gefunden|Befehl nicht gefunden",
            r"|orden no encontrada|no se encontró la orden|comando non trovato|comando não encontrado",
            r"|команда не найдена|未找到命令|コマンドが見つかりません|opdracht niet gevonden|nie znaleziono polecenia)"
        )
    };
}

/// A name of a header as it stands in quotes or alone.
macro_rules! header {
    () => {
        r"(?P<n>[\w+.][\w+./-]*\.(?:h|hh|hpp|hxx|H|inc|h\+\+))"
    };
}

/// The rules, the surest kinds of message first. Weights: 90 and more ends a build; 80 to 89 usually does, and says so
/// in words of the project; 60 to 79 is said by programs that do not know whether it matters; below that are probes.
const RULES: &[RuleText] = &[
    // Compilers and linkers.
    rule(Kind::Header, 92, concat!(r#"fatal error: ['"<]?(?P<n>[\w+.][\w+./-]*?)['">]?:? (?:"#, absent!(), ")")),
    rule(
        Kind::Header,
        92,
        concat!(r#"^\S+:\d+:(?:\d+:)? [^:]{3,40}\s?: ['"<]?(?P<n>[\w+.][\w+./-]*?)['">]?\s?: "#, absent!()),
    ),
    rule(Kind::Header, 92, concat!("fatal error: '", header!(), "' file not found")),
    rule(Kind::Header, 92, concat!(r#"fatal error C1083:[^\n]*include file: '"#, header!(), "'")),
    rule(Kind::Header, 91, concat!("Error: Unable to find '", header!(), "'")),
    rule(Kind::Header, 88, concat!(r"^\S+:\d+: ", r"(?:error|Error): [^\n]{0,20}?", header!(), ": ", absent!())),
    rule(Kind::Library, 92, r#"\bld(?:\.\w+)?\s?: [^\n]*?(?:^|[\s'"])-l:?(?P<n>[\w+.-]+?)(?:\.so)?\s?(?:['":\s]|$)"#),
    rule(Kind::Library, 92, r"\bld(?:\.\w+)?: (?:library not found for|unable to find library) -l(?P<n>[\w+.-]+)"),
    rule(
        Kind::Library,
        84,
        r"(?:ldconfig|find_library)[^\n]{0,40}?['\x22\s(]lib(?P<n>[\w+-]+?)(?:\.|['\x22\s)])[^\n]*(?:non-zero|not found|failed|None)",
    ),
    rule(Kind::Library, 80, r"^(?:collect2|gcc|clang)?[^\n]{0,20}cannot find -l(?P<n>[\w+.-]+?)(?::|\s|$)"),
    // pkg-config, and who calls it.
    rule(
        Kind::PkgConfig,
        78,
        r"Package '?(?P<n>[\w+.-]+?)'?,? (?:was not found|required by 'virtual:world', not found)",
    ),
    rule(Kind::PkgConfig, 78, r"Package '(?P<n>[\w+.-]+?)', required by '[^']+', not found"),
    rule(Kind::PkgConfig, 78, r"No package '(?P<n>[\w+.-]+)' found"),
    rule(Kind::PkgConfig, 72, r"containing '(?P<n>[\w+.-]+)\.pc'"),
    rule(Kind::PkgConfig, 90, r"configure: error: (?:\S+ )?Package requirements \((?P<n>[\w+.-]+)"),
    rule(
        Kind::PkgConfig,
        76,
        r"'?\bpkg-?config'?[^\n]{0,60}(?:--modversion|--exists|--cflags|--libs|atleast-version)[^\n]*?(?:[\s']|lib=)(?P<n>[A-Za-z][\w+.-]+)(?: ?[<>=]+ ?[\d.]+)?['\s)\]]",
    ),
    rule(
        Kind::PkgConfig,
        76,
        r"(?:pkg-?config|pkg_config)[^\n]{0,40}(?:could not|couldn't|can't|cannot|failed to|unable to) find '?(?P<n>[\w+.-]+)",
    ),
    rule(Kind::PkgConfig, 76, r"pkg-config information for '(?P<n>[\w+.-]+)' could not be found"),
    rule(Kind::PkgConfig, 86, r"The system library '(?P<n>[\w.+-]+)' required by crate"),
    rule(Kind::PkgConfig, 84, r"'(?P<n>[\w.+-]+)\.pc' (?:not found|needs to be installed)"),
    // Meson.
    rule(
        Kind::PkgConfig,
        91,
        r#"(?:ERROR|error): (?:Dependency|Subproject)[^"'\n]{0,30}["'](?P<n>[^"'\n]+)["'] (?:lookup )?(?:not found|required but not found)"#,
    ),
    rule(
        Kind::PkgConfig,
        50,
        r"(?:Run-time|Build-time|Native) dependency (?P<n>[\w+.-]+) (?:\(modules: [^)]*\) )?found: NO",
    ),
    rule(Kind::Library, 91, r"ERROR: [^\n]{0,40}library '(?P<n>[\w+.-]+)' not found"),
    rule(Kind::Header, 91, concat!(r#"ERROR: [^\n]{0,40}[Hh]eader ["']"#, header!(), r#"["'] not found"#)),
    rule(Kind::Program, 91, r"ERROR: Program '(?P<n>[\w+.-]+)[^\n]*' not found"),
    rule(Kind::Program, 91, r"Unknown compiler\(s\): \[\['(?P<n>[\w+.-]+)'"),
    // Programs that can't be started.
    rule(
        Kind::Program,
        80,
        concat!(
            r"^(?:\S*/)?(?:ba|da|z|k)?sh: (?:(?:line|ligne|Zeile|línea|riga|linha|строка|行|regel|linia) ?)?(?:\d+: ?)?(?P<n>[A-Za-z][\w+.-]*)\s?: ",
            unknown_command!()
        ),
    ),
    rule(Kind::Program, 84, concat!(r"^\S+: (?:line )?\d+: (?P<n>[A-Za-z][\w+.-]*)\s?: ", unknown_command!())),
    rule(Kind::Program, 78, r"(?:^|\s)(?P<n>[A-Za-z][\w+.-]*): command not found"),
    rule(Kind::Program, 84, r"\[Errno 2\] [^:\n]{3,80}: '(?P<n>[A-Za-z][\w+.-]*)'"),
    rule(
        Kind::Program,
        84,
        r#"(?:FileNotFoundError|IOError|OSError)[^\n]*No such file or directory:? '(?P<n>[A-Za-z][\w+-]*)'"#,
    ),
    rule(Kind::Program, 90, r"error: command '(?:[\w/.-]*/)?(?P<n>[\w+.-]+)' failed: (?:No such file|None)"),
    rule(Kind::Program, 86, r"unable to execute '?(?P<n>[\w+.-]+)'?: No such file"),
    rule(Kind::Program, 88, r#"Can't exec "(?P<n>[\w+.-]+)""#),
    rule(Kind::Program, 90, concat!(r"^g?make(?:\[\d+\])?: (?:execvp: )?(?P<n>[A-Za-z][\w+.-]*)\s?: ", absent!())),
    rule(Kind::Program, 84, r#"exec: "(?P<n>[\w+.-]+)": executable file not found"#),
    rule(Kind::Program, 84, r"is '(?P<n>[\w+.-]+)' not installed\?"),
    rule(Kind::Program, 84, r"(?:env|xargs|time|nice|timeout): '?(?P<n>[A-Za-z][\w+.-]*)'?: No such file"),
    rule(
        Kind::Program,
        84,
        r"(?:^|[\s'(])(?P<n>[a-zA-Z0-9_+]+[-_]config)\b[^\n]{0,40}(?:not found|could not be found|not be found|not installed|is missing)",
    ),
    rule(
        Kind::Program,
        84,
        r"(?:find|locate|run|execute|invoke)[^\n]{0,30}?[\s'\x22](?P<n>[a-zA-Z0-9_+]+[-_]config)\b",
    ),
    rule(Kind::Program, 82, r"\b(?P<n>[A-Z][A-Z0-9]+)_(?:EXECUTABLE|PROGRAM|COMMAND)-NOTFOUND"),
    rule(Kind::Program, 72, r"PyProjectOptionException\('(?P<n>\w+)'"),
    rule(Kind::Program, 88, r"No CMAKE_(?P<n>Fortran|CXX|C|Java)_COMPILER could be found"),
    rule(Kind::Program, 88, r"(?i:no acceptable|no working|no|find a) (?P<n>C|C\+\+|[Ff]ortran)(?: 77| 90)? compiler"),
    rule(Kind::Program, 90, r"(?i:can't find|could not find|no) (?P<n>Rust compiler|cargo)\b"),
    // CMake.
    rule(Kind::Cmake, 92, r"^CMake Error[^\n]*Could NOT find [\w+-]+ \(missing: [^)]*?\b(?P<n>[\w+-]+)_FOUND\b"),
    rule(Kind::Cmake, 90, r"^CMake Error[^\n]*Could NOT find (?P<n>[\w+-]+)"),
    rule(Kind::Cmake, 90, r"^CMake Error[^\n]*package configuration file provided by ['\x22](?P<n>[\w+-]+)['\x22]"),
    rule(
        Kind::Cmake,
        88,
        r"^CMake Error[^\n]*(?:Could not|Couldn't|Unable to|Cannot|Failed to) (?:find|locate) (?:the )?(?P<n>[\w+-]+)",
    ),
    rule(Kind::PkgConfig, 90, r"^CMake Error[^\n]*required packages were not found: (?:- )?(?P<n>[\w+.-]+)"),
    rule(Kind::Cmake, 66, r"Could NOT find (?P<n>[\w+-]+) \(missing"),
    rule(
        Kind::Library,
        80,
        r"\b(?P<n>[A-Z][A-Z0-9]+)_(?:LIBRARY|LIBRARIES|INCLUDE_DIRS?)(?:-NOTFOUND|[^\n]{0,20}is set to NOTFOUND)",
    ),
    // autoconf and automake.
    rule(Kind::Autotools, 86, r"Libtool library used but '(?P<n>LIBTOOL)' is undefined"),
    rule(
        Kind::Autotools,
        88,
        r"(?:possibly undefined macro: |macro '?|warning: )(?P<n>[A-Z]{2,}_[A-Z0-9_]+)'?(?: not found in library|\s*$)",
    ),
    rule(Kind::Library, 40, r"checking for \w+ in -l(?P<n>[\w+.-]+)\.\.\. no\b"),
    rule(Kind::Header, 40, concat!("checking for ", header!(), r"\.\.\. no\b")),
    rule(Kind::PkgConfig, 40, r"checking for (?P<n>[\w+.-]+)(?: [<>=]+ [\d.]+)?\.\.\. no$"),
    // Headers and files that projects look for themselves.
    rule(
        Kind::Header,
        84,
        concat!(
            r"(?:[Cc]an'?t|[Cc]annot|[Cc]ould n[o']t|[Cc]ouldn't|[Uu]nable to|[Ff]ailed to|did not|[Mm]issing)[^\n]{0,90}?['\s(\[]",
            header!()
        ),
    ),
    rule(
        Kind::Header,
        84,
        concat!(
            r"(?:^|[\s'(\[])",
            header!(),
            r"['\s)\]]{0,2}[^\n]{0,40}?(?:not found|could not be found|not be located|(?:is|are) missing|not available|is required)"
        ),
    ),
    rule(
        Kind::File,
        84,
        r"(?:[Cc]an'?t|[Cc]annot|[Cc]ould n[o']t|[Uu]nable to|[Ff]ailed to)[^\n]{0,60}? '?(?P<n>/usr/(?:share|lib|include|bin|sbin)/[\w./+-]*\w)",
    ),
    rule(
        Kind::File,
        84,
        r"(?P<n>/usr/(?:share|lib|include|bin|sbin)/[\w./+-]*\w)'? ?(?:not found|does not exist|is missing|: No such file)",
    ),
    rule(Kind::File, 84, r"No such file or directory: '(?P<n>/usr/(?:share|lib|include|bin|sbin)/[\w./+-]*\w)'"),
    rule(Kind::File, 88, r"No rule to make target '(?P<n>/usr/[\w./+-]*\w)'"),
    // Libraries that are loaded by name.
    rule(
        Kind::Library,
        86,
        r"(?:OSError|ImportError|error)[^\n]{0,60}?\blib(?P<n>[\w+-]+)\.so[\d.]*: cannot open shared object",
    ),
];

/// Words without which no rule has anything to say: one look at each statement spares it all the others.
const SIGNS: &str = concat!(
    r"(?i)not found|no such file|cannot|can't|couldn|could not|could n|unable|failed|fail to|missing|not installed|",
    r"error|undefined|install|notfound|pkg-?config|containing|required|require|no package|unknown compiler|",
    r"is set to|\.\.\. no|found: no|no rule|not be found|virtual:world|detected|not available|does not exist|",
    r"introuvable|nicht|no existe|non trovat|non esiste|não|не |нет|没有|未找到|見つかり|ファイル|niet|",
    r"nie |finns inte|neexistuje|dosya|aucun|no se |encontrad|fehler|fatale|-l\w|그런|did not|need|apt|must be|non-zero exit|exception\(|can not be"
);

/// Whoever says these things is only trying something out.
const PROBES: &str = concat!(
    r"_configtest|conftest\.|cmTC_|CMakeFiles/CMakeTmp|CMakeScratch|try_compile|/meson-private/|sanitycheck|",
    r"[Tt]estfile\.c|/tmp/tmp\w+/|check_\w+\.c\b|/tmp/\w+-\w+/None\.c|[Ww]arning|WARNING|WARN\b|[Oo]ptional|",
    r"[Uu]sing (?:local|bundled|internal) |: (?:yes|no) +\[(?:[Rr]equires|skipping)|",
    r"^Looking for |^Searching |^Running '|^\+ |gave \x22\[Errno"
);

/// What pip says of itself, of every failure: nothing about this one.
const CHATTER: &str = concat!(
    r"Can not execute 'setup\.py'|manifest_maker|clear error message|likely not a problem with pip|^full command|",
    r"^(?:Collecting|Downloading|Using cached|Requirement already|Successfully installed|Installing collected|Building wheels?|",
    r"Installing build dep|Installing backend dep|Running command|Preparing metadata|Getting requirements|copying |creating |adding |writing |reading )|",
    r"SetuptoolsDeprecationWarning|pip install --upgrade|try \x22pip install|subprocess to install|hint: See above|",
    r"exec\(compile\(|^running (?:build|install|egg_info|bdist)|site-packages/pip/|without setuptools|^\[notice\]"
);

/// Whoever says this goes on to fetch or to make what it did not find.
const REPLACES: &str = r"(?i)(?:attempting|trying|going) to (?:build|download|fetch|compile)|will be (?:downloaded|fetched|built)|(?:building|downloading|fetching|compiling) (?:it|a copy|from)";

static REPLACED: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(REPLACES));

static COMPILED: LazyLock<Patterns> = LazyLock::new(|| Patterns::new(RULES.iter().map(|rule| rule.pattern)));
static SIGN: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(SIGNS));
static PROBE: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(PROBES));
static CHAT: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(CHATTER));

/// What one rule finds in a statement.
#[derive(Debug)]
pub(super) struct Hit<'a> {
    pub(super) kind: Kind,
    pub(super) weight: u8,
    pub(super) name: &'a str,
}

/// Whether a statement may say anything of interest.
pub(super) fn is_interesting(text: &str) -> bool {
    SIGN.is_match(text) && !CHAT.is_match(text)
}

/// Whether a statement is about something that is only tried out. What is fetched or made because it is not there is
/// more than that: in a sandbox it can't be fetched.
pub(super) fn is_probe(text: &str) -> bool {
    PROBE.is_match(text) && !REPLACED.is_match(text)
}

/// What the rules find in a statement.
pub(super) fn hits(text: &str) -> Vec<Hit<'_>> {
    let mut hits = Vec::new();
    for (number, pattern) in COMPILED.matching(text) {
        for found in pattern.all(text) {
            hits.push(Hit { kind: RULES[number].kind, weight: RULES[number].weight, name: found.name });
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_has_a_name() {
        assert_eq!(COMPILED.each().len(), RULES.len());
        for (rule, pattern) in RULES.iter().zip(COMPILED.each()) {
            assert!(pattern.has_name(), "{}", rule.pattern);
        }
        assert!(is_interesting("x: not found") && is_probe("conftest.c:1") && !is_interesting("Collecting error"));
    }

    fn found(text: &str) -> Vec<(Kind, &str)> {
        let mut found: Vec<_> = hits(text).into_iter().map(|hit| (hit.kind, hit.name)).collect();
        found.dedup();
        found
    }

    #[test]
    fn messages_are_understood_in_other_languages() {
        for text in [
            "a.c:3:10: fatal error: libxml/parser.h: No such file or directory",
            "a.c:3:10: fatal error: libxml/parser.h: Aucun fichier ou dossier de ce type",
            "a.c:3:10: erreur fatale : libxml/parser.h : Aucun fichier ou dossier de ce type",
            "a.c:3:10: schwerwiegender Fehler: libxml/parser.h: Datei oder Verzeichnis nicht gefunden",
            "a.c:3:10: fatal error: 'libxml/parser.h' file not found",
        ] {
            assert_eq!(found(text), [(Kind::Header, "libxml/parser.h")], "{text}");
        }
        for text in [
            "/usr/bin/ld: cannot find -lxml2: No such file or directory",
            "/usr/bin/ld : ne peut trouver -lxml2",
            "/usr/bin/ld: kann -lxml2 nicht finden",
            "/usr/bin/ld: no se puede encontrar -lxml2: No existe el fichero o el directorio",
        ] {
            assert_eq!(found(text), [(Kind::Library, "xml2")], "{text}");
        }
        for text in [
            "/bin/sh: 1: swig: not found",
            "bash: line 1: swig: command not found",
            "bash: ligne 1: swig : commande introuvable",
        ] {
            assert_eq!(found(text)[0], (Kind::Program, "swig"), "{text}");
        }
    }
}
