//! What is to be installed, where, and how: the words in their meaning.

use std::path::{Path, PathBuf};

use pip_accel_builder::resolve::project::{Day, Place};
use pip_accel_schema::config_settings::{self, ConfigSettings};
use pip_accel_schema::requirement::excerpt;

use super::super::Context;
use super::words::one_of;
use crate::args::install::parse::Words;
use crate::error::Failure;
use crate::exit_code::Exit;

/// Where packages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// Into the target: a virtualenv, or the interpreter's own folders.
    Target,
    /// `--venv DIR`.
    Venv(PathBuf),
    /// `--target DIR`.
    Directory(PathBuf),
    /// `--user`.
    User,
    /// `--prefix DIR`.
    Prefix(PathBuf),
}

/// The words in their meaning, as far as they do not say where files come from.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Requirements, files, constraints, groups.
    pub(super) places: Vec<Place>,
    pub(super) destination: Destination,
    /// `--root DIR`.
    pub(super) root: Option<PathBuf>,
    pub(super) upgrade: bool,
    pub(super) is_eager: bool,
    pub(super) force: bool,
    pub(super) ignore_installed: bool,
    pub(super) no_deps: bool,
    pub(super) pre: bool,
    pub(super) dry_run: bool,
    pub(super) break_system: bool,
    pub(super) no_compile: bool,
    /// `--report FILE|-`.
    pub(super) report: Option<String>,
    pub(super) uploaded_before: Option<Day>,
    /// `--require-hashes` (true), `--no-require-hashes` (false).
    pub(super) hashes: Option<bool>,
    /// `-r pylock.toml`: what is installed, instead of all requirements.
    pub(super) lock: Option<PathBuf>,
    /// `--build-constraint FILE`.
    pub(super) build_constraints: Vec<PathBuf>,
    /// `--src DIR`.
    pub(super) src: Option<PathBuf>,
}

impl Asked {
    /// Reads the words.
    pub(super) fn of(context: &Context<'_>, words: &Words) -> Result<Self, Failure> {
        let host = &context.host;
        let path = |name: &str| words.last(name).map(|text| host.absolute(Path::new(text)));
        let is_eager = match words.last("upgrade-strategy") {
            None | Some("only-if-needed") => false,
            Some("eager") => true,
            Some(other) => return Err(one_of("upgrade-strategy", other, "only-if-needed or eager")),
        };
        if let Some(action) = words.last("root-user-action").filter(|action| !["warn", "ignore"].contains(action)) {
            return Err(one_of("root-user-action", action, "warn or ignore"));
        }
        let before = words.last("uploaded-prior-to").map(|text| {
            text.parse()
                .map_err(|_| one_of("uploaded-prior-to", text, "a day such as 2024-12-31, or a time with its zone,"))
        });
        let hashes = words.options.iter().rev().find_map(|given| match given.option.name() {
            "require-hashes" => Some(true),
            "no-require-hashes" => Some(false),
            _ => None,
        });
        let lock = lock(context, words)?;
        Ok(Self {
            places: if lock.is_some() { Vec::new() } else { places(context, words)? },
            lock,
            build_constraints: files(context, words, "build-constraint")?,
            src: path("src"),
            destination: destination(words, &path)?,
            root: path("root"),
            upgrade: words.has("upgrade"),
            is_eager,
            force: words.has("force-reinstall"),
            ignore_installed: words.has("ignore-installed") || words.has("target"),
            no_deps: words.has("no-deps"),
            pre: words.has("pre"),
            dry_run: words.has("dry-run"),
            break_system: words.has("break-system-packages"),
            no_compile: words.has("no-compile"),
            report: words.last("report").map(str::to_owned),
            uploaded_before: before.transpose()?,
            hashes,
        })
    }
}

fn destination(words: &Words, path: &impl Fn(&str) -> Option<PathBuf>) -> Result<Destination, Failure> {
    let mut said = Vec::new();
    said.extend(path("venv").map(|path| ("--venv", Destination::Venv(path))));
    said.extend(path("target").map(|path| ("--target", Destination::Directory(path))));
    said.extend(path("prefix").map(|path| ("--prefix", Destination::Prefix(path))));
    said.extend(words.has("user").then_some(("--user", Destination::User)));
    if let [(first, _), (second, _), ..] = said.as_slice() {
        let text = format!("{first} and {second} name two places, and packages go to one");
        return Err(Failure::new(Exit::Usage, text).hint("leave one of them out"));
    }
    let found = said.pop().map_or(Destination::Target, |(_, destination)| destination);
    if words.has("root") && matches!(found, Destination::Venv(_) | Destination::Directory(_)) {
        let text = "--root is for --prefix, --user and an interpreter's own folders".to_owned();
        return Err(Failure::new(Exit::Usage, text).hint("name the place itself: --target DIR, or --venv DIR"));
    }
    Ok(found)
}

