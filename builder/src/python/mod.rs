//! The Python side: interpreters, archives, metadata, bytecode.

pub mod archive;
pub mod bytecode;
pub mod default_index;
pub mod elf;
pub mod entry_points;
pub mod ini;
pub mod interpreter;
pub mod link_plan;
pub(crate) mod loader;
pub mod marker;
pub mod metadata;
pub mod pip_settings;
pub mod recorded_files;
pub mod requirement;
pub mod sdist;
pub mod version;
pub mod wheel;
pub mod zip_file;

#[cfg(test)]
pub(crate) mod testing;
