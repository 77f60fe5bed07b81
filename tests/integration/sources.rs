//! What no index has: commits of git repositories, directories, editables.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::path::{Path, PathBuf};

use pip_accel_tests::{SdistBuilder, TestEnv};

use crate::support::{env, exit};

/// Runs git as a developer would, in `directory`.
fn git(env: &TestEnv, directory: &Path, arguments: &[&str]) -> String {
    let mut command = env.program("git");
    command.current_dir(directory).args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
    command.args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"]).args(arguments);
    env.finish(command).success().stdout.trim().to_owned()
}

/// Writes the files of an sdist as a checkout.
fn write_project(directory: &Path, sdist: &SdistBuilder) {
    for (path, content) in sdist.checkout() {
        let place = directory.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }
}

/// A repository at `<base>/<name>` whose `main` holds the project; and its commit.
fn repository(env: &TestEnv, name: &str, sdist: &SdistBuilder) -> (PathBuf, String) {
    let directory = env.base().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    git(env, &directory, &["init", "--quiet"]);
    write_project(&directory, sdist);
    (directory.clone(), commit(env, &directory, "first"))
}

fn commit(env: &TestEnv, directory: &Path, message: &str) -> String {
    git(env, directory, &["add", "--all"]);
    git(env, directory, &["commit", "--quiet", "--allow-empty", "-m", message]);
    git(env, directory, &["rev-parse", "HEAD"])
}

fn lock(env: &TestEnv, lines: &[&str]) {
    env.write("requirements.lock", format!("--no-index\n{}\n", lines.join("\n")));
}

fn direct_url(env: &TestEnv, project: &str) -> serde_json::Value {
    let expression = format!("m.distribution({project:?}).read_text('direct_url.json')");
    serde_json::from_str(&env.evaluate("import importlib.metadata as m", &expression)).unwrap()
}

/// A commit is fetched and built once, also when the repository is gone afterwards, and says where it comes from.
#[test]
fn a_commit_is_fetched_and_built_once() {
    let env = env();
    let (repository, commit) = repository(&env, "repo", &SdistBuilder::simple("demo", "1.0"));
    let line = format!("demo @ git+file://{}@{commit}", repository.display());
    lock(&env, &[&line]);
    env.realize(&[]).success().says("1 built");
    assert_eq!(env.evaluate("import demo", "demo.__version__"), "1.0");
    let url = direct_url(&env, "demo");
    assert_eq!(url["url"], format!("file://{}", repository.display()));
    assert_eq!(url["vcs_info"]["commit_id"], commit);
    std::fs::remove_dir_all(&repository).unwrap();
    env.realize(&["--venv", "other", "--offline"]).success().says("1 from the store");
    env.realize(&[]).success().says("nothing to do");
    assert_eq!(env.builds(), 1);
    env.verify_clean();
}
