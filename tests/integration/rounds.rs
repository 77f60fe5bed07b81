//! Builds that lack packages of the system: explained, asked for, installed, and the run goes on.
//!
//! `apt-get` and `sudo` are programs of the host; here they are scripts on `PATH` that write down how they were called
//! and put headers where the compiler in the sandbox finds them, below a folder of `/usr/local/include` that is the test's
//! own. The builds, the sandbox and the compiler are real, and so is the index, made of a few lines.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use pip_accel_builder::system_packages::index::{Collector, IndexOrigin, IndexPlace};
use pip_accel_tests::environment::TEST_USER_ID;
use pip_accel_tests::terminal::{Typed, talk};
use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, host, skip};

use crate::support::{as_root_and_user, env, exit, lock_of};

/// A world whose packages are headers in a folder of the machine that is gone with it.
pub(crate) struct Machine {
    pub(crate) env: TestEnv,
    /// The folder's name, by which sources include from it.
    pub(crate) folder: String,
}

static NUMBER: AtomicUsize = AtomicUsize::new(0);

impl Drop for Machine {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.include()));
    }
}

impl Machine {
    /// `None` where nobody may write to `/usr/local`.
    pub(crate) fn new(env: TestEnv) -> Option<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let machine = Self { env, folder: format!("pip-accel-test-{}-{number}", std::process::id()) };
        if fs::create_dir_all(machine.include()).is_err() {
            skip("/usr/local/include can't be written");
            return None;
        }
        if host::is_root() {
            chown(machine.include(), Some(TEST_USER_ID), Some(TEST_USER_ID)).expect("root may give folders away");
        }
        Some(machine.with_index(&[]).with_apt("0"))
    }

    pub(crate) fn include(&self) -> PathBuf {
        PathBuf::from("/usr/local/include").join(&self.folder)
    }

    /// Headers `one.h` … `nine.h` are in packages `libone-dev` … ; further headers in further packages.
    pub(crate) fn with_index(self, further: &[(&str, &str)]) -> Self {
        let mut contents = String::new();
        let usual = ["one", "two", "three"].map(|name| (format!("{name}.h"), format!("lib{name}-dev")));
        let further = further.iter().map(|(header, package)| ((*header).to_owned(), (*package).to_owned()));
        for (header, package) in usual.into_iter().chain(further) {
            contents.push_str(&format!("usr/include/{}/{header} libdevel/{package}\n", self.folder));
        }
        let mut collector = Collector::default();
        collector.contents(&mut contents.as_bytes()).expect("memory");
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let made_at = i64::try_from(since.as_secs()).expect("before the year 3000");
        let origin =
            IndexOrigin { made_at, distribution: "debian bookworm".into(), architecture: "amd64".into(), files: 3 };
        // The store is made by whom it is for.
        self.env.run(["diagnose", "--offline", "-"]).success();
        let folder = self.env.store().join("index");
        fs::create_dir_all(&folder).expect("the store is the test's");
        let path = IndexPlace::of_this_machine(&folder).path;
        fs::write(path, collector.finish(&origin).expect("an index")).expect("the store is the test's");
        self
    }

    /// An apt that puts `NAME.h` there for `libNAME-dev` and ends with `status`, and a sudo that runs what it is given.
    pub(crate) fn with_apt(mut self, status: &str) -> Self {
        let calls = self.calls_file();
        let script = format!(
            "#!/bin/sh\necho \"apt-get $*\" >> {calls}\necho Reading package lists\n\
             [ {status} = 0 ] || {{ echo 'E: Unable to locate package x' >&2; exit {status}; }}\n\
             while [ \"$1\" != -- ]; do shift; done\nshift\n\
             for name; do name=${{name#lib}}; name=${{name%-dev}}; \
             [ $name = three ] || : > {}/$name.h; done\n",
            self.include().display(),
            calls = calls.display(),
        );
        self.program("apt-get", &script);
        self.program(
            "sudo",
            &format!("#!/bin/sh\necho \"sudo $*\" >> {}\n[ \"$1\" != -n ] || shift\nexec \"$@\"\n", calls.display()),
        );
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.env.base().join("bin").display());
        self.env.set("PATH", path);
        self
    }

    pub(crate) fn program(&self, name: &str, script: &str) {
        let folder = self.env.base().join("bin");
        fs::create_dir_all(&folder).expect("the test's own");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("the test's own");
        let path = folder.join(name);
        fs::write(&path, script).expect("the test's own");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test's own");
    }

    pub(crate) fn calls_file(&self) -> PathBuf {
        self.env.base().join("bin/calls")
    }

    /// How apt was called, one line each; calls of sudo are left out, and its `-n`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.calls_file()).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("apt-get")).map(str::to_owned).collect()
    }

    /// An sdist whose C code includes these headers of the folder.
    pub(crate) fn sdist(&self, name: &str, headers: &[&str]) -> BuiltFile {
        let includes: String =
            headers.iter().map(|header| format!("#include <{}/{header}.h>\n", self.folder)).collect();
        let source = format!(
            "#include <Python.h>\n{includes}static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, \"_c\"}};\n\
             PyMODINIT_FUNC PyInit__c(void) {{ return PyModule_Create(&module); }}\n"
        );
        SdistBuilder::simple(name, "1.0").c_extension(&format!("{name}._c"), &source).build()
    }

    pub(crate) fn lock(&self, files: &[&BuiltFile]) {
        self.env.write("requirements.lock", lock_of(&self.env, files).text());
    }

    /// The installation of these packages as apt gets it.
    pub(crate) fn call(packages: &str) -> String {
        format!("apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=120 -- {packages}")
    }
}

