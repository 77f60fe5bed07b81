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
}

/// What was typed is named as it was typed; there is no line to mend.
#[test]
fn an_argument_is_named_as_it_was_typed() {
    for (word, says) in [
        ("./nowhere-1.0-py3-none-any.whl", "there is no file"),
        ("git+file:///nowhere/repository", "there is no repository"),
        ("app<<4", "is not a version"),
        ("hg+https://h.example/r", "other than git"),
        (".", "neither `pyproject.toml` nor `setup.py`"),
    ] {
        let Some(output) = refused(&[word], exit::USAGE) else { return };
        output.says(&format!("`{word}` can't be installed: ")).says(says).never_mentions(" line");
    }
    let Some(output) = refused(&["-e", "./nowhere"], exit::USAGE) else { return };
    output.says("`./nowhere` can't be installed: there is no file").says("name what is there");
}

/// A line of a file is named by its place, and a file without `-r` is taken for what it is.
#[test]
fn a_line_of_a_file_is_named_by_its_place() {
    let env = crate::support::env();
    env.write("requirements.txt", "app\n./nowhere.whl\n");
    let output = install(&env, &["-r", "requirements.txt"]).fails_with(exit::LOCK_REFUSED).explains();
    output.says("requirements.txt:2: there is no file `./nowhere.whl`").says("mend that line");
    let output = install(&env, &["requirements.txt"]).fails_with(exit::USAGE).explains();
    output.says("is a file of requirements").says("pip-accel install -r requirements.txt");
    env.write("script.py", "# /// script\n# dependencies = [\"./nowhere.whl\"]\n# ///\n");
    let output = install(&env, &["--requirements-from-script", "script.py"]).fails_with(exit::LOCK_REFUSED).explains();
    output.says("`./nowhere.whl` of the script script.py can't be installed");
    env.write("script.py", "# /// script\n# dependencies = [\"-r requirements.txt\"]\n# ///\n");
    install(&env, &["--requirements-from-script", "script.py"]).fails_with(exit::USAGE).says("is not a requirement");
}

/// Neither git's command line nor the places of the sandbox are shown.
#[test]
fn a_revision_that_is_gone_is_one_sentence() {
    let Some((mut env, _)) = world() else { return };
    let (repository, _) =
        crate::sources::repository(&env, "demo", &pip_accel_tests::SdistBuilder::simple("demo", "1.0"));
    env.set("PIP_NO_INDEX", "1");
    let word = format!("git+file://{}@no-such-revision", repository.display());
    let output = install(&env, &["--venv", ".venv", &word]).fails_with(exit::ERROR).explains();
    let output = output.says("has no branch, tag or commit `no-such-revision`");
    output.never_mentions("/pip-accel/").never_mentions("stderr").never_mentions("refs/");
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
    let Some(output) = refused(&["-c", "pylock.toml", "app"], exit::USAGE) else { return };
    output.says("pip-accel realize");
    let Some(output) = refused(&["-r", "https://h.example/requirements.txt"], exit::USAGE) else { return };
    output.says("not on this machine");
}
