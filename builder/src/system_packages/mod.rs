//! Missing system packages: from the words of a failed build to the Debian package that has what it lacks.
//!
//! ```text
//! log ──► statements ──► scan (rules, sentences, negatives) ──► evidence ─┐
//! trace: missed paths ────────────────────────────────────────► evidence ─┼─► decide ──► findings
//! Debian's lists ──► index ──► candidates (ranking, words, alternatives) ─┘
//! dpkg ──► installed ─────────────────────────────────────────────────────┘
//! ```
//!
//! All but making the index and reading dpkg's list is pure: [`diagnose`] is a function of its [`Input`]. [`Explainer`]
//! does it for the builds of a run, with what users say themselves ([`own`]); [`install`] has apt install what is missing.

mod alternatives;
mod candidates;
mod decide;
mod evidence;
mod explain;
mod external;
pub mod index;
pub mod install;
mod installed;
mod literals;
pub mod log;
mod minimal;
mod negatives;
pub mod own;
mod pattern;
mod private_apt;
mod rules;
mod scan;
mod sentences;
mod soft;
mod statements;
mod surroundings;
mod trace;
mod undeclared;
mod words;

pub use candidates::Candidate;
pub use decide::{Finding, Input, diagnose};
pub use evidence::{Evidence, Kind};
pub use explain::{ExplainOptions, Explainer, Explanation, Failed};
pub use external::External;
pub use installed::Installed;
pub(crate) use minimal::Dependencies;
pub use private_apt::AptError;
pub(crate) use private_apt::{PrivateApt, last_words, text_of};
pub(crate) use soft::{Built, may_lack};
