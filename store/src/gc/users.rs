//! What those who use this as a lower store keep: the collector's look into `users/`.
//!
//! Nothing there is trusted. A file that is none of ours says nothing, and is named in the report. A root is looked at
//! where it says it is, but in a thread that is not waited for beyond a limit: a user may have mounted something there that
//! never answers. Whatever can't be found out keeps its objects. Only an error of the disk aborts the collection.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pip_accel_schema::store_path::{ObjectId, StorePath};
use serde::Serialize;

use super::roots::{self, RootState};
use super::{GcError, GcPolicy, UsersKept};
use crate::error::{IoContext, StoreError};
use crate::fs_ops;
use crate::inspect::{RootCondition, condition};
use crate::lock;
use crate::lower::Gate;
use crate::lower::record::{self, Said};
use crate::root::{Root, RootKind};
use crate::store::{Access, Store};

/// Files of one user that count: more environments than anybody has. Those beyond, by name, say nothing.
const FILES_OF_USER_MAX: usize = 10_000;

/// Bytes in the files of one user that count: they are read while others wait.
const BYTES_OF_USER_MAX: u64 = 64 << 20;

/// How long it may take to look at all places of one user. What was not seen by then counts as there.
const LOOK_AT_USER_MAX: Duration = Duration::from_secs(10);

/// Names of files that say nothing in a report.
const NONSENSE_SHOWN_MAX: usize = 20;

/// A file whose making was cut short is older than this.
const UNFINISHED_AGE_SECONDS: i64 = 3600;

/// Tells one state of a file from another: inode, time of its last change.
type Stamp = (u64, i64, i64);

/// A file in `users/`.
#[derive(Debug, Clone)]
struct Seen {
    path: PathBuf,
    owner: u32,
    stamp: Stamp,
    said: Said,
    /// Of a root: what was found at its place.
    state: Option<RootState>,
}

/// All files in `users/`.
#[derive(Debug, Default)]
pub(crate) struct UserFiles(Vec<Seen>);

/// What processes of other users work with. While this lives, they find nothing that they did not find before.
#[derive(Debug, Default)]
pub(crate) struct UsersAtWork {
    _gate: Option<Gate>,
    objects: HashSet<ObjectId>,
}

impl UsersAtWork {
    /// Whether one of them works with the object whose folder has the name `path`.
    pub(crate) fn use_object(&self, path: &str) -> bool {
        !self.objects.is_empty() && path.parse::<StorePath>().is_ok_and(|path| self.objects.contains(path.id()))
    }
}

/// A root of another user that keeps objects of this store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserRoot {
    /// Name or number of the user.
    pub user: String,
    /// The store that it is a root of.
    pub store: PathBuf,
    /// The root; absent for one that only a newer program understands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// What it needs of this store.
    pub objects: Vec<ObjectId>,
}

impl Store {
    /// Reads what users need, and looks whether it still is there.
    pub(crate) fn examine_users(&self, policy: &GcPolicy) -> Result<UserFiles, GcError> {
        let mut files = self.list_users(&UserFiles::default())?;
        let mut by_owner: HashMap<u32, Vec<usize>> = HashMap::new();
        for (position, seen) in files.0.iter().enumerate() {
            if matches!(seen.said, Said::Root { .. }) {
                by_owner.entry(seen.owner).or_default().push(position);
            }
        }
        for positions in by_owner.into_values() {
            let places: Vec<Option<Root>> =
                positions.iter().map(|position| place_of(&files.0[*position].said)).collect();
            let states = look_at(places, policy, self.now());
            for (position, state) in positions.into_iter().zip(states) {
                files.0[position].state = Some(state);
            }
        }
        Ok(files)
    }

    /// What users need, for a collection: all of it can be read.
    pub(crate) fn examine_all_users(&self, policy: &GcPolicy) -> Result<UserFiles, GcError> {
        self.examine_users(policy)?.all_known()
    }

    /// The same while the gate is closed: what is new or changed counts as there.
    pub(crate) fn confirm_users(&self, before: &UserFiles) -> Result<UserFiles, GcError> {
        self.list_users(before)?.all_known()
    }

