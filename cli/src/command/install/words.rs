//! The words of `install` with what pip's configuration adds, and what they mean.

use std::ffi::OsString;
use std::path::PathBuf;

use pip_accel_builder::python::pip_settings::{PipConfigFiles, pip_option_values};

use super::super::Context;
use crate::args::install::options::{Meaning, OPTIONS, PipOption};
use crate::args::install::parse::{Given, ParseError, Words, parse};
use crate::args::{GlobalArgs, SourceArgs};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::ui::Ui;

/// Reads the words; `None` when they ask for help, which is shown.
pub(crate) fn read(words: &[OsString], global: &mut GlobalArgs) -> Result<Option<Words>, Failure> {
    let words = parse(words).map_err(|error| refused(&error))?;
    if words.has("help") {
        Ui::plain().text(&crate::args::install::help());
        return Ok(None);
    }
    global.quiet = words.count("quiet");
    global.verbose = words.count("verbose");
    global.json = words.has("json");
    global.store = words.last("store").map(PathBuf::from);
    global.config = words.last("config").map(PathBuf::from);
    global.no_color = words.has("no-color");
    global.progress = match words.last("progress-bar") {
        None | Some("auto") => None,
        Some("on") => Some(true),
        Some("off") => Some(false),
        Some(other) => return Err(one_of("progress-bar", other, "auto, on or off")),
    };
    Ok(Some(words))
}

fn refused(error: &ParseError) -> Failure {
    let failure = Failure::usage(error);
    match error {
        ParseError::Refused { .. } => failure.hint("leave the option out; see docs/pip-options.md for all of them"),
        _ => failure.hint("see what there is: pip-accel install --help"),
    }
}

/// A value that is none of those that an option has.
pub(super) fn one_of(option: &str, value: &str, expected: &str) -> Failure {
    Failure::new(Exit::Usage, format!("`{value}` is no value of --{option}: {expected} is expected"))
        .hint("see what there is: pip-accel install --help")
}

/// Options that are read from pip's configuration elsewhere, with the index settings.
const READ_WITH_THE_INDEX: [&str; 12] = [
    "index-url",
    "extra-index-url",
    "no-index",
    "find-links",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
    "retries",
    "no-binary",
    "only-binary",
];

/// Adds what pip's files and variables say for options that nobody typed.
pub(super) fn with_configuration(
    context: &Context<'_>,
    mut words: Words,
    prefix: Option<&std::path::Path>,
) -> Result<Words, Failure> {
    if words.has("isolated") {
        return Ok(words);
    }
    let variable = |name: &str| context.host.variable(name);
    let is_read_here = |option: &&PipOption| {
        option.meaning != Meaning::Own && !READ_WITH_THE_INDEX.contains(&option.name()) && option.name() != "help"
    };
    let options: Vec<&'static PipOption> = OPTIONS.iter().filter(is_read_here).collect();
    let names: Vec<&'static str> = options.iter().map(|option| option.name()).collect();
    let files = PipConfigFiles::locate(&variable, prefix);
    let mut added = Vec::new();
    for value in pip_option_values(&files, &variable, &names)? {
        let Some(option) = options.iter().find(|option| option.name() == value.key) else { continue };
        match option.meaning {
            Meaning::RefusedWhenTyped(_) => continue,
            Meaning::Refused(sentence) => {
                let text = format!("pip's setting `{}` ({}) is refused: {sentence}", value.key, value.place);
                return Err(
                    Failure::new(Exit::Usage, text).hint("remove it for this run: pip-accel install --isolated")
                );
            }
            Meaning::Honoured | Meaning::Own => {}
        }
        if words.has(value.key) {
            continue;
        }
        let given = |text: &str| Given { option, value: text.to_owned() };
        match option.value {
            Some(_) if LISTS.contains(&value.key) => added.extend(value.text.split_whitespace().map(given)),
            Some(_) => added.push(given(value.text.trim())),
            None => {
                let times = truth(&value.text)
                    .ok_or_else(|| one_of(value.key, value.text.trim(), "in pip's configuration true or false"))?;
                added.extend(std::iter::repeat_n(given(""), times));
            }
        }
    }
    added.append(&mut words.options);
    words.options = added;
    Ok(words)
}

/// Options that may be said several times.
const LISTS: [&str; 7] = [
    "requirement",
    "constraint",
    "build-constraint",
    "editable",
    "group",
    "requirements-from-script",
    "config-settings",
];

/// How often a flag is said by the text of a setting; `None` for nonsense.
fn truth(text: &str) -> Option<usize> {
    match text.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" => Some(1),
        "n" | "no" | "f" | "false" | "off" => Some(0),
        number => number.parse().ok().filter(|count| *count <= 3),
    }
}

/// Where files come from, as the words say.
pub(super) fn source_args(words: &Words) -> Result<SourceArgs, Failure> {
    let all = |name| words.all(name).map(str::to_owned).collect::<Vec<_>>();
    let jobs = words.last("jobs").map(|text| text.parse().map_err(|_| one_of("jobs", text, "a number from 1 on")));
    Ok(SourceArgs {
        python: None,
        offline: words.has("offline"),
        no_binary: all("no-binary"),
        only_binary: all("only-binary"),
        index_url: words.last("index-url").map(str::to_owned),
        extra_index_url: all("extra-index-url"),
        find_links: all("find-links"),
        no_index: words.has("no-index"),
        jobs: jobs.transpose()?,
        no_sandbox: words.has("no-sandbox"),
        system_inputs: None,
        build_constraints: Vec::new(),
    })
}
