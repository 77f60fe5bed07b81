//! Configuration and locations as the original pip-accel had them: files, variables, home, what each old option means.
//! Doc comments begin with the rows of `docs/compared-with-pip-accel-0.43.md`.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use pip_accel_tests::environment::TEST_USER_ID;
use pip_accel_tests::index_server::{ALWAYS, Fault, IndexServer};
use pip_accel_tests::{LockWriter, SdistBuilder, TestEnv, WheelBuilder, host, skip};

use crate::support::{as_root_and_user, env, exit, user_env};

/// What `config show` says of a setting: value (or the default of this machine) and origin.
#[track_caller]
fn setting(env: &TestEnv, key: &str) -> (serde_json::Value, String) {
    let report = env.run(["config", "show", "--json"]).success().json();
    let all = report["settings"].as_array().unwrap();
    let found = all.iter().find(|setting| setting["key"] == key).unwrap();
    let value = if found["value"].is_null() { &found["default"] } else { &found["value"] };
    (value.clone(), found["origin"].as_str().unwrap().to_owned())
}

fn in_home(env: &TestEnv, text: &str) {
    let folder = env.home().join(".pip-accel");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("pip-accel.conf"), text).unwrap();
}

/// CFG-1: root's store is the machine's, anybody else's is below the home directory; each has the old variable.
#[test]
fn the_store_is_where_the_original_had_its_data() {
    as_root_and_user(|mut env| {
        let is_root = std::fs::metadata(env.project()).unwrap().uid() == 0;
        env.unset("PIP_ACCEL_STORE");
        let expected =
            if is_root { Path::new("/var/cache/pip-accel").to_owned() } else { env.home().join(".pip-accel") };
        assert_eq!(setting(&env, "store"), (expected.to_str().unwrap().into(), "default".to_owned()));
        env.set("PIP_ACCEL_CACHE", "~/data");
        assert_eq!(setting(&env, "store"), ("~/data".into(), "$PIP_ACCEL_CACHE".to_owned()));
        env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
        env.realize(&[]).success();
        assert!(env.home().join("data/store").is_dir());
        in_home(&env, "[pip-accel]\ndata-directory = /nowhere\n");
        assert_eq!(setting(&env, "store").1, "$PIP_ACCEL_CACHE");
        env.unset("PIP_ACCEL_CACHE");
        assert_eq!(setting(&env, "store").0, "/nowhere");
    });
}

/// CFG-1: a `$HOME` that is nobody's directory, or closed, is not used; that of the user's entry is.
#[test]
fn a_home_that_is_not_usable_is_not_used() {
    let Some(mut env) = user_env() else { return };
    env.unset("PIP_ACCEL_STORE");
    let closed = env.project().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let file = env.write("file", "");
    for home in [closed.as_path(), &file, Path::new("relative")] {
        env.set("HOME", home);
        let (store, _) = setting(&env, "store");
        let store = store.as_str().unwrap_or_default();
        assert!(
            !store.starts_with(home.to_str().unwrap()) && !store.contains("relative"),
            "{}: {store}",
            home.display()
        );
    }
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// CFG-1: who has no home directory at all is told what to name instead.
#[test]
fn without_a_home_the_store_has_to_be_named() {
    let Some(env) = user_env().filter(|_| host::is_root()) else { return };
    let closed = env.project().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    env.write("requirements.lock", "");
    // A number that no list of users has.
    let as_nobody = |more: &[&str]| {
        let mut command = std::process::Command::new("/usr/bin/setpriv");
        command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "--"]).arg(env.binary()).args(more);
        command.args(["realize", "requirements.lock", "--dry-run", "--python"]).arg(env.python());
        command.current_dir(env.project()).env_clear().env("HOME", &closed);
        env.finish(command)
    };
    as_nobody(&[]).fails_with(exit::USAGE).explains().says("you have no home directory").says("PIP_ACCEL_STORE");
    let store = env.store().display().to_string();
    as_nobody(&["--store", &store]).never_mentions("home");
}

