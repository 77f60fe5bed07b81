//! The words of `pip-accel install`, row by row of `docs/pip-options.md`; and pip for every other command of pip.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::path::{Path, PathBuf};

use pip_accel_tests::index_server::{IndexServer, authority_file, client_certificate_file};
use pip_accel_tests::terminal::talk;
use pip_accel_tests::{TestEnv, WheelBuilder, host, skip};

use crate::index_access::{PASSWORD, USER, with_keyring};
use crate::install::{install, pip, python_with_pip, venv};
use crate::lock::world;
use crate::support::{env, exit};

/// One row: spellings, the value that stands in it, what it says, and the test it names.
struct Row {
    spellings: Vec<String>,
    value: Option<String>,
    says: String,
    shown_by: String,
}

fn rows() -> Vec<Row> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pip-options.md");
    let text = std::fs::read_to_string(document).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [option, says, shown_by] = cells.as_slice() else { panic!("not three cells: {line}") };
        let words: Vec<&str> = option.trim_matches('`').split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let is_spelling = |word: &&&str| word.starts_with('-');
        Row {
            spellings: words.iter().filter(is_spelling).map(|word| (*word).to_owned()).collect(),
            value: words.iter().find(|word| !word.starts_with('-')).map(|word| (*word).to_owned()),
            says: (*says).to_owned(),
            shown_by: shown_by.trim_matches('`').to_owned(),
        }
    };
    text.lines().filter(|line| line.starts_with("| `-")).map(row).collect()
}

/// Refused options are refused by each spelling, with the sentence of their row and exit code 2; honoured ones are in the
/// help, and the test that their row names is there.
#[test]
fn each_row_of_the_options_is_true() {
    let env = env();
    let help = env.run(["install", "--help"]).success().stdout;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration");
    let rows = rows();
    assert!(rows.len() > 80, "only {} rows", rows.len());
    for row in &rows {
        let name = row.spellings.last().unwrap();
        match row.says.strip_prefix("refused: ") {
            Some(sentence) => {
                for spelling in &row.spellings {
                    let mut words = vec![spelling.as_str()];
                    words.extend(row.value.as_deref());
                    words.push("package");
                    let sentence = sentence.replace('`', "").replace("\\|", "|");
                    let output = install(&env, &words).fails_with(exit::USAGE).explains();
                    assert!(output.stderr.replace('`', "").contains(&sentence), "{name}: {}", output.stderr);
                }
                assert!(help.contains(name.as_str()), "{name} is not in the help");
            }
            None => {
                assert!(help.contains(name.as_str()), "{name} is not in the help");
                let (file, test) = row.shown_by.split_once("::").unwrap_or_else(|| panic!("{name} names no test"));
                let text = std::fs::read_to_string(sources.join(format!("{file}.rs"))).unwrap_or_default();
                assert!(text.contains(&format!("fn {test}(")), "{name}: there is no test {}", row.shown_by);
                if row.value.is_some() {
                    install(&env, &[name]).fails_with(exit::USAGE).says("needs a value");
                }
            }
        }
    }
}

/// Every option of the newest pip here has a row.
#[test]
fn every_option_of_pip_has_a_row() {
    let Some(wheel) = host::wheel_of("pip") else { return skip("PIP_ACCEL_TEST_WHEELS has no pip") };
    let newest = host::interpreters().pop().unwrap();
    let env = env();
    let mut command = env.program(&newest.path);
    command.arg(wheel.join("pip")).args(["install", "--help"]).env("COLUMNS", "200");
    let help = env.finish(command).success().stdout;
    let known: Vec<String> = rows().into_iter().flat_map(|row| row.spellings).collect();
    let mut options = 0;
    for line in help.lines().filter(|line| line.starts_with("  -")) {
        let shown = line.trim_start().split("  ").next().unwrap();
        for word in shown.split([' ', ',']).filter(|word| word.starts_with('-') && word.len() > 1) {
            assert!(known.iter().any(|one| one == word), "pip has `{word}`, and docs/pip-options.md has not");
            options += 1;
        }
    }
    assert!(options > 80, "pip's help has only {options} options:\n{help}");
}

