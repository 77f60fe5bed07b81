//! [`TestEnv`]: one test's own home, store, project directory and package files, and the program run inside them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cleanup::{Scratch, create_directories};
use crate::host;
use crate::invariants;
use crate::output::Output;
use crate::package::{BuiltFile, LockWriter};

/// The unprivileged user that `as_user` environments run as.
pub const TEST_USER_ID: u32 = 1000;
/// Where programs are looked for: the system's directories only.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// An index that never answers: the discard port of the loopback device. A lock that forgets `--no-index` fails at once.
const DEAD_INDEX: &str = "http://127.0.0.1:9/simple/";

/// One test's world. Dropping it removes everything, read-only objects included.
///
/// ```text
/// <base>/home      HOME           <base>/store     PIP_ACCEL_STORE
/// <base>/project   cwd, lock      <base>/files     packages, for `--find-links ../files`
/// <base>/tmp       TMPDIR
/// ```
#[derive(Debug)]
pub struct TestEnv {
    base: PathBuf,
    binary: PathBuf,
    python: PathBuf,
    is_user: bool,
    variables: BTreeMap<OsString, OsString>,
    is_left_damaged: AtomicBool,
    // Last: removed after everything else.
    _scratch: Scratch,
}

/// A program under test that still runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    replacements: Vec<(String, String)>,
}

impl TestEnv {
    /// A new world for `binary`, run as whoever runs the tests.
    #[must_use]
    pub fn new(binary: &str) -> Self {
        Self::create(binary, "", false)
    }

    /// The same, with `directory` (which may hold spaces, non-ASCII characters or slashes) in all its paths.
    #[must_use]
    pub fn in_directory(binary: &str, directory: &str) -> Self {
        Self::create(binary, directory, false)
    }

    /// The same as an unprivileged user without supplementary groups. `None`, and a line that says so, when that can't be
    /// arranged; when the tests are unprivileged already, they simply run.
    #[must_use]
    pub fn as_user(binary: &str) -> Option<Self> {
        if !host::is_root() {
            return Some(Self::create(binary, "", false));
        }
        if host::program("setpriv").is_none() {
            host::skip("the unprivileged half needs `setpriv` (util-linux)");
            return None;
        }
        Some(Self::create(binary, "", true))
    }

    fn create(binary: &str, directory: &str, is_user: bool) -> Self {
        let scratch = Scratch::new();
        let base = scratch.path().join(directory);
        for name in ["home", "project", "files", "tmp"] {
            create_directories(&base.join(name));
        }
        let mut binary = PathBuf::from(binary);
        if is_user {
            binary = publish_binary(&binary, scratch.path());
            for name in ["", "home", "project", "files", "tmp"] {
                give_to_user(&base.join(name));
            }
        }
        let mut env = Self {
            base,
            binary,
            python: host::default_python(),
            is_user,
            variables: BTreeMap::new(),
            is_left_damaged: AtomicBool::new(false),
            _scratch: scratch,
        };
        env.set_default_variables();
        env
    }

    fn set_default_variables(&mut self) {
        // No setting of the machine's: its own file would be read as well.
        let machine = Path::new("/etc/pip-accel.conf");
        assert!(!machine.exists(), "{} would decide how tests end; move it away for them", machine.display());
        let config = self.base.join("pip-accel.conf");
        std::fs::write(&config, "").expect("the scratch directory is writable");
        self.set("PIP_ACCEL_CONFIG", config);
        let (home, store, tmp) = (self.home(), self.store(), self.base.join("tmp"));
        for (name, value) in [("HOME", home), ("PIP_ACCEL_STORE", store), ("TMPDIR", tmp)] {
            self.set(name, value);
        }
        for (name, value) in [
            ("PATH", SYSTEM_PATH),
            ("LC_ALL", "C.UTF-8"),
            ("TZ", "UTC"),
            ("PIP_INDEX_URL", DEAD_INDEX),
            ("PIP_CONFIG_FILE", "/dev/null"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_ROOT_USER_ACTION", "ignore"),
            ("UV_NO_CONFIG", "1"),
            ("UV_OFFLINE", "1"),
            ("UV_PYTHON_DOWNLOADS", "never"),
            // Throw-away stores need not survive a power cut; hundreds of syncs would dominate the run.
            ("PIP_ACCEL_DURABILITY", "none"),
            // What carries the immutable flag outlives `rm -rf`.
            ("PIP_ACCEL_PROTECT", "none"),
            // No test reads Debian's lists from their mirror.
            ("PIP_ACCEL_MAKE_INDEX", "false"),
            // A test that means an index to be down should not wait for it.
            ("PIP_ACCEL_RETRIES", "1"),
            ("PIP_ACCEL_TIMEOUT", "5"),
        ] {
            self.set(name, value);
        }
        if let Some(uv) = host::uv() {
            let uv = if self.is_user { publish_binary(&uv, &self.base) } else { uv };
            self.set("PIP_ACCEL_UV", uv);
        }
    }

    /// Sets a variable for all later runs.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.variables.insert(name.into(), value.as_ref().to_owned());
    }

