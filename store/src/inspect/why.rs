//! What keeps an object alive, with the way from there to it.
//!
//! The search goes from the object to whatever keeps it alive, breadth first, so each way is a shortest one and
//! only what has to do with the object is read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::store_path::ObjectId;
use rusqlite::Connection;
use serde::Serialize;

use crate::db::inspect::Node;
use crate::db::{self, Failure, RowId};
use crate::gc::{DeadRoot, DeadRootReason, Examined, GcError, GcPolicy, KeptReason, RootState, UserFiles, UserRoot};
use crate::lock::{self, LockOwner};
use crate::root::Root;
use crate::store::Store;

/// How one step of a way leads to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// It is named by the root or lease itself.
    Named,
    /// The step before refers to it.
    Referred,
    /// The step before was made from it, and the policy keeps sources.
    Source,
}

/// One object on the way from what keeps to what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathStep {
    /// The object.
    pub id: ObjectId,
    /// The project.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// How the step before leads to it.
    pub by: StepKind,
}

/// Whether a root that keeps objects is where it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum RootCondition {
    /// It is there.
    There,
    /// It is not there, and keeps its objects all the same.
    Kept {
        /// Why.
        reason: KeptReason,
    },
    /// It is at another place now.
    Moved {
        /// Where.
        to: PathBuf,
    },
    /// It is gone and keeps nothing any more; the next collection removes it.
    Gone,
}

/// One thing that keeps an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum KeptBy {
    /// A root.
    Root {
        /// The root.
        root: Root,
        /// Whether it is there.
        condition: RootCondition,
        /// From what it names to the object, both included.
        path: Vec<PathStep>,
    },
    /// A root of another user, who reads this store as a lower store.
    User {
        /// Name or number of the user.
        user: String,
        /// The root; absent for one that only a newer program understands.
        #[serde(skip_serializing_if = "Option::is_none")]
        root: Option<Root>,
        /// From what it names to the object, both included.
        path: Vec<PathStep>,
    },
    /// A running process.
    Process {
        /// The process, as it told; pid 0 when it did not.
        owner: LockOwner,
        /// From what it uses to the object, both included.
        path: Vec<PathStep>,
    },
    /// It, or what leads to it, became valid a short while ago.
    Young {
        /// Until when, in seconds since 1970.
        until: i64,
        /// From what is young to the object, both included.
        path: Vec<PathStep>,
    },
}

/// What keeps an object, and what used to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Why {
    /// What keeps it: roots by kind and name, then processes, then its age. Empty: the next collection may take it.
    pub kept_by: Vec<KeptBy>,
    /// Roots that are gone, and kept it until now.
    pub gone: Vec<DeadRoot>,
    /// Until when its last use spares it by the policy, in seconds since 1970; only where nothing else does.
    pub spared_until: Option<i64>,
}

/// What leads to an object, in the order in which it was found.
struct Ancestors {
    nodes: Vec<Node>,
    /// For each but the object itself: what it leads to, and how.
    next: HashMap<RowId, (RowId, StepKind)>,
}

impl Store {
    /// What keeps the object `id` alive under `policy`; the collector's limits mean nothing here.
    /// An object that is not there is kept by nothing; of one in a lower store, what this store keeps of it is told.
    ///
    /// # Errors
    /// When a root can't be examined or the database can't be read.
    pub fn why(&self, id: &ObjectId, policy: &GcPolicy) -> Result<Why, GcError> {
        let examined = self.examine_roots(policy)?;
        let users = self.examine_users(policy)?;
        let why = self.database.snapshot("look for what keeps an object", |db| {
            let Some(ancestors) = Ancestors::of(db, id, policy)? else { return Ok(None) };
            let mut why = Why::default();
            roots(db, &ancestors, &examined, &mut why)?;
            why.kept_by.extend(ancestors.users(&users));
            why.kept_by.extend(self.processes(db, &ancestors)?);
            why.kept_by.extend(self.youth(&ancestors, policy));
            if let (true, Some(age)) = (why.kept_by.is_empty(), policy.older_than_seconds) {
                let used = ancestors.nodes.iter().map(|node| node.last_used_at).max().unwrap_or(0);
                let until = used.saturating_add(i64::try_from(age).unwrap_or(i64::MAX));
                why.spared_until = Some(until).filter(|until| *until > self.now());
            }
            Ok(Some(why))
        })?;
        why.map_or_else(|| self.why_below(id, &examined), Ok)
    }

    /// Which roots of this store keep an object of a lower store.
    fn why_below(&self, id: &ObjectId, examined: &[Examined]) -> Result<Why, GcError> {
        let mut why = Why::default();
        for said in self.roots_below(id)? {
            let found = examined.iter().find(|((_, root), _)| (root.kind, &root.name) == (said.kind, &said.name));
            // One that this store does not know any more was forgotten there, and is as dead.
            let state = found.map(|(_, state)| condition(state)).unwrap_or(RootCondition::Gone);
            match state {
                RootCondition::Gone => why.gone.push(DeadRoot { root: said, reason: DeadRootReason::Missing }),
                condition => why.kept_by.push(KeptBy::Root { root: said, condition, path: Vec::new() }),
            }
        }
        Ok(why)
    }

    /// Each root and whether it still keeps what it names, sorted by kind and name.
    ///
    /// # Errors
    /// When a root can't be examined or the database can't be read.
    pub fn root_conditions(&self, policy: &GcPolicy) -> Result<Vec<(Root, RootCondition)>, GcError> {
        let examined = self.examine_roots(policy)?;
        Ok(examined.into_iter().map(|((_, root), state)| (root, condition(&state))).collect())
    }

