//! Installing into what is there: reading it, telling whether there is something to do, putting packages in place.

pub mod installed;
pub mod satisfied;
