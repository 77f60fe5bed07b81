//! Environments: virtualenvs made of links into the store.
//!
//! [`realize_environment`] turns objects with link plans into a virtualenv:
//!
//! 1. `merge` makes one tree of all plans, the same whatever their order;
//! 2. `skeleton`, `activation` and `script` add what a virtualenv has besides packages;
//! 3. `write` makes the tree in a directory beside the destination, with a `RECORD` for each package that lists what
//!    the environment really holds, so that pip and uv can uninstall and upgrade without reaching the store;
//! 4. `place` swaps it with what was there, in one step. Old or new, never between; old on any failure.
//!
//! [`check_environment`] compares an environment with its manifest.
//!
//! Nothing here is synced to the disk: an environment is made anew in milliseconds, and one that a power failure
//! damaged does not pass its check.
//!
//! **Files of `.dist-info` are symbolic links too**, although hard links would be somewhat cheaper: a `chmod -R` or
//! `chown -R` over an environment does not follow symbolic links, but through a hard link it changes the store's file.

mod activation;
mod check;
mod error;
mod farm;
mod foreign;
mod generations;
mod merge;
mod mounts;
mod objects;
mod place;
mod private;
mod python2;
mod realize;
mod record;
mod reflink;
mod remove;
mod request;
mod script;
mod skeleton;
mod stamp;
mod take_over;
mod twins;
mod write;

#[cfg(test)]
mod tests;

pub use check::{
    EnvironmentPackageFiles, EnvironmentStatus, check_against, check_environment, package_files, read_manifest,
};
pub use error::EnvironmentError;
pub(crate) use foreign::is_standard;
pub use generations::{direct_url_of, read_generations, write_generations};
pub(crate) use place::place_lock;
pub use realize::{check_place, realize_environment};
pub(crate) use record::{Recorded, parse as parse_record};
pub(crate) use reflink::clone_file;
pub use request::{
    ActivationTemplate, CopyReason, EnvironmentPython, EnvironmentRequest, FileCounts, PackageTree, Realized, Refused,
    Replace,
};
pub(crate) use script::{entry_point as entry_point_script, shebang as script_shebang, with_shebang};
pub use stamp::{Stamp, Watched};
