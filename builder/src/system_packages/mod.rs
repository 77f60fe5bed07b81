//! Missing system packages: from the words of a failed build to the Debian package that has what it lacks.
//!
//! ```text
//! log ──► statements ──► scan (rules, sentences, negatives) ──► evidence ─┐
//! trace: missed paths ────────────────────────────────────────► evidence ─┼─► decide ──► findings
//! Debian's lists ──► index ──► candidates (ranking, words, alternatives) ─┘
//! dpkg ──► installed ─────────────────────────────────────────────────────┘
//! ```
//!
//! All but making the index and reading dpkg's list is pure: [`diagnose`] is a function of its [`Input`].

mod alternatives;
mod candidates;
mod decide;
mod evidence;
pub mod index;
mod installed;
pub mod log;
mod negatives;
mod pattern;
mod rules;
mod scan;
mod sentences;
mod statements;
mod surroundings;
mod trace;
mod words;

pub use candidates::Candidate;
pub use decide::{Finding, Input, diagnose};
pub use evidence::{Evidence, Kind, MissedPath};
pub use installed::Installed;
