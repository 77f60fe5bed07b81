//! Every operation that writes into the store, each on a world of its own with what has to hold before and after it:
//! for the tests that kill it (`crash_points`) and those that make its calls fail (`faults`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use pip_accel_tests::{BuiltFile, Output, SdistBuilder, TestEnv, WheelBuilder, host};

use crate::bundles::{BUNDLE, bundle};
use crate::store_repair::{corrupt, remove_tree, source, tree};
use crate::support::{env, exit, lock_of};

/// The exit code of a process that was killed, as shells put it.
pub(crate) const KILLED: i32 = 128 + 9;

/// What the state is to be judged as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The operation was ended before it had succeeded.
    Ended,
    /// It has succeeded, at once or when repeated.
    Done,
}

/// An operation under test.
pub(crate) struct Operation {
    /// For messages.
    pub(crate) name: &'static str,
    /// The world before it; `None` when it can't be had here.
    pub(crate) prepare: fn() -> Option<TestEnv>,
    /// The command line.
    pub(crate) arguments: &'static [&'static str],
    /// Whether the store is damaged until it has succeeded.
    pub(crate) mends: bool,
    /// Its exit code where it finds what it can't mend, besides 0.
    pub(crate) code: i32,
    /// Asserts what has to hold.
    pub(crate) check: fn(&TestEnv, When),
}

impl Operation {
    /// Asserts that the store is whole, but for what could not be repaired.
    pub(crate) fn look_in_the_end(&self, env: &TestEnv) {
        if self.code == 0 {
            env.verify_clean();
        } else {
            env.run(["verify"]).success();
        }
    }

    /// Asserts that the store is as whole as it was before, once the program was started again.
    pub(crate) fn look(&self, env: &TestEnv, context: &str) {
        let verified = env.run(["verify"]);
        if lacks_database(&verified) {
            assert_eq!(self.name, "rebuild-db", "{context}: {verified:?}");
        } else if verified.stderr.contains("there is no store") {
            assert_eq!(self.name, "a first realize", "{context}: {verified:?}");
        } else if !self.mends {
            assert_eq!(verified.code, 0, "{context}: the store is damaged\n{verified:?}");
            env.check_invariants();
        }
    }
}

/// Whether this is what every command says between the old database and the new one.
fn lacks_database(output: &Output) -> bool {
    output.code == exit::STORE_DAMAGED && output.stderr.contains("--rebuild-db")
}

/// All of them.
pub(crate) fn all() -> Vec<Operation> {
    let plain = |name, prepare, arguments, check| Operation { name, prepare, arguments, mends: false, code: 0, check };
    let mending =
        |name, prepare, arguments, code, check| Operation { name, prepare, arguments, mends: true, code, check };
    let realize: &[&str] = &["realize", "requirements.lock"];
    let repair: &[&str] = &["verify", "--repair", "--offline"];
    vec![
        plain("a first realize", first_realize, realize, check_first),
        plain("realize", swap, realize, check_swap),
        plain("a protected realize", protected_swap, realize, check_swap),
        plain("a durable realize", durable_swap, realize, check_swap),
        plain("realize from a lower store", with_lower_store, realize, check_lower),
        plain("install", installed, &INSTALL, check_swap),
        plain("fetch", swap, &["fetch", "requirements.lock"], check_old),
        plain("rollback", rollback, &["rollback", "--to", "1"], check_rollback),
        plain("detach", detach, &["detach", "swap"], check_old),
        plain("gc", dead, &["gc", "--min-age", "0"], check_gc),
        plain("gc of generations", rollback, &["gc", "--min-age", "0", "--older-than", "0s"], check_expired),
        mending("a repair from a copy", damaged_with_copy, repair, 0, check_repaired),
        mending("a repair from a source", damaged_with_source, repair, 0, check_repaired),
        mending("a repair that is impossible", damaged_for_good, repair, exit::STORE_DAMAGED, check_quarantined),
        plain("optimise", equal_files, &["optimise"], check_equal),
        plain("rebuild-db", two_roots, &["verify", "--rebuild-db"], check_roots),
        plain("bundle", two_roots, &["bundle", "requirements.lock", "-o", BUNDLE], check_bundle),
        plain("unbundle", far, &["unbundle", BUNDLE], check_unbundled),
        plain("roots pin", two_roots, &["roots", "pin", "requirements.lock", "release"], check_pinned),
        plain("roots remove", two_roots, &["roots", "remove", "kept"], check_removed),
    ]
}

