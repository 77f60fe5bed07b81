//! A graph as a picture that needs nothing besides itself: no script, no style sheet, no font file.
//!
//! Layers are columns. Within a column, nodes stand in the order of the mean position of what leads to them, which keeps
//! most edges from crossing; equal means keep the graph's own order.

use std::fmt::Write as _;

use super::{EdgeKind, Graph, Node, NodeKind};

/// Width of one character of the monospaced font at its size, in pixels, rounded up: text never leaves its box.
const CHARACTER_WIDTH: usize = 8;
const BOX_HEIGHT: usize = 40;
const ROW_HEIGHT: usize = 52;
const COLUMN_GAP: usize = 140;
const MARGIN: usize = 20;
/// Longest text of a line in a box, in characters; the whole text is the box's title.
const TEXT_MAX: usize = 60;

/// Where a node is drawn.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

/// The graph as one SVG document, with its line end.
#[must_use]
pub(crate) fn svg(graph: &Graph) -> String {
    let (places, width, height) = layout(graph);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (from, to, kind) in &graph.edges {
        text.push_str(&edge(places[*from], places[*to], *kind));
    }
    for (node, place) in graph.nodes.iter().zip(&places) {
        text.push_str(&node_box(node, *place));
    }
    text.push_str("</svg>\n");
    text
}

fn layout(graph: &Graph) -> (Vec<Place>, usize, usize) {
    let layers = graph.nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0);
    let mut places = vec![Place::default(); graph.nodes.len()];
    let (mut x, mut height) = (MARGIN, 0);
    for layer in 0..layers {
        let mut column: Vec<usize> =
            (0..graph.nodes.len()).filter(|position| graph.nodes[*position].layer == layer).collect();
        column.sort_by_key(|position| mean_above(graph, &places, *position));
        let characters = |position: &usize| {
            let node = &graph.nodes[*position];
            node.label.chars().count().max(node.detail.chars().count()).min(TEXT_MAX)
        };
        let width = (column.iter().map(characters).max().unwrap_or(0) + 2) * CHARACTER_WIDTH;
        for (row, position) in column.iter().enumerate() {
            places[*position] = Place { x, y: MARGIN + row * ROW_HEIGHT, width };
        }
        height = height.max(column.len() * ROW_HEIGHT);
        x += width + COLUMN_GAP;
    }
    (places, x.saturating_sub(COLUMN_GAP) + MARGIN, height + 2 * MARGIN)
}

/// The mean height of what leads to a node from an earlier column.
fn mean_above(graph: &Graph, places: &[Place], position: usize) -> usize {
    let is_above = |from: &usize| graph.nodes[*from].layer < graph.nodes[position].layer;
    let above: Vec<usize> =
        graph.edges.iter().filter(|(_, to, _)| *to == position).map(|(from, _, _)| *from).filter(is_above).collect();
    above.iter().map(|from| places[*from].y).sum::<usize>().checked_div(above.len()).unwrap_or(0)
}

fn edge(from: Place, to: Place, kind: EdgeKind) -> String {
    let (y_from, y_to) = (from.y + BOX_HEIGHT / 2, to.y + BOX_HEIGHT / 2);
    let (dash, colour) = match kind {
        EdgeKind::Holds => ("", "#8080c0"),
        EdgeKind::Source => (" stroke-dasharray=\"4 3\"", "#909090"),
        EdgeKind::BuiltWith => ("", "#c09050"),
        EdgeKind::Refers => (" stroke-dasharray=\"1 3\"", "#60a060"),
    };
    let x_from = from.x + from.width;
    // What leads back or stays in its column goes round the right side.
    let (x_to, bend_to) =
        if to.x > from.x { (to.x, to.x - COLUMN_GAP / 2) } else { (to.x + to.width, to.x + to.width + COLUMN_GAP / 2) };
    let bend_from = x_from + COLUMN_GAP / 2;
    let word = kind.word();
    let title = if word.is_empty() { String::new() } else { format!("<title>{word}</title>") };
    format!(
        "<path d=\"M{x_from} {y_from} C{bend_from} {y_from} {bend_to} {y_to} {x_to} {y_to}\" fill=\"none\" \
         stroke=\"{colour}\"{dash}>{title}</path>\n"
    )
}

fn node_box(node: &Node, Place { x, y, width }: Place) -> String {
    let (fill, border) = node.kind.colours();
    let dash = if node.kind == NodeKind::Missing { " stroke-dasharray=\"4 3\"" } else { "" };
    let mut text = format!(
        "<g><title>{} {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"4\" \
         fill=\"{fill}\" stroke=\"{border}\"{dash}/>",
        escaped(&node.label),
        escaped(&node.detail)
    );
    for (line, offset, colour) in [(&node.label, 16, "#000000"), (&node.detail, 32, "#606060")] {
        let line: String = if line.chars().count() > TEXT_MAX {
            line.chars().take(TEXT_MAX - 1).chain(['…']).collect()
        } else {
            line.clone()
        };
        // Writing into a text can't fail.
        let _ = write!(
            text,
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
            x + CHARACTER_WIDTH,
            y + offset,
            escaped(&line)
        );
    }
    text.push_str("</g>\n");
    text
}

/// Text for an XML document; characters that no document may hold are left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => {}
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn text_is_escaped_and_the_same_graph_gives_the_same_bytes() {
        let picture = svg(&example());
        assert!(picture.contains("&quot;&lt;script&gt;&amp;&#39;\\</text>"), "{picture}");
        assert!(!picture.contains("<script") && !picture.contains('\u{7}'), "{picture}");
        assert_eq!(picture, svg(&example()));
    }

    #[test]
    fn boxes_of_one_column_do_not_overlap() {
        let (places, width, height) = layout(&example());
        assert!(places[1].y + BOX_HEIGHT <= places[2].y && places[1].x == places[2].x);
        assert!(places.iter().all(|place| place.x + place.width < width && place.y + BOX_HEIGHT < height));
    }

    #[test]
    fn an_empty_graph_is_a_picture_too() {
        assert!(svg(&Graph::default()).starts_with("<svg "));
    }
}
