//! A URL that can be shown: what may be secret in it never reaches a log or an error.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::Url;

/// A URL whose `Display` and `Debug` hide user name, password and query.
///
/// The user name is hidden too because tokens are written there, and the query because signed URLs keep
/// their signature in it. Only [`SafeUrl::expose`] gives the whole URL. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SafeUrl(Arc<Url>);

impl SafeUrl {
    /// The whole URL, credentials included: for a request, never for a reader.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// The URL without user name and password; query and fragment stay.
    #[must_use]
    pub fn without_credentials(&self) -> Url {
        strip_credentials(Url::clone(&self.0))
    }

    /// The last segment of the path, percent-decoded; `None` if it is empty or not UTF-8.
    #[must_use]
    pub fn last_segment(&self) -> Option<String> {
        let segment = self.0.path_segments()?.next_back()?;
        let decoded = percent_decode_str(segment).decode_utf8().ok()?;
        (!decoded.is_empty()).then(|| decoded.into_owned())
    }

    /// Whether it names a file of this machine.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.scheme() == "file"
    }
}

impl From<Url> for SafeUrl {
    fn from(url: Url) -> Self {
        Self(Arc::new(url))
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_credentials = !self.0.username().is_empty() || self.0.password().is_some();
        let has_query = self.0.query().is_some();
        if !has_credentials && !has_query {
            return formatter.write_str(self.0.as_str());
        }
        let mut shown = strip_credentials(Url::clone(&self.0));
        shown.set_query(has_query.then_some("****"));
        if has_credentials && shown.set_username("****").is_err() {
            // A URL that cannot carry a user name had none to hide.
            return formatter.write_str(shown.as_str());
        }
        formatter.write_str(shown.as_str())
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SafeUrl({self})")
    }
}

/// `url` without user name and password.
pub(super) fn strip_credentials(mut url: Url) -> Url {
    // Both setters fail only for URLs that cannot have credentials (`file:`, `mailto:`).
    if !url.username().is_empty() {
        let _cannot_have_any = url.set_username("");
    }
    if url.password().is_some() {
        let _cannot_have_any = url.set_password(None);
    }
    url
}

/// Whether credentials for `from` may be sent to `to`: the same origin, or the same host's `https` after its `http`.
pub(super) fn may_share_credentials(from: &Url, to: &Url) -> bool {
    let upgraded = from.scheme() == "http"
        && to.scheme() == "https"
        && from.host_str().is_some_and(|host| to.host_str() == Some(host))
        && from.port().is_none()
        && to.port().is_none();
    upgraded || from.origin() == to.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe(text: &str) -> SafeUrl {
        SafeUrl::from(Url::parse(text).expect("a URL"))
    }

    #[test]
    fn nothing_secret_is_shown() {
        for (text, shown) in [
            ("https://user:pw@h.example/a", "https://****@h.example/a"),
            ("https://token@h.example/a", "https://****@h.example/a"),
            ("https://:pw@h.example/a", "https://****@h.example/a"),
            ("https://h.example/a?sig=s3cret#sha256=00", "https://h.example/a?****#sha256=00"),
            ("https://h.example:8443/a", "https://h.example:8443/a"),
            ("file:///tmp/a%20b", "file:///tmp/a%20b"),
        ] {
            assert_eq!(safe(text).to_string(), shown);
            assert_eq!(format!("{:?}", safe(text)), format!("SafeUrl({shown})"));
        }
        assert_eq!(safe("https://u:p@h.example/a?q#f").without_credentials().as_str(), "https://h.example/a?q#f");
    }

    #[test]
    fn the_last_segment_is_decoded() {
        assert_eq!(safe("https://h/a/b%2B1-1.0.tar.gz?x=1#y").last_segment().as_deref(), Some("b+1-1.0.tar.gz"));
        assert_eq!(safe("https://h/a/").last_segment(), None);
        assert_eq!(safe("https://h/%ff").last_segment(), None);
    }
}
