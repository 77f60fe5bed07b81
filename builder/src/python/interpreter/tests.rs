//! Against the interpreters of this machine, and against trees that only look like them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::OnceLock;

use pip_accel_schema::wheel::TagSet;

use super::*;
use crate::python::default_index::{DefaultIndexError, default_index, query_default_index};
use crate::python::marker::Marker;
use crate::python::version::Version;

/// The interpreters of this machine; at least the one that the tests of this workspace need anyway.
fn installed() -> &'static [PythonInstallation] {
    static INSTALLED: OnceLock<Vec<PythonInstallation>> = OnceLock::new();
    INSTALLED.get_or_init(ask_all)
}

#[expect(clippy::disallowed_methods, reason = "the tests ask which interpreters this machine has")]
fn ask_all() -> Vec<PythonInstallation> {
    let search = SearchPath {
        path_env: std::env::var_os("PATH"),
        pyenv_root: std::env::var_os("PYENV_ROOT").map(PathBuf::from),
        ..SearchPath::default()
    };
    let found = list(&search);
    assert!(!found.is_empty(), "the tests need a Python");
    let query = |found: &Found| match query(&found.path) {
        Ok(installation) => Some(installation),
        Err(InterpreterError::Unsupported { .. }) => None,
        Err(error) => panic!("{found}: {error:?}"),
    };
    found.iter().filter_map(query).collect()
}

/// The newest `packaging` that a pip of this machine carries, as a folder for `sys.path`, and its version.
fn newest_packaging() -> &'static (String, Vec<u32>) {
    static NEWEST: OnceLock<(String, Vec<u32>)> = OnceLock::new();
    NEWEST.get_or_init(|| {
        let script = "import os, pip._vendor.packaging as p\n\
            folder = os.path.dirname(os.path.dirname(p.__file__))\n\
            sys.stdout.write(json.dumps([folder, p.__version__]))";
        let parse = |value| {
            let (folder, version): (String, String) = serde_json::from_value(value).expect("two texts");
            (folder, version.split('.').map_while(|part| part.parse().ok()).collect::<Vec<u32>>())
        };
        let all = installed().iter().filter_map(|installation| run_json(installation, script, &[])).map(parse);
        all.max_by_key(|(_, version)| version.clone()).expect("the tests need a Python with pip")
    })
}

/// Runs `script` with the newest `packaging`, or says that this interpreter can't import it.
fn with_packaging(installation: &PythonInstallation, script: &str, arguments: &[&str]) -> Option<serde_json::Value> {
    if installation.interpreter.version < version([3, 8, 0]) {
        return None;
    }
    let (folder, _) = newest_packaging();
    run_json(installation, &format!("sys.path.insert(0, {folder:?})\n{script}"), arguments)
}

/// What a script prints as JSON, or nothing if it can't import what it needs.
fn run_json(installation: &PythonInstallation, script: &str, arguments: &[&str]) -> Option<serde_json::Value> {
    let text = format!("import sys, json\nsys.path[:] = [p for p in sys.path if p]\n{script}");
    let options: &[&str] = if installation.interpreter.version.major == 2 { &["-E", "-s"] } else { &["-I"] };
    match run_script(&installation.executable, Script { options, text: &text, arguments }) {
        Ok(answer) => Some(serde_json::from_str(&answer).expect("JSON")),
        Err(ScriptError::Failed { message, .. })
            if ["No module", "SyntaxError", "ImportError"].iter().any(|name| message.contains(name)) =>
        {
            None
        }
        Err(error) => panic!("{}: {error}", installation.executable.display()),
    }
}

