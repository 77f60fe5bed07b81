//! What `status` says of an environment that `install` made or took over, and how files are counted.

use pip_accel_tests::{SdistBuilder, WheelBuilder, host, skip};

use crate::install::{app, install, python_with_pip, venv};
use crate::lock::world;
use crate::support::{env, exit};

/// What `python -m venv` and pip put there is as it should be; what nobody installed is not. The hint needs no lock.
#[test]
fn status_knows_what_others_installed() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    app(&env);
    let place = venv(&env, &python, "v");
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--venv", "v"];
    install(&env, &[&at[..], &["app"]].concat()).success();
    let status =
        env.run(["status", "--venv", "v", "-v"]).success().says("as installed").says("installed by pip: pip==");
    assert_eq!(status.stdout, "");
    let report = env.run(["status", "--venv", "v", "--json"]).success().json();
    assert_eq!(report["foreign"].as_array().map(Vec::len), Some(0), "{report}");
    assert_eq!(report["others"][0]["installer"], "pip", "{report}");
    let lib = std::fs::read_dir(place.join("lib")).unwrap().flatten().next().unwrap().path();
    std::fs::write(lib.join("site-packages/stray.py"), "").unwrap();
    std::fs::write(lib.join("site-packages/pip/stray.py"), "").unwrap();
    let output = env.run(["status", "--venv", "v"]).success();
    let foreign: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(foreign.len(), 2, "{foreign:?}");
    assert!(foreign.iter().all(|line| line.starts_with("foreign: lib/") && line.ends_with("stray.py")), "{foreign:?}");
    std::fs::remove_dir_all(lib.join("site-packages/app-1.0.dist-info")).unwrap();
    let output = env.run(["status", "--venv", "v"]).fails_with(exit::ERROR).never_mentions("requirements.lock");
    let hint =
        output.stderr.lines().find_map(|line| line.strip_prefix("hint: make it whole again: pip-accel ")).unwrap();
    let words: Vec<&str> = hint.split(' ').chain(["-i", url.as_str()]).collect();
    env.run(words).success();
    env.run(["status", "--venv", "v"]).success().says("as installed");
}

/// An environment that `install` made itself has no lock either.
#[test]
fn status_of_a_new_environment_speaks_of_no_lock() {
    let Some((env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let python = env.python();
    let url = server.index_url();
    let words = ["-i", url.as_str(), "--venv", ".venv", "--python", python.to_str().unwrap(), "package"];
    install(&env, &words).success();
    env.run(["status"]).success().says("as installed");
    std::fs::remove_file(env.venv().join("pyvenv.cfg")).unwrap();
    let output = env.run(["status"]).fails_with(exit::ERROR).never_mentions("requirements.lock");
    output.says("--force-reinstall package==1.0");
}

/// A wheel whose file the store has is fetched for no other interpreter.
#[test]
fn a_file_of_the_store_is_not_fetched() {
    let interpreters = host::interpreters();
    let all: Vec<_> = interpreters.iter().filter(|one| one.is_fully_supported()).collect();
    let [first, .., last] = all.as_slice() else { return skip("there is one interpreter only") };
    let env = env();
    env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
    let realize = |python: &host::HostInterpreter, venv: &str| {
        env.realize(&["--venv", venv, "--python", python.path.to_str().unwrap()]).success()
    };
    realize(first, "first").says("1 package: 0 from the store, 1 fetched, 0 built");
    realize(last, "last").says("1 package: 1 from the store, 0 fetched, 0 built");
}

/// A project whose version only its build tells is called by its name.
#[test]
fn a_local_project_is_called_by_its_name() {
    let Some((mut env, _)) = world() else { return };
    crate::sources::write_project(&env, &env.project().join("demo"), &SdistBuilder::simple("demo", "1.0"));
    env.set("PIP_NO_INDEX", "1");
    let output = install(&env, &["--venv", ".venv", "./demo"]).success();
    output.says("building demo").never_mentions("unknown");
}

/// Each package was asked for, or is required by something that was: in an environment, and in a lock.
#[test]
fn why_tells_which_requirement_brought_a_package() {
    let Some((env, server)) = world() else { return };
    app(&env);
    env.add(&WheelBuilder::simple("top", "1.0").requires("app").build());
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--venv"];
    install(&env, &[&at[..], &[".venv", "top", "library<2"]].concat()).success();
    env.run(["why", "app"]).success().prints("app==1.0 in ").prints("/.venv\n  top → app\n");
    let output = env.run(["why", "library", "--venv", ".venv"]).success();
    assert_eq!(output.stdout, "library==1.0 in .venv\n  it was asked for\n  top → app → library>=1\n");
    let report = env.run(["why", "app", "--json"]).success().json();
    assert_eq!(report["brought"]["ways"][0][0]["by"], "top", "{report}");
    assert!(report["objects"].as_array().is_some_and(|objects| !objects.is_empty()), "{report}");
    env.run(["why", "nowhere", "--venv", ".venv"]).fails_with(exit::ERROR).explains();
    // A lock says in its comments where each package comes from.
    env.write("requirements.in", format!("--index-url {url}\ntop\n"));
    crate::lock::lock(&env, &[]).success();
    let output = env.run(["why", "library", "requirements.lock"]).success();
    assert_eq!(output.stdout, "library==2.0 in requirements.lock\n  -r requirements.in → top → app → library\n");
    env.run(["why", "nowhere", "requirements.lock"]).fails_with(exit::ERROR).explains();
    env.run(["why", "nowhere", "nowhere.lock"]).fails_with(exit::ERROR).explains();
    // All of a lock is asked for by the lock: in its environment the ways begin where nobody requires.
    env.realize(&["--venv", "locked"]).success();
    let output = env.run(["why", "library", "--venv", "locked"]).success();
    assert_eq!(output.stdout, "library==2.0 in locked\n  top → app → library>=1\n");
}
