//! From the merged tree to a directory: the part that has to be fast.
//!
//! Every entry is made relative to its folder's descriptor, nothing is looked up twice, and texts are made once and
//! serve as link, `RECORD` and manifest.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{linkat, symlinkat};
use pip_accel_schema::environment::{EnvironmentEntry, EnvironmentEntryKind, LinkMode, PackageLink};
use pip_accel_schema::link_plan::SITE_FOLDER;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::cancel::CancelToken;

use super::error::EnvironmentError;
use super::farm::{Farm, Plot};
use super::merge::{Children, Leaf, Node, Own};
use super::objects::ObjectDirectories;
use super::private::{Previous, PrivateCopy, files_below};
use super::realize::go_on;
use super::record::{self, Recorded};
use super::reflink::clone_file;
use super::request::{CopyReason, FileCounts, PackageTree};
use super::script;
use super::twins::Twins;

/// What writing needs to know.
pub(super) struct Context<'a> {
    pub(super) packages: &'a [PackageTree<'a>],
    pub(super) directories: &'a ObjectDirectories<'a>,
    /// `link_prefix` of each package as text.
    pub(super) link_prefixes: Vec<&'a str>,
    pub(super) mode: LinkMode,
    /// First line of scripts.
    pub(super) shebang: &'a str,
    pub(super) site_packages: &'a str,
    /// Whether `RECORD` lists the files below linked folders. Where nothing is ever uninstalled that is no danger, and programs
    /// look there for their own files.
    pub(super) lists_files: bool,
    /// Directory of the link farm.
    pub(super) link_farm: Option<&'a Path>,
    /// The store whose objects the farm is for.
    pub(super) store_root: &'a Path,
    /// Private copies of an old environment that are kept.
    pub(super) previous: Option<&'a Previous>,
    pub(super) cancel: Option<&'a CancelToken>,
}

impl Context<'_> {
    /// How the files of a package get there.
    fn mode(&self, package: usize) -> LinkMode {
        let PackageTree { link, detached, .. } = self.packages[package];
        match link {
            _ if detached => LinkMode::Copy,
            PackageLink::Copy => LinkMode::Copy,
            PackageLink::Dirs | PackageLink::Files => self.mode,
        }
    }

    /// The package's place in the farm. Objects of a lower store have none: nobody would tidy it up when they go.
    fn plot(&self, package: usize) -> Option<Plot<'_>> {
        let PackageTree { object, directory, .. } = self.packages[package];
        let link_prefix = self.link_prefixes[package];
        directory.starts_with(self.store_root).then_some(Plot { position: package, object, link_prefix })
    }
}

/// What was written.
#[derive(Default)]
pub(super) struct Written {
    pub(super) entries: Vec<EnvironmentEntry>,
    pub(super) files: FileCounts,
}

impl Written {
    fn add(&mut self, other: Self) {
        self.entries.extend(other.entries);
        let FileCounts { symlinks, hard_links, reflinks, copies, fallbacks, fallback_reason } = other.files;
        self.files.symlinks += symlinks;
        self.files.hard_links += hard_links;
        self.files.reflinks += reflinks;
        self.files.copies += copies;
        self.files.fallbacks += fallbacks;
        self.files.fallback_reason = self.files.fallback_reason.or(fallback_reason);
    }
}

/// Writes `tree` into the directory `root`, whose path is `path` (for messages).
pub(super) fn write_tree(
    context: &Context<'_>,
    tree: &Children<'_>,
    root: BorrowedFd<'_>,
    path: &Path,
) -> Result<Written, EnvironmentError> {
    let records = records(context, tree)?;
    let farm_path = context.link_farm.filter(|_| context.mode == LinkMode::Symlink);
    let mut writer = Writer {
        context,
        records: &records,
        farm: &Farm::open(farm_path, context.packages.len()),
        twins: &Twins::default(),
        root_path: path,
        path: String::new(),
        written: Written::default(),
    };
    writer.children(tree, root)?;
    Ok(writer.written)
}

