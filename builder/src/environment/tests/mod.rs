//! Environments on disk, with the interpreters, shells and installers of the machine.

mod farm;
mod installers;
mod interpreters;
mod layout;
mod places;
mod shells;
mod support;
