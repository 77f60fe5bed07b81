//! Sdists for interpreters that today's build tools know no more: CPython 2.7, 3.6 and 3.7; and PyPy.

use std::path::PathBuf;

use pip_accel_tests::host::HostInterpreter;
use pip_accel_tests::index_server::IndexServer;
use pip_accel_tests::{BuiltFile, SdistBackend, SdistBuilder, TestEnv, WheelBuilder, host};

use crate::support::{env, lock_of};

/// Wheels that build for the interpreter: those of its time, or of today.
fn tools(python: &HostInterpreter) -> Vec<PathBuf> {
    // Today's setuptools wants 3.10.
    match python.version >= (3, 10, 0) {
        true => ["setuptools", "wheel", "packaging"].iter().filter_map(|name| host::wheel_of(name)).collect(),
        false => host::legacy_wheels(),
    }
}

/// The machine's old interpreters and PyPys for which there are tools.
fn pythons() -> Vec<HostInterpreter> {
    let mut found = host::interpreters();
    found.retain(|python| !python.is_fully_supported() || python.implementation == "PyPy");
    if found.is_empty() {
        host::skip("there is neither an interpreter older than 3.8 nor a PyPy");
    }
    if host::legacy_wheels().is_empty() || host::uv().is_none() {
        host::skip("PIP_ACCEL_TEST_WHEELS has no tools for old interpreters; run `make test`");
        found.clear();
    }
    found
}

fn world(python: &HostInterpreter) -> (TestEnv, String) {
    let env = env();
    for tool in tools(python) {
        env.add(&BuiltFile::read(&tool));
    }
    (env, python.path.to_string_lossy().into_owned())
}

/// Whether C code can be compiled for the interpreter; Debian has PyPy's headers in a package of their own.
fn has_headers(env: &TestEnv, python: &HostInterpreter) -> bool {
    let mut command = env.program(&python.path);
    command.args(["-c", "import sysconfig; print(sysconfig.get_paths()['include'])"]);
    let folder = env.finish(command).success().stdout.trim().to_owned();
    let is_there = std::path::Path::new(&folder).join("Python.h").is_file();
    if !is_there {
        host::skip(&format!("there is no Python.h for {}", python.path.display()));
    }
    is_there
}

/// A `setup.py` that has `helper` in its `setup_requires` and imports it while the wheel is made.
const ASKS_FOR_HELPER: &str = "if 'bdist_wheel' in sys.argv:\n\
    \x20   import helper\n\
    \x20   print('helper is ' + helper.__version__)\n\
    own_setup = setup\n\
    def setup(**words):\n\
    \x20   own_setup(setup_requires=['helper'], **words)\n";

/// Pure ones, C code, and what only `setup.py` itself says it needs.
#[test]
fn old_interpreters_build_and_import_sdists() {
    for python in pythons() {
        let (env, path) = world(&python);
        let pure = SdistBuilder::simple("pure", "1.0").backend(SdistBackend::SetupPy).build();
        let c = SdistBuilder::simple("with-c", "1.0").backend(SdistBackend::SetupPy).answer_extension().build();
        let asks =
            SdistBuilder::simple("asks", "1.0").backend(SdistBackend::SetupPy).during_build(ASKS_FOR_HELPER).build();
        let hooks =
            SdistBuilder::simple("hooks", "1.0").backend(SdistBackend::Setuptools).build_requires("wheel").build();
        env.add(&WheelBuilder::simple("helper", "7.0").tag("py2.py3-none-any").build());
        let has_headers = has_headers(&env, &python);
        let files = [&pure, &asks, &hooks, &c];
        let count = if has_headers { 4 } else { 3 };
        env.write("requirements.lock", lock_of(&env, &files[..count]).text());
        let (major, minor, _) = python.version;
        env.realize(&["--python", &path])
            .success()
            .says(&format!("{count} packages: 0 from the store, 0 fetched, {count} built"));
        let imports = "import pure, hooks, asks, sys";
        let seen = env.evaluate(imports, "'%d.%d' % sys.version_info[:2]");
        assert_eq!(seen, format!("{major}.{minor}"), "{path}");
        env.run(["log", "asks"]).success().prints("helper is 7.0");
        if has_headers {
            assert_eq!(env.evaluate("from with_c import _answer", "_answer.answer()"), "42", "{path}");
            let tag = if python.implementation == "PyPy" { "pp" } else { "cp" };
            let (names, stem) = (env.object_names(), format!("with-c-1.0-{tag}{major}{minor}-"));
            assert!(names.iter().any(|name| name.contains(&stem)), "{names:?}");
        }
        let again = env.realize(&["--python", &path, "--venv", "other", "--offline"]).success();
        again.says(&format!("{count} from the store"));
        assert_eq!(env.builds(), count);
        env.verify_clean();
    }
}

/// Tools that are too new for an sdist give way to those of its day, whatever the interpreter.
#[test]
fn old_interpreters_build_with_requirements_of_a_day() {
    for python in pythons().into_iter().filter(|python| !python.is_fully_supported()) {
        let (mut env, path) = world(&python);
        // One that every old interpreter has is newer than this.
        let bundled = python
            .path
            .parent()
            .and_then(std::path::Path::parent)
            .map(|prefix| prefix.join(format!("lib/python{}/ensurepip/_bundled", python.short_version())));
        let entries = bundled.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let old = entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("setuptools-"));
        let Some(old) = old.map(|path| BuiltFile::read(&path)) else { continue };
        let code = format!(
            "import setuptools\nif setuptools.__version__ != '{}':\n    raise ImportError(\"No module named 'setuptools.gone'\")\n",
            old.version
        );
        let sdist = SdistBuilder::simple("package", "1.0").backend(SdistBackend::SetupPy).during_build(&code).build();
        env.add(&old);
        env.add(&sdist);
        let mut server = IndexServer::start(&env.files());
        for tool in tools(&python) {
            let name = tool.file_name().expect("it is a file").to_string_lossy().into_owned();
            let day = if name.starts_with("setuptools") { "2098-01-01T00:00:00Z" } else { "2019-01-01T00:00:00Z" };
            server = server.with_upload_time(&name, day);
        }
        server = server.with_upload_time(&old.file_name, "2019-01-01T00:00:00Z");
        server = server.with_upload_time(&sdist.file_name, "2097-05-05T01:02:03Z");
        env.unset("UV_OFFLINE");
        let lock = format!("--index-url {}\npackage==1.0 {}\n", server.index_url(), sdist.hash_option());
        env.write("requirements.lock", lock);
        let output = env.realize(&["--python", &path]).success();
        output
            .says("package==1.0 does not build with the newest build requirements")
            .says("trying those of 2097-05-05");
        env.run(["show", "package"]).success().prints(&format!("setuptools=={}", old.version));
        env.python_code("import package").success();
    }
}
