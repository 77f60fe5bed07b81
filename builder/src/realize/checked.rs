//! The check of an environment, and the memory of its result: see [`environment::stamp`].

use std::path::Path;

use pip_accel_schema::environment::EnvironmentManifest;

use super::error::RealizeError;
use crate::environment::{self, EnvironmentStatus};
use crate::session::Session;

/// Namespace of the remembered results: place → stamp of an environment in which all was as recorded and nothing foreign.
const MEMO: &str = "environment-checked/1";

/// As [`environment::check_against`], without looking at each entry where nothing has changed since the last time.
pub(super) fn check(
    session: &Session,
    destination: &Path,
    manifest: EnvironmentManifest,
) -> Result<EnvironmentStatus, RealizeError> {
    use std::os::unix::ffi::OsStrExt;
    let key = destination.as_os_str().as_bytes();
    let stamp = environment::stamp(destination, &manifest);
    let remembered = session.store.memo_get(MEMO, key)?;
    if let (Some(stamp), Some(remembered)) = (&stamp, &remembered)
        && stamp.digest.as_bytes()[..] == remembered[..]
    {
        return environment::unchanged(destination, manifest).map_err(RealizeError::Environment);
    }
    let status = environment::check_against(destination, manifest).map_err(RealizeError::Environment)?;
    if let Some(stamp) = stamp
        && stamp.is_settled
        && status.is_intact()
        && status.foreign.is_empty()
    {
        session.store.memo_put(MEMO, key, stamp.digest.as_bytes())?;
    }
    Ok(status)
}
