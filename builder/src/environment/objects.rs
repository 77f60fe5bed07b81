//! Reading objects on disk.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::EnvironmentError;
use super::merge::Objects;

/// Bytes compared at a time.
const COMPARE_BLOCK_BYTES: usize = 64 * 1024;

/// The directories of the objects that are merged.
pub(super) struct ObjectDirectories<'a>(pub(super) Vec<&'a Path>);

impl ObjectDirectories<'_> {
    /// Where `source` of a package lies.
    pub(super) fn path(&self, package: usize, source: &str) -> PathBuf {
        self.0[package].join(source)
    }
}

impl Objects for ObjectDirectories<'_> {
    fn list(&self, package: usize, source: &str) -> Result<Vec<(String, bool)>, EnvironmentError> {
        let path = self.path(package, source);
        let read = |path: &Path| {
            let mut children = Vec::new();
            for entry in std::fs::read_dir(path)? {
                let entry = entry?;
                children.push((entry.file_name(), entry.file_type()?.is_dir()));
            }
            Ok::<_, std::io::Error>(children)
        };
        let children = read(&path).map_err(EnvironmentError::io("read the folder", &path))?;
        let text = |(name, is_directory): (std::ffi::OsString, bool)| match name.into_string() {
            Ok(name) => Ok((name, is_directory)),
            Err(name) => Err(EnvironmentError::NotUtf8(path.join(name))),
        };
        children.into_iter().map(text).collect()
    }

    fn same(&self, left: (usize, &str), right: (usize, &str)) -> Result<bool, EnvironmentError> {
        let (left, right) = (self.path(left.0, left.1), self.path(right.0, right.1));
        same_file(&left, &right).map_err(EnvironmentError::io("compare the file", &left))
    }
}

/// Whether two files or symbolic links hold the same. The store keeps equal files as one, so the inode mostly decides.
fn same_file(left: &Path, right: &Path) -> std::io::Result<bool> {
    let (left_data, right_data) = (left.symlink_metadata()?, right.symlink_metadata()?);
    if (left_data.dev(), left_data.ino()) == (right_data.dev(), right_data.ino()) {
        return Ok(true);
    }
    if left_data.is_symlink() && right_data.is_symlink() {
        return Ok(std::fs::read_link(left)? == std::fs::read_link(right)?);
    }
    if !left_data.is_file() || !right_data.is_file() || left_data.len() != right_data.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (mut left_block, mut right_block) = (vec![0; COMPARE_BLOCK_BYTES], vec![0; COMPARE_BLOCK_BYTES]);
    loop {
        let length = left.read(&mut left_block)?;
        if length == 0 {
            return Ok(right.read(&mut right_block[..1])? == 0);
        }
        if right.read_exact(&mut right_block[..length]).is_err() || left_block[..length] != right_block[..length] {
            return Ok(false);
        }
    }
}
