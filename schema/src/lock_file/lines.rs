//! Physical lines → logical lines, by the rules of pip's reader: `\` joins, a comment line ends what is joined.

use super::LockSyntaxError;

/// Longest logical line, in bytes; the longest seen (one pin with 1,100 hashes) has 90 kB.
pub const LOGICAL_LINE_BYTES_MAX: usize = 1 << 20;

/// A line after joining and without its comment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogicalLine {
    /// The first of its physical lines, from 1.
    pub(super) number: usize,
    pub(super) content: LineContent,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineContent {
    /// A requirement or options; not empty.
    Text(String),
    /// What follows `#:` on a comment line, trimmed.
    Directive(String),
}

/// Splits a lock into logical lines.
///
/// # Errors
/// A character that no lock may hold, a line beyond [`LOGICAL_LINE_BYTES_MAX`], or a `\` whose meaning is unclear.
pub(super) fn logical_lines(text: &str) -> Result<Vec<LogicalLine>, LockSyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = if text.contains('\r') {
        std::borrow::Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        std::borrow::Cow::Borrowed(text)
    };
    let mut lines = Vec::new();
    let mut joined: Option<(usize, String)> = None;
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        check_characters(number, line)?;
        if line.trim_start().starts_with('#') {
            flush(&mut joined, &mut lines);
            if let Some(directive) = line.trim_start().strip_prefix("#:") {
                let content = LineContent::Directive(directive.trim().to_owned());
                lines.push(LogicalLine { number, content });
            }
            continue;
        }
        let continues = line.ends_with('\\');
        check_continuation(number, line, continues)?;
        let (_, pending) = joined.get_or_insert_with(|| (number, String::new()));
        // As in pip, which takes all of them away once the last one continues the line.
        pending.push_str(if continues { line.trim_matches('\\') } else { line });
        if pending.len() > LOGICAL_LINE_BYTES_MAX {
            let reason = format!("the line is longer than {LOGICAL_LINE_BYTES_MAX} bytes");
            return Err(LockSyntaxError { line: number, reason });
        }
        if !continues {
            flush(&mut joined, &mut lines);
        }
    }
    flush(&mut joined, &mut lines);
    Ok(lines)
}

fn flush(joined: &mut Option<(usize, String)>, lines: &mut Vec<LogicalLine>) {
    if let Some((number, text)) = joined.take() {
        let text = text[..comment_start(&text).unwrap_or(text.len())].trim();
        if !text.is_empty() {
            lines.push(LogicalLine { number, content: LineContent::Text(text.to_owned()) });
        }
    }
}

/// Where the comment begins: a `#` at the start or after white space, as in pip, quotes or not.
fn comment_start(line: &str) -> Option<usize> {
    memchr::memchr_iter(b'#', line.as_bytes()).find(|index| begins_word(line, *index))
}

/// Whether there is white space, or nothing, before the (ASCII) character at `index`.
pub(super) fn begins_word(line: &str, index: usize) -> bool {
    line[..index].chars().next_back().is_none_or(char::is_whitespace)
}

/// Python splits lines at more characters than an editor shows: none of those may hide a requirement.
fn check_characters(number: usize, line: &str) -> Result<(), LockSyntaxError> {
    // Nearly all lines; this loop without a branch is many times faster than the search.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') | (byte == b'\t');
    if line.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        return Ok(());
    }
    let forbidden = |character: &char| {
        (character.is_control() && *character != '\t') || matches!(character, '\u{2028}' | '\u{2029}')
    };
    match line.chars().find(forbidden) {
        None => Ok(()),
        Some(character) => {
            let reason = format!("the control character U+{:04X} may not be in a lock", u32::from(character));
            Err(LockSyntaxError { line: number, reason })
        }
    }
}

fn check_continuation(number: usize, line: &str, continues: bool) -> Result<(), LockSyntaxError> {
    if !line.trim_end().ends_with('\\') {
        return Ok(());
    }
    let reason = match (continues, comment_start(line).is_some()) {
        (true, false) | (false, true) => return Ok(()),
        (true, true) => "the comment ends with `\\`, which makes the next line a part of it; remove the `\\`",
        (false, false) => "there is white space after the `\\` at the end of the line; remove it",
    };
    Err(LockSyntaxError { line: number, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lock: &str) -> Vec<(usize, String)> {
        logical_lines(lock)
            .expect("good lines")
            .into_iter()
            .map(|line| match line.content {
                LineContent::Text(text) => (line.number, text),
                LineContent::Directive(text) => (line.number, format!("#:{text}")),
            })
            .collect()
    }

    #[test]
    fn lines_join_as_in_pip() {
        for (lock, expected) in [
            (
                "a==1 \\\n    --hash=x \\\n    --hash=y\n    # via b\nb==1",
                vec![(1, "a==1     --hash=x     --hash=y"), (5, "b==1")],
            ),
            ("\u{feff}a==1\r\n\r\nb==2\r\n", vec![(1, "a==1"), (3, "b==2")]),
            ("a==1\rb==2", vec![(1, "a==1"), (2, "b==2")]),
            ("a==1 \\\n  # ends it\n--hash=x", vec![(1, "a==1"), (3, "--hash=x")]),
            ("a==1 # why\nb @ https://h/x#sha256=1\n#c\n", vec![(1, "a==1"), (2, "b @ https://h/x#sha256=1")]),
            ("a==\\\n1", vec![(1, "a==1")]),
            ("a==1 \\", vec![(1, "a==1")]),
            ("#: build a==1\n  #:   b==2 \\\n", vec![(1, "#:build a==1"), (2, "#:b==2 \\")]),
            ("", vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(line, text)| (line, text.to_owned())).collect();
            assert_eq!(texts(lock), expected, "{lock:?}");
        }
    }

    #[test]
    fn what_could_hide_a_line_is_refused() {
        for (lock, line) in [
            ("a==1\n\0", 2),
            ("a==1 # x\u{85}b==2", 1),
            ("# x\u{2028}b==2", 1),
            ("a==1\u{c}", 1),
            ("a==1 # x \\\nb==2", 1),
            ("a==1 \\ \n --hash=x", 1),
        ] {
            assert_eq!(logical_lines(lock).expect_err(lock).line, line, "{lock:?}");
        }
        let long = "a".repeat(LOGICAL_LINE_BYTES_MAX + 1);
        assert!(logical_lines(&long).is_err());
    }
}
