//! The commands around the store: `config show`, `doctor`, `log`, `roots`, `completions`, and stores that are not there.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use pip_accel_tests::{SdistBuilder, TestEnv, WheelBuilder};

use crate::support::{env, exit, lock_of};

/// Passwords are for indexes, not for whoever looks at the screen or at a bug report.
#[test]
fn config_show_hides_passwords() {
    let mut env = env();
    std::fs::write(
        env.base().join("pip-accel.conf"),
        "index-url = \"https://user:hunter2@index.example/simple/\"\nfind-links = [\"https://hunter2@links.example/\", \"../files\"]\n",
    )
    .unwrap();
    env.set("PIP_ACCEL_EXTRA_INDEX_URLS", "https://a:hunter2@one.example/ https://b:hunter2@two.example/");
    env.set("PIP_ACCEL_PROXY", "user:hunter2@proxy.example:3128");
    for arguments in [&["config", "show"][..], &["config", "show", "--json"]] {
        let output = env.run(arguments).success().never_mentions("hunter2");
        for place in ["index.example", "links.example", "one.example", "two.example", "proxy.example:3128", "../files"]
        {
            assert!(output.stdout.contains(place), "{place} is not shown: {output:?}");
        }
    }
}

/// The line of `doctor` for this subject.
fn doctor_check(env: &TestEnv, subject: &str) -> serde_json::Value {
    let output = env.run(["doctor", "--json"]);
    let report = output.json();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["subject"] == subject).unwrap_or_else(|| panic!("{output:?}")).clone()
}

#[test]
fn doctor_names_an_index_setting_that_cannot_be_used() {
    let mut env = env();
    env.set("PIP_ACCEL_INDEX_URL", "index.example/simple/?hunter2");
    env.run(["doctor"]).fails_with(exit::ERROR).prints("BAD index: ").prints(" -- ").never_mentions("hunter2");
    let check = doctor_check(&env, "index");
    assert!(check["remedy"].is_string(), "{check}");
    // Without network the index does not matter.
    let output = env.run(["doctor", "--offline"]);
    assert!(!output.stdout.contains("index: "), "{output:?}");
}

#[test]
fn doctor_names_a_pip_configuration_that_cannot_be_used() {
    let mut env = env();
    let path = env.write("pip.conf", "[global\nindex-url = https://index.example/\n");
    env.set("PIP_CONFIG_FILE", path);
    env.run(["doctor"]).fails_with(exit::ERROR).prints("BAD index: ").prints("pip.conf");
}

/// Nobody made it yet, or `--store` has a typing error: said in a sentence, and nothing is created by looking.
#[test]
fn a_store_that_is_not_there_is_an_error_of_commands_that_look() {
    let env = env();
    for arguments in [
        &["gc", "--dry-run"][..],
        &["verify"],
        &["verify", "--quick"],
        &["roots"],
        &["roots", "list"],
        &["show", "package"],
        &["log", "package"],
        &["why", "package"],
        &["du"],
    ] {
        let output = env.run(arguments).fails_with(exit::ERROR).explains().says("there is no store at");
        assert_eq!(output.stdout, "", "{output:?}");
        assert!(!env.store().exists(), "{arguments:?} made a store");
    }
}

#[test]
fn the_root_of_a_lock_is_removed_by_its_path() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("fetched", "1.0").build()]);
    env.run(["fetch", "requirements.lock"]).success();
    env.collect().success();
    assert!(!env.object_names().is_empty(), "the lock keeps what was fetched");
    env.run(["roots", "remove", "./other.lock"]).fails_with(exit::ERROR).explains().says("other.lock");
    env.run(["roots", "remove", "./requirements.lock"]).success().says("requirements.lock for ");
    let output = env.run(["roots"]).success();
    assert_eq!(output.stdout, "", "{output:?}");
    env.collect().success();
    assert_eq!(env.object_names(), Vec::<String>::new());
    env.run(["roots", "remove", "requirements.lock"]).fails_with(exit::ERROR);
}

#[test]
fn the_root_of_an_environment_is_removed_by_its_path() {
    let env = env();
    env.lock(&[&WheelBuilder::simple("linked", "1.0").build()]);
    env.realize(&[]).success();
    env.run(["roots", "remove", ".venv"]).success();
    let output = env.run(["roots"]).success();
    assert_eq!(output.stdout, "", "{output:?}");
}

