//! What well-behaved builds rely on.

use std::os::unix::fs::{MetadataExt, symlink};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::*;

/// Both streams in one, in order, to the byte; exit codes as they are.
#[tokio::test]
async fn output_and_exit_code() {
    let bench = Bench::new().await;
    let script =
        "echo one; echo two >&2; echo three > /dev/stdout; echo four > /dev/stderr; printf '\\377 last'; exit 42";
    let mut output = Vec::new();
    let outcome = run(&bench.shell(script), &bench.facts, &mut output, &mut CancelSignal::never()).await.expect("ran");
    assert_eq!(output, b"one\ntwo\nthree\nfour\n\xff last");
    assert_eq!((outcome.status, outcome.log_bytes), (SandboxStatus::Exited { code: 42 }, output.len() as u64));
}

/// A command that does not exist is a failed command, whoever runs it.
#[tokio::test]
async fn missing_command() {
    let bench = Bench::new().await;
    let spec = SandboxSpec { argv: vec!["/does/not/exist".into()], ..bench.shell("") };
    let (outcome, output) = bench.run(&spec).await;
    assert_eq!(outcome.status, SandboxStatus::Exited { code: 127 });
    assert!(output.contains("/does/not/exist"), "{output}");
}

/// The environment is the list, and nothing else; also the variables that are set late as root.
#[tokio::test]
async fn environment_is_the_list() {
    let bench = Bench::new().await;
    let mut spec = SandboxSpec { argv: vec!["/usr/bin/env".into()], ..bench.shell("") };
    spec.environment.push(("LD_LIBRARY_PATH".into(), "/build/lib".into()));
    spec.environment.push(("VALUE".into(), "with spaces, = and 'quotes'".into()));
    let (_, output) = bench.run(&spec).await;
    let mut seen: Vec<&str> = output.lines().filter(|line| *line != "PWD=/build").collect();
    seen.sort_unstable();
    let mut expected: Vec<String> =
        spec.environment.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

/// Options, and with them the environment (credentials of a resolver), are on no command line.
#[tokio::test]
async fn environment_is_not_on_a_command_line() {
    let bench = Bench::new().await;
    let mut spec = bench.shell("read line");
    spec.environment.push(("PIP_INDEX_URL".into(), bench.marker().into()));
    spec.argv = vec!["/bin/sh".into(), "-c".into(), "echo up; sleep 1000".into()];
    let (canceller, mut cancel) = Canceller::new();
    let marker = bench.marker();
    let mut seen = Vec::new();
    let act = || {
        seen = processes_with(&marker);
        canceller.cancel();
    };
    let mut sink = When { seen: Vec::new(), word: "up", act };
    let outcome = run(&spec, &bench.facts, &mut sink, &mut cancel).await.expect("supervised");
    assert_eq!(outcome.status, SandboxStatus::Cancelled);
    assert_eq!(seen, Vec::<String>::new());
}

#[tokio::test]
async fn standard_input() {
    let bench = Bench::new().await;
    let spec = SandboxSpec { stdin: Some(b"given\nbytes".to_vec()), ..bench.shell("cat; cat < /dev/null") };
    assert_eq!(bench.run(&spec).await.1, "given\nbytes");
    assert_eq!(bench.run(&bench.shell("cat; echo empty")).await.1, "empty\n");
}

/// What a build makes belongs to the caller afterwards, as do the folders that were there before.
#[tokio::test]
async fn writable_folders_come_back() {
    let bench = Bench::new().await;
    fs::create_dir_all(bench.path().join("source/deep")).expect("folders");
    fs::write(bench.path().join("source/deep/file"), "old").expect("file");
    let script = "echo new > source/deep/file; mkdir -p out/a/b; echo wheel > out/a/b/c.whl; ln -s /etc/passwd out/link
                  chmod 0500 out/a; chmod 0 source/deep; stat -c %u /build /build/out";
    let (outcome, output) = bench.run(&bench.shell(script)).await;
    assert!(outcome.success(), "{output}");
    assert_eq!(output, "1000\n1000\n");
    let owner = |path: &str| fs::symlink_metadata(bench.path().join(path)).expect(path).uid();
    for path in [".", "out", "out/a", "out/a/b/c.whl", "out/link", "source/deep"] {
        assert_eq!(owner(path), geteuid().as_raw(), "{path}");
    }
    for (path, mode) in [("source/deep", 0o700), ("out/a", 0o700)] {
        fs::set_permissions(bench.path().join(path), fs::Permissions::from_mode(mode)).expect("own folder");
    }
    assert_eq!(fs::read_to_string(bench.path().join("source/deep/file")).expect("there"), "new\n");
}

/// As root, a second name of a store's file in a writable folder can be read but neither written nor taken over.
#[tokio::test]
async fn linked_files_are_not_lent() {
    let bench = Bench::new().await;
    if !bench.is_delegated() {
        return;
    }
    let store = tempfile::tempdir().expect("temporary directory");
    let object = store.path().join("object");
    fs::write(&object, "object").expect("file");
    fs::hard_link(&object, bench.path().join("linked")).expect("same file system");
    let (_, output) = bench.run(&bench.shell("cat linked; echo pwned >> linked; chmod 777 linked")).await;
    assert!(output.starts_with("object"), "{output}");
    assert_eq!(fs::read_to_string(&object).expect("there"), "object");
    let metadata = fs::metadata(&object).expect("there");
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, 0o644));
}

