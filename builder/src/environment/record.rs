//! `RECORD` files (PEP 376, 427): what a package has in the environment.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

/// One line of a wheel's own `RECORD`, by the file's path in the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// `sha256=…`, as written.
    pub(crate) hash: String,
    /// The length in bytes, as written.
    pub(crate) size: String,
}

/// Reads the `RECORD` of an unpacked wheel. Lines without a hash and lines that are none are passed over:
/// the wheel was checked when it was unpacked, and what is not here is listed without a hash.
pub(crate) fn parse(text: &str) -> HashMap<String, Recorded> {
    let mut records = HashMap::new();
    for line in text.lines() {
        let Some((path, rest)) = csv_field(line) else { continue };
        let Some((hash, size)) = rest.split_once(',') else { continue };
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=_-".contains(&byte));
        if !hash.is_empty() && is_plain(hash) && is_plain(size) {
            let recorded = Recorded { hash: hash.to_owned(), size: size.to_owned() };
            records.insert(object_path(&path), recorded);
        }
    }
    records
}

/// Where an unpacked wheel keeps the file that its `RECORD` calls `path`.
fn object_path(path: &str) -> String {
    let in_data = path.split_once('/').filter(|(first, _)| first.ends_with(".data"));
    match in_data.and_then(|(_, rest)| rest.split_once('/')) {
        Some(("purelib" | "platlib", rest)) => format!("site/{rest}"),
        Some((kind @ ("scripts" | "headers" | "data"), rest)) => format!("{kind}/{rest}"),
        _ => format!("site/{path}"),
    }
}

/// The first field of a line, unquoted, and what follows its comma.
fn csv_field(line: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = line.strip_prefix('"') else {
        return line.split_once(',').map(|(field, rest)| (Cow::Borrowed(field), rest));
    };
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((Cow::Owned(field), after.strip_prefix(',')?)),
        }
    }
}

/// Adds the line of `path`, which is relative to the environment's root, to the text of a `RECORD` in `site_packages`.
pub(super) fn push_line(record: &mut String, site_packages: &str, path: &str, recorded: Option<&Recorded>) {
    let inside = path.strip_prefix(site_packages).and_then(|rest| rest.strip_prefix('/'));
    let up = if inside.is_some() { 0 } else { site_packages.split('/').count() };
    let path = inside.unwrap_or(path);
    if path.contains([',', '"', '\n', '\r']) {
        record.push('"');
        record.extend(std::iter::repeat_n("../", up));
        record.push_str(&path.replace('"', "\"\""));
        record.push('"');
    } else {
        record.extend(std::iter::repeat_n("../", up));
        record.push_str(path);
    }
    match recorded {
        Some(Recorded { hash, size }) => {
            let _ = writeln!(record, ",{hash},{size}");
        }
        None => record.push_str(",,\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_relative_to_site_packages_and_quoted() {
        let mut record = String::new();
        let site = "lib/python3.11/site-packages";
        push_line(&mut record, site, "lib/python3.11/site-packages/numpy", None);
        push_line(&mut record, site, "bin/f2py", None);
        push_line(&mut record, site, "share/a,\"b\"", None);
        let recorded = Recorded { hash: "sha256=x".to_owned(), size: "3".to_owned() };
        push_line(&mut record, site, "lib/python3.11/site-packages/six.py", Some(&recorded));
        assert_eq!(record, "numpy,,\n../../../bin/f2py,,\n\"../../../share/a,\"\"b\"\"\",,\nsix.py,sha256=x,3\n");
    }

    #[test]
    fn a_wheels_record_is_read_by_object_path() {
        let text = "a.py,sha256=aa,1\r\n\"x,\"\"y\",sha256=bb,2\na-1.data/purelib/p.py,sha256=cc,3\n\
                    a-1.data/scripts/s,sha256=dd,4\na-1.dist-info/RECORD,,\nrubbish\n\"open,1,2\n";
        let records = parse(text);
        let hash = |path: &str| records.get(path).map(|one| one.hash.as_str());
        assert_eq!(hash("site/a.py"), Some("sha256=aa"));
        assert_eq!(hash("site/x,\"y"), Some("sha256=bb"));
        assert_eq!(hash("site/p.py"), Some("sha256=cc"));
        assert_eq!(hash("scripts/s"), Some("sha256=dd"));
        assert_eq!(records.len(), 4);
    }
}