#[test]
fn every_interpreter_of_this_machine_answers() {
    for installation in installed() {
        let interpreter = &installation.interpreter;
        let label = interpreter.label();
        assert!(installation.executable.is_absolute(), "{label}");
        assert_eq!(fs::canonicalize(&installation.executable).expect("it exists"), installation.executable);
        assert!(interpreter.site_packages.ends_with("/site-packages"), "{label}: {}", interpreter.site_packages);
        assert!(!interpreter.site_packages.contains("local"), "{label}: {}", interpreter.site_packages);
        assert!(interpreter.compile_settings.contains_key("CC"), "{label}");
        assert_eq!(interpreter.markers.python_full_version, interpreter.full_version, "{label}");
        let names: Vec<&str> = installation.activation_templates.iter().map(|t| t.file_name.as_str()).collect();
        for name in ["activate", "activate.csh", "activate.fish"] {
            assert!(names.contains(&name), "{label}: {names:?}");
        }
        let shown = installation.runtime_paths(None);
        assert!(!shown.is_empty(), "{label}");
        for path in &shown {
            assert!(path.exists(), "{label}: {}", path.display());
            assert_ne!(path.as_path(), Path::new("/usr"), "{label}");
            assert!(!path.starts_with("/usr") || !path.is_symlink(), "{label}: {}", path.display());
        }
        let prefix = installation.prefix.to_str().expect("UTF-8");
        if prefix.len() > 4 {
            let leaks = interpreter.compile_settings.iter().find(|(_, value)| value.contains(prefix));
            assert_eq!(leaks, None, "{label}");
        }
        let text = serde_json::to_string(&installation).expect("it can be written");
        assert_eq!(serde_json::from_str::<PythonInstallation>(&text).expect("it can be read"), *installation);
        assert!(supports_environments(interpreter).is_ok(), "{label}");
    }
}

/// Exactly the tags of the `packaging` project, in its order.
#[test]
fn tags_are_those_of_packaging() {
    let script = "from packaging import tags\n\
        sys.stdout.write(json.dumps([str(tag) for tag in tags.sys_tags()]))";
    // What the pip of an old interpreter carries lacks one tag at the end, but is else the same.
    let old_script = "from pip._vendor.packaging import tags\n\
        own = tags.Tag('cp%d%d' % sys.version_info[:2], 'none', 'any')\n\
        all_tags = list(tags.sys_tags())\n\
        index = [tag.interpreter + tag.platform for tag in all_tags].index('py%d%dany' % sys.version_info[:2])\n\
        all_tags[index:index] = [] if own in all_tags else [own]\n\
        sys.stdout.write(json.dumps([str(tag) for tag in all_tags]))";
    for installation in installed() {
        let expected = with_packaging(installation, script, &[]).or_else(|| run_json(installation, old_script, &[]));
        let Some(expected) = expected else { continue };
        let expected: Vec<String> = serde_json::from_value(expected).expect("a list");
        let tags = TagSet::for_interpreter(&installation.interpreter);
        let label = installation.interpreter.label();
        let differing = tags.as_slice().iter().zip(&expected).position(|(left, right)| left != right);
        if let Some(index) = differing {
            panic!("{label}: tag {index} is {} and not {}", tags.as_slice()[index], expected[index]);
        }
        assert_eq!(tags.as_slice().len(), expected.len(), "{label}");
    }
}

#[test]
fn marker_variables_are_those_of_packaging() {
    let script = "from packaging import markers\n\
        sys.stdout.write(json.dumps(markers.default_environment()))";
    for installation in installed() {
        let Some(expected) = with_packaging(installation, script, &[]) else { continue };
        let mut ours = serde_json::to_value(&installation.interpreter.markers).expect("JSON");
        let mut theirs = expected;
        // These two speak of the implementation's name only where the language has one.
        for map in [&mut ours, &mut theirs] {
            map.as_object_mut().expect("an object").retain(|key, _| key != "extra");
        }
        assert_eq!(ours, theirs, "{}", installation.interpreter.label());
    }
}

