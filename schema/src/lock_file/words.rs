//! Option words of a line, split and unquoted as a POSIX shell would (pip uses Python's `shlex`).

use std::borrow::Cow;

/// Splits `text` into words.
///
/// # Errors
/// An open quote or a `\` at the end, as a sentence.
pub(super) fn split_words(text: &str) -> Result<Vec<Cow<'_, str>>, String> {
    if memchr::memchr3(b'\'', b'"', b'\\', text.as_bytes()).is_none() {
        return Ok(text.split_whitespace().map(Cow::Borrowed).collect());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if character.is_whitespace() => words.extend(word.take().map(Cow::Owned)),
            '\'' => quoted(&mut characters, '\'', word.get_or_insert_default())?,
            '"' => quoted(&mut characters, '"', word.get_or_insert_default())?,
            '\\' => {
                let escaped = characters.next().ok_or("it ends with a `\\`")?;
                word.get_or_insert_default().push(escaped);
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word.map(Cow::Owned));
    Ok(words)
}

fn quoted(characters: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), String> {
    while let Some(character) = characters.next() {
        match character {
            _ if character == quote => return Ok(()),
            '\\' if quote == '"' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            _ => word.push(character),
        }
    }
    Err(format!("a {quote} is never closed (a ` #` inside quotes begins a comment, as in pip)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unquoted_as_by_a_shell() {
        for (text, words) in [
            ("", &[] as &[&str]),
            ("  -f  x ", &["-f", "x"]),
            ("-f './my dir'", &["-f", "./my dir"]),
            ("--find-links=\"./my dir\"", &["--find-links=./my dir"]),
            (r#"a\ b "c\"d\e" 'f\g'"#, &["a b", "c\"d\\e", "f\\g"]),
            ("a'b'\"c\"", &["abc"]),
            ("''", &[""]),
        ] {
            assert_eq!(split_words(text).expect(text), words, "{text}");
        }
        for bad in ["'", "\"", "a\\", "\"a\\"] {
            assert!(split_words(bad).is_err(), "{bad}");
        }
    }
}
