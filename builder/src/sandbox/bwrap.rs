//! From a spec and the facts about the host to bwrap's arguments: pure, so that a snapshot shows what a sandbox is.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::etc;
use super::host::{BWRAP_VERSION_TMPFS_SIZE, ENV, HostFacts, Identity, RootEntryKind, SETPRIV};
use super::overlay::Overlay;
use super::spec::{INNER_ID, Network, SandboxSpec};

/// Numbers of the descriptors that bwrap inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// bwrap writes JSON documents here: the sandbox's pid 1, later its exit code.
    pub status: RawFd,
    /// bwrap reads a byte here before it lets anything hostile run.
    pub hold: RawFd,
    /// Where bwrap writes what we do not read (`/dev/null`).
    pub ignored: RawFd,
    /// The system call filter.
    pub seccomp: RawFd,
    /// The files of `/etc`, in the order of the list for this kind of network.
    pub etc: Vec<RawFd>,
}

/// The options of bwrap for a spec. They are handed over through `--args`, not on the command line, which every user of
/// the machine can read.
pub fn arguments(spec: &SandboxSpec, host: &HostFacts, descriptors: &Descriptors) -> Vec<OsString> {
    let mut arguments = Arguments(Vec::new());
    namespaces(&mut arguments, spec, host.identity);
    system(&mut arguments, spec, host);
    etc_files(&mut arguments, spec.network, host, &descriptors.etc);
    mounts(&mut arguments, spec, host);
    // Last of the mounts: nothing can be made at the top level or in /etc any more.
    arguments.add(["--remount-ro", "/dev", "--remount-ro", "/"]);
    arguments.path("--chdir", &spec.working_directory);
    for (name, value) in spec.environment.iter().filter(|(name, _)| !steers_the_loader(host, name)) {
        arguments.add([OsStr::new("--setenv"), name, value]);
    }
    arguments.number("--seccomp", descriptors.seccomp);
    arguments.number("--json-status-fd", descriptors.status);
    match host.identity {
        Identity::Caller => arguments.number("--block-fd", descriptors.hold),
        Identity::Delegated { .. } => {
            arguments.number("--userns-block-fd", descriptors.hold);
            // bwrap insists on it together with --userns-block-fd; it says less than the status does.
            arguments.number("--info-fd", descriptors.ignored);
        }
    }
    arguments.0
}

/// The command bwrap runs: the spec's own, as root behind a change of user.
///
/// With [`Identity::Delegated`], bwrap itself stays root (of its user namespace, with the host's root behind it), because
/// only root reaches the sources of all binds. `setpriv` leaves that identity for good before the spec's
/// command starts. Variables that steer the dynamic loader or the C library are set after it, by `env`: nothing a build
/// left in its scratch folder is loaded while the process still is root.
pub fn command(spec: &SandboxSpec, host: &HostFacts) -> Vec<OsString> {
    let mut command: Vec<OsString> = Vec::new();
    if matches!(host.identity, Identity::Delegated { .. }) {
        command.push(SETPRIV.into());
        command.push(format!("--reuid={INNER_ID}").into());
        command.push(format!("--regid={INNER_ID}").into());
        command.extend(["--clear-groups", "--inh-caps=-all", "--"].map(OsString::from));
        let late: Vec<_> = spec.environment.iter().filter(|(name, _)| steers_the_loader(host, name)).collect();
        if !late.is_empty() {
            command.push(ENV.into());
            for (name, value) in late {
                command.push([name.as_os_str(), OsStr::new("="), value].concat_words());
            }
        }
    }
    command.extend(spec.argv.iter().cloned());
    command
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<W: AsRef<OsStr>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.0.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }

    fn path(&mut self, option: &str, path: &Path) {
        self.add([OsStr::new(option), path.as_os_str()]);
    }

    fn mount(&mut self, option: &str, source: &Path, target: &Path) {
        self.add([OsStr::new(option), source.as_os_str(), target.as_os_str()]);
    }

    fn number(&mut self, option: &str, descriptor: RawFd) {
        self.add([option, &descriptor.to_string()]);
    }
}

trait ConcatWords {
    fn concat_words(&self) -> OsString;
}

impl ConcatWords for [&OsStr; 3] {
    fn concat_words(&self) -> OsString {
        let mut all = OsString::new();
        self.iter().for_each(|word| all.push(word));
        all
    }
}

fn namespaces(arguments: &mut Arguments, spec: &SandboxSpec, identity: Identity) {
    // --unshare-all only tries a user namespace; without one there must be no sandbox.
    arguments.add(["--unshare-all", "--unshare-user"]);
    if spec.network == Network::Shared {
        arguments.add(["--share-net"]);
    }
    arguments.add(["--die-with-parent", "--new-session", "--hostname", "localhost", "--clearenv", "--cap-drop", "ALL"]);
    match identity {
        Identity::Caller => {
            let id = INNER_ID.to_string();
            arguments.add(["--uid", &id, "--gid", &id]);
        }
        // What setpriv needs; they are gone after it.
        Identity::Delegated { .. } => arguments.add(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]),
    }
}