    /// Keeps other users from looking objects up, and tells with which ones their processes work.
    pub(crate) fn hold_users_off(&self) -> Result<UsersAtWork, StoreError> {
        let Some(gate) = self.close_gate()? else { return Ok(UsersAtWork::default()) };
        let files = self.list_users_where(&UserFiles::default(), record::is_lease).and_then(UserFiles::all_known);
        let files = files.map_err(|error| match error {
            GcError::UserUnreadable { path, source } => StoreError::io("read", &path, source),
            GcError::Store(error) => error,
            // Roots are not looked at.
            other => StoreError::io("read", &self.layout().users(), io::Error::other(other.to_string())),
        })?;
        Ok(UsersAtWork { _gate: Some(gate), objects: files.needs().copied().collect() })
    }

    /// Whether this process only looks at a store that another user collects: what that one alone may read is left out.
    pub(crate) fn is_onlooker(&self) -> bool {
        let me = nix::unistd::Uid::effective();
        let is_owner = || fs::metadata(self.root()).is_ok_and(|metadata| metadata.uid() == me.as_raw());
        self.access == Access::ReadOnly && !me.is_root() && !is_owner()
    }

    /// Closes the gate; `None` when nobody can use this as a lower store.
    pub(crate) fn close_gate(&self) -> Result<Option<Gate>, StoreError> {
        if fs::symlink_metadata(self.layout().users()).is_err() {
            return Ok(None);
        }
        let path = self.layout().users_lock();
        drop(lock::open_lock_file(&path)?);
        Gate::close(&path).map(Some)
    }

    fn list_users(&self, before: &UserFiles) -> Result<UserFiles, GcError> {
        self.list_users_where(before, |_| true)
    }

    fn list_users_where(&self, before: &UserFiles, wanted: impl Fn(&Path) -> bool) -> Result<UserFiles, GcError> {
        let folder = self.layout().users();
        let known: HashMap<&Path, &Seen> = before.0.iter().map(|seen| (seen.path.as_path(), seen)).collect();
        let mut spent: HashMap<u32, (usize, u64)> = HashMap::new();
        let mut files = Vec::new();
        for path in sorted(&folder)?.into_iter().filter(|path| wanted(path)) {
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // Something that its owner mounted there.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                Err(source) => return Err(GcError::UserUnreadable { path, source }),
            };
            let (owner, stamp) = (metadata.uid(), (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()));
            let (count, bytes) = spent.entry(owner).or_default();
            *count += 1;
            // One that is too long by itself is not read.
            let length = if metadata.len() > record::FILE_BYTES_MAX { 0 } else { metadata.len() };
            *bytes = bytes.saturating_add(length);
            if *count > FILES_OF_USER_MAX || *bytes > BYTES_OF_USER_MAX {
                files.push(Seen { path, owner, stamp, said: Said::Nothing, state: None });
                continue;
            }
            let same = known.get(path.as_path()).filter(|seen| seen.stamp == stamp);
            if let Some(seen) = same.filter(|seen| matches!(seen.said, Said::Root { .. } | Said::Nothing)) {
                files.push((*seen).clone());
                continue;
            }
            match record::read(&path) {
                Ok(None) => {}
                Ok(Some((owner, said))) => files.push(Seen { path, owner, stamp, said, state: None }),
                Err(source) => return Err(GcError::UserUnreadable { path, source }),
            }
        }
        Ok(UserFiles(files))
    }
}

impl UserFiles {
    /// An error where there is something that can't be read: then nobody knows what is needed.
    fn all_known(self) -> Result<Self, GcError> {
        match self.0.iter().find(|seen| seen.said == Said::Hidden) {
            Some(hidden) => {
                let (path, source) = (hidden.path.clone(), io::ErrorKind::PermissionDenied.into());
                Err(GcError::UserUnreadable { path, source })
            }
            None => Ok(self),
        }
    }

