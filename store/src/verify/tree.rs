//! The check of an object's tree against the list of what it holds.
//!
//! A full look reads most of the store, and most files are small: what counts is how much is asked of the kernel for each.
//! So a folder is opened once, and its files are opened from there and examined by their descriptors, in parallel.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fstat, fstatat};
use pip_accel_schema::digest::FileDigest;
use pip_accel_schema::manifest::{EntryKind, Manifest};
use rayon::prelude::*;

use super::check::Check;
use super::inodes::{Held, State};
use super::{Finding, FindingKind, VerifyDepth};
use crate::fs_ops::{foreign_attributes, mode_of_file};
use crate::layout::RECORD_FILE;

/// Files of a folder that one thread takes at once: splitting costs as much as reading a small file.
const FILES_TOGETHER: usize = 8;

/// A folder of the tree while its entries are looked at.
struct Folder<'a> {
    /// Its path from the top of the tree; empty for the top.
    path: &'a str,
    descriptor: BorrowedFd<'a>,
    device: u64,
}

/// A name in a folder, as its listing gives it.
struct Listed {
    name: CString,
    inode: u64,
    /// Whether the listing says that it is a regular file; some file systems do not say.
    seems_file: bool,
}

/// What the manifest lists as a file, whose bytes are to be read.
struct Unread<'a> {
    listed: Listed,
    path: String,
    expected: (&'a FileDigest, u64, bool),
}

/// What the manifest says and no entry was found for yet.
type Expected<'a> = HashMap<&'a str, &'a EntryKind>;

impl Folder<'_> {
    fn path_of(&self, name: Cow<'_, str>) -> String {
        if self.path.is_empty() { name.into_owned() } else { format!("{}/{name}", self.path) }
    }

    fn examine(&self, name: &CStr) -> nix::Result<State> {
        fstatat(self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|stat| State::from(&stat))
    }

    fn open(&self, name: &CStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        Ok(openat(self.descriptor, name, flags, Mode::empty())?.into())
    }
}

