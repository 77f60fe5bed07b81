//! Locks as pip-tools, uv and pip really write them (`tests/data/locks`, and what this machine's uv and pip say now),
//! each to an environment; and what a lock refers to: other files, folders beside it, variables.

use std::path::Path;

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, TestEnv, WheelBuilder, host, skip};

use crate::support::{as_root_and_user, env, exit};

/// The locks of `tests/data/locks`, what their packages are, and where each stands below the base directory: relative
/// paths in them are from there.
const CORPUS: [(&str, &str, &str, &str); 11] = [
    ("pip-compile", include_str!("../data/locks/pip-compile.txt"), "project", LAYERED),
    ("pip-compile-strip-extras", include_str!("../data/locks/pip-compile-strip-extras.txt"), "project", LAYERED),
    ("pip-compile-bare", include_str!("../data/locks/pip-compile-bare.txt"), "project", LAYERED),
    ("pip-compile-line", include_str!("../data/locks/pip-compile-line.txt"), "project", LAYERED),
    ("pip-compile-direct", include_str!("../data/locks/pip-compile-direct.txt"), "project", DIRECT),
    ("uv-compile", include_str!("../data/locks/uv-compile.txt"), "project", LAYERED),
    ("uv-compile-bare", include_str!("../data/locks/uv-compile-bare.txt"), "project", LAYERED),
    ("uv-compile-line", include_str!("../data/locks/uv-compile-line.txt"), "project", LAYERED),
    ("uv-compile-direct", include_str!("../data/locks/uv-compile-direct.txt"), "", DIRECT),
    ("uv-export", include_str!("../data/locks/uv-export.txt"), "project", LAYERED),
    ("pip-freeze", include_str!("../data/locks/pip-freeze.txt"), "project", LAYERED),
];
const LAYERED: &str = "alpha 1.0, beta 1.0, delta 0.3.post1, dotted.name 1.0, gamma 2.1";
const DIRECT: &str = "alpha 1.0, beta 1.0, delta 0.3.post1, gamma 2.1";

/// The packages that the locks are of. Those for other platforms and interpreters have a hash and no file.
struct Packages {
    files: Vec<(&'static str, BuiltFile)>,
}

impl Packages {
    fn new() -> Self {
        let alpha = WheelBuilder::simple("alpha", "1.0").requires("beta>=1").requires("gamma[fast]");
        let alpha =
            alpha.requires("win-only; sys_platform == 'win32'").requires("old-backport; python_version < '3.8'");
        let gamma = WheelBuilder::simple("gamma", "2.1").extra("fast").requires("delta; extra == 'fast'");
        let wheel = |name, version| WheelBuilder::simple(name, version).build();
        let files = vec![
            ("alpha", alpha.build()),
            ("beta", wheel("beta", "1.0")),
            ("beta-sdist", SdistBuilder::simple("beta", "1.0").build()),
            ("gamma", gamma.build()),
            ("delta", wheel("delta", "0.3.post1")),
            ("dotted-name", wheel("dotted.name", "1.0")),
            ("win-only", wheel("win-only", "1.0")),
            ("old-backport", wheel("old-backport", "1.0")),
        ];
        Self { files }
    }

    fn publish(&self, env: &TestEnv, names: &[&str]) {
        for (_, file) in self.files.iter().filter(|(name, _)| names.contains(name)) {
            env.add(file);
        }
    }

    fn publish_usable(&self, env: &TestEnv) {
        self.publish(env, &["alpha", "beta", "beta-sdist", "gamma", "delta", "dotted-name"]);
    }

