//! What a build read outside the store: packages of the system, and files that no package has.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::ValueDigest;
use crate::encode::Encoder;

/// A package of the system, some of whose files a build read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SystemPackage {
    /// Its name: `libxml2-dev`.
    pub name: String,
    /// The architecture it is for: `amd64`, `all`.
    pub architecture: String,
    /// Its version: `2.9.14+dfsg-1.3~deb12u1`.
    pub version: String,
}

/// A file that a build read and no package has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SystemFile {
    /// Its absolute path, without links. Bytes that are no UTF-8 are replaced.
    pub path: String,
    /// BLAKE3 of what it held.
    pub content: ValueDigest,
}

/// Something that a build could have used and did without: it went well all the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Without {
    /// The path that it looked for.
    pub path: String,
    /// The package that has it: `libyaml-dev`.
    pub package: String,
    /// What it would be for: `the C loader`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// For a reader: `built without libyaml: install libyaml-dev and rebuild for the C loader`.
impl fmt::Display for Without {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = self.package.strip_suffix("-dev").unwrap_or(&self.package);
        write!(formatter, "built without {library}: install {} and rebuild", self.package)?;
        self.purpose.as_ref().map_or(Ok(()), |purpose| write!(formatter, " for {purpose}"))
    }
}

/// What a build read outside the store, each once and sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInputs {
    /// Packages.
    pub packages: Vec<SystemPackage>,
    /// Files of no package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SystemFile>,
    /// What it looked for and did without, as far as it is known to matter; no part of the digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Without>,
}

impl SystemInputs {
    /// Sorts both lists and takes out what is there twice.
    #[must_use]
    pub fn new(mut packages: Vec<SystemPackage>, mut files: Vec<SystemFile>) -> Self {
        packages.sort();
        packages.dedup();
        files.sort();
        files.dedup();
        Self { packages, files, without: Vec::new() }
    }

    /// The same, with what the build did without.
    #[must_use]
    pub fn with_without(mut self, without: Vec<Without>) -> Self {
        self.without = without;
        self
    }

    /// The digest that stands for them in the id of a built object.
    #[must_use]
    pub fn digest(&self) -> ValueDigest {
        let mut encoder = Encoder::for_domain("pip-accel/system-inputs/1");
        encoder.number(self.packages.len() as u64);
        for package in &self.packages {
            encoder.text(&package.name).text(&package.architecture).text(&package.version);
        }
        encoder.number(self.files.len() as u64);
        for file in &self.files {
            encoder.text(&file.path).bytes(file.content.as_bytes());
        }
        ValueDigest::from_bytes(encoder.finish())
    }

    /// What stands for the system inputs of a build that was not traced: one value for all builds of a recipe.
    #[must_use]
    pub fn untraced() -> ValueDigest {
        ValueDigest::from_bytes(Encoder::for_domain("pip-accel/system-inputs/untraced").finish())
    }
}

/// For a reader, in one line: `gcc-12 12.2.0-14, libc6-dev 2.36-9, /usr/local/include/a.h`.
impl fmt::Display for SystemInputs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packages = self.packages.iter().map(|package| format!("{} {}", package.name, package.version));
        let all: Vec<String> = packages.chain(self.files.iter().map(|file| file.path.clone())).collect();
        formatter.write_str(if all.is_empty() { "nothing" } else { "" })?;
        formatter.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> SystemInputs {
        let package = |name: &str| SystemPackage {
            name: name.to_owned(),
            architecture: "amd64".to_owned(),
            version: "2.36-9+deb12u13".to_owned(),
        };
        let file = SystemFile { path: "/usr/local/include/a.h".to_owned(), content: ValueDigest::from_bytes([7; 32]) };
        SystemInputs::new(vec![package("libc6-dev"), package("libc6"), package("libc6-dev")], vec![file])
    }

    /// These ids are in stores: they change only with their domain and a line in the changelog.
    #[test]
    fn ids_stay() {
        assert_eq!(inputs().digest().to_string(), "ef23605cdfcc3464b028f14d80bf5069216adbede55e1639f4b0b11115f7c060");
        assert_eq!(
            SystemInputs::default().digest().to_string(),
            "262f9fcedc3e40b1ab7fe50005dfadeb0d16334caa3bb078e65876e4671a287f"
        );
        assert_eq!(
            SystemInputs::untraced().to_string(),
            "dce20c4757c79da5b713dba8d38217258d0a882c04fbe84899377e0daa91bb51"
        );
    }

    #[test]
    fn each_part_changes_the_digest() {
        assert_eq!(inputs().packages.len(), 2);
        let changes: [fn(&mut SystemInputs); 5] = [
            |inputs| inputs.packages[0].name.push('x'),
            |inputs| inputs.packages[0].version.push('x'),
            |inputs| inputs.packages[0].architecture.push('x'),
            |inputs| inputs.files[0].content = ValueDigest::from_bytes([8; 32]),
            |inputs| inputs.files.clear(),
        ];
        for change in changes {
            let mut other = inputs();
            change(&mut other);
            assert_ne!(other.digest(), inputs().digest());
        }
    }

    #[test]
    fn it_survives_being_written() {
        let text = serde_json::to_string(&inputs()).expect("plain data");
        assert_eq!(serde_json::from_str::<SystemInputs>(&text).expect("round trip"), inputs());
    }
}
