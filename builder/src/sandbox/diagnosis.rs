//! Why no sandbox is possible here, and what to do about it.

use std::fs;
use std::path::PathBuf;

use super::SandboxError;
use super::host::BwrapVersion;

/// The reason a sandbox is impossible on this host. Each has a [`NoSandbox::remedy`].
#[derive(Debug, thiserror::Error)]
pub enum NoSandbox {
    /// No `bwrap` program.
    #[error("the program `bwrap` (bubblewrap) is not installed")]
    NotInstalled,
    /// It cannot be started.
    #[error("`{path}` cannot be started")]
    NotRunnable {
        /// The program.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not say which version it is.
    #[error("`{path} --version` answers `{answer}`, which names no version")]
    UnknownVersion {
        /// The program.
        path: PathBuf,
        /// Its first answer.
        answer: String,
    },
    /// It lacks options that we need.
    #[error("`{path}` is version {found}, at least {needed} is needed")]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        found: BwrapVersion,
        /// The oldest that will do.
        needed: BwrapVersion,
    },
    /// A program of util-linux or coreutils that is needed to run as root.
    #[error("the program `{path}`, which a sandbox of root needs, is missing")]
    ProgramMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Root in a user namespace that has no other ids.
    #[error("this container has a single user id, and builds must not run as root")]
    NoUnusedId,
    /// A kernel switch forbids user namespaces.
    #[error("user namespaces are switched off (`{switch}` is {value})")]
    SwitchedOff {
        /// Name of the sysctl.
        switch: &'static str,
        /// Its value.
        value: i64,
    },
    /// AppArmor forbids them to programs without a profile (Ubuntu 23.10 and later).
    #[error("AppArmor forbids user namespaces to programs without a profile: {message}")]
    AppArmor {
        /// What bwrap said.
        message: String,
    },
    /// A container without the permissions for containers inside.
    #[error("this container does not allow sandboxes inside it: {message}")]
    Container {
        /// What bwrap said.
        message: String,
    },
    /// bwrap failed in a way we have no name for.
    #[error("bwrap cannot make a sandbox: {message}")]
    Other {
        /// What bwrap said.
        message: String,
    },
    /// The trial run could not be supervised.
    #[error("the trial run of a sandbox failed")]
    Failed {
        /// Why.
        source: Box<SandboxError>,
    },
}

impl NoSandbox {
    /// What the user can do: one or two sentences.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotInstalled => "install it: apt-get install bubblewrap".to_owned(),
            Self::NotRunnable { path, .. } | Self::UnknownVersion { path, .. } => {
                format!("check `{}`, or install it anew: apt-get install --reinstall bubblewrap", path.display())
            }
            Self::TooOld { needed, .. } => format!("install bubblewrap {needed} or later (Debian 12 has 0.8)"),
            Self::ProgramMissing { path } => {
                let package = if path.ends_with("env") { "coreutils" } else { "util-linux" };
                format!("install it: apt-get install {package}; or run the tool as an ordinary user")
            }
            Self::NoUnusedId => {
                "give the container a range of user ids, or run the tool as an ordinary user".to_owned()
            }
            Self::SwitchedOff { switch: "user.max_user_namespaces", .. } => {
                "as root: sysctl -w user.max_user_namespaces=15000".to_owned()
            }
            Self::SwitchedOff { switch, .. } => format!("as root: sysctl -w {switch}=1"),
            Self::AppArmor { .. } => "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, \
                 or install the AppArmor profile for bwrap: apt-get install apparmor-profiles"
                .to_owned(),
            Self::Container { .. } => "start the container with --security-opt seccomp=unconfined --security-opt \
                 apparmor=unconfined --security-opt systempaths=unconfined (or --privileged); \
                 or build with --no-sandbox if the container itself is the protection"
                .to_owned(),
            Self::Other { .. } | Self::Failed { .. } => {
                "run `bwrap --unshare-all --ro-bind / / true` to see the failure alone".to_owned()
            }
        }
    }

    /// The reason behind a run for which no sandbox could be made; another error comes back.
    pub(crate) fn behind(error: SandboxError) -> Result<Self, SandboxError> {
        match error {
            SandboxError::Setup { message } => Ok(Self::explain(&message, &KernelSwitches::read())),
            SandboxError::Start { path, source } => Ok(Self::NotRunnable { path, source }),
            error => Err(error),
        }
    }

    /// Names the reason behind a failed trial run.
    pub(super) fn explain(message: &str, switches: &KernelSwitches) -> Self {
        let message = message.trim().to_owned();
        let namespaces = ["namespace", "uid map", "gid map", "RTM_NEWADDR", "Operation not permitted", "proc on"];
        let about_namespaces = namespaces.iter().any(|words| message.contains(words));
        if !about_namespaces {
            return Self::Other { message };
        }
        match *switches {
            KernelSwitches { unprivileged_userns_clone: Some(0), root: false, .. } => {
                Self::SwitchedOff { switch: "kernel.unprivileged_userns_clone", value: 0 }
            }
            KernelSwitches { max_user_namespaces: Some(0), .. } => {
                Self::SwitchedOff { switch: "user.max_user_namespaces", value: 0 }
            }
            KernelSwitches { in_container: true, .. } => Self::Container { message },
            KernelSwitches { apparmor_restrict: Some(1..), root: false, .. } => Self::AppArmor { message },
            KernelSwitches { filtered: true, .. } => Self::Container { message },
            _ => Self::Other { message },
        }
    }
}

