//! The vocabulary of pip-accel: every value that is hashed, stored or written to a file is defined here.
//!
//! Nothing in this crate touches a file, a clock, the environment, a thread or a database:
//! a function of this crate can only fail for a reason that lies in its arguments.
//!
//! Reading order: [`digest`] and [`encode`] (how anything is hashed), [`name`] and [`store_path`]
//! (what things are called), [`manifest`] (what an object holds), [`interpreter`] and [`wheel`]
//! (what fits where), [`recipe`] (what a build is made of), [`lock_file`] and [`project_lock`] (what the user asks for),
//! [`link_plan`] and [`environment`] (what the user gets), [`bundle`] (what travels to another machine).

pub mod bundle;
pub mod config_settings;
pub mod digest;
pub mod encode;
pub mod environment;
pub mod generation;
pub mod interpreter;
pub mod link_plan;
pub mod lock_file;
pub mod manifest;
pub mod name;
pub mod project_lock;
pub mod recipe;
pub mod recipe_difference;
pub mod requirement;
pub mod sql;
pub mod store_path;
pub mod system_inputs;
pub mod wheel;
