//! Explaining build logs: the corpus of real failures, messages of other projects, and the command itself.
//!
//! `tests/data/system-packages` holds 144 logs with the verified fix, messages as reports of users have them, and the
//! part of Debian's lists that both are about; `excerpt.py` there makes the last.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use pip_accel_builder::sandbox::MissedPath;
use pip_accel_builder::system_packages::index::{Collector, IndexOrigin, IndexPlace, SystemIndex};
use pip_accel_builder::system_packages::{Finding, Input, Installed, diagnose};
use pip_accel_tests::TestEnv;
use serde_json::Value;

use crate::support::{as_root_and_user, env, exit};

const CORPUS: &[u8] = include_bytes!("../data/system-packages/corpus.tar.zst");
const EXCERPT: &[u8] = include_bytes!("../data/system-packages/excerpt.txt.zst");
const MESSAGES: &str = include_str!("../data/system-packages/messages.txt");

/// The least share of positives whose package comes first, in percent.
const RIGHT_MIN: usize = 97;

/// The lists of the excerpt as Debian writes them, taken in.
fn collect() -> Collector {
    let text = String::from_utf8(zstd::decode_all(EXCERPT).expect("zstd")).expect("UTF-8");
    let (mut contents, mut packages, mut sources) = (String::new(), String::new(), String::new());
    for line in text.lines() {
        let (kind, rest) = line.split_once(' ').expect("a kind");
        let fields: Vec<&str> = rest.split('\t').collect();
        match kind {
            "F" => contents.push_str(&format!("{} {}\n", fields[0], fields[1])),
            "P" => {
                let [name, section, count, depends, provides] = fields[..] else { panic!("{line}") };
                packages.push_str(&format!(
                    "Package: {name}\nSection: {section}\nDepends: {depends}\nProvides: {provides}\n\n"
                ));
                for _ in 0..count.parse::<usize>().expect("a number") {
                    sources.push_str(&format!("Package: x\nBinary: x\nBuild-Depends: {name}\n\n"));
                }
            }
            _ => sources.push_str(&format!(
                "Package: x\nBinary: python3-{}\nBuild-Depends-Arch: {}\n\n",
                fields[0],
                fields[1].replace(' ', ", ")
            )),
        }
    }
    let mut collector = Collector::default();
    collector.contents(&mut contents.as_bytes()).expect("memory");
    collector.packages(&mut packages.as_bytes()).expect("memory");
    collector.sources(&mut sources.as_bytes()).expect("memory");
    collector
}

fn origin(made_at: i64) -> IndexOrigin {
    IndexOrigin { made_at, distribution: "debian bookworm".into(), architecture: "amd64".into(), files: 0 }
}

fn index() -> SystemIndex {
    collect().into_index(&origin(0)).expect("an index")
}

fn explain(log: &[u8], index: &SystemIndex) -> Finding {
    let input = Input { log, missed: &[], declared: &[], index, installed: &Installed::unknown() };
    diagnose(&input).into_iter().next().expect("always one")
}

/// One failure of the corpus.
struct Case {
    name: String,
    log: Vec<u8>,
    meta: Value,
}

impl Case {
    fn names(&self, field: &str) -> Vec<String> {
        let list = self.meta[field].as_array().expect("a list");
        list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    fn kind(&self) -> &str {
        self.meta["missing"]["kind"].as_str().expect("a kind")
    }
}

fn corpus() -> Vec<Case> {
    let mut archive = tar::Archive::new(Cursor::new(zstd::decode_all(CORPUS).expect("zstd")));
    let mut files: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for entry in archive.entries().expect("a tar file") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let (case, file) = path.split_once('/').expect("a folder for each case");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("memory");
        files.entry(case.to_owned()).or_default().insert(file.to_owned(), content);
    }
    let case = |(name, mut files): (String, BTreeMap<String, Vec<u8>>)| Case {
        name,
        log: files.remove("build.log").expect("each has a log"),
        meta: serde_json::from_slice(&files["meta.json"]).expect("JSON"),
    };
    files.into_iter().map(case).collect()
}

