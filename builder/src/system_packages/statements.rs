//! From the bytes of a log to statements: lines without escape sequences and prefixes, sentences that go on in the
//! next line put together, and the lines inside a printed Python value taken apart.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern::Pattern;

/// How much of a log is read, from its end: the cause of a failure is seldom farther away.
const LOG_BYTES_MAX: usize = 16 << 20;

/// Longest statement, in bytes. Command lines are longer; what fails is said in fewer words.
const STATEMENT_BYTES_MAX: usize = 4096;

/// How many further lines a sentence may take.
const CONTINUATION_LINES_MAX: usize = 6;

/// Something that the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// The line that it begins in, counted from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// What a log says, in order.
#[derive(Debug, Default)]
pub(super) struct Statements {
    pub(super) all: Vec<Statement>,
    /// The number of lines.
    pub(super) lines: usize,
}

static ESCAPES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])").ok());

/// What container builders and CI write before each line.
static PREFIX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(?:#\d+ \d+\.\d+ |\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*Z? |\[\d\d:\d\d:\d\d\] |[│|╰─>×]+ )").ok()
});

/// A line whose sentence goes on in the next.
static CONTINUES: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(concat!(
        r"^CMake (?:Error|Warning)|(?:[Ee]rror|ERROR|Exception|fatal|Fatal|FATAL)(?: \(message\))?:?\s*$",
        r"|\[[^\]]{12,}$|\b(?:required|missing|following)\b[^\n]{0,60}:\s*$",
        r"|(?:Package requirements|No package|package configuration file provided by|Could not find|Could NOT find)\b[^.]*$",
        r"|\b(?:find|locate|install|the|a|an|or|and|of|for|please|required|in|that|by)\s*$",
    ))
});

impl Statements {
    /// Reads a log. Bytes that are no UTF-8 are replaced.
    pub(super) fn read(log: &[u8]) -> Self {
        let start = log.len().saturating_sub(LOG_BYTES_MAX);
        let text = String::from_utf8_lossy(&log[start..]);
        let first = log[..start].iter().filter(|byte| **byte == b'\n').count();
        let text = match &*ESCAPES {
            Some(escapes) if text.contains('\x1b') => Cow::Owned(escapes.replace_all(&text, "").into_owned()),
            _ => text,
        };
        // A carriage return begins a line anew: progress bars end that way, and so does Windows.
        let lines: Vec<String> = text.lines().map(clean).collect();
        let mut all = Vec::new();
        for (position, line) in lines.iter().enumerate() {
            let number = first + position + 1;
            for part in unescaped(line) {
                push(&mut all, number, part.trim());
            }
            if CONTINUES.is_match(cut(line)) {
                push(&mut all, number, &joined(&lines[position..]));
            }
        }
        Self { all, lines: first + lines.len() }
    }
}

fn clean(line: &str) -> String {
    let line = line.trim_end().rsplit('\r').next().unwrap_or_default().trim_start();
    let is_prefixed = line.starts_with(['#', '[', '│', '|', '╰', '─', '>', '×'])
        || line.starts_with(|first: char| first.is_ascii_digit());
    let line = match &*PREFIX {
        Some(prefix) if is_prefixed => prefix.replace(line, ""),
        _ => Cow::Borrowed(line),
    };
    // Compilers quote the way their locale has it.
    if line.is_ascii() && !line.contains('`') {
        return line.trim().to_owned();
    }
    line.trim().replace(['‘', '’', '«', '»', '`', '“', '”', '„'], "'").replace('\u{a0}', " ")
}

/// The lines in a printed Python value (`b"…\nPackage glib-2.0 was not found…"`).
fn unescaped(line: &str) -> Vec<Cow<'_, str>> {
    if !line.contains("\\n") {
        return vec![Cow::Borrowed(line)];
    }
    line.split("\\r\\n")
        .flat_map(|part| part.split("\\n"))
        .map(|part| Cow::Owned(part.replace("\\'", "'").replace("\\\"", "\"").replace("\\t", " ")))
        .collect()
}

/// The lines of a sentence as one.
fn joined(lines: &[String]) -> String {
    let mut text = lines[0].clone();
    for line in lines[1..].iter().filter(|line| !line.is_empty()).take(CONTINUATION_LINES_MAX) {
        let is_new = ["CMake ", "--", "error:", "Traceback", "ERROR:", "configure:", "checking "];
        if is_new.iter().any(|word| line.starts_with(word)) || text.len() + line.len() > STATEMENT_BYTES_MAX {
            break;
        }
        text.push(' ');
        text.push_str(line);
    }
    text
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(STATEMENT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn push(all: &mut Vec<Statement>, line: usize, text: &str) {
    let text = cut(text);
    if !text.is_empty() {
        all.push(Statement { line, text: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &str) -> Vec<String> {
        Statements::read(log.as_bytes()).all.into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn noise_around_lines_goes() {
        assert_eq!(texts("\x1b[31mfatal error: a.h\x1b[0m\r\n"), ["fatal error: a.h"]);
        assert_eq!(texts("#12 3.456   a ‘b’\n"), ["a 'b'"]);
        assert_eq!(texts("10%\r20%\r30% done"), ["30% done"]);
    }

    #[test]
    fn printed_values_are_taken_apart() {
        assert_eq!(
            texts(r#"b"make: x\nPackage 'a' was not found\n""#),
            ["b\"make: x", "Package 'a' was not found", "\""]
        );
    }

    #[test]
    fn sentences_are_put_together() {
        let log = "CMake Error at x:3 (message):\n  Could NOT find\n  BZip2\n\n-- next\n";
        assert!(texts(log).contains(&"CMake Error at x:3 (message): Could NOT find BZip2".to_owned()));
    }

    #[test]
    fn any_bytes_are_read() {
        assert!(ESCAPES.is_some() && PREFIX.is_some());
        let statements = Statements::read(b"\xff\xfe\n\n\x00\x1b[\n");
        assert_eq!(statements.lines, 3);
    }
}