const QUESTION: &str = "install and go on? [y/N]";

/// What the build lacks is found one after the other; each time the command is shown and asked for, and what is installed
/// is what was shown. Without root, sudo does it.
#[test]
fn a_build_that_lacks_two_packages_asks_twice_and_is_made() {
    as_root_and_user(|env| {
        let Some(mut machine) = Machine::new(env) else { return };
        machine.env.set("TERM", "xterm");
        // What is built while another one lacks something counts as built.
        machine.lock(&[&machine.sdist("package", &["one", "two"]), &machine.sdist("fine", &[])]);
        let yes = [(QUESTION, Typed::Text("y\n")), (QUESTION, Typed::Text("y\n"))];
        let output = talk(machine.env.realize_command(&[]), &yes).success();
        let (one, two) = (Machine::call("libone-dev"), Machine::call("libtwo-dev"));
        output
            .says(&format!("missing header {}/one.h: line ", machine.folder))
            .says(": fatal error: ")
            .says(&format!("libone-dev has the header {}/one.h", machine.folder))
            .says(&one)
            .says(&two)
            .says("0 from the store, 0 fetched, 2 built");
        assert_eq!(machine.calls(), [one, two]);
        machine.env.python_code("import package._c").success();
        machine.env.verify_clean();
        let list = machine.env.run(["log", "package", "--list"]).success();
        assert_eq!(list.stdout.matches("failed in").count(), 2, "{list:?}");
        list.prints("libtwo-dev has the header");
    });
}

/// No, nothing, and the end of the input all mean no; so does `^C`, which ends the run.
#[test]
fn an_answer_that_is_not_yes_installs_nothing() {
    let Some(machine) = Machine::new(env()) else { return };
    machine.lock(&[&machine.sdist("package", &["one"])]);
    for typed in ["n\n", "\n", "\u{4}"] {
        let output = talk(machine.env.realize_command(&[]), &[(QUESTION, Typed::Text(typed))]);
        output.fails_with(exit::PACKAGE_MISSING).says("apt-get install libone-dev");
    }
    talk(machine.env.realize_command(&[]), &[(QUESTION, Typed::Interrupt)]).fails_with(130);
    assert!(machine.calls().is_empty());
}

