//! Words that a text must have for a regular expression to match it: looking for words is many times cheaper than running, or even
//! compiling, the expressions.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Shorter words are in too many texts to tell anything.
const WORD_BYTES_MIN: usize = 2;

/// Most words of one expression.
const WORDS_MAX: usize = 64;

/// Words of which a text has at least one, in any case of ASCII letters, if `pattern` matches it; `None` when nothing is known.
pub(super) fn required_words(pattern: &str) -> Option<Vec<Vec<u8>>> {
    let hir = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    of(&hir)
}

fn of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(_) | HirKind::Class(_) => useful(vec![letters(hir)?]),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Concat(parts) => of_sequence(parts),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(of(part)?);
            }
            useful(all)
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// All parts have to match: the one that says most decides.
fn of_sequence(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut found: Vec<Vec<Vec<u8>>> = parts.iter().filter_map(of).collect();
    // Letters in a row are one word: `(?i)ab` is a row of two classes.
    let mut word: Vec<u8> = Vec::new();
    for part in parts {
        match letters(part) {
            Some(more) => word.extend(more),
            None => found.extend(useful(vec![std::mem::take(&mut word)])),
        }
    }
    found.extend(useful(vec![word]));
    let shortest = |words: &Vec<Vec<u8>>| words.iter().map(Vec::len).min().unwrap_or(0);
    found.into_iter().max_by_key(|words| (shortest(words), std::cmp::Reverse(words.len())))
}

/// What is always the same letters, in lower case.
fn letters(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(literal.0.to_ascii_lowercase()),
        HirKind::Class(Class::Bytes(class)) => {
            let all = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            one(all.map(|byte| byte.to_ascii_lowercase())).map(|byte| vec![byte])
        }
        HirKind::Class(Class::Unicode(class)) => {
            let all = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            let letter = one(all.map(|letter| letter.to_ascii_lowercase()))?;
            Some(letter.to_string().into_bytes())
        }
        _ => None,
    }
}

/// The value that all of them are.
fn one<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

fn useful(words: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    let is_useful = words.len() <= WORDS_MAX && words.iter().all(|word| word.len() >= WORD_BYTES_MIN);
    (is_useful && !words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::required_words;

    fn words(pattern: &str) -> Option<Vec<String>> {
        let words = required_words(pattern)?;
        Some(words.into_iter().map(|word| String::from_utf8(word).expect("text")).collect())
    }

    fn some(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn words_that_must_be_there_are_found() {
        assert_eq!(words(r"^a+: Cannot find -l(?P<n>\w+)"), some(&[": cannot find -l"]));
        assert_eq!(words(r"(?i)\bNo (?P<n>\w{2,30}) found\b"), some(&[" found"]));
        assert_eq!(words(r"x(?:no such file|нет файла)?y(?P<n>apt|deb)"), some(&["apt", "deb"]));
        assert_eq!(words(r"(?:ab|cd)+"), some(&["ab", "cd"]));
        for nothing in [r"\w+", r"(?:abc)?", r"(?:abc|d)", r"(?:abc)*x", r"[ab]{4}", "("] {
            assert_eq!(words(nothing), None, "{nothing}");
        }
    }
}
