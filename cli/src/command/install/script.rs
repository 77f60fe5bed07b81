//! `--requirements-from-script`: what a script says of itself in its comments (PEP 723).

use std::path::Path;

use crate::error::Failure;
use crate::exit_code::Exit;

/// Longest script read, in bytes.
const SCRIPT_BYTES_MAX: u64 = 16 << 20;

/// The requirements of the script at `path`.
pub(super) fn requirements(path: &Path) -> Result<Vec<String>, Failure> {
    let refuse = |reason: String| {
        Failure::new(Exit::Usage, format!("the script `{}` {reason}", path.display()))
            .hint("write a block `# /// script` with `dependencies`, or name the requirements themselves")
    };
    let is_short = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= SCRIPT_BYTES_MAX);
    let text = match std::fs::read_to_string(path) {
        Ok(text) if is_short => text,
        Ok(_) => return Err(refuse("is longer than any script".to_owned())),
        Err(error) => return Err(refuse(format!("can't be read: {error}"))),
    };
    let block = block(&text).ok_or_else(|| refuse("has no block `# /// script`".to_owned()))?;
    let table: toml::Table = block
        .parse()
        .map_err(|error: toml::de::Error| refuse(format!("has a block that is no TOML: {}", error.message())))?;
    let Some(dependencies) = table.get("dependencies") else { return Ok(Vec::new()) };
    let texts = dependencies.as_array().and_then(|list| {
        list.iter().map(|one| one.as_str().filter(|text| !text.contains('\n')).map(str::to_owned)).collect()
    });
    texts.ok_or_else(|| refuse("has `dependencies` that are no list of texts".to_owned()))
}

/// The TOML of the first block.
fn block(text: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| line.trim_end() != "# /// script").skip(1);
    let mut block = String::new();
    loop {
        let line = lines.next()?;
        if line.trim_end() == "# ///" {
            return Some(block);
        }
        let inner = line.strip_prefix('#')?;
        block.push_str(inner.strip_prefix(' ').unwrap_or(inner));
        block.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_a_script_is_found() {
        let script = "#!/usr/bin/env python\n# /// script\n# dependencies = [\n#   \"six\",\n# ]\n#\n# ///\nprint()\n";
        assert_eq!(block(script).as_deref(), Some("dependencies = [\n  \"six\",\n]\n\n"));
        for other in ["", "# /// script\nprint()\n# ///\n", "# /// script\n# x = 1\n"] {
            assert_eq!(block(other), None, "{other:?}");
        }
    }
}
