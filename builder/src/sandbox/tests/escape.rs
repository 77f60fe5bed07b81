//! E2, E3, E7: reaching what was not given.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::*;

/// E2: nothing outside the writable folders can be written, not even what looks like the sandbox's own.
#[tokio::test]
async fn writing_outside_fails() {
    let bench = Bench::new().await;
    let script = "for path in /etc/passwd /etc/new /usr/new /usr/bin/new /bin/new /new /dev/new /proc/new /lib/new \
                    /usr/share/new /etc/ld.so.cache /etc/alternatives/cc /proc/sys/kernel/new; do
                    if ( : >> $path ) 2> /dev/null; then echo WROTE $path; fi
                  done
                  rm -rf /usr/bin/env /etc/passwd 2> /dev/null && echo REMOVED
                  test -x /usr/bin/env && echo still there
                  : > /tmp/fine && : > /build/fine && : > /dev/shm/fine && echo writable";
    let (outcome, output) = bench.run(&bench.shell(script)).await;
    assert_eq!(output, "still there\nwritable\n");
    assert!(outcome.success());
    assert!(Path::new("/usr/bin/env").exists());
}

/// E2, as root above all: the kernel's switches. One of them names a program that the host's root runs on a crash.
/// Only asks for permission, because where this test fails it must not harm the machine.
#[tokio::test]
async fn kernel_switches_cannot_be_written() {
    let bench = Bench::new().await;
    let script = "for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug \
                    /proc/sys/vm/drop_caches /proc/sys/fs/suid_dumpable /proc/sysrq-trigger /proc/irq \
                    /proc/kcore /proc/mtrr; do
                    test -w $file && echo WRITABLE $file
                  done
                  test -e /proc/sys/kernel/core_pattern && echo looked";
    let (_, output) = bench.run(&bench.shell(script)).await;
    assert_eq!(output, "looked\n");
}

/// E2: a file in the user's home, and whatever else is private on the host, does not exist inside.
#[tokio::test]
async fn reading_the_host_fails() {
    let bench = Bench::new().await;
    let home = tempfile::tempdir().expect("temporary directory");
    let secret = home.path().join("id_ed25519");
    fs::write(&secret, "SECRET").expect("file");
    let script = format!(
        "cat {secret} && echo READ
         for path in /root /home /var /run /opt /srv /boot /sys /mnt /media /homeless /etc/shadow /etc/ssl; do
           test -e $path && echo EXISTS $path
         done
         cat /proc/1/environ /proc/1/root/etc/shadow /proc/self/cwd/../../etc/shadow 2> /dev/null && echo READ
         ls -A /tmp /dev/shm /etc | sort | tr '\\n' ' '",
        secret = secret.display()
    );
    let (_, output) = bench.run(&bench.shell(&script)).await;
    assert!(!output.contains("SECRET") && !output.contains("READ"), "{output}");
    let exists: Vec<&str> = output.lines().filter(|line| line.starts_with("EXISTS")).collect();
    assert!(exists.is_empty(), "{exists:?}");
    assert!(output.contains("passwd"), "{output}");
}

