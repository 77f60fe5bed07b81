//! Opening a store: making it, refusing what this program can't handle, and tidying up after a crash.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};

use crate::checkpoint::{Checkpoints, checkpoint};
use crate::db::{Database, DatabaseMode};
use crate::dedupe::SharedFiles;
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::gc::renew_reserve;
use crate::interrupt::Interrupt;
use crate::layout::Layout;
use crate::lost::Lost;
use crate::repair::Damaged;
use crate::store::{Access, Clock, Durability, OpenOptions, Protect, Shared, Store};

/// Version of the layout of the root, in the file `format`.
pub const STORE_FORMAT: u32 = 1;

const FORMAT_PREFIX: &str = "pip-accel store ";

/// Longest `format` file that is read.
const FORMAT_BYTES_MAX: u64 = 200;

/// What may be in a directory that becomes a store: what file systems put there, the configuration in the user's default
/// store, and what the original pip-accel kept in that place.
const BESIDE_STORE: [&str; 5] = ["lost+found", "pip-accel.conf", "sources", "binaries", "eggs"];

/// File systems on which neither `flock` nor SQLite's shared memory can be trusted, by magic number.
const NETWORK_FILE_SYSTEMS: [(i64, &str); 11] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x5346_414F, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00C3_6400, "Ceph"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7461_636F, "OCFS2"),
    (0x1983_0326, "BeeGFS"),
];