/// The figures of the whole corpus: the right package first in 97 of 100, and none for what no package mends.
#[test]
fn the_corpus_is_explained() {
    let index = index();
    let (mut right, mut positives, mut misses, mut kinds) = (0, 0, Vec::new(), BTreeMap::new());
    let cases = corpus();
    assert_eq!(cases.len(), 144);
    for case in &cases {
        let finding = explain(&case.log, &index);
        let fixed = case.names("fixed_by");
        let row: &mut (usize, usize) = kinds.entry(case.kind().to_owned()).or_default();
        if fixed.is_empty() {
            assert!(finding.packages.is_empty(), "{}: {finding:?}", case.name);
            assert!(!finding.reason.is_empty(), "{}", case.name);
            continue;
        }
        let accepted = [fixed, case.names("acceptable")].concat();
        positives += 1;
        row.1 += 1;
        if finding.packages.first().is_some_and(|first| accepted.contains(first)) {
            right += 1;
            row.0 += 1;
        } else {
            misses.push(format!("{}: {:?} instead of {accepted:?}", case.name, finding.packages));
        }
    }
    assert!(
        right * 100 >= positives * RIGHT_MIN,
        "{right} of {positives}; by kind (right, all): {kinds:?}; {misses:#?}"
    );
}

/// Messages that the rules were not made from.
#[test]
fn messages_of_other_projects_are_explained() {
    let index = index();
    let mut misses = Vec::new();
    let cases: Vec<(&str, &str)> =
        MESSAGES.split("\n== ").skip(1).map(|case| case.split_once('\n').expect("a log")).collect();
    assert!(cases.len() > 100);
    for (wanted, log) in &cases {
        let finding = explain(log.as_bytes(), &index);
        let first = finding.packages.first().map_or("-", String::as_str);
        if !wanted.split('|').any(|wanted| wanted == first) {
            misses.push(format!("{first} instead of {wanted}: {}", log.trim()));
        }
    }
    assert!(misses.len() * 100 <= cases.len() * (100 - RIGHT_MIN), "{}\n{misses:#?}", misses.len());
}

/// The trace alone, or beside a log that names nothing.
#[test]
fn missed_paths_are_evidence() {
    let index = index();
    let missed = |path: &str| MissedPath { path: path.into(), count: 1 };
    let missed =
        [missed("/usr/include/nothing.h"), missed("/usr/include/libxml2/libxml/parser.h"), missed("/build/x.h")];
    let none = Installed::unknown();
    let findings =
        diagnose(&Input { log: b"ValueError: 3\n", missed: &missed, declared: &[], index: &index, installed: &none });
    assert_eq!(findings[0].packages, ["libxml2-dev"]);
    let status = "Package: libxml2-dev\nStatus: install ok installed\nVersion: 1\n";
    let installed = Installed::parse(&mut status.as_bytes()).unwrap();
    let findings = diagnose(&Input {
        log: b"ValueError: 3\n",
        missed: &missed,
        declared: &[],
        index: &index,
        installed: &installed,
    });
    assert!(findings.iter().all(|finding| finding.packages.is_empty()), "{findings:?}");
}

/// Puts the index of the excerpt where the program looks for it.
fn with_index(env: &TestEnv, made_at: i64) {
    let folder = env.store().join("index");
    std::fs::create_dir_all(&folder).expect("the store is the test's");
    let bytes = collect().finish(&origin(made_at)).expect("an index");
    std::fs::write(IndexPlace::of_this_machine(&folder).path, bytes).expect("the store is the test's");
}

const LOG: &str = "x.c:1:10: fatal error: libxml/parser.h: No such file or directory\ncompilation terminated.\n";

