//! A graph in the language of Graphviz.

use std::fmt::Write as _;

use super::{Graph, NodeKind};

/// The graph as one `digraph`, with its line end.
#[must_use]
pub(crate) fn dot(graph: &Graph) -> String {
    let mut text =
        "digraph \"pip-accel\" {\n  rankdir=LR;\n  node [shape=box, style=filled, fontname=monospace];\n".to_owned();
    for (position, node) in graph.nodes.iter().enumerate() {
        let (fill, border) = node.kind.colours();
        let dashed = if node.kind == NodeKind::Missing { ", style=dashed" } else { "" };
        let detail = if node.detail.is_empty() { String::new() } else { format!("\\n{}", quoted(&node.detail)) };
        let label = quoted(&node.label);
        // Writing into a text can't fail.
        let _ = writeln!(
            text,
            "  n{position} [label=\"{label}{detail}\", fillcolor=\"{fill}\", color=\"{border}\"{dashed}];"
        );
    }
    for (from, to, kind) in &graph.edges {
        let word = kind.word();
        let label = if word.is_empty() { String::new() } else { format!(" [label=\"{word}\"]") };
        let _ = writeln!(text, "  n{from} -> n{to}{label};");
    }
    text.push_str("}\n");
    text
}

/// The inside of a quoted string.
fn quoted(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .flat_map(|character| {
            let escape = matches!(character, '"' | '\\').then_some('\\');
            escape.into_iter().chain([character])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn strange_names_stay_inside_their_quotes() {
        let text = dot(&example());
        assert!(text.contains("  n3 [label=\"\\\"<script>&'\\\\\\n1.0 KiB\", "), "{text}");
        assert!(text.contains("  n0 -> n1;\n") && text.contains("  n2 -> n3 [label=\"source\"];\n"), "{text}");
        assert_eq!(text, dot(&example()));
    }
}