/// File systems in user space that are network file systems, as `/proc/self/mountinfo` names them.
const NETWORK_FUSE: [&str; 8] = [
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.rclone",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.mount-s3",
    "fuse.juicefs",
    "fuse.davfs",
];

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none, and it was to be opened for reading.
    #[error("there is no store at `{}`", root.display())]
    Missing {
        /// Where it should be.
        root: PathBuf,
    },
    /// A newer program wrote it.
    #[error("the store `{}` has format {found}, this program reads up to format {supported}", root.display())]
    NewerFormat {
        /// The store.
        root: PathBuf,
        /// What it says about itself: the layout's or the database's version.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
    },
    /// The file `format` is not the file of a store.
    #[error("`{}` is not the format file of a store", path.display())]
    ForeignFormat {
        /// The file.
        path: PathBuf,
    },
    /// There is no store, but something else, which a store would be mixed with.
    #[error("`{}` is no store and not empty: it has `{found}`", root.display())]
    NotAStore {
        /// The directory.
        root: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// Locks can't be trusted there.
    #[error("`{}` is on the network file system {kind}, whose locks a store can't rely on", root.display())]
    NetworkFileSystem {
        /// The store.
        root: PathBuf,
        /// The file system's name.
        kind: String,
    },
    /// Root would leave files of root in another user's store, which that user can neither move nor delete.
    #[error("the store `{}` belongs to {owner}, and what root adds to it would be root's", root.display())]
    ForeignOwner {
        /// The store.
        root: PathBuf,
        /// Name or number of the user.
        owner: String,
    },
    /// It may not be written to by this user.
    #[error("the store `{}` can't be written to", root.display())]
    NotWritable {
        /// The store.
        root: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Objects are to carry the immutable flag, and can't.
    #[error("objects of the store `{}` can't be given the immutable flag", root.display())]
    CannotProtect {
        /// The store.
        root: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The database was not closed properly and can't be recovered without writing.
    #[error("the database of the store `{}` needs recovery by a user who may write to it", root.display())]
    NeedsRecovery {
        /// The store.
        root: PathBuf,
        /// SQLite's answer.
        source: Box<rusqlite::Error>,
    },
    /// There are objects, and no database that knows them. It can be made anew from them.
    #[error("the database of the store `{}` is lost, its objects are there", root.display())]
    DatabaseLost {
        /// The store.
        root: PathBuf,
    },
    /// Any other failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens the store; creates it when it is absent and may be written. Cleans up what a crash left behind,
    /// as far as that is cheap.
    ///
    /// # Errors
    /// When there is no store to read, a newer program wrote it, its file system can't lock, or it can't be written.
    pub fn open(options: OpenOptions) -> Result<Self, OpenError> {
        Self::open_with(options, Checkpoints::default())
    }

    pub(crate) fn open_with(options: OpenOptions, checkpoints: Checkpoints) -> Result<Self, OpenError> {
        let OpenOptions { root, access, durability, protect, clock } = options;
        let root = std::path::absolute(&root).on("find", &root)?;
        let layout = Layout::new(root);
        let mode = match access {
            Access::ReadWrite => {
                refuse_foreign_owner(&layout)?;
                create(&layout, durability)?;
                DatabaseMode::ReadWrite
            }
            Access::ReadOnly if !layout.database().exists() => {
                refuse_lost_database(&layout)?;
                return Err(OpenError::Missing { root: layout.root().to_owned() });
            }
            Access::ReadOnly => DatabaseMode::ReadOnly,
        };
        check_format(&layout)?;
        let writable_folder = is_writable(&layout.database_folder());
        if access == Access::ReadWrite || writable_folder {
            refuse_network_file_system(&layout)?;
        }
        refuse_lost_database(&layout)?;
        let mode = if mode == DatabaseMode::ReadOnly && !writable_folder { DatabaseMode::Unwritable } else { mode };
        checkpoint("open-checked");
        let database = Database::open(&layout, mode, durability == Durability::Full)?;
        let is_protecting = access == Access::ReadWrite && is_protecting(&layout, protect)?;
        let files = SharedFiles::new(layout.clone());
        let mut store = Self::new(
            Shared { layout, durability, files, checkpoints, interrupt: Interrupt::default() },
            database,
            (access, clock),
        );
        store.is_protecting = is_protecting;
        if access == Access::ReadWrite {
            Self::make_users_folder(store.layout());
            store.sweep_at_start()?;
        }
        Ok(store)
    }

    /// Opens a store that is only looked at, and not brought to the present format either, whoever may write to it.
    pub(crate) fn open_lower(layout: Layout, clock: Clock) -> Result<Self, OpenError> {
        check_format(&layout)?;
        refuse_network_file_system(&layout)?;
        refuse_lost_database(&layout)?;
        let database = Database::open(&layout, DatabaseMode::Unwritable, false)?;
        let files = SharedFiles::new(layout.clone());
        let (checkpoints, interrupt) = (Checkpoints::default(), Interrupt::default());
        let shared = Shared { layout, durability: Durability::None, files, checkpoints, interrupt };
        Ok(Self::new(shared, database, (Access::ReadOnly, clock)))
    }

    pub(crate) fn new(shared: Shared, database: Database, (access, clock): (Access, Clock)) -> Self {
        Self {
            shared: Arc::new(shared),
            database: Arc::new(database),
            access,
            clock,
            is_protecting: false,
            owner: OnceLock::new(),
            damaged: Damaged::default(),
            lost: Lost::default(),
            lower: Vec::new(),
        }
    }
}

/// Whether objects are to be protected; only root can, and only root's own store is.
fn is_protecting(layout: &Layout, protect: Protect) -> Result<bool, OpenError> {
    let is_roots = || fs::metadata(layout.root()).is_ok_and(|metadata| metadata.uid() == 0);
    if protect != Protect::Immutable || !nix::unistd::Uid::effective().is_root() || !is_roots() {
        return Ok(false);
    }
    fs_ops::try_immutable(&layout.tmp())
        .map(|()| true)
        .map_err(|source| OpenError::CannotProtect { root: layout.root().to_owned(), source })
}

/// A store with objects had a database: making an empty one would lose what keeps them.
fn refuse_lost_database(layout: &Layout) -> Result<(), OpenError> {
    if fs::metadata(layout.database()).is_ok_and(|metadata| metadata.len() > 0) || !layout.format().exists() {
        return Ok(());
    }
    let has_objects = fs::read_dir(layout.objects()).is_ok_and(|mut entries| entries.next().is_some());
    // Whoever makes a store has a database before the first object; look again, now that there is one.
    let there = || fs::metadata(layout.database()).is_ok_and(|metadata| metadata.len() > 0);
    if has_objects && !there() { Err(OpenError::DatabaseLost { root: layout.root().to_owned() }) } else { Ok(()) }
}

/// Makes the folders and the format file. Several processes may do so at once.
fn create(layout: &Layout, durability: Durability) -> Result<(), OpenError> {
    if layout.format().exists() && layout.database().exists() {
        return match nix::unistd::access(&layout.database_folder(), nix::unistd::AccessFlags::W_OK) {
            Ok(()) => Ok(()),
            Err(errno) => Err(not_writable(layout, errno.into())),
        };
    }
    refuse_other_contents(layout)?;
    let make = |path: &Path| fs::create_dir_all(path).map_err(|error| refused(layout, path, error));
    make(layout.root())?;
    for folder in layout.folders() {
        make(&folder)?;
    }
    let format = layout.format();
    checkpoint("open-folders");
    if !format.exists() {
        let (staged, mut file) = fs_ops::create_locked_file(&layout.tmp(), "format")?;
        file.write_all(format!("{FORMAT_PREFIX}{STORE_FORMAT}\n").as_bytes()).on("write", &staged)?;
        checkpoint("open-format-staged");
        if durability == Durability::Full {
            fs_ops::sync_path(&staged)?;
        }
        // Whoever comes first wins; all write the same.
        fs::rename(&staged, &format).on("create", &format)?;
        if durability == Durability::Full {
            fs_ops::sync_path(layout.root())?;
            renew_reserve(layout);
        }
    }
    Ok(())
}

/// A directory that somebody uses for something else must not be filled with a store by a slip of the pen. What a store
/// has itself may be there without its `format`: another process makes it in this moment, or was killed doing so.
fn refuse_other_contents(layout: &Layout) -> Result<(), OpenError> {
    // One that is not there, or can't be listed, is for the next step.
    let Ok(entries) = fs::read_dir(layout.root()) else { return Ok(()) };
    let names = entries.flatten().map(|entry| entry.file_name());
    let is_other = |name: &OsString| !layout.is_own(name) && !BESIDE_STORE.iter().any(|known| name == known);
    let other = names.filter(is_other).min();
    // The format is written last: whoever made the store meanwhile has made it of an empty directory.
    match other.filter(|_| !layout.format().exists()) {
        Some(found) => {
            let found = found.to_string_lossy().into_owned();
            Err(OpenError::NotAStore { root: layout.root().to_owned(), found })
        }
        None => Ok(()),
    }
}

fn refused(layout: &Layout, path: &Path, error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => not_writable(layout, error),
        _ => StoreError::io("create", path, error).into(),
    }
}

fn not_writable(layout: &Layout, source: io::Error) -> OpenError {
    OpenError::NotWritable { root: layout.root().to_owned(), source }
}

/// Root may write everywhere, so nothing else would stop it.
fn refuse_foreign_owner(layout: &Layout) -> Result<(), OpenError> {
    let owner = match fs::metadata(layout.root()) {
        Ok(metadata) if nix::unistd::Uid::effective().is_root() && metadata.uid() != 0 => metadata.uid(),
        // What is not there, or can't be looked at, is for the next step.
        _ => return Ok(()),
    };
    Err(OpenError::ForeignOwner { root: layout.root().to_owned(), owner: fs_ops::user_name(owner) })
}

fn is_writable(folder: &Path) -> bool {
    nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK).is_ok()
}

