//! One package that is wanted: a name, a version, the hashes that are allowed.

use std::fmt;
use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_store::Object;
use serde::{Deserialize, Serialize};

use crate::checkout::{Checkout, CheckoutPlace, Editable};
use crate::index::{PublishedFile, SafeUrl};
use crate::lock::AllowedFormats;
use crate::python::requirement::satisfies_pin;

/// What stands for a version that only the build tells.
const UNKNOWN_VERSION: &str = "0+unknown";

/// Whether `version` stands for one that is not known yet ([`Pin::label_version`]).
#[must_use]
pub fn is_unknown_version(version: &PackageVersion) -> bool {
    version.as_str() == UNKNOWN_VERSION
}

/// A file that the lock names by its place instead of by an index.
#[derive(Debug, Clone)]
pub struct DirectFile {
    /// Where it lies: `https:`, `http:` or `file:`.
    pub url: SafeUrl,
    /// Its file name, decoded.
    pub file_name: String,
}

/// One wanted package.
#[derive(Debug, Clone)]
pub struct Pin {
    /// The project.
    pub name: PackageName,
    /// The version; unknown for a direct sdist whose name doesn't tell.
    pub version: Option<PackageVersion>,
    /// Allowed files, sorted; empty when no lock says which (`build NAME==VERSION`).
    pub hashes: Vec<Sha256Digest>,
    /// The file, when the lock names it.
    pub direct: Option<DirectFile>,
    /// All files that the lock lists with their places; empty: the index says which there are.
    pub files: Arc<Vec<PublishedFile>>,
    /// The commit or directory, when the pin means no file of an index.
    pub checkout: Option<Checkout>,
    /// Wheel or sdist.
    pub formats: AllowedFormats,
    /// What its backend is told, if it is built.
    pub config_settings: ConfigSettings,
}

impl Pin {
    /// The key under which the choice of a file for this pin and `interpreter` is remembered.
    #[must_use]
    pub fn key(&self, interpreter: &ValueDigest) -> PinKey {
        let file_name = self.file_key();
        let release = (&self.name, self.version.as_ref());
        let key = PinKey::of_pin(interpreter, release, (self.formats, file_name.as_deref()), &self.hashes);
        if self.files.is_empty() { key } else { key.with_files(&self.files) }
    }

    /// A pin of a release that no lock fixes by a hash.
    #[must_use]
    pub fn of_release(name: &PackageName, version: &PackageVersion, formats: AllowedFormats) -> Self {
        let (name, version) = (name.clone(), Some(version.clone()));
        Self {
            name,
            version,
            hashes: Vec::new(),
            direct: None,
            files: Arc::default(),
            checkout: None,
            formats,
            config_settings: ConfigSettings::new(),
        }
    }

    /// The file name that the lock gives, or what stands for it: it is part of the pin's key.
    #[must_use]
    pub(crate) fn file_key(&self) -> Option<String> {
        match self.checkout.as_ref().map(|checkout| &checkout.place) {
            Some(CheckoutPlace::Git(commit)) => Some(commit.identity()),
            // The digest of the content is among the pin's hashes; where it lies is no matter.
            Some(CheckoutPlace::Directory(_)) => Some("directory/".to_owned()),
            Some(CheckoutPlace::Editable(_)) => Some("editable/".to_owned()),
            None => self.direct.as_ref().map(|direct| direct.file_name.clone()),
        }
    }

    /// The directory that is imported from where it is, if the pin means one.
    #[must_use]
    pub fn editable(&self) -> Option<&Editable> {
        match self.checkout.as_ref().map(|checkout| &checkout.place) {
            Some(CheckoutPlace::Editable(editable)) => Some(editable),
            _ => None,
        }
    }

    /// Whether the name is the project's own: without one, the build tells it.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.checkout.as_ref().is_none_or(|checkout| checkout.is_named)
    }

    /// Whether `object` is of the project and version that the pin names.
    #[must_use]
    pub fn is_met_by(&self, object: &Object) -> bool {
        (object.name == self.name || !self.is_named())
            && self.version.as_ref().is_none_or(|version| satisfies_pin(version, &object.version))
    }

    /// The version for names of files and objects; a direct sdist's version is known only after its build.
    #[must_use]
    pub fn label_version(&self) -> PackageVersion {
        self.version.clone().unwrap_or_else(|| UNKNOWN_VERSION.parse().expect("a constant version is valid"))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.version, &self.direct) {
            (Some(version), _) => write!(formatter, "{}=={version}", self.name),
            (None, Some(direct)) => write!(formatter, "{} @ {}", self.name, direct.url),
            (None, None) => match &self.checkout {
                Some(checkout) if self.is_named() => write!(formatter, "{} @ {}", self.name, checkout.place),
                Some(checkout) => write!(formatter, "{}", checkout.place),
                None => write!(formatter, "{}", self.name),
            },
        }
    }
}

/// Identity of a pin for one interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinKey([u8; 32]);

impl PinKey {
    /// The key of a pin of the release for a file of these formats, with that name where the lock names it.
    pub(crate) fn of_pin(
        interpreter: &ValueDigest,
        (name, version): (&PackageName, Option<&PackageVersion>),
        (formats, file_name): (AllowedFormats, Option<&str>),
        hashes: &[Sha256Digest],
    ) -> Self {
        let mut encoder = Encoder::for_domain("pip-accel/pin/1");
        encoder.bytes(interpreter.as_bytes()).text(name.as_str());
        encoder.optional_text(version.map(PackageVersion::as_str));
        encoder.number(u64::from(formats.wheels)).number(u64::from(formats.sdists));
        encoder.optional_text(file_name);
        encoder.number(hashes.len() as u64);
        for hash in hashes {
            encoder.bytes(hash.as_bytes());
        }
        Self(encoder.finish())
    }

    /// What a lock calls the files decides too: the choice that it leads to must not be that of an index.
    fn with_files(self, files: &[PublishedFile]) -> Self {
        let mut encoder = Encoder::for_domain("pip-accel/pin-with-files/1");
        encoder.bytes(&self.0).number(files.len() as u64);
        for file in files {
            encoder.text(&file.file_name).bytes(file.sha256.as_ref().map_or(&[], |sha256| sha256.as_bytes()));
        }
        Self(encoder.finish())
    }

    /// The build of the sdist `source` for `interpreter`, whichever pins mean it.
    #[must_use]
    pub fn of_build(source: &Sha256Digest, interpreter: &ValueDigest) -> Self {
        let mut encoder = Encoder::for_domain("pip-accel/build-node/1");
        encoder.bytes(source.as_bytes()).bytes(interpreter.as_bytes());
        Self(encoder.finish())
    }

    /// The bytes, for a memo's key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Whether a chosen file is unpacked or built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChosenKind {
    /// A published wheel.
    Wheel,
    /// An sdist.
    Sdist,
}

/// The file chosen for a pin; remembered, because the same pin always gives the same file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Its published name.
    pub file_name: String,
    /// Its SHA-256, one of the pin's.
    pub sha256: Sha256Digest,
    /// Wheel or sdist.
    pub kind: ChosenKind,
    /// Why its author withdrew it (PEP 592), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<String>,
}
