//! Submodules: which repositories they are, by the rules for all others.

use pip_accel_schema::manifest::EntryPath;
use url::Url;

use super::error::CheckoutError;
use super::git_url::{Commit, GIT_TRANSPORTS, check_place};
use super::repository::Repository;
use crate::index::SafeUrl;

/// Most submodules of one commit, those of submodules included. The largest projects have some 60.
pub const SUBMODULES_MAX: usize = 200;

/// Deepest nesting; real ones have three levels.
pub(super) const SUBMODULE_DEPTH_MAX: usize = 8;

/// Path and URL of each submodule that the commit's `.gitmodules` names; what else it says (`update = !command`) is not read.
pub(super) fn listed(repository: &Repository, commit: &Commit) -> Result<Vec<(String, String)>, CheckoutError> {
    let blob = format!("--blob={commit}:.gitmodules");
    let pattern = r"^submodule\..*\.(path|url)$";
    let answer = repository.git.ask(&repository.path, &["config", "--null", &blob, "--get-regexp", pattern], b"")?;
    let text = String::from_utf8_lossy(&answer);
    let entries: Vec<(&str, &str)> = text.split('\0').filter_map(|entry| entry.split_once('\n')).collect();
    let of = |name: &str, key: &str| {
        let wanted = format!("{name}.{key}");
        entries.iter().rev().find(|(known, _)| *known == wanted).map(|(_, value)| (*value).to_owned())
    };
    let names = entries.iter().filter_map(|(key, _)| key.strip_suffix(".path"));
    Ok(names.filter_map(|name| Some((of(name, "path")?, of(name, "url")?))).collect())
}

/// Where a submodule is, seen from the repository that has it.
pub(super) fn resolve(parent: &SafeUrl, path: &EntryPath, url: &str) -> Result<SafeUrl, CheckoutError> {
    let refused = |reason: &str| CheckoutError::Submodule { path: path.to_string(), reason: reason.to_owned() };
    let resolved = match url {
        _ if url.starts_with("./") || url.starts_with("../") => relative(parent.expose(), url),
        _ if url.starts_with('/') => Url::from_file_path(url).ok(),
        _ => absolute(url),
    };
    let resolved = resolved.ok_or_else(|| refused("has a URL that can't be read"))?;
    if !GIT_TRANSPORTS.contains(&resolved.scheme()) {
        return Err(refused("has a URL of a transport that is not used"));
    }
    if resolved.scheme() == "file" && !parent.is_file() {
        return Err(refused("leads from another machine to a folder of this one"));
    }
    check_place(&resolved).map_err(|error| refused(&format!("has a URL that can't be used: {error}")))?;
    Ok(SafeUrl::from(resolved))
}

/// `../other.git`, seen from the parent's URL, whose credentials go along.
fn relative(parent: &Url, url: &str) -> Option<Url> {
    let mut folders: Vec<&str> = parent.path().trim_end_matches('/').split('/').collect();
    let mut rest = url;
    loop {
        if let Some(shorter) = rest.strip_prefix("../") {
            folders.pop().filter(|folder| !folder.is_empty())?;
            rest = shorter;
        } else if let Some(shorter) = rest.strip_prefix("./") {
            rest = shorter;
        } else {
            break;
        }
    }
    let mut resolved = parent.clone();
    resolved.set_path(&format!("{}/{rest}", folders.join("/")));
    Some(resolved)
}

/// A URL, or `user@host:path`.
fn absolute(url: &str) -> Option<Url> {
    if url.contains("::") {
        return None;
    }
    if let Ok(parsed) = Url::parse(url)
        && url.contains("://")
    {
        return Some(parsed);
    }
    let (host, path) = url.split_once(':')?;
    Url::parse(&format!("ssh://{host}/{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_are_found_beside_their_parent() {
        let find = |parent: &str, url: &str| {
            let parent = SafeUrl::from(Url::parse(parent).expect("a URL"));
            let path = EntryPath::parse("sub").expect("a path");
            resolve(&parent, &path, url).map(|url| url.expose().to_string()).ok()
        };
        let parent = "https://u:p@h/o/r.git";
        assert_eq!(find(parent, "../x.git").as_deref(), Some("https://u:p@h/o/x.git"));
        assert_eq!(find(parent, "../../a/x").as_deref(), Some("https://u:p@h/a/x"));
        assert_eq!(find(parent, "https://other/x").as_deref(), Some("https://other/x"));
        assert_eq!(find(parent, "git@h:o/x.git").as_deref(), Some("ssh://git@h/o/x.git"));
        assert_eq!(find("file:///srv/r", "../x").as_deref(), Some("file:///srv/x"));
        assert_eq!(find("file:///srv/r", "/srv/x").as_deref(), Some("file:///srv/x"));
        for bad in [
            "file:///etc",
            "/etc",
            "ext::sh -c id",
            "ssh://-oProxyCommand=id/x",
            "-oProxyCommand=id:x",
            "../../../../x",
            "--upload-pack=id",
            "",
        ] {
            assert_eq!(find(parent, bad), None, "{bad}");
        }
    }
}
