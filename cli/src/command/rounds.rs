//! Runs that build, in rounds: what a build lacks is asked for, installed, and the run goes on.

use std::collections::BTreeSet;

use pip_accel_builder::build::{BuildFailure, BuildTargetError};
use pip_accel_builder::realize::Interrupts;
use pip_accel_builder::realize::error::{ObtainError, RealizeError};
use pip_accel_builder::system_packages::install::{AptGet, InstallError, Words, command_to_type, dpkg_lock_owner};

use super::Context;
use super::session::Opened;
use crate::args::system_packages::SystemPackagesArg;
use crate::error::{Failure, sentence};
use crate::exit_code::Exit;
use crate::settings::{Settings, Value};
use crate::ui::{Answer, ask, can_ask};

/// Rounds after which nothing more is tried; the longest known way to a build has nine.
const ROUNDS_MAX: usize = 10;

/// What is done about packages of the system that builds lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Ask,
    Install,
    Refuse,
}

impl Policy {
    /// The policy of the settings and of the command line.
    ///
    /// # Errors
    /// For `unpack`, which is not there yet.
    pub(super) fn of(settings: &mut Settings, flag: Option<SystemPackagesArg>) -> Result<Self, Failure> {
        settings.set("system-packages", flag.map(|word| Value::Text(word.as_str().to_owned())));
        match settings.text("system-packages") {
            Some("install") => Ok(Self::Install),
            Some("refuse") => Ok(Self::Refuse),
            Some("unpack") => {
                let text = "`system-packages = unpack` is not possible yet".to_owned();
                Err(Failure::new(Exit::Usage, text).hint(
                    "use `ask` (shows the command and asks), `install` (does not ask) or `refuse` (says what to install)",
                ))
            }
            _ => Ok(Self::Ask),
        }
    }
}

/// An error of a run that builds.
pub(crate) trait Failing: Into<Failure> {
    /// What the run itself says, if it got so far.
    fn realize_error(&self) -> Option<&RealizeError>;
}

impl Failing for RealizeError {
    fn realize_error(&self) -> Option<&RealizeError> {
        Some(self)
    }
}

impl Failing for BuildTargetError {
    fn realize_error(&self) -> Option<&RealizeError> {
        match self {
            Self::Realize(error) => Some(error),
            Self::Io { .. } | Self::Name(_) => None,
        }
    }
}

/// The builds that lack packages, if that is all that is wrong.
fn lacking(error: &impl Failing) -> Option<Vec<&BuildFailure>> {
    let RealizeError::Packages { failures, .. } = error.realize_error()? else { return None };
    let of = |failure: &'_ ObtainError| failure.lacks_packages();
    if failures.is_empty() || !failures.iter().all(of) {
        return None;
    }
    let builds = failures.iter().filter_map(|failure| match failure {
        ObtainError::Build(failure) => Some(&**failure),
        _ => None,
    });
    Some(builds.collect())
}

/// What a build lacked: if it lacks the same again, installing did not help.
type Evidence = (String, String, String);

fn evidence(build: &BuildFailure) -> Evidence {
    let finding = build.explanation.as_ref().map(|explanation| &explanation.finding);
    let (kind, name) = finding.map(|finding| (finding.kind.noun(), finding.name.clone())).unwrap_or_default();
    (format!("{}=={}", build.name, build.version), kind.to_owned(), name)
}

