//! INI files, of pip and of the original pip-accel: what Python's `RawConfigParser` reads.

use std::collections::BTreeMap;

/// Section → key → value. Keys are in lower case, lines of one value are joined by line feeds.
pub type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Reads an INI file. `[DEFAULT]` counts in each other section; a key twice means its last value.
///
/// # Errors
/// The line, from 1, and what is wrong with it.
pub fn parse_ini(text: &str) -> Result<Sections, (usize, &'static str)> {
    let mut sections = Sections::new();
    let mut section: Option<String> = None;
    let mut key: Option<(String, usize)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let content = line.trim();
        if content.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if let (Some(section), Some((key, key_indent))) = (&section, &key)
            && (content.is_empty() || indent > *key_indent)
        {
            let value = sections.entry(section.clone()).or_default().entry(key.clone()).or_default();
            value.push('\n');
            value.push_str(content);
            continue;
        }
        if content.is_empty() {
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')).map(|(name, _)| name) {
            sections.entry(name.to_owned()).or_default();
            section = Some(name.to_owned());
            key = None;
            continue;
        }
        let Some(section) = &section else { return Err((index + 1, "it stands before the first `[section]`")) };
        let Some((name, value)) = content.split_once(['=', ':']) else {
            return Err((index + 1, "it is not `key = value`"));
        };
        let name = name.trim().to_lowercase();
        if name.is_empty() {
            return Err((index + 1, "it has no key"));
        }
        sections.entry(section.clone()).or_default().insert(name.clone(), value.trim().to_owned());
        key = Some((name, indent));
    }
    let defaults = sections.remove("DEFAULT").unwrap_or_default();
    for values in sections.values_mut() {
        for (key, value) in &defaults {
            values.entry(key.clone()).or_insert_with(|| value.clone());
        }
        values.values_mut().for_each(|value| value.truncate(value.trim_end().len()));
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_python_reads_is_read() {
        let text = "\u{feff}# comment\n[global]\r\nindex-url = https://h/simple\nFind-Links:\n  /a\n  # not a value\n\n  \
                    /b = c\n; comment\n[install]\nno_index=true # kept\n[DEFAULT]\nx = 1\n";
        let sections = parse_ini(text).expect("a good file");
        let value = |section: &str, key: &str| sections[section][key].as_str();
        assert_eq!(value("global", "index-url"), "https://h/simple");
        assert_eq!(value("global", "find-links").split_whitespace().collect::<Vec<_>>(), ["/a", "/b", "=", "c"]);
        assert_eq!(value("install", "no_index"), "true # kept");
        assert_eq!((value("global", "x"), value("install", "x")), ("1", "1"));
    }

    #[test]
    fn other_lines_are_named() {
        for (text, line) in [("x = 1\n", 1), ("[a]\n\nfoo\n", 3), ("[a]\n= 1\n", 2)] {
            assert_eq!(parse_ini(text).expect_err(text).0, line, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([\\[\\]=:#; \\na-cé]|\\PC)*") {
            let _ = parse_ini(&text);
        }
    }
}
