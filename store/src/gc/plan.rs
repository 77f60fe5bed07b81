//! Deciding what is dead: a pure function of the graph, the roots, the leases, the policy and the time.

use std::collections::{HashMap, HashSet};

use super::GcPolicy;
use super::graph::{Edges, Objects};
use crate::db::RowId;
use crate::db::graph::GraphObject;

/// Everything that the decision depends on, as one moment of the database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// The valid objects, sorted by row.
    pub(crate) objects: Objects,
    /// What refers to what.
    pub(crate) references: Edges,
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
    let mut live = vec![false; graph.objects.len()];
    let roots = graph.root_objects.iter().filter(|(root, _)| !graph.dead_roots.contains(root));
    let seeds = roots.map(|(_, object)| *object).chain(graph.leased.iter().copied());
    let mut waiting: Vec<usize> = seeds.filter_map(|row| graph.objects.position(row)).collect();
    waiting.extend((0..graph.objects.len()).filter(|position| is_young(&graph.objects[*position], policy, now)));
    graph.references.mark(waiting, &mut live, |_| {});
    if policy.keep_sources {
        graph.references.mark(sources_of_live(graph, &live), &mut live, |_| {});
    }
    let kept_by = kept_by_dead_roots(graph, &live);
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
fn kept_by_dead_roots(graph: &Graph, live: &[bool]) -> HashMap<usize, RowId> {
    let mut seen = live.to_vec();
    let mut kept_by = HashMap::new();
    for (root, object) in &graph.root_objects {
        if graph.dead_roots.contains(root) {
            let start = graph.objects.position(*object).into_iter().collect();
            graph.references.mark(start, &mut seen, |position| {
                kept_by.insert(position, *root);
            });
        }
    }
    kept_by
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
        let objects: Objects = (1..=count).map(object).collect();
        Graph { references: Edges::of(&objects, references), objects, root_objects: roots.to_vec(), ..Graph::default() }
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
