//! The user's certificate for indexes that ask for one, as the resolver gets it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::index::{IndexSettings, read_client_cert};

/// Its name in the folder of the exchange.
const FILE: &str = "client.pem";

/// Puts the certificate and its key, if there are any, into the folder `exchange`, where the resolver, who may be another
/// user, can read them and nobody else can; the folder goes after the run. Gives back the variable that tells the resolver,
/// who sees that folder as `seen`. It is a secret: no code of an sdist may run beside it.
pub(super) fn lend(index: &IndexSettings, exchange: &Path, seen: &Path) -> io::Result<Option<(OsString, OsString)>> {
    let Some(path) = &index.client_cert else { return Ok(None) };
    let bytes = read_client_cert(path)?;
    let copy = exchange.join(FILE);
    // The folder may serve several runs; nothing is ever written through what one of them left there.
    match std::fs::remove_file(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy)?;
    file.write_all(&bytes)?;
    Ok(Some(("SSL_CLIENT_CERT".into(), seen.join(FILE).into())))
}
