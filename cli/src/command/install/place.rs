//! Where packages go: a virtualenv, the folders of an interpreter, or one folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pip_accel_builder::install::change::ChangedPackage;
use pip_accel_builder::install::error::InstallError;
use pip_accel_builder::install::installed::InstalledSet;
use pip_accel_builder::install::scheme::{
    Scheme, SchemeKind, SchemeReport, SchemeRequest, install_into_folder, install_into_scheme,
};
use pip_accel_builder::install::virtualenv::{self, VirtualenvRequest};
use pip_accel_builder::python::interpreter::PythonInstallation;
use pip_accel_builder::realize::RealizeReport;
use pip_accel_schema::environment::LinkMode;
use pip_accel_schema::name::PackageName;
use pip_accel_schema::store_path::ObjectId;

use super::super::Context;
use super::super::realize::{configured_link_mode, generations_kept, warn_of_foreign};
use super::super::rounds::{Policy, in_rounds};
use super::super::session::Opened;
use super::super::target::Target;
use super::asked::{Asked, Destination};
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Settings;

/// Where packages go.
#[derive(Debug)]
pub(super) enum Place {
    Virtualenv { root: PathBuf, site: PathBuf, mode: LinkMode, settings: Settings },
    Scheme { scheme: Box<Scheme>, is_own: bool },
    Folder { folder: PathBuf, python: PathBuf },
}

/// How the packages were come by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) packages: usize,
    pub(super) from_store: usize,
    pub(super) fetched: usize,
    pub(super) built: usize,
}

impl Place {
    /// Finds it, and refuses a place that is somebody else's.
    pub(super) fn find(
        context: &Context<'_>,
        (asked, target): (&Asked, &Target),
        (python, settings): (&PythonInstallation, &Settings),
    ) -> Result<Self, Failure> {
        let root = asked.root.as_deref();
        let scheme = |kind: &SchemeKind| Scheme::query(&target.python, kind, root).map(Box::new);
        match (&asked.destination, &target.virtualenv) {
            (Destination::Directory(folder), _) => {
                Ok(Self::Folder { folder: folder.clone(), python: target.python.clone() })
            }
            (Destination::Prefix(prefix), _) => {
                Ok(Self::Scheme { scheme: scheme(&SchemeKind::Prefix(prefix.clone()))?, is_own: false })
            }
            (Destination::User, Some(venv)) => {
                let text = format!("the virtualenv `{}` does not see what --user installs", venv.display());
                Err(Failure::new(Exit::Usage, text)
                    .hint("leave --user out, or name the interpreter: --python /usr/bin/python3"))
            }
            (Destination::User, None) => {
                let scheme = scheme(&SchemeKind::User)?;
                refuse_managed(asked, target, &scheme)?;
                Ok(Self::Scheme { scheme, is_own: root.is_none() })
            }
            (Destination::Target | Destination::Venv(_), Some(venv)) if root.is_none() => {
                let site = venv.join(&python.interpreter.site_packages);
                let mode = configured_link_mode(settings);
                Ok(Self::Virtualenv { root: venv.clone(), site, mode, settings: settings.clone() })
            }
            (Destination::Target | Destination::Venv(_), _) => {
                let own = scheme(&SchemeKind::Default)?;
                if root.is_some() {
                    return Ok(Self::Scheme { scheme: own, is_own: false });
                }
                refuse_managed(asked, target, &own)?;
                if own.is_writable() || !own.has_user_site {
                    return Ok(Self::Scheme { scheme: own, is_own: true });
                }
                context.ui.note("the interpreter's folders can't be written: installing into your own, as with --user");
                Ok(Self::Scheme { scheme: scheme(&SchemeKind::User)?, is_own: true })
            }
        }
    }

    /// What is installed there, as far as it counts.
    pub(super) fn installed(&self) -> Result<InstalledSet, Failure> {
        let folders = match self {
            Self::Virtualenv { site, .. } => vec![site.clone()],
            Self::Scheme { scheme, is_own: true } => {
                let others = scheme.searched.iter().cloned();
                scheme.libraries().into_iter().chain(others).collect()
            }
            Self::Scheme { scheme, is_own: false } => scheme.libraries(),
            Self::Folder { folder, .. } => vec![folder.clone()],
        };
        let path = folders.first().cloned().unwrap_or_default();
        InstalledSet::read(&folders).map_err(|source| InstallError::Io { action: "read", path, source }.into())
    }