/// What the kernel and the surroundings say about namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KernelSwitches {
    /// `kernel.unprivileged_userns_clone` (Debian and derivatives).
    pub(super) unprivileged_userns_clone: Option<i64>,
    /// `user.max_user_namespaces`.
    pub(super) max_user_namespaces: Option<i64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu).
    pub(super) apparmor_restrict: Option<i64>,
    /// Container managers leave these marks.
    pub(super) in_container: bool,
    /// A seccomp filter is already in force.
    pub(super) filtered: bool,
    /// We are uid 0.
    pub(super) root: bool,
}

impl KernelSwitches {
    /// Reads them; what cannot be read is absent.
    pub(super) fn read() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        let marks = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            apparmor_restrict: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            in_container: marks.iter().any(|mark| fs::exists(mark).unwrap_or(false)),
            filtered: seccomp.is_some_and(|mode| mode.trim() != "0"),
            root: nix::unistd::geteuid().is_root(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &str = "bwrap: No permissions to create new namespace, likely because the kernel does not allow \
                          non-privileged user namespaces.";

    #[test]
    fn each_reason_has_its_name_and_remedy() {
        let none = KernelSwitches::default();
        let off = KernelSwitches { unprivileged_userns_clone: Some(0), ..none };
        let zero = KernelSwitches { max_user_namespaces: Some(0), ..none };
        let ubuntu = KernelSwitches { apparmor_restrict: Some(1), ..none };
        let container = KernelSwitches { in_container: true, apparmor_restrict: Some(1), ..none };
        let remedy = |message: &str, switches| NoSandbox::explain(message, switches).remedy();
        assert!(remedy(DENIED, &off).contains("kernel.unprivileged_userns_clone=1"));
        assert!(remedy(DENIED, &zero).contains("user.max_user_namespaces=15000"));
        assert!(remedy("bwrap: setting up uid map: Permission denied", &ubuntu).contains("apparmor_restrict"));
        assert!(remedy(DENIED, &container).contains("--security-opt"));
        assert!(matches!(NoSandbox::explain(DENIED, &none), NoSandbox::Other { .. }));
        assert!(matches!(NoSandbox::explain("bwrap: disk on fire", &off), NoSandbox::Other { .. }));
        assert_eq!(NoSandbox::NotInstalled.remedy(), "install it: apt-get install bubblewrap");
    }
}
