//! What `install` builds, and with what: settings of backends, constraints of build requirements, repositories, locks.

use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, WheelBuilder};

use crate::install::install;
use crate::lock::{lock, text, world};
use crate::sources::{commit, repository, write_project};
use crate::support::exit;

/// A project that keeps what its backend was told.
fn telling(name: &str) -> SdistBuilder {
    writing(name, &format!("open('src/{name}/told.py', 'w').write('TOLD = %r\\n' % (settings,))\n"))
}

/// A project that says statically what it is, and runs this when it is built.
fn writing(name: &str, code: &str) -> SdistBuilder {
    let project = format!("[project]\nname = {name:?}\nversion = \"1.0\"\n");
    SdistBuilder::simple(name, "1.0").pyproject(&project).during_build(code)
}

fn sdist_of(env: &TestEnv, sdist: &SdistBuilder) -> BuiltFile {
    let file = sdist.build();
    env.add(&file);
    file
}

#[track_caller]
fn told(env: &TestEnv, name: &str) -> String {
    env.evaluate(&format!("import {name}.told"), &format!("{name}.told.TOLD"))
}

/// As in pip: what is named on the command line is told, what it requires is not. Two settings are two builds, each made once.
#[test]
fn a_backend_is_told_what_is_typed() {
    let Some((env, server)) = world() else { return };
    sdist_of(&env, &telling("demo"));
    sdist_of(&env, &telling("needed"));
    env.add(&WheelBuilder::simple("app", "1.0").requires("needed").build());
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--venv", ".venv"];
    let fast = ["-C", "mode=fast", "--config-settings", "flag=a", "--config-setting=flag=b"];
    let words = |told: &[&'static str]| [&at[..], told, &["demo", "app"]].concat();
    install(&env, &words(&fast)).success().says("2 built");
    assert_eq!(told(&env, "demo"), "{'flag': ['a', 'b'], 'mode': 'fast'}");
    assert_eq!(told(&env, "needed"), "None");
    install(&env, &words(&[])).success().says("nothing to do");
    let again = |told: &[&'static str]| install(&env, &[&words(told), &["--force-reinstall"][..]].concat()).success();
    again(&["-C", "mode=slow"]).says("1 built");
    assert_eq!(told(&env, "demo"), "{'mode': 'slow'}");
    again(&[]).says("1 built");
    assert_eq!(told(&env, "demo"), "None");
    again(&fast).says("0 built");
    assert_eq!(told(&env, "demo"), "{'flag': ['a', 'b'], 'mode': 'fast'}");
    for wrong in ["mode", "=fast", "a=b #c"] {
        install(&env, &[&at[..], &["-C", wrong, "demo"]].concat()).fails_with(exit::USAGE).explains();
    }
    env.verify_clean();
}

/// A line of a file has settings of its own, which a lock keeps and `realize` tells; another setting is another build.
#[test]
fn a_lock_keeps_what_a_backend_is_told() {
    let Some((env, server)) = world() else { return };
    sdist_of(&env, &telling("demo"));
    let input = |mode: &str| {
        let line = format!("demo --config-settings=\"mode={mode}\" --config-settings \"other=with space\"");
        env.write("requirements.in", format!("--index-url {}\n{line}\n", server.index_url()));
    };
    input("one");
    let url = server.index_url();
    install(&env, &["-i", url.as_str(), "--venv", ".venv", "-r", "requirements.in"]).success();
    assert_eq!(told(&env, "demo"), "{'mode': 'one', 'other': 'with space'}");
    lock(&env, &[]).success();
    let first = text(&env);
    assert!(
        first.contains("    --config-settings=\"mode=one\" \\\n    --config-settings=\"other=with space\"\n"),
        "{first}"
    );
    env.realize(&["--replace"]).success().says("1 from the store, 0 fetched, 0 built");
    assert_eq!(told(&env, "demo"), "{'mode': 'one', 'other': 'with space'}");
    input("two");
    lock(&env, &[]).success();
    let python = env.python().to_string_lossy().into_owned();
    let why = env.run(["why-rebuild", "demo", "requirements.lock", "--python", &python]).success().printed();
    assert!(why.contains("config setting mode: `one` then, `two` now"), "{why}");
    env.realize(&[]).success().says("1 built");
    assert_eq!(told(&env, "demo"), "{'mode': 'two', 'other': 'with space'}");
    // The store can make what it lost.
    let path =
        env.run(["build", "demo==1.0", "-C", "mode=two", "-C", "other=with space", "-i", url.as_str()]).success();
    path.says("in the store");
    env.run(["build", "demo==1.0", "-C", "mode=three", "-i", url.as_str()]).success().says("built");
    env.run(["build", "demo==1.0", "-C", "mode", "-i", url.as_str()]).fails_with(exit::USAGE).explains();
    env.verify_clean();
}

/// Folders and repositories are told too, by their places.
#[test]
fn local_projects_are_told() {
    let Some((mut env, _)) = world() else { return };
    env.set("PIP_NO_INDEX", "1");
    write_project(&env, &env.project().join("demo"), &telling("demo"));
    let (repository, _) = repository(&env, "other", &telling("other"));
    let url = format!("git+file://{}", repository.display());
    install(&env, &["--venv", ".venv", "-C", "mode=fast", "./demo", &url]).success();
    assert_eq!(told(&env, "demo"), "{'mode': 'fast'}");
    assert_eq!(told(&env, "other"), "{'mode': 'fast'}");
}

/// Build requirements are those that the constraints allow, also where others are remembered.
#[test]
fn build_constraints_are_kept() {
    let Some((env, server)) = world() else { return };
    for version in ["1.0", "2.0"] {
        env.add(&WheelBuilder::simple("helper", version).build());
    }
    let code = "import helper\nopen('src/demo/told.py', 'w').write('TOLD = %r\\n' % helper.__version__)\n";
    sdist_of(&env, &writing("demo", code).build_requires("helper"));
    env.write("limits.txt", "helper<2\n");
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--venv", ".venv", "--force-reinstall", "demo"];
    install(&env, &at).success().says("1 built");
    assert_eq!(told(&env, "demo"), "2.0");
    install(&env, &[&at[..], &["--build-constraint", "limits.txt"]].concat()).success().says("1 built");
    assert_eq!(told(&env, "demo"), "1.0");
    install(&env, &at).success().says("0 built");
    assert_eq!(told(&env, "demo"), "2.0");
    install(&env, &[&at[..], &["--build-constraint", "nowhere.txt"]].concat()).fails_with(exit::ERROR).explains();
}

/// `-e git+…` is cloned and used in place: in `src` of the virtualenv, or where `--src` says.
#[test]
fn an_editable_repository_is_cloned() {
    let Some((mut env, _)) = world() else { return };
    env.set("PIP_NO_INDEX", "1");
    let (repository, first) = repository(&env, "demo", &telling("demo"));
    commit(&env, &repository, "second");
    let url = format!("git+file://{}@{first}#egg=demo", repository.display());
    install(&env, &["--venv", ".venv", "-e", &url]).success();
    let place = |env: &TestEnv| env.evaluate("import demo", "demo.__file__");
    // There was no virtualenv yet.
    assert_eq!(place(&env), env.project().join("src/demo/src/demo/__init__.py").to_string_lossy());
    install(&env, &["--venv", ".venv", "-e", &url]).success();
    assert_eq!(place(&env), env.venv().join("src/demo/src/demo/__init__.py").to_string_lossy());
    install(&env, &["--venv", ".venv", "--src", "clones", "-e", &url]).success();
    assert_eq!(place(&env), env.project().join("clones/demo/src/demo/__init__.py").to_string_lossy());
    install(&env, &["--venv", ".venv", "--src", "clones", &format!("git+file://{}", repository.display())]).success();
    assert_eq!(place(&env), env.site_packages().join("demo/__init__.py").to_string_lossy());
}

/// `-r pylock.toml` installs what the lock says, beside what is there.
#[test]
fn a_lock_can_be_installed() {
    let Some((env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("other", "1.0").build());
    env.add(&WheelBuilder::simple("app", "1.0").requires("library").build());
    env.add(&WheelBuilder::simple("library", "1.0").build());
    env.write("requirements.in", format!("--index-url {}\napp\n", server.index_url()));
    lock(&env, &["-o", "pylock.toml"]).success();
    env.add(&WheelBuilder::simple("library", "2.0").build());
    let url = server.index_url();
    let at = ["-i", url.as_str(), "--venv", ".venv"];
    install(&env, &[&at[..], &["other"]].concat()).success();
    install(&env, &[&at[..], &["-r", "pylock.toml"]].concat()).success().says("2 packages: ");
    assert_eq!(env.evaluate("import app, library, other", "library.__version__"), "1.0");
    install(&env, &[&at[..], &["-r", "pylock.toml"]].concat()).success().says("2 packages: nothing to do");
    let output = install(&env, &[&at[..], &["-r", "pylock.toml", "other"]].concat()).fails_with(exit::USAGE);
    output.says("says all there is to install").explains();
    install(&env, &[&at[..], &["-r", "pylock.nowhere.toml"]].concat()).fails_with(exit::ERROR).explains();
}

/// The resolver is asked once: a file, folder or commit means the same while its content does. A project is built again only
/// when its content changed, and then it is.
#[test]
fn local_places_are_remembered_by_their_content() {
    let Some((mut env, _)) = world() else { return };
    env.set("PIP_NO_INDEX", "1");
    let folder = env.project().join("demo");
    write_project(&env, &folder, &telling("demo"));
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.add(&wheel);
    let (repository, commit) = repository(&env, "other", &telling("other"));
    let url = format!("git+file://{}@{commit}", repository.display());
    let file = format!("../files/{}", wheel.file_name);
    let words = ["--venv", ".venv", "./demo", &file, &url];
    install(&env, &words).success().says("2 built");
    // Without its resolver, whatever is chosen is remembered.
    env.set("PIP_ACCEL_UV", "/nowhere/uv");
    install(&env, &words).success().says("3 packages: nothing to do");
    let words = ["--venv", "other", "./demo", &file, &url];
    install(&env, &words).success().says("3 packages: 3 from the store");
    env.set("PIP_ACCEL_UV", pip_accel_tests::host::uv().unwrap());
    std::fs::write(folder.join("src/demo/new.py"), "").unwrap();
    install(&env, &["--venv", ".venv", "./demo"]).success().says("1 built");
    assert_eq!(env.evaluate("import demo.new", "demo.new.__name__"), "demo.new");
    let again = WheelBuilder::simple("package", "1.0").file("package/more.py", "").build();
    std::fs::write(env.files().join(&again.file_name), &again.bytes).unwrap();
    install(&env, &["--venv", "new", &file]).success();
    assert!(env.project().join("new").read_dir().is_ok());
}