fn version(version: &str) -> BuiltFile {
    WheelBuilder::simple("swap", version).file("swap/part.py", format!("VALUE = '{version}'\n")).build()
}

/// The versions of the package and its part, as the environment's Python sees them.
fn versions(env: &TestEnv) -> String {
    env.evaluate("import swap, swap.part", "swap.__version__, swap.part.VALUE")
}

fn is_there(env: &TestEnv, part: &str) -> bool {
    env.object_names().iter().any(|object| object.contains(part))
}

/// Nothing yet, not even a store.
fn first_realize() -> Option<TestEnv> {
    let env = env();
    env.lock(&[&version("1.0"), &SdistBuilder::simple("built", "1.0").build()]);
    Some(env)
}

fn check_first(env: &TestEnv, when: When) {
    if when == When::Done || env.venv().exists() {
        assert_eq!(env.evaluate("import swap, built", "swap.__version__"), "1.0");
    }
}

/// An environment, and a lock that is for another one in its place.
fn swap() -> Option<TestEnv> {
    let env = env();
    env.lock(&[&version("1.0")]);
    env.realize(&[]).success();
    env.lock(&[&version("2.0"), &WheelBuilder::simple("other", "1.0").build()]);
    Some(env)
}

/// Installs the newer version over the older one.
const INSTALL: [&str; 7] = ["install", "--venv", ".venv", "--no-index", "-f", "../files", "swap>=2"];

/// An environment that `install` made, and a newer version to install.
fn installed() -> Option<TestEnv> {
    if host::uv().is_none() {
        pip_accel_tests::skip("there is no uv");
        return None;
    }
    let env = env();
    env.add(&version("1.0"));
    let python = env.python();
    let first = ["install", "--venv", ".venv", "--python", python.to_str()?, "--no-index", "-f", "../files", "swap"];
    env.run(first).success();
    env.add(&version("2.0"));
    Some(env)
}

fn protected_swap() -> Option<TestEnv> {
    let mut env = env();
    env.set("PIP_ACCEL_PROTECT", "immutable");
    env.lock(&[&version("1.0")]);
    let can = host::is_root() && env.realize(&[]).code == 0;
    env.lock(&[&version("2.0"), &WheelBuilder::simple("other", "1.0").build()]);
    can.then_some(env)
}

/// Everything is synced before it counts.
fn durable_swap() -> Option<TestEnv> {
    let mut env = swap()?;
    env.set("PIP_ACCEL_DURABILITY", "full");
    Some(env)
}

fn check_swap(env: &TestEnv, when: When) {
    let versions = versions(env);
    match when {
        When::Ended => assert!(["1.0 1.0", "2.0 2.0"].contains(&versions.as_str()), "{versions}"),
        When::Done => assert_eq!(versions, "2.0 2.0"),
    }
}

/// A lower store that has the package, which nothing of its own keeps there.
fn with_lower_store() -> Option<TestEnv> {
    let mut env = env();
    let lower = env.project().join(LOWER);
    env.lock(&[&version("1.0"), &WheelBuilder::simple("other", "1.0").build()]);
    let first = ["--store", LOWER, "realize", "requirements.lock", "--venv", "owners"];
    env.run(first).success();
    fs::remove_dir_all(env.project().join("owners")).expect("it is there");
    env.set("PIP_ACCEL_LOWER_STORES", &lower);
    env.run(["gc"]).success();
    Some(env)
}

const LOWER: &str = "lower";

/// What was said to the lower store's owner is enough once the environment is there, whatever he then deletes.
fn check_lower(env: &TestEnv, when: When) {
    if when == When::Done {
        env.run(["--store", LOWER, "gc", "--min-age", "0"]).success();
    }
    if when == When::Done || env.venv().exists() {
        assert_eq!(env.evaluate("import swap, other", "swap.__version__"), "1.0");
    }
    env.run(["--store", LOWER, "verify"]).success();
}

