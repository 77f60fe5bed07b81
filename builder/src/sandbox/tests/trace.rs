//! The file trace: what it sees, and that nothing a run does changes its outcome.

use std::path::PathBuf;

use super::*;

impl Bench {
    /// Runs a spec to its end, traced.
    async fn trace(&self, spec: &SandboxSpec) -> (SandboxOutcome, String, FileTrace) {
        let mut output = Vec::new();
        let traced = run_traced(spec, &self.facts, &mut output, &mut CancelSignal::never()).await;
        let output = String::from_utf8_lossy(&output).into_owned();
        let (outcome, trace) = traced.unwrap_or_else(|error| panic!("{error}\n{output}"));
        let trace = trace.unwrap_or_else(|refused| panic!("{refused}\n{output}"));
        (outcome, output, trace)
    }
}

fn missed(trace: &FileTrace, path: &str) -> Option<u32> {
    trace.missed.iter().find(|missed| missed.path == Path::new(path)).map(|missed| missed.count)
}

fn has_read(trace: &FileTrace, path: &str) -> bool {
    trace.read.contains(&PathBuf::from(path).canonicalize().expect("it is on the host"))
}

#[tokio::test]
async fn paths_of_every_kind_are_seen() {
    let bench = Bench::new().await;
    let spec = bench.python(
        "import os, threading\n\
         open('/usr/lib/os-release').close()\n\
         os.chdir('/usr/share'); missing = lambda path: os.path.exists(path) and 1/0\n\
         missing('none-relative'); missing('../include/none-above')\n\
         folder = os.open('/usr/lib', os.O_RDONLY)\n\
         try: os.open('none-below', os.O_RDONLY, dir_fd=folder)\n\
         except FileNotFoundError: pass\n\
         os.symlink('/usr/lib/os-release', '/build/link'); os.chdir('/build'); open('link').close()\n\
         many = [threading.Thread(target=missing, args=('/usr/include/none-%d' % n,)) for n in range(200)]\n\
         [one.start() for one in many]; [one.join() for one in many]\n\
         os.system('none-program; /usr/bin/env true')",
    );
    let (outcome, output, trace) = bench.trace(&spec).await;
    assert!(outcome.success() && trace.complete, "{outcome:?} {output}");
    for path in ["/usr/share/none-relative", "/usr/include/none-above", "/usr/lib/none-below", "/usr/bin/none-program"]
    {
        assert!(missed(&trace, path).is_some(), "{path}: {:?}", trace.missed);
    }
    assert!((0..200).all(|number| missed(&trace, &format!("/usr/include/none-{number}")).is_some()));
    for path in ["/usr/lib/os-release", "/usr/bin/env", "/usr/bin/true", "/bin/sh", PYTHON] {
        assert!(has_read(&trace, path), "{path}: {:?}", trace.read);
    }
    // What came before the command is no part of it, nor is what belongs to the sandbox.
    let setpriv = Path::new("/usr/bin/setpriv");
    assert!(
        !trace.read.contains(setpriv) && trace.read.iter().all(|path| path.starts_with("/usr")),
        "{:?}",
        trace.read
    );
}

#[tokio::test]
async fn questions_are_no_reading() {
    let bench = Bench::new().await;
    let (_, _, trace) =
        bench.trace(&bench.python("import os; os.stat('/usr/bin/gzip'); os.access('/usr/bin/gzip', 4)")).await;
    assert!(!has_read(&trace, "/usr/bin/gzip") && missed(&trace, "/usr/bin/gzip").is_none());
}

