//! The graph of a million objects in memory: objects by their rows, edges by position and packed.

use std::ops::{Deref, DerefMut};

use crate::db::RowId;
use crate::db::graph::GraphObject;

/// Row numbers are looked up in a table while it has at most so many places for each object.
const TABLE_PLACES_PER_OBJECT: usize = 8;

/// In the table: no object has this row.
const NO_OBJECT: u32 = u32::MAX;

/// Objects sorted by row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Objects {
    objects: Vec<GraphObject>,
    /// By row; empty where rows are too scattered.
    positions: Vec<u32>,
}

impl Objects {
    /// The position of the object with this row.
    pub(crate) fn position(&self, row: RowId) -> Option<usize> {
        if self.positions.is_empty() {
            return self.objects.binary_search_by_key(&row, |object| object.row).ok();
        }
        let position = *self.positions.get(usize::try_from(row).ok()?)?;
        (position != NO_OBJECT).then_some(position as usize)
    }
}

impl FromIterator<GraphObject> for Objects {
    /// The objects must come sorted by row.
    fn from_iter<T: IntoIterator<Item = GraphObject>>(objects: T) -> Self {
        let objects: Vec<GraphObject> = objects.into_iter().collect();
        let places = objects.last().and_then(|last| usize::try_from(last.row).ok()).map(|row| row + 1);
        let is_dense = |places: &usize| *places <= objects.len().saturating_mul(TABLE_PLACES_PER_OBJECT);
        let mut positions = vec![NO_OBJECT; places.filter(is_dense).unwrap_or(0)];
        for (position, object) in objects.iter().enumerate() {
            let place = usize::try_from(object.row).ok().and_then(|row| positions.get_mut(row));
            if let (Some(place), Ok(position)) = (place, u32::try_from(position)) {
                *place = position;
            }
        }
        Self { objects, positions }
    }
}

impl Deref for Objects {
    type Target = [GraphObject];

    fn deref(&self) -> &[GraphObject] {
        &self.objects
    }
}

impl DerefMut for Objects {
    fn deref_mut(&mut self) -> &mut [GraphObject] {
        &mut self.objects
    }
}

/// The edges by position, packed: those of object `n` are `targets[starts[n]..starts[n + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    starts: Vec<usize>,
    targets: Vec<u32>,
}

impl Edges {
    /// No edges yet between so many objects.
    pub(crate) fn builder(objects: &Objects) -> EdgesBuilder<'_> {
        EdgesBuilder { objects, edges: Self { starts: Vec::with_capacity(objects.len() + 1), targets: Vec::new() } }
    }

    /// Edges given as referrer and reference, in any order.
    #[cfg(test)]
    pub(crate) fn of(objects: &Objects, pairs: &[(RowId, RowId)]) -> Self {
        let mut pairs = pairs.to_vec();
        pairs.sort_unstable();
        let mut builder = Self::builder(objects);
        for (from, to) in pairs {
            builder.add(from, to);
        }
        builder.finish()
    }

    /// What the object at `position` refers to.
    pub(crate) fn targets(&self, position: usize) -> &[u32] {
        match (self.starts.get(position), self.starts.get(position + 1)) {
            (Some(start), Some(end)) => &self.targets[*start..*end],
            _ => &[],
        }
    }

    /// Marks all that can be reached; without recursion, a chain may have any length.
    pub(crate) fn mark(&self, mut waiting: Vec<usize>, marked: &mut [bool], mut on_mark: impl FnMut(usize)) {
        while let Some(position) = waiting.pop() {
            if std::mem::replace(&mut marked[position], true) {
                continue;
            }
            on_mark(position);
            waiting
                .extend(self.targets(position).iter().map(|target| *target as usize).filter(|target| !marked[*target]));
        }
    }
}

/// Takes edges in the order of their referrers, as the database has them: no second copy of millions of edges.
pub(crate) struct EdgesBuilder<'a> {
    objects: &'a Objects,
    edges: Edges,
}

impl EdgesBuilder<'_> {
    /// Adds an edge; its referrer must not come before that of the last one. Edges of other rows mean nothing.
    pub(crate) fn add(&mut self, from: RowId, to: RowId) {
        let (Some(from), Some(to)) = (self.objects.position(from), self.objects.position(to)) else { return };
        let Ok(to) = u32::try_from(to) else { return };
        self.start_until(from);
        self.edges.targets.push(to);
    }

    /// All of them.
    pub(crate) fn finish(mut self) -> Edges {
        self.start_until(self.objects.len());
        self.edges
    }

    fn start_until(&mut self, position: usize) {
        let end = self.edges.targets.len();
        self.edges.starts.resize(self.edges.starts.len().max(position + 1), end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(row: RowId) -> GraphObject {
        GraphObject { row, is_source: false, size_bytes: 0, registered_at: 0, last_used_at: 0, source: None }
    }

    #[test]
    fn rows_are_found_dense_and_scattered() {
        for rows in [vec![1, 2, 3], vec![2, 5, 9], vec![7, 1_000_000, 9_000_000_000]] {
            let objects: Objects = rows.iter().copied().map(object).collect();
            for (position, row) in rows.iter().enumerate() {
                assert_eq!(objects.position(*row), Some(position), "{row} of {rows:?}");
            }
            assert_eq!((objects.position(0), objects.position(-1), objects.position(i64::MAX)), (None, None, None));
            assert_eq!(objects.position(8), None);
        }
        assert_eq!(Objects::default().position(1), None);
    }

    #[test]
    fn edges_belong_to_their_referrer() {
        let objects: Objects = [2, 4, 6, 8].into_iter().map(object).collect();
        let edges = Edges::of(&objects, &[(8, 2), (4, 2), (4, 6), (4, 99), (99, 2)]);
        let targets: Vec<&[u32]> = (0..4).map(|position| edges.targets(position)).collect();
        assert_eq!(targets, [&[][..], &[0, 2], &[], &[0]]);
        assert_eq!(Edges::default().targets(3), &[] as &[u32]);
    }
}
