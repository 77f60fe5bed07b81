//! The whole program from outside, one module a subject.

mod bad_input;
mod commands;
mod detach;
mod environments;
mod evil_archives;
mod forgotten;
mod index_client;
mod index_download;
mod index_support;
mod package_links;
mod protect;
mod realize;
mod sandbox_builds;
mod store_lifecycle;
mod support;
