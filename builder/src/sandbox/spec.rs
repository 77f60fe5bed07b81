//! What a sandbox is, as a value.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::overlay::Overlay;

/// Version of the rules in this module: it is part of every recipe, so a change of what a build can see changes the
/// recipe. Raise it whenever [`super::bwrap::arguments`] or [`super::seccomp`] change what a build can observe.
pub const SANDBOX_POLICY: &str = "bwrap/1";

/// The uid and gid that every sandboxed process sees itself as, whoever runs the tool.
pub const INNER_ID: u32 = 1000;

/// Longest build. Large C++ and Fortran projects take an hour on small machines; twice that is a hang.
pub const WALL_CLOCK_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// Longest time without a byte of output. One link step with LTO can be silent for many minutes.
pub const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);
/// Largest log. The most talkative real builds write some 20 MB; more than this is a loop.
pub const LOG_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Largest single file a build may write. No wheel holds such a file, and one write loop must not fill a disk.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Soft limit of open files: the kernel's traditional default. Python 2.7 closes every possible descriptor one by one
/// for each child, so a larger number makes old builds slow. A build may raise it itself up to [`OPEN_FILES_HARD`].
pub const OPEN_FILES: u64 = 1024;
/// Hard limit of open files: what linkers of very large projects ask for.
pub const OPEN_FILES_HARD: u64 = 65_536;
/// Most processes and threads. Counts all of the user's processes on older kernels, so it must be roomy; it ends a
/// fork bomb before the machine's pid space does.
pub const PROCESSES_MAX: u64 = 16_384;

/// A folder or file of the host that is visible in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host; must exist.
    pub source: PathBuf,
    /// Absolute path in the sandbox; parents are made as empty folders.
    pub target: PathBuf,
}

impl Bind {
    /// A bind of `source` at `target`.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into() }
    }

    /// A bind that keeps the host's path (an interpreter's prefix, which has its own path compiled in).
    pub fn same(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { source: path.clone(), target: path }
    }
}

/// A writable file system in memory that is gone with the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Absolute path in the sandbox.
    pub target: PathBuf,
    /// Largest size in bytes; `None` is the kernel's default, half of the memory. Needs bwrap 0.7, ignored before.
    pub size_bytes: Option<u64>,
}

/// Which network the sandbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// A network of its own with nothing but a loopback device. Builds have this.
    None,
    /// The host's network, its resolver settings and certificates. Only dependency resolution has this.
    Shared,
}

/// What ends a run that does not end itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest run.
    pub wall_clock: Duration,
    /// Longest time without output.
    pub silence: Duration,
    /// Most bytes of output.
    pub log_bytes: u64,
    /// Largest single file in bytes (`RLIMIT_FSIZE`).
    pub file_bytes: u64,
    /// Open files, soft limit (`RLIMIT_NOFILE`); the hard limit is [`OPEN_FILES_HARD`] or the caller's own, if lower.
    pub open_files: u64,
    /// Processes and threads (`RLIMIT_NPROC`).
    pub processes: u64,
    /// Address space of each process in bytes (`RLIMIT_AS`); `None` leaves it open. Some compilers and every
    /// sanitizer reserve terabytes they never use, so there is no default.
    pub address_space_bytes: Option<u64>,
}

/// The limits of a build when nothing else is configured.
pub fn default_limits() -> Limits {
    Limits {
        wall_clock: WALL_CLOCK_MAX,
        silence: SILENCE_MAX,
        log_bytes: LOG_BYTES_MAX,
        file_bytes: FILE_BYTES_MAX,
        open_files: OPEN_FILES,
        processes: PROCESSES_MAX,
        address_space_bytes: None,
    }
}

