//! Deciding what is dead: a pure function of the graph, the roots, the leases, the policy and the time.

use std::collections::{HashMap, HashSet};

use super::GcPolicy;
use crate::db::RowId;
use crate::db::graph::GraphObject;

/// Everything that the decision depends on, as one moment of the database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// The valid objects, sorted by row.
    pub(crate) objects: Vec<GraphObject>,
    /// Referrer, reference.
    pub(crate) references: Vec<(RowId, RowId)>,
    /// Root, object.
    pub(crate) root_objects: Vec<(RowId, RowId)>,
    /// Roots that keep nothing any more.
    pub(crate) dead_roots: HashSet<RowId>,
    /// Objects of live leases.
    pub(crate) leased: Vec<RowId>,
}

/// One dead object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) row: RowId,
    /// A dead root that kept it until now.
    pub(crate) kept_by: Option<RowId>,
}

/// The decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) dead: Vec<Dead>,
    pub(crate) live_count: u64,
    pub(crate) live_bytes: u64,
}

/// Finds the dead objects.
pub(crate) fn decide(graph: &Graph, policy: &GcPolicy, now: i64) -> Decision {
    let index = Index::new(graph);
    let mut live = vec![false; graph.objects.len()];
    let roots = graph.root_objects.iter().filter(|(root, _)| !graph.dead_roots.contains(root));
    let seeds = roots.map(|(_, object)| *object).chain(graph.leased.iter().copied());
    let mut waiting: Vec<usize> = seeds.filter_map(|row| index.position(row)).collect();
    waiting.extend((0..graph.objects.len()).filter(|position| is_young(&graph.objects[*position], policy, now)));
    index.mark(waiting, &mut live, |_| {});
    if policy.keep_sources {
        index.mark(sources_of_live(graph, &live), &mut live, |_| {});
    }
    let kept_by = kept_by_dead_roots(graph, &index, &live);
    let mut decision = Decision::default();
    for (position, object) in graph.objects.iter().enumerate() {
        if live[position] {
            decision.live_count += 1;
            decision.live_bytes = decision.live_bytes.saturating_add(object.size_bytes);
        } else {
            decision.dead.push(Dead { row: object.row, kept_by: kept_by.get(&position).copied() });
        }
    }
    decision
}

fn is_young(object: &GraphObject, policy: &GcPolicy, now: i64) -> bool {
    policy.is_young(object.registered_at, now)
}

/// Sources that live wheels and builds were made from.
fn sources_of_live(graph: &Graph, live: &[bool]) -> Vec<usize> {
    let objects = graph.objects.iter().enumerate();
    let made_from: HashSet<[u8; 16]> = objects
        .clone()
        .filter(|(position, object)| live[*position] && !object.is_source)
        .filter_map(|(_, object)| object.source)
        .collect();
    let wanted =
        |object: &GraphObject| object.is_source && object.source.is_some_and(|source| made_from.contains(&source));
    objects.filter(|(_, object)| wanted(object)).map(|(position, _)| position).collect()
}

/// For each object that only dead roots kept, one of them.
fn kept_by_dead_roots(graph: &Graph, index: &Index, live: &[bool]) -> HashMap<usize, RowId> {
    let mut seen = live.to_vec();
    let mut kept_by = HashMap::new();
    for (root, object) in &graph.root_objects {
        if graph.dead_roots.contains(root) {
            let start = index.position(*object).into_iter().collect();
            index.mark(start, &mut seen, |position| {
                kept_by.insert(position, *root);
            });
        }
    }
    kept_by
}

/// The edges by position, packed: those of object `n` are `targets[starts[n]..starts[n + 1]]`.
pub(super) struct Index<'a> {
    objects: &'a [GraphObject],
    starts: Vec<usize>,
    targets: Vec<usize>,
}

