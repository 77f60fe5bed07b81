//! Taking files into a tree that another process wrote there.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use pip_accel_schema::digest::FileDigest;
use pip_accel_schema::manifest::{EntryKind, EntryPath};

use super::{TreeWriter, check_link, check_name, create_new};
use crate::dedupe::{Content, Linked, Origin};
use crate::error::{EntryProblem, IoContext, StoreError};
use crate::fs_ops;

impl TreeWriter {
    /// Takes over what another process wrote below [`path`](Self::path): files and links, and folders with all that is
    /// in them and was not taken before. They are hashed, stripped of extended attributes, shared and made canonical.
    /// That process must be dead: nobody may hold the files open for writing.
    ///
    /// # Errors
    /// When an entry is missing, is neither file, folder nor link, has special mode bits, belongs to another user,
    /// is a link that leaves the tree, or can't be read.
    pub fn adopt(&self, paths: &[EntryPath]) -> Result<(), StoreError> {
        let mut waiting: Vec<EntryPath> = paths.to_vec();
        while let Some(path) = waiting.pop() {
            check_name(&path)?;
            self.adopt_folders_above(&path)?;
            self.adopt_one(&path, &mut waiting)?;
        }
        Ok(())
    }

    /// The folders above must be real folders: a link among them would lead out of the tree.
    fn adopt_folders_above(&self, path: &EntryPath) -> Result<(), StoreError> {
        let text = path.as_str();
        for (end, _) in text.match_indices('/') {
            let part = &text[..end];
            if self.state().directories.contains(part) {
                continue;
            }
            let folder = EntryPath::parse(part).map_err(|_| StoreError::entry(part, EntryProblem::NotPortable))?;
            let metadata = self.examine(&folder)?;
            if !metadata.is_dir() {
                return Err(StoreError::entry(part, EntryProblem::NotBelowFolder));
            }
            self.adopt_folder(&folder, &metadata)?;
        }
        Ok(())
    }

    fn adopt_one(&self, path: &EntryPath, waiting: &mut Vec<EntryPath>) -> Result<(), StoreError> {
        if self.state().entries.get(path).is_some_and(|kind| *kind != EntryKind::Directory) {
            return Err(StoreError::entry(path.as_str(), EntryProblem::Duplicate));
        }
        let metadata = self.examine(path)?;
        if metadata.is_dir() {
            self.adopt_folder(path, &metadata)?;
            return self.list_unknown(path, waiting);
        }
        let target = self.directory.join(path.as_str());
        if metadata.is_symlink() {
            let text = fs::read_link(&target).on("read the link", &target)?;
            let text = text.to_str().ok_or_else(|| StoreError::entry(path.as_str(), EntryProblem::NotPortable))?;
            check_link(path, text)?;
            fs_ops::canonicalise_link(&target)?;
            self.note(path, EntryKind::Symlink { target: text.to_owned() });
            return Ok(());
        }
        self.adopt_file(path, &target)
    }

