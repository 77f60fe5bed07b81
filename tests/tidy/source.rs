//! The files of the repository, and just enough of a Rust lexer to count lines of functions.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One tracked text file.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Path relative to the repository's root, with `/`.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is test code: a test target, or a module that only `cfg(test)` compiles.
    pub(crate) fn is_test_code(&self) -> bool {
        let is_target =
            ["tests/integration/", "tests/tidy/", "tests/benches/"].iter().any(|p| self.path.starts_with(p));
        is_target || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The text before the first `#[cfg(test)]` module.
    pub(crate) fn net_text(&self) -> &str {
        let mut offset = 0;
        let mut previous_is_test = false;
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            let trimmed = line.trim_start();
            if previous_is_test && trimmed.starts_with("mod ") && trimmed.contains('{') {
                return &self.text[..start];
            }
            if trimmed.starts_with("#[cfg(test)]") {
                previous_is_test = true;
                start = offset;
            } else if !trimmed.starts_with("#[") {
                previous_is_test = false;
            }
            offset += line.len();
        }
        &self.text
    }

    /// What follows [`SourceFile::net_text`]; everything for files that are test code.
    pub(crate) fn test_text(&self) -> &str {
        if self.is_test_code() { &self.text } else { &self.text[self.net_text().len()..] }
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies below the root").to_owned()
}

/// All tracked files that are text, plus new files that git does not ignore.
pub(crate) fn files() -> Vec<SourceFile> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "the tests need the repository: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let read = |path: &str| {
        let text = std::fs::read(root().join(path)).ok().and_then(|bytes| String::from_utf8(bytes).ok())?;
        Some(SourceFile { path: path.to_owned(), text })
    };
    let files: Vec<SourceFile> = names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect();
    assert!(files.len() > 20, "git knows only {} files", files.len());
    files
}

/// Rust text with comments, strings and character literals blanked out; line ends stay.
pub(crate) fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(text, at);
        if end > at {
            code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        } else {
            code.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// The end of the comment or literal that starts at `at`; `at` itself when none does.
fn skipped(text: &str, at: usize) -> usize {
    let rest = &text.as_bytes()[at..];
    let until = |needle: &str, from: usize| {
        let haystack = &text.as_bytes()[at + from..];
        let found = haystack.windows(needle.len()).position(|window| window == needle.as_bytes());
        found.map_or(text.len(), |found| at + from + found + needle.len())
    };
    let is_word = at > 0 && (text.as_bytes()[at - 1].is_ascii_alphanumeric() || text.as_bytes()[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => until("\n", 0) - 1,
        [b'/', b'*', ..] => until("*/", 2),
        [b'"', ..] => at + quoted(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !is_word => raw(rest).map_or(at, |closing| until(&closing, closing.len() + 1)),
        [b'\'', b'\\', ..] => at + quoted(rest, b'\''),
        // A character, not a lifetime: the quote closes after one character.
        [b'\'', ..] => match text.get(at + 1..).and_then(|rest| rest.chars().next()) {
            Some(char) if text.as_bytes().get(at + 1 + char.len_utf8()) == Some(&b'\'') => at + 2 + char.len_utf8(),
            _ => at,
        },
        _ => at,
    }
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// `"##` for a raw string that starts with `r##"`.
fn raw(rest: &[u8]) -> Option<String> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    (rest.get(1 + hashes) == Some(&b'"')).then(|| format!("\"{}", "#".repeat(hashes)))
}

/// Name, first line (from 1) and number of lines of each function in blanked-out code, from `fn` to the closing brace.
pub(crate) fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        if start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || bytes[start - 1] == b'_') {
            continue;
        }
        let name: String = code[start + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // Types such as `fn (A) -> B` have no name.
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&bytes[start..]) {
            let first = code[..start].matches('\n').count() + 1;
            found.push((name, first, code[start..start + end].matches('\n').count() + 1));
        }
    }
    found
}

fn body_end(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut braces) = (0i32, 0i32);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn the_lexer_sees_functions_and_nothing_else() {
    let text = "/// fn doc() {\nfn a<'x>(c: &'x str) -> [u8; 3] {\n  let b = \"} fn no() {\"; let c = '}'; let d = r#\"}\"#;\n}\ntrait T { fn f(&self); }\n";
    let found = functions(&code_only(text));
    assert_eq!(found, vec![("a".to_owned(), 2, 3)]);
}