/// What a hostile or strange program does with the calls: the answers are those of the kernel.
#[tokio::test]
async fn nothing_changes_the_outcome() {
    let bench = Bench::new().await;
    let spec = bench.python(
        "import ctypes, errno, os, signal, sys\n\
         def code(path):\n    try: os.close(os.open(path, os.O_RDONLY)); return 0\n    except OSError as error: return error.errno\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         def raw(address):\n    libc.open(ctypes.c_void_p(address), 0); return ctypes.get_errno()\n\
         assert code('/usr/' + 'x/' * 3000) == errno.ENAMETOOLONG\n\
         assert code('/usr/' + 'x' * 300) == errno.ENAMETOOLONG\n\
         assert code('') == errno.ENOENT and code('/usr/bin/env/x') == errno.ENOTDIR\n\
         assert raw(0) == errno.EFAULT and raw(1) == errno.EFAULT and raw(2**63) == errno.EFAULT\n\
         os.mkfifo('/build/fifo'); assert os.path.exists('/build/fifo')\n\
         assert code('/build/' + '../' * 500 + 'usr/bin/env') == 0\n\
         os.mkdir('/build/gone'); os.chdir('/build/gone'); os.rmdir('/build/gone')\n\
         assert code('x') == errno.ENOENT and code('../fifox') == errno.ENOENT\n\
         os.chdir('/build'); libc.prctl(4, 0, 0, 0, 0); assert code('/usr/bin/env') == 0\n\
         seen = []\n\
         signal.signal(signal.SIGALRM, lambda *_: seen.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n\
         assert all(code('/usr/bin/env') == 0 for _ in range(2000))\n\
         signal.setitimer(signal.ITIMER_REAL, 0); assert seen\n\
         for n in range(200):\n    if os.fork() == 0: os.execv('/usr/bin/env', ['env', 'true'])\n\
         assert all(os.wait()[1] == 0 for n in range(200))\n\
         os.closerange(3, 5000); assert code('/usr/bin/env') == 0\n\
         print('unchanged')",
    );
    let (outcome, output, trace) = bench.trace(&spec).await;
    assert!(outcome.success() && output.contains("unchanged"), "{outcome:?} {output}");
    assert!(has_read(&trace, "/usr/bin/env"));
}

/// A filter of its own: one that refuses wins, a second listener is not to be had, and the trace goes on.
#[tokio::test]
async fn filters_of_the_run_itself_work() {
    let bench = Bench::new().await;
    let spec = bench.python(
        "import ctypes, os, struct, platform\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         number = {'x86_64': 21, 'aarch64': 48}[platform.machine()]\n\
         call = 317 if number == 21 else 277\n\
         def filter(action):\n\
         \x20   code = struct.pack('=' + 'HBBI' * 4, 0x20,0,0,0, 0x15,0,1,number, 6,0,0,action, 6,0,0,0x7fff0000)\n\
         \x20   buffer = ctypes.create_string_buffer(code, len(code))\n\
         \x20   return struct.pack('@HP', 4, ctypes.addressof(buffer)), buffer\n\
         libc.prctl(38, 1, 0, 0, 0)\n\
         notify, keep = filter(0x7fc00000)\n\
         assert libc.syscall(call, 1, 8, notify) == -1 and ctypes.get_errno() == 16, 'a second listener'\n\
         refuse, kept = filter(0x00050000 | 13)\n\
         assert libc.syscall(call, 1, 0, refuse) == 0, 'a filter'\n\
         assert libc.access(b'/usr/bin/env', 0) == -1 or number == 48\n\
         assert not os.path.exists('/usr/include/none-after')\n\
         print('unchanged')",
    );
    let (outcome, output, trace) = bench.trace(&spec).await;
    assert!(outcome.success() && output.contains("unchanged"), "{outcome:?} {output}");
    assert!(missed(&trace, "/usr/include/none-after").is_some());
}

#[tokio::test]
async fn a_flood_of_paths_ends_the_notes_and_nothing_else() {
    let bench = Bench::new().await;
    let spec = bench.python(
        "import os\nlong = 'x' * 250\nfor n in range(90000): os.path.exists('/usr/%s/%d' % (long, n))\nprint('done')",
    );
    let (outcome, output, trace) = bench.trace(&spec).await;
    assert!(outcome.success() && output.contains("done"), "{outcome:?} {output}");
    assert!(!trace.complete);
}

/// A limit kills a run whose calls are waiting, and no thread or process is left.
#[tokio::test]
async fn a_killed_run_ends() {
    let bench = Bench::new().await;
    let word = bench.marker();
    let mut spec = bench.shell(&format!("while :; do /usr/bin/env true {word}; done"));
    spec.limits.wall_clock = std::time::Duration::from_millis(300);
    let (outcome, _, _) = bench.trace(&spec).await;
    assert!(matches!(outcome.status, SandboxStatus::TimedOut { .. }), "{outcome:?}");
    assert_eq!(processes_with(&word), Vec::<String>::new());
}
