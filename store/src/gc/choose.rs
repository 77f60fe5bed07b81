//! Which of the dead go, when not all have to: the least recently used first, never one that another still refers to.

use std::collections::HashSet;

use super::GcPolicy;
use super::graph::Edges;
use super::plan::{Dead, Graph};

/// The dead objects that go now, in the order in which they may be deleted. `wanted`: enough of them to free about so
/// many bytes, counted by their recorded sizes; `None`: all that the policy's age of use allows.
///
/// An object is used whenever one that refers to it is, so nothing goes before the last of its referrers.
pub(crate) fn choose(graph: &Graph, dead: Vec<Dead>, policy: &GcPolicy, now: i64, wanted: Option<u64>) -> Vec<Dead> {
    if wanted.is_none() && policy.older_than_seconds.is_none() {
        return dead;
    }
    let edges = &graph.references;
    let positions: Vec<usize> = dead.iter().filter_map(|dead| graph.objects.position(dead.row)).collect();
    let last_used = last_used(graph, &positions);
    let mut order = referrers_first(edges, &positions);
    order.sort_by_key(|position| last_used[*position]);
    if let Some(age) = policy.older_than_seconds {
        let limit = now.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
        order.retain(|position| last_used[*position] <= limit);
    }
    let mut bytes = 0_u64;
    let within = order.iter().take_while(|position| {
        let before = bytes;
        bytes = bytes.saturating_add(graph.objects[**position].size_bytes);
        wanted.is_none_or(|wanted| before < wanted)
    });
    let taken = within.count();
    let chosen = with_referrers(edges, &order, taken);
    let reasons: std::collections::HashMap<_, _> = dead.into_iter().map(|dead| (dead.row, dead)).collect();
    chosen.into_iter().filter_map(|position| reasons.get(&graph.objects[position].row).copied()).collect()
}

/// By position: when each dead object was last used, by itself or through what refers to it. Other positions hold 0.
fn last_used(graph: &Graph, dead: &[usize]) -> Vec<i64> {
    let mut moments = vec![0; graph.objects.len()];
    let mut seen = vec![true; graph.objects.len()];
    for position in dead {
        seen[*position] = false;
    }
    let mut newest_first = dead.to_vec();
    newest_first.sort_by_key(|position| std::cmp::Reverse(graph.objects[*position].last_used_at));
    for position in newest_first {
        let moment = graph.objects[position].last_used_at;
        graph.references.mark(vec![position], &mut seen, |reached| moments[reached] = moment);
    }
    moments
}

/// The dead objects so that each comes before what it refers to; within a ring in some order.
fn referrers_first(edges: &Edges, dead: &[usize]) -> Vec<usize> {
    let dead_set: HashSet<usize> = dead.iter().copied().collect();
    let mut seen = HashSet::with_capacity(dead.len());
    let mut finished = Vec::with_capacity(dead.len());
    for start in dead {
        // Without recursion, a chain may have any length: each entry is an object and its next edge to look at.
        let mut path = vec![(*start, 0)];
        if !seen.insert(*start) {
            continue;
        }
        while let Some((position, edge)) = path.pop() {
            match edges.targets(position).get(edge) {
                Some(target) => {
                    let target = *target as usize;
                    path.push((position, edge + 1));
                    if dead_set.contains(&target) && seen.insert(target) {
                        path.push((target, 0));
                    }
                }
                None => finished.push(position),
            }
        }
    }
    finished.reverse();
    finished
}