/// Nobody is there to be asked: no. The explanation is said, reported, and kept with the log.
#[test]
fn without_a_terminal_nothing_is_installed() {
    as_root_and_user(|env| {
        let Some(mut machine) = Machine::new(env) else { return };
        machine.lock(&[&machine.sdist("package", &["one"])]);
        let output = machine.env.realize(&[]).fails_with(exit::PACKAGE_MISSING).explains();
        let missing = format!("missing header {}/one.h", machine.folder);
        output
            .says(&missing)
            .says("no terminal")
            .says("install it and repeat the command: ")
            .says("apt-get install libone-dev");
        let log = machine.env.run(["log", "package"]).success().prints(&format!("pip-accel: {missing}: line "));
        assert!(log.stdout.contains("pip-accel: libone-dev has the header"), "{log:?}");
        let value = machine.env.realize(&["--json"]).fails_with(exit::PACKAGE_MISSING).json();
        let missing = &value["error"]["system_packages"];
        assert_eq!(missing["packages"], serde_json::json!(["libone-dev"]), "{value}");
        assert_eq!(missing["builds"][0]["build"], "package==1.0");
        assert_eq!(missing["builds"][0]["kind"], "header");
        for refused in [&["--system-packages", "refuse"][..], &[]] {
            machine.env.set("PIP_ACCEL_AUTO_INSTALL", "no");
            let output = machine.env.realize(refused).fails_with(exit::PACKAGE_MISSING).explains();
            output.says("system-packages is `refuse`").says("apt-get install libone-dev");
        }
        assert!(machine.calls().is_empty());
    });
}

/// What several builds lack is installed at once, and what lacks nothing is built meanwhile.
#[test]
fn several_builds_are_one_installation() {
    let Some(mut machine) = Machine::new(env()) else { return };
    machine.lock(&[
        &machine.sdist("first", &["one"]),
        &machine.sdist("second", &["two"]),
        &machine.sdist("third", &["one"]),
        &machine.sdist("fine", &[]),
    ]);
    let output = machine.env.realize(&["--system-packages", "refuse"]).fails_with(exit::PACKAGE_MISSING);
    output.says("apt-get install libone-dev libtwo-dev").says("also: the build of");
    assert!(machine.env.object_names().iter().any(|name| name.contains("-fine-1.0-") && !name.ends_with("-sdist")));
    machine.env.set("PIP_ACCEL_AUTO_INSTALL", "1");
    let output = machine.env.realize(&[]).success();
    assert_eq!(machine.calls(), [Machine::call("libone-dev libtwo-dev")]);
    output.says("Reading package lists").says("3 built");
    machine.env.verify_clean();
}

/// `build` and `fetch` go the same way; `fetch` builds what builds want.
#[test]
fn build_and_fetch_install_as_well() {
    let Some(machine) = Machine::new(env()) else { return };
    let helper = machine.sdist("helper", &["one"]);
    let package = SdistBuilder::simple("package", "1.0").build_requires("helper").build();
    let lock = lock_of(&machine.env, &[&package])
        .line("#: build package==1.0")
        .line(format!("#:   helper==1.0 {}", helper.hash_option()));
    machine.env.add(&helper);
    machine.env.write("requirements.lock", lock.text());
    let python = machine.env.python().to_string_lossy().into_owned();
    let fetch = ["fetch", "requirements.lock", "--python", &python, "--system-packages", "install", "--json"];
    let value = machine.env.run(fetch).success().json();
    assert_eq!(value["fetched"], 1, "{value}");
    let path = machine.env.add(&machine.sdist("alone", &["two"])).to_string_lossy().into_owned();
    machine
        .env
        .run(["build", &path, "--python", &python, "--system-packages", "refuse"])
        .fails_with(exit::PACKAGE_MISSING);
    machine.env.run(["build", &path, "--python", &python, "--system-packages", "install", "-q"]).success();
    assert_eq!(machine.calls(), [Machine::call("libone-dev"), Machine::call("libtwo-dev")]);
}

