//! Hostile sdists through the whole program, as root and as a user (scenarios E1, E2, E4, E6, E8, E9): what they try fails.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::signal::Signal;
use pip_accel_tests::{LockWriter, SdistBuilder, TestEnv, TreeDigest};

use crate::store_lifecycle::wait_while_running;
use crate::support::{as_root_and_user, env, exit};

/// Python code that makes `attempt` and puts what came of it into the wheel, as `probe.result.RESULT`.
fn attempt(code: &str) -> String {
    let indented: String = code.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "def attempt():\n{indented}\
         try:\n    result = 'got %r' % (attempt(),)\n\
         except BaseException as error:\n    result = 'refused: %s %s' % (type(error).__name__, error)\n\
         with open('src/probe/result.py', 'w') as file:\n    file.write('RESULT = %r\\n' % result)\n"
    )
}

/// Builds an sdist that runs `code` as the body of a function and returns what that returned or raised.
#[track_caller]
fn tried(env: &TestEnv, code: &str) -> String {
    env.lock(&[&SdistBuilder::simple("probe", "1.0").during_build(&attempt(code)).build()]);
    env.realize(&[]).success();
    env.verify_clean();
    env.evaluate("from probe.result import RESULT", "RESULT")
}

#[track_caller]
fn assert_refused(result: &str) {
    assert!(result.starts_with("refused: "), "the attempt succeeded: {result}");
}