#[test]
fn markers_evaluate_as_in_packaging() {
    let values = ["2.7", "3", "3.0", "3.8", "3.9.1", "3.10", "3.11.*", "3.12", "3.14.0rc1", "posix", "linux", "x"];
    let version_keys = ["python_version", "python_full_version", "implementation_version"];
    let text_keys =
        ["os_name", "sys_platform", "platform_machine", "platform_python_implementation", "implementation_name"];
    let mut markers = Vec::new();
    for value in values {
        for key in version_keys {
            for operator in ["<", "<=", "==", "!=", ">=", ">", "~=", "in", "not in"] {
                markers.push(format!("{key} {operator} '{value}'"));
                markers.push(format!("'{value}' {operator} {key}"));
            }
        }
        // Texts that look like versions are compared as versions by some releases of packaging, against the standard.
        for key in text_keys.iter().filter(|_| value.parse::<Version>().is_err() && !value.ends_with('*')) {
            for operator in ["==", "!=", "in", "not in"] {
                markers.push(format!("{key} {operator} '{value}'"));
                markers.push(format!("'{value}' {operator} {key}"));
            }
        }
    }
    markers.push("os_name == 'posix' and (python_version < '3' or sys_platform == 'linux') or extra == 'x'".to_owned());
    let list = serde_json::to_string(&markers).expect("JSON");
    // Newer versions of packaging differ from older ones where a side is no version: those answer `null` here.
    let script = "from packaging.markers import Marker\n\
        def holds(text):\n\
        \x20   try: return Marker(text).evaluate({'extra': ''})\n\
        \x20   except Exception: return None\n\
        sys.stdout.write(json.dumps([holds(text) for text in json.loads(sys.argv[1])]))";
    let mut compared = 0;
    for installation in installed() {
        if installation.interpreter.version.major == 2 {
            continue;
        }
        let Some(expected) = with_packaging(installation, script, &[&list]) else { continue };
        for (text, expected) in markers.iter().zip(expected.as_array().expect("a list")) {
            let (Some(expected), Ok(marker)) = (expected.as_bool(), Marker::parse(text)) else { continue };
            let label = installation.interpreter.label();
            assert_eq!(marker.eval(&installation.interpreter.markers, &[]), expected, "{label}: {text}");
            compared += 1;
        }
    }
    assert!(compared > 200, "only {compared} markers were compared");
}

fn modern() -> PythonInstallation {
    let mut all = installed().iter();
    let builds = all.find(|installation| installation.interpreter.version >= version([3, 8, 0]));
    builds.expect("the tests need a Python 3.8 or later").clone()
}

fn make_venv(base: &PythonInstallation, folder: &Path, options: &[&str]) {
    let mut command = Command::new(&base.executable);
    command.args(["-I", "-m", "venv", "--without-pip"]).args(options).arg(folder);
    assert!(command.status().expect("python starts").success());
}

#[test]
fn virtualenvs_lead_to_their_base() {
    let base = modern();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, options) in [("links", &["--symlinks"]), ("copies", &["--copies"])] {
        let venv = folder.path().join(name);
        make_venv(&base, &venv, options);
        let found = query(&venv.join("bin/python")).expect(name);
        assert_eq!(found, base, "{name}");
        let search = SearchPath { virtual_env: Some(venv.clone()), ..SearchPath::default() };
        assert_eq!(find(None, &search).as_ref(), Ok(&base.executable), "{name}");
        assert_eq!(find(Some(venv.to_str().expect("UTF-8")), &SearchPath::default()).as_ref(), Ok(&base.executable));
        fs::write(venv.join("pyvenv.cfg"), "home = /does/not/exist\nversion = 3.9.1\n").expect("a file");
        let error = query(&venv.join("bin/python")).expect_err("the base is gone");
        assert!(matches!(error, InterpreterError::BaseGone { .. }), "{error:?}");
    }
}