/// CFG-1, CFG-3: `sudo` may leave the `HOME` of who called it; what lies there is not root's.
#[test]
fn under_sudo_the_home_of_another_user_does_not_count() {
    if !host::is_root() {
        return skip("only root can be whom sudo leads to");
    }
    let mut env = env();
    in_home(&env, "jobs = 77\n");
    assert_eq!(setting(&env, "jobs").0, 77);
    env.set("SUDO_UID", TEST_USER_ID.to_string());
    assert_eq!(setting(&env, "jobs").0, 77, "root's own home counts under sudo too");
    chown(env.home(), Some(TEST_USER_ID), Some(TEST_USER_ID)).unwrap();
    assert_ne!(setting(&env, "jobs").0, 77);
    env.unset("SUDO_UID");
    // Containers have homes that others own.
    assert_eq!(setting(&env, "jobs").0, 77);
}

/// CFG-3, CFG-20: all files count, the later one first, the old form beside the new one; `--config` stands for all.
#[test]
fn configuration_files_add_up() {
    let mut env = env();
    env.unset("PIP_ACCEL_RETRIES");
    in_home(&env, "jobs = 2\nretries = 9\nlink-mode = \"copy\"\n[package.six]\nlink = \"copy\"\n");
    let named = env.write("old.conf", "[pip-accel]\nmax-retries = 4\nlink = other=files\nauto-install = no\n");
    env.set("PIP_ACCEL_CONFIG", &named);
    assert_eq!(setting(&env, "jobs"), (2.into(), env.home().join(".pip-accel/pip-accel.conf").display().to_string()));
    assert_eq!(setting(&env, "retries"), (3.into(), named.display().to_string()));
    assert_eq!(setting(&env, "link-mode").0, "copy");
    assert_eq!(setting(&env, "link").0, serde_json::json!(["six=copy", "other=files"]));
    assert_eq!(setting(&env, "system-packages").0, "refuse");
    env.set("PIP_ACCEL_MAX_RETRIES", "8");
    assert_eq!(setting(&env, "retries"), (7.into(), "$PIP_ACCEL_MAX_RETRIES".to_owned()));
    env.set("PIP_ACCEL_RETRIES", "6");
    assert_eq!(setting(&env, "retries"), (6.into(), "$PIP_ACCEL_RETRIES".to_owned()));
    env.write("alone.toml", "generations = 1\n");
    let output = env.run(["config", "show", "--config", "alone.toml"]).success();
    assert!(!output.stdout.contains("pip-accel.conf)") && !output.stdout.contains("old.conf)"), "{output:?}");
}

/// CFG-3: the machine's file comes first.
#[test]
fn the_machines_file_is_read_before_the_users() {
    let Some(bwrap) = host::program("bwrap") else { return skip("there is no bubblewrap") };
    as_root_and_user(|env| {
        in_home(&env, "jobs = 2\n");
        let machine = env.write("machine.conf", "[pip-accel]\njobs = 3\ngenerations = 4\n");
        let mut command = env.program(&bwrap);
        command.args(["--dev-bind", "/", "/", "--tmpfs", "/etc", "--ro-bind"]).arg(machine);
        command.args(["/etc/pip-accel.conf", "--"]).arg(env.binary()).args(["config", "show"]);
        let output = env.finish(command).success();
        output.prints("jobs = 2  (").prints("generations = 4  (/etc/pip-accel.conf)");
    });
}

/// CFG-20, CFG-3: what can't be used is refused with its file; the original ignored most of it.
#[test]
fn configuration_that_cannot_be_used_is_refused() {
    let mut env = env();
    let named = |text: &str| env.write("named.conf", text);
    for (text, word) in [
        ("[pip-accel]\nno-such-option = 1\n", "no-such-option"),
        ("[pip-accel]\ndata-dir = /x\n", "data-dir"),
        ("[pip_accel]\ndata-directory = 1\n", "pip_accel"),
        ("[pip-accel]\n[other]\n", "[other]"),
        ("[pip-accel]\nauto-install = ask\n", "auto-install"),
        ("[pip-accel]\nmax-retries = 0\n", "max-retries"),
        ("[pip-accel]\ntrust-mod-times = perhaps\n", "trust-mod-times"),
        ("[pip-accel]\nlog-verbosity = loud\n", "log-verbosity"),
        ("[pip-accel]\ns3-timeout = soon\n", "s3-timeout"),
        ("[pip-accel]\nnot a pair\n", "line 2"),
        ("data-directory = /x\n", "named.conf"),
        ("jobs = 1.5\n", "jobs"),
        ("on-debian = true\n", "on-debian"),
    ] {
        let path = named(text);
        let output = env.run(["config", "show", "--config", path.to_str().unwrap()]).fails_with(exit::USAGE).explains();
        output.says("named.conf").says(word);
    }
    env.set("PIP_ACCEL_CONFIG", "missing.conf");
    env.run(["config", "show"]).fails_with(exit::USAGE).explains().says("missing.conf");
    env.set("PIP_ACCEL_CONFIG", env.project());
    env.run(["config", "show"]).fails_with(exit::USAGE).explains().says("cannot read");
    // Commands that have no settings work without.
    env.run(["completions", "bash"]).success();
}