/// A package that does not have what it should is installed once; what fails otherwise is not tried again.
#[test]
fn installing_that_does_not_help_ends() {
    let Some(machine) = Machine::new(env()) else { return };
    machine.lock(&[&machine.sdist("package", &["three"])]);
    let output = machine.env.realize(&["--system-packages", "install"]).fails_with(exit::BUILD_FAILED).explains();
    output.says("installed were libthree-dev, and the header").says("is still missing");
    assert_eq!(machine.calls(), [Machine::call("libthree-dev")]);
    let machine = machine.with_apt("100");
    machine.lock(&[&machine.sdist("package", &["one"])]);
    let output = machine.env.realize(&["--system-packages", "install", "-q"]).fails_with(exit::PACKAGE_MISSING);
    output.says("E: Unable to locate package x").says("apt-get install libone-dev");
    assert_eq!(machine.calls().len(), 2);
}

/// What is installed is not proposed; nor is anything where nothing would help. Both are said.
#[test]
fn negatives_install_nothing() {
    let Some(machine) = Machine::new(env()) else { return };
    let machine = machine.with_index(&[("four.h", "dpkg")]);
    let install = ["--system-packages", "install"];
    machine.lock(&[&machine.sdist("package", &["four"])]);
    let output = machine.env.realize(&install).fails_with(exit::BUILD_FAILED).explains();
    output.says("dpkg has the header").says("is installed");
    machine.lock(&[&machine.sdist("package", &["five"])]);
    machine.env.realize(&install).fails_with(exit::BUILD_FAILED).says("no package of the configured sources");
    machine.lock(&[&SdistBuilder::simple("package", "1.0").during_build("import skbuild").build()]);
    let output = machine.env.realize(&install).fails_with(exit::BUILD_FAILED).explains();
    output.says("the build needs the Python package scikit-build").says("#: build package==1.0");
    assert!(machine.calls().is_empty());
}

/// What ever more is missing for ends after ten rounds.
#[test]
fn ten_rounds_are_enough() {
    let Some(machine) = Machine::new(env()) else { return };
    let names: Vec<String> = (1..=11).map(|number| format!("r{number}")).collect();
    let further: Vec<(String, String)> =
        names.iter().map(|name| (format!("{name}.h"), format!("lib{name}-dev"))).collect();
    let further: Vec<(&str, &str)> = further.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
    let machine = machine.with_index(&further);
    let headers: Vec<&str> = names.iter().map(String::as_str).collect();
    machine.lock(&[&machine.sdist("package", &headers)]);
    let output = machine.env.realize(&["--system-packages", "install"]).fails_with(exit::PACKAGE_MISSING).explains();
    output.says("10 rounds were tried").says("apt-get install libr10-dev");
    assert_eq!(machine.calls().len(), 9);
}

/// Whoever works with dpkg is named, and apt is told to wait.
#[test]
fn somebody_elses_dpkg_is_waited_for() {
    let Some(machine) = Machine::new(env()) else { return };
    if !host::is_root() || !std::path::Path::new("/var/lib/dpkg/lock-frontend").exists() {
        return skip("dpkg's lock needs root");
    }
    machine.lock(&[&machine.sdist("package", &["one"])]);
    let holder = "import fcntl, sys\nfile = open('/var/lib/dpkg/lock-frontend', 'r+')\nfcntl.lockf(file, fcntl.LOCK_EX)\n\
                  print('held', flush=True)\nsys.stdin.read()\n";
    let mut holder = std::process::Command::new(machine.env.python())
        .args(["-c", holder])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "held\n");
    let output = machine.env.realize(&["--system-packages", "install"]).success();
    output.says(&format!("process {} (", holder.id())).says("apt waits for it");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(machine.calls(), [Machine::call("libone-dev")]);
}