pub(crate) fn check_format(layout: &Layout) -> Result<(), OpenError> {
    use std::io::Read;
    let path = layout.format();
    let mut text = String::new();
    match fs::File::open(&path) {
        Ok(file) => file.take(FORMAT_BYTES_MAX).read_to_string(&mut text).on("read", &path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { root: layout.root().to_owned() });
        }
        Err(error) => return Err(StoreError::io("read", &path, error).into()),
    };
    let version = text.strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.trim_end().parse::<u32>().ok());
    match version {
        None => Err(OpenError::ForeignFormat { path }),
        Some(found) if found > STORE_FORMAT => {
            Err(OpenError::NewerFormat { root: layout.root().to_owned(), found, supported: STORE_FORMAT })
        }
        Some(_) => Ok(()),
    }
}

pub(crate) fn refuse_network_file_system(layout: &Layout) -> Result<(), OpenError> {
    let folder = layout.database_folder();
    let kind = statfs(&folder).on("examine the file system of", &folder)?.filesystem_type();
    // The kernel's numbers have 32 bits; the C type may be signed.
    let magic = (kind.0 as i64) & 0xFFFF_FFFF;
    let network = NETWORK_FILE_SYSTEMS.iter().find(|(number, _)| *number == magic).map(|(_, name)| (*name).to_owned());
    let network = match network {
        None if kind == FUSE_SUPER_MAGIC => network_fuse(&folder),
        other => other,
    };
    match network {
        Some(kind) => Err(OpenError::NetworkFileSystem { root: layout.root().to_owned(), kind }),
        None => Ok(()),
    }
}

/// The name of the FUSE file system that holds `folder`, if it is one of the network.
fn network_fuse(folder: &Path) -> Option<String> {
    let device = fs::metadata(folder).ok()?.dev();
    let wanted = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    network_fuse_in(&fs::read_to_string("/proc/self/mountinfo").ok()?, &wanted)
}

/// `mountinfo` lines: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - fuse.sshfs user@host: rw`.
fn network_fuse_in(mountinfo: &str, device: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let kind = file_system.split(' ').next()?;
        (mount.split(' ').nth(2)? == device && NETWORK_FUSE.contains(&kind)).then(|| kind.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_in_user_space_are_found_by_their_device() {
        let mountinfo = "30 1 0:25 / / rw - ext4 /dev/vda rw\n\
                         36 30 0:55 / /mnt/far rw,nosuid shared:1 - fuse.sshfs user@host: rw\n\
                         37 30 0:56 / /mnt/near rw - fuse.fuse-overlayfs x rw\n";
        assert_eq!(network_fuse_in(mountinfo, "0:55").as_deref(), Some("fuse.sshfs"));
        assert_eq!(network_fuse_in(mountinfo, "0:56"), None);
        assert_eq!(network_fuse_in(mountinfo, "0:99"), None);
    }
}
