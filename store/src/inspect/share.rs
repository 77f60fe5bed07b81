//! How much disk objects take, and how much of it they have for themselves.
//!
//! Equal files of objects are names of one inode. An inode belongs to every object that has a name for it; the pool in
//! `files/` and the environments are not asked. So the sum over objects is more than the disk they take, and
//! deleting one frees what is exclusively its own.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pip_accel_schema::store_path::ObjectId;
use rayon::prelude::*;
use serde::Serialize;

use crate::db;
use crate::error::{IoContext, StoreError};
use crate::store::Store;

/// What some objects take, together. Each inode counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many objects.
    pub objects: u64,
    /// Bytes of disk.
    pub bytes: u64,
    /// Those of the bytes that no other object of the store has a name for.
    pub exclusive_bytes: u64,
}

/// An inode with the objects that have a name for it.
#[derive(Debug, Clone, Copy)]
struct Inode {
    bytes: u64,
    /// Its owners are `owners[start..end]`.
    start: usize,
    end: usize,
}

/// The disk that each object of a store takes, as of one walk.
#[derive(Debug, Default)]
pub struct DiskShares {
    positions: HashMap<ObjectId, u32>,
    inodes: Vec<Inode>,
    /// Positions of objects; each inode has a slice of it, without duplicates.
    owners: Vec<u32>,
}

/// One name of one inode: device, inode, bytes, position of the object.
type Name = (u64, u64, u64, u32);

impl Store {
    /// Walks all objects once, in parallel, and tells what each takes: about a second for a million files that the
    /// kernel knows. What vanishes meanwhile counts nothing.
    ///
    /// # Errors
    /// When the database or a folder can't be read.
    pub fn disk_shares(&self) -> Result<DiskShares, StoreError> {
        let folders = self.database.read("list the objects", db::inspect::folders)?;
        let mut positions = HashMap::with_capacity(folders.len());
        let mut walks = Vec::with_capacity(folders.len());
        for (position, (_, id, path)) in (0_u32..).zip(folders) {
            positions.insert(id, position);
            walks.push((position, self.layout().object(&path)));
        }
        let names = walks.par_iter().map(|(position, folder)| {
            let mut names = Vec::new();
            names_below(folder, *position, &mut names).on("measure", folder).map(|()| names)
        });
        let mut names: Vec<Name> = names.collect::<Result<Vec<_>, _>>()?.concat();
        names.par_sort_unstable();
        Ok(DiskShares::of(positions, &names))
    }
}

fn names_below(folder: &Path, object: u32, names: &mut Vec<Name>) -> io::Result<()> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let add = |metadata: &fs::Metadata, names: &mut Vec<Name>| {
        names.push((metadata.dev(), metadata.ino(), metadata.blocks().saturating_mul(512), object));
    };
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        };
        match fs::symlink_metadata(&folder) {
            Ok(metadata) => add(&metadata, names),
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        }
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => add(&metadata, names),
                Err(error) if gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

impl DiskShares {
    /// Groups sorted `names` by inode.
    fn of(positions: HashMap<ObjectId, u32>, names: &[Name]) -> Self {
        let mut shares = Self { positions, ..Self::default() };
        let mut last = None;
        for (device, inode, bytes, object) in names {
            let end = shares.owners.len();
            if last != Some((*device, *inode)) {
                shares.inodes.push(Inode { bytes: *bytes, start: end, end });
                last = Some((*device, *inode));
            }
            let Some(inode) = shares.inodes.last_mut() else { continue };
            if !shares.owners[inode.start..].contains(object) {
                shares.owners.push(*object);
                inode.end = end + 1;
            }
        }
        shares
    }

    /// What these objects take together; ids that the store does not have count nothing.
    #[must_use]
    pub fn of_objects<'a>(&self, ids: impl IntoIterator<Item = &'a ObjectId>) -> Share {
        let mut members = vec![false; self.positions.len()];
        let mut share = Share::default();
        let ids: HashSet<&ObjectId> = ids.into_iter().collect();
        for id in ids {
            if let Some(position) = self.positions.get(id) {
                members[*position as usize] = true;
                share.objects += 1;
            }
        }
        for inode in &self.inodes {
            let owners = &self.owners[inode.start..inode.end];
            let is_member = |owner: &u32| members[*owner as usize];
            if owners.iter().any(is_member) {
                share.bytes = share.bytes.saturating_add(inode.bytes);
                if owners.iter().all(is_member) {
                    share.exclusive_bytes = share.exclusive_bytes.saturating_add(inode.bytes);
                }
            }
        }
        share
    }

    /// What all objects take together.
    #[must_use]
    pub fn total(&self) -> Share {
        self.of_objects(self.positions.keys())
    }

    /// The objects that were walked, in no order.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.positions.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_slice(&[byte; 20]).expect("twenty bytes")
    }

    /// Inode 1 belongs to object 0 (two names), 2 to both, 3 to object 1.
    #[test]
    fn an_inode_counts_once_and_is_exclusive_when_nobody_else_names_it() {
        let positions = HashMap::from([(id(0), 0), (id(1), 1)]);
        let mut names = vec![(9, 1, 10, 0), (9, 2, 100, 1), (9, 1, 10, 0), (9, 2, 100, 0), (9, 3, 1000, 1)];
        names.sort_unstable();
        let shares = DiskShares::of(positions, &names);
        let share = |objects, bytes, exclusive_bytes| Share { objects, bytes, exclusive_bytes };
        assert_eq!(shares.of_objects(&[id(0)]), share(1, 110, 10));
        assert_eq!(shares.of_objects(&[id(1), id(1)]), share(1, 1100, 1000));
        assert_eq!(shares.total(), share(2, 1110, 1110));
        assert_eq!(shares.of_objects(&[id(7)]), share(0, 0, 0));
        assert_eq!(shares.of_objects(&[]), share(0, 0, 0));
    }

    /// Device 8 is another file system: its inode 1 is another one.
    #[test]
    fn inodes_of_two_file_systems_are_two() {
        let shares = DiskShares::of(HashMap::from([(id(0), 0)]), &[(8, 1, 5, 0), (9, 1, 7, 0)]);
        assert_eq!(shares.total().bytes, 12);
    }
}
