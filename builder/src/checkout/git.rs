//! The git program, kept away from everything that could make it run something else.
//!
//! No configuration but what is given here and what the user says about credentials, proxies, certificates, ssh and
//! other names of hosts (`credential`, `http`, `url`, `core.sshCommand`, `ssh.variant`): no hooks, no aliases, no file
//! system monitor, no filters. No transport but [`GIT_TRANSPORTS`], no question to a terminal. Every repository it works in
//! is a bare one made here, so nothing of a stranger's `config` is read. A password of a URL goes through the
//! environment, never through arguments that other users can read.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use data_encoding::BASE64;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use percent_encoding::percent_decode_str;
use pip_accel_schema::requirement::without_credentials;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use super::error::CheckoutError;
use super::git_url::GIT_TRANSPORTS;
use crate::cancel::CancelToken;
use crate::index::SafeUrl;
use crate::sandbox::printable;
use crate::session::Session;

/// Longest run of git on a network. The largest repositories take a quarter of an hour on slow lines.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// Most bytes that fetching one repository may write; the largest known with Python projects has 10 GiB.
pub const REPOSITORY_BYTES_MAX: u64 = 20 << 30;

/// Longest answer read of git; the list of files of a large tree has 20 MB.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Bytes of its messages that are kept.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// How often the size of what is fetched is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// What is configured for every run.
const CONFIGURATION: [(&str, &str); 14] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.askPass", ""),
    ("credential.interactive", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("transfer.bundleURI", "false"),
    ("pack.threads", "1"),
    ("pack.writeReverseIndex", "false"),
    // A server that says nothing for a minute is gone.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("advice.detachedHead", "false"),
];

/// What of the user's own configuration counts.
const OF_USER: &str = r"^(credential|http|https|url)\.|^core\.sshcommand$|^ssh\.variant$";

/// The git program with its surroundings.
#[derive(Clone)]
pub(super) struct Git {
    variables: Vec<(String, String)>,
    configuration: Vec<(String, String)>,
}

impl std::fmt::Debug for Git {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration may hold passwords.
        formatter.write_str("Git")
    }
}

impl Git {
    /// Git for the user of `session`.
    pub(super) fn of(session: &Session) -> Result<Self, CheckoutError> {
        let options = &session.options;
        let mut variables = vec![
            ("PATH".to_owned(), options.search_path.clone()),
            ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
            ("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".to_owned()),
            ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
            ("GIT_ALLOW_PROTOCOL".to_owned(), GIT_TRANSPORTS.join(":")),
            ("GIT_SSH_COMMAND".to_owned(), "ssh -oBatchMode=yes".to_owned()),
        ];
        variables.extend(options.home.iter().map(|home| ("HOME".to_owned(), home.to_string_lossy().into_owned())));
        // The user's own ssh command beats ours.
        for (name, value) in options.resolver_variables.iter().chain(&options.git_variables) {
            variables.retain(|(known, _)| known != name);
            variables.push((name.clone(), value.clone()));
        }
        let mut git = Self { variables, configuration: Vec::new() };
        git.configuration = git.of_user()?;
        if git.configuration.iter().any(|(key, _)| key.eq_ignore_ascii_case("core.sshcommand")) {
            git.variables.retain(|(name, value)| name != "GIT_SSH_COMMAND" || value != "ssh -oBatchMode=yes");
        }
        let index = &options.index;
        git.configuration.extend(index.proxy.iter().map(|proxy| ("http.proxy".to_owned(), proxy.clone())));
        let ca_file = index.ca_file.iter().map(|file| file.to_string_lossy().into_owned());
        git.configuration.extend(ca_file.map(|file| ("http.sslCAInfo".to_owned(), file)));
        git.configuration.extend(CONFIGURATION.map(|(key, value)| (key.to_owned(), value.to_owned())));
        Ok(git)
    }