/// The text of every package's `RECORD`.
fn records(context: &Context<'_>, tree: &Children<'_>) -> Result<Vec<String>, EnvironmentError> {
    let mut originals = Vec::with_capacity(context.packages.len());
    for (index, package) in context.packages.iter().enumerate() {
        if context.mode(index) == LinkMode::Symlink && !context.lists_files {
            originals.push(HashMap::new());
        } else {
            let source = format!("{SITE_FOLDER}/{}/RECORD", package.plan.dist_info);
            let path = context.directories.path(index, &source);
            originals.push(match std::fs::read(&path) {
                Ok(text) => record::parse(&String::from_utf8_lossy(&text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
                Err(error) => return Err(EnvironmentError::io("read", path)(error)),
            });
        }
    }
    let mut records = vec![String::new(); context.packages.len()];
    list_leaves(context, tree, &mut String::new(), &originals, &mut records)?;
    Ok(records)
}

fn list_leaves(
    context: &Context<'_>,
    children: &Children<'_>,
    path: &mut String,
    originals: &[HashMap<String, Recorded>],
    records: &mut [String],
) -> Result<(), EnvironmentError> {
    for (name, node) in children {
        let length = push_component(path, name);
        match node {
            Node::Directory(children) => list_leaves(context, children, path, originals, records)?,
            Node::Leaf(Leaf::Object { package, source, is_directory: true }) if context.packages[*package].detached => {
                let folder = context.directories.path(*package, source);
                for file in files_below(&folder).map_err(EnvironmentError::io("read the folder", &folder))? {
                    let recorded = originals[*package].get(&format!("{source}/{file}"));
                    let path = format!("{path}/{file}");
                    record::push_line(&mut records[*package], context.site_packages, &path, recorded);
                }
            }
            Node::Leaf(Leaf::Object { package, source, is_directory: true }) if context.lists_files => {
                let all = originals[*package].iter();
                let mut files: Vec<(&str, &Recorded)> =
                    all.filter_map(|(file, recorded)| Some((strip_folder(file, source)?, recorded))).collect();
                files.sort_unstable_by_key(|(file, _)| *file);
                for (file, recorded) in files {
                    let path = format!("{path}/{file}");
                    record::push_line(&mut records[*package], context.site_packages, &path, Some(recorded));
                }
            }
            Node::Leaf(leaf) => {
                if let Some(package) = leaf.package() {
                    let recorded = match leaf {
                        Leaf::Object { source, .. } => originals.get(package).and_then(|records| records.get(source)),
                        _ => None,
                    };
                    record::push_line(&mut records[package], context.site_packages, path, recorded);
                }
            }
        }
        path.truncate(length);
    }
    Ok(())
}

/// What follows `folder/` in `path`.
fn strip_folder<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// Adds a component; the length before is what to truncate to afterwards.
fn push_component(path: &mut String, name: &str) -> usize {
    let length = path.len();
    if length > 0 {
        path.push('/');
    }
    path.push_str(name);
    length
}

/// Files of `.dist-info` whose content is the same for every package.
const TWIN_FILES: [&str; 2] = ["INSTALLER", "REQUESTED"];

struct Writer<'a> {
    context: &'a Context<'a>,
    records: &'a [String],
    farm: &'a Farm,
    twins: &'a Twins,
    root_path: &'a Path,
    path: String,
    written: Written,
}

/// From this many folders in one place on they are written by all processors: creating entries is the kernel's work,
/// and it does that for several folders at once.
const PARALLEL_FOLDERS_MIN: usize = 8;

impl<'a> Writer<'a> {
    fn children(&mut self, children: &Children<'_>, directory: BorrowedFd<'_>) -> Result<(), EnvironmentError> {
        let mut folders = Vec::new();
        for (name, node) in children {
            match node {
                Node::Directory(children) => folders.push((&**name, children)),
                Node::Leaf(leaf) => {
                    let length = push_component(&mut self.path, name);
                    let kind = self.leaf(leaf, directory, name)?;
                    self.push(kind);
                    self.path.truncate(length);
                }
            }
        }
        if folders.len() < PARALLEL_FOLDERS_MIN {
            return folders.into_iter().try_for_each(|(name, children)| self.folder(name, children, directory));
        }
        let this = &*self;
        let written = folders
            .par_iter()
            .map(|(name, children)| {
                let mut writer = this.beside();
                writer.folder(name, children, directory)?;
                Ok(writer.written)
            })
            .collect::<Result<Vec<Written>, EnvironmentError>>()?;
        for part in written {
            self.written.add(part);
        }
        Ok(())
    }

    /// A writer at the same place that has written nothing yet.
    fn beside(&self) -> Self {
        Writer { path: self.path.clone(), written: Written::default(), ..*self }
    }

    fn folder(
        &mut self,
        name: &str,
        children: &Children<'_>,
        directory: BorrowedFd<'_>,
    ) -> Result<(), EnvironmentError> {
        go_on(self.context.cancel)?;
        let length = push_component(&mut self.path, name);
        self.push(EnvironmentEntryKind::Directory);
        let child = create_directory(directory, name).map_err(|error| self.error("create the folder", error))?;
        self.children(children, child.as_fd())?;
        self.path.truncate(length);
        Ok(())
    }

    fn push(&mut self, kind: EnvironmentEntryKind) {
        self.written.entries.push(EnvironmentEntry { path: self.path.clone(), kind });
    }

    fn error<E: Into<io::Error>>(&self, action: &'static str, error: E) -> EnvironmentError {
        EnvironmentError::io(action, self.root_path.join(&self.path))(error)
    }

    fn leaf(
        &mut self,
        leaf: &Leaf<'_>,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<EnvironmentEntryKind, EnvironmentError> {
        let context = self.context;
        match leaf {
            Leaf::Object { package, source, .. } if context.packages[*package].detached => {
                self.private(*package, source, directory)
            }
            Leaf::Object { package, source, .. } if context.mode(*package) == LinkMode::Symlink => {
                let prefix = context.link_prefixes[*package];
                let mut target = String::with_capacity(prefix.len() + 1 + source.len());
                target.push_str(prefix);
                target.push('/');
                target.push_str(source);
                let place = (directory, name);
                if context.plot(*package).is_some_and(|plot| self.farm.link(plot, source, &target, place)) {
                    self.written.files.symlinks += 1;
                    return Ok(EnvironmentEntryKind::Link { target });
                }
                self.link(target, directory, name)
            }
            Leaf::Object { package, source, .. } => {
                let source = context.directories.path(*package, source);
                self.place(context.mode(*package), &source, directory, name)
            }
            Leaf::EntryPoint { entry, .. } => {
                let text = script::entry_point(context.shebang, entry);
                self.file(text.as_bytes(), true, directory, name)
            }
            Leaf::PythonScript { package, source } => {
                let path = context.directories.path(*package, source);
                let content = std::fs::read(&path).map_err(EnvironmentError::io("read", &path))?;
                let rewritten = script::with_shebang(&content, context.shebang).map_or(Cow::Owned(content), Cow::Owned);
                self.file(&rewritten, true, directory, name)
            }
            Leaf::Own { package: Some(_), own: Own::File { content, executable: false } }
                if TWIN_FILES.contains(&name) =>
            {
                let write = || create_file(directory, name, false)?.write_all(content);
                self.twins.make(directory, name, write).map_err(|error| self.error("write", error))?;
                Ok(EnvironmentEntryKind::File { size: content.len() as u64 })
            }
            Leaf::Own { own: Own::File { content, executable }, .. } => {
                self.file(content, *executable, directory, name)
            }
            Leaf::Own { own: Own::Link(target), .. } => self.link(target.clone(), directory, name),
            Leaf::Own { own: Own::CopyOf(source), .. } => {
                self.copy(LinkMode::Copy, &PathBuf::from(source), directory, name)
            }
            Leaf::Own { own: Own::Record(package), .. } => {
                self.file(self.records[*package].as_bytes(), false, directory, name)
            }
        }
    }

    /// A file or folder of a detached package.
    fn private(
        &mut self,
        package: usize,
        source: &str,
        directory: BorrowedFd<'_>,
    ) -> Result<EnvironmentEntryKind, EnvironmentError> {
        let name = self.context.packages[package].name;
        let copy = PrivateCopy { package: name, previous: self.context.previous };
        let source = self.context.directories.path(package, source);
        let copies = copy.write(&source, directory, &self.path).map_err(|error| self.error("copy", error))?;
        self.written.files.copies += copies;
        Ok(EnvironmentEntryKind::Private { package: name.clone() })
    }

    fn link(
        &mut self,
        target: String,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<EnvironmentEntryKind, EnvironmentError> {
        symlinkat(target.as_str(), directory, name).map_err(|error| self.error("create the link", error))?;
        self.written.files.symlinks += 1;
        Ok(EnvironmentEntryKind::Link { target })
    }

    fn file(
        &self,
        content: &[u8],
        executable: bool,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<EnvironmentEntryKind, EnvironmentError> {
        let write = || create_file(directory, name, executable)?.write_all(content);
        write().map_err(|error| self.error("write", error))?;
        Ok(EnvironmentEntryKind::File { size: content.len() as u64 })
    }

    /// A file of an object in the modes that have real files.
    fn place(
        &mut self,
        mode: LinkMode,
        source: &Path,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<EnvironmentEntryKind, EnvironmentError> {
        let metadata = source.symlink_metadata().map_err(EnvironmentError::io("read", source))?;
        if metadata.is_symlink() {
            let target = std::fs::read_link(source).map_err(EnvironmentError::io("read the link", source))?;
            let text = target.into_os_string().into_string().map_err(|text| EnvironmentError::NotUtf8(text.into()))?;
            return self.link(text, directory, name);
        }
        if mode == LinkMode::Hardlink {
            match linkat(AT_FDCWD, source, directory, name, AtFlags::empty()) {
                Ok(()) => {
                    self.written.files.hard_links += 1;
                    return Ok(EnvironmentEntryKind::File { size: metadata.len() });
                }
                // Another file system, too many links, another owner's file: a copy does as well.
                Err(error @ (Errno::EXDEV | Errno::EMLINK | Errno::EPERM | Errno::EOPNOTSUPP)) => {
                    self.note_fallback(error);
                }
                Err(error) => return Err(self.error("create the hard link", error)),
            }
        }
        self.copy(mode, source, directory, name)
    }

    fn note_fallback(&mut self, error: Errno) {
        self.written.files.fallbacks += 1;
        self.written.files.fallback_reason.get_or_insert(CopyReason::of(error));
    }

    fn copy(
        &mut self,
        mode: LinkMode,
        source: &Path,
        directory: BorrowedFd<'_>,
        name: &str,
    ) -> Result<EnvironmentEntryKind, EnvironmentError> {
        let mut from = File::open(source).map_err(EnvironmentError::io("read", source))?;
        let metadata = from.metadata().map_err(EnvironmentError::io("read", source))?;
        let executable = metadata.permissions().mode() & 0o100 != 0;
        let mut to = create_file(directory, name, executable).map_err(|error| self.error("create", error))?;
        let cloned = (mode == LinkMode::Reflink).then(|| clone_file(&from, &to));
        if let Some(Ok(())) = cloned {
            self.written.files.reflinks += 1;
        } else {
            if let Some(Err(error)) = cloned {
                self.note_fallback(error);
            }
            io::copy(&mut from, &mut to).map_err(|error| self.error("write", error))?;
            self.written.files.copies += 1;
        }
        Ok(EnvironmentEntryKind::File { size: metadata.len() })
    }
}

/// Creates and opens a folder.
pub(super) fn create_directory(parent: BorrowedFd<'_>, name: &str) -> nix::Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_bits_truncate(0o777))?;
    openat(parent, name, OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// Creates a file that is not there yet, with the usual mode less the process's mask.
pub(super) fn create_file<P: NixPath + ?Sized>(parent: BorrowedFd<'_>, name: &P, executable: bool) -> io::Result<File> {
    let mode = Mode::from_bits_truncate(if executable { 0o777 } else { 0o666 });
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(parent, name, flags, mode)?))
}
