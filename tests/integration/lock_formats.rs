//! Locks of whole projects: `pylock.toml`, `uv.lock`, `poetry.lock`, `Pipfile.lock`, extras and groups, and what of
//! them is refused.

use std::collections::BTreeSet;
use std::process::Command;

use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, Output, SdistBuilder, TestEnv, WheelBuilder, host};

use crate::sources::{repository, write_project};
use crate::support::{env, exit};

fn wheel(name: &str, version: &str) -> BuiltFile {
    WheelBuilder::simple(name, version).build()
}

/// A server of these files.
fn serve(env: &TestEnv, files: &[&BuiltFile]) -> IndexServer {
    for file in files {
        env.add(file);
    }
    IndexServer::start(&env.files())
}

/// Names and versions in the environment, its own installers left out.
fn installed(env: &TestEnv) -> BTreeSet<String> {
    let code = "[d.metadata['Name'].lower().replace('_', '-') + '==' + d.version for d in m.distributions()]";
    let text = env.evaluate("import importlib.metadata as m", &format!("*sorted({code})"));
    text.split_whitespace().map(str::to_owned).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One file of a `pylock.toml`.
fn listed(server: &IndexServer, file: &BuiltFile) -> String {
    let (url, size, sha256) = (server.file_url(&file.file_name), file.bytes.len(), file.sha256());
    format!("{{ url = \"{url}\", size = {size}, hashes = {{ sha512 = \"00\", sha256 = \"{sha256}\" }} }}")
}

/// A package of a `pylock.toml`, with more lines of its own.
fn package(server: &IndexServer, file: &BuiltFile, more: &str) -> String {
    let listed = listed(server, file);
    let files = match file.file_name.ends_with(".whl") {
        true => format!("wheels = [{listed}]"),
        false => format!("sdist = {listed}"),
    };
    format!("[[packages]]\nname = \"{}\"\nversion = \"{}\"\n{more}\n{files}\n\n", file.name, file.version)
}

fn realize(env: &TestEnv, lock: &str, arguments: &[&str]) -> Output {
    let mut all = vec!["realize", lock];
    all.extend_from_slice(arguments);
    env.run(all)
}

const PYLOCK: &str = "lock-version = \"1.0\"\ncreated-by = \"a test\"\nrequires-python = \">=3.8\"\n\
                      extras = [\"fast\"]\ndependency-groups = [\"test\"]\ndefault-groups = [\"default\"]\n\n";

/// Extras and groups are those of the markers, files come from where the lock says, and no index is asked.
#[test]
fn a_pylock_is_realized_with_extras_and_groups() {
    let env = env();
    let files = [wheel("base", "1.0"), wheel("fast", "1.0"), wheel("checks", "1.0"), wheel("elsewhere", "1.0")];
    let sdist = SdistBuilder::simple("from-source", "2.0").build();
    let server = serve(&env, &[&files[0], &files[1], &files[2], &sdist]);
    let lock = [
        PYLOCK,
        &package(&server, &files[0], "marker = \"'default' in dependency_groups\"\nindex = \"https://index.example\""),
        &package(&server, &files[1], "marker = \"'fast' in extras\""),
        &package(&server, &files[2], "marker = \"'test' in dependency_groups\""),
        &package(&server, &files[3], "marker = \"sys_platform == 'win32'\""),
        &package(&server, &sdist, "dependencies = [{ name = \"base\" }]"),
        "[[packages.attestation-identities]]\nkind = \"x\"\n[packages.tool.x]\ny = 1\n[tool.x]\ny = 1\n",
    ]
    .concat();
    env.write("pylock.toml", &lock);
    env.write("pylock.dev.toml", &lock);
    let mut command = env.command(["realize", "pylock.toml"]);
    command.env("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
    env.finish(command).success();
    assert_eq!(installed(&env), names(&["base==1.0", "from-source==2.0"]));
    assert_eq!(server.request_count("/simple/base/"), 0, "the lock says where its files are");
    realize(&env, "pylock.toml", &[]).success().says("nothing to do");
    realize(&env, "pylock.dev.toml", &["--extra", "Fast", "--group", "test"]).success();
    assert_eq!(installed(&env), names(&["base==1.0", "fast==1.0", "checks==1.0", "from-source==2.0"]));
    realize(&env, "pylock.toml", &["--no-default-groups", "--all-extras"]).success();
    assert_eq!(installed(&env), names(&["fast==1.0", "from-source==2.0"]));
    realize(&env, "pylock.toml", &["--extra", "slow"])
        .fails_with(exit::USAGE)
        .explains()
        .says("no extra `slow` (it has `fast`)");
    env.verify_clean();
}

/// The files of a lock may lie beside it; and what was fetched for one choice is offline for it later.
#[test]
fn paths_are_relative_to_the_lock_and_fetch_takes_a_choice() {
    let env = env();
    let (base, fast) = (wheel("base", "1.0"), wheel("fast", "1.0"));
    for file in [&base, &fast] {
        env.add(file);
    }
    let entry = |file: &BuiltFile, more: &str| {
        let (name, version, sha256) = (&file.name, &file.version, file.sha256());
        let path = format!("../files/{}", file.file_name);
        format!(
            "[[packages]]\nname = \"{name}\"\nversion = \"{version}\"\n{more}\n\
             wheels = [{{ path = \"{path}\", hashes = {{ sha256 = \"{sha256}\" }} }}]\n"
        )
    };
    let lock = format!("{PYLOCK}{}{}", entry(&base, ""), entry(&fast, "marker = \"'fast' in extras\""));
    env.write("pylock.toml", lock);
    env.run(["fetch", "pylock.toml", "--extra", "fast"]).success().says("2 packages");
    std::fs::remove_dir_all(env.files()).unwrap();
    realize(&env, "pylock.toml", &["--offline", "--extra", "fast"]).success();
    assert_eq!(installed(&env), names(&["base==1.0", "fast==1.0"]));
    env.run(["roots", "pin", "pylock.toml", "--extra", "fast"]).success();
    let bundle = env.run(["bundle", "pylock.toml", "--all-extras", "-o", "all.tar"]);
    bundle.success();
}

const PROJECT: &str = r#"[project]
name = "proj"
version = "0.1"
requires-python = ">=3.8"
dependencies = ["alpha", "winonly; sys_platform == 'win32'"]
[project.optional-dependencies]
one = ["beta==1.0"]
two = ["beta==2.0", "epsilon"]
more = ["gamma[fast]"]
[dependency-groups]
dev = ["tool-x"]
docs = ["docs-y", "old; python_version < '3.8'"]
[tool.uv]
package = false
conflicts = [[{extra="one"},{extra="two"}]]
"#;

/// uv's lock gives what uv itself installs from it: extras that exclude each other, groups, forks by marker.
#[test]
fn a_uv_lock_gives_what_uv_installs() {
    let Some(uv) = host::uv() else { return host::skip("there is no uv") };
    let env = env();
    let alpha = WheelBuilder::simple("alpha", "1.0").requires("beta").requires("gamma ; python_version >= '3'").build();
    let gamma = WheelBuilder::simple("gamma", "1.0").extra("fast").requires("delta ; extra == 'fast'").build();
    let simple = [("beta", "1.0"), ("beta", "2.0"), ("delta", "1.0"), ("epsilon", "1.0"), ("winonly", "1.0")];
    let more = [("tool-x", "1.0"), ("docs-y", "1.0"), ("old", "1.0")];
    let simple: Vec<BuiltFile> = simple.iter().chain(&more).map(|(name, version)| wheel(name, version)).collect();
    let server = serve(&env, &simple.iter().chain([&alpha, &gamma]).collect::<Vec<_>>());
    env.write("pyproject.toml", PROJECT);
    let run = |arguments: &[&str]| {
        let mut command: Command = env.program(&uv);
        command.current_dir(env.project()).args(arguments).env_remove("UV_OFFLINE");
        command.args(["--index-url", server.index_url().as_str(), "--python"]).arg(env.python());
        env.finish(command).success().stdout.clone()
    };
    run(&["lock"]);
    for (arguments, options) in [
        (&[][..], &[][..]),
        (&["--extra", "one"], &["--extra", "one"]),
        (&["--extra", "two", "--group", "docs"], &["--extra", "two", "--group", "docs"]),
        (&["--extra", "more,one", "--no-dev"], &["--extra", "more", "--extra", "one", "--no-dev"]),
        (&["--no-default-groups"], &["--no-default-groups"]),
    ] {
        let exported = run(&[&["export", "--no-hashes", "--no-annotate", "--no-header", "--frozen"], options].concat());
        let expected = exported.lines().filter(|line| !line.is_empty() && !line.contains("win32"));
        let expected = expected.filter(|line| !line.contains("python_full_version < '3.8'"));
        let expected: BTreeSet<String> =
            expected.map(|line| line.split(" ;").next().unwrap_or(line).trim().to_owned()).collect();
        realize(&env, "uv.lock", arguments).success();
        assert_eq!(installed(&env), expected, "{arguments:?}");
    }
    assert_eq!(server.request_count("/simple/alpha/"), 1, "only uv asks the index");
    realize(&env, "uv.lock", &["--no-default-groups"]).success().says("nothing to do");
    // Which groups are the default is said by the project beside the lock.
    env.write("pyproject.toml", PROJECT.replace("package = false", "package = false\ndefault-groups = [\"docs\"]"));
    realize(&env, "uv.lock", &[]).success();
    assert!(installed(&env).contains("docs-y==1.0") && !installed(&env).contains("tool-x==1.0"));
}

/// The project of a `uv.lock` is an editable where it lies, or left out.
#[test]
fn the_project_itself_is_an_editable_or_left_out() {
    let env = env();
    let base = wheel("base", "1.0");
    let server = serve(&env, &[&base]);
    let (url, sha256) = (server.file_url(&base.file_name), base.sha256());
    let lock = format!(
        "version = 1\nrevision = 3\nrequires-python = \">=3.8\"\n\n[[package]]\nname = \"base\"\nversion = \"1.0\"\n\
         source = {{ registry = \"https://index.example/simple\" }}\n\
         wheels = [{{ url = \"{url}\", hash = \"sha256:{sha256}\" }}]\n\n\
         [[package]]\nname = \"proj\"\nversion = \"0.1\"\nsource = {{ editable = \".\" }}\n\
         dependencies = [{{ name = \"base\" }}]\n"
    );
    env.write("uv.lock", &lock);
    let refused = realize(&env, "uv.lock", &[]).fails_with(exit::LOCK_REFUSED).explains();
    refused.says("uv.lock:12").says("is a folder without `pyproject.toml` and `setup.py`");
    realize(&env, "uv.lock", &["--no-project"]).success();
    assert_eq!(installed(&env), names(&["base==1.0"]));
    write_project(&env, &env.project().join("checkout"), &SdistBuilder::simple("proj", "0.1"));
    env.write("checkout/uv.lock", &lock);
    realize(&env, "checkout/uv.lock", &[]).success();
    assert_eq!(installed(&env), names(&["base==1.0", "proj==0.1"]));
    env.write("checkout/src/proj/__init__.py", "__version__ = 'edited'\n");
    assert_eq!(env.evaluate("import proj", "proj.__version__"), "edited");
}

/// Commits, folders and editables of a `pylock.toml` and a `Pipfile.lock` are built from where they are.
#[test]
fn commits_folders_and_editables_of_locks_are_built() {
    let env = env();
    let (repository, commit) = repository(&env, "remote", &SdistBuilder::simple("from-git", "1.0"));
    for (folder, name) in [("plain", "plain"), ("live", "live")] {
        write_project(&env, &env.project().join(folder), &SdistBuilder::simple(name, "2.0"));
    }
    let git = format!("file://{}", repository.display());
    env.write(
        "pylock.toml",
        format!(
            "lock-version = '1.0'\ncreated-by = 'x'\n[[packages]]\nname = 'from-git'\n\
             vcs = {{type = 'git', url = '{git}', commit-id = '{commit}'}}\n\
             [[packages]]\nname = 'plain'\ndirectory = {{path = './plain'}}\n\
             [[packages]]\nname = 'live'\ndirectory = {{path = 'live', editable = true}}\n"
        ),
    );
    let expected = names(&["from-git==1.0", "live==2.0", "plain==2.0"]);
    realize(&env, "pylock.toml", &[]).success();
    assert_eq!(installed(&env), expected);
    let entries = format!(
        "\"from-git\": {{\"git\": \"{git}\", \"ref\": \"{commit}\"}}, \"plain\": {{\"path\": \"./plain\"}}, \
         \"live\": {{\"path\": \"live\", \"editable\": true}}"
    );
    env.write("Pipfile.lock", format!("{{\"_meta\": {{}}, \"default\": {{{entries}}}}}"));
    realize(&env, "Pipfile.lock", &["--venv", "other"]).success();
    env.verify_clean();
}

fn poetry_files(file: &BuiltFile) -> String {
    format!("files = [{{file = \"{}\", hash = \"sha256:{}\"}}]", file.file_name, file.sha256())
}

/// Poetry 2 writes groups and markers into its lock.
#[test]
fn a_poetry_lock_is_realized_by_groups_and_markers() {
    let env = env();
    let files = ["base", "cache", "checks", "manual", "elsewhere"].map(|name| wheel(name, "1.0"));
    let server = serve(&env, &files.iter().take(4).collect::<Vec<_>>());
    let entry = |file: &BuiltFile, more: &str| {
        format!(
            "[[package]]\nname = \"{}\"\nversion = \"1.0\"\ndescription = \"\"\noptional = false\n\
             python-versions = \">=3.8\"\n{more}\n{}\n\n",
            file.name,
            poetry_files(file)
        )
    };
    let lock = [
        "# This file is automatically @generated by Poetry 2.1.1 and should not be changed by hand.\n\n",
        &entry(&files[0], "groups = [\"main\", \"test\"]\nmarkers = {main = \"python_version >= \\\"3\\\"\"}"),
        &entry(&files[1], "groups = [\"main\"]\nmarkers = \"extra == \\\"cache\\\"\""),
        &entry(&files[2], "groups = [\"test\"]"),
        &entry(&files[3], "groups = [\"docs\"]"),
        &entry(&files[4], "groups = [\"main\"]\nmarkers = \"sys_platform == \\\"win32\\\"\""),
        "[extras]\ncache = [\"cache\"]\n\n[metadata]\nlock-version = \"2.1\"\npython-versions = \">=3.8,<4.0\"\n\
         content-hash = \"00\"\n",
    ]
    .concat();
    env.write("poetry.lock", lock);
    env.write("pyproject.toml", "[tool.poetry.group.docs]\noptional = true\n");
    let index = server.index_url();
    let index = ["--index-url", index.as_str()];
    for (arguments, expected) in [
        (&[][..], &["base==1.0", "checks==1.0"][..]),
        (&["--no-default-groups"], &["base==1.0"]),
        (&["--extra", "cache", "--no-default-groups"], &["base==1.0", "cache==1.0"]),
        (&["--group", "docs"], &["base==1.0", "checks==1.0", "manual==1.0"]),
    ] {
        realize(&env, "poetry.lock", &[arguments, &index].concat()).success();
        assert_eq!(installed(&env), names(expected), "{arguments:?}");
    }
}

/// Poetry 1 leaves groups to the `pyproject.toml`, and markers to the way through the dependencies.
#[test]
fn an_old_poetry_lock_is_walked_from_its_project() {
    let env = env();
    let files = [
        wheel("base", "1.0"),
        wheel("fork", "1.0"),
        wheel("fork", "2.0"),
        wheel("cache", "1.0"),
        wheel("checks", "1.0"),
        wheel("deep", "1.0"),
    ];
    let server = serve(&env, &files.iter().collect::<Vec<_>>());
    let entry = |file: &BuiltFile, more: &str| {
        format!(
            "[[package]]\nname = \"{}\"\nversion = \"{}\"\ncategory = \"main\"\noptional = false\n\
             python-versions = \"*\"\n{more}\n\n",
            file.name, file.version
        )
    };
    let hashes: Vec<String> = ["base", "fork", "cache", "checks", "deep"]
        .iter()
        .map(|name| {
            let of = files.iter().filter(|file| file.name == *name);
            let of: Vec<String> = of
                .map(|file| format!("{{file = \"{}\", hash = \"sha256:{}\"}}", file.file_name, file.sha256()))
                .collect();
            format!("{name} = [{}]\n", of.join(", "))
        })
        .collect();
    let lock = [
        &entry(
            &files[0],
            "[package.dependencies]\nfork = [{version = \">=2,<3\", markers = \"python_version >= \\\"3\\\"\"}, \
             {version = \"<2\", markers = \"python_version < \\\"3\\\"\"}]\ndeep = {version = \"*\", optional = true}\n\
             [package.extras]\nmore = [\"deep (>=1)\"]",
        ),
        &entry(&files[1], ""),
        &entry(&files[2], ""),
        &entry(&files[3], ""),
        &entry(&files[4], ""),
        &entry(&files[5], ""),
        "[extras]\ncache = [\"cache\"]\n\n[metadata]\nlock-version = \"1.1\"\npython-versions = \"^3.6\"\n\n[metadata.files]\n",
        &hashes.concat(),
    ]
    .concat();
    env.write("poetry.lock", lock);
    let refused = realize(&env, "poetry.lock", &[]).fails_with(exit::LOCK_REFUSED).explains();
    refused.says("put its pyproject.toml beside it");
    env.write(
        "pyproject.toml",
        "[tool.poetry]\nname = \"x\"\n[tool.poetry.dependencies]\npython = \"^3.6\"\nbase = {version = \"^1.0\", \
         extras = [\"more\"]}\ncache = {version = \"*\", optional = true}\n[tool.poetry.dev-dependencies]\nchecks = \"*\"\n",
    );
    let index = server.index_url();
    let index = ["--index-url", index.as_str()];
    for (arguments, expected) in [
        (&["--no-dev", "--no-default-groups"][..], &["base==1.0", "fork==2.0", "deep==1.0"][..]),
        (&["--extra", "cache"], &["base==1.0", "fork==2.0", "deep==1.0", "cache==1.0", "checks==1.0"]),
    ] {
        realize(&env, "poetry.lock", &[arguments, &index].concat()).success();
        assert_eq!(installed(&env), names(expected), "{arguments:?}");
    }
}

fn pipfile(server: &IndexServer, requires: &str, entries: [&str; 2]) -> String {
    let [default, develop] = entries;
    format!(
        "{{\n    \"_meta\": {{\n        \"hash\": {{\"sha256\": \"00\"}},\n        \"pipfile-spec\": 6,\n        \
         \"requires\": {{{requires}}},\n        \"sources\": [\n            {{\"name\": \"own\", \"url\": \
         \"{}\", \"verify_ssl\": true}}\n        ]\n    }},\n    \"default\": {{\n{default}\n    }},\n    \
         \"develop\": {{\n{develop}\n    }}\n}}\n",
        server.index_url().as_str().replace("127.0.0.1", "${INDEX_HOST}")
    )
}

fn pipfile_entry(file: &BuiltFile, more: &str) -> String {
    format!(
        "        \"{}\": {{\n            \"hashes\": [\n                \"sha256:{}\"\n            ],{more}\n            \
         \"version\": \"=={}\"\n        }}",
        file.name,
        file.sha256(),
        file.version
    )
}

#[test]
fn a_pipfile_lock_is_realized_from_its_own_source() {
    let mut env = env();
    env.set("INDEX_HOST", "127.0.0.1");
    let files = ["base", "checks", "elsewhere"].map(|name| wheel(name, "1.0"));
    let server = serve(&env, &files.iter().collect::<Vec<_>>());
    let default = [
        pipfile_entry(
            &files[0],
            "\n            \"index\": \"own\",\n            \"markers\": \"python_version >= '3'\",",
        ),
        pipfile_entry(&files[2], "\n            \"markers\": \"sys_platform == 'win32'\","),
    ]
    .join(",\n");
    let develop = pipfile_entry(&files[1], "");
    env.write("Pipfile.lock", pipfile(&server, "", [&default, &develop]));
    realize(&env, "Pipfile.lock", &[]).success();
    assert_eq!(installed(&env), names(&["base==1.0"]));
    realize(&env, "Pipfile.lock", &["--group", "dev"]).success();
    assert_eq!(installed(&env), names(&["base==1.0", "checks==1.0"]));
    env.write("Pipfile.lock", pipfile(&server, "\"python_version\": \"2.7\"", [&default, &develop]));
    let refused = realize(&env, "Pipfile.lock", &[]).fails_with(exit::LOCK_REFUSED).explains();
    refused.says("the lock is for Python ==2.7.*, this is Python 3.").says("--python");
}

/// Each refusal names file, package and reason, and what to do; nothing is fetched and no environment is made.
#[test]
fn what_a_format_cannot_say_is_refused_with_its_reason() {
    let hash = "0".repeat(64);
    let pylock = |packages: &str| format!("lock-version = '1.0'\ncreated-by = 'x'\n{packages}");
    let one = |rest: &str| pylock(&format!("[[packages]]\nname = 'a'\nversion = '1.0'\n{rest}\n"));
    let file =
        |name: &str| format!("wheels = [{{url = 'https://index.example/{name}', hashes = {{sha256 = '{hash}'}}}}]");
    let cases = [
        ("pylock.toml", one("wheels = [{url = 'https://index.example/a-1.0-py3-none-any.whl', hashes = {md5 = '00'}}]"),
            "pylock.toml:4: `a` has no hash that can be used", "uv export"),
        ("pylock.toml", one(&file("b-1.0-py3-none-any.whl")), "the file `b-1.0-py3-none-any.whl` is not one of `a` 1.0", ""),
        ("pylock.toml", one(&file("a-2.0-py3-none-any.whl")), "the file `a-2.0-py3-none-any.whl` is not one of `a` 1.0", ""),
        ("pylock.toml", one(&format!("requires-python = '<3'\n{}", file("a-1.0-py3-none-any.whl"))),
            "`a` wants Python <3, this is Python 3.", "--python"),
        ("pylock.toml", one("vcs = {type = 'git', url = 'https://index.example/a.git', commit-id = 'abc'}"),
            "names no full commit", ""),
        ("pylock.toml", one("directory = {path = './a', editable = true}"), "there is no file", ""),
        ("pylock.toml", one(&format!("archive = {{url = 'https://index.example/a.zip', subdirectory = 'x', hashes = {{sha256 = '{hash}'}}}}")),
            "a project in the folder `x` of an archive", ""),
        ("pylock.toml", one(""), "`a` has no wheels, sdist, archive, directory or vcs", ""),
        ("pylock.toml", pylock("environments = [\"sys_platform == 'win32'\"]\npackages = []\n"),
            "the lock is for other environments", "--python"),
        ("pylock.toml", "lock-version = '2.0'\npackages = []\n".to_owned(), "lock-version `2.0` is not known here", ""),
        ("pylock.toml", "lock-version = '1.0'\nrequires-python = '<3'\npackages = []\n".to_owned(),
            "the lock is for Python <3, this is Python 3.", "--python"),
        ("pylock.toml", "version = 1\n[[package]]\n".to_owned(), "is named like a pylock.toml, but what it holds is a uv.lock", ""),
        ("pylock.toml", "packages = [\n".to_owned(), "pylock.toml:", "uv export"),
        ("uv.lock", "version = 2\n".to_owned(), "version 2 of uv.lock is not known here", "uv lock"),
        ("uv.lock", "version = 1\n[[package]]\nname = 'p'\nversion = '1'\nsource = {virtual = '.'}\ndependencies = [{name = 'gone'}]\n".to_owned(),
            "`p` requires `gone`, which the lock does not have", "uv lock"),
        ("poetry.lock", "[[package]]\nname = 'a'\nversion = '1.0'\ngroups = ['main']\nfiles = []\n[metadata]\nlock-version = '2.1'\n".to_owned(),
            "poetry.lock:2: `a` has no hash that can be used in poetry.lock", "poetry lock"),
        ("poetry.lock", "[metadata]\nlock-version = '3.0'\n".to_owned(), "lock-version `3.0` of poetry is not known here", "poetry lock"),
        ("Pipfile.lock", "{\"_meta\": {}, \"default\": {\"a\": {\"version\": \"*\"}}}".to_owned(), "`a*` is not pinned to one version", "pipenv lock"),
        ("Pipfile.lock", "{\n    \"_meta\": {},\n    \"default\": {\n        \"a\": {\n\"version\": \"==1\", \"hashes\": [\"md5:00\"]}}}".to_owned(),
            "Pipfile.lock:4: `a` has no hash that can be used", "pipenv lock"),
        ("Pipfile.lock", "{\"_meta\": {}, \"default\": {\"a\": {\"git\": \"https://index.example/a\", \"ref\": \"abc\"}}}".to_owned(),
            "names no full commit", ""),
        ("requirements.lock", String::new(), "a requirements file has neither extras nor groups", ""),
    ];
    for (name, text, reason, remedy) in cases {
        let env = env();
        env.write(name, &text);
        let (arguments, code): (&[&str], i32) = match name {
            "requirements.lock" => (&["--extra", "x"], exit::USAGE),
            _ => (&["--index-url", "http://127.0.0.1:9/"], exit::LOCK_REFUSED),
        };
        let output = realize(&env, name, arguments).fails_with(code).explains();
        output.says(reason).says(name).says(remedy);
        assert!(!env.venv().exists(), "{name}: {text}");
    }
}
