//! Bad input for `pip-accel install`: a sentence, a remedy, the exit code, and nothing changed. A test for each row of
//! `docs/bad-input.md`.

use pip_accel_tests::{Output, TreeDigest, WheelBuilder, host};

use crate::install::{install, pip, python_with_pip, venv};
use crate::lock::world;
use crate::support::exit;

/// Installs over an environment and asserts the refusal and that nothing has changed.
#[track_caller]
fn refused(words: &[&str], code: i32) -> Option<Output> {
    let (mut env, server) = world()?;
    let app = WheelBuilder::simple("app", "1.0").requires("library<2").build();
    env.add(&app);
    env.add(&WheelBuilder::simple("library", "1.0").build());
    env.add(&WheelBuilder::simple("library", "2.0").build());
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    install(&env, &["--venv", ".venv", "library==1.0"]).success();
    let before = TreeDigest::of(&env.venv());
    let output = install(&env, words).fails_with(code).explains();
    before.assert_unchanged(&env.venv());
    env.verify_clean();
    Some(output)
}

#[test]
fn a_conflict_is_explained() {
    let Some(output) = refused(&["app", "library==2.0"], exit::LOCK_REFUSED) else { return };
    output.says("contradict").says("library");
}

#[test]
fn an_unknown_package_is_named() {
    let Some(output) = refused(&["no-such-package"], exit::LOCK_REFUSED) else { return };
    output.says("no-such-package").says("does not exist");
}

#[test]
fn a_missing_file_is_named() {
    for words in [["-r", "nowhere.txt"], ["-c", "nowhere.txt"]] {
        let Some(output) = refused(&[&words[..], &["app"]].concat(), exit::ERROR) else { return };
        output.says("nowhere.txt").says("pip-accel install");
    }
    let Some(output) = refused(&["./nowhere-1.0-py3-none-any.whl"], exit::LOCK_REFUSED) else { return };
    output.says("nowhere-1.0");
}

#[test]
fn offline_without_it_in_the_store_is_said() {
    let Some(output) = refused(&["--offline", "app"], exit::OFFLINE) else { return };
    output.says("network is off");
}

#[test]
fn nothing_named_is_a_question() {
    let Some(output) = refused(&["-c", "limits.txt"], exit::USAGE) else { return };
    output.says("nothing to install is named");
}

#[test]
fn two_places_are_one_too_many() {
    let Some(output) = refused(&["--target", "a", "--prefix", "b", "app"], exit::USAGE) else { return };
    output.says("two places");
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for [option, value] in [
        ["--progress-bar", "raw"],
        ["--upgrade-strategy", "sometimes"],
        ["--root-user-action", "shout"],
        ["--keyring-provider", "import"],
        ["--link-mode", "magic"],
        ["--retries", "x"],
        ["--jobs", "0"],
        ["--uploaded-prior-to", "P3D"],
    ] {
        let Some(output) = refused(&[option, value, "app"], exit::USAGE) else { return };
        output.says(option.trim_start_matches('-')).says(value);
    }
}

#[test]
fn an_environment_of_another_interpreter_is_refused() {
    let Some((mut env, server)) = world() else { return };
    let system = env.python().canonicalize().unwrap();
    let other = host::interpreters().into_iter().rfind(|one| one.path != system && one.is_fully_supported());
    let Some(other) = other else { return pip_accel_tests::skip("there is one interpreter only") };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    install(&env, &["--venv", ".venv", "--python", env.python().to_str().unwrap(), "package"]).success();
    let before = TreeDigest::of(&env.venv());
    let words = ["--venv", ".venv", "--python", other.path.to_str().unwrap(), "-I", "package"];
    install(&env, &words).fails_with(exit::ERROR).says("not of").explains();
    before.assert_unchanged(&env.venv());
}

#[test]
fn the_users_folder_is_nothing_for_a_virtualenv() {
    let Some(output) = refused(&["--user", "app"], exit::USAGE) else { return };
    output.says("does not see");
}

/// What has no list of its files can't be replaced, here or by pip.
#[test]
fn a_distribution_without_a_list_of_files_is_left_alone() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    for version in ["1.0", "2.0"] {
        env.add(&WheelBuilder::simple("package", version).build());
    }
    let place = venv(&env, &python, "v");
    pip(&env, &place, &["install", "-q", "--no-index", "--find-links", "../files", "package==1.0"]).success();
    let record = std::fs::read_dir(place.join("lib")).unwrap().flatten().next().unwrap().path();
    std::fs::remove_file(record.join("site-packages/package-1.0.dist-info/RECORD")).unwrap();
    let before = TreeDigest::of(&place);
    let url = server.index_url();
    let words = ["-i", url.as_str(), "--python", "v", "package==2.0"];
    install(&env, &words).fails_with(exit::ERROR).says("without a list of its files").explains();
    before.assert_unchanged(&place);
}

#[test]
fn a_lock_is_for_realize() {
    let Some(output) = refused(&["-r", "pylock.toml"], exit::USAGE) else { return };
    output.says("pip-accel realize");
    let Some(output) = refused(&["-r", "https://h.example/requirements.txt"], exit::USAGE) else { return };
    output.says("not on this machine");
}
