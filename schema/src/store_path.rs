//! How objects are named: `<32 characters base32>-<name>-<version>[-<tags>]`.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Sha256Digest, ValueDigest};
use crate::encode::Encoder;
use crate::name::{PackageName, PackageVersion};
use crate::recipe::RecipeId;

/// Characters of an [`ObjectId`] in a path: 160 bits in base 32.
pub const OBJECT_ID_TEXT_LEN: usize = 32;

/// Longest directory name of an object; leaves room below the 255 bytes of the file systems for temporary suffixes.
pub const STORE_PATH_BYTES_MAX: usize = 200;

/// Hash of everything that determines an object: the first 160 bits of BLAKE3 over the canonical encoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 20]);

/// Why a text is not the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseStorePathError {
    /// The text is not 32 characters of base 32.
    #[error("`{0}` is not an object id of {OBJECT_ID_TEXT_LEN} base-32 characters")]
    Id(String),
    /// The text has no `-<name>-<version>` after the id, or characters that no object has.
    #[error("`{0}` is not an object's directory name (`<id>-<name>-<version>[-<tags>]`)")]
    Label(String),
}

fn lower_base32() -> Encoding {
    let mut specification = BASE32_NOPAD.specification();
    specification.symbols = "abcdefghijklmnopqrstuvwxyz234567".to_owned();
    specification.encoding().unwrap_or(BASE32_NOPAD)
}

impl ObjectId {
    fn truncate(bytes: [u8; 32]) -> Self {
        let mut id = [0; 20];
        id.copy_from_slice(&bytes[..20]);
        Self(id)
    }

    /// The source object of a published file: known from its name and SHA-256 alone, before any download.
    #[must_use]
    pub fn of_source(file_name: &str, sha256: &Sha256Digest) -> Self {
        Self::truncate(Encoder::for_domain("pip-accel/source/1").text(file_name).bytes(sha256.as_bytes()).finish())
    }

    /// The tree of a published wheel, with the bytecode of `bytecode_tag` (`cpython-311-a70d`).
    #[must_use]
    pub fn of_wheel(sha256: &Sha256Digest, bytecode_tag: &str) -> Self {
        let mut encoder = Encoder::for_domain("pip-accel/wheel-tree/1");
        Self::truncate(encoder.bytes(sha256.as_bytes()).text(bytecode_tag).finish())
    }

    /// The tree of a wheel that a build made from `recipe` while it read the system inputs of that digest.
    #[must_use]
    pub fn of_build(recipe: &RecipeId, system_inputs: &ValueDigest, bytecode_tag: &str) -> Self {
        let mut encoder = Encoder::for_domain("pip-accel/built-tree/1");
        encoder.bytes(recipe.as_bytes()).bytes(system_inputs.as_bytes()).text(bytecode_tag);
        Self::truncate(encoder.finish())
    }

    /// The tree that a Debian package of that SHA-256 unpacks to.
    #[must_use]
    pub fn of_layer(sha256: &Sha256Digest) -> Self {
        Self::truncate(Encoder::for_domain("pip-accel/layer/1").bytes(sha256.as_bytes()).finish())
    }

    /// The 20 bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The id stored in `bytes`, or `None` unless there are exactly 20.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; OBJECT_ID_TEXT_LEN];
        const SYMBOLS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        // 5 bytes become 8 characters; written out because ids are printed by the hundred on the warm path.
        for (chunk, out) in self.0.chunks_exact(5).zip(text.chunks_exact_mut(8)) {
            let mut bits = 0_u64;
            for byte in chunk {
                bits = bits << 8 | u64::from(*byte);
            }
            for (position, symbol) in out.iter_mut().enumerate() {
                *symbol = SYMBOLS[(bits >> (35 - 5 * position)) as usize & 31];
            }
        }
        formatter.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ObjectId({self})")
    }
}

impl FromStr for ObjectId {
    type Err = ParseStorePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseStorePathError::Id(text.chars().take(80).collect());
        if text.len() != OBJECT_ID_TEXT_LEN {
            return Err(error());
        }
        let bytes = lower_base32().decode(text.as_bytes()).map_err(|_| error())?;
        Self::from_slice(&bytes).ok_or_else(error)
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The directory name of an object below the store's `store/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    id: ObjectId,
    label: String,
}

impl StorePath {
    /// Names the object `id`. The tags (`cp311-cp311-manylinux_2_17_x86_64`, `sdist`) are for the reader:
    /// they are left out where the name would exceed [`STORE_PATH_BYTES_MAX`].
    #[must_use]
    pub fn new(id: ObjectId, name: &PackageName, version: &PackageVersion, tags: Option<&str>) -> Self {
        let short = format!("{name}-{version}");
        let safe = |text: &&str| text.bytes().all(is_label_byte);
        let label = match tags.filter(safe) {
            Some(tags) if OBJECT_ID_TEXT_LEN + short.len() + tags.len() + 2 <= STORE_PATH_BYTES_MAX => {
                format!("{short}-{tags}")
            }
            _ => short,
        };
        Self { id, label: label.chars().take(STORE_PATH_BYTES_MAX - OBJECT_ID_TEXT_LEN - 1).collect() }
    }

    /// The object's id.
    #[must_use]
    pub const fn id(&self) -> &ObjectId {
        &self.id
    }

    /// The part after the id: `<name>-<version>[-<tags>]`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.+!".contains(&byte)
}

impl fmt::Display for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.id, self.label)
    }
}

impl FromStr for StorePath {
    type Err = ParseStorePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseStorePathError::Label(text.chars().take(STORE_PATH_BYTES_MAX).collect());
        let (id, rest) = text.split_at_checked(OBJECT_ID_TEXT_LEN).ok_or_else(error)?;
        let label = rest.strip_prefix('-').ok_or_else(error)?;
        let starts_well = label.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || text.len() > STORE_PATH_BYTES_MAX || !label.bytes().all(is_label_byte) {
            return Err(error());
        }
        Ok(Self { id: id.parse()?, label: label.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_back_and_foreign_names_are_refused() {
        let id = ObjectId::of_source("a-1.tar.gz", &Sha256Digest::from_bytes([7; 32]));
        let name = "a".parse().expect("a name");
        let version = "1.0".parse().expect("a version");
        let path = StorePath::new(id, &name, &version, Some("sdist"));
        assert_eq!(path.to_string().parse(), Ok(path.clone()));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string(), lower_base32().encode(id.as_bytes()));
        for bad in ["", "x", &id.to_string(), &format!("{id}-"), &format!("{id}-../x"), &format!("{id}x-1")] {
            assert!(bad.parse::<StorePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn long_tags_are_left_out() {
        let id = ObjectId::of_source("a", &Sha256Digest::from_bytes([7; 32]));
        let path =
            StorePath::new(id, &"a".parse().expect("name"), &"1".parse().expect("version"), Some(&"t".repeat(300)));
        assert_eq!(path.label(), "a-1");
    }
}
