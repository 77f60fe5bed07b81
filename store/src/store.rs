//! The handle on a store: what it is opened with and what every part of the crate needs of it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::checkpoint::Checkpoints;
use crate::db::Database;
use crate::dedupe::SharedFiles;
use crate::error::{IoContext, StoreError};
use crate::interrupt::Interrupt;
use crate::layout::Layout;
use crate::lost::Lost;
use crate::lower::LowerStore;
use crate::repair::Damaged;

/// What a store may be opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Look-ups only. Works on a directory that can't be written to. Leases are not recorded then:
    /// only the owner of the store can keep its `gc` away.
    ReadOnly,
}

/// Whether what was published survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Data reach the disk before the row that makes them valid.
    Full,
    /// Nothing is synced: for tests and stores that are thrown away.
    None,
}

/// Whether the folders of published objects carry the immutable flag, which stops root as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protect {
    /// What is best for most. For now that is [`Protect::None`]; the store's document says why.
    #[default]
    Auto,
    /// They do, in a store that belongs to root and is opened by root.
    Immutable,
    /// They do not.
    None,
}

/// Where the time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Always this moment, in seconds since 1970.
    Fixed(i64),
}

impl Clock {
    /// The moment, in seconds since 1970.
    #[must_use]
    pub fn now(self) -> i64 {
        match self {
            Self::System => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
            Self::Fixed(now) => now,
        }
    }
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The store's root; created when absent and `access` is [`Access::ReadWrite`].
    pub root: PathBuf,
    /// What for.
    pub access: Access,
    /// Whether to sync.
    pub durability: Durability,
    /// Whether folders of objects get the immutable flag.
    pub protect: Protect,
    /// Where the time comes from.
    pub clock: Clock,
}

/// What trees that are being written share with their store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) durability: Durability,
    pub(crate) files: SharedFiles,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) interrupt: Interrupt,
}

/// An open store. One handle serves all threads of a process; put it in an [`Arc`].
#[derive(Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) database: Arc<Database>,
    pub(crate) access: Access,
    pub(crate) clock: Clock,
    /// Whether folders of objects get the immutable flag; it was tried.
    pub(crate) is_protecting: bool,
    /// See [`Self::owner`].
    pub(crate) owner: OnceLock<u32>,
    pub(crate) damaged: Damaged,
    /// What look-ups must not find though its row is valid.
    pub(crate) lost: Lost,
    /// What is read beside this store.
    pub(crate) lower: Vec<LowerStore>,
}

/// Room on a store's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DiskSpace {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Size of the file system in bytes.
    pub total_bytes: u64,
}

impl Store {
    /// The store's root, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.shared.layout.root()
    }

    /// What the store was opened for.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    /// Room on the store's file system.
    ///
    /// # Errors
    /// When the file system can't be asked.
    pub fn disk(&self) -> Result<DiskSpace, StoreError> {
        let root = self.root();
        let answer = nix::sys::statvfs::statvfs(root).on("measure the file system of", root)?;
        let unit = answer.fragment_size();
        Ok(DiskSpace {
            free_bytes: unit.saturating_mul(answer.blocks_available()),
            total_bytes: unit.saturating_mul(answer.blocks()),
        })
    }

    /// The user to whom all of the store belongs; this one where that can't be found out.
    pub(crate) fn owner(&self) -> u32 {
        let owner = || std::fs::symlink_metadata(self.layout().objects()).map(|metadata| metadata.uid());
        *self.owner.get_or_init(|| owner().unwrap_or_else(|_| nix::unistd::Uid::effective().as_raw()))
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// A folder for links and small files that environments share as hard links: one folder for each object, whose
    /// name begins with the object's id. It may be absent, whatever is in it may vanish at any time, and what is in
    /// it for a deleted object goes with the object. `None` for a store that is only read.
    #[must_use]
    pub fn link_farm(&self) -> Option<PathBuf> {
        (self.access() == Access::ReadWrite).then(|| self.layout().link_farm())
    }

    /// The folder for indexes that callers make and read: what is in it may vanish at any time, and costs time only.
    #[must_use]
    pub fn index_folder(&self) -> PathBuf {
        self.layout().indexes()
    }

    /// The moment by the store's clock, in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Refuses `action` unless the store may be written.
    pub(crate) fn writable(&self, action: &'static str) -> Result<(), StoreError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(StoreError::ReadOnly { root: self.root().to_owned(), action }),
        }
    }

    pub(crate) fn checkpoint(&self, name: &'static str) {
        self.shared.checkpoints.reach(name);
    }
}