/// CLI-2: no arguments are a question, and the answer is no error.
#[test]
fn without_arguments_the_usage_is_printed() {
    env().run::<_, &str>([]).success().prints("Usage: pip-accel");
}

/// CLI-4: asking for help installs nothing, in either order.
#[test]
fn help_for_install_is_help() {
    let env = env();
    for words in [["help", "install"], ["install", "--help"], ["install", "-h"]] {
        env.run(words).success().prints("--requirement").prints("Options of pip-accel");
    }
    assert!(!env.store().exists(), "help needs no store");
}

/// CLI-10, CLI-11: letters count in clusters of letters, and those of a file name are none.
#[test]
fn letters_of_a_file_name_are_no_options() {
    let env = env();
    for name in ["dev.txt", "quick.txt", "Ux.txt"] {
        env.write(name, "");
        install(&env, &[&format!("-r{name}")]).success().says("nothing to install").never_mentions("DEBUG");
    }
    install(&env, &["-qq", "-rquick.txt"]).success().never_mentions("nothing to install");
}

/// CLI-13: the values of options stay what they are, also when they are files.
#[test]
fn values_that_are_files_stay_what_they_are() {
    let Some((env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let cert = env.write("ca.pem", "");
    std::fs::write(&cert, std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default()).unwrap();
    let url = server.index_url();
    let words = ["-i", url.as_str(), "--cert", "ca.pem", "--venv", ".venv", "package"];
    install(&env, &words).never_mentions("md5").never_mentions("No such file");
}

/// CLI-20: nothing asked for in a file is no error.
#[test]
fn an_empty_file_of_requirements_is_a_warning() {
    let env = env();
    env.write("empty.txt", "# nothing\n\n");
    install(&env, &["-r", "empty.txt"]).success().says("the requirements are empty");
}

/// Options of pip's variables and files count, the command line more; a refused one is named with its place.
#[test]
fn configuration_of_pip_counts() {
    let Some((mut env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    env.set("PIP_TARGET", env.project().join("place"));
    install(&env, &["package"]).success();
    assert!(env.project().join("place/package").exists());
    env.set("PIP_EXISTS_ACTION", "w");
    env.set("PIP_UPGRADE", "1");
    install(&env, &["package"]).success().never_mentions("is there already");
    env.set("PIP_ABI", "cp311");
    install(&env, &["package"]).fails_with(exit::USAGE).says("PIP_ABI").explains();
    install(&env, &["--isolated", "-i", server.index_url().as_str(), "--target", "other", "package"]).success();
    assert!(env.project().join("other/package").exists());
    env.unset("PIP_ABI");
    env.set("PIP_REQUIRE_VIRTUALENV", "true");
    env.unset("PIP_TARGET");
    install(&env, &["package"]).fails_with(exit::ERROR).says("virtualenv").explains();
}

fn with_pip(env: &TestEnv) -> Option<PathBuf> {
    Some(venv(env, &python_with_pip()?, ".venv"))
}

/// CLI-3: every other command of pip is the target's own pip: its streams, its exit code.
#[test]
fn other_commands_are_those_of_the_targets_pip() {
    let env = env();
    let Some(place) = with_pip(&env) else { return };
    for words in [&["list"][..], &["freeze", "--all"], &["check"], &["--version"], &["help", "freeze"], &["hash"]] {
        let theirs = pip(&env, &place, words);
        let ours = env.run([&["pip"], words].concat());
        assert_eq!((ours.code, ours.stdout, ours.stderr), (theirs.code, theirs.stdout, theirs.stderr), "{words:?}");
    }
    let freeze = env.run(["freeze", "--all"]).success();
    assert!(freeze.stdout.contains("pip=="), "{}", freeze.stdout);
    env.run(["list", "--no-such-option"]).fails_with(2);
    env.run(["uninstall", "-y", "no-such-package"]).success();
    // Our own names win, and `pip` says that pip's are meant.
    env.run(["config", "show"]).success().prints("store");
    env.run(["pip", "show", "pip"]).success().prints("Name: pip");
}

/// An environment without pip is served by the wheel that its interpreter carries.
#[test]
fn an_environment_without_pip_is_served() {
    let (Some((env, server)), Some(python)) = (world(), python_with_pip()) else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let python = python.to_str().unwrap();
    install(&env, &["-i", server.index_url().as_str(), "--python", python, "--venv", ".venv", "package"]).success();
    env.run(["list", "--format=freeze"]).success().prints("package==1.0").never_mentions("pip==");
    env.run(["uninstall", "-y", "package"]).success();
    env.run(["list", "--format=freeze"]).success().never_mentions("package");
}

/// The second test of the original: an active virtualenv that is gone or another one never redirects an explicit target.
#[test]
fn an_explicit_target_wins_over_the_active_one() {
    let Some((mut env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    env.set("PIP_INDEX_URL", server.index_url().as_str());
    install(&env, &["--venv", "active", "package"]).success();
    for stale in ["active", "gone"] {
        env.set("VIRTUAL_ENV", env.project().join(stale));
        let words = ["--venv", &format!("for-{stale}"), "package", "--python", env.python().to_str().unwrap()];
        install(&env, &words).success().says("1 package: ");
        assert!(env.project().join(format!("for-{stale}/bin/python")).exists());
    }
    install(&env, &["package"]).fails_with(exit::ERROR).says("VIRTUAL_ENV").explains();
    env.run(["list"]).fails_with(exit::ERROR).says("VIRTUAL_ENV").explains();
    env.set("VIRTUAL_ENV", env.project().join("active"));
    install(&env, &["package"]).success().says("nothing to do");
}

/// Options that only say what is so anyway, and those of every command of ours.
#[test]
fn options_that_are_always_so_are_taken() {
    let Some((env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    env.write("own.toml", "");
    let url = server.index_url();
    let mut words = vec!["-i", url.as_str(), "--venv", ".venv", "--store", "elsewhere", "--config", "own.toml"];
    words.extend(["--check-build-dependencies", "--compile", "--no-compile", "--no-input", "--no-cache-dir"]);
    words.extend(["--disable-pip-version-check", "--no-color", "-j", "1", "--no-sandbox"]);
    words.extend(["--system-packages", "refuse", "--json", "package"]);
    let report = install(&env, &words).success().json();
    assert_eq!((report["version"].as_i64(), report["installed"][0].as_str()), (Some(1), Some("package-1.0")));
    assert!(env.project().join("elsewhere/store").exists() && !env.store().exists());
}

/// Further indexes, wheels only, and what was there before a moment.
#[test]
fn places_of_files_are_heard() {
    let Some((mut env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let server = server.with_upload_time("package-1.0-py3-none-any.whl", "2024-01-01T00:00:00Z");
    env.add(&WheelBuilder::simple("package", "2.0").build());
    let server = server.with_upload_time("package-2.0-py3-none-any.whl", "2025-01-01T00:00:00Z");
    env.add(&pip_accel_tests::SdistBuilder::simple("package", "3.0").build());
    let server = server.with_upload_time("package-3.0.tar.gz", "2025-06-01T00:00:00Z");
    let empty = env.project().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let other = IndexServer::start(&empty);
    env.set("PIP_INDEX_URL", other.index_url().as_str());
    let at = ["--extra-index-url", server.index_url().as_str(), "--venv", ".venv", "package", "-U"].map(str::to_owned);
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    let version = || env.evaluate("import package", "package.__version__");
    install(&env, &[&at[..], &["--uploaded-prior-to", "2024-06-01"]].concat()).success();
    assert_eq!(version(), "1.0");
    install(&env, &[&at[..], &["--only-binary", ":all:"]].concat()).success();
    assert_eq!(version(), "2.0");
}

/// A server that asks who one is gets the certificate that is named.
#[test]
fn servers_ask_who_one_is() {
    let Some((env, _)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let server = IndexServer::start_mutual_tls(&env.files());
    let (authority, own) = (authority_file(), client_certificate_file());
    let (url, authority) = (server.index_url(), authority.to_string_lossy());
    let words = ["-i", url.as_str(), "--cert", &authority, "--retries", "0", "--venv", ".venv", "package"];
    install(&env, &words).fails_with(exit::ERROR).explains();
    assert!(server.requests().is_empty());
    install(&env, &[&words[..], &["--client-cert", &own.to_string_lossy()]].concat()).success();
}

/// A host that is trusted needs no certificate that anybody knows.
#[test]
fn a_trusted_host_is_not_checked() {
    let Some((env, _)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let server = IndexServer::start_tls(&env.files());
    let url = server.index_url();
    let words = ["-i", url.as_str(), "--retries", "0", "--venv", ".venv", "package"];
    install(&env, &words).fails_with(exit::ERROR).says("certificate").explains();
    install(&env, &[&words[..], &["--trusted-host", "127.0.0.1"]].concat()).success();
}

/// `subprocess` is the program `keyring`; `disabled` and `auto` ask nobody.
#[test]
fn a_keyring_is_asked_where_that_is_said() {
    let Some((mut env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let server = server.with_basic_auth("/", USER, PASSWORD);
    let notes = with_keyring(&mut env);
    let url = server.index_url_with_login(USER, None);
    let words = ["-i", url.as_str(), "--venv", ".venv", "package", "--keyring-provider"];
    for provider in ["disabled", "auto"] {
        install(&env, &[&words[..], &[provider]].concat()).fails_with(exit::ERROR).explains();
        assert!(!notes.exists(), "{provider}");
    }
    install(&env, &[&words[..], &["subprocess"]].concat()).success();
    assert!(std::fs::read_to_string(notes).unwrap().contains(USER));
}

/// On a terminal `off` gives lines instead of bars; elsewhere lines are what there is anyhow.
#[test]
fn progress_is_shown_as_is_said() {
    let Some((mut env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    env.set("TERM", "xterm");
    let url = server.index_url();
    for (when, has_lines) in [("auto", false), ("on", false), ("off", true)] {
        let store = format!("store-{when}");
        let mut command = env.command(["install", "-i", url.as_str(), "--venv", when, "--store", &store]);
        command.args(["--progress-bar", when, "package"]);
        let output = talk(command, &[]).success();
        assert_eq!(output.stderr.contains("fetched package-1.0"), has_lines, "{when}: {}", output.stderr);
    }
    install(&env, &["-i", url.as_str(), "--venv", "plain", "--store", "store-plain", "package"])
        .success()
        .says("fetched package");
}

/// As pip does: an index that gives no answer is passed over where `--find-links` has what is wanted.
#[test]
fn an_index_without_an_answer_is_done_without() {
    let Some((env, _)) = world() else { return };
    env.add(&WheelBuilder::simple("app", "1.0").requires("library").build());
    let library = WheelBuilder::simple("library", "1.0").build();
    env.add(&library);
    let dead = ["-i", "http://127.0.0.1:9/simple/", "--retries", "0", "-f", "../files"];
    let words = [&dead[..], &["--venv", ".venv", "app"]].concat();
    install(&env, &words).success().says("gives no answer").says("2 packages: ");
    let output =
        install(&env, &[&dead[..], &["--venv", "other", "nowhere"]].concat()).fails_with(exit::ERROR).explains();
    output.says("a server can't be reached");
    install(&env, &["-i", "http://127.0.0.1:9/simple/", "--retries", "0", "--venv", "other", "-U", "app"])
        .fails_with(exit::ERROR);
    // A lock's hashes say which files these are.
    env.write("requirements.lock", format!("library==1.0 {}\n", library.hash_option()));
    env.run(["gc", "--min-age", "0s"]).success();
    let find_links = ["-i", "http://127.0.0.1:9/simple/", "-f", "../files", "--store", "new"];
    env.realize(&[&["--venv", "locked"][..], &find_links].concat())
        .success()
        .says("only what --find-links has is used");
}

/// Proxy, patience and trusted hosts come to the index client.
#[test]
fn ways_to_the_index_are_heard() {
    let Some((env, server)) = world() else { return };
    env.add(&WheelBuilder::simple("package", "1.0").build());
    let url = server.index_url();
    let dead = ["--retries", "0", "--timeout", "0.5", "--proxy", "http://127.0.0.1:9", "--trusted-host", "h.example"];
    let words = ["-i", "http://h.example/simple/", "--venv", ".venv", "package"];
    install(&env, &[&dead[..], &words].concat()).fails_with(exit::ERROR).explains();
    let words = ["-i", url.as_str(), "--venv", ".venv", "package", "--retries", "2", "--timeout", "30"];
    install(&env, &words).success();
}
