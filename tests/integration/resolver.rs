//! Build requirements through the real resolver and a loopback index: what may run while they are resolved, which
//! credentials it gets, and how the answer is frozen in the lock.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, TestEnv, WheelBuilder, host, skip};

use crate::support::{env, exit};

/// A world with an index of its own; `None` on a machine without the resolver.
fn world() -> Option<(TestEnv, IndexServer)> {
    if host::uv().is_none() {
        skip("PIP_ACCEL_TEST_UV is not set and there is no uv on PATH");
        return None;
    }
    let env = env();
    let server = IndexServer::start(&env.files());
    Some((env, server))
}

/// Puts `files` on the index and writes a lock that pins the first of them there, at `index`.
fn lock(env: &TestEnv, index: impl std::fmt::Display, files: &[&BuiltFile]) {
    for file in files {
        env.add(file);
    }
    env.write("requirements.lock", LockWriter::new().line(format!("--index-url {index}")).pin(files[0]).text());
}

/// An sdist that needs `requirement` to be built and imports it then.
fn needing(requirement: &str) -> SdistBuilder {
    SdistBuilder::simple("package", "1.0").build_requires(requirement).during_build("import helper\n")
}

/// A listener that an sdist of `helper` connects to whenever its backend runs with a network, and that sdist.
fn telltale(version: &str) -> (TcpListener, BuiltFile) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let code = format!(
        "import os, socket\nprint('environment', sorted(os.environ.items()))\n\
         try:\n    socket.create_connection(('127.0.0.1', {port}), 5).close()\nexcept OSError:\n    pass\n"
    );
    (listener, SdistBuilder::simple("helper", version).file("before.py", code).build())
}

fn has_run(listener: &TcpListener) -> bool {
    listener.accept().is_ok()
}

/// Nothing that an index publishes runs while there is a solution of wheels, even if an sdist is newer.
#[test]
fn wheels_are_enough_and_nothing_runs_with_the_network() {
    let Some((env, server)) = world() else { return };
    let (listener, newer) = telltale("2.0");
    let wheel = WheelBuilder::simple("helper", "1.0").build();
    lock(&env, server.index_url(), &[&needing("helper").build(), &wheel, &newer]);
    env.realize(&[]).success();
    assert!(!has_run(&listener), "the backend of an sdist was run by the resolver");
    env.run(["show", "package"]).success().prints("helper==1.0");
}

/// Without credentials an sdist may tell its requirements by running; this also shows that the other tests can fail.
#[test]
fn an_sdist_runs_where_no_wheel_is_enough_and_nothing_is_secret() {
    let Some((env, server)) = world() else { return };
    let (listener, helper) = telltale("2.0");
    let wheel = WheelBuilder::simple("helper", "1.0").build();
    lock(&env, server.index_url(), &[&needing("helper>=2").build(), &wheel, &helper]);
    env.realize(&[]).success();
    assert!(has_run(&listener), "the resolver knows the requirements without running the backend");
    env.run(["show", "package"]).success().prints("helper==2.0");
}

/// Beside a password no sdist runs: one sentence says so, with the remedy, and without the password.
#[test]
fn an_sdist_never_runs_beside_credentials() {
    for place in ["url", "netrc", "keyring", "proxy"] {
        let Some((mut env, server)) = world() else { return };
        let (listener, helper) = telltale("2.0");
        let index = credentials(&mut env, &server, place);
        let server = if place == "proxy" { server } else { server.with_basic_auth("/", "me", "hunter-2-2") };
        lock(&env, index, &[&needing("helper").build(), &helper]);
        let output = env.realize(&[]).fails_with(exit::BUILD_FAILED).explains().never_mentions("hunter-2-2");
        output
            .says("the build requirements of `package==1.0` can't be resolved: no solution among wheels")
            .says("`#: build` lines")
            .says("without credentials");
        assert!(!has_run(&listener), "{place}: the backend of an sdist was run beside a password");
        drop(server);
    }
}

/// Gives the program the login of the index by `place`; the index's URL comes back.
fn credentials(env: &mut TestEnv, server: &IndexServer, place: &str) -> url::Url {
    match place {
        "url" => return server.index_url_with_login("me", Some("hunter-2-2")),
        "netrc" => {
            let netrc = env.write("netrc", "machine 127.0.0.1 login me password hunter-2-2\n");
            env.set("NETRC", netrc);
        }
        "keyring" => {
            let script = "#!/bin/sh\n[ \"$1\" = get ] && [ \"$3\" = me ] && echo hunter-2-2\n";
            let keyring = env.write("keyring", script);
            std::fs::set_permissions(&keyring, std::fs::Permissions::from_mode(0o755)).unwrap();
            env.set("PIP_ACCEL_KEYRING", keyring);
            return server.index_url_with_login("me", None);
        }
        _ => {
            env.set("HTTPS_PROXY", "http://me:hunter-2-2@127.0.0.1:9");
        }
    }
    server.index_url()
}