    /// The objects that are needed.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &ObjectId> {
        self.0.iter().flat_map(|seen| {
            let at_place: &[ObjectId] = match &seen.state {
                Some(RootState::Dead(_)) => return [].iter().chain(&[]),
                Some(RootState::Live { needs } | RootState::Moved { needs, .. }) => needs,
                Some(RootState::Kept(_)) | None => &[],
            };
            match &seen.said {
                Said::Root { objects, .. } | Said::Lease { is_held: true, objects } => objects.iter().chain(at_place),
                Said::Lease { is_held: false, .. } | Said::Hidden | Said::Nothing => [].iter().chain(&[]),
            }
        })
    }

    /// What the report says of them.
    pub(crate) fn kept(&self) -> UsersKept {
        let mut kept = UsersKept::default();
        for seen in &self.0 {
            match (&seen.said, &seen.state) {
                (Said::Root { .. }, Some(RootState::Dead(_))) => kept.gone += 1,
                (Said::Root { .. }, _) => kept.roots += 1,
                (Said::Lease { is_held: true, .. }, _) => kept.processes += 1,
                (Said::Hidden, _) => kept.hidden += 1,
                (Said::Nothing, _) if !is_unfinished(&seen.path) && kept.nonsense.len() < NONSENSE_SHOWN_MAX => {
                    kept.nonsense.push(seen.path.clone());
                }
                (Said::Lease { .. } | Said::Nothing, _) => {}
            }
        }
        kept
    }

    /// The roots, gone ones included, and whether each is there.
    pub(crate) fn roots(&self) -> impl Iterator<Item = (UserRoot, RootCondition)> {
        self.0.iter().filter_map(|seen| match &seen.said {
            Said::Root { root, objects, store } => {
                let user = fs_ops::user_name(seen.owner);
                let root = UserRoot { user, store: store.clone(), root: root.clone(), objects: objects.clone() };
                Some((root, seen.state.as_ref().map_or(RootCondition::There, condition)))
            }
            Said::Lease { .. } | Said::Hidden | Said::Nothing => None,
        })
    }

    /// Deletes the files of roots that are gone and of processes that are dead. The gate is closed.
    pub(crate) fn tidy(&self, now: i64) {
        for seen in &self.0 {
            let is_dead = match &seen.said {
                Said::Root { .. } => matches!(seen.state, Some(RootState::Dead(_))),
                Said::Lease { is_held, .. } => !is_held,
                Said::Hidden => false,
                Said::Nothing => is_unfinished(&seen.path) && seen.stamp.1 < now.saturating_sub(UNFINISHED_AGE_SECONDS),
            };
            if is_dead && let Err(error) = fs::remove_file(&seen.path) {
                tracing::debug!(%error, path = %seen.path.display(), "a file of a user stays");
            }
        }
    }
}

/// Whether the name is that of a root file on its way.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split_once('-').is_some_and(|(_, rest)| rest.starts_with(record::UNFINISHED_PREFIX))
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>, GcError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder, error).into()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.on("list", folder)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// What is to be looked at: a pin lives as long as the store that it was set in.
fn place_of(said: &Said) -> Option<Root> {
    let Said::Root { root: Some(root), store, .. } = said else { return None };
    Some(match root.kind {
        RootKind::Pin => Root { kind: RootKind::Lock, location: store.join("format"), ..root.clone() },
        RootKind::Environment | RootKind::Lock => root.clone(),
    })
}

/// What is found at the places of one user, in their order, as far as they answer in time.
fn look_at(places: Vec<Option<Root>>, policy: &GcPolicy, now: i64) -> Vec<RootState> {
    let started = Instant::now();
    let count = places.len();
    let (sender, receiver) = mpsc::channel();
    let policy = policy.clone();
    let look = move || {
        let known = roots::known_places(places.iter().flatten());
        for place in &places {
            let state = match place {
                Some(place) => roots::examine(place, &known, &policy, now).unwrap_or_else(|_| here()),
                None => here(),
            };
            if sender.send(state).is_err() {
                return;
            }
        }
    };
    // It is left to itself when it takes too long, and ends with the process.
    let is_looking = std::thread::Builder::new().name("users".to_owned()).spawn(look).is_ok();
    let answer = |_| {
        let left = LOOK_AT_USER_MAX.saturating_sub(started.elapsed());
        let found = if is_looking { receiver.recv_timeout(left).ok() } else { None };
        found.unwrap_or_else(here)
    };
    (0..count).map(answer).collect()
}

/// Nobody knows better.
fn here() -> RootState {
    RootState::Live { needs: Vec::new() }
}