/// CFG-20: a file that may not be read is refused, not passed over.
#[test]
fn configuration_that_may_not_be_read_is_refused() {
    let Some(mut env) = user_env() else { return };
    in_home(&env, "jobs = 2\n");
    let path = env.home().join(".pip-accel/pip-accel.conf");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    env.run(["config", "show"]).fails_with(exit::USAGE).explains().says("cannot read").says("pip-accel.conf");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    env.set("PIP_ACCEL_CONFIG", &path);
    env.run(["config", "show"]).success();
}

/// CFG-4, CFG-5, CFG-6, CFG-8, CFG-14, CFG-15: variables are shown as what they mean; nonsense is refused.
#[test]
fn the_variables_of_the_original_are_settings() {
    let mut env = env();
    env.unset("PIP_ACCEL_RETRIES");
    for (variable, value, key, shown) in [
        ("AUTO_INSTALL", "TRUE", "system-packages", serde_json::json!("install")),
        ("AUTO_INSTALL", "off", "system-packages", "refuse".into()),
        ("MAX_RETRIES", "1", "retries", 0.into()),
        ("MAX_RETRIES", "41", "retries", 40.into()),
        ("LOG_VERBOSITY", "WARNING", "log-verbosity", "warning".into()),
        ("S3_BUCKET", "wheels", "s3-bucket", "wheels".into()),
        ("S3_PREFIX", "bookworm", "s3-prefix", "bookworm".into()),
        ("S3_READONLY", "yes", "s3-readonly", true.into()),
        ("S3_URL", "http://u:hunter2@h.example:4567/", "s3-url", "http://****@h.example:4567/".into()),
        ("S3_CREATE_BUCKET", "1", "s3-create-bucket", true.into()),
        ("S3_TIMEOUT", "30", "s3-timeout", 30.into()),
        ("S3_RETRIES", "0", "s3-retries", 0.into()),
    ] {
        let variable = format!("PIP_ACCEL_{variable}");
        env.set(&variable, value);
        assert_eq!(setting(&env, key), (shown, format!("${variable}")));
        env.unset(&variable);
    }
    for (variable, value) in [
        ("AUTO_INSTALL", "ask"),
        ("MAX_RETRIES", "0"),
        ("MAX_RETRIES", "-1"),
        ("MAX_RETRIES", "often"),
        ("TRUST_MOD_TIMES", "sometimes"),
        ("LOG_VERBOSITY", "nonsense"),
        ("SILENCE_BOTO", "a bit"),
        ("S3_TIMEOUT", "0"),
    ] {
        let variable = format!("PIP_ACCEL_{variable}");
        env.set(&variable, value);
        env.run(["config", "show"]).fails_with(exit::USAGE).explains().says(value).says(&variable);
        env.unset(&variable);
    }
}