#[test]
fn answers_are_remembered_until_a_file_changes() {
    let base = modern();
    let folder = tempfile::tempdir().expect("a folder");
    let venv = folder.path().join("venv");
    make_venv(&base, &venv, &["--symlinks"]);
    let known: RefCell<HashMap<Vec<u8>, Vec<u8>>> = RefCell::default();
    let get = |_: &str, key: &[u8]| known.borrow().get(key).cloned();
    let put = |namespace: &str, key: &[u8], value: &[u8]| {
        assert_eq!(namespace, INTERPRETER_NAMESPACE);
        known.borrow_mut().insert(key.to_owned(), value.to_owned());
    };
    let memo = Memo { get: &get, put: &put };
    let python = venv.join("bin/python");
    assert_eq!(query_remembered(&python, memo).expect("an answer"), base);
    assert_eq!(known.borrow().len(), 1);
    // A second answer comes from the memory: it shows what was put there.
    let label = "remembered";
    for value in known.borrow_mut().values_mut() {
        let mut installation: PythonInstallation = serde_json::from_slice(value).expect("an installation");
        installation.interpreter.full_version = label.to_owned();
        installation.interpreter.markers.platform_release = "another kernel".to_owned();
        *value = serde_json::to_vec(&installation).expect("JSON");
    }
    let remembered = query_remembered(&python, memo).expect("an answer");
    assert_eq!(remembered.interpreter.full_version, label);
    assert_eq!(remembered.interpreter.markers.platform_release, base.interpreter.markers.platform_release);
    let file = venv.join("pyvenv.cfg");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, format!("{text}\n# touched\n")).expect("a file");
    assert_eq!(query_remembered(&python, memo).expect("an answer"), base);
    assert_eq!(known.borrow().len(), 2);
    known.borrow_mut().values_mut().for_each(|value| *value = b"rubbish".to_vec());
    assert_eq!(query_remembered(&python, memo).expect("an answer"), base);
}

#[test]
fn what_is_no_interpreter_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(query(&folder.path().join("none")), Err(InterpreterError::Missing { .. })));
    let fake = program(folder.path(), "python3", "#!/bin/sh\necho hello\n");
    let error = query(&fake).expect_err("an error");
    assert!(matches!(error, InterpreterError::Answer { .. }), "{error:?}");
    let fake = program(folder.path(), "python3", "#!/bin/sh\necho broken >&2; exit 1\n");
    let error = query(&fake).expect_err("an error");
    assert!(matches!(error, InterpreterError::Script { source: ScriptError::Failed { .. }, .. }), "{error:?}");
}

/// Writes an executable file.
fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::canonicalize(path).expect("it exists")
}

/// A program that says it is this version of CPython.
fn fake_python(folder: &Path, name: &str, version: &str) -> PathBuf {
    program(folder, name, &format!("#!/bin/sh\nprintf 'cpython {version} -'\n"))
}

/// A pyenv with two versions, 3.11.4 enabled, and a PATH with its shims and one more folder.
fn fake_machine(root: &Path) -> (SearchPath, HashMap<&'static str, PathBuf>) {
    let pyenv = root.join("pyenv");
    let mut programs = HashMap::new();
    for version in ["3.11.4", "3.9.18", "3.9.2"] {
        let bin = pyenv.join("versions").join(version).join("bin");
        let minor = version.rsplit_once('.').expect("three parts").0;
        programs.insert(version, fake_python(&bin, &format!("python{minor}"), version));
        for name in ["python3", "python"] {
            symlink(format!("python{minor}"), bin.join(name)).expect("a link");
        }
    }
    for name in ["python", "python3", "python3.11", "python3.9"] {
        program(&pyenv.join("shims"), name, "#!/usr/bin/env bash\nexec pyenv exec \"$0\"\n");
    }
    fs::write(pyenv.join("version"), "3.11.4\n").expect("a file");
    let bin = root.join("bin");
    programs.insert("3.7.1", fake_python(&bin, "python3.7", "3.7.1"));
    programs.insert("4.2.1", fake_python(&bin, "mypython", "4.2.1"));
    let cwd = root.join("cwd");
    fs::create_dir_all(&cwd).expect("a folder");
    let path = std::env::join_paths([pyenv.join("shims"), bin]).expect("a PATH");
    let search = SearchPath { path_env: Some(path), pyenv_root: Some(pyenv), cwd, ..SearchPath::default() };
    (search, programs)
}

