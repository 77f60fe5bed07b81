//! A solution → the text of a lock that pip and uv install from.

use std::path::Path;

use pip_accel_schema::config_settings::as_options;

use super::answer::{ResolvedPin, ResolvedTarget};
use super::location::relative;
use super::{ProjectInputs, Resolution};

/// The first line of every lock: the same whatever made it, so that a lock changes only where its pins do.
const HEADER: &str = "# Made by `pip-accel lock`: change what it was made from, and lock again.\n";

impl Resolution {
    /// The text of a lock in the folder `base`, from which local paths are seen; without locked builds.
    #[must_use]
    pub fn text(&self, base: &Path) -> String {
        let mut text = format!("{HEADER}\n");
        for line in &self.option_lines {
            text.push_str(line);
            text.push('\n');
        }
        if !self.option_lines.is_empty() {
            text.push('\n');
        }
        for pin in &self.pins {
            push(&mut text, pin, base);
        }
        text
    }
}

impl ProjectInputs {
    /// The option lines of the files, as a lock holds them: without credentials.
    #[must_use]
    pub fn option_lines(&self) -> &[String] {
        &self.option_lines
    }
}

fn push(text: &mut String, pin: &ResolvedPin, base: &Path) {
    let extras = if pin.extras.is_empty() { String::new() } else { format!("[{}]", pin.extras.join(",")) };
    let name = pin.name.as_ref().map(ToString::to_string).unwrap_or_default();
    match &pin.target {
        ResolvedTarget::Release(version) => text.push_str(&format!("{name}{extras}=={version}")),
        ResolvedTarget::Url(url) | ResolvedTarget::Revision(url) if name.is_empty() => text.push_str(url),
        ResolvedTarget::Url(url) | ResolvedTarget::Revision(url) => text.push_str(&format!("{name}{extras} @ {url}")),
        ResolvedTarget::EditableRevision(url) => {
            let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
            let others = fragment.split('&').filter(|part| !part.is_empty() && !part.starts_with("egg="));
            let egg = format!("egg={name}{extras}");
            let fragment: Vec<&str> = std::iter::once(egg.as_str()).chain(others).collect();
            text.push_str(&format!("-e {url}#{}", fragment.join("&")));
        }
        ResolvedTarget::File(path) => text.push_str(&format!("{}{extras}", dotted(path, base))),
        ResolvedTarget::Folder { path, is_editable } => {
            let prefix = if *is_editable { "-e " } else { "" };
            text.push_str(&format!("{prefix}{}{extras}", dotted(path, base)));
        }
    }
    if let Some(marker) = &pin.marker {
        text.push_str(&format!(" ; {marker}"));
    }
    for hash in &pin.hashes {
        text.push_str(&format!(" \\\n    --hash=sha256:{hash}"));
    }
    for option in as_options(&pin.config_settings) {
        text.push_str(&format!(" \\\n    {option}"));
    }
    text.push('\n');
    match pin.via.as_slice() {
        [] => {}
        [only] => text.push_str(&format!("    # via {only}\n")),
        several => {
            text.push_str("    # via\n");
            for reason in several {
                text.push_str(&format!("    #   {reason}\n"));
            }
        }
    }
}

/// A path that every reader takes for one: `./x.whl`, `../x`.
fn dotted(path: &Path, base: &Path) -> String {
    let relative = relative(path, base);
    if relative.starts_with('.') { relative } else { format!("./{relative}") }
}

#[cfg(test)]
mod tests {
    use pip_accel_schema::lock_file::{LockItem, parse};

    use super::*;

    #[test]
    fn the_text_is_a_lock() {
        let pin = |name: &str, target| ResolvedPin {
            name: name.parse().ok(),
            target,
            extras: Vec::new(),
            marker: None,
            config_settings: Default::default(),
            hashes: vec!["ab".repeat(32).parse().expect("a digest")],
            via: vec!["-r requirements.in".to_owned(), "b".to_owned()],
        };
        let mut with_extras = pin("a", ResolvedTarget::Release("1.0".parse().expect("a version")));
        with_extras.extras = vec!["x".to_owned(), "y".to_owned()];
        with_extras.marker = Some("os_name == 'nt'".to_owned());
        let resolution = Resolution {
            pins: vec![
                with_extras,
                pin("c", ResolvedTarget::File("/nowhere/files/c-1.0-py3-none-any.whl".into())),
                pin("d", ResolvedTarget::Url("https://h.example/d-1.0.tar.gz".to_owned())),
            ],
            option_lines: vec!["--index-url https://h.example/simple/".to_owned()],
            warnings: Vec::new(),
            may_need_build: Vec::new(),
        };
        let text = resolution.text(Path::new("/nowhere"));
        let hash =
            format!(" \\\n    --hash=sha256:{}\n    # via\n    #   -r requirements.in\n    #   b\n", "ab".repeat(32));
        let expected = format!(
            "{HEADER}\n--index-url https://h.example/simple/\n\na[x,y]==1.0 ; os_name == 'nt'{hash}\
             ./files/c-1.0-py3-none-any.whl{hash}d @ https://h.example/d-1.0.tar.gz{hash}"
        );
        assert_eq!(text, expected);
        let items = parse(&text).expect("a lock");
        assert_eq!(items.iter().filter(|item| matches!(item, LockItem::Requirement(_))).count(), 3);
    }
}
