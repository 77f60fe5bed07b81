//! The Python side: interpreters, archives, metadata, bytecode.
