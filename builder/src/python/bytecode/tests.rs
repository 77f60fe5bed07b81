//! Compilers of every interpreter of the machine, and some that misbehave.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::*;
use crate::python::testing::{FoundPython, output, pythons};

const MODULES: [(&str, &str); 7] = [
    (
        "site/good.py",
        "import sys\nNAMES = {'a', 'b', 'c', 'good'}\nVALUE = 'first'\ndef where():\n    return sys._getframe().f_code.co_filename\n",
    ),
    ("site/pkg/__init__.py", ""),
    ("site/pkg/sub/latin.py", "# -*- coding: latin-1 -*-\nVALUE = u'x'\nif VALUE in ('x', 'y'): pass\n"),
    ("site/pkg/no_newline.py", "VALUE = 1"),
    ("site/pkg/broken.py", "def (:\n"),
    ("site/pkg/windows.py", "VALUE = 1\r\ndef f():\r\n    return 2\r\n"),
    ("data/other.py", "VALUE = 1\n"),
];

fn tree(modules: &[(&str, &str)]) -> (tempfile::TempDir, Vec<(EntryPath, u64)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let files = modules.iter().map(|(name, content)| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, content).expect("written");
        set_canonical_time(&path);
        (EntryPath::parse(name).expect("a path"), content.len() as u64)
    });
    let files = files.collect();
    (folder, files)
}

/// The time that all files of a store have.
fn set_canonical_time(path: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800);
    let file = File::options().write(true).open(path).expect("opened");
    file.set_times(FileTimes::new().set_modified(time)).expect("set");
}

fn sources(files: &[(EntryPath, u64)]) -> Vec<SourceFile<'_>> {
    files.iter().map(|(path, size)| SourceFile { path, size: *size }).collect()
}

fn pool(python: &Path, workers: usize) -> BytecodePool {
    let options = BytecodeOptions { workers, file_timeout: COMPILE_FILE_TIMEOUT, bytecode_tag: None };
    BytecodePool::with_options(python, options)
}

/// Every interpreter finds its bytecode, believes it, and shows the path from which it was imported.
#[test]
fn interpreters_use_what_was_compiled() {
    for python in pythons() {
        let (folder, files) = tree(&MODULES);
        let compiled = pool(&python.path, 2).compile(folder.path(), &sources(&files)).expect("compiled");
        let label = &python.label;
        assert_eq!(compiled.written.len(), 5, "{label}: {compiled:?}");
        let broken = EntryPath::parse("site/pkg/broken.py").expect("a path");
        assert_eq!(compiled.skipped, [Skipped { path: broken, reason: SkipReason::Syntax }], "{label}");
        for path in &compiled.written {
            let bytes = fs::read(folder.path().join(path.as_str())).expect("read");
            let root = folder.path().as_os_str().as_encoded_bytes();
            assert!(!bytes.windows(root.len()).any(|window| window == root), "{label}: {path} holds the store's path");
        }
        // A changed source of the same length and time is not looked at: hash-based or by time stamp.
        let source = folder.path().join("site/good.py");
        fs::write(&source, MODULES[0].1.replace("first", "other")).expect("written");
        set_canonical_time(&source);
        let site = folder.path().join("site");
        let site = site.to_str().expect("text");
        let code = format!("import sys; sys.path.insert(0, {site:?}); import good; print(good.VALUE + good.where())");
        let expected = format!("first{site}/good.py");
        assert_eq!(output(&python.path, &code), Some(expected), "{label}");
        if (python.major, python.minor) >= (3, 7) {
            // Unchecked: not even another time matters.
            fs::write(&source, "VALUE = 'changed'\nwhere = str\n").expect("written");
            assert!(output(&python.path, &code).is_some_and(|line| line.starts_with("first")), "{label}");
        }
        println!("compiled for {label}");
    }
}

fn contents(folder: &Path, compiled: &Compiled) -> BTreeMap<String, Vec<u8>> {
    let read = |path: &EntryPath| (path.to_string(), fs::read(folder.join(path.as_str())).expect("read"));
    compiled.written.iter().map(read).collect()
}

