//! Environments that are not where they were made: nothing that still works loses what it needs without a word.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::path::{Path, PathBuf};

use pip_accel_tests::{Output, TestEnv, TreeDigest, WheelBuilder, cleanup};

use crate::support::{as_root_and_user, env, exit};

/// An environment of one package with a script, moved from `.venv` to another place below the base directory.
fn moved(env: &TestEnv, to: &str) -> PathBuf {
    let wheel = WheelBuilder::simple("linked", "1.0").file("linked/cli.py", "def main():\n    print('ran')\n");
    env.lock(&[&wheel.entry_point("tool", "linked.cli:main").build()]);
    env.realize(&[]).success();
    let to = env.base().join(to);
    cleanup::create_directories(to.parent().unwrap());
    std::fs::rename(env.venv(), &to).unwrap();
    to
}

fn imports(env: &TestEnv, venv: &Path) -> Output {
    let mut command = env.program(venv.join("bin/python"));
    command.args(["-c", "import linked"]);
    env.finish(command)
}

fn status(env: &TestEnv, venv: &Path) -> Output {
    env.run([Path::new("status"), Path::new("--venv"), venv])
}

fn root_names(env: &TestEnv) -> Vec<String> {
    let roots = env.run(["roots", "--json"]).success().json();
    roots["roots"].as_array().unwrap().iter().map(|root| root["name"].as_str().unwrap().to_owned()).collect()
}

/// Renamed in its folder: the collection finds it, says so, and from then on it is a root at its new place.
#[test]
fn a_renamed_environment_keeps_its_objects() {
    as_root_and_user(|env| {
        let new = moved(&env, "project/.venv-old");
        let plan = env.run(["gc", "--dry-run", "--min-age", "0"]).success();
        plan.says(&format!("`{}` is at `{}` now", env.venv().display(), new.display()));
        for _ in 0..2 {
            env.collect().success();
            imports(&env, &new).success();
            assert_eq!(root_names(&env), [new.to_str().unwrap()]);
        }
        std::fs::remove_dir_all(&new).unwrap();
        env.collect().success().prints("-linked-1.0").says(&format!("`{}` is gone", new.display()));
        assert_eq!(env.object_names(), Vec::<String>::new());
        env.verify_clean();
    });
}

/// The folder of the project was renamed, and the environment with it.
#[test]
fn an_environment_in_a_renamed_folder_keeps_its_objects() {
    let env = env();
    moved(&env, "project/.venv");
    let renamed = env.base().join("renamed");
    std::fs::rename(env.project(), &renamed).unwrap();
    cleanup::create_directories(&env.project());
    env.collect().success().says("is at").says("renamed/.venv");
    imports(&env, &renamed.join(".venv")).success();
}

/// Its old place is taken by a new environment before any collection.
#[test]
fn a_new_environment_at_the_old_place_takes_nothing_away() {
    let env = env();
    let new = moved(&env, "project/.venv-old");
    env.lock(&[&WheelBuilder::simple("other", "1.0").build()]);
    env.realize(&[]).success();
    env.collect().success();
    imports(&env, &new).success();
    env.python_code("import other").success();
    assert_eq!(root_names(&env).len(), 2);
    env.verify_clean();
}

/// Too far away to be found: `status` there registers it and names what is not right; `realize` makes it right.
#[test]
fn status_registers_a_moved_environment() {
    as_root_and_user(|env| {
        let new = moved(&env, "home/far/away/venv");
        let output = status(&env, &new).fails_with(exit::ERROR);
        output
            .prints(&format!("moved: from {}", env.venv().display()))
            .says("it is registered at this place now")
            .says("pip-accel realize");
        env.collect().success().says(&format!("`{}` is gone and keeps nothing", env.venv().display()));
        imports(&env, &new).success();
    });
}

#[test]
fn realize_makes_a_moved_environment_right() {
    let env = env();
    let new = moved(&env, "home/far/away/venv");
    let objects = TreeDigest::of(&env.objects());
    env.realize(&["--venv", new.to_str().unwrap()]).success().says("1 package: 1 from the store");
    env.collect().success();
    objects.assert_unchanged(&env.objects());
    status(&env, &new).success();
    env.finish(env.program(new.join("bin/tool"))).success().prints("ran");
    assert_eq!(root_names(&env), [new.to_str().unwrap()]);
}

/// Too late: who looks is told what is gone, and what to do; the command in the hint does it.
#[test]
fn status_says_that_the_objects_are_gone() {
    let env = env();
    let new = moved(&env, "home/far/away/venv");
    env.collect().success().prints("-linked-1.0").says("is gone and keeps nothing");
    imports(&env, &new).fails_with(1);
    let output = status(&env, &new).fails_with(exit::ERROR).prints("dangling: ").says("pip-accel realize");
    output.says(&format!("the store `{}` has not all any more", env.store().display()));
    let report = env.run([Path::new("status"), Path::new("--json"), Path::new("--venv"), &new]);
    assert_eq!(report.fails_with(exit::ERROR).json()["keeping"], "objects-gone");
    env.realize(&["--venv", new.to_str().unwrap()]).success();
    status(&env, &new).success();
    imports(&env, &new).success();
}

/// The whole store is gone: an environment of links is broken, one of copies is not.
#[test]
fn status_without_a_store() {
    for (mode, code) in [("symlink", exit::ERROR), ("copy", 0)] {
        let env = env();
        env.lock(&[&WheelBuilder::simple("linked", "1.0").build()]);
        env.realize(&["--link-mode", mode]).success();
        cleanup::remove_tree(&env.store());
        let output = env.run(["status"]).fails_with(code);
        assert_eq!(output.stderr.contains("is not there or can't be read"), code != 0, "{output:?}");
        assert!(!env.store().exists(), "status made a store");
    }
}

/// Who removed the root himself is told what that means; nothing is registered behind his back.
#[test]
fn status_leaves_a_removed_root_alone() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("linked", "1.0").build()]);
    env.realize(&[]).success();
    env.run(["roots", "remove", ".venv"]).success();
    env.run(["status"]).success().says("no root of the store keeps what it needs").says("pip-accel realize");
    assert_eq!(root_names(&env), Vec::<String>::new());
    env.realize(&[]).success();
    assert_eq!(root_names(&env).len(), 1);
    let output = env.run(["status"]).success();
    assert!(!output.stderr.contains("no root"), "{output:?}");
}
