//! Where a file lay that a lock named by its place: no index lists it, and a repair has to find it again.
//!
//! The place is remembered beside the source, under its SHA-256: it is a hint and no identity, so a lock that names the same
//! bytes elsewhere means the same object. What may be secret is not written down: no user name or password (those of a repair
//! come from netrc or the keyring), and no URL with a query, where signatures are.

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_store::{Store, StoreError};
use url::Url;

use super::pin::DirectFile;
use crate::index::{FileOrigin, PublishedFile, SafeUrl};

/// Namespace of the memos; the key is the SHA-256 of the file, the value its URL.
const MEMO: &str = "source place";

/// Notes where the file of that digest was got from, if a lock said so.
pub(super) fn remember(store: &Store, file: &PublishedFile, sha256: &Sha256Digest) -> Result<(), StoreError> {
    if file.origin != FileOrigin::Direct || file.url.expose().query().is_some() {
        return Ok(());
    }
    let url = file.url.without_credentials();
    if store.memo_get(MEMO, sha256.as_bytes())?.as_deref() == Some(url.as_str().as_bytes()) {
        return Ok(());
    }
    store.memo_put(MEMO, sha256.as_bytes(), url.as_str().as_bytes())
}

/// The place that is remembered for the file of that digest; its name is `file_name`, else the last part of its URL.
pub(crate) fn recall(
    store: &Store,
    file_name: Option<&str>,
    sha256: &Sha256Digest,
) -> Result<Option<DirectFile>, StoreError> {
    let value = store.memo_find(MEMO, sha256.as_bytes())?;
    let url = value.and_then(|value| Url::parse(std::str::from_utf8(&value).ok()?).ok());
    Ok(url.and_then(|url| {
        let url = SafeUrl::from(url);
        let file_name = file_name.map(str::to_owned).or_else(|| url.last_segment())?;
        Some(DirectFile { url, file_name })
    }))
}