    /// Removes a variable for all later runs.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(OsStr::new(name));
    }

    /// Moves the program's clock `seconds` ahead of now: objects become old enough for `gc`.
    ///
    /// # Panics
    /// When the host's clock is before 1970.
    pub fn travel(&mut self, seconds: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs();
        self.set("PIP_ACCEL_TEST_NOW", (now + seconds).to_string());
    }

    /// The program under test.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// The interpreter these tests use.
    #[must_use]
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// The directory that holds all the others.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// HOME.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    /// The store's root.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.base.join("store")
    }

    /// The objects of the store.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.store().join("store")
    }

    /// The working directory.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.base.join("project")
    }

    /// Where packages lie for `--find-links ../files`.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.base.join("files")
    }

    /// The default environment, `project/.venv`.
    #[must_use]
    pub fn venv(&self) -> PathBuf {
        self.project().join(".venv")
    }

    /// A program of the default environment.
    #[must_use]
    pub fn venv_program(&self, name: &str) -> PathBuf {
        self.venv().join("bin").join(name)
    }

    /// The site-packages directory of the default environment, asked from its own interpreter.
    #[must_use]
    pub fn site_packages(&self) -> PathBuf {
        let output = self.python_code("import sysconfig; print(sysconfig.get_paths()['purelib'])").success();
        PathBuf::from(output.stdout.trim())
    }

    /// Writes a file below the project directory and returns its path.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.project().join(path);
        create_directories(path.parent().expect("it lies below the project"));
        std::fs::write(&path, content).expect("the project is writable");
        if self.is_user {
            chown(&path, Some(TEST_USER_ID), Some(TEST_USER_ID)).expect("root may give files away");
        }
        path
    }

    /// Puts a package into [`TestEnv::files`] and returns its path.
    pub fn add(&self, file: &BuiltFile) -> PathBuf {
        file.write_to(&self.files())
    }

    /// Writes `requirements.lock` for packages that it also puts into [`TestEnv::files`].
    pub fn lock(&self, files: &[&BuiltFile]) -> PathBuf {
        let mut lock = LockWriter::offline();
        for file in files {
            self.add(file);
            lock = lock.pin(file);
        }
        self.write("requirements.lock", lock.text())
    }

    /// Runs the program and waits.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Output {
        self.finish(self.command(arguments))
    }

    /// `realize requirements.lock` with this environment's interpreter and further arguments.
    #[track_caller]
    pub fn realize(&self, arguments: &[&str]) -> Output {
        self.finish(self.realize_command(arguments))
    }

    /// The command behind [`TestEnv::realize`].
    #[must_use]
    pub fn realize_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(["realize", "requirements.lock"]);
        command.args(arguments);
        if !arguments.contains(&"--python") {
            command.arg("--python").arg(&self.python);
        }
        command
    }

    /// Runs a prepared command and waits.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    pub fn finish(&self, mut command: Command) -> Output {
        let text = format!("{command:?}");
        let output = command.output().unwrap_or_else(|error| panic!("cannot run {text}: {error}"));
        Output::new(text, &output, self.replacements())
    }

    /// Starts the program without waiting.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Running {
        self.start(self.command(arguments))
    }

    /// Starts a prepared command without waiting.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(&self, mut command: Command) -> Running {
        let text = format!("{command:?}");
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot run {text}: {error}"));
        Running { child, command: text, replacements: self.replacements() }
    }

    /// The program with these arguments, ready to run in the project directory, stdin closed.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        let mut command = self.program(&self.binary);
        command.args(arguments);
        command
    }

    /// Any other program under the same user and variables.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if self.is_user {
            let mut command = Command::new("/usr/bin/setpriv");
            let id = TEST_USER_ID;
            command.args([
                format!("--reuid={id}"),
                format!("--regid={id}"),
                "--clear-groups".to_owned(),
                "--".to_owned(),
            ]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.project()).env_clear().envs(&self.variables).stdin(Stdio::null());
        command
    }

    /// Runs Python code in the default environment.
    #[track_caller]
    pub fn python_code(&self, code: &str) -> Output {
        let mut command = self.program(self.venv_program("python"));
        command.args(["-c", code]);
        self.finish(command)
    }

    /// Value of an expression printed by Python code in the default environment, white space trimmed.
    #[track_caller]
    pub fn evaluate(&self, imports: &str, expression: &str) -> String {
        self.python_code(&format!("{imports}\nprint({expression})")).success().stdout.trim().to_owned()
    }

    /// `gc` that spares nothing for being young.
    #[track_caller]
    pub fn collect(&self) -> Output {
        self.run(["gc", "--min-age", "0"])
    }

    /// Number of builds the store has logged, good and bad.
    #[must_use]
    pub fn builds(&self) -> usize {
        count_files(&self.store().join("logs"))
    }

    /// Names of all objects of the store, sorted.
    #[must_use]
    pub fn object_names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.objects()) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Asserts the invariants of the store (12 to 16 of `docs/architecture.md`), after one start of the program, which
    /// tidies up what a killed one left. Nothing may be at work in the store.
    ///
    /// # Panics
    /// When one does not hold.
    #[track_caller]
    pub fn check_invariants(&self) {
        self.run(["roots"]).success();
        let violations = invariants::violations(&self.store(), &self.lower_stores(), true);
        assert!(violations.is_empty(), "the store's invariants do not hold:\n{}", violations.join("\n"));
    }

    /// Stores of others in which environments may have objects.
    fn lower_stores(&self) -> Vec<PathBuf> {
        let listed = self.variables.get(OsStr::new("PIP_ACCEL_LOWER_STORES"));
        listed.map(|paths| std::env::split_paths(paths).collect()).unwrap_or_default()
    }

    /// Says that this test leaves a store behind that is damaged on purpose: the end of the test does not look at it.
    pub fn leave_damaged(&self) {
        self.is_left_damaged.store(true, Ordering::Relaxed);
    }

    /// Asserts that `verify` finds nothing wrong in the store and nothing unfinished lies about.
    ///
    /// # Panics
    /// When it does, or something does.
    #[track_caller]
    pub fn verify_clean(&self) {
        self.run(["verify"]).success();
        for place in ["tmp", "trash"] {
            let left = count_files(&self.store().join(place));
            assert_eq!(left, 0, "{left} files are left in the store's {place}/");
        }
        self.check_invariants();
    }

    fn replacements(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            (text(&self.store()), "[STORE]".to_owned()),
            (text(&self.project()), "[PROJECT]".to_owned()),
            (text(&self.home()), "[HOME]".to_owned()),
            (text(&self.base), "[TEMP]".to_owned()),
            (text(&self.python), "[PYTHON]".to_owned()),
        ]
    }
}