/// The first `taken` of `order`, and what of the rest still refers to one of them: the other members of a ring.
fn with_referrers(edges: &Edges, order: &[usize], taken: usize) -> Vec<usize> {
    let (chosen, rest) = order.split_at(taken.min(order.len()));
    let mut chosen = chosen.to_vec();
    let mut set: HashSet<usize> = chosen.iter().copied().collect();
    loop {
        let refers = |position: &&usize| {
            !set.contains(*position) && edges.targets(**position).iter().any(|target| set.contains(&(*target as usize)))
        };
        let more: Vec<usize> = rest.iter().filter(refers).copied().collect();
        if more.is_empty() {
            return chosen;
        }
        set.extend(&more);
        chosen.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::graph::Objects;
    use super::super::plan::decide;
    use super::*;
    use crate::db::RowId;
    use crate::db::graph::GraphObject;

    const NOW: i64 = 1_000_000;

    /// Objects 1, 2, 3 … of ten bytes each, last used at these moments; no roots.
    fn graph(used: &[i64], references: &[(RowId, RowId)]) -> Graph {
        let object = |(position, used): (usize, &i64)| GraphObject {
            row: i64::try_from(position).expect("few") + 1,
            is_source: false,
            size_bytes: 10,
            registered_at: 0,
            last_used_at: *used,
            source: None,
        };
        let objects: Objects = used.iter().enumerate().map(object).collect();
        Graph { references: Edges::of(&objects, references), objects, ..Graph::default() }
    }

    fn chosen(graph: &Graph, policy: &GcPolicy, wanted: Option<u64>) -> Vec<RowId> {
        let dead = decide(graph, policy, NOW).dead;
        choose(graph, dead, policy, NOW, wanted).into_iter().map(|dead| dead.row).collect()
    }

    fn policy() -> GcPolicy {
        GcPolicy { min_age_seconds: 0, keep_sources: false, ..GcPolicy::default() }
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let graph = graph(&[30, 10, 20], &[]);
        assert_eq!(chosen(&graph, &policy(), Some(1)), [2]);
        assert_eq!(chosen(&graph, &policy(), Some(11)), [2, 3]);
        assert_eq!(chosen(&graph, &policy(), Some(1000)), [2, 3, 1]);
        assert_eq!(chosen(&graph, &policy(), Some(0)), Vec::<RowId>::new());
        assert_eq!(chosen(&graph, &policy(), None), [1, 2, 3]);
    }

    #[test]
    fn what_is_referred_to_was_used_with_its_referrer() {
        let graph = graph(&[30, 10, 20], &[(1, 2)]);
        assert_eq!(chosen(&graph, &policy(), Some(1)), [3]);
        assert_eq!(chosen(&graph, &policy(), Some(11)), [3, 1]);
        assert_eq!(chosen(&graph, &policy(), Some(21)), [3, 1, 2]);
    }

    #[test]
    fn rings_go_together() {
        let graph = graph(&[10, 10, 10], &[(1, 2), (2, 3), (3, 1)]);
        assert_eq!(chosen(&graph, &policy(), Some(1)).len(), 3);
    }

    #[test]
    fn an_age_of_use_spares_what_was_used_since() {
        let graph = graph(&[NOW - 100, NOW - 101, NOW - 200], &[(1, 3)]);
        let old = GcPolicy { older_than_seconds: Some(101), ..policy() };
        assert_eq!(chosen(&graph, &old, None), [2], "3 was used with 1");
    }

    proptest! {
        /// Whatever the graph and the limit: what stays refers to nothing that goes, and the limit is met if it can be.
        #[test]
        fn what_stays_is_whole(
            used in proptest::collection::vec(0_i64..50, 1..40),
            edges in proptest::collection::vec((1_i64..40, 1_i64..40), 0..80),
            wanted in 0_u64..500,
        ) {
            let count = i64::try_from(used.len()).expect("few");
            let references: Vec<_> = edges.into_iter().filter(|(from, to)| *from <= count && *to <= count).collect();
            let graph = graph(&used, &references);
            let going: HashSet<RowId> = chosen(&graph, &policy(), Some(wanted)).into_iter().collect();
            for (from, to) in &references {
                prop_assert!(going.contains(from) || !going.contains(to), "{from} stays and refers to {to}");
            }
            let freed = going.len() as u64 * 10;
            prop_assert!(freed >= wanted.min(count.unsigned_abs() * 10));
            let aged = GcPolicy { older_than_seconds: Some(NOW.unsigned_abs() - 25), ..policy() };
            let going: HashSet<RowId> = chosen(&graph, &aged, None).into_iter().collect();
            for (from, to) in &references {
                prop_assert!(going.contains(from) || !going.contains(to), "{from} stays and refers to {to}");
            }
        }
    }
}
