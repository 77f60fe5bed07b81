//! Installing into what is there, with pip's meaning: `installed` reads it, `satisfied` tells whether there is something
//! to do, `choose` has versions chosen, `change` says which of them are new, `virtualenv` puts these in place, and `scheme` does where there is no virtualenv.
//! `others` tells what another program installed in an environment of ours.

pub mod change;
pub mod choose;
pub mod error;
pub mod installed;
pub mod others;
pub mod report;
pub mod satisfied;
pub mod scheme;
pub mod virtualenv;
pub mod why;
