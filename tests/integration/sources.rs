//! Commits of git repositories: fetched once, built like sdists; and build requirements of `setup.py`.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::path::{Path, PathBuf};

use pip_accel_tests::git_server::GitServer;
use pip_accel_tests::{SdistBackend, SdistBuilder, TestEnv, WheelBuilder, host, skip};

use crate::bundles::{BUNDLE, bundle};
use crate::support::{as_root_and_user, env, exit, lock_of};

/// Runs git as a developer would, in `directory`.
#[track_caller]
pub(crate) fn git(env: &TestEnv, directory: &Path, arguments: &[&str]) -> String {
    let mut command = env.program("git");
    command.current_dir(directory).args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
    command.args(["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"]).args(arguments);
    env.finish(command).success().stdout.trim().to_owned()
}

/// Writes the files of an sdist as a checkout.
pub(crate) fn write_project(env: &TestEnv, directory: &Path, sdist: &SdistBuilder) {
    for (path, content) in sdist.checkout() {
        let place = directory.join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, content).unwrap();
    }
    give(env, directory);
}

/// To whoever runs the program: what lies in the environment's base was made by whoever runs the tests.
pub(crate) fn give(env: &TestEnv, path: &Path) {
    let owner = std::os::unix::fs::MetadataExt::uid(&env.project().metadata().unwrap());
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        std::os::unix::fs::lchown(&path, Some(owner), Some(owner)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

/// A repository at `<base>/<name>` whose `main` holds the project; and its commit.
pub(crate) fn repository(env: &TestEnv, name: &str, sdist: &SdistBuilder) -> (PathBuf, String) {
    let directory = env.base().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    write_project(env, &directory, sdist);
    git(env, &directory, &["init", "--quiet"]);
    (directory.clone(), commit(env, &directory, "first"))
}

pub(crate) fn commit(env: &TestEnv, directory: &Path, message: &str) -> String {
    git(env, directory, &["add", "--all"]);
    git(env, directory, &["commit", "--quiet", "--allow-empty", "-m", message]);
    git(env, directory, &["rev-parse", "HEAD"])
}

pub(crate) fn lock(env: &TestEnv, lines: &[&str]) {
    env.write("requirements.lock", format!("--no-index\n{}\n", lines.join("\n")));
}

pub(crate) fn direct_url(env: &TestEnv, project: &str) -> serde_json::Value {
    let expression = format!("m.distribution({project:?}).read_text('direct_url.json')");
    serde_json::from_str(&env.evaluate("import importlib.metadata as m", &expression)).unwrap()
}

fn line_of(repository: &Path, commit: &str) -> String {
    format!("demo @ git+file://{}@{commit}", repository.display())
}

fn demo() -> SdistBuilder {
    SdistBuilder::simple("demo", "1.0")
}

/// A commit is fetched and built once, also when the repository is gone afterwards, and says where it comes from.
#[test]
fn a_commit_is_fetched_and_built_once() {
    as_root_and_user(|env| {
        let (repository, commit) = repository(&env, "repo", &demo());
        lock(&env, &[&line_of(&repository, &commit)]);
        env.realize(&[]).success().says("1 built");
        assert_eq!(env.evaluate("import demo", "demo.__version__"), "1.0");
        let url = direct_url(&env, "demo");
        assert_eq!(url["url"], format!("file://{}", repository.display()));
        assert_eq!((&url["vcs_info"]["vcs"], &url["vcs_info"]["commit_id"]), (&"git".into(), &commit.into()));
        std::fs::remove_dir_all(&repository).unwrap();
        env.realize(&["--venv", "other", "--offline"]).success().says("1 from the store");
        env.realize(&[]).success().says("nothing to do");
        assert_eq!(env.builds(), 1);
        env.verify_clean();
    });
}

/// The bare URL with `#egg=`, and one without any name.
#[test]
fn a_commit_needs_no_name() {
    let env = env();
    let (repository, commit) = repository(&env, "other-name", &demo());
    for tail in ["#egg=demo", ""] {
        lock(&env, &[&format!("git+file://{}@{commit}{tail}", repository.display())]);
        env.realize(&[]).success();
        assert_eq!(env.evaluate("import demo", "demo.__version__"), "1.0");
    }
    env.verify_clean();
}

/// `fetch` gets a commit, so that the repository and the network are not needed later; a bundle carries it.
#[test]
fn a_fetched_commit_is_built_offline_and_travels() {
    let env = env();
    let (repository, commit) = repository(&env, "repo", &demo());
    lock(&env, &[&line_of(&repository, &commit)]);
    let python = env.python().display().to_string();
    env.run(["fetch", "requirements.lock", "--python", &python]).success();
    assert_eq!(env.builds(), 0);
    std::fs::remove_dir_all(&repository).unwrap();
    env.realize(&["--offline"]).success().says("1 built");
    bundle(&env, BUNDLE, &["--sources"]).success();
    let far = crate::support::env();
    for file in [BUNDLE, "requirements.lock"] {
        far.write(file, std::fs::read(env.project().join(file)).unwrap());
    }
    far.run(["unbundle", BUNDLE]).success();
    far.realize(&["--offline"]).success().says("1 from the store");
    assert_eq!((far.evaluate("import demo", "demo.__version__").as_str(), far.builds()), ("1.0", 0));
    env.verify_clean();
}

/// A branch, a tag and a short commit mean something else tomorrow.
#[test]
fn a_revision_that_is_no_full_commit_is_refused() {
    let env = env();
    let (repository, commit) = repository(&env, "repo", &demo());
    for revision in ["@main", "", &format!("@{}", &commit[..12])] {
        lock(&env, &[&format!("demo @ git+file://{}{revision}", repository.display())]);
        env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says("names no full commit").says("lock it: ");
    }
    assert!(env.object_names().is_empty());
}

#[test]
fn a_commit_that_is_gone_is_named() {
    let env = env();
    let (repository, _) = repository(&env, "repo", &demo());
    let gone = "0123456789abcdef0123456789abcdef01234567";
    lock(&env, &[&line_of(&repository, gone)]);
    env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says(&format!("has no `{gone}`"));
    std::fs::remove_dir_all(&repository).unwrap();
    env.realize(&[]).fails_with(exit::ERROR).explains().says("`git fetch` failed");
    lock(&env, &["demo @ git+https://127.0.0.1:9/none.git@0123456789abcdef0123456789abcdef01234567"]);
    env.realize(&["--offline"]).fails_with(exit::OFFLINE).explains();
    env.verify_clean();
}

#[test]
fn without_the_git_program_it_is_said() {
    let mut env = env();
    let (repository, commit) = repository(&env, "repo", &demo());
    lock(&env, &[&line_of(&repository, &commit)]);
    env.set("PATH", env.files());
    env.realize(&[]).fails_with(exit::ERROR).explains().says("no program `git`").says("apt-get install git");
}

#[test]
fn other_kinds_of_repositories_and_hashes_are_refused() {
    let env = env();
    let hash = WheelBuilder::simple("x", "1").build().hash_option();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    for (line, words) in [
        ("demo @ hg+https://h.example/r@1".to_owned(), "another kind than git"),
        ("demo @ svn+https://h.example/r@1".to_owned(), "another kind than git"),
        ("bzr+https://h.example/r#egg=demo".to_owned(), "another kind than git"),
        (format!("demo @ git+https://h.example/r@{commit} {hash}"), "no hash can be compared"),
        (format!("demo @ git+ext://sh@{commit}"), "no transport that is used"),
        (format!("demo @ git+ssh://-oProxyCommand=id/r@{commit}"), "its host, user or path can't be one"),
        (format!("demo @ git+https://h.example/r@{commit}#subdirectory=../x"), "is no folder of the repository"),
    ] {
        lock(&env, &[&line]);
        env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says(words);
    }
}

/// The project in a folder of its repository, a submodule beside it, a link and a program.
#[test]
fn a_project_in_a_folder_has_the_whole_tree() {
    let env = env();
    let (data, _) = repository(&env, "data", &SdistBuilder::new("data", "1.0").file("words.txt", "of a submodule"));
    let copy = "import os, shutil\nshutil.copy('../data/words.txt', 'src/demo/words.txt')\n\
        assert os.readlink('../link') == 'python/pyproject.toml' and os.access('../run', os.X_OK)\n";
    let (top, _) = repository(&env, "top", &SdistBuilder::new("unused", "1.0"));
    write_project(&env, &top.join("python"), &demo().during_build(copy));
    std::os::unix::fs::symlink("python/pyproject.toml", top.join("link")).unwrap();
    std::fs::write(top.join("run"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(top.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    git(&env, &top, &["submodule", "--quiet", "add", "../data", "data"]);
    let commit = commit(&env, &top, "second");
    let line = format!("{}#subdirectory=python", line_of(&top, &commit));
    lock(&env, &[&line]);
    env.realize(&[]).success();
    assert_eq!(
        env.evaluate("import importlib.resources as r", "(r.files('demo') / 'words.txt').read_text()"),
        "of a submodule"
    );
    assert_eq!(direct_url(&env, "demo")["subdirectory"], "python");
    assert!(data.is_dir());
    lock(&env, &[&line.replace("=python", "=ruby")]);
    env.realize(&[]).fails_with(exit::LOCK_REFUSED).explains().says("has no folder `ruby`");
    env.verify_clean();
}

/// Tools that take a version from tags see them, and a clean tree; also where the server leaves out old files.
#[test]
fn the_build_sees_tags_and_history() {
    let env = env();
    let code = "import subprocess\nsaid = lambda *words: subprocess.check_output(('git',) + words).decode()\n\
        text = said('describe', '--tags', '--long', '--dirty', '--always') + said('rev-list', '--count', 'HEAD') \\\n\
        + said('status', '--porcelain', '--untracked-files=no') + said('ls-files', 'spec.json')\n\
        open('src/demo/said.txt', 'w').write(text)\n";
    let (repository, _) = repository(&env, "repo", &demo().during_build(code).file("old.bin", vec![7; 4096]));
    git(&env, &repository, &["tag", "-a", "v1.5", "-m", "tagged"]);
    git(&env, &repository, &["tag", "other"]);
    std::fs::remove_file(repository.join("old.bin")).unwrap();
    let commit = commit(&env, &repository, "second");
    for (venv, filters) in [(".venv", "false"), (".venv", "true")] {
        let env = crate::support::env();
        git(&env, &repository, &["config", "uploadpack.allowFilter", filters]);
        lock(&env, &[&line_of(&repository, &commit)]);
        env.realize(&["--venv", venv]).success();
        let said = env.evaluate("import importlib.resources as r", "(r.files('demo') / 'said.txt').read_text()");
        assert_eq!(said, format!("v1.5-1-g{}\n2\nspec.json", &commit[..7]), "{filters}");
    }
}

/// Two machines make the same archive of a commit, by whatever way it came.
#[test]
fn the_archive_of_a_commit_is_the_same_everywhere() {
    let first = env();
    let (repository, commit) = repository(&first, "repo", &demo());
    git(&first, &repository, &["tag", "v1"]);
    let archive = |filters: &str| {
        let env = env();
        git(&first, &repository, &["config", "uploadpack.allowFilter", filters]);
        git(&first, &repository, &["gc", "--quiet"]);
        lock(&env, &[&line_of(&repository, &commit)]);
        env.run(["fetch", "requirements.lock", "--python", &env.python().display().to_string()]).success();
        env.object_names()
    };
    let names = archive("false");
    assert!(names.iter().any(|name| name.ends_with("-checkout")), "{names:?}");
    assert_eq!(names, archive("true"));
}

/// Hooks, filters, links out of the tree, submodules that lead elsewhere: nothing of it runs or is written.
#[test]
fn hostile_repositories_are_refused() {
    let env = env();
    let marker = env.base().join("marker");
    let hooks = env.home().join("hooks");
    std::fs::create_dir(&hooks).unwrap();
    for name in ["post-checkout", "reference-transaction", "post-index-change", "fsmonitor"] {
        std::fs::write(hooks.join(name), format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
        std::fs::set_permissions(hooks.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let smudge = format!("touch {}; cat", marker.display());
    let (repository, good) = repository(&env, "repo", &demo().file(".gitattributes", "*.py filter=evil\n"));
    let config = format!(
        "[core]\n\thooksPath = {0}\n\tfsmonitor = {0}/fsmonitor\n[filter \"evil\"]\n\tsmudge = {smudge}\n\
         [protocol \"ext\"]\n\tallow = always\n",
        hooks.display()
    );
    std::fs::write(env.home().join(".gitconfig"), config).unwrap();
    lock(&env, &[&line_of(&repository, &good)]);
    env.realize(&[]).success();
    assert!(!marker.exists(), "a hook or filter of the user's ran");
    std::fs::remove_file(env.home().join(".gitconfig")).unwrap();
    for (link, words) in [("/etc/passwd", "is absolute"), ("../outside", "leaves the archive")] {
        drop(std::fs::remove_file(repository.join("link")));
        std::os::unix::fs::symlink(link, repository.join("link")).unwrap();
        lock(&env, &[&line_of(&repository, &commit(&env, &repository, "link"))]);
        env.realize(&[]).fails_with(exit::ERROR).explains().says(words);
    }
    std::fs::remove_file(repository.join("link")).unwrap();
    for url in [format!("ext::sh -c \"touch {}\"", marker.display()), "--upload-pack=id".to_owned()] {
        let modules = format!("[submodule \"m\"]\n\tpath = m\n\turl = {url}\n\tupdate = !touch {}\n", marker.display());
        std::fs::write(repository.join(".gitmodules"), modules).unwrap();
        git(&env, &repository, &["update-index", "--add", "--cacheinfo", &format!("160000,{good},m")]);
        lock(&env, &[&line_of(&repository, &commit_index(&env, &repository))]);
        env.realize(&[]).fails_with(exit::ERROR).explains().says("submodule `m`");
    }
    assert!(!marker.exists());
    env.verify_clean();
}

/// Commits what the index has, without looking at the work tree's gitlinks.
fn commit_index(env: &TestEnv, repository: &Path) -> String {
    git(env, repository, &["add", ".gitmodules"]);
    git(env, repository, &["commit", "--quiet", "-m", "submodule"]);
    git(env, repository, &["rev-parse", "HEAD"])
}

/// Test 16 of the original: what `setup_requires` names is built once over two installs, and served from the store.
#[test]
fn setup_requires_is_built_once() {
    let Some(wheels) = host::wheels() else { return skip("PIP_ACCEL_TEST_WHEELS is not set; run `make test`") };
    let env = env();
    let provider = SdistBuilder::simple("provider", "1.0").build();
    let snippet = "setuptools_setup = setup\ndef setup(**words):\n    \
        import sys\n    if 'bdist_wheel' in sys.argv:\n        import provider\n        print('has', provider.__version__)\n    \
        setuptools_setup(setup_requires=['provider'], **words)\n";
    let consumer =
        |name: &str| SdistBuilder::simple(name, "1.0").backend(SdistBackend::SetupPy).during_build(snippet).build();
    for name in ["one", "two"] {
        env.add(&provider);
        let text = lock_of(&env, &[&consumer(name)]).line(format!("--find-links {}", wheels.display())).text();
        env.write("requirements.lock", text);
        env.realize(&["--venv", name]).success();
        env.run(["log", name]).success().prints("has 1.0");
    }
    env.run(["log", "provider", "--list"]).success();
    assert_eq!(env.builds(), 3, "one, two and one build of provider");
    std::fs::remove_dir_all(env.files()).unwrap();
    env.realize(&["--venv", "again", "--offline"]).success().says("1 from the store");
    env.verify_clean();
}

/// Over HTTP with a password in the URL: it goes to git, and nowhere else; without one the end comes without a question.
#[test]
fn a_password_goes_to_git_and_nowhere_else() {
    let env = env();
    let (repository, commit) = repository(&env, "repo", &demo());
    let bare = env.base().join("bare");
    std::fs::create_dir(&bare).unwrap();
    git(&env, &bare, &["clone", "--quiet", "--bare", &repository.display().to_string(), "demo.git"]);
    git(&env, &bare.join("demo.git"), &["config", "uploadpack.allowFilter", "true"]);
    let server = GitServer::start(&bare, "user:s3cret/word");
    let place = format!("127.0.0.1:{}/demo.git@{commit}", server.port());
    lock(&env, &[&format!("demo @ git+http://{place}")]);
    env.realize(&[]).fails_with(exit::ERROR).explains().says("`git fetch` failed");
    lock(&env, &[&format!("demo @ git+http://user:s3cret%2Fword@{place}")]);
    env.realize(&["-vv"]).success().never_mentions("s3cret");
    assert_eq!(env.evaluate("import demo", "demo.__version__"), "1.0");
    let url = direct_url(&env, "demo");
    assert_eq!(url["url"], format!("http://127.0.0.1:{}/demo.git", server.port()));
    drop(server);
    // Known by its place and commit, whoever asked.
    lock(&env, &[&format!("demo @ git+http://other@{place}")]);
    env.realize(&["--venv", "other", "--offline"]).success().says("1 from the store");
    let found = grep(&env.store(), b"s3cret");
    assert!(found.is_empty(), "{found:?}");
    env.verify_clean();
}

/// Files below `directory` that hold `text`.
fn grep(directory: &Path, text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if metadata.is_file() && std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text) {
            found.push(path);
        }
    }
    found
}

/// Over ssh, by the user's own command for it.
#[test]
fn a_commit_comes_over_ssh() {
    let mut env = env();
    let (repository, commit) = repository(&env, "repo", &demo());
    let ssh = env.write("ssh", "#!/bin/sh\nfor last; do :; done\nexec sh -c \"$last\"\n");
    std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    env.set("GIT_SSH_COMMAND", &ssh);
    env.set("GIT_SSH_VARIANT", "simple");
    lock(&env, &[&format!("demo @ git+ssh://git@h.example{}@{commit}", repository.display())]);
    env.realize(&[]).success();
    assert_eq!(direct_url(&env, "demo")["url"], format!("ssh://git@h.example{}", repository.display()));
}

/// A tree of ten equal trees of ten equal trees …: ten objects, 10^9 files.
#[test]
fn a_tree_that_unfolds_without_end_is_refused() {
    let env = env();
    let (repository, _) = repository(&env, "repo", &demo());
    let mut tree = git(&env, &repository, &["rev-parse", "HEAD^{tree}"]);
    for _ in 0..9 {
        let names = ('a'..='j').map(|name| format!("040000 tree {tree}\t{name}\n")).collect::<String>();
        let list = env.write("tree.txt", names);
        let mut command = env.program("git");
        command.current_dir(&repository).arg("mktree").stdin(std::fs::File::open(list).unwrap());
        tree = env.finish(command).success().stdout.trim().to_owned();
    }
    let bomb = git(&env, &repository, &["commit-tree", &tree, "-m", "bomb"]);
    git(&env, &repository, &["tag", "bomb", &bomb]);
    lock(&env, &[&line_of(&repository, &bomb)]);
    env.realize(&[]).fails_with(exit::ERROR).explains().says("`git ls-tree` gave an answer that can't be read");
    env.verify_clean();
}
