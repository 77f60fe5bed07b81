//! A private copy of a checkout, by way of its archive: the same entries count, and the same rules.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::error::CheckoutError;
use super::survey::listing;
use crate::python::sdist::{CHECKOUT_SUFFIX, UnpackedSdist, unpack_sdist};
use crate::session::Session;

/// Copies the checkout at `path` below `scratch`.
pub(crate) fn copy_of(session: &Session, path: &Path, scratch: &Path) -> Result<UnpackedSdist, CheckoutError> {
    let io_error = |source| CheckoutError::Io { path: path.to_owned(), source };
    let file_name = format!("editable{CHECKOUT_SUFFIX}");
    let (archive, folder, work) = (scratch.join(&file_name), scratch.join("editable"), scratch.join("git"));
    fs::create_dir_all(&folder).and_then(|()| fs::create_dir_all(&work)).map_err(io_error)?;
    let file = BufWriter::with_capacity(256 << 10, File::create_new(&archive).map_err(io_error)?);
    let (mut file, _) = listing(session, path)?.pack(file, &work)?;
    file.flush().map_err(io_error)?;
    drop(file);
    let mut copy =
        unpack_sdist(&archive, &file_name, &folder).map_err(|error| io_error(io::Error::other(sentence(&error))))?;
    copy.metadata = None;
    fs::remove_file(&archive).map_err(io_error)?;
    Ok(copy)
}

fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
