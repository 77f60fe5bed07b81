//! One installation from the look at what is there to the last line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use pip_accel_builder::install::change::{Again, Change};
use pip_accel_builder::install::choose::{Choice, ChoiceRequest, choose, upgrade_of};
use pip_accel_builder::install::installed::InstalledSet;
use pip_accel_builder::install::report::report;
use pip_accel_builder::install::satisfied::{Check, Lack};
use pip_accel_builder::python::interpreter::PythonInstallation;
use pip_accel_builder::python::requirement::Requirement;
use pip_accel_builder::resolve::project::{ProjectInputs, ProjectRequest, Upgrade};
use pip_accel_schema::name::PackageName;
use pip_accel_store::Store;

use super::super::Context;
use super::super::rounds::{Policy, in_rounds};
use super::super::session::{Opened, apply_flags, interpreter, load_lock};
use super::super::target::Target;
use super::asked::Asked;
use super::place::Place;
use super::shown::{Done, show, show_satisfied};
use crate::args::SourceArgs;
use crate::args::install::parse::Words;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Settings;

/// What is known before anything is looked at.
pub(super) struct Course<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) words: &'a Words,
    pub(super) asked: &'a Asked,
    pub(super) target: &'a Target,
    /// Lines of `--build-constraint`.
    pub(super) build_constraints: Vec<String>,
    pub(super) started: Instant,
}

/// What is known of the target before anything is chosen.
struct Ready {
    args: SourceArgs,
    policy: Policy,
    settings: Settings,
    store: Arc<Store>,
    python: PythonInstallation,
    place: Place,
    installed: InstalledSet,
}

impl Course<'_> {
    fn ready(&self, mut settings: Settings) -> Result<Ready, Failure> {
        let Self { context, words, asked, .. } = *self;
        let mut args = super::words::source_args(words)?;
        args.build_constraints.clone_from(&self.build_constraints);
        apply_flags(&mut settings, &args);
        let policy = Policy::of(&mut settings, super::system_packages(words)?);
        let store = context.open_as_allowed(&settings)?;
        let python = interpreter(context, &store, &settings)?;
        let place = Place::find(context, (asked, self.target), (&python, &settings))?;
        let installed = place.installed()?;
        Ok(Ready { args, policy, settings, store, python, place, installed })
    }

    /// Installs what a `pylock.toml` says, and nothing else.
    pub(super) fn run_lock(&self, settings: Settings, lock: &Path) -> Result<Exit, Failure> {
        let ready = self.ready(settings)?;
        let lock = load_lock(self.context, lock, &pip_accel_builder::lock::Choice::default())?;
        let Ready { args, policy, settings, store, python, place, installed } = ready;
        let opened = Opened::with(self.context, (store, python), settings, &args, &lock.options)?;
        let requested = lock.requirements.iter().filter_map(|locked| locked.name.clone()).collect();
        self.carry_out((&opened, policy), &Choice { lock, requested }, (&place, &installed))
    }

    /// Installs what requirements ask for.
    pub(super) fn run(&self, settings: Settings, inputs: ProjectInputs) -> Result<Exit, Failure> {
        let Self { context, asked, .. } = *self;
        let Ready { args, policy, settings, store, python, place, installed } = self.ready(settings)?;
        let said = said(&inputs);
        if self.may_be_satisfied(&inputs) {
            let check = check(&python, &installed, (&said.constraints, !asked.no_deps));
            match check.satisfies(&said.requirements) {
                Ok(names) => {
                    show_satisfied(self, &installed, &names, &said.names);
                    return Ok(Exit::Done);
                }
                Err(lack) => context.ui.detail(&format!("to be installed: {lack}")),
            }
        }
        let is_default_place = args.index_url.is_none()
            && args.extra_index_url.is_empty()
            && args.find_links.is_empty()
            && inputs.options.index_url.is_none()
            && inputs.options.find_links.is_empty();
        let options = inputs.options.clone();
        let opened = Opened::with(context, (store, python), settings, &args, &options)?;
        let nothing = InstalledSet::default();
        let kept = if asked.ignore_installed { &nothing } else { &installed };
        let upgrade = if asked.upgrade { upgrade_of(said.names.clone(), asked.is_eager) } else { Upgrade::Nothing };
        let request = ChoiceRequest {
            project: ProjectRequest {
                inputs,
                upgrade,
                prereleases: asked.pre,
                no_deps: asked.no_deps,
                exclude_newer: asked.uploaded_before.clone(),
                ..ProjectRequest::default()
            },
            installed: kept,
            is_upgrade: asked.upgrade,
            store_first: is_default_place,
            src: self.src(),
        };
        let choice = choose(&opened.session, request).map_err(|error| {
            opened.progress.finish();
            Failure::from(error).of_install()
        })?;
        self.carry_out((&opened, policy), &choice, (&place, &installed))
    }

    /// The folder for clones, as pip has it: of the virtualenv, if there is one yet, else here.
    fn src(&self) -> PathBuf {
        let venv = self.target.virtualenv.as_deref().filter(|venv| venv.join("pyvenv.cfg").is_file());
        let base = || venv.unwrap_or(&self.context.host.cwd).join("src");
        self.asked.src.clone().unwrap_or_else(base)
    }

    /// Puts the packages of a choice in place, and says what came of it.
    fn carry_out(
        &self,
        (opened, policy): (&Opened, Policy),
        choice: &Choice,
        (place, installed): (&Place, &InstalledSet),
    ) -> Result<Exit, Failure> {
        let Self { context, words, asked, .. } = *self;
        let nothing = InstalledSet::default();
        let kept = if asked.ignore_installed { &nothing } else { installed };
        let again = if asked.force || asked.ignore_installed { Again::All } else { Again::IfLocal };
        let change = Change::plan(&opened.session, choice, (kept, again), &place.linked(kept)?)?;
        if let Some(file) = &asked.report {
            let version = concat!("pip-accel ", env!("CARGO_PKG_VERSION"));
            let make = || report(&opened.session, &change.packages, version);
            let text = in_rounds(context, (opened, policy), make)?;
            write_report(context, file, &text)?;
        }
        let mut counts = None;
        if !asked.dry_run && !change.is_empty() {
            let what = (change.packages.as_slice(), installed);
            counts = Some(place.put((context, asked), (opened, policy), what, words)?);
        }
        opened.progress.finish();
        show(self, place, &Done { change: &change, counts });
        self.warn_of_conflicts(&opened.session.python, (place, &change))?;
        Ok(Exit::Done)
    }

    /// Whether it may be that there is nothing to do.
    fn may_be_satisfied(&self, inputs: &ProjectInputs) -> bool {
        let asked = self.asked;
        !(asked.upgrade
            || asked.force
            || asked.ignore_installed
            || asked.report.is_some()
            || inputs.asks_for_projects())
    }

    /// As pip does: what is installed now and lacks something, or has it in a version that it can't use.
    fn warn_of_conflicts(
        &self,
        python: &PythonInstallation,
        (place, change): (&Place, &Change),
    ) -> Result<(), Failure> {
        if self.asked.dry_run || change.is_empty() || self.words.has("no-warn-conflicts") || self.asked.no_deps {
            return Ok(());
        }
        if matches!(place, Place::Folder { .. }) {
            return Ok(());
        }
        let installed = place.installed()?;
        for (package, lacks) in check(python, &installed, (&[], true)).conflicts() {
            for lack in lacks.iter().filter(|lack| !matches!(lack, Lack::Unknown { .. })) {
                self.context.ui.warn(&format!("{package} is broken now: {lack}"));
            }
        }
        Ok(())
    }
}