/// A program that reads a log gets what the build wrote; only a terminal is protected from it.
#[test]
fn a_log_is_piped_as_it_is() {
    let env = env();
    let code = "print('\\x1b[31mred\\x1b[0m\\ttab\\rover')\n";
    let sdist = SdistBuilder::simple("colours", "1.0").during_build(code).build();
    env.write("requirements.lock", lock_of(&env, &[&sdist]).text());
    env.realize(&[]).success();
    env.run(["log", "colours"]).success().prints("\u{1b}[31mred\u{1b}[0m\ttab\rover\n");
}

#[test]
fn man_pages_are_there_for_every_command() {
    let env = env();
    env.run(["man", "share/man"]).success();
    let page = |name: &str| std::fs::read_to_string(env.project().join("share/man").join(name)).unwrap();
    assert!(page("pip-accel.1").contains("realize"));
    // roff writes a hyphen as `\\-`.
    assert!(page("pip-accel-realize.1").contains("keep\\-foreign"));
    assert!(page("pip-accel-roots-add.1").contains("Name of the pin"));
    std::fs::write(env.project().join("file"), "").unwrap();
    env.run(["man", "file/below"]).fails_with(exit::ERROR).explains().says("file/below");
}

#[test]
fn completions_name_the_commands() {
    let env = env();
    for shell in ["bash", "zsh", "fish"] {
        env.run(["completions", shell]).success().prints("pip-accel").prints("realize").prints("keep-foreign");
    }
    env.run(["completions", "no-such-shell"]).fails_with(exit::USAGE);
}

/// A slip of the pen (`--store ~`) fills no directory of somebody else; one with nothing but what file systems put there does.
#[test]
fn a_directory_of_somebody_else_does_not_become_a_store() {
    let env = env();
    let home = env.base().join("somebody");
    std::fs::create_dir(&home).expect("a new folder");
    std::fs::write(home.join("letter.txt"), "dear").expect("written");
    env.write("requirements.lock", "");
    let store = home.display().to_string();
    let python = env.python().display().to_string();
    let run = || env.run(["--store", &store, "realize", "requirements.lock", "--python", &python]);
    run().fails_with(exit::ERROR).explains().says("is no store and not empty: it has `letter.txt`").says("--store");
    let names: Vec<_> = std::fs::read_dir(&home).expect("listed").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["letter.txt"]);
    std::fs::remove_file(home.join("letter.txt")).expect("ours");
    std::fs::create_dir(home.join("lost+found")).expect("a new folder");
    run().success();
    // What comes later is nobody's business.
    std::fs::write(home.join("letter.txt"), "dear").expect("written");
    run().success();
}

/// None at once, no time at all, or more than can be: refused wherever it is said, before anything is done.
#[test]
fn numbers_that_cannot_be_are_refused() {
    let mut env = env();
    env.write("requirements.lock", "");
    let wrong = [
        ("jobs", "0"),
        ("connections", "0"),
        ("connections", "5000000000"),
        ("retries", "5000000000"),
        ("generations", "-1"),
        ("timeout", "0"),
        ("build-timeout", "0s"),
        ("build-silence-timeout", "0h"),
        ("build-log-max-bytes", "0"),
    ];
    for (key, value) in wrong {
        let variable = format!("PIP_ACCEL_{}", key.to_uppercase().replace('-', "_"));
        let message = format!("`{value}` is not a value for `{key}`");
        env.set(&variable, value);
        env.realize(&[]).fails_with(exit::USAGE).explains().says(&message).says(&variable);
        env.unset(&variable);
        let number = if value.parse::<i64>().is_ok() { value.to_owned() } else { format!("'{value}'") };
        env.write("settings.toml", format!("{key} = {number}\n"));
        env.realize(&["--config", "settings.toml"]).fails_with(exit::USAGE).explains().says(&message);
    }
    assert!(!env.venv().exists() && !env.store().exists());
    for (key, value) in [("PIP_ACCEL_JOBS", "1"), ("PIP_ACCEL_RETRIES", "0"), ("PIP_ACCEL_GENERATIONS", "0")] {
        env.set(key, value);
    }
    env.realize(&[]).success();
}
