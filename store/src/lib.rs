//! The store: what is on disk, who may touch it, what may be deleted.
//!
//! A [`Store`] keeps *objects*: immutable folders named by the hash of their inputs. Write a tree
//! ([`Store::new_tree`]), publish it ([`Lease::publish`]), find it again ([`Lease::take`]), and delete what no root
//! keeps ([`Store::gc_apply`]). A [`Lease`] keeps alive what a running process works with.
//!
//! Reading order: `layout` (where things are), `db` (what is known about them), `tree`, `dedupe` and `publish`
//! (how an object comes to be), `lease` (how it is used), `gc` (how it goes), `lower` (reading another's store), `verify` and `sweep` (what may have
//! happened to it in between), `bundle` (how it travels). The normative description of the format is `docs/store-format.md`.

mod bundle;
mod checkpoint;
mod db;
mod dedupe;
mod error;
mod fs_ops;
mod gc;
mod inspect;
mod interrupt;
mod layout;
mod lease;
mod lock;
mod log;
mod lost;
mod lower;
mod memo;
mod object;
mod open;
mod optimise;
mod publish;
mod rebuild;
mod registry;
mod repair;
mod root;
mod scratch;
mod store;
mod swap;
mod sweep;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tree;
mod usage;
mod verify;

#[cfg(test)]
mod tests;

pub use bundle::{
    BUNDLE_BYTES_MAX, BUNDLE_MANIFEST_BYTES_MAX, BUNDLE_OBJECTS_MAX, BUNDLE_RATIO_FREE_BYTES, BUNDLE_RATIO_MAX,
    BundleError, BundleFault, BundlePageText, BundleReport, BundleRequest, Unbundled, looks_like_bundle,
    read_bundle_manifest,
};
pub use checkpoint::checkpoint;
pub use error::{EntryProblem, StoreError};
pub use gc::{
    DeadObject, DeadReason, DeadRoot, DeadRootReason, ForeignObject, GcError, GcLimits, GcPlan, GcPolicy, GcReport,
    GcStep, KeptReason, KeptRoot, MIN_AGE_SECONDS, MovedRoot, RebuildCost, RootChange, UserRoot, UsersKept,
};
pub use inspect::{DiskShares, InputTree, KeptBy, Origin, PathStep, RootClosure, RootCondition, Share, StepKind, Why};
pub use interrupt::Interrupt;
pub use lease::Lease;
pub use lock::{KeyLock, LockOwner};
pub use log::{BuildLogWriter, BuildRecord};
pub use lower::{LowerError, LowerStore};
pub use object::{Object, Referrers};
pub use open::{OpenError, STORE_FORMAT};
pub use optimise::OptimiseReport;
pub use publish::NewObject;
pub use rebuild::{IncompleteRoot, RebuildReport};
pub use repair::{Action, LostObject, Remake, RemakeError, RepairReport, Repaired};
pub use root::{NewRoot, Root, RootKind};
pub use scratch::Scratch;
pub use store::{Access, Clock, DiskSpace, Durability, OpenOptions, Protect, Store};
pub use tree::{StagedFile, TreeWriter};
pub use usage::disk_usage_of;
pub use verify::{Finding, FindingKind, Inspection, VerifyDepth, VerifyOptions};