fn literal(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

/// E2: nothing of the user's home can be read.
#[test]
fn the_home_directory_is_out_of_reach() {
    as_root_and_user(|env| {
        let secret = env.home().join("secret.txt");
        std::fs::write(&secret, "secret").unwrap();
        assert_refused(&tried(&env, &format!("return open({}).read()", literal(&secret))));
    });
    as_root_and_user(|env| {
        let result = tried(&env, "import os\nreturn sorted(os.listdir(os.path.expanduser('~')))");
        assert!(result.starts_with("refused: ") || result == "got []", "{result}");
    });
}

/// E2: a link that one hook leaves where the next one's job or output goes is not followed by the program, which writes
/// there as the user.
#[test]
fn links_left_in_the_build_folder_are_not_followed() {
    as_root_and_user(|env| {
        let victim = env.home().join("victim.txt");
        std::fs::write(&victim, "untouched").unwrap();
        let plant =
            format!("import os\nos.remove('/build/job.json')\nos.symlink({}, '/build/job.json')\n", literal(&victim));
        env.lock(&[&SdistBuilder::simple("probe", "1.0").file("before.py", plant).build()]);
        env.realize(&[]).success();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(env.evaluate("import probe", "probe.__version__"), "1.0");
    });
    let env = env();
    let outside = env.home().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let plant = format!("import os\nos.rmdir('/build/out')\nos.symlink({}, '/build/out')\n", literal(&outside));
    env.lock(&[&SdistBuilder::simple("probe", "1.0").file("before.py", plant).build()]);
    env.realize(&[]).fails_with(exit::BUILD_FAILED);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

/// E2: neither the store's other objects nor the project can be seen.
#[test]
fn the_store_and_the_project_are_out_of_reach() {
    as_root_and_user(|env| {
        let (objects, project) = (literal(&env.objects()), literal(&env.project()));
        assert_refused(&tried(&env, &format!("import os\nreturn os.listdir({objects})")));
        let env = env;
        env.write("note.txt", "x");
        assert_refused(&tried(&env, &format!("import os\nreturn os.listdir({project})")));
    });
}

/// E2: no secret of the caller's environment gets in.
#[test]
fn the_environment_is_a_list_of_our_own() {
    as_root_and_user(|mut env| {
        env.set("AWS_SECRET_ACCESS_KEY", "secret-key");
        env.set("PIP_INDEX_URL", "http://user:secret-key@127.0.0.1:9/simple/");
        let result = tried(&env, "import os\nreturn sorted(os.environ.items())");
        assert!(!result.contains("secret-key"), "{result}");
        assert!(result.contains("SOURCE_DATE_EPOCH") && result.contains("PYTHONHASHSEED"), "{result}");
    });
}

/// E2: no network, not even that of this machine.
#[test]
fn the_network_is_out_of_reach() {
    as_root_and_user(|env| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let code = format!("import socket\nsocket.create_connection(('127.0.0.1', {port}), 5)\nreturn 'connected'");
        assert_refused(&tried(&env, &code));
        assert!(listener.accept().is_err(), "something connected");
    });
    as_root_and_user(|env| {
        assert_refused(&tried(&env, "import socket\nreturn socket.getaddrinfo('localhost.example', 80)"));
    });
}

/// E2: sockets of the host, by path and abstract, are not there either.
#[test]
fn unix_sockets_of_the_host_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt as _;
    as_root_and_user(|env| {
        let name = format!("pip-accel-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&address).unwrap();
        let path = env.base().join("socket");
        let by_path = UnixListener::bind(&path).unwrap();
        for address in [format!("{:?}", format!("\0{name}")).replace("\\0", "\\x00"), literal(&path)] {
            let code =
                format!("import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect({address})\nreturn 'connected'");
            assert_refused(&tried(&env, &code));
            // Another result must not be taken from the store.
            pip_accel_tests::cleanup::remove_tree(&env.store());
        }
        drop((abstract_socket, by_path));
    });
}

/// E2: nothing is written outside, not even through a link.
#[test]
fn nothing_is_written_outside() {
    as_root_and_user(|env| {
        let before = TreeDigest::of(&env.home());
        for target in ["/etc/pip-accel-evil", "/usr/pip-accel-evil", "/pip-accel-evil"] {
            let link = "import os\nos.symlink(TARGET, 'escape')\nopen('escape', 'w').write('x')\nreturn 'written'";
            tried(&env, &link.replace("TARGET", &format!("{target:?}")));
            let is_there = std::fs::remove_file(target).is_ok();
            assert!(!is_there, "{target} was written");
            pip_accel_tests::cleanup::remove_tree(&env.store());
        }
        let home = env.home().join("evil");
        tried(&env, &format!("open({}, 'w').write('x')\nreturn 'written'", literal(&home)));
        before.assert_unchanged(&env.home());
    });
}

/// E2: the processes of the host are invisible and can't be signalled.
#[test]
fn other_processes_are_invisible() {
    as_root_and_user(|env| {
        let code = "import glob\nreturn [open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline')]";
        let result = tried(&env, code);
        // The test binary itself and the program that waits for the build.
        for name in ["integration-", "requirements.lock"] {
            assert!(!result.contains(name), "{result}");
        }
    });
    as_root_and_user(|env| {
        let id = std::process::id();
        let result = tried(&env, &format!("import os\nos.kill({id}, 0)\nreturn open('/proc/{id}/cmdline').read()"));
        assert!(!result.contains("integration-"), "{result}");
    });
}

/// E2: the builder is nobody special, whoever called it, and can't become more.
#[test]
fn the_build_has_no_privileges() {
    as_root_and_user(|env| {
        let status = "import os\nreturn os.getuid(), [l for l in open('/proc/self/status') if l.startswith(('CapEff', 'NoNewPrivs'))]";
        let result = tried(&env, status);
        assert!(result.contains("(1000, "), "{result}");
        assert!(result.contains("CapEff:\\t0000000000000000") && result.contains("NoNewPrivs:\\t1"), "{result}");
    });
}

/// Ids of the processes with this word in their command line. They are ended, so that a failing test leaves none behind.
fn survivors(word: &str) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let found = entries.flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let id = entry.file_name().to_str()?.parse().ok()?;
        String::from_utf8_lossy(&line).contains(word).then_some(id)
    });
    let found: Vec<i32> = found.collect();
    for id in &found {
        // Whether it went by itself in the meantime makes no difference.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*id), nix::sys::signal::Signal::SIGKILL).ok();
    }
    found
}

/// E6: a daemon that a build leaves behind is dead when the build is over, and E4: what it still writes changes nothing.
#[test]
fn daemons_die_with_the_build() {
    as_root_and_user(|env| {
        let duration = format!("300.{}{}", std::process::id(), u8::from(env.binary().starts_with(env.base())));
        let code = format!(
            "import subprocess\nsubprocess.Popen(['sleep', '{duration}'], start_new_session=True,\n\
             \x20   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\nreturn 'started'"
        );
        assert_eq!(tried(&env, &code), "got 'started'");
        assert_eq!(survivors(&duration), Vec::<i32>::new(), "the daemon lives");
    });
}