/// The resolver has the credentials that every other download has.
#[test]
fn the_resolver_gets_the_credentials_of_netrc_and_keyring() {
    for place in ["url", "netrc", "keyring"] {
        let Some((mut env, server)) = world() else { return };
        let index = credentials(&mut env, &server, place);
        let server = server.with_basic_auth("/", "me", "hunter-2-2");
        lock(&env, index, &[&needing("helper").build(), &WheelBuilder::simple("helper", "1.0").build()]);
        env.realize(&["-vv"]).success().never_mentions("hunter-2-2");
        let by_uv = |request: &pip_accel_tests::index_server::Request| {
            request.header("user-agent").is_some_and(|agent| agent.starts_with("uv/"))
        };
        assert!(server.requests().iter().any(by_uv), "{place}: the resolver did not ask");
    }
}

/// The object of this project among the store's.
fn object_of(env: &TestEnv, project: &str) -> String {
    let objects = env.object_names();
    let is_tree = |name: &&String| name.contains(&format!("-{project}-1.0-")) && !name.ends_with("-sdist");
    objects.iter().find(is_tree).unwrap_or_else(|| panic!("no {project} in {objects:?}")).clone()
}

/// A program in the place of the resolver that leaves `marker` and fails.
fn without_resolver(env: &mut TestEnv) -> std::path::PathBuf {
    let marker = env.base().join("resolver-ran");
    let script = env.write("uv", format!("#!/bin/sh\ntouch {}\nexit 1\n", marker.display()));
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    env.set("PIP_ACCEL_UV", script);
    marker
}

/// What was resolved is printed as lines that a lock takes, those of builds for builds too; with them another store
/// makes the same objects and resolves nothing.
#[test]
fn build_requirements_are_frozen_by_the_lines_that_are_printed() {
    let Some((mut env, server)) = world() else { return };
    let helper = SdistBuilder::simple("helper", "1.0").build_requires("deep").build();
    let deep = [WheelBuilder::simple("deep", "1.0").build(), SdistBuilder::simple("deep", "1.0").build()];
    lock(&env, server.index_url(), &[&needing("helper").build(), &helper, &deep[0], &deep[1]]);
    env.run(["realize", "requirements.lock", "--print-build-lock"])
        .success()
        .says("package==1.0")
        .says("nothing to freeze");
    assert!(!env.venv().exists());
    env.realize(&[]).success().says(
        "2 builds have requirements that `requirements.lock` does not fix; freeze them: repeat the command with \
         `--print-build-lock >> requirements.lock`",
    );
    env.realize(&[]).success().never_mentions("freeze");
    let printed = env.realize(&["--print-build-lock"]).success();
    let hash = |file: &BuiltFile| format!("#:       {}", file.hash_option());
    let mut hashes = [hash(&deep[0]), hash(&deep[1])];
    hashes.sort();
    let expected = format!(
        "\n#: build package==1.0\n#:   helper==1.0 \\\n{}\n\n#: build helper==1.0\n#:   deep==1.0 \\\n{} \\\n{}\n",
        hash(&helper),
        hashes[0],
        hashes[1]
    );
    assert_eq!(printed.stdout, expected);
    let report = env.realize(&["--print-build-lock", "--json"]).success().json();
    assert_eq!((&report["builds"][0]["name"], &report["unknown"]), (&"package".into(), &serde_json::json!([])));

    let text = std::fs::read_to_string(env.project().join("requirements.lock")).unwrap();
    // As `>>` does it to a file whose last line has no end.
    env.write("requirements.lock", format!("{}{expected}", text.trim_end()));
    let objects = ["package", "helper", "deep"].map(|project| object_of(&env, project));
    // The same store has it all; another one builds it anew.
    let marker = without_resolver(&mut env);
    env.realize(&[]).success().says("1 package: 1 from the store, 0 fetched, 0 built");
    env.realize(&["--print-build-lock"]).success().says("nothing to freeze");
    env.set("PIP_ACCEL_STORE", env.base().join("other"));
    env.realize(&[]).success().says("1 package: 0 from the store, 0 fetched, 1 built").never_mentions("freeze");
    for object in objects {
        assert!(env.base().join("other/store").join(&object).exists(), "{object} is another one in the other store");
    }
    assert!(!marker.exists(), "the resolver ran");
}

