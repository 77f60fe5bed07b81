//! Which user name and password belong to a URL.
//!
//! In this order: what the URL itself says, the configured index or page of the same origin, netrc, and for a
//! user name without password the `keyring` program. Nothing here is ever printed.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::process::Command;
use url::Url;

use super::netrc::{self, NetrcEntry};
use super::safe_url::{may_share_credentials, strip_credentials};
use super::settings::{FindLinks, IndexSettings};

/// Longest wait for the keyring program: it may have to ask a person, but must not block a CI job for ever.
pub const KEYRING_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest password accepted from the keyring program, in bytes; tokens of cloud registries reach 3 kB.
pub const KEYRING_ANSWER_BYTES_MAX: usize = 64 << 10;

/// User name and password of HTTP basic authentication.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct BasicAuth {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BasicAuth(****)")
    }
}

/// What a URL says about itself: a user name, and perhaps a password.
#[derive(Clone)]
struct UserInfo {
    user: String,
    password: Option<String>,
}

impl UserInfo {
    fn of(url: &Url) -> Option<Self> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some(Self { user: decode(url.username()), password: url.password().map(decode) })
    }
}

/// A configured URL that carried credentials.
struct Configured {
    /// Without credentials.
    url: Url,
    info: UserInfo,
}

/// All the places credentials come from.
pub(super) struct Credentials {
    configured: Vec<Configured>,
    netrc: Vec<NetrcEntry>,
    keyring: Option<PathBuf>,
    /// What the keyring program answered for (service, user), so that it asks a person only once.
    answers: tokio::sync::Mutex<HashMap<(String, String), Option<String>>>,
}

impl Credentials {
    /// The credentials of `settings`, with the logins read from its netrc file.
    pub(super) fn new(settings: &IndexSettings, netrc: Vec<NetrcEntry>) -> Self {
        let pages = settings.find_links.iter().filter_map(|place| match place {
            FindLinks::Url(url) => Some(url),
            FindLinks::Path(_) => None,
        });
        let configured = settings
            .index_url
            .iter()
            .chain(&settings.extra_index_urls)
            .chain(pages)
            .filter_map(|url| Some(Configured { info: UserInfo::of(url)?, url: strip_credentials(url.clone()) }))
            .collect();
        Self { configured, netrc, keyring: settings.keyring.clone(), answers: tokio::sync::Mutex::default() }
    }

    /// The credentials to send with a request for `url`, which may carry its own.
    pub(super) async fn for_url(&self, url: &Url) -> Option<BasicAuth> {
        let own = UserInfo::of(url);
        let configured = self.configured_for(url);
        let netrc = url.host_str().and_then(|host| netrc::find(&self.netrc, host, url.port()));
        let info = match (own, configured) {
            // A link may repeat the user name only; the configured URL then knows the password.
            (Some(own), Some(configured)) if own.password.is_none() && own.user == configured.info.user => {
                configured.info.clone()
            }
            (Some(own), _) => own,
            (None, Some(configured)) => configured.info.clone(),
            (None, None) => {
                let entry = netrc?;
                UserInfo { user: entry.login.clone(), password: entry.password.clone() }
            }
        };
        if let Some(password) = info.password {
            return Some(BasicAuth { user: info.user, password });
        }
        let from_netrc = netrc.filter(|entry| entry.login == info.user).and_then(|entry| entry.password.clone());
        let password = match from_netrc {
            Some(password) => Some(password),
            None => self.ask_keyring(configured.map_or(url, |configured| &configured.url), &info.user).await,
        };
        // A token in the place of the user name goes with an empty password.
        Some(BasicAuth { user: info.user, password: password.unwrap_or_default() })
    }

    /// The configured URL of the same origin whose path leads furthest towards `url`, else the first of that origin.
    fn configured_for(&self, url: &Url) -> Option<&Configured> {
        let same_origin = || self.configured.iter().filter(|configured| may_share_credentials(&configured.url, url));
        same_origin()
            .filter(|configured| is_below(url.path(), configured.url.path()))
            .max_by_key(|configured| configured.url.path().len())
            .or_else(|| same_origin().next())
    }

