//! Hashes as the formats write them.

use std::collections::BTreeMap;

use super::ProjectLockError;
use crate::digest::Sha256Digest;
use crate::requirement::excerpt;

/// What the hashes of one file say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hashes {
    pub(super) sha256: Option<Sha256Digest>,
    pub(super) has_others: bool,
}

/// A table of algorithm → digest (PEP 751).
pub(super) fn of_table(line: usize, table: &BTreeMap<String, String>) -> Result<Hashes, ProjectLockError> {
    let mut hashes = Hashes::default();
    for (algorithm, digest) in table {
        add(line, &mut hashes, algorithm, digest)?;
    }
    Ok(hashes)
}

/// `sha256:…`.
pub(super) fn of_text(line: usize, text: Option<&str>) -> Result<Hashes, ProjectLockError> {
    let mut hashes = Hashes::default();
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(hashes) };
    let (algorithm, digest) = text.split_once(':').ok_or_else(|| ProjectLockError {
        line,
        reason: format!("`{}` is not a hash of the form `sha256:…`", excerpt(text)),
    })?;
    add(line, &mut hashes, algorithm, digest)?;
    Ok(hashes)
}

fn add(line: usize, hashes: &mut Hashes, algorithm: &str, digest: &str) -> Result<(), ProjectLockError> {
    if !algorithm.eq_ignore_ascii_case("sha256") {
        hashes.has_others = true;
        return Ok(());
    }
    let reason = |_| format!("`{}` is not a SHA-256 of 64 digits", excerpt(digest));
    hashes.sha256 = Some(digest.parse().map_err(reason).map_err(|reason| ProjectLockError { line, reason })?);
    Ok(())
}
