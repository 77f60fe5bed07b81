//! Paragraphs of `Field: value`, as Debian writes them: lists of packages and sources, the state of dpkg.

use std::io::{self, BufRead};

/// Longest paragraph that is kept, in bytes. The longest of Debian's own (a kernel source) has some 200 KiB.
const PARAGRAPH_BYTES_MAX: usize = 4 << 20;

/// One paragraph.
#[derive(Debug, Default)]
pub(crate) struct Paragraph {
    text: String,
}

impl Paragraph {
    /// The value of a field, its continuation lines included; `None` if the paragraph has none of that name.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut value: Option<String> = None;
        for line in self.text.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some(value) = &mut value {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if value.is_some() {
                break;
            } else if let Some((field, rest)) = line.split_once(':')
                && field.eq_ignore_ascii_case(name)
            {
                value = Some(rest.trim().to_owned());
            }
        }
        value
    }

    /// The names in a field of relations (`a (>= 1) | b [amd64], c:any`), one for each of its alternatives, in order;
    /// versions, architectures and profiles are left out.
    pub(crate) fn relations(&self, name: &str) -> Vec<Vec<String>> {
        let text = self.field(name).unwrap_or_default();
        let group = |group: &str| -> Vec<String> { group.split('|').filter_map(relation_name).collect() };
        text.split(',').map(group).filter(|group| !group.is_empty()).collect()
    }
}

fn relation_name(text: &str) -> Option<String> {
    let name = text.split([' ', '(', '[', '<', ':', '\t']).find(|word| !word.is_empty())?;
    Some(name.to_owned())
}

/// Calls `each` for every paragraph. Bytes that are no UTF-8 are replaced; what is too long is cut off.
///
/// # Errors
/// When the reader fails.
pub(crate) fn paragraphs(reader: &mut dyn BufRead, mut each: impl FnMut(&Paragraph)) -> io::Result<()> {
    let mut paragraph = Paragraph::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 || line.iter().all(u8::is_ascii_whitespace) {
            if !paragraph.text.is_empty() {
                each(&paragraph);
                paragraph.text.clear();
            }
            if length == 0 {
                return Ok(());
            }
        } else if paragraph.text.len() + line.len() <= PARAGRAPH_BYTES_MAX {
            paragraph.text.push_str(&String::from_utf8_lossy(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_relations_are_read() {
        let text = "Package: a\nDepends: b (>= 1) | c:any,\n d [amd64] <!nocheck>\nX: y\n\n\nPackage: z\n";
        let mut seen = Vec::new();
        paragraphs(&mut text.as_bytes(), |paragraph| {
            seen.push((paragraph.field("package"), paragraph.relations("Depends")));
        })
        .unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(seen[0], (Some("a".to_owned()), vec![names(&["b", "c"]), names(&["d"])]));
        assert_eq!(seen[1], (Some("z".to_owned()), vec![]));
    }
}