    /// The objects that what is installed there is linked from, where that is known.
    pub(super) fn linked(&self, installed: &InstalledSet) -> Result<BTreeMap<PackageName, ObjectId>, Failure> {
        match self {
            Self::Virtualenv { root, .. } => Ok(virtualenv::linked_objects(root, installed)?),
            Self::Scheme { .. } | Self::Folder { .. } => Ok(BTreeMap::new()),
        }
    }

    /// The directory to be named in a report.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Virtualenv { root, .. } => root,
            Self::Scheme { scheme, .. } => &scheme.purelib,
            Self::Folder { folder, .. } => folder,
        }
    }

    /// Puts packages there.
    pub(super) fn put(
        &self,
        (context, asked): (&Context<'_>, &Asked),
        (opened, policy): (&Opened, Policy),
        (packages, installed): (&[ChangedPackage], &InstalledSet),
        words: &crate::args::install::parse::Words,
    ) -> Result<Counts, Failure> {
        match self {
            Self::Virtualenv { root, mode, settings, .. } => {
                let request = VirtualenvRequest {
                    destination: root.clone(),
                    link_mode: Some(*mode),
                    links: settings.package_links()?,
                    generations: generations_kept(settings),
                };
                let install = || virtualenv::install(&opened.session, &request, packages);
                let report = in_rounds(context, (opened, policy), install)?;
                warn(context, &report);
                let RealizeReport { packages, from_store, fetched, built, .. } = report;
                Ok(Counts { packages, from_store, fetched, built })
            }
            Self::Scheme { scheme, is_own } => {
                let is_silent = words.last("root-user-action") == Some("ignore");
                if *is_own && context.host.is_root && !is_silent && asked.destination == Destination::Target {
                    context.ui.warn(&format!(
                        "root installs into `{}`, which is the interpreter's own and not a virtualenv's; \
                         --venv DIR keeps projects apart",
                        scheme.purelib.display()
                    ));
                }
                let request = SchemeRequest {
                    scheme: (**scheme).clone(),
                    keep_installed: asked.ignore_installed,
                    without_bytecode: asked.no_compile,
                };
                let install = || install_into_scheme(&opened.session, &request, (packages, installed));
                let report = in_rounds(context, (opened, policy), install)?;
                for outside in &report.outside {
                    context.ui.note(&format!("{outside} stays: it does not belong to these folders"));
                }
                if !words.has("no-warn-script-location") {
                    warn_of_path(context, scheme, &report);
                }
                Ok(counts(&report))
            }
            Self::Folder { folder, python } => {
                let options = (asked.upgrade, asked.no_compile);
                let install = || install_into_folder(&opened.session, (folder, python), packages, options);
                let report = in_rounds(context, (opened, policy), install)?;
                for kept in &report.kept {
                    context.ui.warn(&format!("`{kept}` is there already and stays as it is; --upgrade replaces it"));
                }
                Ok(counts(&report.written))
            }
        }
    }
}

/// PEP 668, as pip reads it.
fn refuse_managed(asked: &Asked, target: &Target, scheme: &Scheme) -> Result<(), Failure> {
    if scheme.managed.is_none() || asked.break_system || asked.dry_run {
        return Ok(());
    }
    let text = format!(
        "`{}` is looked after by the system's package manager (EXTERNALLY-MANAGED), and packages of others may break it",
        target.python.display()
    );
    Err(Failure::new(Exit::Error, text)
        .hint("install into a virtualenv: pip-accel install --venv .venv …")
        .hint("or, if you know that it does no harm: --break-system-packages"))
}

fn counts(report: &SchemeReport) -> Counts {
    let SchemeReport { packages, from_store, fetched, built, .. } = *report;
    Counts { packages, from_store, fetched, built }
}

fn warn_of_path(context: &Context<'_>, scheme: &Scheme, report: &SchemeReport) {
    let path = context.host.variable("PATH").unwrap_or_default();
    if !report.scripts.is_empty() && !std::env::split_paths(&path).any(|folder| folder == scheme.scripts) {
        let names = report.scripts.join(", ");
        context.ui.warn(&format!("`{}` is not on PATH, and has {names}", scheme.scripts.display()));
    }
}

/// Of what others installed, only what gave way is worth a word: all else stays, as it does with pip.
fn warn(context: &Context<'_>, report: &RealizeReport) {
    let ui = &context.ui;
    for clash in &report.clashes {
        let hidden: Vec<&str> = clash.hidden.iter().map(|name| name.as_str()).collect();
        ui.warn(&format!("`{}` comes from {} and hides that of {}", clash.path, clash.kept, hidden.join(", ")));
    }
    warn_of_foreign(context, report, true);
    if let Some(leftover) = &report.leftover {
        ui.warn(&format!("the old environment could not be removed: `{}`", leftover.display()));
    }
}