    /// What is at `path`, refused unless it may be part of an object.
    fn examine(&self, path: &EntryPath) -> Result<Metadata, StoreError> {
        let target = self.directory.join(path.as_str());
        match fs::symlink_metadata(&target) {
            Ok(metadata) => check_metadata(path, &metadata).map(|()| metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::entry(path.as_str(), EntryProblem::Missing))
            }
            Err(error) => Err(StoreError::io("examine", &target, error)),
        }
    }

    fn adopt_folder(&self, path: &EntryPath, metadata: &Metadata) -> Result<(), StoreError> {
        let target = self.directory.join(path.as_str());
        let folder = open_quietly(&target, libc::O_DIRECTORY)?;
        let opened = folder.metadata().on("examine", &target)?;
        if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
            return Err(StoreError::entry(path.as_str(), EntryProblem::Changed));
        }
        fs_ops::strip_extended_attributes(&folder, &target)?;
        let mut state = self.state();
        state.directories.insert(path.as_str().to_owned());
        state.entries.insert(path.clone(), EntryKind::Directory);
        Ok(())
    }

    fn list_unknown(&self, path: &EntryPath, waiting: &mut Vec<EntryPath>) -> Result<(), StoreError> {
        let target = self.directory.join(path.as_str());
        for entry in fs::read_dir(&target).on("list", &target)? {
            let name = entry.on("list", &target)?.file_name();
            let not_portable =
                || StoreError::entry(format!("{path}/{}", name.to_string_lossy()), EntryProblem::NotPortable);
            let child = name.to_str().and_then(|name| path.join(name).ok()).ok_or_else(not_portable)?;
            let known = self.state().entries.get(&child).is_some_and(|kind| *kind != EntryKind::Directory);
            if !known {
                waiting.push(child);
            }
        }
        Ok(())
    }

    fn adopt_file(&self, path: &EntryPath, target: &Path) -> Result<(), StoreError> {
        let mut file = open_quietly(target, 0)?;
        let metadata = file.metadata().on("examine", target)?;
        check_metadata(path, &metadata)?;
        if !metadata.is_file() {
            return Err(StoreError::entry(path.as_str(), EntryProblem::Changed));
        }
        let mut hasher = blake3::Hasher::new();
        let size = hash_reader(&mut file, &mut hasher).on("read", target)?;
        let executable = metadata.mode() & 0o100 != 0;
        let content = Content { digest: FileDigest::from_bytes(*hasher.finalize().as_bytes()), executable };
        let beside = self.directory.join(fs_ops::unique_name(".link"));
        let origin = match self.shared.files.link(&content, size, &beside)? {
            Linked::Yes(origin) => {
                fs::rename(&beside, target).on("replace", target)?;
                origin
            }
            Linked::No(generation) => {
                if metadata.nlink() > 1 {
                    // Its other names may be anywhere, and in anybody's hands.
                    self.copy_to_fresh_inode(&mut file, path, target, &content)?;
                } else {
                    fs_ops::strip_extended_attributes(&file, target)?;
                    fs_ops::canonicalise_open_file(&file, executable, target)?;
                }
                self.shared.files.stage(content, size, target);
                Origin::Fresh(generation)
            }
        };
        self.note_file(path, content, size, origin);
        Ok(())
    }

    fn copy_to_fresh_inode(
        &self,
        file: &mut File,
        path: &EntryPath,
        target: &Path,
        content: &Content,
    ) -> Result<(), StoreError> {
        file.rewind().on("read", target)?;
        let beside = self.directory.join(fs_ops::unique_name(".copy"));
        let mut fresh = create_new(path, &beside)?;
        io::copy(file, &mut fresh).on("write", &beside)?;
        fs_ops::canonicalise_open_file(&fresh, content.executable, &beside)?;
        fs::rename(&beside, target).on("replace", target)
    }
}

/// Opens without following a link, and without waiting for the other end of a pipe.
fn open_quietly(path: &Path, flags: i32) -> Result<File, StoreError> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | flags);
    options.open(path).on("open", path)
}

fn check_metadata(path: &EntryPath, metadata: &Metadata) -> Result<(), StoreError> {
    let refused = |problem| Err(StoreError::entry(path.as_str(), problem));
    let kind = metadata.file_type();
    if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
        return refused(EntryProblem::SpecialFile);
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return refused(EntryProblem::ForeignOwner);
    }
    // A folder below a set-group-ID folder inherits that bit; it is dropped when the folder is made canonical.
    let special = if kind.is_dir() { 0o5000 } else { 0o7000 };
    if !kind.is_symlink() && metadata.mode() & special != 0 {
        return refused(EntryProblem::SpecialMode);
    }
    Ok(())
}

/// Feeds all that `reader` has to `hasher`; returns how many bytes that were.
pub(crate) fn hash_reader(reader: &mut impl Read, hasher: &mut blake3::Hasher) -> io::Result<u64> {
    hash_with(reader, hasher, &mut vec![0; 64 * 1024])
}

/// As [`hash_reader`], with the caller's `buffer`.
pub(crate) fn hash_with(reader: &mut impl Read, hasher: &mut blake3::Hasher, buffer: &mut [u8]) -> io::Result<u64> {
    let mut size = 0;
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(size),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                size += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