/// Everything that is asked for, the command line first, as pip has it.
fn places(context: &Context<'_>, words: &Words) -> Result<Vec<Place>, Failure> {
    let host = &context.host;
    let mut places: Vec<Place> = files(context, words, "constraint")?.into_iter().map(Place::Constraints).collect();
    let mut told = ConfigSettings::new();
    for text in words.all("config-settings") {
        config_settings::add(&mut told, text)
            .map_err(|error| Failure::usage(&error).hint("see what there is: pip-accel install --help"))?;
    }
    let mut lines: Vec<String> = Vec::new();
    for requirement in &words.requirements {
        refuse_file(context, requirement)?;
        lines.push(one_line(requirement)?);
    }
    for editable in words.all("editable") {
        lines.push(format!("-e {}", one_line(editable)?));
    }
    let mut add = |mut lines: Vec<String>, script: Option<&str>| {
        if !lines.is_empty() {
            lines.push(String::new());
            // As in pip: what files say has its own settings.
            let config_settings = if script.is_none() { told.clone() } else { ConfigSettings::new() };
            places.push(Place::Lines { text: lines.join("\n"), script: script.map(str::to_owned), config_settings });
        }
    };
    add(lines, None);
    for script in words.all("requirements-from-script") {
        let said = super::script::requirements(&host.absolute(Path::new(script)))?;
        add(said.iter().map(|word| one_line(word)).collect::<Result<_, _>>()?, Some(script));
    }
    places.extend(files(context, words, "requirement")?.into_iter().map(Place::Requirements));
    for group in words.all("group") {
        let (path, name) = group.rsplit_once(':').unwrap_or(("pyproject.toml", group));
        places.push(Place::Group { path: host.absolute(Path::new(path)), name: name.to_owned() });
    }
    if places.iter().all(|place| matches!(place, Place::Constraints(_))) {
        return Err(Failure::new(Exit::Usage, "nothing to install is named".to_owned())
            .hint("name it: pip-accel install NAME, or -r requirements.txt; all options: pip-accel install --help"));
    }
    Ok(places)
}

/// `-r pylock.toml`, which says all there is to install.
fn lock(context: &Context<'_>, words: &Words) -> Result<Option<PathBuf>, Failure> {
    let is_lock = |file: &&str| {
        let name = file.rsplit('/').next().unwrap_or(file);
        !file.contains("://") && name.starts_with("pylock.") && name.ends_with(".toml")
    };
    let Some(lock) = words.all("requirement").find(is_lock) else { return Ok(None) };
    let others = ["requirement", "editable", "group", "requirements-from-script"];
    let count: usize = others.iter().map(|name| words.all(name).count()).sum();
    if count + words.requirements.len() > 1 {
        let text =
            format!("`{}` is a lock and says all there is to install, and something else is named too", excerpt(lock));
        return Err(Failure::new(Exit::Usage, text)
            .hint(&format!("install them in turn: pip-accel install -r {}", excerpt(lock))));
    }
    Ok(Some(context.host.absolute(Path::new(lock))))
}

/// The files that an option names.
fn files(context: &Context<'_>, words: &Words, option: &str) -> Result<Vec<PathBuf>, Failure> {
    words.all(option).map(|file| file_of(context, file)).collect()
}

fn file_of(context: &Context<'_>, file: &str) -> Result<PathBuf, Failure> {
    let path = match file.strip_prefix("file://") {
        Some(path) => PathBuf::from(path),
        None if file.contains("://") => {
            let text = format!("`{}` is not on this machine", excerpt(file));
            return Err(Failure::new(Exit::Usage, text).hint("fetch that file, look at it, and name the copy"));
        }
        None => context.host.absolute(Path::new(file)),
    };
    let is_toml = path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with("pylock.") && name.ends_with(".toml")
    });
    if is_toml {
        let text = format!("`{}` is a lock, and a lock says what the whole environment is", path.display());
        return Err(Failure::new(Exit::Usage, text).hint(&format!("pip-accel realize {}", path.display())));
    }
    Ok(path)
}

/// No project is called `requirements.txt`: `-r` was forgotten.
fn refuse_file(context: &Context<'_>, word: &str) -> Result<(), Failure> {
    let is_list = Path::new(word).extension().is_some_and(|ending| ending == "txt" || ending == "in");
    if !is_list || !context.host.absolute(Path::new(word)).is_file() {
        return Ok(());
    }
    let text = format!("`{}` is a file of requirements, and no requirement itself", excerpt(word));
    Err(Failure::new(Exit::Usage, text).hint(&format!("pip-accel install -r {}", excerpt(word))))
}

/// A word of the command line as a line of a requirements file: it stays one line, and begins no option or comment.
fn one_line(word: &str) -> Result<String, Failure> {
    let word = word.trim();
    if word.is_empty() || word.contains(['\n', '\r']) || word.starts_with(['#', '-']) || word.ends_with('\\') {
        return Err(Failure::new(Exit::Usage, format!("`{}` is not a requirement", excerpt(word)))
            .hint("name a project, a file, a folder or a URL: pip-accel install 'flask<4' ./local.whl"));
    }
    Ok(word.to_owned())
}