/// Two lines for people, six keys for programs; from a file, compressed or not, and from standard input.
#[test]
fn a_log_is_explained_on_the_command_line() {
    as_root_and_user(|env| {
        env.write("build.log", LOG);
        env.write("build.log.zst", zstd::encode_all(LOG.as_bytes(), 1).expect("zstd"));
        // Without an index there still is an answer, and what to do about it.
        let output = env.run(["diagnose", "--offline", "build.log"]).success();
        output
            .says("there is no index of system packages yet; make it: pip-accel index update")
            .prints("nothing to install");
        with_index(&env, now());
        for log in ["build.log", "build.log.zst"] {
            let output = env.run(["diagnose", log]).success();
            // Root types no sudo.
            let lines: Vec<String> = output.printed().lines().map(|line| line.replace("sudo ", "")).collect();
            assert_eq!(
                lines,
                [
                    format!("missing header libxml/parser.h: line 1: {}", LOG.lines().next().unwrap_or_default()),
                    "libxml2-dev has the header libxml/parser.h: apt-get install libxml2-dev".to_owned(),
                ]
            );
        }
        let mut command = env.command(["diagnose", "-", "--json"]);
        let log = std::fs::File::open(env.project().join("build.log")).expect("written above");
        command.stdin(log);
        let value = env.finish(command).success().json();
        let keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["candidates", "evidence", "kind", "name", "packages", "reason"]);
        assert_eq!((&value["kind"], &value["name"]), (&"header".into(), &"libxml/parser.h".into()));
        assert_eq!(value["packages"], serde_json::json!(["libxml2-dev"]));
        assert_eq!(value["candidates"][0]["package"], "libxml2-dev");
        assert!(value["candidates"][0]["score"].is_u64());
    });
}

/// A log that names nothing, one with any bytes, none at all, and none that can be read.
#[test]
fn strange_logs_are_answered() {
    let env = env();
    env.run(["diagnose", "--offline", "-"]).success().prints("nothing in the log says");
    with_index(&env, now());
    for content in [&b"\xff\xfe\x00\x1b[31m\n\n"[..], b"", b"ModuleNotFoundError: No module named 'numpy'\n"] {
        env.write("build.log", content);
        let value = env.run(["diagnose", "--json", "build.log"]).success().json();
        assert_eq!(value["packages"], serde_json::json!([]));
        assert_ne!(value["reason"], "");
    }
    env.run(["diagnose", "none.log"]).fails_with(exit::USAGE).explains();
    env.write("bad.gz", b"\x1f\x8b\x00\x00");
    env.run(["diagnose", "bad.gz"]).fails_with(exit::USAGE).explains();
}

/// Logs that are made to take long, or to break what reads them, are answered like others.
#[test]
fn hostile_logs_are_answered() {
    let index = index();
    let many = |line: &str, separator: &str| {
        (0..20_000).map(|number| line.replace('#', &number.to_string())).collect::<Vec<_>>().join(separator)
    };
    for log in [
        many("/usr/bin/ld: cannot find -lx#", "\n"),
        many("ld: cannot find -lx#", " "),
        many("x.c:1:1: fatal error: a/b#.h: No such file or directory", "\n"),
        many("Could not find xml#, png, and ssl: install libxml2-dev on Debian", "\n"),
        many("sudo apt-get install libxml2-dev lib#-dev", "\n"),
        "[".repeat(1 << 20),
        many("é“\u{1b}[#m\\n", ""),
        "CMake Error at required missing following:\n".repeat(20_000),
    ] {
        let finding = explain(log.as_bytes(), &index);
        assert!(!finding.reason.is_empty() && finding.candidates.len() < 100 && finding.packages.len() < 100);
    }
}

/// The age of the index is shown; one that is old, damaged or absent is said to be, and never believed to be whole.
#[test]
fn the_index_tells_its_age_and_damage() {
    let mut env = env();
    env.write("build.log", LOG);
    env.run(["diagnose", "--offline", "build.log"]).success();
    env.run(["index", "show"]).fails_with(exit::ERROR).explains();
    with_index(&env, now());
    env.travel(3 * 86_400);
    env.run(["index", "show"]).success().prints("debian bookworm (amd64), 3 days old");
    env.travel(31 * 86_400);
    let output = env.run(["diagnose", "--offline", "build.log"]).success().prints("libxml2-dev");
    output.says("the index of system packages is 31 days old; make it: pip-accel index update");
    let folder = env.store().join("index");
    let path = IndexPlace::of_this_machine(&folder).path;
    let mut bytes = std::fs::read(&path).expect("written above");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("the store is the test's");
    env.run(["index", "show"]).fails_with(exit::ERROR).explains().says("damaged");
    env.run(["diagnose", "--offline", "build.log"]).success().prints("nothing to install").says("damaged");
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the year 3000")
}