fn check_old(env: &TestEnv, _when: When) {
    assert_eq!(versions(env), "1.0 1.0");
}

fn detach() -> Option<TestEnv> {
    let env = env();
    env.lock(&[&version("1.0")]);
    env.realize(&[]).success();
    Some(env)
}

/// An environment with an earlier generation.
fn rollback() -> Option<TestEnv> {
    let env = swap()?;
    env.realize(&[]).success();
    Some(env)
}

fn check_rollback(env: &TestEnv, when: When) {
    let versions = versions(env);
    match when {
        When::Ended => assert!(["1.0 1.0", "2.0 2.0"].contains(&versions.as_str()), "{versions}"),
        When::Done => assert_eq!(versions, "1.0 1.0"),
    }
}

fn check_expired(env: &TestEnv, when: When) {
    assert_eq!(versions(env), "2.0 2.0");
    env.run(["generations"]).success();
    assert!(is_there(env, "-swap-2.0"));
    assert!(when == When::Ended || !is_there(env, "-swap-1.0"), "{:?}", env.object_names());
}

/// An environment, and objects that an environment had which is gone.
fn dead() -> Option<TestEnv> {
    let env = env();
    let (kept, dead) = (WheelBuilder::simple("kept", "1.0").build(), WheelBuilder::simple("dead", "1.0").build());
    env.write("dead.lock", lock_of(&env, &[&dead]).text());
    env.run(["realize", "dead.lock", "--venv", "doomed"]).success();
    env.lock(&[&kept]);
    env.realize(&[]).success();
    fs::remove_dir_all(env.project().join("doomed")).expect("it is there");
    Some(env)
}

fn check_gc(env: &TestEnv, when: When) {
    env.python_code("import kept").success();
    assert!(is_there(env, "-kept-1.0"));
    assert!(when == When::Ended || !is_there(env, "-dead-1.0"), "{:?}", env.object_names());
}

/// Long enough to be shared between objects.
const LONG: &str = "VALUE = 'a value that is long enough to be shared between objects, as most files are'\n";

fn two_packages(content: &str) -> TestEnv {
    let env = env();
    let package = |name: &str| {
        let own =
            format!("NAME = '{name}, which no other file of the store has, and which is long enough to be shared'\n");
        let wheel = WheelBuilder::simple(name, "1.0").file(&format!("{name}/value.py"), content);
        wheel.file(&format!("{name}/own.py"), own).build()
    };
    env.lock(&[&package("first"), &package("second")]);
    env.realize(&[]).success();
    env
}

/// One of two names of a content leads to other bytes, whose time and mode do not tell.
fn damaged_with_copy() -> Option<TestEnv> {
    let env = two_packages(LONG);
    let file = tree(&env, "first").join("site/first/value.py");
    let folder = file.parent().expect("a file is in a folder").to_owned();
    write_through(&folder, || {
        fs::remove_file(&file).expect("root or owner");
        fs::write(&file, LONG.replace("most", "some")).expect("root or owner");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).expect("it is ours");
        set_canonical_time(&file);
    });
    Some(env)
}

/// Lets `change` write into a folder of the store, whose mode and time then are as before.
fn write_through(folder: &Path, change: impl FnOnce()) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
    change();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).expect("it is ours");
    set_canonical_time(folder);
}

fn set_canonical_time(path: &Path) {
    let opened = fs::File::open(path).expect("it is there");
    opened.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800)).expect("it is ours");
}

/// A tree of which only the source can give the right bytes again.
fn damaged_with_source() -> Option<TestEnv> {
    let env = two_packages(LONG);
    corrupt(&tree(&env, "first").join("site/first/own.py"));
    corrupt(&tree(&env, "second").join("site/second/value.py"));
    Some(env)
}

fn check_repaired(env: &TestEnv, when: When) {
    if when == When::Done {
        assert_eq!(env.evaluate("import first.value, second.value", "first.value.VALUE[-9:]"), "files are");
    }
}

/// The same without the source.
fn damaged_for_good() -> Option<TestEnv> {
    let env = two_packages(LONG);
    env.leave_damaged();
    remove_tree(&source(&env, "first"));
    corrupt(&tree(&env, "first").join("site/first/own.py"));
    Some(env)
}