/// Every test's store is looked at in the end, unless the test has failed anyhow or meant to leave damage.
impl Drop for TestEnv {
    fn drop(&mut self) {
        if std::thread::panicking() || self.is_left_damaged.load(Ordering::Relaxed) {
            return;
        }
        let violations = invariants::violations(&self.store(), &self.lower_stores(), false);
        assert!(
            violations.is_empty(),
            "the test leaves a store whose invariants do not hold:\n{}",
            violations.join("\n")
        );
    }
}

impl Running {
    /// Process id of the program (or of the `setpriv` that became it).
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process can't be signalled; one that has ended can, as long as nobody waited for it.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).expect("the process has not been waited for");
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When it can't be waited for.
    pub fn is_finished(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it can't be waited for.
    #[must_use]
    pub fn wait(self) -> Output {
        let output = self.child.wait_with_output().expect("it is our child");
        Output::new(self.command, &output, self.replacements)
    }
}

/// A copy (a hard link where possible) of a program at a place that other users can reach; build folders often are not.
fn publish_binary(binary: &Path, directory: &Path) -> PathBuf {
    let target = directory.join(binary.file_name().expect("a program has a name"));
    if std::fs::hard_link(binary, &target).is_err() {
        std::fs::copy(binary, &target).expect("there is room for the program");
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    target
}

/// Number of files below a directory; none when it is absent.
fn count_files(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.file_type().is_ok_and(|kind| kind.is_dir()) { count_files(&entry.path()) } else { 1 })
        .sum()
}

fn give_to_user(path: &Path) {
    chown(path, Some(TEST_USER_ID), Some(TEST_USER_ID)).expect("root may give files away");
}