/// Writes pip's report to a file, or to standard output.
fn write_report(context: &Context<'_>, file: &str, report: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    if file == "-" {
        context.ui.text(&text);
        return Ok(());
    }
    let path = context.host.absolute(Path::new(file));
    std::fs::write(&path, text + "\n").map_err(|error| {
        Failure::new(Exit::Error, format!("the report `{}` can't be written: {error}", path.display()))
            .hint("name another file: --report FILE")
    })
}

/// What the requirements say, as far as names and versions go.
struct Said {
    requirements: Vec<Requirement>,
    constraints: Vec<Requirement>,
    names: Vec<PackageName>,
}

fn said(inputs: &ProjectInputs) -> Said {
    // A place without a name is a requirement of a project that nothing installed can be compared with.
    let unknown = |line: &str| format!("unnamed @ {}", line.trim_start_matches("-e "));
    let parse = |line: &str| line.parse::<Requirement>().ok().or_else(|| unknown(line).parse().ok());
    let requirements: Vec<Requirement> = inputs.requirement_lines().filter_map(parse).collect();
    let constraints = inputs.constraint_lines().filter_map(|line| line.parse().ok()).collect();
    let names = inputs.requirement_lines().filter_map(|line| Some(line.parse::<Requirement>().ok()?.name)).collect();
    Said { requirements, constraints, names }
}

fn check<'a>(
    python: &'a PythonInstallation,
    installed: &'a InstalledSet,
    (constraints, with_dependencies): (&'a [Requirement], bool),
) -> Check<'a> {
    Check { installed, constraints, markers: &python.interpreter.markers, with_dependencies }
}