/// C13, for bytecode: what is written depends neither on the place, nor on the number of processes, nor on
/// what they compiled before.
#[test]
fn bytecode_is_the_same_everywhere() {
    let body = |index: usize| {
        format!(
            "NAME_{index} = {{'x{index}', 'y', 'shared name'}}\nclass C{index}(object):\n    \"\"\"shared name\"\"\"\n    \
             def method(self, value=('shared name', {index})):\n        return value in {{'a', 'b', 'shared name'}}\n"
        )
    };
    let modules: Vec<(String, String)> =
        (0..200).map(|index| (format!("site/p/m{index:03}.py"), body(index))).collect();
    let borrowed: Vec<(&str, &str)> = modules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    for python in pythons() {
        let (first, files) = tree(&borrowed);
        let (second, _) = tree(&borrowed);
        let (other, others) = tree(&MODULES);
        let one = pool(&python.path, 1);
        let compiled = one.compile(first.path(), &sources(&files)).expect("compiled");
        assert_eq!(compiled.written.len(), modules.len());
        let many = pool(&python.path, 3);
        many.compile(other.path(), &sources(&others)).expect("compiled");
        let mut reversed = sources(&files);
        reversed.reverse();
        let again = many.compile(second.path(), &reversed).expect("compiled");
        assert_eq!(contents(first.path(), &compiled), contents(second.path(), &again), "{}", python.label);
    }
}

#[test]
fn several_threads_share_a_pool() {
    let python = first_python();
    let shared = pool(&python.path, 2);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let (folder, files) = tree(&MODULES);
                let compiled = shared.compile(folder.path(), &sources(&files)).expect("compiled");
                assert_eq!((compiled.written.len(), compiled.skipped.len()), (5, 1));
            });
        }
    });
}

