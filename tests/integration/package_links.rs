//! `link = dirs | files | copy` for one package, from the command line and from the configuration.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pip_accel_tests::{BuiltFile, TestEnv, TreeDigest, WheelBuilder, host};

use crate::support::{as_root_and_user, env, exit};

/// Resolves its own `__file__` and looks beside it, in its own package and in another one's.
fn looker() -> BuiltFile {
    let code = "import os\nHERE = os.path.dirname(os.path.realpath(__file__))\n\
                OWN = os.path.exists(os.path.join(HERE, 'deep', 'data.txt'))\n\
                OTHER = os.path.exists(os.path.join(HERE, '..', 'beside', '__init__.py'))\n";
    let wheel = WheelBuilder::simple("looker", "1.0").file("looker/look.py", code);
    let wheel = wheel.file("looker/deep/data.txt", "deep\n").file("looker/cli.py", "def main():\n    print('looks')\n");
    wheel.entry_point("looker", "looker.cli:main").build()
}

fn locked(env: &TestEnv) {
    let mut files = vec![looker(), WheelBuilder::simple("beside", "1.0").build()];
    files.extend(host::wheel_of("pip").map(|pip| BuiltFile::read(&pip)));
    env.lock(&files.iter().collect::<Vec<_>>());
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().expect("it is there").is_symlink()
}

/// `files` has real folders and linked files, `copy` private files; either way the other packages are links.
#[test]
fn one_package_is_linked_by_files_or_copied() {
    as_root_and_user(|env| {
        locked(&env);
        env.realize(&[]).success();
        let site = env.site_packages();
        assert!(is_link(&site.join("looker")));
        assert_eq!(env.evaluate("from looker.look import *", "(OWN, OTHER)"), "(True, False)");
        let objects = TreeDigest::of(&env.objects());

        env.realize(&["--link", "looker=files"]).success().says("from the store");
        assert!(!is_link(&site.join("looker")) && is_link(&site.join("looker/deep/data.txt")));
        assert!(is_link(&site.join("beside")));
        env.run(["status"]).success();
        env.realize(&["--link", "looker=files"]).success().says("nothing to do");

        env.realize(&["--link", "Looker=copy"]).success().says("from the store");
        let data = site.join("looker/deep/data.txt");
        assert!(!is_link(&data) && is_link(&site.join("beside")));
        assert_ne!(data.metadata().unwrap().permissions().mode() & 0o200, 0, "a private copy is writable");
        assert_eq!(env.evaluate("from looker.look import *", "(OWN, OTHER)"), "(True, True)");
        env.run(["status"]).success();
        env.realize(&["--link", "looker=copy"]).success().says("nothing to do");
        let status = env.run(["status", "--json"]).success().json();
        let packages = status["packages"].as_array().unwrap();
        let of = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap()["link"].clone();
        assert_eq!((of("looker"), of("beside")), ("copy".into(), serde_json::Value::Null));

        env.realize(&[]).success().says("from the store");
        assert!(is_link(&site.join("looker")));
        objects.assert_unchanged(&env.objects());
        env.verify_clean();
    });
}

/// pip and uv take such a package away completely, and the store stays as it is.
#[test]
fn pip_and_uv_uninstall_packages_of_files_and_copies() {
    if host::wheel_of("pip").is_none() || host::uv().is_none() {
        return host::skip("uv and a wheel of pip are needed (PIP_ACCEL_TEST_UV, PIP_ACCEL_TEST_WHEELS)");
    }
    as_root_and_user(|env| {
        locked(&env);
        env.realize(&[]).success();
        let objects = TreeDigest::of(&env.objects());
        for link in ["looker=files", "looker=copy"] {
            for tool in ["pip", "uv"] {
                env.realize(&["--link", link]).success();
                env.python_code("import looker.look").success();
                let mut command = env.program(env.venv_program("python"));
                if tool == "pip" {
                    command.args(["-m", "pip", "uninstall", "-y", "looker"]);
                } else {
                    let copy = env.base().join("uv");
                    command = env.program(if copy.is_file() { copy } else { host::uv().unwrap() });
                    command.args(["pip", "uninstall", "looker", "--python"]).arg(env.venv_program("python"));
                }
                env.finish(command).success();
                env.python_code("import looker").fails_with(1);
                assert!(!env.site_packages().join("looker").exists(), "{tool} leaves files of {link}");
                assert!(!env.venv_program("looker").exists());
                env.python_code("import beside").success();
                objects.assert_unchanged(&env.objects());
            }
        }
        env.verify_clean();
    });
}

/// The table `[package.NAME]`, the variable and the option add up; the option has the last word.
#[test]
fn the_configuration_says_how_a_package_is_linked() {
    let mut env = env();
    locked(&env);
    std::fs::write(env.base().join("pip-accel.conf"), "[package.looker]\nlink = \"copy\"\n").unwrap();
    env.realize(&[]).success();
    let site = env.site_packages();
    assert!(!is_link(&site.join("looker/look.py")) && is_link(&site.join("beside")));
    env.run(["config", "show"]).success().prints("link = looker=copy");
    env.set("PIP_ACCEL_LINK", "beside=files");
    env.realize(&["--link", "looker=files"]).success();
    assert!(is_link(&site.join("looker/look.py")) && is_link(&site.join("beside/__init__.py")));
    assert!(!is_link(&site.join("looker")) && !is_link(&site.join("beside")));
}

#[test]
fn a_wrong_way_to_link_a_package_is_refused() {
    let env = env();
    locked(&env);
    env.realize(&["--link", "looker=hard"]).fails_with(exit::USAGE).explains().says("looker=hard");
    env.realize(&["--link", "loker=files"]).success().says("loker, which is not in the lock");
    let config = env.base().join("pip-accel.conf");
    std::fs::write(&config, "[package.looker]\nlink = \"hard\"\n").unwrap();
    env.realize(&[]).fails_with(exit::USAGE).explains().says("package.looker.link");
    std::fs::write(&config, "[package.looker]\nlnk = \"files\"\n").unwrap();
    env.realize(&[]).fails_with(exit::USAGE).explains().says("package.looker.lnk");
}
