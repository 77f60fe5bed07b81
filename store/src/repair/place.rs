//! What is done to single files and folders.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use pip_accel_schema::digest::FileDigest;

use crate::dedupe::{Content, is_shareable};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::swap::link_if_room;
use crate::verify::{Finding, digest_of};

/// Bytes copied at once.
const BUFFER_BYTES: usize = 128 << 10;

/// What a finding is about, in the object whose folder is `folder`.
pub(super) fn of(folder: &Path, finding: &Finding) -> PathBuf {
    finding.path.as_ref().map_or_else(|| folder.to_owned(), |path| folder.join(path))
}

/// Lets the owner read what is there; what is gone or a link needs nothing.
pub(super) fn make_readable(path: &Path) -> Result<(), StoreError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if metadata.is_symlink() {
        return Ok(());
    }
    fs_ops::make_path_mutable(path);
    let mode = if metadata.is_dir() || metadata.mode() & 0o100 != 0 { 0o555 } else { 0o444 };
    fchmodat(AT_FDCWD, path, Mode::from_bits_truncate(mode), FchmodatFlags::NoFollowSymlink).on("set the mode of", path)
}

/// Gives what is there its owner, its canonical mode and time, and takes its attributes away; `executable` is what the
/// object's manifest says of a file. `Err`: the user to whom it belongs, which this one can't change.
pub(super) fn correct(path: &Path, executable: bool, owner: u32) -> Result<Result<(), String>, StoreError> {
    let metadata = fs::symlink_metadata(path).on("examine", path)?;
    let give = || match if metadata.uid() == owner { Ok(()) } else { lchown(path, Some(owner), None) } {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        given => given.map(|()| true).on("change the owner of", path),
    };
    let mut is_ours = true;
    if metadata.is_dir() {
        change_folder(path, || {
            is_ours = give()?;
            if is_ours {
                strip_attributes(path)?;
                fs_ops::canonicalise_folder(path)?;
            }
            Ok(())
        })?;
    } else {
        is_ours = give()?;
        if is_ours && metadata.is_symlink() {
            fs_ops::canonicalise_link(path)?;
        } else if is_ours {
            fs_ops::canonicalise_open_file(&strip_attributes(path)?, executable, path)?;
        }
    }
    Ok(if is_ours { Ok(()) } else { Err(fs_ops::user_name(metadata.uid())) })
}

/// Takes attributes away from a file or folder, whose mode may then be another one; gives it opened.
fn strip_attributes(path: &Path) -> Result<File, StoreError> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = file.on("open", path)?;
    if !fs_ops::foreign_attributes(&file).on("list the attributes of", path)?.is_empty() {
        // The owner may change attributes of what he may write to only.
        let mode = if file.metadata().is_ok_and(|metadata| metadata.is_dir()) { 0o755 } else { 0o644 };
        file.set_permissions(fs::Permissions::from_mode(mode)).on("set the mode of", path)?;
        fs_ops::strip_extended_attributes(&file, path)?;
    }
    Ok(file)
}

/// Does something to a folder that its immutable flag would forbid; it has the flag again afterwards.
pub(super) fn change_folder(path: &Path, change: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    let protected = fs_ops::is_immutable(path);
    fs_ops::make_path_mutable(path);
    let result = change();
    if protected && let Err(error) = fs_ops::make_immutable(path) {
        tracing::warn!(path = %path.display(), %error, "a folder stays without the immutable flag");
    }
    result
}

/// Makes `target` a link to the file `own`, whose bytes are right, or a copy where its inode has no room.
pub(super) fn link_or_copy(own: &Path, content: (&Content, u64), target: &Path) -> Result<bool, StoreError> {
    let fits = fs::symlink_metadata(own).is_ok_and(|metadata| is_shareable(&metadata, content.0, content.1));
    if fits && link_if_room(own, target)? {
        return Ok(true);
    }
    copy_checked(own, content.0, target)
}

/// Fills `target` from `source` if that has the content, by a link where its mode and time allow that. Either way the bytes
/// that are at `target` in the end were read. Whether it has.
pub(super) fn take_checked(source: &Path, content: (&Content, u64), target: &Path) -> Result<bool, StoreError> {
    let (content, size) = content;
    let Ok(metadata) = fs::symlink_metadata(source) else { return Ok(false) };
    if !metadata.is_file() || metadata.len() != size {
        return Ok(false);
    }
    if is_shareable(&metadata, content, size) && link_if_room(source, target)? {
        if digest_of(target).is_ok_and(|(digest, _)| digest == content.digest) {
            return Ok(true);
        }
        fs::remove_file(target).on("delete", target)?;
        return Ok(false);
    }
    copy_checked(source, content, target)
}

fn copy_checked(source: &Path, content: &Content, target: &Path) -> Result<bool, StoreError> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let Ok(mut file) = File::options().read(true).custom_flags(flags).open(source) else { return Ok(false) };
    let mut fresh = File::options().write(true).create_new(true).mode(0o600).open(target).on("create", target)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                hasher.update(&buffer[..length]);
                fresh.write_all(&buffer[..length]).on("write", target)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A copy that can't be read is none.
            Err(_) => {
                fs::remove_file(target).on("delete", target)?;
                return Ok(false);
            }
        }
    }
    if FileDigest::from_bytes(*hasher.finalize().as_bytes()) == content.digest {
        fs_ops::canonicalise_open_file(&fresh, content.executable, target)?;
        return Ok(true);
    }
    fs::remove_file(target).on("delete", target)?;
    Ok(false)
}