impl<'a> Index<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        let mut index = Self { objects: &graph.objects, starts: vec![0; graph.objects.len() + 1], targets: Vec::new() };
        let position = |row: &RowId| index.position(*row);
        let edges: Vec<(usize, usize)> =
            graph.references.iter().filter_map(|(from, to)| Some((position(from)?, position(to)?))).collect();
        for (from, _) in &edges {
            index.starts[from + 1] += 1;
        }
        for position in 1..index.starts.len() {
            index.starts[position] += index.starts[position - 1];
        }
        let mut next = index.starts.clone();
        index.targets = vec![0; edges.len()];
        for (from, to) in edges {
            index.targets[next[from]] = to;
            next[from] += 1;
        }
        index
    }

    pub(super) fn position(&self, row: RowId) -> Option<usize> {
        self.objects.binary_search_by_key(&row, |object| object.row).ok()
    }

    /// What the object at `position` refers to.
    pub(super) fn targets(&self, position: usize) -> &[usize] {
        &self.targets[self.starts[position]..self.starts[position + 1]]
    }

    /// Marks all that can be reached; without recursion, a chain may have any length.
    pub(super) fn mark(&self, mut waiting: Vec<usize>, marked: &mut [bool], mut on_mark: impl FnMut(usize)) {
        while let Some(position) = waiting.pop() {
            if std::mem::replace(&mut marked[position], true) {
                continue;
            }
            on_mark(position);
            waiting.extend(self.targets(position));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn graph(count: i64, references: &[(RowId, RowId)], roots: &[(RowId, RowId)]) -> Graph {
        let object = |row| GraphObject {
            row,
            is_source: false,
            size_bytes: 10,
            registered_at: 0,
            last_used_at: 0,
            source: None,
        };
        Graph {
            objects: (1..=count).map(object).collect(),
            references: references.to_vec(),
            root_objects: roots.to_vec(),
            ..Graph::default()
        }
    }

    fn policy() -> GcPolicy {
        GcPolicy { keep_sources: false, ..GcPolicy::default() }
    }

    fn dead(graph: &Graph, policy: &GcPolicy) -> Vec<RowId> {
        decide(graph, policy, NOW).dead.into_iter().map(|dead| dead.row).collect()
    }

    /// B7: an object that refers to itself, or a ring, is dead when no root reaches it.
    #[test]
    fn rings_do_not_keep_themselves() {
        let graph = graph(4, &[(1, 1), (2, 3), (3, 2), (4, 4)], &[(1, 4)]);
        assert_eq!(dead(&graph, &policy()), [1, 2, 3]);
    }

    #[test]
    fn leases_and_youth_keep_what_they_reach() {
        let mut graph = graph(4, &[(1, 2), (3, 4)], &[]);
        graph.leased = vec![1];
        graph.objects[2].registered_at = NOW - 3599;
        assert_eq!(dead(&graph, &policy()), Vec::<RowId>::new());
        graph.objects[2].registered_at = NOW - 3600;
        assert_eq!(dead(&graph, &policy()), [3, 4]);
        let no_age = GcPolicy { min_age_seconds: 0, ..policy() };
        graph.objects[2].registered_at = NOW + 100;
        assert_eq!(dead(&graph, &no_age), [3, 4], "age 0 asks for no age at all");
    }

    #[test]
    fn sources_live_with_what_was_made_of_them() {
        let mut graph = graph(3, &[], &[(1, 1)]);
        graph.objects[0].source = Some([7; 16]);
        graph.objects[1] = GraphObject { is_source: true, source: Some([7; 16]), ..graph.objects[1].clone() };
        graph.objects[2] = GraphObject { is_source: true, source: Some([8; 16]), ..graph.objects[2].clone() };
        assert_eq!(dead(&graph, &policy()), [2, 3]);
        assert_eq!(dead(&graph, &GcPolicy::default()), [3]);
    }

    #[test]
    fn a_dead_root_is_named_as_the_reason() {
        let mut graph = graph(3, &[(1, 2)], &[(9, 1)]);
        graph.dead_roots.insert(9);
        let kept_by: Vec<_> = decide(&graph, &policy(), NOW).dead.iter().map(|dead| dead.kept_by).collect();
        assert_eq!(kept_by, [Some(9), Some(9), None]);
    }

    proptest! {
        /// Whatever the graph: the dead are exactly what a naive fixed-point search does not reach,
        /// and no live object refers to a dead one.
        #[test]
        fn the_dead_are_what_nothing_reaches(
            references in proptest::collection::vec((1_i64..40, 1_i64..40), 0..120),
            roots in proptest::collection::vec((1_i64..5, 1_i64..40), 0..8),
        ) {
            let graph = graph(39, &references, &roots);
            let found: HashSet<RowId> = dead(&graph, &policy()).into_iter().collect();
            let mut live: HashSet<RowId> = roots.iter().map(|(_, object)| *object).collect();
            loop {
                let more: Vec<RowId> =
                    references.iter().filter(|(from, to)| live.contains(from) && !live.contains(to)).map(|(_, to)| *to).collect();
                if more.is_empty() {
                    break;
                }
                live.extend(more);
            }
            prop_assert_eq!(&found, &(1..40).filter(|row| !live.contains(row)).collect());
        }
    }
}