/// pip takes a lock with these lines for what it is without them.
#[test]
fn pip_ignores_the_lines_that_freeze_builds() {
    let Some(pip) = host::wheel_of("pip") else { return skip("PIP_ACCEL_TEST_WHEELS has no pip; run `make test`") };
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.lock(&[&wheel]);
    let text = std::fs::read_to_string(env.project().join("requirements.lock")).unwrap();
    let lines = format!(
        "\n#: build package==1.0\n#:   helper==1.0 \\\n#:       {0} \\\n#:       {0}\n#:   other==2.0 \\\n#:       {0}\n",
        wheel.hash_option()
    );
    env.write("requirements.lock", format!("{text}{lines}"));
    let mut command = env.program(env.python());
    command.arg(pip.join("pip")).args(["install", "--dry-run", "--require-hashes", "--target", "somewhere"]);
    command.args(["--report", "report.json", "--quiet", "-r", "requirements.lock"]);
    env.finish(command).success();
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(env.project().join("report.json")).unwrap()).unwrap();
    let names: Vec<_> = report["install"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["package"]);
    env.realize(&[]).success();
}

/// An index with a setuptools that has `pkg_resources` and a newer one that has not, and a lock of an sdist that
/// imports it.
fn old_sdist(uploaded: Option<&str>) -> Option<(TestEnv, IndexServer)> {
    let (env, mut server) = world()?;
    let code = "import pkg_resources\nprint('pkg_resources', pkg_resources.__file__)\n";
    let sdist = SdistBuilder::simple("package", "1.0").build_requires("setuptools").during_build(code).build();
    let old = WheelBuilder::simple("setuptools", "1.0").file("pkg_resources/__init__.py", "").build();
    let new = WheelBuilder::simple("setuptools", "2.0").build();
    lock(&env, server.index_url(), &[&sdist, &old, &new]);
    server = server.with_upload_time(&old.file_name, "2019-01-01T00:00:00Z");
    server = server.with_upload_time(&new.file_name, "2098-01-01T00:00:00Z");
    if let Some(time) = uploaded {
        server = server.with_upload_time(&sdist.file_name, time);
    }
    Some((env, server))
}

/// An sdist for which the newest setuptools is too new is built with one of its day, or of the interpreter's.
#[test]
fn an_old_sdist_is_built_with_requirements_of_its_day() {
    for (uploaded, day) in [
        ("2097-05-05T01:02:03.456789Z", "trying those of 2097-05-05, when the sdist was uploaded"),
        ("2018-05-05T01:02:03Z", "when this Python was new (the sdist was uploaded on 2018-05-05)"),
    ] {
        let Some((env, server)) = old_sdist(Some(uploaded)) else { return };
        let output = env.realize(&[]).success();
        output
            .says("package==1.0 does not build with the newest build requirements: it needs `pkg_resources`")
            .says(day);
        assert_eq!(env.builds(), 2);
        env.run(["log", "package", "--list"]).success().prints("package==1.0 built").prints("package==1.0 failed");
        env.run(["show", "package"]).success().prints("setuptools==1.0");
        env.realize(&["--print-build-lock"]).success().prints("#:   setuptools==1.0 \\");
        env.verify_clean();
        drop(server);
    }
}

/// Where the index does not tell the day, that is said beside the failure, which stays what it was.
#[test]
fn an_old_sdist_of_unknown_day_fails_and_says_why_nothing_older_is_tried() {
    let Some((env, server)) = old_sdist(None) else { return };
    let output = env.realize(&[]).fails_with(exit::BUILD_FAILED).explains();
    output.says("the index does not say when it was uploaded").says("No module named 'pkg_resources'");
    assert_eq!(env.builds(), 1);
    drop(server);
}

/// Older requirements that do not help either are not remembered, and a lock's own are never replaced.
#[test]
fn requirements_of_a_day_are_kept_only_if_they_serve() {
    let Some((env, server)) = old_sdist(Some("2018-05-05T01:02:03Z")) else { return };
    let text = std::fs::read_to_string(env.project().join("requirements.lock")).unwrap();
    let newest = BuiltFile::read(&env.files().join("setuptools-2.0-py3-none-any.whl"));
    let locked = format!("{text}#: build package==1.0\n#:   setuptools==2.0 {}\n", newest.hash_option());
    env.write("requirements.lock", locked);
    env.realize(&[]).fails_with(exit::BUILD_FAILED).explains().never_mentions("trying those");
    assert_eq!(env.builds(), 1);
    env.write("requirements.lock", text);
    env.add(&WheelBuilder::simple("setuptools", "1.0").file("extra.py", "").build());
    env.realize(&[]).fails_with(exit::BUILD_FAILED).explains().says("trying those of");
    assert_eq!(env.builds(), 3);
    env.realize(&["--print-build-lock"]).success().prints("#:   setuptools==2.0 \\");
    drop(server);
}
