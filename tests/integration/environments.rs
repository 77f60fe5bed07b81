//! What people do in a realized environment: pip, uv, activation, scripts, namespace packages. The store never changes.

use std::path::PathBuf;

use pip_accel_tests::{BuiltFile, Output, TestEnv, TreeDigest, WheelBuilder, host};

use crate::support::{as_root_and_user, env, lock_of};

fn alpha(version: &str) -> BuiltFile {
    let wheel = WheelBuilder::simple("alpha", version).requires("beta>=1").file("alpha/data.txt", "alpha data\n");
    wheel.file("alpha/cli.py", "def main():\n    print('alpha runs')\n").entry_point("alpha", "alpha.cli:main").build()
}

fn beta() -> BuiltFile {
    WheelBuilder::simple("beta", "1.0").data_script("beta-script", "#!python\nprint('beta script')\n").build()
}

const PKGUTIL: &str = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n";
const PKG_RESOURCES: &str = "__import__('pkg_resources').declare_namespace(__name__)\n";

/// Two distributions for each way of sharing a package; the third way has a `-nspkg.pth` and no `__init__.py`.
fn namespaces() -> Vec<BuiltFile> {
    let mut files = Vec::new();
    for part in ["one", "two"] {
        let module = format!("PART = '{part}'\n");
        let native = WheelBuilder::new(&format!("native-{part}"), "1.0").file(&format!("native/{part}.py"), &module);
        let pkgutil = WheelBuilder::new(&format!("pkgutil-{part}"), "1.0")
            .file("shared/__init__.py", PKGUTIL)
            .file(&format!("shared/{part}/__init__.py"), &module);
        let pth = "import sys, types, os; p = os.path.join(sys._getframe(1).f_locals['sitedir'], 'old'); \
                   m = sys.modules.setdefault('old', types.ModuleType('old')); \
                   mp = m.__dict__.setdefault('__path__', []); (p not in mp) and mp.append(p)\n";
        let old = WheelBuilder::new(&format!("old-{part}"), "1.0")
            .file(&format!("old_{part}-1.0-nspkg.pth"), pth)
            .file(&format!("old/{part}.py"), &module);
        files.extend([native.build(), pkgutil.build(), old.build()]);
    }
    files
}

/// An environment with pip in it, and alpha, beta and the namespace packages. `None` without a wheel of pip.
fn realized(env: &TestEnv) -> Option<TreeDigest> {
    let Some(pip) = host::wheel_of("pip") else {
        host::skip("a wheel of pip is needed (PIP_ACCEL_TEST_WHEELS); run `make test`");
        return None;
    };
    let (pip, alpha, beta, namespaces) = (BuiltFile::read(&pip), alpha("1.0"), beta(), namespaces());
    let files: Vec<&BuiltFile> = [&pip, &alpha, &beta].into_iter().chain(&namespaces).collect();
    env.lock(&files);
    env.realize(&[]).success();
    imports(env);
    Some(TreeDigest::of(&env.objects()))
}

#[track_caller]
fn imports(env: &TestEnv) {
    let code = "import alpha, beta, native.one, native.two, shared.one, shared.two, old.one, old.two\n\
        from importlib.metadata import version, files\nassert version('beta') == '1.0'\n\
        assert any(str(f).endswith('__init__.py') or str(f) == 'beta' for f in files('beta')), files('beta')\n\
        import importlib.resources as r\nprint(open(r.files('alpha') / 'data.txt').read())\n";
    env.python_code(code).success().prints("alpha data");
}

/// Runs `tool` of the environment, or pip for `pip`, and asserts that the store did not change.
struct Session<'a> {
    env: &'a TestEnv,
    objects: TreeDigest,
}

impl Session<'_> {
    #[track_caller]
    fn pip(&self, arguments: &[&str]) -> Output {
        let mut command = self.env.program(self.env.venv_program("python"));
        command.args(["-m", "pip"]).args(arguments);
        self.checked(command)
    }

    #[track_caller]
    fn uv(&self, arguments: &[&str]) -> Output {
        let uv = host::uv().expect("asked before");
        // As another user, the copy that the environment made; the tool's own place may be out of reach.
        let copy = self.env.base().join("uv");
        let mut command = self.env.program(if copy.is_file() { copy } else { uv });
        command.args(["pip"]).args(arguments).arg("--python").arg(self.env.venv_program("python"));
        self.checked(command)
    }

    #[track_caller]
    fn checked(&self, command: std::process::Command) -> Output {
        let output = self.env.finish(command);
        self.objects.assert_unchanged(&self.env.objects());
        self.env.run(["verify"]).success();
        output
    }
}