/// Binds inside binds, tmpfs inside binds, links as sources, parents that only root may enter: all where they belong.
#[tokio::test]
async fn mounts_are_where_they_belong() {
    let bench = Bench::new().await;
    let outside = tempfile::tempdir().expect("temporary directory");
    // 0700, like the home of root under an interpreter's prefix.
    let prefix = outside.path().join("private/prefix");
    fs::create_dir_all(prefix.join("bin")).expect("folders");
    fs::set_permissions(outside.path().join("private"), fs::Permissions::from_mode(0o700)).expect("own folder");
    fs::write(prefix.join("bin/tool"), "#!/bin/sh\necho tool\n").expect("file");
    fs::set_permissions(prefix.join("bin/tool"), fs::Permissions::from_mode(0o755)).expect("own file");
    let link = outside.path().join("link");
    symlink(&prefix, &link).expect("link");
    fs::create_dir(bench.path().join("inner")).expect("folder");

    let mut spec = bench.shell("");
    spec.read_only = vec![
        Bind::new(&link, "/build/inner"),
        Bind::new(&prefix, "/pip-accel/env"),
        Bind::same(&prefix),
        Bind::new(prefix.join("bin/tool"), "/pip-accel/file"),
    ];
    spec.tmpfs = vec![Tmpfs { target: "/var/tmp".into(), size_bytes: Some(4096) }];
    let script = format!(
        "/build/inner/bin/tool; /pip-accel/env/bin/tool; {}/bin/tool; /pip-accel/file
         touch /build/inner/x || echo closed; echo x > /var/tmp/x && echo open; head -c 9999 /dev/zero > /var/tmp/y || echo full",
        prefix.display()
    );
    spec.argv[2] = script.into();
    let (_, output) = bench.run(&spec).await;
    let lines: Vec<&str> = output.lines().filter(|line| !line.contains(": ")).collect();
    assert_eq!(lines, ["tool", "tool", "tool", "tool", "closed", "open", "full"], "{output}");
}

