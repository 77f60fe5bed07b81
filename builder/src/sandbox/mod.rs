//! Running hostile code: a sandbox is a value, bubblewrap carries it out.
