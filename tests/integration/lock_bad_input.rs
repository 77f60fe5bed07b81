//! What `pip-accel lock` refuses: a sentence, a remedy, the exit code, and nothing changed.

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{Output, SdistBuilder, TestEnv, TreeDigest, WheelBuilder};

use crate::lock::{lock, text, world};
use crate::support::exit;

/// A world with a lock that is there already.
fn begun() -> Option<(TestEnv, IndexServer)> {
    let (env, server) = world()?;
    env.add(&WheelBuilder::simple("alone", "1.0").build());
    env.add(&WheelBuilder::simple("needy", "1.0").requires("alone<1").build());
    requirements(&env, &server, "alone\n");
    lock(&env, &[]).success();
    Some((env, server))
}

fn requirements(env: &TestEnv, server: &IndexServer, lines: &str) {
    env.write("requirements.in", format!("--index-url {}\n{lines}", server.index_url()));
}

/// Locks in vain.
#[track_caller]
fn fails(env: &TestEnv, arguments: &[&str], code: i32) -> Output {
    let before = TreeDigest::of(&env.project());
    let output = lock(env, arguments).fails_with(code).explains();
    assert_eq!(TreeDigest::of(&env.project()), before, "something was changed");
    output
}

/// A conflict is explained by the resolver, without its first words and its colours.
#[test]
fn a_conflict_is_explained() {
    let Some((env, server)) = begun() else { return };
    env.add(&WheelBuilder::simple("alone", "0.5").build());
    requirements(&env, &server, "alone>=1\nneedy\n");
    let output = fails(&env, &[], exit::LOCK_REFUSED);
    output.says("the requirements contradict each other").says("needy").says("alone>=1").never_mentions("r0.in");
}

/// A project that nobody has, and a version that it has not.
#[test]
fn an_unknown_package_is_named() {
    let Some((env, server)) = begun() else { return };
    for line in ["nobody-has-this\n", "alone==7\n"] {
        requirements(&env, &server, line);
        let name = line.split("==").next().unwrap().trim();
        fails(&env, &[], exit::LOCK_REFUSED).says("does not exist").says(name);
    }
}

/// A withdrawn release is chosen only where exactly it is asked for, and that is said.
#[test]
fn a_yanked_pin_is_locked_with_a_warning() {
    let Some((env, server)) = begun() else { return };
    let newer = WheelBuilder::simple("alone", "2.0").build();
    env.add(&newer);
    let server = server.with_yanked(&newer.file_name, "it eats files");
    requirements(&env, &server, "alone\n");
    lock(&env, &["--upgrade"]).success().never_mentions("it eats files");
    assert!(text(&env).contains("alone==1.0"));
    requirements(&env, &server, "alone==2.0\n");
    lock(&env, &[]).success().says("it eats files");
    assert!(text(&env).contains("alone==2.0"));
}

/// Files that include themselves, that are not there, or that are no requirements.
#[test]
fn bad_files_are_named_with_their_line() {
    let Some((env, server)) = begun() else { return };
    env.write("circle.in", "-r circle.in\n");
    for (lines, code, said) in [
        ("-r circle.in\n", exit::LOCK_REFUSED, "circle.in:1: "),
        ("-r nowhere.in\n", exit::ERROR, "requirements.in:2: `"),
        ("-r https://h.example/x.in\n", exit::LOCK_REFUSED, "not a file of this machine"),
        ("./nowhere-1.0-py3-none-any.whl\n", exit::LOCK_REFUSED, "there is no file `./nowhere-1.0-py3-none-any.whl`"),
        ("alone >< 1\n", exit::LOCK_REFUSED, "requirements.in:2: "),
        ("alone ; nonsense == 'x'\n", exit::LOCK_REFUSED, "requirements.in:2: "),
        ("hg+https://h.example/x\n", exit::LOCK_REFUSED, "other than git"),
        ("alone --global-option=x\n", exit::LOCK_REFUSED, "requirements.in:2: "),
        ("--uploaded-prior-to 2020-01-01\nalone\n", exit::LOCK_REFUSED, "is not supported"),
    ] {
        requirements(&env, &server, lines);
        fails(&env, &[], code).says(said);
    }
    fails(&env, &["nowhere.in"], exit::ERROR).says("can't be read");
    fails(&env, &["requirements.in", "-o", "requirements.in"], exit::USAGE).says("can't be the lock as well");
    fails(&env, &["requirements.in", "-o", "nowhere/x.lock"], exit::USAGE).says("there is no folder");
    fails(&env, &["requirements.in", "--extra", "x"], exit::USAGE).says("extras are a project's");
    env.write("requirements.lock", "this is no lock\n");
    requirements(&env, &server, "alone\n");
    fails(&env, &[], exit::LOCK_REFUSED).says("that is there can't be read");
    lock(&env, &["--upgrade"]).success();
}