/// Sources that are missing or, as root, unreadable for builds are named before anything runs.
#[tokio::test]
async fn unusable_sources_are_named() {
    let bench = Bench::new().await;
    let mut output = Vec::new();
    let mut never = CancelSignal::never();
    let closed = bench.path().join("closed");
    fs::create_dir(&closed).expect("folder");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("own folder");
    let spec = SandboxSpec { read_only: vec![Bind::new("/does/not/exist", "/x")], ..bench.shell("true") };
    let error = run(&spec, &bench.facts, &mut output, &mut never).await.expect_err("missing");
    assert_eq!(error.to_string(), "`/does/not/exist` cannot be made visible in the sandbox");
    if bench.is_delegated() {
        let spec = SandboxSpec { read_only: vec![Bind::new(&closed, "/x")], ..bench.shell("true") };
        let error = run(&spec, &bench.facts, &mut output, &mut never).await.expect_err("unreadable");
        assert!(matches!(error, SandboxError::Unreadable { mode: 0o700, .. }), "{error}");
    }
}

/// A mount that bwrap cannot make is an error that repeats bwrap's words, not a failed build.
#[tokio::test]
async fn failed_set_up_is_an_error() {
    let bench = Bench::new().await;
    let spec = SandboxSpec { read_only: vec![Bind::new("/usr/bin", "/usr/new/place")], ..bench.shell("true") };
    let mut output = Vec::new();
    let error = run(&spec, &bench.facts, &mut output, &mut CancelSignal::never()).await.expect_err("read-only /usr");
    let SandboxError::Setup { message } = error else { panic!("{error:?}") };
    assert!(message.contains("bwrap: ") && message.contains("Read-only file system"), "{message}");
}

/// Nothing but the three standard streams is open: no way to speak to bwrap's supervisor, and above all no folder of the
/// host that whoever started the tool left open. As root, bwrap leaves the end of a pipe that nobody writes to.
#[tokio::test]
async fn no_descriptor_leaks_in() {
    let bench = Bench::new().await;
    let leak = fs::File::open("/usr").expect("a folder of the host");
    fcntl(&leak, FcntlArg::F_SETFD(FdFlag::empty())).expect("own descriptor");
    let program = "
import os
for name in sorted(os.listdir('/proc/self/fd'), key=int):
    try: kind = os.readlink('/proc/self/fd/' + name).split(':')[0]
    except OSError: continue
    if int(name) < 3: print(name, kind)
    else: print('more', kind, os.read(int(name), 1))
";
    let (_, output) = bench.run(&bench.python(program)).await;
    let rest = output.strip_prefix("0 /dev/null\n1 pipe\n2 pipe\n");
    assert_eq!(rest, Some(if bench.is_delegated() { "more pipe b''\n" } else { "" }), "{output}");
}

/// A writable folder may be named through a link.
#[tokio::test]
async fn writable_folder_behind_a_link() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().expect("temporary directory");
    let link = folder.path().join("link");
    symlink(bench.path(), &link).expect("link");
    let mut spec = bench.shell("echo x > file");
    spec.writable = vec![Bind::new(&link, "/build")];
    assert!(bench.run(&spec).await.0.success());
    assert_eq!(fs::metadata(bench.path().join("file")).expect("made").uid(), geteuid().as_raw());
}

/// What compilers, Python and its multiprocessing need is there.
#[tokio::test]
async fn a_build_finds_its_tools() {
    let bench = Bench::new().await;
    let program = "
import multiprocessing, os, ssl, tempfile, pwd
print(multiprocessing.Lock(), pwd.getpwuid(os.getuid()).pw_name, tempfile.gettempdir(), os.getcwd())
import pty
pid, terminal = pty.fork()
if pid == 0: print('pty works'); os._exit(0)
print(os.read(terminal, 100).decode().strip())
";
    let (outcome, output) = bench.run(&bench.python(program)).await;
    assert!(outcome.success(), "{output}");
    assert!(output.contains("builder /tmp /build") && output.contains("pty works"), "{output}");
    if Path::new("/usr/bin/cc").exists() {
        let script = "echo 'int main(void) { return 0; }' > a.c && cc $CPPFLAGS -g a.c -o a && ./a && echo compiled";
        let (_, output) = bench.run(&bench.shell(script)).await;
        assert_eq!(output, "compiled\n");
    }
}
