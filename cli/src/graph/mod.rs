//! A graph to look at: nodes in layers, as DOT or as a picture. The same graph always gives the same bytes.

mod dot;
mod svg;

use serde::Serialize;

pub(crate) use dot::dot;
pub(crate) use svg::svg;

/// What a node is; decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NodeKind {
    /// The environment or lock.
    Top,
    /// A tree that was unpacked from a wheel.
    Wheel,
    /// A tree that was built.
    Build,
    /// A package of the system.
    Layer,
    /// A published file.
    Source,
    /// Something the store does not have.
    Missing,
}

/// One node.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) kind: NodeKind,
    /// First line.
    pub(crate) label: String,
    /// Second line; may be empty.
    pub(crate) detail: String,
    /// Its distance from the top.
    pub(crate) layer: usize,
}

/// How one node leads to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EdgeKind {
    /// It holds it.
    Holds,
    /// It was made from it.
    Source,
    /// It was built with it.
    BuiltWith,
    /// It refers to it.
    Refers,
}

impl EdgeKind {
    /// The word beside the edge; none where it says nothing new.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Holds => "",
            Self::Source => "source",
            Self::BuiltWith => "built with",
            Self::Refers => "refers to",
        }
    }
}

/// Nodes and edges by position, in the order in which they are drawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<(usize, usize, EdgeKind)>,
}

impl NodeKind {
    /// Colour of the inside and of the border.
    const fn colours(self) -> (&'static str, &'static str) {
        match self {
            Self::Top => ("#e8e8f8", "#4646a0"),
            Self::Wheel => ("#e6f4e6", "#3c7a3c"),
            Self::Build => ("#fdf0dc", "#a0681e"),
            Self::Layer => ("#f2e8f4", "#7a3c86"),
            Self::Source => ("#f4f4f4", "#707070"),
            Self::Missing => ("#ffffff", "#b03030"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A top, two packages, one source that has a hostile name.
    pub(crate) fn example() -> Graph {
        let node =
            |kind, label: &str, layer| Node { kind, label: label.to_owned(), detail: "1.0 KiB".to_owned(), layer };
        Graph {
            nodes: vec![
                node(NodeKind::Top, ".venv", 0),
                node(NodeKind::Wheel, "a==1.0", 1),
                node(NodeKind::Build, "b==1.0", 1),
                node(NodeKind::Missing, "\"<script>&'\\\u{7}", 2),
            ],
            edges: vec![
                (0, 1, EdgeKind::Holds),
                (0, 2, EdgeKind::Holds),
                (2, 3, EdgeKind::Source),
                (2, 1, EdgeKind::Refers),
            ],
        }
    }
}
