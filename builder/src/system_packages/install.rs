//! Having apt install packages: without a shell, without a question, from the lists as they are.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long apt waits for dpkg's lock, in seconds: as long as a small installation of somebody else takes.
const LOCK_TIMEOUT_SECONDS: u32 = 120;

/// Longest part of apt's words that is read when they are not shown, in bytes.
const WORDS_BYTES_MAX: u64 = 1 << 20;

/// Lines of them that are repeated.
const WORDS_LINES_MAX: usize = 5;

/// The files that dpkg and apt lock while they work.
const LOCKS: [&str; 2] = ["/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"];

/// Shortest name of a Debian package.
const NAME_LENGTH_MIN: usize = 2;
/// Longest name that is believed to be one; Debian's longest has some eighty letters.
const NAME_LENGTH_MAX: usize = 128;

/// Whether `name` can be the name of a Debian package (policy 5.6.1): it is then neither an option nor a path of apt's.
#[must_use]
pub fn is_package_name(name: &str) -> bool {
    let is_small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (NAME_LENGTH_MIN..=NAME_LENGTH_MAX).contains(&name.len())
        && name.bytes().next().is_some_and(is_small)
        && name.bytes().all(|byte| is_small(byte) || matches!(byte, b'+' | b'-' | b'.'))
        // To apt a sign at the end means to remove (or install) what stands before it.
        && !name.ends_with('-')
}

/// Why packages are not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no apt here.
    #[error("there is no apt-get here")]
    NoApt,
    /// Root's rights are needed and there is no way to them.
    #[error("installing needs root, and there is no sudo here")]
    NoSudo,
    /// The program can't be started.
    #[error("can't run {program}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("`{command}` failed ({status}){words}")]
    Failed {
        /// The command.
        command: String,
        /// Its status.
        status: std::process::ExitStatus,
        /// The last of its words, after a colon; empty where they were shown.
        words: String,
    },
}

/// What is said of the words of apt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// They go to standard error as they come.
    Shown,
    /// The last of them are in the error.
    Kept,
}

/// Apt as this process may use it.
#[derive(Debug, Clone)]
pub struct AptGet {
    program: PathBuf,
    sudo: Option<PathBuf>,
}

impl AptGet {
    /// Finds apt, and sudo unless this is root, in the folders of `search_path`.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn find(search_path: &str, is_root: bool) -> Result<Self, InstallError> {
        let program = |name: &str| {
            let places = std::env::split_paths(search_path).filter(|folder| folder.is_absolute());
            places.map(|folder| folder.join(name)).find(|program| program.is_file())
        };
        let apt = program("apt-get").ok_or(InstallError::NoApt)?;
        let sudo = if is_root { None } else { Some(program("sudo").ok_or(InstallError::NoSudo)?) };
        Ok(Self { program: apt, sudo })
    }

    /// The command for `packages`, as it is run; `may_ask` says whether sudo can ask for a password.
    fn arguments(&self, packages: &[String], may_ask: bool) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        if self.sudo.is_some() {
            words.push("sudo".to_owned());
            words.extend((!may_ask).then(|| "-n".to_owned()));
        }
        words.extend(["apt-get", "install", "--yes", "--no-install-recommends", "-o"].map(str::to_owned));
        words.push(format!("DPkg::Lock::Timeout={LOCK_TIMEOUT_SECONDS}"));
        words.push("--".to_owned());
        words.extend(packages.iter().filter(|package| is_package_name(package)).cloned());
        words
    }

    /// The command for `packages` as a person would type it.
    #[must_use]
    pub fn shown(&self, packages: &[String], may_ask: bool) -> String {
        self.arguments(packages, may_ask).join(" ")
    }

    /// Installs `packages`; what is no name of a package is left out. Apt waits for dpkg's lock for two minutes.
    ///
    /// # Errors
    /// When it can't be run or fails.
    pub fn install(&self, packages: &[String], (may_ask, words): (bool, Words)) -> Result<(), InstallError> {
        let arguments = self.arguments(packages, may_ask);
        let mut command = match &self.sudo {
            Some(sudo) => Command::new(sudo),
            None => Command::new(&self.program),
        };
        command.args(&arguments[1..]).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        let started = |source| InstallError::Start { program: command_program(&arguments), source };
        let failed = |status, words| InstallError::Failed { command: arguments.join(" "), status, words };
        match words {
            Words::Shown => {
                // Standard output is for data.
                let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(started)?;
                let status = command.stdout(Stdio::from(stderr)).status().map_err(started)?;
                if status.success() { Ok(()) } else { Err(failed(status, String::new())) }
            }
            Words::Kept => {
                let (mut reader, writer) = io::pipe().map_err(started)?;
                let other = writer.try_clone().map_err(started)?;
                let mut child = command.stdout(writer).stderr(other).spawn().map_err(started)?;
                // The command holds the pipe's other end, too.
                drop(command);
                let mut text = Vec::new();
                drop(reader.by_ref().take(WORDS_BYTES_MAX).read_to_end(&mut text));
                drop(io::copy(&mut reader, &mut io::sink()));
                let status = child.wait().map_err(started)?;
                if status.success() { Ok(()) } else { Err(failed(status, last_words(&text))) }
            }
        }
    }
}

