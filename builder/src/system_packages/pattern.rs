//! Regular expressions over statements, by bytes: what they look for is ASCII, and classes of Unicode would make them a
//! hundred times as large.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// Most bytes that the automaton of one expression may take while it matches.
const AUTOMATON_BYTES_MAX: usize = 8 << 20;

/// A regular expression whose group `n`, if it has one, is a name.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

/// One match: all of it, and the group `n`.
#[derive(Debug)]
pub(super) struct Match<'a> {
    pub(super) whole: &'a str,
    pub(super) name: &'a str,
}

impl Pattern {
    /// Compiles a constant of this crate.
    #[expect(clippy::expect_used, reason = "patterns are constants, and a test of each table compiles them")]
    pub(super) fn new(pattern: &str) -> Self {
        let built = RegexBuilder::new(pattern).unicode(false).dfa_size_limit(AUTOMATON_BYTES_MAX).build();
        Self(built.expect("a constant, compiled by a test"))
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }

    /// The first match.
    pub(super) fn find<'a>(&self, text: &'a str) -> Option<Match<'a>> {
        self.all(text).next()
    }

    /// Every match. One that would cut a character in two is none.
    pub(super) fn all<'a>(&self, text: &'a str) -> impl Iterator<Item = Match<'a>> {
        self.0.captures_iter(text.as_bytes()).filter_map(|found| {
            let whole = str::from_utf8(found.get(0)?.as_bytes()).ok()?;
            let name = found.name("n").map(|name| str::from_utf8(name.as_bytes())).transpose().ok()?;
            Some(Match { whole, name: name.unwrap_or_default() })
        })
    }

    #[cfg(test)]
    pub(super) fn has_name(&self) -> bool {
        self.0.capture_names().flatten().any(|name| name == "n")
    }
}

/// Several patterns, asked at once which of them match.
#[derive(Debug)]
pub(super) struct Patterns {
    set: RegexSet,
    /// Compiled when they match for the first time: most never do.
    each: Vec<(&'static str, OnceLock<Pattern>)>,
}

impl Patterns {
    /// Compiles constants of this crate.
    #[expect(clippy::expect_used, reason = "patterns are constants, and a test of each table compiles them")]
    pub(super) fn new(patterns: impl Iterator<Item = &'static str> + Clone) -> Self {
        let set = RegexSetBuilder::new(patterns.clone()).unicode(false).dfa_size_limit(AUTOMATON_BYTES_MAX).build();
        Self {
            set: set.expect("constants, compiled by a test"),
            each: patterns.map(|pattern| (pattern, OnceLock::new())).collect(),
        }
    }

    /// The numbers of the patterns that match, with the patterns, in their order.
    pub(super) fn matching<'a>(&'a self, text: &str) -> impl Iterator<Item = (usize, &'a Pattern)> {
        let numbers = self.set.matches(text.as_bytes());
        let matched = self.each.iter().enumerate().filter(move |(number, _)| numbers.matched(*number));
        matched.map(|(number, (pattern, compiled))| (number, compiled.get_or_init(|| Pattern::new(pattern))))
    }

    #[cfg(test)]
    pub(super) fn each(&self) -> impl ExactSizeIterator<Item = &Pattern> {
        self.each.iter().map(|(pattern, compiled)| compiled.get_or_init(|| Pattern::new(pattern)))
    }
}