    /// The user's settings that count.
    fn of_user(&self) -> Result<Vec<(String, String)>, CheckoutError> {
        let mut command = Command::new("git");
        command.current_dir("/").env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env_remove("GIT_CONFIG_NOSYSTEM").env_remove("GIT_CONFIG_GLOBAL");
        command.args(["config", "--null", "--includes", "--get-regexp", OF_USER]).stdin(Stdio::null());
        let output = command.output().map_err(CheckoutError::NoGit)?;
        // Nothing of it is set, or it can't be read: then git asks for what it needs, and is told that it may not.
        let text = String::from_utf8_lossy(&output.stdout);
        let pair = |entry: &str| entry.split_once('\n').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(text.split('\0').filter_map(pair).collect())
    }

    /// Lets the user and password of `url` go along with requests to its host; gives the URL without them.
    pub(super) fn with_credentials_of(&self, url: &SafeUrl) -> (Self, Url) {
        let mut git = self.clone();
        let whole = url.expose();
        if whole.scheme() == "ssh" {
            // A user of ssh is no secret, and a password can't be used.
            let mut plain = whole.clone();
            let _has_none = plain.set_password(None);
            return (git, plain);
        }
        let plain = url.without_credentials();
        let has_any = !whole.username().is_empty() || whole.password().is_some();
        if let Some(host) = plain.host_str().filter(|_| has_any) {
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let login = format!("{}:{}", decode(whole.username()), decode(whole.password().unwrap_or_default()));
            let port = plain.port().map_or_else(String::new, |port| format!(":{port}"));
            let key = format!("http.{}://{host}{port}/.extraHeader", plain.scheme());
            git.configuration.push((key, format!("Authorization: Basic {}", BASE64.encode(login.as_bytes()))));
        }
        (git, plain)
    }

    fn surroundings(&self) -> Vec<(String, String)> {
        let mut variables = self.variables.clone();
        variables.push(("GIT_CONFIG_COUNT".to_owned(), self.configuration.len().to_string()));
        for (number, (key, value)) in self.configuration.iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{number}"), key.clone()));
            variables.push((format!("GIT_CONFIG_VALUE_{number}"), value.clone()));
        }
        variables
    }

    /// A run in the bare repository `directory`.
    pub(super) fn command<S: AsRef<OsStr>>(&self, directory: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("git");
        command.current_dir(directory).env_clear().envs(self.surroundings());
        // Found nowhere else, whoever the folder above belongs to.
        command.env("GIT_DIR", directory).env("GIT_NO_LAZY_FETCH", "1");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// What a run without a network says, with `input` on its standard input.
    pub(super) fn ask(&self, directory: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, CheckoutError> {
        ask(self.command(directory, arguments), input)
    }

    /// A run that may use the network, below `directory`, until `cancel`.
    pub(super) async fn transfer(
        &self,
        directory: &Path,
        arguments: &[&str],
        input: Vec<u8>,
        cancel: &CancelToken,
    ) -> Result<Vec<u8>, CheckoutError> {
        let mut command = self.command(directory, arguments);
        command.env_remove("GIT_NO_LAZY_FETCH").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        // A group of its own, which ends as a whole: git starts helpers.
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(CheckoutError::NoGit)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A git that does not want it all has its reasons, and says so.
                drop(stdin.write_all(&input).await);
            }
        };
        let read_answer = read_up_to(stdout, ANSWER_BYTES_MAX);
        let read_messages = read_up_to(stderr, MESSAGE_BYTES_MAX);
        let work = async { tokio::join!(write, read_answer, read_messages, child.wait()) };
        let outcome = tokio::select! {
            (_, answer, messages, status) = work => Ok((answer, messages, status)),
            () = cancel.cancelled() => Err(CheckoutError::Cancelled),
            () = tokio::time::sleep(FETCH_TIME_MAX) => Err(CheckoutError::Endless),
            () = grown(directory) => Err(CheckoutError::Endless),
        };
        // Only while it was not waited for: later the number may be another group's.
        if let (Err(_), Some(group)) = (&outcome, group) {
            let _is_gone = killpg(group, Signal::SIGKILL);
        }
        let (answer, messages, status) = outcome?;
        let io_error = |source| CheckoutError::Io { path: directory.to_owned(), source };
        if status.map_err(io_error)?.success() {
            return Ok(answer);
        }
        Err(CheckoutError::Git { command: subcommand(arguments), output: last_words(&messages) })
    }
}

