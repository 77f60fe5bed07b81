//! `docs/compared-with-pip-accel-0.43.md` has a row for each thing the original did, and names tests that exist.

use std::collections::BTreeMap;

use crate::fail_if_any;
use crate::source::root;

/// The kinds of rows and how many there are of each, numbered from 1: the inventory of the original, its own tests, what its
/// history mended, and what was seen to break in it.
const ROWS: [(&str, usize); 15] = [
    ("CLI", 22),
    ("LOG", 9),
    ("CFG", 21),
    ("SRC", 17),
    ("BLD", 8),
    ("CACHE", 15),
    ("S3", 11),
    ("INS", 15),
    ("DEP", 15),
    ("API", 2),
    ("ERR", 1),
    ("PLT", 4),
    ("T", 25),
    ("H", 14),
    ("N", 12),
];

/// One row: its number, the word for how it went, what is said of it, and the tests that are named.
struct Row {
    number: String,
    verdict: String,
    text: String,
    tests: Vec<String>,
}

fn expected() -> Vec<String> {
    let number = |(kind, position): (&str, usize)| match kind.len() {
        1 => format!("{kind}{position}"),
        _ => format!("{kind}-{position}"),
    };
    ROWS.iter().flat_map(|(kind, count)| (1..=*count).map(move |position| number((kind, position)))).collect()
}

fn rows() -> Vec<Row> {
    let path = root().join("docs/compared-with-pip-accel-0.43.md");
    let text = std::fs::read_to_string(path).expect("it is tracked");
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [number, _, verdict, text, tests] = cells.as_slice() else { return None };
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let is_row = number.chars().last().is_some_and(|last| last.is_ascii_digit());
        is_row.then(|| Row { number: (*number).into(), verdict: (*verdict).into(), text: (*text).into(), tests })
    };
    let rows: Vec<Row> = text.lines().filter_map(row).collect();
    assert!(rows.len() > 100, "only {} rows were understood", rows.len());
    rows
}

#[test]
fn each_number_has_one_row() {
    let mut counts: BTreeMap<String, usize> = expected().into_iter().map(|number| (number, 0)).collect();
    let mut violations = Vec::new();
    for row in rows() {
        match counts.get_mut(&row.number) {
            Some(count) => *count += 1,
            None => violations.push(format!("{} is no number of the inventory", row.number)),
        }
    }
    let wrong = counts.into_iter().filter(|(_, count)| *count != 1);
    violations.extend(wrong.map(|(number, count)| format!("{number} has {count} rows")));
    fail_if_any("rows of the comparison", &violations);
}

#[test]
fn each_row_says_how_it_went_and_what_shows_it() {
    let mut violations = Vec::new();
    for Row { number, verdict, text, tests } in rows() {
        match verdict.as_str() {
            "kept" | "better" if tests.is_empty() => violations.push(format!("{number} is {verdict}, by no test")),
            "kept" | "better" => {}
            "dropped" if text.is_empty() => violations.push(format!("{number} is dropped, and why?")),
            "to come" if text.is_empty() => violations.push(format!("{number} is to come, with what?")),
            "dropped" | "to come" => {}
            _ => violations.push(format!("{number} is `{verdict}`")),
        }
    }
    fail_if_any("rows of the comparison", &violations);
}

#[test]
fn the_tests_that_rows_name_exist() {
    let mut violations = Vec::new();
    for Row { number, verdict, tests, .. } in rows() {
        let missing: Vec<&String> = tests.iter().filter(|test| !exists(test)).collect();
        // What is to come brings its tests along, and has come with them.
        match verdict.as_str() {
            "to come" if tests.is_empty() || !missing.is_empty() => {}
            "to come" => violations.push(format!("{number} is to come, and all its tests are there: kept, or better?")),
            _ => violations.extend(missing.iter().map(|test| format!("{number} names `{test}`, which does not exist"))),
        }
    }
    fail_if_any("tests of the rows", &violations);
}

/// Whether `module::function` is a test of the whole program, or `path/file.rs::function` one of a crate.
fn exists(test: &str) -> bool {
    let Some((place, function)) = test.rsplit_once("::") else { return false };
    let path = if place.ends_with(".rs") { place.to_owned() } else { format!("tests/integration/{place}.rs") };
    let Ok(text) = std::fs::read_to_string(root().join(path)) else { return false };
    let Some(position) = text.find(&format!("fn {function}(")) else { return false };
    // The attributes stand between the end of what is before, and the name.
    let before: Vec<&str> = text[..position].lines().rev().take(6).collect();
    before.iter().any(|line| line.contains("#[test]") || line.contains("test]")) || text.contains("proptest!")
}