/// E4: a process that keeps an output open for writing can't change what was registered.
#[test]
fn open_descriptors_do_not_reach_the_store() {
    as_root_and_user(|env| {
        let code = "import os, time\n\
            os.makedirs('src/probe', exist_ok=True)\n\
            fd = os.open('src/probe/late.py', os.O_CREAT | os.O_RDWR)\n\
            os.write(fd, b'VALUE = 1\\n')\n\
            if os.fork() == 0:\n    os.setsid()\n    end = time.monotonic() + 300\n    while time.monotonic() < end: os.pwrite(fd, b'VALUE = 2\\n', 0)\n    os._exit(0)\n\
            return 'forked'";
        assert_eq!(tried(&env, code), "got 'forked'");
        let objects = TreeDigest::of(&env.objects());
        env.verify_clean();
        objects.assert_unchanged(&env.objects());
    });
}

/// Runs a build that takes minutes under a limit of seconds, and asserts that it was ended and why.
fn assert_limited(setting: &str, value: &str, code: &str, reason: &str) {
    as_root_and_user(|mut env| {
        env.set(setting, value);
        let marker =
            format!("300.{}{}{}", std::process::id(), u8::from(env.binary().starts_with(env.base())), setting.len());
        let code = format!("import subprocess, sys\nchild = subprocess.Popen(['sleep', '{marker}'])\n{code}");
        env.lock(&[&SdistBuilder::simple("endless", "1.0").during_build(&code).build()]);
        env.realize(&[]).fails_with(exit::BUILD_FAILED).explains().says("endless").says(reason);
        assert_eq!(survivors(&marker), Vec::<i32>::new(), "a process of the build lives");
        assert!(!env.venv().exists());
        assert!(env.object_names().iter().all(|name| !env.objects().join(name).join("site").exists()));
        env.verify_clean();
        // E9: the log of a build that was ended is kept.
        env.run(["log", "endless"]).success().prints("build-marker endless");
    });
}

/// E1: too long, even when it talks all the time.
#[test]
fn a_build_that_takes_too_long_is_ended() {
    let code = "import time\nfor _ in range(1500):\n    end = time.monotonic() + 0.2\n    while time.monotonic() < end: pass\n    print('working', flush=True)\n";
    assert_limited("PIP_ACCEL_BUILD_TIMEOUT", "2", code, "2 s");
}

/// E1: silent for too long.
#[test]
fn a_silent_build_is_ended() {
    assert_limited("PIP_ACCEL_BUILD_SILENCE_TIMEOUT", "2", "child.wait()\n", "2 s");
}

/// E1: prints without end.
#[test]
fn a_build_that_prints_too_much_is_ended() {
    assert_limited(
        "PIP_ACCEL_BUILD_LOG_MAX_BYTES",
        "100000",
        "for _ in range(10000000): print('x' * 100)\nchild.kill()\n",
        "100",
    );
}

/// E8: the number of jobs is visible in the build, in the words of each build tool.
#[test]
fn the_build_knows_how_many_cores_it_may_use() {
    let code = "import os\nreturn [os.environ.get(n) for n in ('MAKEFLAGS', 'MAX_JOBS', 'CMAKE_BUILD_PARALLEL_LEVEL', 'NPY_NUM_BUILD_JOBS')]";
    for (jobs, expected) in [("1", "got ['-j1', '1', '1', '1']"), ("3", "got ['-j3', '3', '3', '3']")] {
        let mut env = env();
        env.set("PIP_ACCEL_JOBS", jobs);
        assert_eq!(tried(&env, code), expected);
    }
}

/// What a build leaves of itself in its wheel is named once, and recorded; also in files that are read in pieces.
#[test]
fn paths_of_the_build_in_its_files_are_shown_and_recorded() {
    as_root_and_user(|env| {
        let code = "import os\n\
            with open('src/probe/where.txt', 'w') as file: file.write('built in %s\\n' % os.getcwd())\n\
            path = ('x %s x' % os.path.join(os.environ['PATH'].split(':')[0], 'python')).encode()\n\
            with open('src/probe/large.bin', 'wb') as file:\n\
            \x20   file.write((b'0' * 4999 + b' ') * 200 + b' ' * 30 + path + (b'1' * 4999 + b' ') * 200)\n";
        env.lock(&[&SdistBuilder::simple("probe", "1.0").during_build(code).build()]);
        let noticed = "paths of the build, which mean nothing later, are in its files: `/build/src`, `/pip-accel` in \
                       `site/probe/large.bin`, `site/probe/where.txt`";
        let output = env.realize(&[]).success().says(&format!("warning: probe==1.0: {noticed}"));
        assert_eq!(output.stderr.matches("mean nothing later").count(), 1, "{output:?}");
        env.run(["log", "probe"]).success().prints(noticed);
        env.run(["log", "probe", "--list"]).success().prints(noticed);
        env.run(["show", "probe"]).success().prints(&format!("  noticed: {noticed}"));
        let shown = env.run(["show", "probe", "--json"]).success().json();
        assert!(shown.to_string().contains(noticed), "{shown}");
        env.verify_clean();
        std::fs::remove_dir_all(env.venv()).unwrap();
        env.realize(&[]).success().never_mentions("mean nothing later");
    });
    let env = env();
    let sdist = SdistBuilder::simple("probe", "1.0").answer_extension().during_build("print('/build/src')").build();
    env.lock(&[&sdist]);
    env.realize(&[]).success().never_mentions("mean nothing later");
}

