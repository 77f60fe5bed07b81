//! Bundles: objects on their way to another store, as one tar that a stream can carry.
//!
//! `write` takes objects out, `read` walks the archive, `check` is what a manifest has to be before a byte of content
//! is looked at, `import` keeps contents aside until all of them are verified and publishes only then.
//!
//! The archive is a pure function of its manifest, which is the first member: which members follow, in which order,
//! under which names, of which sizes and digests. So whatever differs is refused where it is met.

mod check;
mod error;
mod import;
mod read;
mod write;

pub use error::{BundleError, BundleFault};
pub use import::Unbundled;
pub use read::{looks_like_bundle, read_bundle_manifest};
pub use write::{BundlePageText, BundleReport, BundleRequest};

/// Largest manifest that is read. A thousand packages with 300,000 files have some 50 MB.
pub const BUNDLE_MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// Most bytes of contents: 16 TiB, more than any disk such a store is on, and far from where sums overflow.
pub const BUNDLE_BYTES_MAX: u64 = 16 << 40;

/// Most objects and most pages; a hundred times the largest lock.
pub const BUNDLE_OBJECTS_MAX: usize = 100_000;

/// A compressed bundle may unpack to this many times what was read of it. Text and code reach ten, zeros alone a
/// hundred times more.
pub const BUNDLE_RATIO_MAX: u64 = 400;

/// Up to so many bytes the ratio does not count: small archives of very regular files exceed it.
pub const BUNDLE_RATIO_FREE_BYTES: u64 = 128 << 20;