    /// The roots of other users who read this store as a lower store, by user, kind and name; those that this user may
    /// learn about: the store's owner of all.
    ///
    /// # Errors
    /// When the folder in which they are, or a file there, can't be read.
    pub fn roots_of_users(&self, policy: &GcPolicy) -> Result<Vec<(UserRoot, RootCondition)>, GcError> {
        let users = self.examine_users(policy)?;
        let mut roots: Vec<(UserRoot, RootCondition)> = users.roots().collect();
        let key = |root: &UserRoot| (root.user.clone(), root.root.as_ref().map(|root| (root.kind, root.name.clone())));
        roots.sort_by_cached_key(|(root, _)| key(root));
        Ok(roots)
    }

    fn processes(&self, db: &Connection, ancestors: &Ancestors) -> Result<Vec<KeptBy>, Failure> {
        let mut held: HashMap<String, bool> = HashMap::new();
        let mut found = Vec::new();
        let rows = db::lease::rows(db)?;
        for node in &ancestors.nodes {
            for (name, _) in rows.iter().filter(|(_, row)| *row == node.row) {
                if held.contains_key(name) {
                    continue;
                }
                let path = self.layout().lease_lock(name);
                let is_held = lock::is_held(&path)?;
                held.insert(name.clone(), is_held);
                if is_held {
                    found.push(KeptBy::Process { owner: lock::owner_of(&path), path: ancestors.path(node) });
                }
            }
        }
        Ok(found)
    }

    fn youth(&self, ancestors: &Ancestors, policy: &GcPolicy) -> Option<KeptBy> {
        let young = ancestors.nodes.iter().rev().filter(|node| policy.is_young(node.registered_at, self.now()));
        let youngest = young.max_by_key(|node| node.registered_at)?;
        let age = i64::try_from(policy.min_age_seconds).unwrap_or(i64::MAX);
        Some(KeptBy::Young { until: youngest.registered_at.saturating_add(age), path: ancestors.path(youngest) })
    }
}

pub(crate) fn condition(state: &RootState) -> RootCondition {
    match state {
        RootState::Live { .. } => RootCondition::There,
        RootState::Kept(reason) => RootCondition::Kept { reason: *reason },
        RootState::Moved { to, .. } => RootCondition::Moved { to: to.clone() },
        RootState::Dead(_) => RootCondition::Gone,
    }
}

fn roots(db: &Connection, ancestors: &Ancestors, examined: &[Examined], why: &mut Why) -> Result<(), Failure> {
    let mut ways: HashMap<RowId, &Node> = HashMap::new();
    for node in &ancestors.nodes {
        for root in db::inspect::roots_of(db, node.row)? {
            ways.entry(root).or_insert(node);
        }
    }
    for ((row, root), state) in examined {
        let Some(node) = ways.get(row) else { continue };
        match state {
            RootState::Dead(reason) => why.gone.push(DeadRoot { root: root.clone(), reason: *reason }),
            _ => why.kept_by.push(KeptBy::Root {
                root: root.clone(),
                condition: condition(state),
                path: ancestors.path(node),
            }),
        }
    }
    Ok(())
}

impl Ancestors {
    /// The object and all that leads to it; `None` when it is not there.
    fn of(db: &Connection, id: &ObjectId, policy: &GcPolicy) -> Result<Option<Self>, Failure> {
        let Some(object) = db::inspect::node(db, id)? else { return Ok(None) };
        let mut seen = HashSet::from([object.row]);
        let mut ancestors = Self { nodes: Vec::new(), next: HashMap::new() };
        let mut waiting = VecDeque::from([object]);
        while let Some(node) = waiting.pop_front() {
            let mut above: Vec<(Node, StepKind)> =
                db::inspect::referrers(db, node.row)?.into_iter().map(|above| (above, StepKind::Referred)).collect();
            if policy.keep_sources && node.is_source {
                let made = db::inspect::made_from(db, node.row)?;
                above.extend(made.into_iter().map(|above| (above, StepKind::Source)));
            }
            for (above, by) in above {
                if seen.insert(above.row) {
                    ancestors.next.insert(above.row, (node.row, by));
                    waiting.push_back(above);
                }
            }
            ancestors.nodes.push(node);
        }
        Ok(Some(ancestors))
    }

    /// The roots of other users that lead to the object.
    fn users(&self, users: &UserFiles) -> Vec<KeptBy> {
        let living = users.roots().filter(|(_, condition)| *condition != RootCondition::Gone);
        let kept = living.filter_map(|(root, _)| {
            let node = self.nodes.iter().find(|node| root.objects.contains(&node.id))?;
            Some(KeptBy::User { user: root.user, root: root.root, path: self.path(node) })
        });
        kept.collect()
    }

    /// From `start` to the object.
    fn path(&self, start: &Node) -> Vec<PathStep> {
        let nodes: HashMap<RowId, &Node> = self.nodes.iter().map(|node| (node.row, node)).collect();
        let mut path = vec![step(start, StepKind::Named)];
        let mut row = start.row;
        while let Some((next, by)) = self.next.get(&row) {
            path.extend(nodes.get(next).map(|node| step(node, *by)));
            row = *next;
        }
        path
    }
}

fn step(node: &Node, by: StepKind) -> PathStep {
    PathStep { id: node.id, name: node.name.clone(), version: node.version.clone(), by }
}