/// E2: as root, what only root may read stays unread even in a folder that is visible.
#[tokio::test]
async fn root_only_files_in_visible_folders_stay_closed() {
    let bench = Bench::new().await;
    let visible = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(visible.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
    let secret = visible.path().join("secret");
    fs::write(&secret, "SECRET").expect("file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("own file");
    let read_only = vec![Bind::new(visible.path(), "/visible")];
    let spec = SandboxSpec {
        read_only,
        ..bench.shell("cat /visible/secret; touch /visible/new || echo CLOSED; rm -f /visible/secret; id -u; id -un")
    };
    let (_, output) = bench.run(&spec).await;
    assert_eq!(output.contains("SECRET"), !bench.is_delegated(), "a user's own files are the user's to show: {output}");
    assert!(output.contains("CLOSED") && output.contains("\n1000\nbuilder\n"), "{output}");
    assert!(secret.exists());
}

/// E2: links in the output folder lead nowhere while the build runs.
#[tokio::test]
async fn links_out_of_the_output_folder_lead_nowhere() {
    let bench = Bench::new().await;
    let outside = tempfile::tempdir().expect("temporary directory");
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched").expect("file");
    let script = format!(
        "ln -s {victim} file; ln -s {folder} folder; ln -s ../../../../../etc etc
         echo pwned > file; echo pwned > folder/victim; echo pwned > etc/passwd
         ln {victim} hard; ln /usr/bin/env hard; mv /build /build2; rm -rf ../build; echo done",
        victim = victim.display(),
        folder = outside.path().display()
    );
    let (_, output) = bench.run(&bench.shell(&script)).await;
    assert!(output.ends_with("done\n"), "{output}");
    assert_eq!(fs::read_to_string(&victim).expect("still there"), "untouched");
    assert!(!fs::read_to_string("/etc/passwd").expect("host file").contains("pwned"));
}

const CONNECT: &str = "
import socket, sys
def attempt(what, family, address):
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(5)
        connection.connect(address)
        print('CONNECTED', what)
    except OSError as error:
        print('refused', what)
attempt('loopback', socket.AF_INET, ('127.0.0.1', PORT))
attempt('abstract', socket.AF_UNIX, '\\0NAME')
try:
    socket.getaddrinfo('localhost', 80); print('localhost known')
    socket.getaddrinfo('example.org', 80); print('RESOLVED')
except OSError:
    print('no names')
";

/// E2: neither a port on the host's loopback nor an abstract socket can be reached, and no name resolved. The same program
/// with the resolver's network does reach them: the attempt is real.
#[tokio::test]
async fn the_network_is_out_of_reach() {
    let bench = Bench::new().await;
    let port_listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = port_listener.local_addr().expect("bound").port();
    let name = bench.marker();
    let address = SocketAddr::from_abstract_name(&name).expect("short name");
    let name_listener = UnixListener::bind_addr(&address).expect("abstract socket");
    port_listener.set_nonblocking(true).expect("socket option");
    name_listener.set_nonblocking(true).expect("socket option");

    let program = CONNECT.replace("PORT", &port.to_string()).replace("NAME", &name);
    let (_, output) = bench.run(&bench.python(&program)).await;
    assert_eq!(output, "refused loopback\nrefused abstract\nlocalhost known\nno names\n");
    assert_eq!(port_listener.accept().expect_err("nobody came").kind(), ErrorKind::WouldBlock);
    assert_eq!(name_listener.accept().expect_err("nobody came").kind(), ErrorKind::WouldBlock);

    let program = program.split("try:\n    socket.getaddrinfo").next().expect("first part").to_owned();
    let (_, output) = bench.run(&SandboxSpec { network: Network::Shared, ..bench.python(&program) }).await;
    assert_eq!(output, "CONNECTED loopback\nCONNECTED abstract\n");
}

/// E2: no process but the sandbox's own is to be seen, and none can be signalled.
#[tokio::test]
async fn other_processes_are_invisible() {
    let bench = Bench::new().await;
    // A number that no process in the sandbox has, so that the attempt can only mean the host's.
    let own = std::process::id();
    let program = format!(
        "
import os, signal
seen = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())
print('pids', seen == [1, os.getpid()])
for number in ({own}, os.getppid(), -1):
    try:
        os.kill(number, 0 if number == {own} and number in seen else signal.SIGKILL)
        print('no error', number == {own} and number not in seen)
    except OSError as error:
        print(error.strerror)
print('alive')
"
    );
    let (_, output) = bench.run(&bench.python(&program)).await;
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("pids True"), "{output}");
    assert!(!output.contains("no error True") && output.ends_with("alive\n"), "{output}");
}

/// No capability is left, no group, no way to gain one.
#[tokio::test]
async fn nothing_is_left_of_root() {
    let bench = Bench::new().await;
    let script =
        "id -u; id -g; id -G; grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | \
                  tr -d '\\t'; cat /proc/self/uid_map | tr -s ' '; uname -n; tty
                  grep '^Seccomp:' /proc/1/status";
    let (_, output) = bench.run(&bench.shell(script)).await;
    let zero = "0000000000000000";
    let start = format!(
        "1000\n1000\n1000\nCapInh:{zero}\nCapPrm:{zero}\nCapEff:{zero}\nCapAmb:{zero}\nNoNewPrivs:1\nSeccomp:2\n"
    );
    assert!(output.starts_with(&start), "{output}");
    assert!(output.contains("localhost") && output.contains("not a tty"), "{output}");
    // As a user, the memory of the sandbox's pid 1 can be written: it must not be free of the filter.
    assert!(output.ends_with("Seccomp:\t2\n"), "{output}");
    if bench.is_delegated() {
        assert!(output.contains("1000 2100001980 1") || output.contains("1000 65534 1"), "{output}");
    }
}

const SETUID: &str = r#"
import os, stat, subprocess
open('plain', 'w').close()
os.mkdir('folder')
def attempt(name, action):
    try:
        action(); print('DONE', name)
    except OSError as error:
        print(name, error.strerror)
at = os.open('.', os.O_RDONLY)
fd = os.open('plain', os.O_RDWR)
for mode in (0o4755, 0o2755, 0o6755):
    attempt('chmod', lambda: os.chmod('plain', mode))
    attempt('fchmod', lambda: os.fchmod(fd, mode))
    attempt('fchmodat', lambda: os.chmod('plain', mode, dir_fd=at))
    attempt('folder', lambda: os.chmod('folder', mode))
    attempt('create', lambda: os.open('created%o' % mode, os.O_CREAT | os.O_WRONLY, mode))
    attempt('mknod', lambda: os.mknod('made%o' % mode, mode | stat.S_IFREG))
