//! Package indexes: what files a project has, and getting them.
