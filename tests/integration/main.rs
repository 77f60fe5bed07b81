//! The whole program from outside, one module a subject.

mod bad_builds;
mod bad_input;
mod bad_locks;
mod bad_surroundings;
mod commands;
mod detach;
mod environments;
mod environments_moved;
mod evil_archives;
mod forgotten;
mod gc_limits;
mod index_access;
mod index_client;
mod index_download;
mod index_support;
mod index_transfer;
mod lock_corpus;
mod package_links;
mod protect;
mod realize;
mod resolver;
mod sandbox_builds;
mod store_lifecycle;
mod store_objects;
mod store_repair;
mod support;