#[test]
fn interpreters_are_found_by_version_name_and_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let (search, programs) = fake_machine(folder.path());
    let file = programs["3.9.2"].to_str().expect("UTF-8");
    let prefix = programs["3.9.2"].parent().and_then(Path::parent).and_then(Path::to_str).expect("UTF-8");
    for (spec, version) in [
        (None, "3.11.4"),
        (Some("python3"), "3.11.4"),
        (Some("python"), "3.11.4"),
        (Some("3.11"), "3.11.4"),
        (Some("python3.11"), "3.11.4"),
        (Some("cpython@3.11.4"), "3.11.4"),
        (Some("3.9"), "3.9.18"),
        (Some("python3.9"), "3.9.18"),
        (Some("3.9.2"), "3.9.2"),
        (Some("3.7.1"), "3.7.1"),
        (Some("mypython"), "4.2.1"),
        (Some("../bin/python3.7"), "3.7.1"),
        (Some(file), "3.9.2"),
        (Some(prefix), "3.9.2"),
    ] {
        assert_eq!(find(spec, &search).as_ref(), Ok(&programs[version]), "{spec:?}");
    }
}

#[test]
fn pyenv_chooses_by_variable_and_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut search, programs) = fake_machine(folder.path());
    fs::write(search.cwd.join(".python-version"), "3.9\n").expect("a file");
    assert_eq!(find(None, &search).as_ref(), Ok(&programs["3.9.18"]));
    search.pyenv_version = Some("3.9.2:3.11.4".to_owned());
    assert_eq!(find(None, &search).as_ref(), Ok(&programs["3.9.2"]));
    assert_eq!(find(Some("python3.11"), &search).as_ref(), Ok(&programs["3.11.4"]));
}

#[test]
fn a_missing_interpreter_is_reported_with_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (search, programs) = fake_machine(folder.path());
    let error = find(Some("3.199"), &search).expect_err("there is none").to_string();
    for needle in ["`3.199`", "cpython 3.11.4", programs["3.9.2"].to_str().expect("UTF-8"), "pyenv install 3.199"] {
        assert!(error.contains(needle), "{needle}: {error}");
    }
    for spec in ["./nothing", "../cwd"] {
        assert!(matches!(find(Some(spec), &search), Err(FindError::NotAnInterpreter { .. })), "{spec}");
    }
    assert!(matches!(find(Some("ruby"), &search), Err(FindError::NotFound { .. })));
    assert_eq!(list(&search).iter().filter(|found| found.path.starts_with(folder.path())).count(), 4);
}

#[test]
fn machines() {
    assert_eq!(machine("linux-x86_64", 64), "x86_64");
    assert_eq!(machine("linux-x86_64", 32), "i686");
    assert_eq!(machine("linux-aarch64", 32), "armv8l");
}

/// Every pip from 10 on says where it looks; the wheel of pip answers where no pip is installed.
#[test]
fn the_default_index_is_what_pip_says() {
    let mut answers = Vec::new();
    for installation in installed() {
        match query_default_index(installation) {
            Ok(url) => answers.push(url),
            Err(DefaultIndexError::NoPip { .. }) => assert_eq!(installation.ensurepip_wheel, None),
            Err(error) => panic!("{error:?}"),
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let base = modern();
    let remembered = RefCell::new(Vec::new());
    let get = |_: &str, _: &[u8]| remembered.borrow().first().cloned();
    let put = |_: &str, _: &[u8], value: &[u8]| remembered.borrow_mut().push(value.to_owned());
    let memo = Memo { get: &get, put: &put };
    assert_eq!(default_index(&base, memo).as_ref().ok(), answers.first());
    *remembered.borrow_mut() = vec![b"https://remembered.example/simple".to_vec()];
    assert_eq!(default_index(&base, memo).expect("an address"), "https://remembered.example/simple");
    *remembered.borrow_mut() = vec![b"rubbish".to_vec()];
    assert_eq!(default_index(&base, memo).as_ref().ok(), answers.first());
}
