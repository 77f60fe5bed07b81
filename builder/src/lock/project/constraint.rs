//! Ranges of versions as poetry writes them, which are a superset of PEP 440's: `^1.2`, `~1.2`, `1.*`, `>=1 <2 || >3`.

use crate::python::version::{Specifiers, Version};

/// Longest range read, in bytes; real ones stay under 200.
const RANGE_BYTES_MAX: usize = 4096;

/// Alternatives, each a list of clauses that all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range(Vec<Specifiers>);

impl Range {
    /// Reads a range; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > RANGE_BYTES_MAX {
            return None;
        }
        let alternatives = text.split('|').map(str::trim).filter(|part| !part.is_empty());
        let alternatives: Vec<Specifiers> = alternatives.map(alternative).collect::<Option<_>>()?;
        (!alternatives.is_empty() || text.trim().is_empty()).then_some(Self(alternatives))
    }

    pub(super) fn contains(&self, version: &Version) -> bool {
        self.0.is_empty() || self.0.iter().any(|clauses| clauses.contains(version))
    }
}

fn alternative(text: &str) -> Option<Specifiers> {
    let mut clauses = Vec::new();
    let mut operator = String::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        // `>= 1.0`: the operator stands apart.
        let is_operator = word.bytes().all(|byte| b"<>=!~^".contains(&byte));
        operator.push_str(word);
        if !is_operator {
            clauses.push(clause(&std::mem::take(&mut operator))?);
        }
    }
    if !operator.is_empty() {
        return None;
    }
    clauses.retain(|clause| !clause.is_empty());
    clauses.join(",").parse().ok()
}

/// One clause in PEP 440's words; empty where it allows all.
fn clause(text: &str) -> Option<String> {
    if let Some(version) = text.strip_prefix('^') {
        return Some(format!(">={version},<{}", next(version, caret_digit)?));
    }
    if let Some(version) = text.strip_prefix('~').filter(|rest| !rest.starts_with('=')) {
        return Some(format!(">={version},<{}", next(version, |parts| usize::from(parts.len() > 1))?));
    }
    if matches!(text, "*" | "==*" | ">=*") {
        return Some(String::new());
    }
    if text.starts_with(|first: char| first.is_ascii_digit() || first == 'v') {
        return Some(format!("=={text}"));
    }
    match text.strip_prefix('=').filter(|rest| !rest.starts_with('=')) {
        Some(version) => Some(format!("=={version}")),
        None => Some(text.to_owned()),
    }
}

/// The place that `^` may not raise: the first that is not zero.
fn caret_digit(parts: &[u64]) -> usize {
    parts.iter().position(|part| *part != 0).unwrap_or(parts.len() - 1)
}

/// The release with the part at the place that `digit` says raised by one, without what follows.
fn next(version: &str, digit: impl Fn(&[u64]) -> usize) -> Option<String> {
    let release: &str = version.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
    let mut parts: Vec<u64> = release.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let place = digit(&parts);
    parts.truncate(place + 1);
    let last = parts.last_mut()?;
    *last = last.checked_add(1)?;
    Some(parts.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_what_poetry_means() {
        for (range, inside, outside) in [
            ("^1.2.3", "1.9", "2.0"),
            ("^0.2.3", "0.2.9", "0.3"),
            ("^0.0.3", "0.0.3", "0.0.4"),
            ("^0.0", "0.0.9", "0.1"),
            ("^1", "1.9", "2"),
            ("~1.2.3", "1.2.9", "1.3"),
            ("~1", "1.9", "2"),
            ("~=1.4.2", "1.4.9", "1.5"),
            ("1.2.3", "1.2.3", "1.2.4"),
            ("=1.2", "1.2", "1.3"),
            ("1.2.*", "1.2.9", "1.3"),
            (">=1,<2.0 || >2.0,<3", "2.1", "2.0"),
            (">= 1.0, < 2.0", "1.5", "2.0"),
            (">=3.8 <3.12", "3.11", "3.12"),
            ("!=1.1,>=1", "1.2", "1.1"),
        ] {
            let parsed = Range::parse(range).expect(range);
            assert!(parsed.contains(&inside.parse().expect(inside)), "{range} {inside}");
            assert!(!parsed.contains(&outside.parse().expect(outside)), "{range} {outside}");
        }
        for all in ["", "*"] {
            assert!(Range::parse(all).expect(all).contains(&"7".parse().expect("a version")), "{all}");
        }
        for bad in ["^", "~", "x", ">=", "^1.a.99999999999999999999", "||", "1 2 x"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
    }
}