fn check_quarantined(env: &TestEnv, when: When) {
    env.python_code("import second.value").success();
    assert!(when == When::Ended || !is_there(env, "-first-1.0"), "{:?}", env.object_names());
}

/// Files that are too short to be shared while they are written.
fn equal_files() -> Option<TestEnv> {
    Some(two_packages("VALUE = 'short'\n"))
}

fn check_equal(env: &TestEnv, when: When) {
    assert_eq!(
        env.evaluate("import first.value, second.value", "first.value.VALUE, second.value.VALUE"),
        "short short"
    );
    if when == When::Done {
        env.run(["optimise"]).success().says("0 of ");
    }
}

/// An environment, and a pin on an object that nothing else needs.
fn two_roots() -> Option<TestEnv> {
    let env = env();
    env.write("pinned.lock", lock_of(&env, &[&WheelBuilder::simple("pinned", "1.0").build()]).text());
    env.run(["realize", "pinned.lock", "--venv", "gone"]).success();
    env.run(["roots", "pin", "pinned.lock", "kept"]).success();
    fs::remove_dir_all(env.project().join("gone")).expect("it is there");
    env.run(["gc", "--min-age", "0"]).success();
    env.lock(&[&version("1.0"), &SdistBuilder::simple("built", "1.0").build()]);
    env.realize(&[]).success();
    Some(env)
}

fn pins(env: &TestEnv) -> Vec<String> {
    let roots = env.run(["roots"]).success().stdout;
    roots.lines().filter_map(|line| line.strip_prefix("pin ")).map(str::to_owned).collect()
}

/// Whatever else: nothing that a root keeps is lost.
fn check_roots(env: &TestEnv, when: When) {
    if when == When::Ended && lacks_database(&env.run(["roots"])) {
        return;
    }
    assert_eq!(pins(env), ["kept"]);
    env.run(["gc", "--min-age", "0"]).success();
    assert_eq!(env.evaluate("import swap, built", "swap.__version__"), "1.0");
    assert!(is_there(env, "-pinned-1.0"));
}

fn check_bundle(env: &TestEnv, when: When) {
    let files = fs::read_dir(env.project()).expect("it is there").flatten();
    let partial = files.filter(|entry| entry.file_name().to_string_lossy().ends_with(".partial")).count();
    assert!(partial == 0 || when == When::Ended, "what a killed process left is still there");
    let made = env.project().join(BUNDLE);
    if when == When::Done || made.exists() {
        env.run(["unbundle", BUNDLE, "--pin", "kept-too"]).success().says("0 new");
        env.run(["roots", "remove", "kept-too"]).success();
    }
    assert_eq!(pins(env), ["kept"]);
}

/// A store that has nothing, and a bundle.
fn far() -> Option<TestEnv> {
    let (near, far) = (env(), env());
    near.lock(&[&version("1.0"), &SdistBuilder::simple("built", "1.0").build()]);
    bundle(&near, BUNDLE, &[]).success();
    for file in [BUNDLE, "requirements.lock"] {
        far.write(file, fs::read(near.project().join(file)).expect("it was written"));
    }
    far.run(["gc"]).success();
    Some(far)
}

fn check_unbundled(env: &TestEnv, when: When) {
    if when == When::Done {
        assert_eq!(pins(env).len(), 1);
        env.run(["gc", "--min-age", "0"]).success();
        env.realize(&["--offline"]).success().says("2 packages: ");
        assert_eq!(env.evaluate("import swap, built", "swap.__version__"), "1.0");
    }
}

fn check_pinned(env: &TestEnv, when: When) {
    let pins = pins(env);
    assert!(pins == ["kept", "release"] || (when == When::Ended && pins == ["kept"]), "{pins:?}");
    assert_eq!(versions(env), "1.0 1.0");
}

fn check_removed(env: &TestEnv, when: When) {
    let pins = pins(env);
    assert!(pins.is_empty() || (when == When::Ended && pins == ["kept"]), "{pins:?}");
    assert!(is_there(env, "-pinned-1.0"), "nothing was collected");
}