    /// A lock of the corpus for this machine.
    fn expand(&self, text: &str, env: &TestEnv, server: &IndexServer) -> String {
        let index = server.url("").to_string();
        let mut text = text
            .replace("{INDEX}", index.trim_end_matches('/'))
            .replace("{FILES}", &env.files().display().to_string())
            .replace("{BASE}", &env.base().display().to_string());
        for (name, file) in &self.files {
            text = text.replace(&format!("{{{name}}}"), &file.sha256());
        }
        assert!(!text.contains('{'), "{text}");
        text
    }
}

/// Names and versions in the default environment, as its own interpreter sees them; pip itself apart.
#[track_caller]
fn distributions(env: &TestEnv) -> String {
    let found = "sorted(d.metadata['Name'] + ' ' + d.version for d in distributions() if d.metadata['Name'] != 'pip')";
    env.evaluate("from importlib.metadata import distributions", &format!("', '.join({found})"))
}

/// Realizes the lock at `path` from another working directory than its own: relative paths are the lock's.
#[track_caller]
fn realize_at(env: &TestEnv, path: &Path, cwd: &Path) -> pip_accel_tests::Output {
    let mut command = env.command(["realize", "--venv"]);
    command.arg(env.venv()).arg("--python").arg(env.python()).arg(path).current_dir(cwd);
    env.finish(command)
}

#[test]
fn locks_as_the_tools_write_them_are_realized() {
    let packages = Packages::new();
    for (name, text, folder, expected) in CORPUS {
        let mut env = env();
        packages.publish_usable(&env);
        let server = IndexServer::start(&env.files());
        let lock = env.base().join(folder).join(format!("{name}.txt"));
        std::fs::write(&lock, packages.expand(text, &env, &server)).unwrap();
        // What a lock without an index line leaves to the configuration.
        env.set("PIP_INDEX_URL", server.index_url().as_str());
        realize_at(&env, &lock, &env.home()).success();
        assert_eq!(distributions(&env), expected, "{name}");
        env.verify_clean();
        realize_at(&env, &lock, env.base()).success().says("nothing to do");
    }
}

/// What uv writes today, whatever its version: universal, exported from a project, with the project itself in it.
#[test]
fn locks_of_this_machines_uv_are_realized() {
    let Some(uv) = host::uv() else { return skip("there is no uv; run `make setup`") };
    let packages = Packages::new();
    let mut env = env();
    packages.publish_usable(&env);
    packages.publish(&env, &["win-only", "old-backport"]);
    let server = IndexServer::start(&env.files());
    env.unset("UV_OFFLINE");
    env.unset("UV_NO_CONFIG");
    env.set("UV_DEFAULT_INDEX", server.index_url().as_str());
    let python = env.python().to_owned();
    env.set("UV_PYTHON", python);
    let pyproject = "[project]\nname = 'app'\nversion = '1'\nrequires-python = '>=3.8'\n\
        dependencies = ['alpha', \"dotted.name ; python_version >= '3'\", 'beta']\n\
        [tool.uv.sources]\nbeta = { path = '../files/beta-1.0.tar.gz' }\n";
    env.write("pyproject.toml", pyproject);
    env.write("requirements.in", "alpha\ndotted.name\n");
    let compile = ["pip", "compile", "--generate-hashes", "--universal", "--emit-index-url", "requirements.in", "-o"];
    let export = ["export", "--format", "requirements-txt", "-o"];
    for (arguments, lock) in [(&compile[..], "compiled.lock"), (&export, "exported.lock")] {
        let mut command = env.program(&uv);
        command.args(arguments).arg(lock);
        env.finish(command).success();
        env.set("PIP_INDEX_URL", server.index_url().as_str());
        env.run(["realize", lock, "--python"].map(std::ffi::OsStr::new).into_iter().chain([env.python().as_os_str()]))
            .success();
        assert_eq!(distributions(&env), LAYERED, "{lock}");
    }
}

/// `pip freeze --all` of an environment of ours, its pins hashed, gives the same environment again.
#[test]
fn a_freeze_with_hashes_comes_full_circle() {
    let Some(pip) = host::wheel_of("pip") else {
        return skip("a wheel of pip is needed (PIP_ACCEL_TEST_WHEELS); run `make test`");
    };
    let (packages, pip) = (Packages::new(), BuiltFile::read(&pip));
    let env = env();
    packages.publish_usable(&env);
    let file = |name: &str| &packages.files.iter().find(|(known, _)| *known == name).unwrap().1;
    let alpha = format!("alpha @ file://{}/alpha-1.0-py3-none-any.whl", env.files().display());
    let lock =
        ["beta", "gamma", "delta", "dotted-name"].iter().fold(LockWriter::offline(), |lock, name| lock.pin(file(name)));
    env.add(&pip);
    let lock = lock.pin(&pip).line(format!("{alpha} {}", file("alpha").hash_option()));
    env.write("requirements.lock", lock.text());
    env.realize(&[]).success();
    let mut freeze = env.program(env.venv_program("python"));
    freeze.args(["-m", "pip", "freeze", "--all"]);
    let frozen = env.finish(freeze).success().stdout;
    assert!(frozen.contains(&format!("{alpha}#sha256=")), "{frozen}");
    let hashed: Vec<String> = frozen
        .lines()
        .map(|line| match line.split_once("==") {
            Some(("pip", _)) => format!("{line} {}", pip.hash_option()),
            Some((name, _)) => format!("{line} {}", file(&name.replace(['.', '_'], "-")).hash_option()),
            None => line.to_owned(),
        })
        .collect();
    assert_eq!(hashed.len(), 6, "{frozen}");
    env.write("requirements.lock", format!("--no-index\n--find-links ../files\n{}\n", hashed.join("\n")));
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.realize(&[]).success().says("6 packages: 6 from the store");
    assert_eq!(distributions(&env), LAYERED);
}

/// `-r` within `-r`, with constraints, each relative to the file that names it, and `--find-links` as well.
#[test]
fn nested_locks_are_relative_to_themselves() {
    as_root_and_user(|env| {
        let packages = Packages::new();
        packages.publish_usable(&env);
        let pin = |name: &str| {
            let (_, file) = packages.files.iter().find(|(known, _)| *known == name).unwrap();
            format!("{}=={} {}\n", file.name, file.version, file.hash_option())
        };
        let lock =
            env.write("locks/main.lock", format!("-r deep/first.txt\n-c deep/constraints.txt\n{}", pin("alpha")));
        env.write("locks/deep/first.txt", format!("--requirement=../second.txt\n--no-index\n{}", pin("beta")));
        env.write("locks/second.txt", format!("-f ../../files\n-r third.txt\n{}", pin("gamma")));
        env.write("locks/third.txt", format!("{}{}", pin("delta"), pin("dotted-name")));
        env.write("locks/deep/constraints.txt", "-c more.txt\nalpha==1.0\nnot-in-the-lock<3\n");
        env.write("locks/deep/more.txt", "beta>=1,<2\n");
        for cwd in [env.project(), env.home(), env.project().join("locks/deep")] {
            realize_at(&env, &lock, &cwd).success();
            assert_eq!(distributions(&env), LAYERED);
        }
        env.write("locks/deep/more.txt", "beta>=2\n");
        let output = realize_at(&env, &lock, &env.home()).fails_with(exit::LOCK_REFUSED).explains();
        output.says("deep/first.txt:3").says("more.txt:1");
    });
}

/// Wheels and sdists beside the lock, by relative path, by URL of a file, with hashes as options and in fragments.
#[test]
fn files_beside_the_lock_are_taken() {
    let packages = Packages::new();
    for (alpha, beta) in [
        ("./alpha-1.0-py3-none-any.whl {o}", "sub/beta-1.0.tar.gz {o}"),
        ("alpha-1.0-py3-none-any.whl {o}", "./sub/beta-1.0.tar.gz#sha256={h}"),
        ("alpha @ file:alpha-1.0-py3-none-any.whl {o}", "beta @ file:sub/beta-1.0.tar.gz#sha256={h}"),
        ("file://{d}/alpha-1.0-py3-none-any.whl {o}", "file://{d}/sub/beta-1.0.tar.gz#egg=beta&sha256={h}"),
        (
            "alpha @ file://{d}/./sub/../alpha-1.0-py3-none-any.whl#sha256={h}",
            "beta @ file://localhost{d}/sub/beta-1.0.tar.gz {o}",
        ),
    ] {
        let env = env();
        let folder = env.project().join("locks");
        pip_accel_tests::cleanup::create_directories(&folder.join("sub"));
        let line = |line: &str, name: &str, to: &str| {
            let (_, file) = packages.files.iter().find(|(known, _)| *known == name).unwrap();
            file.write_to(&folder.join(to));
            let directory = folder.display().to_string();
            line.replace("{o}", &file.hash_option()).replace("{h}", &file.sha256()).replace("{d}", &directory)
        };
        let text = format!("{}\n{}\n", line(alpha, "alpha", "."), line(beta, "beta-sdist", "sub"));
        let lock = env.write("locks/main.lock", &text);
        realize_at(&env, &lock, &env.home()).success();
        assert_eq!(distributions(&env), "alpha 1.0, beta 1.0", "{text}");
        assert_eq!(env.builds(), 1);
    }
}

/// Variables in index URLs, links and direct URLs, in a file that the lock includes as well.
#[test]
fn variables_are_expanded_wherever_a_url_may_be() {
    let packages = Packages::new();
    let mut env = env();
    packages.publish_usable(&env);
    let server = IndexServer::start(&env.files());
    let pin = |name: &str| {
        let (_, file) = packages.files.iter().find(|(known, _)| *known == name).unwrap();
        format!("{}=={} {}", file.name, file.version, file.hash_option())
    };
    let (_, delta) = packages.files.iter().find(|(name, _)| *name == "delta").unwrap();
    let lock = LockWriter::new()
        .line("--index-url http://127.0.0.1:${INDEX_PORT}/${INDEX_PATH}/")
        .line("-r more.txt")
        .line(pin("alpha"));
    env.write("requirements.lock", lock.text());
    let direct = format!("delta @ http://127.0.0.1:${{INDEX_PORT}}/files/{} {}", delta.file_name, delta.hash_option());
    env.write("more.txt", format!("--find-links ${{LINKS}}\n{direct}\n{}\n{}\n", pin("beta"), pin("gamma")));
    env.realize(&[]).fails_with(exit::USAGE).explains().says("INDEX_PORT").says("INDEX_PATH").says("LINKS");
    env.set("INDEX_PORT", server.port().to_string());
    env.set("INDEX_PATH", "simple");
    env.set("LINKS", env.files());
    env.realize(&[]).success();
    assert_eq!(distributions(&env), DIRECT);
}
