//! What a log says besides what is missing: where the build looks, and what it builds.

use std::sync::LazyLock;

use super::pattern::Pattern;
use super::rules;
use super::statements::Statement;
use super::trace::Missed;

/// How many of the last statements are the build's last words.
const LAST_STATEMENTS: usize = 12;

/// Most folders that are kept.
const FOLDERS_MAX: usize = 64;

/// Second witnesses for what evidence alone does not decide.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    /// Folders of `-I` options, without a leading `/`.
    pub(super) include_folders: Vec<String>,
    /// The same of swig, which looks nowhere else.
    pub(super) swig_folders: Vec<String>,
    /// The project that is built, normalised; the one that failed, if pip says so.
    pub(super) project: Option<String>,
    /// Whether a compiler or Python says what is wrong, and it is nothing that a package mends.
    pub(super) is_explained: bool,
    /// Packages that the project itself says it needs.
    pub(super) declared: Vec<String>,
    /// What was asked for in vain.
    pub(super) missed: Missed,
    /// The last lines that are the build's own, not pip's.
    pub(super) last_words: String,
}

static INCLUDE: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"(?:^|[\s'])-I ?/(?P<n>usr/[^\s'\x22,]+)"));

static PROJECT: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"^(?:ERROR: )?(?:Failed building wheel for|Failed to build|Building wheel for|Collecting|Building wheels for collected packages:)",
        r" '?(?P<n>[A-Za-z0-9][\w.-]*?)(?:[=<>~!@ (\[',]|$)"
    ))
});

/// Errors in code: that of the project, or that of its build.
static CODE: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"^\S+:\d+:(?:\d+:)? (?:error|fatal error|Error): |undefined reference to|: undefined symbol|",
        r"^(?:\w+\.)*(?:SyntaxError|IndentationError|TabError|NameError|TypeError|AttributeError|ImportError|KeyError|",
        r"ModuleNotFoundError|IndexError|UnicodeDecodeError|ZeroDivisionError|UnboundLocalError|NotImplementedError)\b"
    ))
});

impl Surroundings {
    pub(super) fn read(statements: &[Statement]) -> Self {
        let mut all = Self::default();
        for Statement { text, .. } in statements {
            if text.contains("-I/usr/") || text.contains("-I /usr/") {
                let is_swig = text.starts_with("swig") || text.contains("/swig ") || text.contains("/swig4.0 ");
                for found in INCLUDE.all(text) {
                    let folder = found.name.trim_end_matches('/');
                    let folders = if is_swig { &mut all.swig_folders } else { &mut all.include_folders };
                    if folders.len() < FOLDERS_MAX && !folders.iter().any(|known| known == folder) {
                        folders.push(folder.to_owned());
                    }
                }
            }
            if let Some(found) = PROJECT.find(text) {
                all.project = Some(found.name.to_lowercase().replace(['_', '.'], "-"));
            }
        }
        // From the end: the last exception is the one that counts.
        let end = statements.iter().rev().take(LAST_STATEMENTS * 4);
        all.is_explained = end.into_iter().any(|statement| CODE.is_match(&statement.text));
        let own = statements.iter().filter(|statement| rules::is_interesting(&statement.text)).rev();
        let last: Vec<&str> = own.take(LAST_STATEMENTS).map(|statement| statement.text.as_str()).collect();
        all.last_words = last.join("\n");
        all
    }
}
