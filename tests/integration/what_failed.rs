//! What is said of failures: all of them, the same each time, with a hint that helps, and not after a long silence.

use std::os::unix::fs::PermissionsExt as _;

use pip_accel_tests::index_server::{Fault, IndexServer};
use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, WheelBuilder};

use crate::support::{env, exit};

/// Every package of the lock that the index has with other bytes is named, in the order of the lock, every time.
#[test]
fn every_wrong_hash_is_named() {
    let env = env();
    let wheels: Vec<BuiltFile> = (0..8).map(|n| WheelBuilder::simple(&format!("package-{n}"), "1.0").build()).collect();
    let mut lock = String::new();
    for wheel in &wheels {
        env.add(wheel);
    }
    let server = IndexServer::start(&env.files());
    lock.push_str(&format!("--index-url {}\n", server.index_url()));
    for number in 0..8 {
        lock.push_str(&format!("package-{number}==1.0 --hash=sha256:{}\n", "0".repeat(64)));
    }
    env.write("requirements.lock", lock);
    for run in 0..3 {
        let output = env.realize(&["--json"]).fails_with(exit::LOCK_REFUSED).explains().says("lock it anew");
        let at = |number: usize| {
            let found = output.stderr.find(&format!("`package-{number}==1.0`"));
            found.unwrap_or_else(|| panic!("run {run} does not name package-{number}: {output:?}"))
        };
        assert!((1..8).all(|number| at(number - 1) < at(number)), "{output:?}");
        assert!(!output.stderr.contains("cancelled"), "{output:?}");
        // A program that asked for JSON gets the reason as JSON.
        let report = output.json();
        assert_eq!(report["error"]["exit_code"], exit::LOCK_REFUSED, "{report}");
        assert_eq!(report["error"]["details"].as_array().map(Vec::len), Some(7), "{report}");
    }
}

/// Each reason not to choose a file has its own way out.
#[test]
fn hints_are_about_what_is_wrong() {
    let env = env();
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let server = IndexServer::start(&env.files());
    let run = |line: &str| {
        env.write("requirements.lock", format!("--index-url {}\n{line}\n", server.index_url()));
        env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().never_mentions("--python")
    };
    let zeros = "0".repeat(64);
    run(&format!("package==1.0 --hash=sha256:{zeros}")).says("lock it anew");
    run(&format!("package==9.9 --hash=sha256:{zeros}")).says("a release that the index has");
    run(&format!("nothing==1.0 --hash=sha256:{zeros}")).says("a release that the index has");
    env.run(["build", "package==1.0", "--only-binary", ":all:"]).fails_with(exit::USAGE).explains();
    env.run(["build", "package==1.0", "-j", "0"]).fails_with(exit::USAGE);
}

/// A file that a lock includes and that is not there is named with the line that includes it.
#[test]
fn an_included_file_that_is_missing_is_named_with_its_line() {
    let env = env();
    env.write("requirements.lock", "# first\n-r more/nope.lock\n");
    let output = env.realize(&[]).fails_with(exit::ERROR).explains().says("requirements.lock:2: ");
    output.says("more/nope.lock").says("mend that line");
}

/// A file where the environment should go is not helped by `--replace`; a damaged record of one by making it anew.
#[test]
fn hints_about_places_help() {
    let env = env();
    env.write("requirements.lock", "");
    env.write(".venv", "mine");
    env.realize(&[]).fails_with(exit::ERROR).explains().never_mentions("--replace");
    std::fs::remove_file(env.venv()).expect("it is a file");
    env.realize(&[]).success();
    let record = env.venv().join("pip-accel.json");
    std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    std::fs::write(&record, "{").expect("it is writable");
    env.run(["status"]).fails_with(exit::ERROR).explains().says("make it anew");
}

/// `config show` says what holds, not how it is found.
#[test]
fn the_configuration_shows_what_holds() {
    let mut env = env();
    env.unset("PIP_ACCEL_STORE");
    let output = env.run(["config", "show"]).success();
    let value = |key: &str| {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    for key in ["store", "python"] {
        assert!(value(key).starts_with('/') && !output.stdout.contains("else ~"), "{output:?}");
    }
    assert!(value("jobs").parse::<usize>().is_ok(), "{output:?}");
}

/// An index that fails for seconds is not waited for in silence: one line says for whom, how often, and why.
#[test]
fn waiting_for_an_index_is_said() {
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.add(&wheel);
    let fault = Fault::Status { status: 503, retry_after: Some("5".to_owned()), times: 1 };
    let server = IndexServer::start(&env.files()).with_fault(&format!("/files/{}", wheel.file_name), fault);
    let secret = server.index_url().to_string().replace("://", "://user:s3cret@");
    env.write("requirements.lock", LockWriter::new().line(format!("--index-url {secret}")).pin(&wheel).text());
    let output = env.realize(&[]).success().says("waiting for 127.0.0.1:").says("attempt 2 of 2 (status 503)");
    output.never_mentions("s3cret");
}

/// Which failure a run is blamed on does not depend on who is faster: a package that can't be looked up comes before one
/// that can't be built, however slow the index is; and of two that can't be obtained the first one of the lock, however
/// fast the other is.
#[test]
fn the_same_failure_whatever_is_slow() {
    let failing = SdistBuilder::simple("failing", "1.0").during_build("raise SystemExit(1)\n").build();
    let slow_code = "total = sum(number * number for number in range(3_000_000))\nraise SystemExit(1)\n";
    let slow = SdistBuilder::simple("slow", "1.0").during_build(slow_code).build();
    let wheel = WheelBuilder::simple("package", "1.0").build();
    let unknown = format!("package==1.0 --hash=sha256:{}", "0".repeat(64));
    let wait = |path: String| (path, Fault::Status { status: 503, retry_after: Some("2".to_owned()), times: 1 });
    let wrong = |path: String| (path, Fault::WrongBytes { times: 100 });
    let page = || "/simple/package/".to_owned();
    let file = || format!("/files/{}", wheel.file_name);
    for (faults, lines, code, named) in [
        (vec![], vec![&failing], exit::LOCK_REFUSED, "package==1.0"),
        (vec![wait(page())], vec![&failing], exit::LOCK_REFUSED, "package==1.0"),
        (vec![wrong(file())], vec![&slow], exit::BUILD_FAILED, "slow==1.0"),
        (vec![wrong(file()), wait(format!("/files/{}", slow.file_name))], vec![&slow], exit::BUILD_FAILED, "slow==1.0"),
    ] {
        let env = env();
        for file in [&failing, &slow, &wheel] {
            env.add(file);
        }
        let count = faults.len();
        let server = faults
            .into_iter()
            .fold(IndexServer::start(&env.files()), |server, (path, fault)| server.with_fault(&path, fault));
        let lock = LockWriter::new().line(format!("--index-url {}", server.index_url()));
        let lock = lines.iter().fold(lock, |lock, file| lock.pin(file));
        let lock = if code == exit::LOCK_REFUSED { lock.line(unknown.clone()) } else { lock.pin(&wheel) };
        env.write("requirements.lock", lock.text());
        let output = env.realize(&["-j", "2"]).fails_with(code).explains();
        let first = output.stderr.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
        assert!(first.contains(named), "{count} faults: {output:?}");
        env.verify_clean();
    }
}
