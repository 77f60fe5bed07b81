//! What `pip-accel lock` is given besides names: files, folders, revisions, variables, passwords, and code that runs.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::net::TcpListener;

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, WheelBuilder, host, skip};

use crate::lock::{lock, text, world};
use crate::support::{as_root_and_user, exit};

/// A listener that an sdist connects to whenever its backend runs with a network, and what the sdist runs.
fn telltale() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let code = format!(
        "import socket\ntry:\n    socket.create_connection(('127.0.0.1', {port}), 5).close()\nexcept OSError:\n    pass\n"
    );
    (listener, code)
}

/// Code that connects only if it can read a file of the home directory, or the store.
fn thief(env: &TestEnv, port: u16) -> String {
    let (secret, store) = (env.home().join("secret"), env.store().join("format"));
    std::fs::write(&secret, "secret").unwrap();
    format!(
        "import os, socket\nfor place in [{secret:?}, {store:?}, os.path.expanduser('~/secret')]:\n    try:\n        \
         open(place).read()\n    except OSError:\n        continue\n    \
         socket.create_connection(('127.0.0.1', {port}), 5).close()\n"
    )
}

/// A hostile `setup.py`, of an sdist or of the project itself, can't read the home directory while it is asked what it
/// requires; without a sandbox it can.
#[test]
fn a_hostile_backend_does_not_see_the_home() {
    as_root_and_user(|env| {
        if host::uv().is_none() {
            return skip("there is no uv");
        }
        let server = IndexServer::start(&env.files());
        let (listener, _) = telltale();
        let port = listener.local_addr().unwrap().port();
        env.add(&SdistBuilder::simple("package", "1.0").file("before.py", thief(&env, port)).build());
        env.write("requirements.in", format!("--index-url {}\npackage\n", server.index_url()));
        lock(&env, &["--no-build-lock"]).success();
        assert!(text(&env).contains("package==1.0"));
        assert!(listener.accept().is_err(), "the backend read a file of the home or of the store");
        lock(&env, &["--no-build-lock", "--no-sandbox", "--upgrade"]).success();
        assert!(listener.accept().is_ok(), "the test can't fail");
    });
}

/// While metadata is static nothing runs, although an sdist is the newest release; beside credentials nothing runs ever,
/// and wheels have to do.
#[test]
fn no_backend_runs_beside_credentials() {
    let Some((env, server)) = world() else { return };
    let (listener, code) = telltale();
    env.add(&SdistBuilder::simple("package", "2.0").file("before.py", code).build());
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let server = server.with_basic_auth("/", "me", "hunter-2-2");
    let url = server.index_url_with_login("me", Some("hunter-2-2"));
    env.write("requirements.in", format!("--index-url {url}\npackage\n"));
    let output = lock(&env, &["-vv"]).success().never_mentions("hunter-2-2");
    output.says("only wheels were candidates");
    assert!(text(&env).contains("package==1.0") && !text(&env).contains("hunter"), "{}", text(&env));
    env.write("requirements.in", format!("--index-url {url}\npackage>=2\n"));
    let output = lock(&env, &[]).fails_with(exit::LOCK_REFUSED).explains().never_mentions("hunter-2-2");
    output.says("no sdist is run");
    assert!(listener.accept().is_err(), "a backend ran beside a password");
}

/// What a backend writes in the place where the resolver keeps what it learned is not there for the next run.
#[test]
fn what_a_backend_writes_is_not_kept() {
    let Some((env, server)) = world() else { return };
    let code = "import os\nfor base in ['/pip-accel/cache', os.environ.get('UV_CACHE_DIR', '/nowhere')]:\n    try:\n        \
                open(os.path.join(base, 'planted'), 'w').close()\n    except OSError:\n        pass\n";
    env.add(&SdistBuilder::simple("package", "1.0").file("before.py", code).build());
    env.write("requirements.in", format!("--index-url {}\npackage\n", server.index_url()));
    lock(&env, &["--no-build-lock"]).success();
    let kept = env.store().join("index/resolver/cache");
    assert!(kept.join("CACHEDIR.TAG").exists(), "nothing was kept");
    assert!(!kept.join("planted").exists());
}

/// Variables stay variables in the lock, and credentials stay out of it.
#[test]
fn credentials_are_not_in_the_lock() {
    let Some((mut env, server)) = world() else { return };
    let file = WheelBuilder::simple("package", "1.0").build();
    env.add(&file);
    let server = server.with_basic_auth("/", "me", "hunter-2-2");
    let port = server.port();
    env.set("TOKEN", "hunter-2-2");
    env.set("LOGIN", "me");
    let url = server.url(&format!("files/{}", file.file_name));
    let direct = url.as_str().replace("http://", "http://${LOGIN}:${TOKEN}@");
    env.write(
        "requirements.in",
        format!("--index-url http://${{LOGIN}}:${{TOKEN}}@127.0.0.1:{port}/simple/\npackage @ {direct}\n"),
    );
    lock(&env, &["-vv"]).success().never_mentions("hunter-2-2");
    let locked = text(&env);
    assert!(
        locked.contains(&format!("--index-url http://${{LOGIN}}:${{TOKEN}}@127.0.0.1:{port}/simple/\n")),
        "{locked}"
    );
    assert!(locked.contains(&format!("package @ {direct} \\\n    {}", file.hash_option())), "{locked}");
    assert!(!locked.contains("hunter"), "{locked}");
    env.realize(&[]).success();
    let literal = server.index_url_with_login("me", Some("hunter-2-2"));
    env.write("requirements.in", format!("--index-url {literal}\npackage\n"));
    lock(&env, &["--upgrade"]).success();
    assert!(text(&env).contains(&format!("--index-url http://127.0.0.1:{port}/simple/\n")), "{}", text(&env));
}

