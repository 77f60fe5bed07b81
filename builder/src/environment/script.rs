//! Files of `bin/` that name the environment's interpreter.

use pip_accel_schema::link_plan::EntryPoint;

/// Longest first line that every Linux since 2.6 runs: the kernel's buffer has 128 bytes with the final NUL.
const SHEBANG_BYTES_MAX: usize = 127;

/// What a wheel writes for "the interpreter of wherever this gets installed" (PEP 427).
const PYTHON_PLACEHOLDER: &[u8] = b"#!python";

/// The first line, or lines, of a script that is run by `python`, an absolute path; ends with a line feed.
///
/// The kernel cuts the first line at 127 bytes and splits it at white space. Then the script begins as one for
/// `/bin/sh` that runs Python on itself, which Python reads as a string. Paths that would need quoting in both
/// languages at once are found from the script's own place instead.
pub(crate) fn shebang(python: &str) -> String {
    let plain = format!("#!{python}\n");
    if plain.len() <= SHEBANG_BYTES_MAX && !python.contains(char::is_whitespace) {
        return plain;
    }
    let needs_no_quoting = |c: char| c.is_ascii_graphic() && !"$`\"\\'!".contains(c) || c == ' ';
    if python.chars().all(needs_no_quoting) {
        return format!("#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n");
    }
    "#!/bin/sh\n'''exec' \"$(dirname -- \"$(realpath -- \"$0\")\")\"/python \"$0\" \"$@\"\n' '''\n".to_owned()
}

/// The script of an entry point, as pip writes it.
pub(crate) fn entry_point(shebang: &str, entry: &EntryPoint) -> String {
    let EntryPoint { module, attribute, .. } = entry;
    let import = attribute.split('.').next().unwrap_or(attribute);
    format!(
        "{shebang}# -*- coding: utf-8 -*-\n\
         import sys\n\
         from {module} import {import}\n\
         if __name__ == '__main__':\n    \
             if sys.argv[0].endswith('.exe'):\n        \
                 sys.argv[0] = sys.argv[0][:-4]\n    \
             sys.exit({attribute}())\n"
    )
}

/// A file of `.data/scripts` with its `#!python` line replaced, or `None` when it has none.
pub(crate) fn with_shebang(content: &[u8], shebang: &str) -> Option<Vec<u8>> {
    if !content.starts_with(PYTHON_PLACEHOLDER) {
        return None;
    }
    let line = content.iter().position(|byte| *byte == b'\n').map_or(content.len(), |end| end + 1);
    let mut rewritten = Vec::with_capacity(shebang.len() + content.len() - line);
    rewritten.extend_from_slice(shebang.as_bytes());
    rewritten.extend_from_slice(&content[line..]);
    Some(rewritten)
}

/// Whether `text` is a dotted name that is safe in Python source: identifiers joined by points.
pub(super) fn is_dotted_name(text: &str) -> bool {
    let is_identifier = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|first| first == '_' || first.is_alphabetic())
            && chars.all(|c| c == '_' || c.is_alphanumeric())
    };
    text.len() <= 1000 && text.split('.').all(is_identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebangs_are_plain_where_the_kernel_can_read_them() {
        assert_eq!(shebang("/a/bin/python"), "#!/a/bin/python\n");
        let longest = format!("/{}", "x".repeat(SHEBANG_BYTES_MAX - 4));
        assert_eq!(shebang(&longest).len(), SHEBANG_BYTES_MAX);
        assert!(shebang(&longest).starts_with("#!/x"));
        assert!(shebang(&format!("{longest}x")).starts_with("#!/bin/sh\n'''exec' \"/x"));
        assert!(shebang("/a b/bin/python").starts_with("#!/bin/sh\n'''exec' \"/a b/bin/python\" \"$0\""));
        for odd in ["/a b$(x)/python", "/a b\"/python", "/a 'b/python", "/a `b/python", "/a \\b/python", "/a ä/python"]
        {
            assert!(shebang(odd).contains("realpath"), "{odd}");
        }
    }

    #[test]
    fn only_the_first_line_of_a_python_script_changes() {
        let rewritten = with_shebang(b"#!pythonw -E\r\nprint(1)\n\xff", "#!/p\n");
        assert_eq!(rewritten.as_deref(), Some(b"#!/p\nprint(1)\n\xff".as_slice()));
        assert_eq!(with_shebang(b"#!python", "#!/p\n").as_deref(), Some(b"#!/p\n".as_slice()));
        assert_eq!(with_shebang(b"#!/bin/sh\n", "#!/p\n"), None);
    }

    #[test]
    fn dotted_names_are_python_identifiers() {
        for good in ["a", "a.b_c.D1", "_x", "ä.ö"] {
            assert!(is_dotted_name(good), "{good}");
        }
        for bad in ["", ".", "a.", "1a", "a b", "a;b", "a\nimport os", "a-b", "a()"] {
            assert!(!is_dotted_name(bad), "{bad}");
        }
    }
}
