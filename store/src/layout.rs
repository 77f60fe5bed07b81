//! Every path inside the store's root; the only file with names of folders.
//!
//! ```text
//! <root>/
//!   format                  "pip-accel store 1\n"
//!   db/store.sqlite         the database (and its -wal and -shm)
//!   store/<store path>/     the objects; each holds manifest.json
//!   files/<3 hex>/<61 hex>  contents that objects share by hard links; "-x" executable, "~1" next generation
//!   logs/<name>.zst         build logs
//!   locks/                  flock files: gc, publish, users, lease-<name>, key-<hash>
//!   tmp/                    staging and build folders, each flocked by its owner
//!   trash/                  what is being deleted
//!   reserve                 bytes that a collection on a full disk may use
//!   roots/<hash>.json       the roots, for a lost database
//!   users/                  what other users, for whom this is a lower store, need of it
//!   quarantine/             what repairs could not mend
//!   index/                  indexes that callers make, such as that of Debian's files
//!   layers/                 kept for unpacked system packages
//! ```

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use pip_accel_schema::digest::{FileDigest, ValueDigest};
use pip_accel_schema::encode::Encoder;

/// The record inside each object's folder.
pub(crate) const RECORD_FILE: &str = "manifest.json";

/// Prefix of folders among the objects that are about to take an object's place, or just lost it. Exchanging two folders
/// of one parent needs no write permission on them, so that both keep their read-only modes.
pub(crate) const SWAP_PREFIX: &str = ".swap-";

/// Prefix of the lock files of leases.
pub(crate) const LEASE_PREFIX: &str = "lease-";

/// Prefix of the lock files of keys.
pub(crate) const KEY_PREFIX: &str = "key-";

/// Ending of build logs.
pub(crate) const LOG_SUFFIX: &str = ".zst";

const FOLDERS: [&str; 10] = ["db", "store", "files", "roots", "logs", "locks", "tmp", "trash", "layers", "index"];

/// Entries of the root that come later.
const OTHERS: [&str; 5] = ["format", "reserve", "links", "quarantine", "users"];

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folders that every store has.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        FOLDERS.iter().map(|name| self.root.join(name))
    }

    /// Whether an entry of the root has the name of one that a store has.
    pub(crate) fn is_own(&self, name: &OsStr) -> bool {
        FOLDERS.iter().chain(&OTHERS).any(|own| name == *own)
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    /// Space that is given up when a collection starts, so that its bookkeeping fits on a full disk.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    pub(crate) fn migrate_lock(&self) -> PathBuf {
        self.root.join("locks/migrate")
    }

    pub(crate) fn database_folder(&self) -> PathBuf {
        self.root.join("db")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("db/store.sqlite")
    }

    /// A file beside the database, whose name goes on with `ending`.
    pub(crate) fn database_beside(&self, ending: &str) -> PathBuf {
        self.root.join("db").join(format!("store.sqlite{ending}"))
    }

    /// Says that the database was made anew without all that it should have; absent otherwise.
    pub(crate) fn incomplete_marker(&self) -> PathBuf {
        self.database_beside(".incomplete")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("store")
    }

    /// The folder of the object whose store path is the text `path`.
    pub(crate) fn object(&self, path: &str) -> PathBuf {
        self.root.join("store").join(path)
    }

    /// Where the content `digest` is shared. 4096 folders keep each of them small with ten million contents;
    /// a new generation starts when the file system allows no more links to the last.
    pub(crate) fn shared_file(&self, digest: &FileDigest, executable: bool, generation: u16) -> PathBuf {
        let hex = digest.to_hex();
        let (shard, rest) = hex.split_at(3);
        let executable = if executable { "-x" } else { "" };
        let generation = if generation == 0 { String::new() } else { format!("~{generation}") };
        self.root.join("files").join(shard).join(format!("{rest}{executable}{generation}"))
    }

    /// Links that environments share; made by whoever makes environments, emptied by collections.
    pub(crate) fn link_farm(&self) -> PathBuf {
        self.root.join("links")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(name)
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn gc_lock(&self) -> PathBuf {
        self.root.join("locks/gc")
    }

    /// The gate between the collector and those who use this as a lower store.
    pub(crate) fn users_lock(&self) -> PathBuf {
        self.root.join("locks/users")
    }

    /// Where those who use this as a lower store say what they use.
    pub(crate) fn users(&self) -> PathBuf {
        self.root.join("users")
    }

    pub(crate) fn publish_lock(&self) -> PathBuf {
        self.root.join("locks/publish")
    }

    pub(crate) fn lease_lock(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(format!("{LEASE_PREFIX}{name}"))
    }

    /// The lock file of `key`: hashed, since keys hold whatever callers like.
    pub(crate) fn key_lock(&self, key: &str) -> PathBuf {
        let digest = ValueDigest::from_bytes(Encoder::for_domain("pip-accel/lock-key/1").text(key).finish());
        self.root.join("locks").join(format!("{KEY_PREFIX}{}", &digest.to_hex()[..40]))
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where repairs put what they can't mend.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The roots once more, a file each, for the day on which the database is lost.
    pub(crate) fn roots(&self) -> PathBuf {
        self.root.join("roots")
    }

    /// The folder of the shared contents.
    pub(crate) fn shared_files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// What is kept of other systems' lists, such as Debian's.
    pub(crate) fn indexes(&self) -> PathBuf {
        self.root.join("index")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
}
