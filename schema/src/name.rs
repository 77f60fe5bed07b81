//! Names and versions of Python projects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest project name accepted; the longest on the public index has 80 characters, a path component 255 bytes.
pub const PACKAGE_NAME_BYTES_MAX: usize = 128;

/// Longest version accepted, for the same reason.
pub const PACKAGE_VERSION_BYTES_MAX: usize = 64;

/// Why a text is not a project name or a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// The name is empty, too long, or has characters that PEP 508 does not allow.
    #[error("`{0}` is not a project name (letters, digits, `-`, `_`, `.`; first and last a letter or digit)")]
    Name(String),
    /// The version is empty, too long, or has characters that no version has.
    #[error("`{0}` is not a version (letters, digits, `.`, `+`, `!`, `-`, `_`)")]
    Version(String),
}

/// A project's name in the normalised form of PEP 503: lower case, runs of `-_.` as one `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

impl PackageName {
    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form used in file names of wheels and `.dist-info` directories: `-` as `_`.
    #[must_use]
    pub fn as_dist_info_name(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl FromStr for PackageName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseNameError::Name(text.chars().take(PACKAGE_NAME_BYTES_MAX).collect());
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return Err(error()) };
        if bytes.len() > PACKAGE_NAME_BYTES_MAX || !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() {
            return Err(error());
        }
        let mut name = String::with_capacity(text.len());
        for byte in bytes {
            match byte {
                b'-' | b'_' | b'.' => {
                    if !name.ends_with('-') {
                        name.push('-');
                    }
                }
                byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte.to_ascii_lowercase())),
                _ => return Err(error()),
            }
        }
        Ok(Self(name))
    }
}

/// A version as its project wrote it, checked only for characters that are safe in a path.
///
/// Two spellings of one version (`1.0` and `1.0.0`) are two values: equality under PEP 440 is the builder's business.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageVersion(String);

impl PackageVersion {
    /// The version as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageVersion {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || b".+!-_".contains(&byte);
        let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts_well && text.len() <= PACKAGE_VERSION_BYTES_MAX && text.bytes().all(safe) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNameError::Version(text.chars().take(PACKAGE_VERSION_BYTES_MAX).collect()))
        }
    }
}

macro_rules! text_value {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_value!(PackageName);
text_value!(PackageVersion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (text, normal) in [("Django", "django"), ("zope.interface", "zope-interface"), ("a__b-.c", "a-b-c")] {
            assert_eq!(text.parse::<PackageName>().expect("a good name").as_str(), normal);
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "é", &"a".repeat(129)] {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_are_safe_in_paths() {
        for good in ["1", "1.0.post1", "1!2.0+cu118", "2004d"] {
            assert!(good.parse::<PackageVersion>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "1/2", "1 2", "+1", &"1".repeat(65)] {
            assert!(bad.parse::<PackageVersion>().is_err(), "{bad}");
        }
    }
}