/// Batches end anywhere, so two processes meet in one folder: `__pycache__` may be made between the look and the step.
#[test]
fn a_folder_that_another_process_makes_meanwhile_is_no_error() {
    const FIRST_LOOK_SEES_NOTHING: &str = "import os\nlooks = []\nreal = os.path.isdir\n\
        os.path.isdir = lambda path: looks.append(path) or (len(looks) > 1 and real(path))\n";
    for python in pythons() {
        let (folder, _) = tree(&[("site/a.py", "x = 1\n"), ("site/__pycache__/other.pyc", "")]);
        let path = |name: &str| folder.path().join("site").join(name).to_str().expect("text").to_owned();
        let message = format!("{}\0{}\0a.py\0", path("a.py"), path("__pycache__/a.pyc"));
        let mut child = Command::new(&python.path)
            .args(["-S", "-c", &format!("{FIRST_LOOK_SEES_NOTHING}{}", worker::SCRIPT)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(format!("1 {}\n{message}", message.len()).as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("ended");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.ends_with("\n1\n.\n"), "{}: {answer}", python.label);
    }
}

#[test]
fn what_is_in_the_way_is_an_error_and_nothing_to_do_is_none() {
    let python = first_python();
    let compilers = pool(&python.path, 1);
    let (folder, files) = tree(&MODULES);
    fs::write(folder.path().join("site/__pycache__"), "a file").expect("written");
    let result = compilers.compile(folder.path(), &sources(&files));
    assert!(matches!(result, Err(BytecodeError::File { .. })), "{result:?}");
    assert_eq!(compilers.compile(folder.path(), &[]).expect("nothing to do"), Compiled::default());
    // The pool is still good.
    let (folder, files) = tree(&MODULES);
    assert_eq!(compilers.compile(folder.path(), &sources(&files)).expect("compiled").written.len(), 5);
}

fn first_python() -> FoundPython {
    pythons().into_iter().next().expect("a Python is needed to test the compilers")
}

/// A program that is taken for an interpreter. It is written by another process: a file that this process has open
/// for writing can't be run while a thread forks.
fn fake(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("python");
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    shell.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("written");
    assert!(shell.wait().expect("ended").success());
    path
}

fn compile_with(script: &str, tag: Option<&str>) -> (tempfile::TempDir, Result<Compiled, BytecodeError>) {
    let (folder, files) = tree(&MODULES);
    let python = fake(folder.path(), script);
    let bytecode_tag = tag.map(str::to_owned);
    let options = BytecodeOptions { workers: 1, file_timeout: Duration::from_millis(300), bytecode_tag };
    let result = BytecodePool::with_options(&python, options).compile(folder.path(), &sources(&files));
    (folder, result)
}

#[test]
fn compilers_that_hang_or_crash_cost_one_file_each() {
    let reasons = |script: &str| {
        let (_folder, result) = compile_with(script, None);
        let compiled = result.expect("a result");
        assert_eq!(compiled.written.len() + compiled.skipped.len(), 6);
        compiled.skipped.iter().map(|skipped| skipped.reason).collect::<Vec<_>>()
    };
    // Descriptor 3 keeps the pipe open: a closed one would be an end, not silence.
    let hangs = "#!/bin/sh\necho fake-1 00 1\nexec 3>&1\nexec cat >&2\n";
    assert_eq!(reasons(hangs), [SkipReason::Timeout; 6]);
    let crashes = "#!/bin/sh\necho fake-1 00 1\nread line\nexit 1\n";
    assert_eq!(reasons(crashes), [SkipReason::Crash; 6]);
    // Says that one file is done before it crashes, so that two files are dealt with by each process.
    let crashes_later = "#!/bin/sh\necho fake-1 00 1\nread line\necho 0\nkill -9 $$\n";
    let found = reasons(crashes_later);
    assert_eq!(found.iter().filter(|reason| **reason == SkipReason::Crash).count(), 3, "{found:?}");
}

#[test]
fn programs_that_are_no_compilers_are_errors() {
    for script in ["#!/bin/sh\nexit 0\n", "#!/bin/sh\necho hello\n", "#!/bin/sh\necho ../../x 00 1\nexec cat\n"] {
        let (_folder, result) = compile_with(script, None);
        assert!(matches!(result, Err(BytecodeError::Protocol { .. })), "{script}: {result:?}");
    }
    let talks = "#!/bin/sh\necho fake-1 00 1\nexec yes something\n";
    assert!(matches!(compile_with(talks, None).1, Err(BytecodeError::Protocol { .. })));
    let (_folder, result) = compile_with("#!/bin/sh\necho fake-1 0a0d 1\nexec cat\n", Some("fake-1-0a0e"));
    assert!(matches!(result, Err(BytecodeError::OtherBytecode { .. })), "{result:?}");
    let absent = BytecodePool::with_options(
        Path::new("/nonexistent/python"),
        BytecodeOptions { workers: 1, file_timeout: COMPILE_FILE_TIMEOUT, bytecode_tag: None },
    );
    let (folder, files) = tree(&MODULES);
    assert!(matches!(absent.compile(folder.path(), &sources(&files)), Err(BytecodeError::Start { .. })));
}

/// The processes of a pool do not outlive it.
#[test]
fn dropping_the_pool_ends_its_processes() {
    let script = "#!/bin/sh\necho $$ > \"$(dirname \"$0\")/pid\"\necho fake-1 00 1\nexec 3>&1\nexec cat >&2\n";
    let (folder, result) = compile_with(script, None);
    result.expect("a result");
    let pid: i32 = fs::read_to_string(folder.path().join("pid")).expect("read").trim().parse().expect("a number");
    let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    assert_eq!(alive, Err(nix::errno::Errno::ESRCH));
}

#[test]
fn batches_are_cut_by_count_and_by_size() {
    let paths: Vec<EntryPath> =
        (0..100).map(|index| EntryPath::parse(&format!("site/m{index}.py")).expect("a path")).collect();
    let cut = |size: u64| -> Vec<usize> {
        let files: Vec<SourceFile<'_>> = paths.iter().map(|path| SourceFile { path, size }).collect();
        cut_batches(&files).iter().map(Vec::len).collect()
    };
    assert_eq!(cut(10), [48, 48, 4]);
    assert_eq!(cut(BATCH_BYTES_MAX).len(), 100);
    assert_eq!(cut(u64::MAX).len(), 100);
    assert_eq!(cut(BATCH_BYTES_MAX / 2), [2; 50]);
}