fn system(arguments: &mut Arguments, spec: &SandboxSpec, host: &HostFacts) {
    let usr = spec.overlay.as_ref().map_or_else(|| PathBuf::from("/usr"), Overlay::mounted);
    arguments.mount("--ro-bind", &usr, Path::new("/usr"));
    for entry in &host.root_entries {
        match &entry.kind {
            RootEntryKind::Link(target) => arguments.mount("--symlink", target, &entry.path),
            RootEntryKind::Directory => arguments.mount("--ro-bind", &entry.path, &entry.path),
        }
    }
    arguments.add(["--proc", "/proc", "--dev", "/dev"]);
    for shared in ["/dev/shm", "/tmp"] {
        arguments.add(["--perms", "1777", "--tmpfs", shared]);
    }
}

fn etc_files(arguments: &mut Arguments, network: Network, host: &HostFacts, descriptors: &[RawFd]) {
    arguments.add(["--dir", "/etc"]);
    for (file, descriptor) in etc::files(network).iter().zip(descriptors) {
        arguments.add(["--perms", "0444", "--file", &descriptor.to_string(), file.path]);
    }
    arguments.add(["--symlink", "/usr/share/zoneinfo/UTC", "/etc/localtime"]);
    arguments.add(["--symlink", "/usr/lib/os-release", "/etc/os-release"]);
    let network_files: &[PathBuf] = if network == Network::Shared { &host.etc_network } else { &[] };
    let mut made = BTreeSet::from([PathBuf::from("/"), PathBuf::from("/etc")]);
    for path in host.etc.iter().chain(network_files) {
        parents(arguments, path, &mut made);
        arguments.mount("--ro-bind", path, path);
    }
}

fn mounts(arguments: &mut Arguments, spec: &SandboxSpec, host: &HostFacts) {
    enum Mount<'a> {
        Bind(&'static str, &'a Path),
        Tmpfs(Option<u64>),
    }
    let read_only = spec.read_only.iter().map(|bind| (&bind.target, Mount::Bind("--ro-bind", &bind.source)));
    let writable = spec.writable.iter().map(|bind| (&bind.target, Mount::Bind("--bind", &bind.source)));
    let tmpfs = spec.tmpfs.iter().map(|mount| (&mount.target, Mount::Tmpfs(mount.size_bytes)));
    let mut all: Vec<_> = read_only.chain(writable).chain(tmpfs).collect();
    // Outer before inner, otherwise in the order given: a mount never hides one inside it.
    all.sort_by_key(|(target, _)| target.components().count());

    let mut made: BTreeSet<PathBuf> = ["/", "/usr", "/tmp"].iter().map(PathBuf::from).collect();
    for (target, mount) in all {
        parents(arguments, target, &mut made);
        made.insert(target.clone());
        match mount {
            Mount::Bind(option, source) => arguments.mount(option, source, target),
            Mount::Tmpfs(size) => {
                arguments.add(["--perms", "1777"]);
                if let Some(size) = size.filter(|_| host.bwrap_version >= BWRAP_VERSION_TMPFS_SIZE) {
                    arguments.add(["--size", &size.to_string()]);
                }
                arguments.path("--tmpfs", target);
            }
        }
    }
}

/// Makes the folders above a mount point, readable for all. bwrap would make them 0700, and as root they belong to
/// somebody else than the build.
fn parents(arguments: &mut Arguments, target: &Path, made: &mut BTreeSet<PathBuf>) {
    let Some(parent) = target.parent() else { return };
    if parent.starts_with("/usr") || !made.insert(parent.to_owned()) {
        return;
    }
    parents(arguments, parent, made);
    arguments.path("--dir", parent);
}

/// Variables that make a program run as root load files or code; a superset of glibc's own list for setuid programs.
fn steers_the_loader(host: &HostFacts, name: &OsStr) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"GLIBC_TUNABLES",
        b"GCONV_PATH",
        b"GETCONF_DIR",
        b"HOSTALIASES",
        b"LOCALDOMAIN",
        b"LOCPATH",
        b"MALLOC_TRACE",
        b"NIS_PATH",
        b"NLSPATH",
        b"RESOLV_HOST_CONF",
        b"RES_OPTIONS",
    ];
    let name = name.as_bytes();
    matches!(host.identity, Identity::Delegated { .. }) && (name.starts_with(b"LD_") || NAMES.contains(&name))
}

#[cfg(test)]
#[path = "bwrap_tests.rs"]
mod tests;