/// A variable of the resolver's own environment is not replaced in a URL.
#[test]
fn variables_of_the_resolver_are_not_replaced() {
    let Some((env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let evil = server
        .url("evil/${UV_DEFAULT_INDEX}/package-1.0-py3-none-any.whl")
        .to_string()
        .replace("%7B", "{")
        .replace("%7D", "}");
    let password = server.index_url_with_login("me", Some("hunter-2-2"));
    env.write("requirements.in", format!("--index-url {password}\npackage @ {evil}\n"));
    lock(&env, &[]).fails_with(exit::ERROR).explains().never_mentions("hunter-2-2");
    let asked: Vec<String> = server.requests().iter().map(|request| request.path.clone()).collect();
    assert!(asked.iter().all(|path| !path.contains("simple/") || path.starts_with("/simple/")), "{asked:?}");
}

/// Wheels and sdists of this machine: named as the lock sees them, with their hashes.
#[test]
fn local_files_are_locked_by_relative_paths() {
    let Some((env, server)) = world() else { return };
    let wheel = WheelBuilder::simple("local", "1.0").requires("library").build();
    let path = env.write("wheels/x", "").parent().unwrap().to_owned();
    wheel.write_to(&path);
    let library: BuiltFile = WheelBuilder::simple("library", "1.0").build();
    env.add(&library);
    let file = format!("wheels/{}", wheel.file_name);
    env.write("in/requirements.in", format!("--index-url {}\n./{file}\n", server.index_url()));
    lock(&env, &["in/requirements.in"]).success();
    let locked = text(&env);
    assert!(
        locked.contains(&format!("./{file} \\\n    {}\n    # via -r in/requirements.in\n", wheel.hash_option())),
        "{locked}"
    );
    assert!(locked.contains("library==1.0"), "{locked}");
    assert!(!locked.contains(env.base().to_str().unwrap()), "{locked}");
    env.realize(&[]).success().says("2 packages: ");
}

/// A project without static metadata is asked by its backend, in a copy: its folder is not touched.
#[test]
fn a_dynamic_project_is_asked_in_a_copy() {
    let Some((env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("library", "1.0").build());
    env.write(
        "checkout/pyproject.toml",
        "[project]\nname = \"demo\"\nversion = \"1\"\ndynamic = [\"dependencies\"]\n\
         [build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n",
    );
    env.write(
        "checkout/backend.py",
        "import os\ndef prepare_metadata_for_build_wheel(directory, settings=None):\n    open('left-behind', 'w').close()\n    \
         os.mkdir(os.path.join(directory, 'demo-1.dist-info'))\n    \
         with open(os.path.join(directory, 'demo-1.dist-info', 'METADATA'), 'w') as file:\n        \
         file.write('Metadata-Version: 2.1\\nName: demo\\nVersion: 1\\nRequires-Dist: library\\n')\n    \
         return 'demo-1.dist-info'\ndef build_wheel(*arguments):\n    raise SystemExit('not now')\n",
    );
    let url = server.index_url().to_string();
    let output = lock(&env, &["checkout", "-o", "-", "--index-url", &url]).success();
    output.prints("library==1.0").prints("# via demo (checkout/pyproject.toml)");
    env.write("requirements.in", format!("--index-url {url}\n-e ./checkout\n"));
    lock(&env, &[]).success().says("1 folder or revision has no hash");
    assert!(text(&env).contains("-e ./checkout\n    # via -r requirements.in\nlibrary==1.0"), "{}", text(&env));
    assert!(!env.project().join("checkout/left-behind").exists(), "the backend ran in the project itself");
}

/// A branch becomes the commit that it is at; a revision that is gone is said to be.
#[test]
fn revisions_become_commits() {
    let Some((env, server)) = world() else { return };
    if host::program("git").is_none() {
        return skip("there is no git");
    }
    env.add(&WheelBuilder::simple("library", "1.0").build());
    env.write(
        "repository/pyproject.toml",
        "[project]\nname = \"demo\"\nversion = \"1\"\ndependencies = [\"library\"]\n",
    );
    let repository = env.project().join("repository");
    let git = |arguments: &[&str]| {
        let mut command = env.program("git");
        command.arg("-C").arg(&repository).args(["-c", "user.name=x", "-c", "user.email=x@example.org"]);
        command.args(arguments);
        env.finish(command).success().stdout.trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["add", "pyproject.toml"]);
    git(&["commit", "--quiet", "--message", "first"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let url = server.index_url();
    let place = format!("git+file://{}", repository.display());
    env.write("requirements.in", format!("--index-url {url}\ndemo @ {place}@main\n"));
    lock(&env, &[]).success();
    assert!(text(&env).contains(&format!("demo @ {place}@{commit}\n")), "{}", text(&env));
    assert!(text(&env).contains("library==1.0"), "{}", text(&env));
    env.write("requirements.in", format!("--index-url {url}\ndemo @ {place}@gone\n"));
    let output = lock(&env, &[]).fails_with(exit::ERROR).explains();
    output.says("has no branch, tag or commit `gone`").says("gone");
}
