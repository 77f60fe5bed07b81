//! The migrations of the store's database, in order; data for the store, never edited after release.

/// SQL scripts; the position of a script plus one is the `user_version` it leads to.
pub const MIGRATIONS: &[&str] = &[
    include_str!("../sql/0001_init.sql"),
    include_str!("../sql/0002_verified_at.sql"),
    include_str!("../sql/0003_layers.sql"),
];
