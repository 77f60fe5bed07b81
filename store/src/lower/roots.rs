//! Roots of the own store that need objects of lower stores: said there, and taken back.
//!
//! The own database knows what a root needs of the own store only. What it needs of a lower store stands in its file there.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use pip_accel_schema::store_path::ObjectId;

use super::record;
use crate::db;
use crate::error::StoreError;
use crate::root::{Root, RootKind, device_above};
use crate::store::{Durability, Store};

impl Store {
    fn is_durable(&self) -> bool {
        self.shared.durability == Durability::Full
    }

    /// Says in the lower stores that `root` needs those of `all` that are not in `own`, each in the first that has it. What
    /// was said of others of `all` stays said: links of an environment may lead there although another store has them now.
    pub(crate) fn put_root_below(&self, root: &Root, all: &[ObjectId], own: &[ObjectId]) -> Result<(), StoreError> {
        let all: BTreeSet<ObjectId> = all.iter().copied().collect();
        let mut open = all.clone();
        open.retain(|id| !own.contains(id));
        let mut needed = Vec::with_capacity(self.lower.len());
        for lower in &self.lower {
            let gate = lower.enter()?;
            let wanted: Vec<ObjectId> = open.iter().copied().collect();
            let mut here: BTreeSet<ObjectId> = lower.having(&wanted)?.into_iter().collect();
            open.retain(|id| !here.contains(id));
            if let Some(users) = &lower.users {
                let said = record::registered(users, self.root(), root.kind, &root.name);
                here.extend(said.intersection(&all));
            }
            needed.push((lower, here, gate));
        }
        if let Some(id) = open.first() {
            return Err(StoreError::MissingObject(*id));
        }
        let mut root = root.clone();
        if root.kind == RootKind::Pin {
            // It lives as long as this store.
            root.device = device_above(&self.layout().format())?;
        }
        for (lower, here, _gate) in &needed {
            if let Some(users) = &lower.users {
                record::write(users, self.root(), &root, here, self.is_durable())?;
            }
        }
        self.checkpoint("lower-roots-said");
        Ok(())
    }

    /// Whether the lower stores were told that the root needs what is in `all` and not in `own`, and nothing beyond `all`.
    pub(crate) fn is_held_below(
        &self,
        (kind, name): (RootKind, &str),
        all: &BTreeSet<ObjectId>,
        own: &HashSet<ObjectId>,
    ) -> Result<bool, StoreError> {
        let mut open: Vec<ObjectId> = all.iter().filter(|id| !own.contains(id)).copied().collect();
        for lower in &self.lower {
            let said = match &lower.users {
                Some(users) => record::registered(users, self.root(), kind, name),
                // Nobody can be told, so nothing is missing.
                None => lower.having(&open)?.into_iter().collect(),
            };
            if !said.is_subset(all) {
                return Ok(false);
            }
            open.retain(|id| !said.contains(id));
        }
        Ok(open.is_empty())
    }

    /// Whether the lower stores have all of `ids`, whole as far as a look at their folders tells.
    pub(crate) fn are_usable_below(&self, mut ids: Vec<ObjectId>) -> bool {
        for lower in &self.lower {
            if ids.is_empty() {
                break;
            }
            let found = lower.look_up("look for objects", |store, db| {
                ids.iter().map(|id| db::object::find_valid(db, store.layout(), id)).collect()
            });
            let here: HashSet<ObjectId> = lower.note(found).into_iter().flatten().map(|object| object.id).collect();
            ids.retain(|id| !here.contains(id));
        }
        ids.is_empty()
    }

    /// Takes back what was said of a root. What stays there keeps too much, never too little.
    pub(crate) fn remove_root_below(&self, kind: RootKind, name: &str) {
        for lower in &self.lower {
            let Some(users) = &lower.users else { continue };
            if let Err(error) = record::remove(users, self.root(), kind, name) {
                tracing::warn!(%error, root = name, "a root that was removed still keeps objects of a lower store");
            }
        }
    }

    /// Says that an environment is at another place now.
    pub(crate) fn follow_below(&self, old: &Root, to: &Path) {
        let new = Root { name: to.to_string_lossy().into_owned(), location: to.to_owned(), ..old.clone() };
        for lower in &self.lower {
            let Some(users) = &lower.users else { continue };
            let objects = record::registered(users, self.root(), old.kind, &old.name);
            if objects.is_empty() {
                continue;
            }
            let said = lower.enter().and_then(|_gate| {
                // One that is there already is younger.
                if record::registered(users, self.root(), new.kind, &new.name).is_empty() {
                    record::write(users, self.root(), &new, &objects, self.is_durable())?;
                }
                record::remove(users, self.root(), old.kind, &old.name)
            });
            if let Err(error) = said {
                tracing::warn!(%error, root = old.name, "a root that was moved keeps objects of a lower store by its old place");
            }
        }
    }

    /// The roots of this store that keep the object `id` of a lower store.
    pub(crate) fn roots_below(&self, id: &ObjectId) -> Result<Vec<Root>, StoreError> {
        let mut roots = Vec::new();
        for lower in &self.lower {
            let Some(users) = &lower.users else { continue };
            let said = record::roots_of(users, self.root())?;
            roots.extend(said.into_iter().filter(|(_, objects)| objects.contains(id)).map(|(root, _)| root));
        }
        Ok(roots)
    }
}
