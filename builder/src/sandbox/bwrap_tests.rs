//! What a sandbox is, word by word. A change here is a change of the policy: see [`super::super::SANDBOX_POLICY`].

use std::path::PathBuf;

use super::super::spec::{Bind, SandboxSpec, Tmpfs, default_limits};
use super::super::{BwrapVersion, RootEntry};
use super::*;

fn host(identity: Identity) -> HostFacts {
    let link = |path: &str, target: &str| RootEntry { path: path.into(), kind: RootEntryKind::Link(target.into()) };
    HostFacts {
        bwrap: "/usr/bin/bwrap".into(),
        bwrap_version: BwrapVersion(0, 8, 0),
        identity,
        root_entries: vec![
            link("/bin", "usr/bin"),
            link("/lib", "usr/lib"),
            RootEntry { path: "/lib64".into(), kind: RootEntryKind::Directory },
        ],
        etc: vec!["/etc/ld.so.cache".into(), "/etc/alternatives".into()],
        etc_network: vec!["/etc/resolv.conf".into(), "/etc/ssl/certs".into()],
    }
}

fn spec(network: Network) -> SandboxSpec {
    SandboxSpec {
        read_only: vec![
            Bind::same("/home/u/.pyenv/versions/3.12.1"),
            Bind::new("/store/abc-wheel", "/pip-accel/store/abc-wheel"),
            Bind::new("/scratch/env", "/pip-accel/env"),
        ],
        writable: vec![Bind::new("/scratch/build", "/build")],
        overlay: None,
        tmpfs: vec![Tmpfs { target: "/var/tmp".into(), size_bytes: Some(1_000_000) }],
        environment: vec![("HOME".into(), "/homeless".into()), ("LD_LIBRARY_PATH".into(), "/build/lib".into())],
        working_directory: "/build".into(),
        argv: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        stdin: None,
        network,
        limits: default_limits(),
    }
}

fn lines(words: &[OsString]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let word = word.to_string_lossy().into_owned();
        match lines.last_mut() {
            Some(line) if !word.starts_with("--") => line.extend([" ", &word]),
            _ => lines.push(word),
        }
    }
    lines
}

fn descriptors(files: i32) -> Descriptors {
    Descriptors { status: 10, hold: 11, ignored: 12, seccomp: 13, etc: (20..20 + files).collect() }
}

#[test]
fn build_as_user() {
    let words = arguments(&spec(Network::None), &host(Identity::Caller), &descriptors(4));
    let expected = "--unshare-all
--unshare-user
--die-with-parent
--new-session
--hostname localhost
--clearenv
--cap-drop ALL
--uid 1000
--gid 1000
--ro-bind /usr /usr
--symlink usr/bin /bin
--symlink usr/lib /lib
--ro-bind /lib64 /lib64
--proc /proc
--dev /dev
--perms 1777
--tmpfs /dev/shm
--perms 1777
--tmpfs /tmp
--dir /etc
--perms 0444
--file 20 /etc/passwd
--perms 0444
--file 21 /etc/group
--perms 0444
--file 22 /etc/hosts
--perms 0444
--file 23 /etc/nsswitch.conf
--symlink /usr/share/zoneinfo/UTC /etc/localtime
--symlink /usr/lib/os-release /etc/os-release
--ro-bind /etc/ld.so.cache /etc/ld.so.cache
--ro-bind /etc/alternatives /etc/alternatives
--bind /scratch/build /build
--dir /pip-accel
--ro-bind /scratch/env /pip-accel/env
--dir /var
--perms 1777
--size 1000000
--tmpfs /var/tmp
--dir /pip-accel/store
--ro-bind /store/abc-wheel /pip-accel/store/abc-wheel
--dir /home
--dir /home/u
--dir /home/u/.pyenv
--dir /home/u/.pyenv/versions
--ro-bind /home/u/.pyenv/versions/3.12.1 /home/u/.pyenv/versions/3.12.1
--remount-ro /dev
--remount-ro /
--chdir /build
--setenv HOME /homeless
--setenv LD_LIBRARY_PATH /build/lib
--seccomp 13
--json-status-fd 10
--block-fd 11";
    assert_eq!(lines(&words).join("\n"), expected);
    assert_eq!(command(&spec(Network::None), &host(Identity::Caller)), ["/bin/sh", "-c", "make"]);
}

/// As root: other capabilities, other hand-shake, and no variable that steers the loader before the change of user.
#[test]
fn build_as_root() {
    let host = host(Identity::Delegated { id: 2_100_001_980 });
    let words = lines(&arguments(&spec(Network::None), &host, &descriptors(4)));
    let tail = "--chdir /build
--setenv HOME /homeless
--seccomp 13
--json-status-fd 10
--userns-block-fd 11
--info-fd 12";
    assert!(words.join("\n").ends_with(tail), "{words:#?}");
    assert!(words.contains(&"--cap-add CAP_SETUID".to_owned()) && words.contains(&"--cap-add CAP_SETGID".to_owned()));
    assert!(!words.iter().any(|line| line.starts_with("--uid")));
    let expected = "/usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all -- \
                    /usr/bin/env LD_LIBRARY_PATH=/build/lib /bin/sh -c make";
    let command: Vec<_> =
        command(&spec(Network::None), &host).into_iter().map(|word| word.into_string().expect("text")).collect();
    assert_eq!(command.join(" "), expected);
}

#[test]
fn resolver_with_network() {
    let words = lines(&arguments(&spec(Network::Shared), &host(Identity::Caller), &descriptors(3)));
    assert_eq!(words[2], "--share-net");
    for line in [
        "--ro-bind /etc/resolv.conf /etc/resolv.conf",
        "--dir /etc/ssl",
        "--ro-bind /etc/ssl/certs /etc/ssl/certs",
        "--file 22 /etc/nsswitch.conf",
    ] {
        assert!(words.contains(&line.to_owned()), "{line}");
    }
    assert!(!words.iter().any(|line| line.ends_with(" /etc/hosts") && line.starts_with("--file")));
}

#[test]
fn an_old_bwrap_gets_no_size() {
    let mut old = host(Identity::Caller);
    old.bwrap_version = BwrapVersion(0, 6, 1);
    assert!(!arguments(&spec(Network::None), &old, &descriptors(4)).contains(&"--size".into()));
}

#[test]
fn contradictory_specs_are_refused() {
    use super::super::SpecError;
    let check = |change: &dyn Fn(&mut SandboxSpec)| {
        let mut spec = spec(Network::None);
        change(&mut spec);
        spec.check()
    };
    assert_eq!(check(&|_| {}), Ok(()));
    let path = |text: &str| PathBuf::from(text);
    for target in ["/", "/proc", "/proc/sys", "/dev/shm", "/etc/passwd", "/usr"] {
        let result = check(&|spec| spec.writable[0].target = path(target));
        assert_eq!(result, Err(SpecError::Reserved { path: path(target) }));
    }
    for target in ["build", "/build/../etc", ""] {
        let result = check(&|spec| spec.writable[0].target = path(target));
        assert_eq!(result, Err(SpecError::Path { path: path(target) }));
    }
    assert_eq!(check(&|spec| spec.argv.clear()), Err(SpecError::Command));
    assert_eq!(check(&|spec| spec.argv.push("a\0b".into())), Err(SpecError::Command));
    for name in ["", "A=B", "A\0"] {
        let result = check(&|spec| spec.environment.push((name.into(), "x".into())));
        assert_eq!(result, Err(SpecError::Variable { name: name.to_owned() }));
    }
}