/// Runs `run` until it ends well, or ends in a way that no package helps, or the user does not want to.
///
/// # Errors
/// The run's last failure; what could not be installed.
pub(super) fn in_rounds<T, E: Failing>(
    context: &Context<'_>,
    (opened, policy): (&Opened, Policy),
    mut run: impl FnMut() -> Result<T, E>,
) -> Result<T, Failure> {
    let mut seen: BTreeSet<Evidence> = BTreeSet::new();
    let mut installed: BTreeSet<String> = BTreeSet::new();
    for round in 1.. {
        let result = run();
        opened.progress.finish();
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(builds) = lacking(&error) else { return Err(error.into()) };
        if let Some(again) = builds.iter().find(|build| seen.contains(&evidence(build))) {
            let text = repeated(again, &installed);
            return Err(error.into().no_use(text));
        }
        if round >= ROUNDS_MAX {
            return Err(error.into().hint(&format!("{ROUNDS_MAX} rounds were tried; install that yourself")));
        }
        seen.extend(builds.iter().map(|build| evidence(build)));
        let mut packages: Vec<String> = Vec::new();
        for package in builds.iter().flat_map(|build| build.missing_packages()) {
            if !packages.contains(package) {
                packages.push(package.clone());
            }
        }
        let explained: Vec<[String; 2]> = builds.iter().filter_map(|build| lines(build)).collect();
        if let Err(stop) = grant(context, (opened, policy), &packages, &explained) {
            return Err(match stop {
                Stop::Interrupted => RealizeError::Interrupted.into(),
                Stop::Refused(why) => error.into().refused(why),
            });
        }
        installed.extend(packages);
    }
    Err(Failure::new(Exit::BuildFailed, "no round was left".to_owned()))
}

fn lines(build: &BuildFailure) -> Option<[String; 2]> {
    let [missing, remedy] = build.explanation.as_ref()?.finding.lines();
    Some([format!("{}=={}: {missing}", build.name, build.version), remedy])
}

fn repeated(build: &BuildFailure, installed: &BTreeSet<String>) -> String {
    let (_, kind, name) = evidence(build);
    let names: Vec<&str> = installed.iter().map(String::as_str).collect();
    format!(
        "installed were {}, and the {kind} {name} is still missing: it is not where this build looks",
        names.join(", ")
    )
}

/// Why nothing was installed.
enum Stop {
    Interrupted,
    /// Why, if there is more to say than that it was not wanted.
    Refused(Option<String>),
}

/// Installs `packages` if the policy, and whoever is asked, wants it.
fn grant(
    context: &Context<'_>,
    (opened, policy): (&Opened, Policy),
    packages: &[String],
    explained: &[[String; 2]],
) -> Result<(), Stop> {
    let (ui, session) = (&context.ui, &opened.session);
    let is_asked = policy == Policy::Ask;
    if policy == Policy::Refuse {
        return Err(Stop::Refused(Some("system-packages is `refuse`: nothing is installed".to_owned())));
    }
    if is_asked && !can_ask() {
        let text = "nobody can be asked here (no terminal); to install without a question: --system-packages install";
        return Err(Stop::Refused(Some(text.to_owned())));
    }
    let apt = AptGet::find(&session.options.search_path, context.host.is_root)
        .map_err(|error| Stop::Refused(Some(sentence(&error))))?;
    // The run's own ear is closed, and without one `^C` would do nothing.
    let _interrupts = Interrupts::start(&session.cancel).map_err(|error| Stop::Refused(Some(error.to_string())))?;
    for line in explained.iter().flatten() {
        ui.talk_unless_quiet(line, is_asked);
    }
    let command = apt.shown(packages, can_ask());
    if is_asked {
        ui.talk(&format!("to install it: {command}"));
        match ask("install and go on?", &|| session.cancel.is_interrupted()) {
            Answer::Yes => {}
            Answer::No => return Err(Stop::Refused(None)),
            Answer::Interrupted => return Err(Stop::Interrupted),
        }
    } else {
        ui.note(&format!("running {command}"));
    }
    if let Some((pid, name)) = dpkg_lock_owner() {
        ui.warn(&format!("process {pid} ({name}) works with dpkg now; apt waits for it, for two minutes at most"));
    }
    let words = if ui.quiet > 0 || ui.json { Words::Kept } else { Words::Shown };
    let result = apt.install(packages, (can_ask(), words));
    if session.cancel.is_interrupted() {
        return Err(Stop::Interrupted);
    }
    result.map_err(|error: InstallError| Stop::Refused(Some(sentence(&error))))
}

/// What to type, for a hint.
pub(crate) fn to_type(packages: &[String]) -> String {
    command_to_type(packages, nix::unistd::Uid::effective().is_root())
}