attempt('device', lambda: os.mknod('device', 0o666 | stat.S_IFCHR, os.makedev(1, 5)))
attempt('attribute', lambda: os.setxattr('plain', 'user.name', b'value'))
for words in (['install', '-m', '4755', '/usr/bin/true', 'installed'], ['chmod', 'u+s', 'plain'], ['chmod', 'g+s', 'folder'],
              ['mkdir', '-m', '2755', 'group'], ['cp', '--preserve=mode', '/usr/bin/passwd', 'passwd']):
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    print(words[0], 'done' if done else 'failed')
attempt('ordinary', lambda: os.chmod('plain', 0o1755))
"#;

/// E3: no variant of chmod, and no way of creating, leaves a setuid or setgid file behind.
#[tokio::test]
async fn setuid_bits_are_refused() {
    let bench = Bench::new().await;
    let (outcome, output) = bench.run(&bench.python(SETUID)).await;
    assert!(outcome.success(), "{output}");
    let refused = "Operation not permitted";
    for name in ["chmod", "fchmod", "fchmodat", "folder", "create", "mknod"] {
        let count = output.lines().filter(|line| *line == format!("{name} {refused}")).count();
        assert_eq!(count, 3, "{name}: {output}");
    }
    assert!(output.contains(&format!("device {refused}")), "{output}");
    assert!(output.contains("attribute Operation not supported"), "{output}");
    assert!(output.contains("install failed\nchmod failed\nchmod failed\n"), "{output}");
    assert_eq!(output.lines().filter(|line| line.starts_with("DONE")).collect::<Vec<_>>(), ["DONE ordinary"]);
    let mut seen = 0;
    for entry in fs::read_dir(bench.path()).expect("scratch") {
        let metadata = entry.expect("entry").metadata().expect("metadata");
        assert_eq!(metadata.mode() & 0o6000, 0);
        seen += 1;
    }
    assert!(seen >= 2);
}

/// E7: a sandbox inside a sandbox is refused with words that our own diagnosis understands.
#[tokio::test]
async fn nested_sandboxes_fail_clearly() {
    let bench = Bench::new().await;
    let script = "/usr/bin/bwrap --unshare-all --ro-bind / / /bin/true; echo bwrap $?
                  unshare --user --map-root-user true; echo unshare $?
                  mount -t tmpfs none /build 2> /dev/null; echo mount $?";
    let (_, output) = bench.run(&bench.shell(script)).await;
    assert!(output.contains("bwrap 1\n") && output.contains("unshare 1\n") && !output.contains("mount 0"), "{output}");
    let inside = diagnosis::KernelSwitches { filtered: true, ..Default::default() };
    let reason = NoSandbox::explain(&output, &inside);
    assert!(matches!(reason, NoSandbox::Container { .. }), "{reason}");
    assert!(reason.remedy().contains("container"), "{}", reason.remedy());
}

/// Debuggers, key rings and the like: refused by the filter, not by luck.
#[tokio::test]
async fn kernel_interfaces_are_refused() {
    let bench = Bench::new().await;
    let program = "
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
arm = platform.machine() == 'aarch64'
calls = {'ptrace': (101, 117), 'keyctl': (250, 219), 'bpf': (321, 280), 'io_uring_setup': (425, 425), 'userfaultfd': (323, 282),
         'perf_event_open': (298, 241), 'open_by_handle_at': (304, 265), 'process_vm_readv': (310, 270), 'clone3': (435, 435)}
for name, numbers in sorted(calls.items()):
    result = libc.syscall(numbers[arm], 0, 0, 0, 0, 0)
    print(name, result, errno.errorcode.get(ctypes.get_errno()))
import os, pty
r, w = pty.openpty()
import fcntl
try:
    fcntl.ioctl(w, 0x5412, b'x'); print('TYPED')
except OSError as error:
    print('TIOCSTI', errno.errorcode[error.errno])
import threading
thread = threading.Thread(target=lambda: print('threads work')); thread.start(); thread.join()
";
    let (outcome, output) = bench.run(&bench.python(program)).await;
    assert!(outcome.success(), "{output}");
    let expected = "bpf -1 EPERM\nclone3 -1 ENOSYS\nio_uring_setup -1 EPERM\nkeyctl -1 EPERM\nopen_by_handle_at -1 EPERM\n\
                    perf_event_open -1 EPERM\nprocess_vm_readv -1 EPERM\nptrace -1 EPERM\nuserfaultfd -1 EPERM\n\
                    TIOCSTI EPERM\nthreads work\n";
    assert_eq!(output, expected);
}
