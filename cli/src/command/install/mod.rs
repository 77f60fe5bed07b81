//! `install`: pip's command, through the store.

mod asked;
mod course;
mod place;
mod script;
mod shown;
mod words;

pub(crate) use words::read;

use std::path::PathBuf;
use std::time::Instant;

use pip_accel_builder::resolve::project::{Place, ProjectInputs, Surroundings};

use self::asked::{Asked, Destination};
use self::course::Course;
use super::Context;
use super::target::Target;
use crate::args::install::parse::Words;
use crate::args::system_packages::SystemPackagesArg;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::{Settings, Value};

/// Runs the command.
pub(crate) fn run(context: &Context<'_>, words: &Words) -> Result<Exit, Failure> {
    let started = Instant::now();
    let mut settings = context.settings()?;
    let target = target(context, words, &settings)?;
    let words = words::with_configuration(context, words.clone(), target.virtualenv.as_deref())?;
    let asked = Asked::of(context, &words)?;
    if words.has("require-virtualenv")
        && target.virtualenv.is_none()
        && !matches!(asked.destination, Destination::Venv(_))
    {
        return Err(Failure::new(
            Exit::Error,
            "no virtualenv is active, and --require-virtualenv asks for one".to_owned(),
        )
        .hint("activate one, or name one: --venv DIR"));
    }
    apply(&mut settings, &words, &target)?;
    let environment = |name: &str| context.host.variable(name);
    let cwd = &context.host.cwd;
    let surroundings = Surroundings { folder: cwd, base: cwd, environment: &environment };
    let read = |files: &[PathBuf]| {
        let places: Vec<Place> = files.iter().cloned().map(Place::Constraints).collect();
        ProjectInputs::read(&places, surroundings).map_err(|error| Failure::from(error).of_install())
    };
    let constraints = read(&asked.build_constraints)?.constraint_lines().map(str::to_owned).collect();
    let course =
        Course { context, words: &words, asked: &asked, target: &target, build_constraints: constraints, started };
    if let Some(lock) = &asked.lock {
        return course.run_lock(settings, lock);
    }
    let inputs = ProjectInputs::read(&asked.places, surroundings).map_err(|error| Failure::from(error).of_install())?;
    for name in &inputs.unset_variables {
        context.ui.warn(&format!("`${{{name}}}` in the requirements is not set"));
    }
    if inputs.is_empty() {
        context.ui.warn("the requirements are empty: nothing to install");
        return Ok(Exit::Done);
    }
    refuse_unhashed(&asked, &inputs)?;
    course.run(settings, inputs)
}

/// The target; a new virtualenv of `--venv` is made for the interpreter that is named.
fn target(context: &Context<'_>, words: &Words, settings: &Settings) -> Result<Target, Failure> {
    let named = words.last("python").or(settings.text("python"));
    let Some(venv) = words.last("venv") else { return Target::find(context, named) };
    let path = context.host.absolute(&PathBuf::from(venv));
    if path.join("pyvenv.cfg").is_file() {
        let target = Target::find(context, path.to_str())?;
        if let Some(named) = words.last("python") {
            same_interpreter(context, named, &target)?;
        }
        return Ok(target);
    }
    // Whatever is active is not where this goes, but it says which interpreter is meant.
    let base = Target::find(context, named)?;
    Ok(Target { virtualenv: Some(path), ..base })
}

/// A virtualenv keeps its interpreter.
fn same_interpreter(context: &Context<'_>, named: &str, target: &Target) -> Result<(), Failure> {
    let search = super::session::search_path(&context.host);
    let find = |spec: &str| pip_accel_builder::python::interpreter::find(Some(spec), &search);
    let (wanted, found) = (find(named)?, find(&target.python.to_string_lossy())?);
    if wanted == found {
        return Ok(());
    }
    let root = target.virtualenv.clone().unwrap_or_default();
    let text = format!("the environment `{}` is of {}, not of {}", root.display(), found.display(), wanted.display());
    Err(Failure::new(Exit::Error, text).hint("leave --python out, or name a new environment: --venv DIR"))
}

/// Hashes are demanded of all, or of nothing.
fn refuse_unhashed(asked: &Asked, inputs: &ProjectInputs) -> Result<(), Failure> {
    let demanded = asked.hashes.unwrap_or_else(|| inputs.demands_hashes());
    let unhashed = inputs.unhashed_lines();
    let Some(first) = unhashed.first().filter(|_| demanded) else { return Ok(()) };
    let first = pip_accel_schema::requirement::excerpt(first);
    let text = match unhashed.len() - 1 {
        0 => format!("hashes are demanded, and `{first}` has none"),
        more => format!("hashes are demanded, and `{first}` and {more} more have none"),
    };
    Err(Failure::new(Exit::LockRefused, text)
        .hint("lock it with hashes: pip-accel lock; or allow a mixture: --no-require-hashes"))
}

/// Settings that words override.
fn apply(settings: &mut Settings, words: &Words, target: &Target) -> Result<(), Failure> {
    let text = |name: &str| words.last(name).map(|text| Value::Text(text.to_owned()));
    let python = target.python.to_string_lossy().into_owned();
    settings.set("python", Some(Value::Text(python)));
    settings.set("proxy", text("proxy"));
    settings.set("ca-file", text("cert"));
    settings.set("client-cert", text("client-cert"));
    settings.set("retries", number(words, "retries")?);
    settings.set("timeout", number(words, "timeout")?);
    let hosts: Vec<String> = words.all("trusted-host").map(str::to_owned).collect();
    settings.set("trusted-hosts", (!hosts.is_empty()).then_some(Value::List(hosts)));
    settings.set(
        "keyring",
        match words.last("keyring-provider") {
            None | Some("auto" | "disabled") => None,
            Some("subprocess") => Some(Value::Text("keyring".to_owned())),
            Some(other) => return Err(words::one_of("keyring-provider", other, "auto, disabled or subprocess")),
        },
    );
    let modes = ["symlink", "hardlink", "reflink", "copy"];
    if let Some(mode) = words.last("link-mode").filter(|mode| !modes.contains(mode)) {
        return Err(words::one_of("link-mode", mode, "symlink, hardlink, reflink or copy"));
    }
    settings.set("link-mode", text("link-mode"));
    if words.has("no-input") && settings.text("system-packages").is_none_or(|policy| policy == "ask") {
        settings.set("system-packages", Some(Value::Text("refuse".to_owned())));
    }
    Ok(())
}

fn number(words: &Words, name: &str) -> Result<Option<Value>, Failure> {
    let Some(text) = words.last(name) else { return Ok(None) };
    // pip takes parts of seconds; silence is counted in whole ones here.
    let number = text.parse::<f64>().ok().filter(|number| (0.0..1e9).contains(number));
    let number = number.ok_or_else(|| words::one_of(name, text, "a number"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 1e9")]
    let whole = number.ceil() as u64;
    Ok(Some(Value::Number(whole)))
}

/// The policy about packages of the system that the words name.
fn system_packages(words: &Words) -> Result<Option<SystemPackagesArg>, Failure> {
    let Some(text) = words.last("system-packages") else { return Ok(None) };
    <SystemPackagesArg as clap::ValueEnum>::from_str(text, false)
        .map(Some)
        .map_err(|_| words::one_of("system-packages", text, "ask, install, unpack or refuse"))
}
