//! From a lock file to a working environment: interpreters, indexes, archives, sandboxed builds and linking.
//!
//! This crate knows no SQL, no layout inside the store and no terminal.

pub mod build;
mod cancel;
pub mod checkout;
pub mod doctor;
pub mod environment;
pub mod event;
pub mod index;
pub mod install;
pub mod lock;
pub mod python;
pub mod realize;
pub mod repair;
pub mod resolve;
pub mod sandbox;
pub mod session;
pub mod system_packages;

pub use cancel::CancelToken;
