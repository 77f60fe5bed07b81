//! What this machine offers: read once, then passed around as a value.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::diagnosis::{KernelSwitches, NoSandbox};
use super::overlay::Overlay;
use super::spec::{Limits, Network, SandboxSpec, default_limits};
use super::{CancelSignal, SandboxError, SandboxStatus, TraceRefused, etc, run, run_traced};

/// Oldest bwrap that can do what we ask for: `--perms`, `--clearenv` (both 0.5.0).
pub const BWRAP_VERSION_MIN: BwrapVersion = BwrapVersion(0, 5, 0);
/// First bwrap with `--size` for tmpfs mounts.
pub(super) const BWRAP_VERSION_TMPFS_SIZE: BwrapVersion = BwrapVersion(0, 7, 0);

/// Host ids for sandboxed processes when the tool runs as root, in order of preference. The first lies between the ids
/// that systemd and SSSD hand out (up to 2,000,200,000) and the end of the positive 32-bit numbers: nobody's account, container
/// or service. The second is `nobody`, for containers whose user namespace has no more than 65,536 ids.
const DELEGATED_IDS: [u32; 2] = [2_100_001_980, 65_534];

/// Where Debian and its derivatives have `setpriv`; it must lie in `/usr`, the sandbox's own copy is used.
pub(super) const SETPRIV: &str = "/usr/bin/setpriv";
/// From coreutils; sets variables after the change of user, see [`super::bwrap`].
pub(super) const ENV: &str = "/usr/bin/env";

/// Version of the bwrap program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BwrapVersion(pub u32, pub u32, pub u32);

impl BwrapVersion {
    /// Reads the answer to `bwrap --version` (`bubblewrap 0.8.0`).
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().rsplit(' ').next()?.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
        Some(Self(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

impl fmt::Display for BwrapVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Who the sandboxed processes are outside the sandbox. Inside they always are uid and gid 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// The user who runs the tool, without any privilege.
    Caller,
    /// The tool runs as root: an otherwise unused host id, so that nothing that belongs to root can be touched.
    Delegated {
        /// Host uid and gid.
        id: u32,
    },
}

/// What one of the top-level folders that belong to `/usr` is on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootEntryKind {
    /// Merged `/usr`: a link, mirrored as it is.
    Link(PathBuf),
    /// A folder of its own, bound read-only.
    Directory,
}

/// A top-level entry such as `/lib64`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootEntry {
    /// Absolute path.
    pub path: PathBuf,
    /// What it is.
    pub kind: RootEntryKind,
}

/// Facts about the host that a sandbox depends on. Plain data: may be kept between runs of the tool as long as
/// [`HostFacts::cache_key`] gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The bwrap program.
    pub bwrap: PathBuf,
    /// Its version.
    pub bwrap_version: BwrapVersion,
    /// Who runs the build.
    pub identity: Identity,
    /// `/bin`, `/lib` …: those that exist.
    pub root_entries: Vec<RootEntry>,
    /// Files and folders in `/etc` that every sandbox sees.
    pub etc: Vec<PathBuf>,
    /// Files and folders in `/etc` that a sandbox with network sees.
    pub etc_network: Vec<PathBuf>,
}

/// What the caller knows and this crate does not ask the environment for.
#[derive(Clone, Copy, Debug)]
pub struct HostQuery<'a> {
    /// The value of `PATH`; relative entries are skipped.
    pub search_path: &'a OsStr,
}

impl HostFacts {
    /// Finds bwrap, reads the layout of the host and really runs `true` in a sandbox (about ten milliseconds).
    ///
    /// # Errors
    /// [`NoSandbox`] with the reason and the remedy.
    pub async fn probe(query: &HostQuery<'_>) -> Result<Self, NoSandbox> {
        let facts = Self::read(query)?;
        let mut output = Vec::new();
        match run(&probe_spec(), &facts, &mut output, &mut CancelSignal::never()).await {
            Ok(outcome) if outcome.status == SandboxStatus::Exited { code: 0 } => Ok(facts),
            Ok(_) => Err(NoSandbox::explain(&String::from_utf8_lossy(&output), &KernelSwitches::read())),
            Err(SandboxError::Setup { message }) => Err(NoSandbox::explain(&message, &KernelSwitches::read())),
            Err(error) => Err(NoSandbox::Failed { source: Box::new(error) }),
        }
    }

    /// Whether runs can be traced here: traces `true`.
    ///
    /// # Errors
    /// [`TraceRefused`] with the reason, also when the sandbox itself fails.
    pub async fn probe_trace(&self) -> Result<(), TraceRefused> {
        let mut output = Vec::new();
        match run_traced(&probe_spec(), self, &mut output, &mut CancelSignal::never()).await {
            Ok((_, traced)) => traced.map(drop),
            Err(error) => Err(TraceRefused::Start(std::io::Error::other(error))),
        }
    }