impl Check<'_> {
    /// What is wrong with the tree at `folder`; the state of `folder` itself and what the record says are not looked at.
    pub(super) fn check_tree(&self, folder: &Path, manifest: &Manifest, findings: &mut Vec<Finding>) {
        let mut expected: Expected<'_> =
            manifest.entries().iter().map(|entry| (entry.path.as_str(), &entry.kind)).collect();
        let mut waiting = vec![String::new()];
        while let Some(below) = waiting.pop() {
            if let Err(error) = self.check_folder((folder, &below), &mut expected, &mut waiting, findings) {
                findings.push(self.finding(Some(&below), FindingKind::UnreadableFile, error.to_string()));
            }
        }
        // Below a folder that is missing itself, only the folder is named.
        for path in expected.keys() {
            let parent = path.rsplit_once('/').map(|(parent, _)| parent);
            if !parent.is_some_and(|parent| expected.contains_key(parent)) {
                findings.push(self.finding(Some(path), FindingKind::MissingFile, ""));
            }
        }
    }

    /// One folder: its attributes and entries. Folders in it are added to `waiting`.
    fn check_folder(
        &self,
        (top, below): (&Path, &str),
        expected: &mut Expected<'_>,
        waiting: &mut Vec<String>,
        findings: &mut Vec<Finding>,
    ) -> io::Result<()> {
        let place = if below.is_empty() { Cow::Borrowed(top) } else { Cow::Owned(top.join(below)) };
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let opened = File::options().read(true).custom_flags(flags).open(place)?;
        if !below.is_empty() {
            self.check_attributes(Some(below), Ok(&opened), findings);
        }
        let (listed, directory) = list(opened)?;
        let device = fstat(&directory)?.st_dev;
        let folder = Folder { path: below, descriptor: directory.as_fd(), device };
        let mut unread = Vec::new();
        for listed in listed {
            let path = folder.path_of(listed.name.to_string_lossy());
            if path == RECORD_FILE {
                self.check_record(&folder, &listed.name, findings);
                continue;
            }
            let Some(kind) = expected.remove(path.as_str()) else {
                findings.push(self.finding(Some(&path), FindingKind::ExtraFile, ""));
                continue;
            };
            match kind {
                EntryKind::File { digest, size, executable } if self.depth == VerifyDepth::Full => {
                    unread.push(Unread { listed, path, expected: (digest, *size, *executable) });
                }
                _ => {
                    let state = self.check_entry((&folder, &listed.name), &path, kind, findings);
                    if state.is_some_and(|state| state.is_folder()) {
                        waiting.push(path);
                    }
                }
            }
        }
        let read = unread.par_iter().with_min_len(FILES_TOGETHER);
        findings.extend(read.flat_map_iter(|file| self.check_file(&folder, file)).collect::<Vec<_>>());
        Ok(())
    }

    /// An entry that is not read: its state, or nothing where it is not what the manifest says.
    fn check_entry(
        &self,
        (folder, name): (&Folder<'_>, &CStr),
        path: &str,
        kind: &EntryKind,
        findings: &mut Vec<Finding>,
    ) -> Option<State> {
        let state = match folder.examine(name) {
            Ok(state) => state,
            Err(errno) => {
                let error = io::Error::from(errno);
                findings.push(self.finding(Some(path), FindingKind::UnreadableFile, error.to_string()));
                return None;
            }
        };
        match kind {
            EntryKind::Directory if state.is_folder() => self.check_state(Some(path), &state, 0o555, findings),
            EntryKind::Symlink { target } if state.is_link() => {
                self.check_time_and_owner(Some(path), &state, findings);
                if !readlinkat(folder.descriptor, name).is_ok_and(|text| text.as_os_str() == target.as_str()) {
                    findings.push(self.finding(Some(path), FindingKind::WrongContent, ""));
                }
            }
            EntryKind::File { size, executable, .. } if state.is_file() => {
                self.check_file_state(path, &state, (*size, *executable), findings);
            }
            _ => {
                findings.push(self.finding(Some(path), FindingKind::WrongType, ""));
                return None;
            }
        }
        Some(state)
    }

    fn check_file_state(
        &self,
        path: &str,
        state: &State,
        (size, executable): (u64, bool),
        findings: &mut Vec<Finding>,
    ) {
        self.check_state(Some(path), state, mode_of_file(executable), findings);
        if state.size != size {
            let detail = format!("{} bytes instead of {size}", state.size);
            findings.push(self.finding(Some(path), FindingKind::WrongSize, detail));
        }
    }

    /// The state, bytes and attributes of a file. Its inode is read unless that happened under another name.
    fn check_file(&self, folder: &Folder<'_>, file: &Unread<'_>) -> Vec<Finding> {
        let (digest, size, executable) = file.expected;
        let name = file.listed.name.as_c_str();
        let mut findings = Vec::new();
        let is_new = file.listed.seems_file && !self.digests.is_known((folder.device, file.listed.inode));
        // What can't be opened is examined all the same.
        let opened = is_new.then(|| folder.open(name).ok()).flatten();
        let examined = match &opened {
            Some(opened) => fstat(opened).map(|stat| State::from(&stat)),
            None => folder.examine(name),
        };
        let wrong = |kind, detail| self.finding(Some(&file.path), kind, detail);
        let state = match examined {
            Ok(state) if state.is_file() => state,
            Ok(_) => return vec![wrong(FindingKind::WrongType, String::new())],
            Err(errno) => return vec![wrong(FindingKind::UnreadableFile, io::Error::from(errno).to_string())],
        };
        self.check_file_state(&file.path, &state, (size, executable), &mut findings);
        if state.size != size {
            return findings;
        }
        match self.digests.of_file(&state, || opened.map_or_else(|| folder.open(name), Ok)) {
            Err(error) => findings.push(wrong(FindingKind::UnreadableFile, error)),
            Ok(Held { digest: found, attributes }) => {
                if found != *digest {
                    findings.push(wrong(FindingKind::WrongContent, format!("BLAKE3 {found} instead of {digest}")));
                }
                if !attributes.is_empty() {
                    findings.push(wrong(FindingKind::ExtraAttribute, attributes));
                }
            }
        }
        findings
    }

    /// The state and the attributes of the record; what it says is looked at elsewhere.
    fn check_record(&self, folder: &Folder<'_>, name: &CStr, findings: &mut Vec<Finding>) {
        let path = Some(RECORD_FILE);
        match folder.examine(name) {
            Ok(state) => self.check_state(path, &state, mode_of_file(false), findings),
            Err(errno) => {
                let error = io::Error::from(errno);
                findings.push(self.finding(path, FindingKind::UnreadableFile, error.to_string()));
                return;
            }
        }
        if self.depth == VerifyDepth::Full {
            self.check_attributes(path, folder.open(name).as_ref(), findings);
        }
    }

    /// Attributes of what is not read as a content: folders and the record.
    pub(super) fn check_attributes(
        &self,
        path: Option<&str>,
        opened: Result<&File, &io::Error>,
        findings: &mut Vec<Finding>,
    ) {
        if self.depth != VerifyDepth::Full {
            return;
        }
        let unreadable = |error: &io::Error| self.finding(path, FindingKind::UnreadableFile, error.to_string());
        match opened.map(foreign_attributes) {
            Ok(Ok(names)) if names.is_empty() => {}
            Ok(Ok(names)) => findings.push(self.finding(path, FindingKind::ExtraAttribute, names.join(" "))),
            Ok(Err(error)) => findings.push(unreadable(&error)),
            Err(error) => findings.push(unreadable(error)),
        }
    }
}

/// What is in an open folder, and the folder.
fn list(opened: File) -> io::Result<(Vec<Listed>, Dir)> {
    let mut directory = Dir::from_fd(opened.into())?;
    let mut listed = Vec::new();
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            let seems_file = entry.file_type() == Some(Type::File);
            listed.push(Listed { name: name.to_owned(), inode: entry.ino(), seems_file });
        }
    }
    Ok((listed, directory))
}