/// E9: the log of a good build is kept as well.
#[test]
fn logs_of_good_builds_are_kept() {
    as_root_and_user(|env| {
        tried(&env, "print('a line of the log')\nreturn 1");
        env.run(["log", "probe"]).success().prints("a line of the log").prints("build-marker probe");
        env.run(["log", "probe==1.0", "--list"]).success().prints("probe==1.0");
    });
}

/// E9: builds that were interrupted or killed are listed with the output they had, and one that runs as running; the time is
/// that of the build, not of what it waited for.
#[test]
fn logs_of_builds_that_did_not_end_are_listed() {
    let env = env();
    let code = "print('how far it came', flush=True)\nimport time\ntime.sleep(600)\n";
    env.lock(&[&SdistBuilder::simple("probe", "1.0").during_build(code).build()]);
    let list = || env.run(["log", "probe", "--list"]);
    for (signal, status) in [(Signal::SIGINT, "interrupted in"), (Signal::SIGKILL, "its process was killed")] {
        let mut process = env.start(env.realize_command(&[]));
        let running =
            || list().stdout.contains("probe==1.0 running") && env.run(["log", "probe"]).stdout.contains("how far");
        assert!(wait_while_running(&mut process, running), "the build never began");
        process.signal(signal);
        let ended = process.wait().fails_with(if signal == Signal::SIGINT { 130 } else { 137 });
        if signal == Signal::SIGINT {
            ended.says("interrupted: building probe==1.0, after").never_mentions("failed");
        }
        list().success().prints(status).prints("probe==1.0 interrupted");
        env.run(["log", "probe"]).success().prints("how far it came");
    }
    // What was killed, its sandbox included, is gone soon; the row stays what it is.
    assert_eq!(list().success().stdout.lines().count(), 2);
}

/// The time of a build is that of its programs: what was resolved, fetched and waited for before is not counted.
#[test]
fn the_time_of_a_build_is_its_own() {
    let env = env();
    let slow = "total = sum(number * number for number in range(20_000_000))\n";
    let sdist = SdistBuilder::simple("quick", "1.0").build_requires("helper").build();
    let helper = SdistBuilder::simple("helper", "1.0").during_build(slow).build();
    let lock = LockWriter::offline().pin(&sdist).line("#: build quick==1.0");
    env.add(&sdist);
    env.add(&helper);
    env.write("requirements.lock", lock.line(format!("#:   helper==1.0 {}", helper.hash_option())).text());
    env.realize(&[]).success();
    let took = |name: &str| {
        let list = env.run(["log", name, "--json"]).success().json();
        list["builds"][0]["duration_ms"].as_u64().unwrap()
    };
    assert!(took("quick") > 0 && took("quick") < took("helper"), "{} {}", took("quick"), took("helper"));
}

/// C13: the same sdist gives the same object in another store, at another place, for another user.
#[test]
fn the_same_build_gives_the_same_object() {
    let mut seen = std::cell::RefCell::new(Vec::new());
    as_root_and_user(|env| {
        env.lock(&[&SdistBuilder::simple("steady", "1.0").answer_extension().build()]);
        env.realize(&[]).success();
        let shown = env.run(["show", "steady", "--json"]).success().json();
        let digests: Vec<String> = digests_in(&shown);
        assert!(!digests.is_empty(), "{shown}");
        seen.borrow_mut().push((env.object_names(), digests));
    });
    let seen = seen.get_mut();
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:#?}");
}

/// All values of keys that are named after a content digest, at any depth.
fn digests_in(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| if key == "content_digest" { vec![value.to_string()] } else { digests_in(value) })
            .collect(),
        serde_json::Value::Array(list) => list.iter().flat_map(digests_in).collect(),
        _ => Vec::new(),
    }
}