/// Runs a test in a realized environment, as root and as a user.
fn in_environment(test: impl Fn(&Session<'_>)) {
    as_root_and_user(|env| {
        if let Some(objects) = realized(&env) {
            test(&Session { env: &env, objects });
        }
    });
}

#[test]
fn pip_lists_checks_and_freezes() {
    in_environment(|session| {
        let listed = session.pip(&["list", "--format", "json"]).success().json();
        assert_eq!(listed.as_array().unwrap().len(), 9, "{listed}");
        session.pip(&["check"]).success();
        session.pip(&["freeze"]).success().prints("alpha==1.0");
        session.pip(&["show", "-f", "alpha"]).success().prints("Version: 1.0");
    });
}

#[test]
fn pip_uninstalls() {
    in_environment(|session| {
        session.pip(&["uninstall", "-y", "alpha"]).success();
        session.env.python_code("import alpha").fails_with(1);
        assert!(!session.env.venv_program("alpha").exists());
        session.pip(&["uninstall", "-y", "native-one", "pkgutil-one", "old-one"]).success();
        session.env.python_code("import native.two, shared.two, old.two, beta").success();
        session.env.python_code("import native.one").fails_with(1);
        // And it comes back.
        session.env.realize(&[]).success();
        imports(session.env);
    });
}

#[test]
fn pip_upgrades_and_installs_beside() {
    in_environment(|session| {
        session.env.add(&alpha("2.0"));
        session.env.add(&WheelBuilder::new("native-three", "1.0").file("native/three.py", "").build());
        let install = ["install", "-U", "alpha", "native-three", "--no-index", "--find-links", "../files"];
        session.pip(&install).success();
        assert_eq!(session.env.evaluate("import alpha, native.one, native.three", "alpha.__version__"), "2.0");
        session.pip(&["check"]).success();
    });
}

#[test]
fn uv_lists_and_checks() {
    if host::uv().is_none() {
        return host::skip("uv is needed (PIP_ACCEL_TEST_UV)");
    }
    in_environment(|session| {
        let listed = session.uv(&["list", "--format", "json"]).success().json();
        assert_eq!(listed.as_array().unwrap().len(), 9, "{listed}");
        session.uv(&["check"]).success();
    });
}

#[test]
fn uv_uninstalls() {
    if host::uv().is_none() {
        return host::skip("uv is needed (PIP_ACCEL_TEST_UV)");
    }
    in_environment(|session| {
        session.uv(&["uninstall", "alpha", "native-one", "pkgutil-one"]).success();
        session.env.python_code("import alpha").fails_with(1);
        session.env.python_code("import native.two, shared.two, beta").success();
        assert!(!session.env.venv_program("alpha").exists());
    });
}

#[test]
fn uv_upgrades_and_installs_beside() {
    if host::uv().is_none() {
        return host::skip("uv is needed (PIP_ACCEL_TEST_UV)");
    }
    in_environment(|session| {
        session.env.add(&alpha("2.0"));
        session.env.add(&WheelBuilder::new("native-three", "1.0").file("native/three.py", "").build());
        let install = ["install", "-U", "alpha", "native-three", "--no-index", "--find-links", "../files"];
        session.uv(&install).success();
        assert_eq!(session.env.evaluate("import alpha, native.one, native.three", "alpha.__version__"), "2.0");
    });
}

#[test]
fn console_scripts_and_modules_run() {
    in_environment(|session| {
        session.checked(session.env.program(session.env.venv_program("alpha"))).success().prints("alpha runs");
        session.checked(session.env.program(session.env.venv_program("beta-script"))).success().prints("beta script");
        let mut module = session.env.program(session.env.venv_program("python"));
        module.args(["-m", "pip", "--version"]);
        session.checked(module).success().prints("pip ");
    });
}

/// Activation as people type it, in each shell that the machine has.
#[test]
fn activation_works_in_every_shell() {
    in_environment(|session| {
        // One command a line and from a file: csh knows an alias only from the line after the one that makes it.
        for (shell, suffix, last) in [
            ("bash", "", "echo \"<${VIRTUAL_ENV-}>\""),
            ("fish", ".fish", "echo \"<$VIRTUAL_ENV>\""),
            ("csh", ".csh", "if (! $?VIRTUAL_ENV) echo '<>'"),
        ] {
            if host::program(shell).is_none() {
                host::skip(&format!("{shell} is not installed"));
                continue;
            }
            let mut command = session.env.program(shell);
            let prompt = if shell == "csh" { "set prompt = '%'\n" } else { "" };
            let script = format!(
                "{prompt}source .venv/bin/activate{suffix}\nwhich alpha\nalpha\necho \"<$VIRTUAL_ENV>\"\ndeactivate\n{last}\n"
            );
            command.arg(session.env.write("activation", script));
            let output = session.checked(command).success();
            let venv = session.env.venv();
            output
                .prints("alpha runs")
                .prints(&format!("<{}>", venv.display()))
                .prints("<>")
                .prints(&format!("{}/bin/alpha", venv.display()));
        }
    });
}

/// Old-style namespaces that ask pkg_resources at import time, with a setuptools that still has it.
#[test]
fn pkg_resources_namespaces_merge() {
    let env = env();
    let parts = ["one", "two"].map(|part| {
        WheelBuilder::new(&format!("declared-{part}"), "1.0")
            .file("declared/__init__.py", PKG_RESOURCES)
            .file(&format!("declared/{part}.py"), format!("PART = '{part}'\n"))
            .build()
    });
    // A stand-in with the one function: current releases of setuptools have dropped the module.
    let stand_in = "import pkgutil, sys\ndef declare_namespace(name):\n    m = sys.modules[name]\n\
        \x20   m.__path__ = pkgutil.extend_path(m.__path__, name)\n";
    let stand_in = WheelBuilder::new("stand-in", "1.0").file("pkg_resources.py", stand_in).build();
    env.lock(&[&parts[0], &parts[1], &stand_in]);
    env.realize(&[]).success();
    env.python_code("import declared.one, declared.two").success();
    assert!(std::fs::read_link(env.site_packages().join("declared")).is_err(), "a shared folder must be real");
}

/// CMake's wheel looks for its programs in the list of its installed files; here is one that does the same.
#[test]
fn packages_find_their_own_files() {
    let env = env();
    let source = "from importlib.metadata import distribution\n\
        FOUND = [f.locate() for f in distribution('Finder').files if str(f).startswith('finder/data/')]\n\
        assert FOUND, 'its data are not listed'\n\
        TEXT = open(FOUND[0]).read()\n";
    let finder = WheelBuilder::new("finder", "1.0")
        .file("finder/__init__.py", source)
        .file("finder/data/one.txt", "one")
        .build();
    env.lock(&[&finder]);
    env.realize(&[]).success();
    assert_eq!(env.evaluate("import finder", "finder.TEXT"), "one");
    assert!(std::fs::read_link(env.site_packages().join("finder/data/one.txt")).is_ok(), "files are links nonetheless");
    env.verify_clean();
}

/// E16: two packages with the same file: named, and the result does not depend on their order in the lock.
#[test]
fn clashes_are_named_and_independent_of_order() {
    let wheel = |name: &str| {
        let wheel = WheelBuilder::simple(name, "1.0")
            .file("common/__init__.py", "")
            .file("common/data.txt", format!("from {name}\n"));
        wheel
            .file(&format!("common/{name}.py"), "")
            .data_file("data", "share/clash.txt", format!("from {name}\n"))
            .build()
    };
    let files = [wheel("aa"), wheel("bb"), wheel("cc")];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut results = Vec::new();
    for order in orders {
        let env = env();
        let lock = lock_of(&env, &order.map(|index| &files[index]));
        env.write("requirements.lock", lock.text());
        env.realize(&[]).success().says("common/data.txt");
        env.python_code("import common.aa, common.bb, common.cc").success();
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        results.push((read(env.site_packages().join("common/data.txt")), read(env.venv().join("share/clash.txt"))));
        env.verify_clean();
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
}

/// E16: when the package that won is taken out of the lock, the other's file appears.
#[test]
fn removing_a_clashing_package_restores_the_hidden_file() {
    let wheel = |name: &str| WheelBuilder::new(name, "1.0").file("common.txt", format!("from {name}\n")).build();
    let (first, second) = (wheel("aa"), wheel("bb"));
    for remaining in [&first, &second] {
        let env = env();
        env.lock(&[&first, &second]);
        env.realize(&[]).success();
        env.lock(&[remaining]);
        env.realize(&[]).success();
        let text = std::fs::read_to_string(env.site_packages().join("common.txt")).unwrap();
        assert_eq!(text, format!("from {}\n", remaining.name));
    }
}

/// An ELF file whose RPATH leaves its folder (`$ORIGIN/../other`) finds its library under links.
#[test]
fn libraries_across_packages_are_found() {
    let env = env();
    let library = pip_accel_tests::SdistBuilder::simple("libside", "1.0").during_build(
        "import subprocess\nopen('a.c', 'w').write('int side(void) { return 7; }')\n\
         subprocess.check_call(['cc', '-shared', '-fPIC', '-Wl,-soname,libside.so', 'a.c', '-o', 'src/libside/libside.so'])\n",
    );
    let user = pip_accel_tests::SdistBuilder::simple("mainside", "1.0").during_build(
        "import subprocess\nopen('a.c', 'w').write('int side(void) { return 0; }')\n\
         open('b.c', 'w').write('int side(void); int twice(void) { return 2 * side(); }')\n\
         subprocess.check_call(['cc', '-shared', '-fPIC', '-Wl,-soname,libside.so', 'a.c', '-o', 'libside.so'])\n\
         subprocess.check_call(['cc', '-shared', '-fPIC', 'b.c', '-L.', '-lside', '-Wl,-rpath,$ORIGIN/../libside', '-o', 'src/mainside/libmain.so'])\n",
    );
    env.lock(&[&library.build(), &user.build()]);
    env.realize(&[]).success();
    let expression = "ctypes.CDLL(os.path.dirname(mainside.__file__) + '/libmain.so').twice()";
    assert_eq!(env.evaluate("import ctypes, os, mainside", expression), "14");
}
