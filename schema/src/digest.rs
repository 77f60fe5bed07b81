//! Digests of fixed size, each with one parser and one printer.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} digest of 64 hexadecimal digits")]
pub struct ParseDigestError {
    kind: &'static str,
    text: String,
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Wraps 32 bytes that a hash function produced.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes of the digest.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The digest stored in `bytes`, or `None` unless there are exactly 32.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// 64 lower-case hexadecimal digits.
            #[must_use]
            pub fn to_hex(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self.to_hex())
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let error = || ParseDigestError { kind: $kind, text: text.chars().take(80).collect() };
                if text.len() != 64 {
                    return Err(error());
                }
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| error())?;
                Self::from_slice(&bytes).ok_or_else(error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_type! {
    /// SHA-256 of a file as its index published it; what locks and indexes speak of.
    Sha256Digest, "SHA-256"
}

digest_type! {
    /// BLAKE3 of one file's bytes inside an object.
    FileDigest, "BLAKE3"
}

digest_type! {
    /// BLAKE3 over the canonical [`Manifest`](crate::manifest::Manifest) of an object: proves it whole.
    ContentDigest, "BLAKE3"
}

digest_type! {
    /// BLAKE3 of a canonical encoding that is neither an object's nor a file's name
    /// (a memo key, an interpreter's identity, an environment's request).
    ValueDigest, "BLAKE3"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints_and_refuses_the_rest() {
        let digest = Sha256Digest::from_bytes([0xab; 32]);
        assert_eq!(digest.to_hex().parse(), Ok(digest));
        assert_eq!(digest.to_hex().to_uppercase().parse(), Ok(digest));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(65), "é"] {
            assert!(bad.parse::<Sha256Digest>().is_err(), "{bad}");
        }
    }
}