/// CFG-5, SRC-4, SRC-14: `max-retries` counts attempts, of what may pass; what is not there is asked for once.
#[test]
fn max_retries_counts_attempts() {
    let mut env = env();
    env.unset("PIP_ACCEL_RETRIES");
    let wheel = WheelBuilder::simple("package", "1.0").build();
    env.add(&wheel);
    env.write("requirements.lock", LockWriter::new().pin(&wheel).text());
    let page = "/simple/package/";
    let busy = |times| Fault::Status { status: 503, retry_after: None, times };
    for (attempts, faults, asked, code) in [("1", 1, 1, exit::ERROR), ("2", 1, 2, 0), ("3", ALWAYS, 3, exit::ERROR)] {
        let server = IndexServer::start(&env.files()).with_fault(page, busy(faults));
        env.set("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
        env.set("PIP_ACCEL_MAX_RETRIES", attempts);
        let (store, venv) = (format!("store-{attempts}"), format!("venv-{attempts}"));
        env.realize(&["--store", &store, "--venv", &venv]).fails_with(code);
        assert_eq!(server.request_count(page), asked, "{attempts} attempts");
    }
    // pip's own count is of what comes after the first attempt.
    env.unset("PIP_ACCEL_MAX_RETRIES");
    for place in ["PIP_RETRIES", "pip.conf"] {
        if place == "pip.conf" {
            env.unset("PIP_RETRIES");
            let path = env.write("pip.conf", "[install]\nretries = 1\n[list]\nretries = 0\n");
            env.set("PIP_CONFIG_FILE", path);
        } else {
            env.set(place, "1");
        }
        let server = IndexServer::start(&env.files()).with_fault(page, busy(ALWAYS));
        env.set("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
        env.realize(&["--store", "store-pip"]).fails_with(exit::ERROR);
        assert_eq!(server.request_count(page), 2, "{place}");
    }
    let gone = Fault::Status { status: 404, retry_after: None, times: ALWAYS };
    let server = IndexServer::start(&env.files()).with_fault(page, gone);
    env.set("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
    env.realize(&["--store", "store-4"]).fails_with(exit::LOCK_REFUSED);
    assert_eq!(server.request_count(page), 1);
}

/// CFG-8, LOG-3: how much is said by default; `-v` and `-q` count from there.
#[test]
fn log_verbosity_is_where_the_flags_count_from() {
    let mut env = env();
    env.lock(&[&SdistBuilder::simple("package", "1.0").during_build("print('the build speaks')\n").build()]);
    let says = |env: &TestEnv, flags: &[&str]| {
        // Each run builds.
        std::fs::remove_dir_all(env.store()).unwrap_or_default();
        std::fs::remove_dir_all(env.venv()).unwrap_or_default();
        env.realize(flags).success().stderr
    };
    let (closing, output) = ("1 package", "the build speaks");
    assert!(says(&env, &[]).contains(closing));
    env.set("PIP_ACCEL_LOG_VERBOSITY", "warning");
    // What the lock leaves open is a warning.
    assert!(!says(&env, &[]).contains(closing));
    let told = says(&env, &["-v"]);
    assert!(told.contains(closing) && !told.contains(output), "{told}");
    assert!(says(&env, &["-vv", "-v", "-q"]).contains(output));
    env.unset("PIP_ACCEL_LOG_VERBOSITY");
    in_home(&env, "[pip-accel]\nlog-verbosity = VERBOSE\n");
    assert!(says(&env, &[]).contains(output));
    assert_eq!(says(&env, &["-qqq"]), "");
    // An error is said whatever was asked for.
    env.write("requirements.lock", "package\n");
    env.realize(&["-qqqqqq"]).fails_with(exit::LOCK_REFUSED).explains();
}

/// CFG-7, CFG-9, CFG-16: what has no effect is said once, and what nobody could miss is not.
#[test]
fn what_has_no_effect_is_said_once() {
    let mut env = env();
    env.lock(&[&WheelBuilder::simple("package", "1.0").build()]);
    env.set("PIP_ACCEL_TRUST_MOD_TIMES", "no");
    env.set("PIP_ACCEL_SILENCE_BOTO", "false");
    env.set("PIP_ACCEL_S3_READONLY", "true");
    env.set("PIP_ACCEL_LINKMODE", "");
    env.realize(&["-q"]).success().never_mentions("warning");
    in_home(&env, "[pip-accel]\nlog-format = %(message)s\ns3-bucket = wheels\n");
    env.set("PIP_ACCEL_LINKMODE", "copy");
    std::fs::remove_dir_all(env.venv()).unwrap();
    let output = env.realize(&["-q"]).success();
    for text in ["`log-format` (", "the bucket `wheels`", "`$PIP_ACCEL_LINKMODE` has no effect"] {
        assert_eq!(output.stderr.matches(text).count(), 1, "{text}\n{}", output.stderr);
    }
    assert_eq!(output.stderr.matches("warning").count(), 3, "{}", output.stderr);
    std::fs::remove_dir_all(env.venv()).unwrap();
    assert_eq!(env.realize(&["-qq"]).success().stderr, "");
}
