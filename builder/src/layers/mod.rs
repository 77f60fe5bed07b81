//! Packages of the system without root: unpacked into the store, laid over `/usr` in the sandboxes of the builds that need them.
//!
//! ```text
//! packages ─► apt: what they need, which files ─► download, digest ─► unpack ─► layers (objects of the store)
//!                                                                                 │
//!                                   sandbox: overlay over /usr, else variables ◄──┘
//! wheel ─► ELF files ─► libraries that only layers have ─► DT_RPATH and references
//! ```
//!
//! 1. `request` remembers what the builds of a run lack ([`LayerRequests`]) and what an sdist was built with last.
//! 2. `apt` chooses: apt itself, in a state directory of the store's, against what is installed here.
//! 3. [`deb`], `tree` and `alternatives` read a package and write its tree. Nothing of a package is ever run.
//! 4. The sandbox mounts the layers ([`crate::sandbox`]), but for those that have what root runs there (`trusted`); where the kernel
//!    can't, `sysroot` makes variables of them.
//! 5. `runtime` finds which libraries the result needs, and `relocate` writes where they are into its ELF files ([`rpath`]).

mod alternatives;
mod apt;
pub mod deb;
mod obtain;
mod relocate;
mod request;
pub mod rpath;
mod runtime;
mod sysroot;
mod tree;
mod trusted;

use std::path::PathBuf;

use pip_accel_schema::digest::ContentDigest;
use pip_accel_store::{Object, StoreError};

use crate::system_packages::AptError;
use deb::DebError;

pub(crate) use apt::ChosenPackage;
pub(crate) use obtain::{again, of_build};
pub(crate) use relocate::{RelocateError, relocated};
pub(crate) use request::KeptRequest;
pub use request::LayerRequests;
pub(crate) use sysroot::Sysroot;
pub(crate) use trusted::shadowing;

/// Why packages could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// Apt did not do it.
    #[error("apt did not give them")]
    Apt(#[from] AptError),
    /// They are not in the store and the network is off.
    #[error("{packages} are not in the store and the network is off")]
    Offline {
        /// The packages that are asked for.
        packages: String,
    },
    /// The lists do not say which bytes the package has.
    #[error("apt's lists have no SHA-256 of `{package}`")]
    Unhashed {
        /// The package.
        package: String,
    },
    /// What came is not what the lists say.
    #[error("no file that apt fetched for `{package}` has the SHA-256 of its signed lists, {expected}")]
    Hash {
        /// The package.
        package: String,
        /// The digest.
        expected: String,
    },
    /// More packages than can be laid over `/usr`.
    #[error("{count} packages would be needed, and {limit} are the most")]
    TooMany {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// More bytes than any build needs.
    #[error("package files of {bytes} bytes would be needed, and {limit} are the most")]
    TooLarge {
        /// How many.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A package can't be unpacked.
    #[error("a package can't be unpacked")]
    Deb(#[from] DebError),
    /// A folder of the work can't be used.
    #[error("can't use `{}`", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// The layers of one build, in mount order: what is in one hides the same of those after it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers(Vec<Object>);

impl Layers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn objects(&self) -> &[Object] {
        &self.0
    }

    /// What recipes know of them.
    pub(crate) fn digests(&self) -> Vec<ContentDigest> {
        self.0.iter().map(|object| object.content_digest).collect()
    }

    /// The folders that go over `/usr`, but for those of `without`.
    pub(crate) fn usr_folders(&self, without: &[Object]) -> Vec<PathBuf> {
        let wanted = self.0.iter().filter(|object| !without.iter().any(|left_out| left_out.id == object.id));
        wanted.map(|object| object.path.join("usr")).filter(|folder| folder.is_dir()).collect()
    }

    /// Whether one of them has the absolute path `path` of a sandbox.
    pub(crate) fn have(&self, path: &std::path::Path) -> bool {
        let Ok(inside) = path.strip_prefix("/") else { return false };
        self.0.iter().any(|object| object.path.join(inside).symlink_metadata().is_ok())
    }
}
