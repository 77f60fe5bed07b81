//! The `deps/*.ini` of the original pip-accel: `[commands]` and `[dependencies]`.
//!
//! Its commands are lines for a shell. None is run: apt installs and dpkg lists. `install` only says whether the file is
//! about this kind of system.

use super::{OwnRules, Wrong, package, project};

/// The keys of `[commands]`.
const COMMANDS: [&str; 3] = ["supported", "list", "install"];

pub(super) fn take(rules: &mut OwnRules, text: &str) -> Result<(), Wrong> {
    let mut section = String::new();
    let mut is_for_apt = true;
    let mut pairs: Vec<(usize, String, String)> = Vec::new();
    for (number, raw) in text.lines().enumerate() {
        let (number, line) = (number + 1, raw.trim());
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if !["commands", "dependencies"].contains(&name) {
                return Err((
                    number,
                    format!("there is no section `[{name}]`, only `[commands]` and `[dependencies]`"),
                ));
            }
            name.clone_into(&mut section);
            continue;
        }
        // As Python's parser has it: an indented line goes on with the value before it.
        if raw.starts_with([' ', '\t'])
            && let Some((_, _, value)) = pairs.last_mut()
        {
            value.push(' ');
            value.push_str(line);
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            return Err((number, "`name = value` is expected".to_owned()));
        };
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        match section.as_str() {
            "commands" if !COMMANDS.contains(&key.as_str()) => {
                return Err((number, format!("`[commands]` has no `{key}`")));
            }
            "commands" if key == "install" => is_for_apt = installs_with_apt(&value),
            "commands" => {}
            "dependencies" => pairs.push((number, key, value)),
            _ => return Err((number, "it stands before any section".to_owned())),
        }
    }
    for (number, key, value) in pairs {
        let wrong = |reason| (number, reason);
        let packages: Result<Vec<String>, String> = value.split_whitespace().map(package).collect();
        let (name, packages) = (project(&key).map_err(wrong)?, packages.map_err(wrong)?);
        if is_for_apt {
            rules.projects.insert(name, packages);
        }
    }
    Ok(())
}

fn installs_with_apt(command: &str) -> bool {
    let programs = command.split_whitespace().filter_map(|word| word.rsplit('/').next());
    programs.into_iter().any(|program| ["apt-get", "apt", "aptitude"].contains(&program))
}
