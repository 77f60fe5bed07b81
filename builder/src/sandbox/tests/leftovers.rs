//! E4, E6: staying alive after the run.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::*;

/// A daemon as hostile as can be: double fork, session of its own, all signals ignored, output closed. It keeps a file open
/// and writes to it for ever. The command goes on only when the daemon has said through a fifo that it runs.
const DAEMON: &str = "
import os, signal, sys
os.mkfifo('ready')
if os.fork() == 0:
    os.setsid()
    if os.fork() > 0: os._exit(0)
    for number in range(1, signal.NSIG):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    held = os.open('held', os.O_CREAT | os.O_WRONLY)
    for number in (0, 1, 2): os.close(number)
    os.write(held, b'x')
    ready = os.open('ready', os.O_WRONLY)
    os.write(ready, b'up'); os.close(ready)
    while True: os.pwrite(held, os.urandom(8), 0)
marker = 'MARKER'
os.read(os.open('ready', os.O_RDONLY), 2)
print('daemon is up', flush=True)
";

/// E4 and E6: a daemonised grandchild is dead when the run is over, and what it held open does not change any more.
#[tokio::test]
async fn daemon_is_dead_after_success() {
    let bench = Bench::new().await;
    let program = DAEMON.replace("MARKER", &bench.marker());
    let (outcome, output) = bench.run(&bench.python(&program)).await;
    assert_eq!(processes_with(&bench.marker()), Vec::<String>::new());
    assert!(outcome.success() && output == "daemon is up\n", "{output}");
    let first = fs::read(bench.path().join("held")).expect("written");
    assert_eq!(first.len(), 8, "the daemon did write");
    assert_eq!(fs::read(bench.path().join("held")).expect("written"), first);
}

/// E6: the same after a failed, a crashed, a cancelled and a silent command.
#[tokio::test]
async fn daemon_is_dead_however_the_command_ends() {
    for (end, expected) in [
        ("sys.exit(3)", SandboxStatus::Exited { code: 3 }),
        ("os.kill(os.getpid(), signal.SIGSEGV)", SandboxStatus::Signalled { signal: 11 }),
        ("signal.pause()", SandboxStatus::Cancelled),
    ] {
        let bench = Bench::new().await;
        let program = DAEMON.replace("MARKER", &bench.marker()) + end;
        let (canceller, mut cancel) = Canceller::new();
        let cancels = expected == SandboxStatus::Cancelled;
        let mut sink = When {
            seen: Vec::new(),
            word: "daemon is up",
            act: || {
                if cancels {
                    canceller.cancel()
                }
            },
        };
        let outcome = run(&bench.python(&program), &bench.facts, &mut sink, &mut cancel).await.expect("supervised");
        assert_eq!(processes_with(&bench.marker()), Vec::<String>::new(), "{end}");
        assert_eq!(outcome.status, expected);
    }
}

/// Dropping the future (the caller's task was aborted) kills as well.
#[tokio::test]
async fn nothing_survives_a_dropped_run() {
    let bench = Bench::new().await;
    let program = DAEMON.replace("MARKER", &bench.marker()) + "signal.pause()";
    let (spec, up) = (bench.python(&program), Notify::new());
    let mut sink = When { seen: Vec::new(), word: "daemon is up", act: || up.notify_one() };
    let mut never = CancelSignal::never();
    let mut running = Box::pin(run(&spec, &bench.facts, &mut sink, &mut never));
    tokio::select! {
        outcome = &mut running => panic!("ended by itself: {outcome:?}"),
        () = up.notified() => {}
    }
    assert!(!processes_with(&bench.marker()).is_empty(), "it really runs");
    drop(running);
    assert_eq!(processes_with(&bench.marker()), Vec::<String>::new());
}

/// A failing sink (a full disk under the log) ends the run, with nothing left behind.
#[tokio::test]
async fn failing_sink_ends_the_run() {
    struct Full;
    impl OutputSink for Full {
        fn write_lines(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let bench = Bench::new().await;
    let program = DAEMON.replace("MARKER", &bench.marker()) + "signal.pause()";
    let error = run(&bench.python(&program), &bench.facts, &mut Full, &mut CancelSignal::never()).await;
    assert!(matches!(error, Err(SandboxError::Sink { .. })), "{error:?}");
    assert_eq!(processes_with(&bench.marker()), Vec::<String>::new());
}

/// Many at once, each dies alone: the hand-shake of one run never holds up or kills another.
#[tokio::test(flavor = "multi_thread")]
async fn runs_at_the_same_time() {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        tasks.spawn(async move {
            let bench = Bench::new().await;
            let (outcome, output) =
                bench.run(&bench.shell(&format!("echo {number} > file; cat file; exit {number}"))).await;
            (number, outcome.status, output)
        });
    }
    for (number, status, output) in tasks.join_all().await {
        assert_eq!(status, SandboxStatus::Exited { code: number });
        assert_eq!(output, format!("{number}\n"));
    }
}

/// A file of this name in the current folder tells `victim` that it is the victim.
const VICTIM_MARK: &str = "victim-marker";

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
async fn victim() {
    let Ok(marker) = fs::read_to_string(VICTIM_MARK) else { return };
    let bench = Bench::new().await;
    let program = DAEMON.replace("MARKER", &marker) + "signal.pause()";
    let act = || fs::write("daemon-is-up", "").expect("own folder");
    let mut sink = When { seen: Vec::new(), word: "daemon is up", act };
    let outcome = run(&bench.python(&program), &bench.facts, &mut sink, &mut CancelSignal::never()).await;
    panic!("ended by itself: {outcome:?}");
}

/// Whoever kills the tool itself, without giving it a chance to clean up, kills its builds.
#[test]
fn nothing_survives_the_death_of_the_tool() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let marker = format!("killed-{}", folder.path().file_name().expect("a name").to_string_lossy());
    fs::write(folder.path().join(VICTIM_MARK), &marker).expect("file");
    let mut tool = Command::new("/proc/self/exe")
        .args(["--exact", "sandbox::tests::leftovers::victim", "--nocapture"])
        .current_dir(folder.path())
        .env_clear()
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program");
    let up =
        wait_until(|| folder.path().join("daemon-is-up").exists() || tool.try_wait().is_ok_and(|end| end.is_some()));
    let running = processes_with(&marker);
    tool.kill().expect("own child");
    tool.wait().expect("own child");
    assert!(up && !running.is_empty(), "it really ran");
    let gone = wait_until(|| processes_with(&marker).is_empty());
    let left = processes_with(&marker);
    for process in &left {
        // The marker is unique: these are what this test started.
        let pid = process.split(' ').next().and_then(|word| word.parse().ok()).expect("starts with its id");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    assert!(gone, "{left:?}");
}

/// Asks until the answer is yes; no after a minute.
fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}
