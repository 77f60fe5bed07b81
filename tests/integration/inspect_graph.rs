//! `graph`: what an environment or a lock is made of, as DOT and as a picture; the same bytes each time.

use pip_accel_tests::{SdistBuilder, TestEnv, WheelBuilder};

use crate::support::{env, exit, lock_of};

/// A wheel and a build with a build requirement.
fn realized() -> TestEnv {
    let env = env();
    let helper = WheelBuilder::simple("helper", "3.0").build();
    let built = SdistBuilder::simple("built", "2.0").build_requires("helper").build();
    env.add(&helper);
    let lock = lock_of(&env, &[&built, &WheelBuilder::simple("plain", "1.0").build()]);
    let lock = lock.line("#: build built==2.0").line(format!("#:   helper==3.0 {}", helper.hash_option()));
    env.write("requirements.lock", lock.text());
    env.realize(&[]).success();
    env
}

/// Text without sizes and the interpreter's label, which differ from machine to machine.
fn without_sizes(text: &str) -> String {
    let line = |line: &str| {
        let Some((before, rest)) = line.split_once("\\n") else { return line.to_owned() };
        if line.starts_with("  n0 ") || rest.starts_with("not in") {
            return line.to_owned();
        }
        let (detail, after) = rest.split_once("\", fill").unwrap_or((rest, ""));
        let words = if detail.contains(", built for cpython-") { "[SIZE], built for [PYTHON]" } else { "[SIZE]" };
        assert!(detail.split(' ').nth(1).is_some_and(|unit| ["B", "B,", "KiB", "KiB,"].contains(&unit)), "{detail}");
        format!("{before}\\n{words}\", fill{after}")
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// E15: environment → packages → source and build requirements → their sources, in exact words.
#[test]
fn an_environment_is_drawn_as_dot() {
    let env = realized();
    let output = env.run(["graph"]).success();
    let sizes = output.stdout.split_once("2 packages, ").unwrap().1.split_once('"').unwrap().0.to_owned();
    let text = without_sizes(&output.stdout.replace(&sizes, "[SIZE]"));
    assert_eq!(
        text,
        r##"digraph "pip-accel" {
  rankdir=LR;
  node [shape=box, style=filled, fontname=monospace];
  n0 [label=".venv\n2 packages, [SIZE]", fillcolor="#e8e8f8", color="#4646a0"];
  n1 [label="built==2.0\n[SIZE], built for [PYTHON]", fillcolor="#fdf0dc", color="#a0681e"];
  n2 [label="plain==1.0\n[SIZE]", fillcolor="#e6f4e6", color="#3c7a3c"];
  n3 [label="built-2.0.tar.gz\n[SIZE]", fillcolor="#f4f4f4", color="#707070"];
  n4 [label="helper==3.0\n[SIZE]", fillcolor="#e6f4e6", color="#3c7a3c"];
  n5 [label="plain-1.0-py3-none-any.whl\n[SIZE]", fillcolor="#f4f4f4", color="#707070"];
  n6 [label="helper-3.0-py3-none-any.whl\n[SIZE]", fillcolor="#f4f4f4", color="#707070"];
  n0 -> n1;
  n0 -> n2;
  n1 -> n3 [label="source"];
  n1 -> n4 [label="built with"];
  n2 -> n5 [label="source"];
  n4 -> n6 [label="source"];
}
"##
    );
    assert_eq!(env.run(["graph", "--venv", ".venv"]).success().stdout, output.stdout);
    let python = env.python().to_string_lossy().into_owned();
    let lock = env.run(["graph", "requirements.lock", "--python", &python]).success();
    assert_eq!(lock.stdout.replace("requirements.lock", ".venv"), output.stdout);
    let values = env.run(["graph", "--json"]).success().json();
    assert_eq!((values["nodes"].as_array().unwrap().len(), values["edges"].as_array().unwrap().len()), (7, 6));
    assert_eq!((&values["version"], &values["nodes"][1]["kind"]), (&1.into(), &"build".into()));
}

/// E15: what a collection took is drawn as missing; what a lock means and the store lacks, too.
#[test]
fn what_is_not_in_the_store_is_drawn_as_missing() {
    let mut env = realized();
    env.travel(7200);
    env.run(["gc", "--drop-sources"]).success();
    let text = env.run(["graph"]).success().stdout;
    assert!(text.contains("label=\"helper==3.0\\nnot in the store\", fillcolor=\"#ffffff\""), "{text}");
    assert!(!text.contains(".tar.gz"), "{text}");
    env.write("other.lock", lock_of(&env, &[&WheelBuilder::simple("absent", "1.0").build()]).text());
    let text = env.run(["graph", "other.lock"]).success().stdout;
    assert!(text.contains("label=\"absent==1.0\\nnot in the store\""), "{text}");
}

/// E15: the picture is one well-formed document without scripts or anything from elsewhere, and the same each time.
#[test]
fn an_environment_is_drawn_as_a_picture() {
    let env = realized();
    env.run(["graph", "--svg", "one.svg"]).success().says("one.svg: 7 nodes, 6 edges");
    env.run(["graph", "--svg", "two.svg"]).success();
    let picture = std::fs::read_to_string(env.project().join("one.svg")).unwrap();
    assert_eq!(picture, std::fs::read_to_string(env.project().join("two.svg")).unwrap());
    let elsewhere = picture.replace("http://www.w3.org/2000/svg", "");
    for word in ["<script", "href", "url(", "http", "@import", "<image", "<style"] {
        assert!(!elsewhere.contains(word), "{word} in {picture}");
    }
    let count = "import sys, xml.etree.ElementTree as tree\n\
        root = tree.parse(sys.argv[1]).getroot()\n\
        texts = [node.text for node in root.iter('{http://www.w3.org/2000/svg}text')]\n\
        print(len(list(root.iter('{http://www.w3.org/2000/svg}g'))), 'built==2.0' in texts)\n";
    let mut python = env.program(env.python());
    python.args(["-c", count]).arg(env.project().join("one.svg"));
    assert_eq!(env.finish(python).success().stdout.trim(), "7 True");
    env.run(["graph", "--svg", "nowhere/one.svg"]).fails_with(exit::ERROR).explains().says("cannot write");
    env.run(["graph", "--venv", "nowhere"]).fails_with(exit::ERROR).explains().says("is no environment of pip-accel");
    env.run(["graph", "requirements.lock", "--venv", ".venv"]).fails_with(exit::USAGE);
}
