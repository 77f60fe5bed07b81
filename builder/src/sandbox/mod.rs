//! Running hostile code: a sandbox is a value, bubblewrap carries it out.
//!
//! A build backend is a program somebody put on an index. It runs here with nothing but its declared inputs:
//!
//! 1. [`SandboxSpec`] (a plain value) says what is visible, where it may write, which command runs and how long.
//! 2. [`HostFacts`] (read once, serialisable) says how this machine makes a sandbox, or [`NoSandbox`] why it cannot.
//! 3. [`bwrap::arguments`] is a pure function of the two. What a sandbox is can be reviewed in one snapshot test.
//! 4. [`run`] starts it, reads its output, enforces the [`Limits`] and returns when **every** process in it is dead.
//!
//! How a run is held together:
//!
//! * bwrap announces the host's id of the sandbox's pid 1 and then waits for us. We open a pidfd on it before anything
//!   hostile runs, so killing it later cannot hit a recycled id. The kernel kills a pid namespace with its pid 1 and
//!   reports pid 1 dead only when all others are: that is the proof that nothing is left behind.
//! * As root, the processes inside do not have root's host id. A user namespace that maps an inner uid to host uid 0
//!   leaves `/proc/sys` (and with it `kernel.core_pattern`, a way to run programs outside) writable for its owner, root.
//!   So the inner uid 1000 is a host id that nobody uses, and writable binds change hands around the run.
//! * The system call filter ([`seccomp`]) refuses what namespaces leave open.
//! * [`run_traced`] notes which files of the system a run reads and misses (`trace`).
//!
//! `docs/sandbox.md` is the threat model; the tests of this module are its proofs.

pub mod bwrap;
mod cancel;
mod child;
mod diagnosis;
pub mod environment;
mod etc;
mod host;
mod launch;
mod outcome;
pub mod output;
mod overlay;
mod ownership;
mod plumbing;
pub mod seccomp;
pub mod spec;
mod supervisor;
mod trace;
mod unconfined;
mod watch;

#[cfg(test)]
mod tests;

pub use cancel::{CancelSignal, Canceller};
pub use child::{run, run_traced};
pub use diagnosis::NoSandbox;
pub use environment::{BuildEnvironment, build_environment};
pub use host::{BWRAP_VERSION_MIN, BwrapVersion, HostFacts, HostQuery, Identity, RootEntry, RootEntryKind};
pub use outcome::{SandboxError, SandboxOutcome, SandboxStatus};
pub(crate) use output::printable;
pub use output::{LastLines, OutputSink};
pub use overlay::Overlay;
pub use ownership::OwnershipError;
pub use spec::{Bind, INNER_ID, Limits, Network, SANDBOX_POLICY, SandboxSpec, SpecError, Tmpfs, default_limits};
pub use supervisor::{SUPERVISE, supervise};
pub use trace::{FileTrace, MissedPath, TraceRefused};
pub(crate) use unconfined::run_unconfined;
