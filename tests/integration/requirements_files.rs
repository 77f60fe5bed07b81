//! Files of requirements, real ones and ones made at random: what this program reads in them is what pip reads.
//!
//! `requirements_files.py` asks pip's own reader, in one process for all files, and compares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use pip_accel_builder::lock::{FindLinks, LockOptions, RawRequirement, SourceUrl, read_lines};
use pip_accel_builder::resolve::project::{Place, ProjectInputs, Surroundings};
use pip_accel_schema::lock_file::RequirementTarget;
use pip_accel_tests::{TestEnv, host, skip};
use serde_json::{Value, json};

use crate::support::env;

/// Real files; `data/requirements-files/README.md` says whose.
const CORPUS: &[u8] = include_bytes!("../data/requirements-files/corpus.tar.zst");

/// Files that are made at random.
const GENERATED: usize = 400;

/// Variables that the files may name.
const VARIABLES: [(&str, &str); 4] = [("TOKEN", "secret"), ("NAME", "requests"), ("VERSION", "1.0"), ("MORE", "more")];

fn variable(name: &str) -> Option<String> {
    VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

/// Runs the script beside this file with the newest interpreter and the newest pip there are.
fn script(env: &TestEnv, pip: &Path) -> Command {
    let newest = host::interpreters().pop().expect("there is a Python");
    let mut command = env.program(&newest.path);
    command.args(["-I", "-B"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/requirements_files.py")).arg(pip);
    command.envs(VARIABLES).current_dir(env.project());
    command
}

/// What pip's reader says beside ours of each of `files` (folder and name, from the project's directory).
fn compared(env: &TestEnv, pip: &Path, files: &[(String, String)]) -> Value {
    let listed: String = files.iter().map(|(folder, name)| format!("{folder}\t{name}\n")).collect();
    let list = env.write("list", listed);
    let mut places = script(env, pip);
    places.arg("places").arg(&list);
    env.finish(places).success();
    let answers: Vec<Value> = files
        .iter()
        .map(|(folder, name)| {
            let folder = env.project().join(folder);
            ours(&folder, &folder.join(name))
        })
        .collect();
    let answers = env.write("ours.json", Value::from(answers).to_string());
    let mut compare = script(env, pip);
    compare.arg("compare").arg(&list).arg(&answers);
    serde_json::from_str(&env.finish(compare).success().stdout).expect("the script prints JSON")
}

/// What this program reads in a file: as its lines say it, and as the resolver of `lock` and `install` is given it.
fn ours(folder: &Path, path: &Path) -> Value {
    let surroundings = Surroundings { folder, base: folder, environment: &variable };
    let inputs = ProjectInputs::read(&[Place::Requirements(path.to_owned())], surroundings);
    match (read_lines(path, &variable), inputs) {
        (Err(error), _) => json!({ "refused": error.to_string() }),
        (_, Err(error)) => json!({ "refused": error.to_string() }),
        (Ok(lines), Ok(inputs)) => json!({ "refused": null, "read": {
            "requirements": lines.requirements.iter().map(requirement).collect::<Vec<_>>(),
            "constraints": lines.constraints.iter().map(requirement).collect::<Vec<_>>(),
            "index": index(&lines.options),
            "no_index": lines.options.no_index,
            "find_links": lines.options.find_links.iter().map(links).collect::<Vec<_>>(),
            "no_binary": lines.options.formats.texts()[0],
            "only_binary": lines.options.formats.texts()[1],
            "pre": inputs.prereleases,
            "trusted": lines.options.trusted_hosts,
            "lines": inputs.requirement_lines().collect::<Vec<_>>(),
            "constraint_lines": inputs.constraint_lines().collect::<Vec<_>>(),
        }}),
    }
}

fn requirement(raw: &RawRequirement) -> Value {
    let RawRequirement { requirement, .. } = raw;
    let (name, specifier, link) = match &requirement.target {
        RequirementTarget::Pin { name, version } => (Some(name.to_string()), format!("=={version}"), None),
        RequirementTarget::Unpinned { name, specifier } => (Some(name.to_string()), specifier.clone(), None),
        RequirementTarget::Direct { name, location } => {
            (name.as_ref().map(ToString::to_string), String::new(), Some(location))
        }
        RequirementTarget::Editable { location } => (None, String::new(), Some(location)),
    };
    json!({
        "name": name,
        "extras": requirement.extras,
        "specifier": specifier,
        "link": link,
        "marker": requirement.marker,
        "editable": matches!(requirement.target, RequirementTarget::Editable { .. }),
        "sha256": requirement.hashes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "other_hashes": requirement.has_other_hashes,
        "line": requirement.line,
    })
}

fn index(options: &LockOptions) -> Vec<&str> {
    if options.no_index {
        return Vec::new();
    }
    let first = options.index_url.as_ref().map_or("default", SourceUrl::expose);
    std::iter::once(first).chain(options.extra_index_urls.iter().map(SourceUrl::expose)).collect()
}

fn links(place: &FindLinks) -> String {
    match place {
        FindLinks::Url(url) => url.expose().to_owned(),
        FindLinks::Path(path) => path.display().to_string(),
    }
}

/// How often the readings differ, by kind: what one of them says, without what it quotes.
fn kinds(result: &Value) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for found in result["differences"].as_array().expect("a list") {
        let kind = match found["kind"].as_str().expect("a word") {
            "refused" => unquoted(found["ours"].as_str().expect("a sentence")),
            "pip refuses" => {
                let said = found["pip"].as_str().expect("a sentence");
                format!("pip alone refuses: {}", said.split([':', '\'']).nth(1).unwrap_or(said).trim())
            }
            kind => kind.to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

/// A sentence without its place, without what is in parentheses, and with `…` for what it quotes.
fn unquoted(sentence: &str) -> String {
    let mut parts = sentence.split('`');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let place = text.find(": ").map_or(0, |end| end + 2);
    text.drain(..place);
    for (index, part) in parts.enumerate() {
        text.push_str(if index % 2 == 0 { "`…`" } else { part });
    }
    let end = text.find(" (").unwrap_or(text.len());
    text.truncate(end);
    text
}

/// The differences that are meant: the table of `docs/requirements-files.md`, whose numbers are in the `column` after the
/// kind.
fn meant(column: usize) -> BTreeMap<String, u64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/requirements-files.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let mut kinds = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if let Some(count @ 1..) = cells.get(column).and_then(|cell| cell.parse().ok()) {
            kinds.insert(cells[0].to_owned(), count);
        }
    }
    kinds
}

/// Leaves the whole report beside the files when `PIP_ACCEL_TEST_KEEP` keeps these.
fn report(env: &TestEnv, result: &Value) -> String {
    let text = serde_json::to_string_pretty(result).expect("JSON");
    let path = env.write("report.json", &text);
    format!("{}\n{text:.20000}", path.display())
}

#[test]
fn real_files_are_read_as_by_pip() {
    let Some(pip) = host::wheel_of("pip") else {
        return skip("a wheel of pip is needed (PIP_ACCEL_TEST_WHEELS); run `make test`");
    };
    let env = env();
    let archive = zstd::stream::read::Decoder::new(CORPUS).unwrap();
    let mut files = Vec::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        entry.unpack_in(env.project()).unwrap();
        let mut parts = path.components();
        let folder = parts.next().unwrap().as_os_str().to_string_lossy().into_owned();
        files.push((folder, parts.collect::<PathBuf>().display().to_string()));
    }
    let result = compared(&env, &pip, &files);
    assert_eq!(kinds(&result), meant(1), "{}", report(&env, &result));
    assert!(result["same"].as_u64() >= Some(300), "{}", report(&env, &result));
}

#[test]
fn files_made_at_random_are_read_as_by_pip() {
    let Some(pip) = host::wheel_of("pip") else {
        return skip("a wheel of pip is needed (PIP_ACCEL_TEST_WHEELS); run `make test`");
    };
    let env = env();
    let mut generate = script(&env, &pip);
    generate.args(["generate", "."]).arg(GENERATED.to_string());
    env.finish(generate).success();
    let files: Vec<_> = (0..GENERATED).map(|number| (format!("{number:03}"), "requirements.txt".to_owned())).collect();
    let result = compared(&env, &pip, &files);
    assert_eq!(kinds(&result), meant(2), "{}", report(&env, &result));
    assert!(result["same"].as_u64() >= Some(200), "{}", report(&env, &result));
}
