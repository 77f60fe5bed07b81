//! Core metadata (`METADATA`, `PKG-INFO`) and the `WHEEL` file: header lines, read no further than needed.

use std::str::FromStr;

use pip_accel_schema::name::{PackageName, PackageVersion};
use uv_pep440::Version;

/// Longest metadata file that is read, in bytes. It holds the project's README: the longest known has about 1 MiB.
pub const METADATA_BYTES_MAX: u64 = 16 << 20;

/// Most header lines that are looked at; packages with thousands of extras have about 5,000.
const HEADERS_BYTES_MAX: usize = 4 << 20;

/// The part of a project's metadata that decides what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreMetadata {
    /// The project's name as written.
    pub name: PackageName,
    /// The version as written.
    pub version: PackageVersion,
    /// `Requires-Python`, as written.
    pub requires_python: Option<String>,
    /// `Requires-Dist` lines, as written.
    pub requires_dist: Vec<String>,
}

/// Why a metadata file is refused.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The header lines can't be read.
    #[error("`{file}` has no readable header lines")]
    Syntax {
        /// The file.
        file: &'static str,
        /// The parser's reason.
        source: mailparse::MailParseError,
    },
    /// A header that must be there is missing, or is there twice with different values.
    #[error("`{file}` has {count} `{header}` headers instead of one")]
    Header {
        /// The file.
        file: &'static str,
        /// The header.
        header: &'static str,
        /// How many there are.
        count: usize,
    },
    /// The name or the version breaks its own rules.
    #[error("`{file}` names no project")]
    Value {
        /// The file.
        file: &'static str,
        /// What is wrong.
        source: pip_accel_schema::name::ParseNameError,
    },
    /// `Wheel-Version` is no version, or of a format that is not understood.
    #[error("the wheel has format `{found}`; formats 1.x are understood")]
    WheelVersion {
        /// The text of the header.
        found: String,
    },
}

struct Headers<'a> {
    file: &'static str,
    headers: Vec<mailparse::MailHeader<'a>>,
}

impl<'a> Headers<'a> {
    fn parse(file: &'static str, content: &'a [u8]) -> Result<Self, MetadataError> {
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let content = &content[..content.len().min(HEADERS_BYTES_MAX)];
        let (headers, _) =
            mailparse::parse_headers(content).map_err(|source| MetadataError::Syntax { file, source })?;
        Ok(Self { file, headers })
    }

    fn all(&self, name: &str) -> Vec<String> {
        let matching = self.headers.iter().filter(|header| header.get_key_ref().eq_ignore_ascii_case(name));
        // Metadata is UTF-8 by its standard; the words of RFC 2047 mean nothing in it.
        matching.map(|header| String::from_utf8_lossy(header.get_value_raw()).trim().to_owned()).collect()
    }

    fn one(&self, name: &'static str) -> Result<String, MetadataError> {
        let mut values = self.all(name);
        let count = values.len();
        values.dedup();
        match values.pop() {
            Some(value) if values.is_empty() => Ok(value),
            _ => Err(MetadataError::Header { file: self.file, header: name, count }),
        }
    }
}

impl CoreMetadata {
    /// Reads `content`, the bytes of the file `file` (`METADATA` or `PKG-INFO`).
    ///
    /// # Errors
    /// When name or version are missing, repeated or not allowed.
    pub fn parse(file: &'static str, content: &[u8]) -> Result<Self, MetadataError> {
        let headers = Headers::parse(file, content)?;
        let value = |source| MetadataError::Value { file, source };
        Ok(Self {
            // Old tools wrote names with blanks, which files of that project have as `-`.
            name: headers.one("Name")?.replace(' ', "-").parse().map_err(value)?,
            version: headers.one("Version")?.replace(' ', "-").parse().map_err(value)?,
            requires_python: headers.all("Requires-Python").into_iter().next(),
            requires_dist: headers.all("Requires-Dist"),
        })
    }
}

/// What the `WHEEL` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelMetadata {
    /// Minor number of `Wheel-Version: 1.<minor>`.
    pub format_minor: u32,
    /// `Root-Is-Purelib`.
    pub root_is_purelib: bool,
}

impl WheelMetadata {
    /// Newest minor format that is known; newer ones are read with a warning, as the format's standard asks.
    pub const FORMAT_MINOR_KNOWN: u32 = 0;

    /// Reads `content`, the bytes of the file `WHEEL`.
    ///
    /// # Errors
    /// When the format is missing or not 1.x.
    pub fn parse(content: &[u8]) -> Result<Self, MetadataError> {
        let headers = Headers::parse("WHEEL", content)?;
        let found = headers.one("Wheel-Version")?;
        let numbers = found
            .split_once('.')
            .and_then(|(major, minor)| Some((u32::from_str(major.trim()).ok()?, u32::from_str(minor.trim()).ok()?)));
        let Some((1, format_minor)) = numbers else { return Err(MetadataError::WheelVersion { found }) };
        let purelib = headers.all("Root-Is-Purelib");
        Ok(Self {
            format_minor,
            root_is_purelib: purelib.first().is_some_and(|value| value.eq_ignore_ascii_case("true")),
        })
    }
}

/// Whether two spellings are one version: by PEP 440, or for versions older than it by their letters.
#[must_use]
pub fn same_version(left: &str, right: &str) -> bool {
    match (Version::from_str(left), Version::from_str(right)) {
        (Ok(left), Ok(right)) => left == right,
        _ => {
            let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], ".");
            plain(left) == plain(right)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_metadata_is_read() {
        let text = "Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 7.1\nRequires-Python: >=3.8\n\
                    Requires-Dist: a\nRequires-Dist: b ; extra == 'x'\nAuthor: Jürgen\n\nName: other\n";
        let metadata = CoreMetadata::parse("METADATA", text.as_bytes()).expect("metadata");
        assert_eq!(metadata.name.as_str(), "zope-interface");
        assert_eq!(metadata.version.as_str(), "7.1");
        assert_eq!(metadata.requires_python.as_deref(), Some(">=3.8"));
        assert_eq!(metadata.requires_dist.len(), 2);
    }

    #[test]
    fn missing_and_contradicting_names_are_refused() {
        for bad in ["", "Name: a\n", "Version: 1\n", "Name: a\nName: b\nVersion: 1\n", "Name: a/b\nVersion: 1\n"] {
            assert!(CoreMetadata::parse("PKG-INFO", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_wheels_of_format_one_are_read() {
        for (good, minor) in [("Wheel-Version: 1.0\n", 0), ("Wheel-Version: 1.9\nRoot-Is-Purelib: true\n", 9)] {
            assert_eq!(WheelMetadata::parse(good.as_bytes()).expect("a wheel").format_minor, minor);
        }
        for bad in ["", "Wheel-Version: 2.0\n", "Wheel-Version: x\n", "Wheel-Version: 1\n", "Tag: a\n"] {
            assert!(WheelMetadata::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_compared_by_their_meaning() {
        for (left, right) in
            [("1.0", "1.0.0"), ("1.0-1", "1.0.post1"), ("1.0b1", "1.0-beta.1"), ("2004d", "2004D"), ("1+a.b", "1+a_b")]
        {
            assert!(same_version(left, right), "{left} {right}");
        }
        assert!(!same_version("1.0", "1.1"));
        assert!(!same_version("2004d", "2004e"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(content in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = CoreMetadata::parse("METADATA", &content);
            let _ = WheelMetadata::parse(&content);
        }
    }
}
