//! Regular expressions over statements, by bytes: what they look for is ASCII, and classes of Unicode would make them a
//! hundred times as large.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use regex::bytes::{Regex, RegexBuilder};

use super::literals::required_words;

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
        // Most texts have none, and asking for the groups is dearer than asking whether.
        if self.is_match(text) { self.all(text).next() } else { None }
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

/// Several patterns, asked at once which of them match. One automaton looks for the words without which they can't; a pattern is
/// compiled when its words are there for the first time. Most never are.
#[derive(Debug)]
pub(super) struct Patterns {
    words: AhoCorasick,
    /// The number of the pattern of each word.
    owners: Vec<usize>,
    /// Whether the pattern needs no word, each.
    always: Vec<bool>,
    each: Vec<(&'static str, OnceLock<Pattern>)>,
}

impl Patterns {
    /// Prepares constants of this crate.
    #[expect(clippy::expect_used, reason = "words of constants, prepared by a test")]
    pub(super) fn new(patterns: impl Iterator<Item = &'static str>) -> Self {
        let (mut words, mut owners, mut always, mut each) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, pattern) in patterns.enumerate() {
            let required = required_words(pattern);
            always.push(required.is_none());
            let required = required.unwrap_or_default();
            owners.extend(required.iter().map(|_| number));
            words.extend(required);
            each.push((pattern, OnceLock::new()));
        }
        let words = AhoCorasickBuilder::new().ascii_case_insensitive(true).build(words);
        Self { words: words.expect("a few hundred words"), owners, always, each }
    }

    /// The numbers of the patterns that match, with the patterns, in their order.
    pub(super) fn matching<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, &'a Pattern)> {
        let mut possible = self.always.clone();
        for found in self.words.find_overlapping_iter(text) {
            possible[self.owners[found.pattern().as_usize()]] = true;
        }
        let asked = self.each.iter().enumerate().filter(move |(number, _)| possible[*number]);
        let compiled =
            asked.map(|(number, (pattern, compiled))| (number, compiled.get_or_init(|| Pattern::new(pattern))));
        compiled.filter(|(_, pattern)| pattern.is_match(text))
    }

    #[cfg(test)]
    pub(super) fn each(&self) -> impl ExactSizeIterator<Item = &Pattern> {
        self.each.iter().map(|(pattern, compiled)| compiled.get_or_init(|| Pattern::new(pattern)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words spare time and nothing else.
    #[test]
    fn a_pattern_matches_with_its_words_only() {
        let patterns = [r"(?i)cannot find (?P<n>\w+)", r"^(?P<n>\w):", r"-l(?P<n>\w+)|missing (?P<m>\w+)"];
        let all = Patterns::new(patterns.into_iter());
        for text in ["ld: CANNOT find -lfoo", "x: y", "missing x", "nothing", "", "-l", "it can't find x"] {
            let wanted: Vec<usize> =
                (0..patterns.len()).filter(|n| Pattern::new(patterns[*n]).is_match(text)).collect();
            assert_eq!(all.matching(text).map(|(number, _)| number).collect::<Vec<_>>(), wanted, "{text}");
        }
    }
}
