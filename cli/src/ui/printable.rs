//! What a build printed, made fit for a terminal: it must not move the cursor, set the title or hide lines.

use std::io::{self, Read, Write};

/// Size of the pieces that are read and filtered.
const PIECE_BYTES: usize = 16 * 1024;

/// Where in an escape sequence (ECMA-48) the text is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// In none.
    #[default]
    Text,
    /// Behind ESC.
    Escape,
    /// In a control sequence: `ESC [ … letter`.
    Sequence,
    /// In a string for the terminal (title, clipboard): `ESC ] … BEL` or `ESC ] … ESC \`.
    String,
}

/// Takes escape sequences and control characters out of a text that comes in pieces. Line ends and tabs stay; a carriage
/// return inside a line (a progress bar) becomes a line end. A line end also ends every sequence: one that is never
/// closed hides the rest of its line, not the rest of the log.
#[derive(Debug, Default)]
struct Filter {
    state: State,
    returned: bool,
    /// The beginning of a character that the last piece cut.
    cut: Vec<u8>,
}

impl Filter {
    /// What of the next piece can be shown.
    fn piece(&mut self, bytes: &[u8]) -> String {
        let mut whole = std::mem::take(&mut self.cut);
        whole.extend_from_slice(bytes);
        let mut shown = String::with_capacity(whole.len());
        let mut rest = whole.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.text(text, &mut shown);
                    return shown;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.text(&String::from_utf8_lossy(good), &mut shown);
                    let Some(length) = error.error_len() else {
                        self.cut = bad.to_vec();
                        return shown;
                    };
                    self.character(char::REPLACEMENT_CHARACTER, &mut shown);
                    rest = &bad[length..];
                }
            }
        }
    }

    fn text(&mut self, text: &str, shown: &mut String) {
        for character in text.chars() {
            self.character(character, shown);
        }
    }

    fn character(&mut self, character: char, shown: &mut String) {
        if std::mem::take(&mut self.returned) && !['\r', '\n'].contains(&character) {
            shown.push('\n');
        }
        self.state = match (self.state, character) {
            (_, '\n') => {
                shown.push('\n');
                State::Text
            }
            (_, '\r') => {
                self.returned = true;
                State::Text
            }
            (_, '\u{1b}') => State::Escape,
            (State::Escape, '[') | (State::Text, '\u{9b}') => State::Sequence,
            (State::Escape, ']' | 'P' | 'X' | '^' | '_')
            | (State::Text, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => State::String,
            (State::Escape, ' '..='/') => State::Escape,
            (State::Sequence, ' '..='?') => State::Sequence,
            (State::String, '\u{7}' | '\u{9c}') | (State::Escape, '0'..='~') | (State::Sequence, '@'..='~') => {
                State::Text
            }
            (State::String, _) => State::String,
            (_, other) => {
                if other == '\t' || !other.is_control() {
                    shown.push(other);
                }
                State::Text
            }
        };
    }
}

/// Copies all of `reader`, filtered for a terminal; bytes that are no UTF-8 become replacement characters.
///
/// # Errors
/// Those of the reader and the writer.
pub(super) fn copy(reader: &mut dyn Read, writer: &mut dyn Write) -> io::Result<()> {
    let mut filter = Filter::default();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return writer.flush(),
            Ok(length) => writer.write_all(filter.piece(&buffer[..length]).as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One line, filtered for a terminal.
pub(super) fn line(text: &str) -> String {
    Filter::default().piece(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        for (printed, shown) in [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\u{1b}[31mred\u{1b}[0m\n", "red\n"),
            ("\u{1b}[2J\u{1b}[1;1Hhome", "home"),
            ("a\u{1b}]0;title\u{7}b\u{1b}]52;c;eA==\u{1b}\\c", "abc"),
            ("a\u{1b}(Bb\u{1b}7c\u{1b}cd", "abcd"),
            ("a\u{9b}31mb\u{9d}title\u{9c}c\u{85}d", "abcd"),
            ("bell\u{7} back\u{8} null\u{0} delete\u{7f}", "bell back null delete"),
            // Progress bars and Windows line ends.
            (" 10%\r 20%\r\nnext\r\r\n", " 10%\n 20%\nnext\n"),
            // What is never closed ends with its line.
            ("\u{1b}]0;never closed\nseen\n\u{1b}[12\nseen\n\u{1b}\nseen", "\nseen\n\nseen\n\nseen"),
            ("\u{1b}[3é shown", "é shown"),
        ] {
            assert_eq!(line(printed), shown, "{printed:?}");
        }
    }

    /// However the text is cut, the result is the same.
    #[test]
    fn pieces_change_nothing() {
        let printed = "é\u{1b}[1;31m→\u{1b}]0;t\u{1b}\\ü\r\n\u{9b}1mä".as_bytes();
        for cut in 0..=printed.len() {
            let (first, second) = printed.split_at(cut);
            let mut written = Vec::new();
            copy(&mut first.chain(second), &mut written).expect("memory");
            assert_eq!(String::from_utf8(written).expect("text"), "é→ü\nä", "cut at {cut}");
        }
        assert_eq!(Filter::default().piece(b"a\xffb\xc3("), "a\u{fffd}b\u{fffd}(");
    }
}