/// DEP-6: dpkg names packages of one architecture with it, and they are installed none the less.
#[test]
fn a_package_that_dpkg_names_with_its_architecture_is_installed() {
    let named = std::process::Command::new("dpkg-query").args(["-W", "-f", "${binary:Package}\n"]).output();
    let named = named.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let Some(package) = named.lines().find_map(|name| Some(name.split_once(':')?.0)) else {
        return skip("dpkg names no package here with its architecture");
    };
    let Some(machine) = Machine::new(env()) else { return };
    let machine = machine.with_index(&[("six.h", package)]);
    machine.lock(&[&machine.sdist("package", &["six"])]);
    let output = machine.env.realize(&["--system-packages", "install"]).fails_with(exit::BUILD_FAILED).explains();
    output.says(&format!("{package} has the header")).says("is installed");
    assert!(machine.calls().is_empty());
}

/// The words of the policy, and what the variables of the original mean.
#[test]
fn policies_are_words() {
    let mut env = env();
    env.lock(&[&SdistBuilder::simple("package", "1.0").build()]);
    env.realize(&["--system-packages", "maybe"]).fails_with(exit::USAGE);
    for (value, means) in [("yes", "install"), ("0", "refuse")] {
        env.set("PIP_ACCEL_AUTO_INSTALL", value);
        env.run(["config", "show"]).success().prints(means);
    }
    env.set("PIP_ACCEL_AUTO_INSTALL", "ask");
    env.run(["config", "show"]).fails_with(exit::USAGE).explains();
    env.set("PIP_ACCEL_AUTO_INSTALL", "yes");
    env.set("PIP_ACCEL_SYSTEM_PACKAGES", "maybe");
    env.realize(&[]).fails_with(exit::USAGE);
}

/// Without sudo there is a command to type as root.
#[test]
fn without_sudo_the_command_is_said() {
    let Some(env) = crate::support::user_env() else { return };
    let Some(machine) = Machine::new(env) else { return };
    if host::program("sudo").is_some() {
        return skip("there is a sudo on this machine");
    }
    fs::remove_file(machine.env.base().join("bin/sudo")).unwrap();
    machine.lock(&[&machine.sdist("package", &["one"])]);
    let output = machine.env.realize(&["--system-packages", "install"]).fails_with(exit::PACKAGE_MISSING).explains();
    output.says("installing needs root, and there is no sudo here").says("apt-get install libone-dev");
}

/// What users say themselves goes before the index; files of the original are read; what is wrong is named with its line.
#[test]
fn own_rules_are_used_and_checked() {
    let Some(mut machine) = Machine::new(env()) else { return };
    let install = ["--system-packages", "install"];
    let folder = machine.env.home().join(".pip-accel/deps");
    fs::create_dir_all(&folder).unwrap();
    let own = format!("[header]\n\"{}/five.h\" = \"libfive-dev\"\n", machine.folder);
    fs::write(folder.join("own.toml"), own).unwrap();
    let ini = "[commands]\nsupported = touch /tmp/pip-accel-never\ninstall = apt-get install --yes\n\
               [dependencies]\nOther = libtwo-dev dpkg libgone-dev\n";
    fs::write(folder.join("debian.ini"), ini).unwrap();
    let package = machine.sdist("package", &["five"]);
    let other = SdistBuilder::simple("other", "1.0").during_build("raise SystemExit('it failed')").build();
    machine.lock(&[&package]);
    machine.env.realize(&install).success();
    machine.lock(&[&other]);
    let output = machine.env.realize(&install).fails_with(exit::BUILD_FAILED);
    output.says("installed were libtwo-dev");
    assert_eq!(machine.calls(), [Machine::call("libfive-dev"), Machine::call("libtwo-dev")]);
    machine.env.write("bad.toml", "[header]\n\"x.h\" = \"-oX\"\n");
    machine.env.set("PIP_ACCEL_SYSTEM_PACKAGE_RULES", "bad.toml");
    machine.lock(&[&machine.sdist("fresh", &[])]);
    machine
        .env
        .realize(&[])
        .fails_with(exit::USAGE)
        .explains()
        .says("bad.toml:2: `-oX` is no name of a Debian package");
    machine.env.set("PIP_ACCEL_SYSTEM_PACKAGE_RULES", "none.toml");
    machine.env.realize(&[]).fails_with(exit::USAGE).explains().says("none.toml");
}
