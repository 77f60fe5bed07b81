//! Removal of extended attributes, and of the access lists that are stored as such.
#![expect(unsafe_code, reason = "neither std nor nix offers the extended-attribute calls")]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::error::{IoContext, StoreError};

/// Longest list of names the kernel returns (`XATTR_LIST_MAX`).
const LIST_BYTES_MAX: usize = 65_536;

/// Removes every extended attribute of the open file or folder that its owner may remove.
///
/// Labels of security modules (`security.*`) belong to the system, not to the file's content: where they
/// can't be removed they stay.
pub(crate) fn strip_extended_attributes(file: &File, path: &Path) -> Result<(), StoreError> {
    for name in list(file).on("list the attributes of", path)? {
        if let Err(error) = remove(file, &name) {
            let gone = error.raw_os_error() == Some(libc::ENODATA);
            if !gone && !name.to_bytes().starts_with(b"security.") {
                return Err(StoreError::io("remove an attribute of", path, error));
            }
        }
    }
    Ok(())
}

/// The names of attributes that an object's file or folder must not have: those of users, access lists and capabilities.
/// What else there is belongs to the system.
pub(crate) fn foreign_attributes(file: &File) -> io::Result<Vec<String>> {
    let is_foreign = |name: &String| {
        name.starts_with("user.") || name.starts_with("system.posix_acl_") || name == "security.capability"
    };
    Ok(list(file)?.iter().map(|name| name.to_string_lossy().into_owned()).filter(is_foreign).collect())
}

fn list(file: &File) -> io::Result<Vec<CString>> {
    // SAFETY: a null pointer with length 0 asks for the needed size only; the descriptor is open.
    let needed = unsafe { libc::flistxattr(file.as_raw_fd(), std::ptr::null_mut(), 0) };
    if needed == 0 {
        return Ok(Vec::new());
    }
    if needed < 0 {
        let error = io::Error::last_os_error();
        let unsupported = matches!(error.raw_os_error(), Some(libc::ENOTSUP | libc::ENOSYS));
        return if unsupported { Ok(Vec::new()) } else { Err(error) };
    }
    let mut names = vec![0_u8; LIST_BYTES_MAX];
    // SAFETY: the buffer is valid for writes of its whole length; the descriptor is open.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    names.truncate(length);
    Ok(names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect())
}

fn remove(file: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a terminated string; the descriptor is open.
    let result = unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