/// One sandboxed run. There is no builder: every field is named where the value is made.
///
/// Always there, without being asked for: the host's `/usr` (read-only) with the `/bin`, `/lib` … links that belong to
/// it, a new `/proc`, a minimal `/dev`, a minimal `/etc`, a tmpfs at `/tmp`, and nothing else.
///
/// When the tool runs as root, the processes inside are another host user ([`super::Identity::Delegated`]): read-only
/// sources must be readable for others, and everything root owns in a writable source belongs to that user during the
/// run and to root again afterwards. Files with several hard links are left alone, so that a link into a store
/// can neither be written nor change its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSpec {
    /// Visible, not writable: interpreter prefix, build environment, store objects.
    pub read_only: Vec<Bind>,
    /// Visible and writable: the build's scratch folder. Nothing else outlives the run. Must be folders without the
    /// setgid bit (it is inherited, and copying it is refused), and must not hold hard links to anything precious.
    pub writable: Vec<Bind>,
    /// What is laid over `/usr`; `None` for the host's alone.
    pub overlay: Option<Overlay>,
    /// Further tmpfs mounts besides `/tmp` and `/dev/shm`.
    pub tmpfs: Vec<Tmpfs>,
    /// The whole environment; see [`super::build_environment`]. Never passed on a command line.
    pub environment: Vec<(OsString, OsString)>,
    /// Absolute path in the sandbox where the command starts.
    pub working_directory: PathBuf,
    /// The command; `argv[0]` is an absolute path in the sandbox or is searched in the environment's `PATH`.
    pub argv: Vec<OsString>,
    /// What the command reads from standard input; `None` is `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// Network access.
    pub network: Network,
    /// What ends the run early.
    pub limits: Limits,
}

/// A spec that cannot be carried out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// A source or target that is relative, has `..`, or holds a NUL byte.
    #[error("sandbox path `{path}` is not a plain absolute path")]
    Path {
        /// The offending path.
        path: PathBuf,
    },
    /// A target that would replace what keeps the sandbox closed.
    #[error("sandbox target `{path}` is reserved")]
    Reserved {
        /// The offending target.
        path: PathBuf,
    },
    /// An empty command, or a NUL byte in it.
    #[error("sandbox command is empty or holds a NUL byte")]
    Command,
    /// An environment name that is empty or holds `=`, or a NUL byte in a name or value.
    #[error("environment variable `{name}` cannot be set")]
    Variable {
        /// The offending name, lossily decoded.
        name: String,
    },
}

/// Targets that belong to the sandbox itself: neither they nor what is below them can be given by a caller.
const RESERVED: [&str; 3] = ["/proc", "/dev", "/etc"];

impl SandboxSpec {
    /// Checks what can be checked without looking at the host.
    pub fn check(&self) -> Result<(), SpecError> {
        for bind in self.read_only.iter().chain(&self.writable) {
            check_path(&bind.source)?;
            check_target(&bind.target)?;
        }
        for path in self.overlay.iter().flat_map(|overlay| overlay.layers.iter().chain([&overlay.work])) {
            check_path(path)?;
        }
        self.tmpfs.iter().try_for_each(|mount| check_target(&mount.target))?;
        check_path(&self.working_directory)?;
        if self.argv.first().is_none_or(|program| program.is_empty()) || self.argv.iter().any(|word| has_nul(word)) {
            return Err(SpecError::Command);
        }
        for (name, value) in &self.environment {
            if name.is_empty() || name.as_bytes().contains(&b'=') || has_nul(name) || has_nul(value) {
                return Err(SpecError::Variable { name: name.to_string_lossy().into_owned() });
            }
        }
        Ok(())
    }
}

fn has_nul(word: &std::ffi::OsStr) -> bool {
    word.as_bytes().contains(&0)
}

fn check_path(path: &Path) -> Result<(), SpecError> {
    let plain = path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
    if plain && !has_nul(path.as_os_str()) { Ok(()) } else { Err(SpecError::Path { path: path.to_owned() }) }
}

fn check_target(path: &Path) -> Result<(), SpecError> {
    check_path(path)?;
    let replaces_root = path.components().count() < 2 || path == Path::new("/usr");
    if replaces_root || RESERVED.iter().any(|reserved| path.starts_with(reserved)) {
        return Err(SpecError::Reserved { path: path.to_owned() });
    }
    Ok(())
}
