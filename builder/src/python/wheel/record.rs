//! `RECORD`: the list of a wheel's files with their digests.

use std::collections::HashMap;

use data_encoding::{BASE64URL_NOPAD, Encoding};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Longest `RECORD` that is read, in bytes: 400,000 files with paths of 250.
pub const RECORD_BYTES_MAX: u64 = 128 << 20;

/// Why `RECORD` is refused, or what of the wheel contradicts it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not UTF-8.
    #[error("`RECORD` is not UTF-8")]
    Encoding,
    /// A line without the three fields.
    #[error("line {line} of `RECORD` is not `path,digest,size`")]
    Line {
        /// The number of the line, from 1.
        line: usize,
    },
    /// A digest that proves nothing, or none of the known ones.
    #[error("`RECORD` lists `{path}` with a digest that is not SHA-256, SHA-384 or SHA-512")]
    Algorithm {
        /// The file.
        path: String,
    },
    /// Listed twice with different digests.
    #[error("`RECORD` lists `{path}` twice with different digests")]
    Contradiction {
        /// The file.
        path: String,
    },
    /// Listed, but not in the wheel.
    #[error("`RECORD` lists `{path}`, which is not in the wheel")]
    Missing {
        /// The file.
        path: String,
    },
    /// In the wheel, but not listed, and the caller asked for strictness.
    #[error("`RECORD` does not list `{path}`")]
    Unlisted {
        /// The file.
        path: String,
    },
    /// The content is not what `RECORD` says.
    #[error("`{path}` does not have the content that `RECORD` says")]
    Mismatch {
        /// The file.
        path: String,
    },
}

/// The digest of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordDigest {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

/// What a line says about a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecordLine {
    pub(crate) digest: Option<RecordDigest>,
    pub(crate) size: Option<u64>,
}

/// Reads `content`; paths are those of the archive.
///
/// Tolerated, because published wheels have it: Windows line ends and separators, a leading `./`, base64 padding,
/// lines that are there twice, and lines for folders (which are left out).
pub(crate) fn parse_record(content: &[u8]) -> Result<HashMap<String, RecordLine>, RecordError> {
    let text = std::str::from_utf8(content).map_err(|_| RecordError::Encoding)?;
    let mut lines = HashMap::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() {
            continue;
        }
        let malformed = || RecordError::Line { line: index + 1 };
        let fields = split_fields(line).ok_or_else(malformed)?;
        let [path, digest, size] = fields.as_slice() else { return Err(malformed()) };
        let path = path.replace('\\', "/");
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if path.is_empty() {
            return Err(malformed());
        }
        if path.ends_with('/') {
            continue;
        }
        let size = match size.trim() {
            "" => None,
            size => Some(size.parse().map_err(|_| malformed())?),
        };
        let digest = parse_digest(digest.trim()).map_err(|()| RecordError::Algorithm { path: path.clone() })?;
        let line = RecordLine { digest, size };
        if lines.get(&path).is_some_and(|other| *other != line) {
            return Err(RecordError::Contradiction { path });
        }
        lines.insert(path, line);
    }
    Ok(lines)
}

/// The fields of a line of CSV; `None` when a quote is not closed.
fn split_fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            character => field.push(character),
        }
    }
    (!quoted).then_some(fields)
}

fn parse_digest(text: &str) -> Result<Option<RecordDigest>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let (algorithm, value) = text.split_once('=').ok_or(())?;
    let encoding: Encoding = BASE64URL_NOPAD;
    let bytes = encoding.decode(value.trim_end_matches('=').as_bytes()).map_err(|_| ())?;
    let digest = match algorithm.to_ascii_lowercase().as_str() {
        "sha256" => RecordDigest::Sha256(bytes.try_into().map_err(|_| ())?),
        "sha384" => RecordDigest::Sha384(bytes.try_into().map_err(|_| ())?),
        "sha512" => RecordDigest::Sha512(bytes.try_into().map_err(|_| ())?),
        _ => return Err(()),
    };
    Ok(Some(digest))
}

/// Compares a file with its line while it is read.
pub(crate) struct RecordCheck<'a> {
    line: Option<&'a RecordLine>,
    hasher: Hasher,
    size: u64,
}

enum Hasher {
    None,
    Sha256(Box<Sha256>),
    Sha384(Box<Sha384>),
    Sha512(Box<Sha512>),
}

impl<'a> RecordCheck<'a> {
    /// A check against `line`; without one every content passes.
    pub(crate) fn new(line: Option<&'a RecordLine>) -> Self {
        let hasher = match line.and_then(|line| line.digest.as_ref()) {
            None => Hasher::None,
            Some(RecordDigest::Sha256(_)) => Hasher::Sha256(Box::default()),
            Some(RecordDigest::Sha384(_)) => Hasher::Sha384(Box::default()),
            Some(RecordDigest::Sha512(_)) => Hasher::Sha512(Box::default()),
        };
        Self { line, hasher, size: 0 }
    }

    /// Takes the next bytes of the file.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        match &mut self.hasher {
            Hasher::None => {}
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha384(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Whether the file was what its line says.
    pub(crate) fn finish(self) -> bool {
        let Some(line) = self.line else { return true };
        let digest = match self.hasher {
            Hasher::None => None,
            Hasher::Sha256(hasher) => Some(RecordDigest::Sha256(hasher.finalize().into())),
            Hasher::Sha384(hasher) => Some(RecordDigest::Sha384(hasher.finalize().into())),
            Hasher::Sha512(hasher) => Some(RecordDigest::Sha512(hasher.finalize().into())),
        };
        digest == line.digest && line.size.is_none_or(|size| size == self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn lines_of_every_published_kind_are_read() {
        let text = format!(
            "\u{feff}a.py,{EMPTY},0\r\n\"b,\"\"c\"\".py\",{EMPTY}=,\n./d\\e.py,{EMPTY},0\n\nf/,,\nRECORD,,\na.py,{EMPTY},0\n"
        );
        let lines = parse_record(text.as_bytes()).expect("a record");
        let mut paths: Vec<&str> = lines.keys().map(String::as_str).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["RECORD", "a.py", "b,\"c\".py", "d/e.py"]);
        let mut check = RecordCheck::new(lines.get("a.py"));
        check.update(b"");
        assert!(check.finish());
        let mut check = RecordCheck::new(lines.get("a.py"));
        check.update(b"x");
        assert!(!check.finish());
    }

    #[test]
    fn weak_digests_and_broken_lines_are_refused() {
        for bad in [
            "a,md5=1B2M2Y8AsgTpgAmY7PhCfg,0",
            "a,sha1=2jmj7l5rSw0yVb_vlWAYkK_YBwk,0",
            "a,sha256=AAAA,0",
            "a,b",
            "a",
            "\"a,,",
            ",,",
            "a,,x",
            &format!("a,{EMPTY},0\na,{EMPTY},1"),
        ] {
            assert!(parse_record(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(parse_record(b"\xff,,"), Err(RecordError::Encoding));
    }

    #[test]
    fn stronger_digests_are_checked() {
        for (name, value) in [
            ("sha384", "OLBgp1GsljhM2TJ-sbHjaiH9txEUvgdDTAzHv2P24donTt6_529l-9Ua0vFImLlb"),
            ("sha512", "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg_SpIdNs6c5H0NE8XYXysP-DGNKHfuwvY7kxvUdBeoGlODJ6-SfaPg"),
        ] {
            let lines = parse_record(format!("a,{name}={value},").as_bytes()).expect("a record");
            assert!(RecordCheck::new(lines.get("a")).finish(), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(content in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse_record(&content);
        }
    }
}
