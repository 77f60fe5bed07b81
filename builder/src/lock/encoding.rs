//! Bytes of a file → text, by the rules of pip's reader: a byte-order mark, else the encoding that one of the first two
//! lines declares (PEP 263), else UTF-8. What the machine's locale says never counts: a lock means the same everywhere.

use std::path::Path;

use super::error::LockError;

/// Python's names of the encoding whose bytes are the first 256 characters. The web's standard, which other names are
/// looked up in, takes Windows' code page for it.
const LATIN_1: [&str; 7] = ["latin-1", "latin1", "latin", "iso-8859-1", "iso8859-1", "l1", "cp819"];

/// Reads a file of requirements.
///
/// # Errors
/// [`LockError::Encoding`], [`LockError::UnknownEncoding`].
pub(crate) fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, LockError> {
    let undecodable = || LockError::Encoding { path: path.to_owned(), line: 1 };
    // The mark of UTF-32 begins with that of UTF-16.
    match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, ..] => return decode_utf8(path, bytes),
        [0xff, 0xfe, 0, 0, rest @ ..] => return utf32(rest, u32::from_le_bytes).ok_or_else(undecodable),
        [0, 0, 0xfe, 0xff, rest @ ..] => return utf32(rest, u32::from_be_bytes).ok_or_else(undecodable),
        // What `pip freeze > requirements.txt` writes in PowerShell.
        [0xff, 0xfe, rest @ ..] => return utf16(rest, u16::from_le_bytes).ok_or_else(undecodable),
        [0xfe, 0xff, rest @ ..] => return utf16(rest, u16::from_be_bytes).ok_or_else(undecodable),
        _ => {}
    }
    let Some(name) = declared(&bytes) else { return decode_utf8(path, bytes) };
    let python = name.to_ascii_lowercase().replace('_', "-");
    if LATIN_1.contains(&python.as_str()) {
        return Ok(bytes.into_iter().map(char::from).collect());
    }
    if ["ascii", "us-ascii"].contains(&python.as_str()) {
        return if bytes.is_ascii() { decode_utf8(path, bytes) } else { Err(undecodable()) };
    }
    let label = python.strip_prefix("cp125").map_or_else(|| python.clone(), |page| format!("windows-125{page}"));
    let encoding = encoding_rs::Encoding::for_label(label.as_bytes())
        .ok_or_else(|| LockError::UnknownEncoding { path: path.to_owned(), name: name.clone() })?;
    if encoding == encoding_rs::UTF_8 {
        return decode_utf8(path, bytes);
    }
    let text = encoding.decode_without_bom_handling_and_without_replacement(&bytes).ok_or_else(undecodable)?;
    Ok(text.into_owned())
}

/// Reads a file that has to be UTF-8, with a byte-order mark or without.
///
/// # Errors
/// [`LockError::Encoding`].
pub(super) fn decode_utf8(path: &Path, bytes: Vec<u8>) -> Result<String, LockError> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        LockError::Encoding { path: path.to_owned(), line }
    })
}

/// The encoding that a comment in one of the first two lines names: `# -*- coding: latin-1 -*-`.
fn declared(bytes: &[u8]) -> Option<String> {
    let mut comments = bytes.split(|byte| *byte == b'\n').take(2).filter(|line| line.starts_with(b"#"));
    comments.find_map(declared_by)
}

/// What follows the first `coding:` or `coding=` that a name follows.
fn declared_by(comment: &[u8]) -> Option<String> {
    const WORD: &[u8] = b"coding";
    let starts = memchr::memmem::find_iter(comment, WORD).map(|start| start + WORD.len());
    starts.filter(|start| matches!(comment.get(*start), Some(b':' | b'='))).find_map(|start| {
        let name: Vec<u8> = comment[start + 1..]
            .iter()
            .copied()
            .skip_while(u8::is_ascii_whitespace)
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
            .collect();
        String::from_utf8(name).ok().filter(|name| !name.is_empty())
    })
}

fn utf16(bytes: &[u8], order: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    char::decode_utf16(units.iter().map(|unit| order(*unit))).collect::<Result<_, _>>().ok()
}

fn utf32(bytes: &[u8], order: fn([u8; 4]) -> u32) -> Option<String> {
    let (units, []) = bytes.as_chunks::<4>() else { return None };
    units.iter().map(|unit| char::from_u32(order(*unit))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_decoded_as_by_pip() {
        let decoded = |bytes: &[u8]| decode(Path::new("r"), bytes.to_vec()).ok();
        for (bytes, text) in [
            (&b"# coding: latin-1\n# \xe9\x80"[..], Some("# coding: latin-1\n# \u{e9}\u{80}")),
            (b"\n# -*- coding: ISO-8859-1 -*-\n# \xe9", Some("\n# -*- coding: ISO-8859-1 -*-\n# \u{e9}")),
            (b"# vim: fileencoding=cp1252\n# \x80", Some("# vim: fileencoding=cp1252\n# \u{20ac}")),
            (b"# coding: koi8-r\n# \xc1", Some("# coding: koi8-r\n# \u{430}")),
            (b"# coding: utf_8\n# \xc3\xa9", Some("# coding: utf_8\n# \u{e9}")),
            (b"# coding: ascii\n# \xe9", None),
            (b"# coding: no-such-thing\n", None),
            (b"a\n\n# coding: latin-1\n# \xe9", None),
            (b"a # coding: latin-1\n# \xe9", None),
            (b"\xef\xbb\xbfa", Some("\u{feff}a")),
            (b"\xff\xfea\0", Some("a")),
            (b"\xfe\xff\0a", Some("a")),
            (b"\xff\xfe\0\0a\0\0\0", Some("a")),
            (b"\0\0\xfe\xff\0\0\0a", Some("a")),
            (b"\xff\xfea", None),
            (b"\xff\xfe\0\0\0\xd8\0\0", None),
        ] {
            assert_eq!(decoded(bytes).as_deref(), text, "{bytes:?}");
        }
    }
}
