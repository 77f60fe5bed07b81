//! Questions about the graph of objects, asked by people: what keeps one, what it came from, how much disk it takes.
//!
//! Nothing here changes the store, and nothing here decides: what is dead is the collector's decision, and `Store::why`
//! looks at what that depends on, from the object's side.

mod closure;
mod origin;
mod share;
mod why;

pub use closure::RootClosure;
pub use origin::{InputTree, Origin};
pub use share::{DiskShares, Share};
pub(crate) use why::condition;
pub use why::{KeptBy, PathStep, RootCondition, StepKind, Why};