    /// Asks for the URL first and the host second, as pip does.
    async fn ask_keyring(&self, url: &Url, user: &str) -> Option<String> {
        let program = self.keyring.as_deref()?;
        let mut service = strip_credentials(url.clone());
        service.set_query(None);
        service.set_fragment(None);
        let host = url.host_str()?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        for service in [String::from(service), host] {
            let key = (service, user.to_owned());
            // Held while the program runs: it may ask a person, and must ask once.
            let mut answers = self.answers.lock().await;
            let answer = match answers.get(&key) {
                Some(answer) => answer.clone(),
                None => {
                    let answer = run_keyring(program, &key.0, user).await;
                    answers.insert(key, answer.clone());
                    answer
                }
            };
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

/// Whether `path` is `directory` or below it.
fn is_below(path: &str, directory: &str) -> bool {
    let directory = directory.strip_suffix('/').unwrap_or(directory);
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The password that `keyring get <service> <user>` prints, or `None` for any failure: the server then says that one is needed.
async fn run_keyring(program: &Path, service: &str, user: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("get").arg(service).arg(user);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(KEYRING_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(source)) => {
            tracing::warn!(program = %program.display(), error = %source, "cannot run the keyring program");
            return None;
        }
        Err(_elapsed) => {
            tracing::warn!(program = %program.display(), "the keyring program did not answer in time");
            return None;
        }
    };
    if !output.status.success() || output.stdout.len() > KEYRING_ANSWER_BYTES_MAX {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    let password = text.trim_end_matches(['\r', '\n']);
    (!password.is_empty()).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    async fn ask(credentials: &Credentials, text: &str) -> Option<(String, String)> {
        credentials.for_url(&url(text)).await.map(|auth| (auth.user, auth.password))
    }

    fn pair(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[tokio::test]
    async fn the_nearest_configured_url_of_the_origin_wins() {
        let settings = IndexSettings {
            index_url: Some(url("https://a:1@h.example/one/simple")),
            extra_index_urls: vec![url("https://b:2%40@h.example/two/simple/"), url("http://c:3@plain.example/")],
            ..IndexSettings::default()
        };
        let credentials = Credentials::new(&settings, netrc::parse("machine h.example login n password 9"));
        assert_eq!(ask(&credentials, "https://h.example/one/simple/x/").await, pair("a", "1"));
        assert_eq!(ask(&credentials, "https://h.example/two/simple/x/").await, pair("b", "2@"));
        assert_eq!(ask(&credentials, "https://h.example/files/x.whl").await, pair("a", "1"));
        assert_eq!(ask(&credentials, "https://own:0@h.example/one/simple/x/").await, pair("own", "0"));
        assert_eq!(ask(&credentials, "https://h.example:8443/one/simple/").await, pair("n", "9"));
        assert_eq!(ask(&credentials, "https://plain.example/x").await, pair("c", "3"));
        assert_eq!(ask(&credentials, "http://plain.example:81/x").await, None);
        assert_eq!(ask(&credentials, "https://h.example.evil.example/one/simple/").await, None);
    }

    #[tokio::test]
    async fn a_user_without_password_is_looked_up_or_a_token() {
        let settings =
            IndexSettings { index_url: Some(url("https://me@h.example/simple/")), ..IndexSettings::default() };
        let with_netrc = Credentials::new(&settings, netrc::parse("machine h.example login me password 9"));
        assert_eq!(ask(&with_netrc, "https://h.example/simple/x/").await, pair("me", "9"));
        let without = Credentials::new(&settings, netrc::parse("machine h.example login other password 9"));
        assert_eq!(ask(&without, "https://h.example/simple/x/").await, pair("me", ""));
    }

    #[test]
    fn paths_are_compared_by_segment() {
        assert!(is_below("/a/b", "/a/") && is_below("/a", "/a/") && is_below("/x", "/"));
        assert!(!is_below("/ab", "/a") && !is_below("/", "/a"));
    }
}
