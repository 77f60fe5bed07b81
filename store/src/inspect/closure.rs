//! What objects and roots keep alive: everything that can be reached from them.

use std::collections::HashMap;

use pip_accel_schema::store_path::ObjectId;
use rusqlite::Connection;

use super::why::{RootCondition, condition};
use crate::db::{self, Failure, RowId};
use crate::error::StoreError;
use crate::gc::graph::{Edges, Objects};
use crate::gc::{GcError, GcPolicy};
use crate::root::Root;
use crate::store::Store;

/// A root and all that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootClosure {
    /// Whose root it is, where that is another user who reads this store as a lower store: name or number.
    pub user: Option<String>,
    /// The root.
    pub root: Root,
    /// Whether it is there.
    pub condition: RootCondition,
    /// The objects it names, what these refer to and, by policy, the sources of all of them; sorted.
    pub objects: Vec<ObjectId>,
}

/// The graph as closures need it.
struct Reach {
    objects: Objects,
    edges: Edges,
    ids: HashMap<RowId, ObjectId>,
    /// Positions of sources by the first half of their digest; empty when the policy keeps none.
    sources: HashMap<[u8; 16], usize>,
}

impl Store {
    /// Each root with what it keeps under `policy`: those of this store by kind and name, then those of other users that this
    /// one may learn about, by user, kind and name.
    ///
    /// # Errors
    /// When a root can't be examined or the database can't be read.
    pub fn root_closures(&self, policy: &GcPolicy) -> Result<Vec<RootClosure>, GcError> {
        let examined = self.examine_roots(policy)?;
        let of_users = self.roots_of_users(policy)?;
        let found = self.database.snapshot("look up what the roots keep", |db| {
            let reach = Reach::read(db, policy.keep_sources)?;
            let mut named: HashMap<RowId, Vec<RowId>> = HashMap::new();
            for (root, object) in db::graph::root_objects(db)? {
                named.entry(root).or_default().push(object);
            }
            let closure = |row: &RowId| reach.from(named.get(row).map_or(&[][..], Vec::as_slice));
            let closures = examined.iter().map(|((row, root), state)| RootClosure {
                user: None,
                root: root.clone(),
                condition: condition(state),
                objects: closure(row),
            });
            let mut closures: Vec<RootClosure> = closures.collect();
            for (found, condition) in of_users {
                let Some(root) = found.root else { continue };
                let mut rows = Vec::with_capacity(found.objects.len());
                for id in &found.objects {
                    rows.extend(db::object::find_any_state(db, id)?.map(|found| found.row));
                }
                let objects = reach.from(&rows);
                closures.push(RootClosure { user: Some(found.user), root, condition, objects });
            }
            Ok(closures)
        })?;
        Ok(found)
    }

    /// The objects of `ids`, what they refer to and, when `with_sources`, the sources of all of them; sorted.
    /// Ids that the store does not have are left out.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn closure(&self, ids: &[ObjectId], with_sources: bool) -> Result<Vec<ObjectId>, StoreError> {
        self.database.snapshot("look up a closure", |db| {
            let mut rows = Vec::with_capacity(ids.len());
            for id in ids {
                rows.extend(db::object::find_any_state(db, id)?.map(|found| found.row));
            }
            Ok(Reach::read(db, with_sources)?.from(&rows))
        })
    }
}

impl Reach {
    fn read(db: &Connection, with_sources: bool) -> Result<Self, Failure> {
        let objects = db::graph::objects(db)?;
        let edges = db::graph::references(db, &objects)?;
        let ids = db::inspect::folders(db)?.into_iter().map(|(row, id, _)| (row, id)).collect();
        let sources = objects.iter().enumerate().filter(|(_, object)| with_sources && object.is_source);
        let sources = sources.filter_map(|(position, object)| Some((object.source?, position))).collect();
        Ok(Self { objects, edges, ids, sources })
    }

    fn from(&self, rows: &[RowId]) -> Vec<ObjectId> {
        let mut reached = vec![false; self.objects.len()];
        let mut sources = Vec::new();
        let mut waiting: Vec<usize> = rows.iter().filter_map(|row| self.objects.position(*row)).collect();
        while !waiting.is_empty() {
            self.edges.mark(std::mem::take(&mut waiting), &mut reached, |position| {
                let source = self.objects[position].source.and_then(|digest| self.sources.get(&digest));
                sources.extend(source.copied());
            });
            waiting.extend(sources.drain(..).filter(|position| !reached[*position]));
        }
        let rows = self.objects.iter().zip(reached).filter(|(_, reached)| *reached).map(|(object, _)| object.row);
        let mut ids: Vec<ObjectId> = rows.filter_map(|row| self.ids.get(&row).copied()).collect();
        ids.sort_unstable();
        ids
    }
}