fn command_program(arguments: &[String]) -> PathBuf {
    arguments.first().map(PathBuf::from).unwrap_or_default()
}

fn last_words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(WORDS_LINES_MAX)..];
    if last.is_empty() { String::new() } else { format!(": {}", last.join("; ")) }
}

/// The command that installs `packages`, for a person to type.
#[must_use]
pub fn command_to_type(packages: &[String], is_root: bool) -> String {
    let sudo = if is_root { "" } else { "sudo " };
    format!("{sudo}apt-get install {}", packages.join(" "))
}

/// The command that installs `packages` where nobody is asked and everybody is root, as in a Dockerfile.
#[must_use]
pub fn command_to_install(packages: &[String]) -> String {
    format!("apt-get install --yes --no-install-recommends {}", packages.join(" "))
}

/// The process that works with dpkg now, with its name; `None` if nobody does, or the kernel does not tell.
#[must_use]
pub fn dpkg_lock_owner() -> Option<(u32, String)> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = LOCKS.iter().find_map(|path| {
        let metadata = Path::new(path).metadata().ok()?;
        lock_owner(&locks, metadata.ino())
    })?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

/// The process that, by the text of `/proc/locks`, has a lock on the file of this number.
fn lock_owner(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1).peekable();
        // A `->` before the kind: it only waits.
        if words.peek() == Some(&"->") {
            return None;
        }
        let (pid, file) = (words.nth(3)?, words.next()?);
        (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_packages_reach_apt() {
        for name in ["libxml2-dev", "g++", "libgirepository1.0-dev", "7zip"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in
            ["", "a", "-o", "--yes", "./x.deb", "a/b", "libX11-dev", "a b", "x;y", "foo-", "é1", "foo=1", "foo:i386"]
        {
            assert!(!is_package_name(name), "{name}");
        }
        let apt = AptGet { program: "/usr/bin/apt-get".into(), sudo: Some("/usr/bin/sudo".into()) };
        let packages = ["libxml2-dev".to_owned(), "-oX=y".to_owned()];
        assert_eq!(
            apt.shown(&packages, false),
            "sudo -n apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=120 -- libxml2-dev"
        );
    }

    #[test]
    fn the_owner_of_a_lock_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 812 fe:01:4242 0 EOF\n2: FLOCK  ADVISORY  WRITE 9 fe:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 10 fe:01:99 0 EOF\nnonsense\n";
        assert_eq!(lock_owner(locks, 4242), Some(812));
        assert_eq!(lock_owner(locks, 99), None);
        assert_eq!(lock_owner(locks, 1), None);
    }
}
