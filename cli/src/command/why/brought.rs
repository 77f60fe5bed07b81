//! Which requirement brought a package into an environment or a lock.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use pip_accel_builder::environment;
use pip_accel_builder::install::error::InstallError;
use pip_accel_builder::install::installed::InstalledSet;
use pip_accel_builder::install::virtualenv::is_installed_into;
use pip_accel_builder::install::why::{Requirers, Step};
use pip_accel_builder::resolve::project::reasons_of_lock;
use pip_accel_schema::lock_file::LOCK_FILE_BYTES_MAX;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_store::Access;
use serde_json::json;

use super::super::Context;
use super::super::session::interpreter;
use super::super::target::Target;
use crate::args::inspect::WhyArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::settings::Value;

/// A package in a place, and the ways to it.
pub(super) struct Brought {
    name: PackageName,
    version: Option<PackageVersion>,
    place: String,
    /// Whether the user asked for it, as far as that is known.
    is_asked_for: bool,
    ways: Vec<Vec<Step>>,
}

impl Brought {
    /// What is known of the package that `args` mean; `None` where there is no place to look in, or it is not there and nobody
    /// named the place.
    pub(super) fn find(context: &Context<'_>, args: &WhyArgs) -> Result<Option<Self>, Failure> {
        let is_about_place = args.lock.is_some() || args.venv.is_some();
        let (name, is_release) =
            args.object.split_once("==").map_or((args.object.as_str(), false), |(name, _)| (name, true));
        if is_release && !is_about_place {
            return Ok(None);
        }
        let Ok(name) = name.trim().parse::<PackageName>() else { return Ok(None) };
        let found = match (&args.lock, &args.venv) {
            (Some(lock), _) => Self::in_lock(context, lock, name)?,
            (None, Some(venv)) => {
                let found = Self::in_environment(context, &context.host.absolute(venv), name)?;
                found.map(|found| Self { place: venv.display().to_string(), ..found })
            }
            (None, None) => match Target::find(context, None).ok().and_then(|target| target.virtualenv) {
                Some(venv) => return Ok(Self::in_environment(context, &venv, name).ok().flatten()),
                None => return Ok(None),
            },
        };
        let place =
            args.lock.as_ref().or(args.venv.as_ref()).map_or_else(String::new, |path| path.display().to_string());
        let missing = || {
            Failure::new(Exit::Error, format!("`{}` is not in `{place}`", args.object))
                .hint("check the name; what a package's object is kept by: pip-accel why NAME")
        };
        found.map(Some).ok_or_else(missing)
    }

    fn in_environment(context: &Context<'_>, venv: &Path, name: PackageName) -> Result<Option<Self>, Failure> {
        let mut settings = context.settings()?;
        settings.set("python", Some(Value::Text(venv.to_string_lossy().into_owned())));
        let store = context.open(&settings, Access::ReadOnly)?;
        let python = interpreter(context, &store, &settings)?;
        let site = venv.join(&python.interpreter.site_packages);
        let installed = InstalledSet::read(std::slice::from_ref(&site)).map_err(|source| InstallError::Io {
            action: "read",
            path: site.clone(),
            source,
        })?;
        let Some(package) = installed.get(&name) else { return Ok(None) };
        // Everything in a lock is asked for by the lock; only what was installed tells what the user named.
        let knows_asked = environment::read_manifest(venv)?.is_none_or(|manifest| is_installed_into(&manifest));
        let requirers = Requirers::of_installed(&installed, &python.interpreter.markers, knows_asked);
        Ok(Some(Self {
            version: Some(package.version.clone()),
            place: venv.display().to_string(),
            is_asked_for: requirers.is_asked_for(name.as_str()),
            ways: requirers.ways(name.as_str()),
            name,
        }))
    }

    fn in_lock(context: &Context<'_>, lock: &Path, name: PackageName) -> Result<Option<Self>, Failure> {
        let path = context.host.absolute(lock);
        let failed = |reason: String| {
            Failure::new(Exit::LockRefused, format!("the lock `{}` does not say why: {reason}", lock.display()))
                .hint("write it anew: pip-accel lock; or ask an environment that was made from it: --venv DIR")
        };
        let unreadable = |error: std::io::Error| {
            let text = format!("the lock `{}` can't be read: {error}", lock.display());
            Failure::new(Exit::Error, text).hint("name the lock: pip-accel why NAME requirements.lock")
        };
        let mut text = String::new();
        let file = File::open(&path).map_err(unreadable)?;
        file.take(LOCK_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > LOCK_FILE_BYTES_MAX {
            return Err(failed("it is longer than any lock".to_owned()));
        }
        let packages = reasons_of_lock(&text).map_err(|error| failed(error.to_string()))?;
        let mut requirers = Requirers::default();
        for (package, _, reasons) in &packages {
            for reason in reasons {
                // `app[extra]` is brought by `app`.
                let by = reason.split('[').next().unwrap_or(reason);
                let by = by.parse::<PackageName>().map_or_else(|_| reason.clone(), |name| name.to_string());
                requirers.add(package.as_str(), &by, None);
            }
        }
        let Some((_, version, _)) = packages.iter().find(|(package, ..)| *package == name) else { return Ok(None) };
        let ways = requirers.ways(name.as_str());
        let place = lock.display().to_string();
        Ok(Some(Self { version: version.clone(), place, is_asked_for: false, ways, name }))
    }

    pub(super) fn as_json(&self) -> serde_json::Value {
        let step = |step: &Step| json!({ "by": step.by, "requirement": step.requirement });
        let ways: Vec<Vec<_>> = self.ways.iter().map(|way| way.iter().map(step).collect()).collect();
        json!({
            "name": self.name,
            "version": self.version,
            "place": self.place,
            "asked_for": self.is_asked_for,
            "ways": ways,
        })
    }

    pub(super) fn show(&self, context: &Context<'_>) {
        let ui = &context.ui;
        let label =
            self.version.as_ref().map_or_else(|| self.name.to_string(), |version| format!("{}=={version}", self.name));
        ui.data(&format!("{label} in {}", self.place));
        if self.is_asked_for {
            ui.data("  it was asked for");
        }
        for way in &self.ways {
            let steps: Vec<&str> = way.iter().map(|step| step.by.as_str()).collect();
            let last = way.last().and_then(|step| step.requirement.as_deref()).unwrap_or(self.name.as_str());
            ui.data(&format!("  {} → {last}", steps.join(" → ")));
        }
        if self.ways.is_empty() && !self.is_asked_for {
            ui.data("  no other package requires it");
        }
    }
}