/// Projects that say nothing that can be used.
#[test]
fn bad_projects_are_named() {
    let Some((env, _server)) = begun() else { return };
    for (text, said) in [
        ("[project\n", "can't be understood"),
        ("[project]\nversion = \"1\"\n", "has no name"),
        ("[project]\nname = \"x\"\ndependencies = [\"a b c\"]\n", "`project.dependencies`"),
        ("[project]\nname = \"x\"\ndependencies = \"a\"\n", "is no list"),
    ] {
        env.write("project/pyproject.toml", text);
        fails(&env, &["project"], exit::LOCK_REFUSED).says(said);
    }
    std::fs::write(env.home().join("setup.py"), "from setuptools import setup\nsetup()\n").unwrap();
    fails(&env, &["../home"], exit::USAGE).says("holds the home directory");
    env.write("empty/x", "");
    fails(&env, &["empty"], exit::USAGE).says("neither `pyproject.toml`");
}

/// Without a network: what this machine has, or exit code 6.
#[test]
fn offline_is_said() {
    let Some((env, server)) = begun() else { return };
    requirements(&env, &server, "alone\nneedy\n");
    fails(&env, &["--offline"], exit::OFFLINE).says("the network is off");
    env.write("requirements.in", "alone\n");
    lock(&env, &["--offline", "--find-links", "../files", "--upgrade"]).success();
}

/// What the store has is enough: with the network cut the same choice is made from its files alone.
#[test]
fn the_store_is_enough_offline() {
    let Some((env, server)) = begun() else { return };
    env.add(&WheelBuilder::simple("alone", "0.5").build());
    env.add(&SdistBuilder::simple("built", "1.0").build());
    requirements(&env, &server, "needy\nbuilt\n");
    lock(&env, &[]).success();
    let first = text(&env);
    env.realize(&[]).success();
    drop(server);
    std::fs::remove_dir_all(env.files()).unwrap();
    lock(&env, &["--offline"]).success().says("unchanged");
    lock(&env, &["--offline", "--upgrade"]).success().says("unchanged");
    assert_eq!(text(&env), first);
}

/// A server that nobody knows, one that nobody trusts, and one that wants a login.
#[test]
fn servers_that_do_not_answer_are_told_apart() {
    let Some((env, server)) = begun() else { return };
    env.write("requirements.in", "--index-url http://127.0.0.1:9/simple/\nneedy\n");
    fails(&env, &[], exit::ERROR).says("can't be reached");
    let secure = IndexServer::start_tls(&env.files());
    requirements(&env, &secure, "needy\n");
    fails(&env, &[], exit::ERROR).says("certificate is not trusted").says("PIP_ACCEL_CA_FILE");
    let server = server.with_basic_auth("/", "me", "hunter-2-2");
    requirements(&env, &server, "needy\n");
    fails(&env, &[], exit::ERROR).says("a server refuses its files");
}

/// Hashes that the requirements demand themselves are demanded of what is chosen.
#[test]
fn demanded_hashes_are_kept_or_refused() {
    let Some((env, server)) = begun() else { return };
    let file = WheelBuilder::simple("alone", "1.0").build();
    requirements(&env, &server, &format!("alone==1.0 {}\n", file.hash_option()));
    lock(&env, &["--upgrade"]).success();
    assert!(text(&env).contains(&file.hash_option()));
    requirements(&env, &server, &format!("alone==1.0 --hash=sha256:{}\n", "0".repeat(64)));
    fails(&env, &["--upgrade"], exit::LOCK_REFUSED).says("none of the hashes");
}