    /// Whether `overlay` can be laid over `/usr` here: runs `true` below it.
    ///
    /// # Errors
    /// The reason, as the end of a sentence.
    pub async fn probe_overlay(&self, overlay: &Overlay) -> Result<(), String> {
        let mut output = Vec::new();
        let spec = SandboxSpec { overlay: Some(overlay.clone()), ..probe_spec() };
        match run(&spec, self, &mut output, &mut CancelSignal::never()).await {
            Ok(outcome) if outcome.status == SandboxStatus::Exited { code: 0 } => Ok(()),
            Ok(_) => Err(String::from_utf8_lossy(&output).trim().to_owned()),
            Err(SandboxError::Start { source, .. }) => Err(source.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The facts without the trial run: cheap, but does not say whether a sandbox is possible.
    ///
    /// # Errors
    /// [`NoSandbox`] when a program is missing or too old.
    pub fn read(query: &HostQuery<'_>) -> Result<Self, NoSandbox> {
        let bwrap = find_program("bwrap", query.search_path).ok_or(NoSandbox::NotInstalled)?;
        let bwrap_version = ask_version(&bwrap)?;
        if bwrap_version < BWRAP_VERSION_MIN {
            return Err(NoSandbox::TooOld { path: bwrap, found: bwrap_version, needed: BWRAP_VERSION_MIN });
        }
        let identity = if geteuid().is_root() { delegated()? } else { Identity::Caller };
        let existing = |paths: &[&str]| paths.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
        Ok(Self {
            bwrap,
            bwrap_version,
            identity,
            root_entries: root_entries(Path::new("/")),
            etc: existing(&etc::FROM_HOST),
            etc_network: existing(&etc::FROM_HOST_NETWORK),
        })
    }

    /// A string that changes when remembered facts are no longer to be trusted: another user, kernel, boot, switch or
    /// bwrap program. Cheap (a handful of small reads).
    pub fn cache_key(query: &HostQuery<'_>) -> String {
        let word = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let program = find_program("bwrap", query.search_path);
        let stamp = program.as_ref().and_then(|path| fs::metadata(path).ok()).map(|metadata| {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
        });
        format!(
            "{}|{}|{}|{:?}|{:?}|{:?}",
            super::SANDBOX_POLICY,
            geteuid(),
            word("/proc/sys/kernel/random/boot_id"),
            program,
            stamp,
            KernelSwitches::read(),
        )
    }
}

/// The smallest run there is.
fn probe_spec() -> SandboxSpec {
    SandboxSpec {
        read_only: Vec::new(),
        writable: Vec::new(),
        overlay: None,
        tmpfs: Vec::new(),
        environment: Vec::new(),
        working_directory: PathBuf::from("/"),
        argv: vec!["/bin/true".into()],
        stdin: None,
        network: Network::None,
        limits: Limits { wall_clock: std::time::Duration::from_secs(60), ..default_limits() },
    }
}

fn find_program(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(
        |path| {
            fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        },
    )
}

fn ask_version(bwrap: &Path) -> Result<BwrapVersion, NoSandbox> {
    let answer = Command::new(bwrap).arg("--version").env_clear().stdin(Stdio::null()).output();
    let answer = answer.map_err(|source| NoSandbox::NotRunnable { path: bwrap.to_owned(), source })?;
    let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    BwrapVersion::parse(&text).ok_or_else(|| NoSandbox::UnknownVersion { path: bwrap.to_owned(), answer: text })
}

fn delegated() -> Result<Identity, NoSandbox> {
    for program in [SETPRIV, ENV] {
        if !Path::new(program).exists() {
            return Err(NoSandbox::ProgramMissing { path: PathBuf::from(program) });
        }
    }
    let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(|path| fs::read_to_string(path).unwrap_or_default());
    DELEGATED_IDS
        .into_iter()
        .find(|id| maps.iter().all(|map| is_mapped(map, *id)))
        .map(|id| Identity::Delegated { id })
        .ok_or(NoSandbox::NoUnusedId)
}

/// Whether the id exists in the user namespace whose `uid_map` this is: lines of "first, host first, count".
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first.saturating_add(count)).contains(&u64::from(id)))
    })
}

fn root_entries(root: &Path) -> Vec<RootEntry> {
    let mut entries = Vec::new();
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let on_host = root.join(name);
        let kind = match fs::read_link(&on_host) {
            Ok(target) => RootEntryKind::Link(target),
            Err(_) if on_host.is_dir() => RootEntryKind::Directory,
            Err(_) => continue,
        };
        entries.push(RootEntry { path: Path::new("/").join(name), kind });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(BwrapVersion::parse("bubblewrap 0.8.0\n"), Some(BwrapVersion(0, 8, 0)));
        assert_eq!(BwrapVersion::parse("bubblewrap 0.11"), Some(BwrapVersion(0, 11, 0)));
        assert_eq!(BwrapVersion::parse("what?"), None);
        assert!(BwrapVersion(0, 11, 0) > BWRAP_VERSION_MIN && BwrapVersion(0, 4, 1) < BWRAP_VERSION_MIN);
    }

    #[test]
    fn id_maps() {
        assert!(is_mapped("         0          0 4294967295\n", DELEGATED_IDS[0]));
        let container = "0 1000 1\n1 100000 65536\n";
        assert!(!is_mapped(container, DELEGATED_IDS[0]) && is_mapped(container, DELEGATED_IDS[1]));
        assert!(!is_mapped("0 1000 1\n", DELEGATED_IDS[1]) && !is_mapped("rubbish", 0));
    }

    #[test]
    fn layout_is_mirrored() {
        let root = tempfile::tempdir().expect("temporary directory");
        std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).expect("link");
        fs::create_dir(root.path().join("lib")).expect("folder");
        let entries = root_entries(root.path());
        assert_eq!(entries[0], RootEntry { path: "/bin".into(), kind: RootEntryKind::Link("usr/bin".into()) });
        assert_eq!(entries[1], RootEntry { path: "/lib".into(), kind: RootEntryKind::Directory });
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn facts_survive_a_cache() {
        let query = HostQuery { search_path: OsStr::new("/usr/bin") };
        let facts = HostFacts::read(&query).expect("bwrap is installed");
        let text = serde_json::to_string(&facts).expect("plain data");
        assert_eq!(serde_json::from_str::<HostFacts>(&text).expect("round trip"), facts);
        assert_eq!(HostFacts::cache_key(&query), HostFacts::cache_key(&query));
    }
}
