//! What the tests of the whole program share: an environment of their own, packages made in code, the host's interpreters.
//!
//! Nothing in here reaches the network and nothing stays behind: every path a [`TestEnv`] hands out lies below one
//! temporary directory that is removed with it, read-only store objects included.

pub mod cleanup;
pub mod environment;
pub mod filters;
pub mod git_server;
pub mod host;
pub mod index_server;
pub mod invariants;
pub mod output;
pub mod package;
pub mod proxy;
pub mod saved_state;
pub mod terminal;
pub mod tree_digest;

pub use environment::{Running, TestEnv};
pub use host::{HostInterpreter, interpreters, skip};
pub use output::Output;
pub use package::{BuiltFile, Evil, LockWriter, SdistBackend, SdistBuilder, SdistFormat, WheelBuilder};
pub use proxy::Proxy;
pub use saved_state::SavedState;
pub use tree_digest::TreeDigest;