async fn read_up_to(stream: Option<impl tokio::io::AsyncRead + Unpin>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // A broken pipe ends the answer; the exit status tells.
        drop((&mut stream).take(limit).read_to_end(&mut bytes).await);
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    }
    bytes
}

/// Returns once more was written below `directory` than may be.
async fn grown(directory: &Path) {
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    loop {
        interval.tick().await;
        if bytes_below(directory, 4) > REPOSITORY_BYTES_MAX {
            return;
        }
    }
}

fn bytes_below(directory: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth > 0 => bytes_below(&entry.path(), depth - 1),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).fold(0, u64::saturating_add)
}

/// Runs a prepared command and gives its answer.
pub(super) fn ask(mut command: Command, input: &[u8]) -> Result<Vec<u8>, CheckoutError> {
    let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let name = subcommand(&words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(CheckoutError::NoGit)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut answer = Vec::new();
    let messages = std::thread::scope(|scope| {
        // Apart from reading: git may answer before it has read everything.
        scope.spawn(move || stdin.map(|mut stdin| drop(stdin.write_all(input))));
        let messages = scope.spawn(move || {
            let mut messages = Vec::new();
            if let Some(mut stderr) = stderr {
                drop((&mut stderr).take(MESSAGE_BYTES_MAX).read_to_end(&mut messages));
                drop(io::copy(&mut stderr, &mut io::sink()));
            }
            messages
        });
        if let Some(stdout) = stdout {
            // A broken pipe ends the answer; the exit status tells.
            drop(stdout.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer));
        }
        // A tree can be made to list more entries than any disk has room for: git is not let go on then.
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            drop(child.kill());
        }
        messages.join().unwrap_or_default()
    });
    let status = child.wait().map_err(CheckoutError::NoGit)?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(CheckoutError::Answer { command: name });
    }
    if status.success() {
        return Ok(answer);
    }
    Err(CheckoutError::Git { command: name, output: last_words(&messages) })
}

/// The subcommand, for messages: a constant, so that no argument gets there.
fn subcommand(arguments: &[&str]) -> &'static str {
    const NAMES: [&str; 14] = [
        "fetch",
        "ls-remote",
        "init",
        "config",
        "remote",
        "ls-tree",
        "cat-file",
        "rev-list",
        "rev-parse",
        "for-each-ref",
        "pack-objects",
        "read-tree",
        "clone",
        "checkout",
    ];
    NAMES.into_iter().find(|name| arguments.contains(name)).unwrap_or("command")
}

/// Longest excerpt of git's messages.
const WORDS_MAX: usize = 400;

/// The last lines of its messages that say something, without credentials.
fn last_words(messages: &[u8]) -> String {
    let lines: Vec<String> = messages
        .split(|byte| *byte == b'\n')
        .map(|line| without_credentials(&printable(line)).trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with("hint:"))
        .collect();
    let text = lines[lines.len().saturating_sub(3)..].join("; ");
    text.chars().take(WORDS_MAX).collect()
}

/// A new bare repository at `path`.
pub(super) fn init(git: &Git, path: &Path) -> Result<PathBuf, CheckoutError> {
    fs::create_dir_all(path).map_err(|source| CheckoutError::Io { path: path.to_owned(), source })?;
    git.ask(path, &["init", "--quiet", "--bare", "--template=", "."], b"")?;
    Ok(path.to_owned())
}
