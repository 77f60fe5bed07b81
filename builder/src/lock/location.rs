//! What a direct reference points at: a URL, a local file, something else.

use std::path::{Path, PathBuf};

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::requirement::has_scheme;
use pip_accel_schema::wheel::WheelFileName;

/// Suffixes of sdists that can be unpacked.
const SDIST_SUFFIXES: [&str; 6] = [".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tbz", ".tar.xz"];

/// Prefixes of schemes under version control, as in `git+https`.
const VERSION_CONTROL: [&str; 5] = ["git", "hg", "svn", "bzr", "ssh"];

/// What a location is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// `http` or `https`, without the fragment.
    Url(String),
    /// A local path or `file:` URL; relative ones are taken from the folder of the file that names them.
    Path(PathBuf),
    /// `git+https:` and the like.
    VersionControl,
    /// Any other scheme.
    Other,
}

impl Location {
    pub(crate) fn parse(text: &str, folder: &Path) -> Self {
        if !has_scheme(text) {
            return Self::Path(folder.join(without_fragment(text)));
        }
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" => Self::Url(text.split('#').next().unwrap_or(text).to_owned()),
            "file" => {
                let path = rest.split(['#', '?']).next().unwrap_or(rest);
                let path = match path.strip_prefix("//") {
                    Some(authority) => match authority.split_once('/') {
                        Some(("" | "localhost", absolute)) => format!("/{absolute}"),
                        // `file://dir/x.whl` names a host; what is meant is relative.
                        _ => authority.to_owned(),
                    },
                    None => path.to_owned(),
                };
                percent_decoded(&path).map_or(Self::Other, |path| Self::Path(folder.join(path)))
            }
            scheme => {
                let kind = scheme.split('+').next().unwrap_or(scheme);
                if VERSION_CONTROL.contains(&kind) { Self::VersionControl } else { Self::Other }
            }
        }
    }
}

/// A path may hold a `#`: only what looks like a fragment is one.
pub(crate) fn without_fragment(path: &str) -> &str {
    match path.rsplit_once('#') {
        Some((before, fragment))
            if ["sha256=", "sha384=", "sha512=", "egg=", "subdirectory="]
                .iter()
                .any(|key| fragment.starts_with(key)) =>
        {
            before
        }
        _ => path,
    }
}

/// `%20` → space; nothing if the bytes are not UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digit = |index: usize| tail.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (*first, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The last part of a URL or path.
pub(crate) fn file_name_of(location: &str) -> String {
    let path = location.split(['?', '#']).next().unwrap_or(location);
    let name = path.rsplit('/').next().unwrap_or(path);
    percent_decoded(name).unwrap_or_else(|| name.to_owned())
}

/// Name and version that the file name of a wheel or sdist says; both absent for names such as `main.zip`.
/// `None` if it is neither a wheel nor an sdist.
pub(crate) fn describe_file(file_name: &str) -> Option<(Option<PackageName>, Option<PackageVersion>)> {
    if file_name.ends_with(".whl") {
        let wheel: WheelFileName = file_name.parse().ok()?;
        return Some((Some(wheel.name), Some(wheel.version)));
    }
    let lower = file_name.to_ascii_lowercase();
    let suffix = SDIST_SUFFIXES.iter().find(|suffix| lower.ends_with(**suffix))?;
    let stem = &file_name[..file_name.len() - suffix.len()];
    let parts = stem.rsplit_once('-').and_then(|(name, version)| {
        let version: PackageVersion = version.parse().ok()?;
        version.as_str().starts_with(|first: char| first.is_ascii_digit()).then_some((name.parse().ok()?, version))
    });
    Some(parts.map_or((None, None), |(name, version)| (Some(name), Some(version))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_told_apart() {
        let folder = Path::new("/locks");
        for (text, expected) in [
            ("https://u:p@h/a.whl?x=1#sha256=ab", Location::Url("https://u:p@h/a.whl?x=1".to_owned())),
            ("HTTP://h/a", Location::Url("HTTP://h/a".to_owned())),
            ("file:///a/b%20c.whl#sha256=ab", Location::Path("/a/b c.whl".into())),
            ("file://localhost/a.whl", Location::Path("/a.whl".into())),
            ("file:a.whl", Location::Path("/locks/a.whl".into())),
            ("file:./a.whl", Location::Path("/locks/./a.whl".into())),
            ("file:///%ff", Location::Other),
            ("./a#b.whl", Location::Path("/locks/./a#b.whl".into())),
            ("./a.whl#sha256=ab", Location::Path("/locks/./a.whl".into())),
            ("/a.whl", Location::Path("/a.whl".into())),
            ("git+https://h/r.git@main", Location::VersionControl),
            ("git://h/r", Location::VersionControl),
            ("ftp://h/a.whl", Location::Other),
        ] {
            assert_eq!(Location::parse(text, folder), expected, "{text}");
        }
    }

    #[test]
    fn file_names_say_name_and_version() {
        let said = |name: &str| {
            describe_file(name).map(|(name, version)| {
                format!(
                    "{} {}",
                    name.map_or_else(String::new, |n| n.to_string()),
                    version.map_or_else(String::new, |v| v.to_string())
                )
            })
        };
        assert_eq!(said("Foo_Bar-1.0-py3-none-any.whl").as_deref(), Some("foo-bar 1.0"));
        assert_eq!(said("zope.interface-5.4.0.tar.gz").as_deref(), Some("zope-interface 5.4.0"));
        assert_eq!(said("main.zip").as_deref(), Some(" "));
        assert_eq!(said("foo-master.zip").as_deref(), Some(" "));
        assert_eq!(said("foo.whl"), None);
        assert_eq!(said("foo.exe"), None);
        assert_eq!(file_name_of("https://h/a%2Bb.whl?x#y"), "a+b.whl");
    }
}
